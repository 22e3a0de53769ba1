"""Constants of the authors' simulator: what one operation costs. Overridable, so that a design can be checked exactly."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class UnitCosts:
    """Latency, energy and power constants; the defaults are the simulator's. The 256 in the names is not the tile size.

    Attributes:
        link_ns, link_nj: one block of 256 values over a link.
        add_ns, add_base_ns, add_nj: addition per 256 values, its fixed part, its energy per 256 values.
        norm_ns, norm_nj: normalisation per 256 values.
        relu_ns, relu_nj: ReLU of any width, its energy per 256 values.
        sampling_ns: sampling of a token.
        attention_linear, attention_quadratic: coefficients of L^2 d and L^2 d^2, ns.
        attention_nj: coefficient of L^2 d, nJ.
        dram_bandwidth, dram_active_w, dram_idle_w: B/ns, W, W.
        idle_w: passive power of the units, W.
        whole_ns: round latencies up to whole ns, as the simulator does.
    """

    link_ns: float = 12
    link_nj: float = 0.01293
    add_ns: float = 8
    add_base_ns: float = 4
    add_nj: float = 0.00943
    norm_ns: float = 50
    norm_nj: float = 0.02096
    relu_ns: float = 1
    relu_nj: float = 0.00002
    sampling_ns: float = 10
    attention_linear: float = 1.064e-4
    attention_quadratic: float = 1.521e-5
    attention_nj: float = 0.557225e-3
    dram_bandwidth: float = 5.332
    dram_active_w: float = 0.2467
    dram_idle_w: float = 0.1297
    idle_w: float = 0.02412
    whole_ns: bool = True
