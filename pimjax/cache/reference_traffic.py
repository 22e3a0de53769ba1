"""Cache accounting of the authors' simulator, kept for reproduction only: one byte per value, reads only.

Source: the simulator published with arXiv 2602.10254 (superstarghy/MoEwithPIM). The key-value time is part of its
latency; the gate-output time is recorded and never added, and nothing is charged for writes.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import Array, ArrayLike

#: bytes/ns of the simulator's DRAM channel.
DRAM_BYTES_PER_NS = 5.332
#: W drawn while it transfers.
DRAM_ACTIVE_W = 0.2467


class ReferenceTraffic(NamedTuple):
    """One layer's decode step in the authors' accounting: times [ns] (whole), energies [nJ], bytes."""

    kv_bytes: Array
    kv_ns: Array
    kv_nj: Array
    gate_output_bytes: Array
    gate_output_ns: Array
    gate_output_nj: Array


def reference_kv_bytes(num_tokens: ArrayLike, d_model: ArrayLike) -> Array:
    """Bytes read from the KV cache: ``2 L d``.

    >>> float(reference_kv_bytes(33, 4096))
    270336.0
    """
    return 2.0 * jnp.asarray(num_tokens).astype(float) * d_model


def reference_gate_output_bytes(num_tokens: ArrayLike, num_experts: ArrayLike, d_model: ArrayLike) -> Array:
    """Bytes read from the gate-output cache: ``L E + E d``; nothing is written.

    >>> float(reference_gate_output_bytes(33, 16, 4096))
    66064.0
    """
    experts = jnp.asarray(num_experts).astype(float)
    return jnp.asarray(num_tokens).astype(float) * experts + experts * d_model


def reference_traffic(num_tokens: ArrayLike, num_experts: ArrayLike, d_model: ArrayLike) -> ReferenceTraffic:
    """KV and gate-output traffic of a decode step at length ``L``.

    The KV time is ``ceil(1e9 ((2 L d / 1e9) / 5.332))``, evaluated in this order as the simulator does; run it under
    64-bit floats for its exact whole numbers.

    >>> step = reference_traffic(33, 16, 4096)
    >>> float(step.kv_ns), float(step.gate_output_ns)
    (50701.0, 12391.0)
    """
    kv = reference_kv_bytes(num_tokens, d_model)
    gate_output = reference_gate_output_bytes(num_tokens, num_experts, d_model)
    kv_ns = jnp.ceil(1e9 * ((kv / 1e9) / DRAM_BYTES_PER_NS))
    gate_output_ns = jnp.ceil(gate_output / DRAM_BYTES_PER_NS)
    return ReferenceTraffic(
        kv, kv_ns, DRAM_ACTIVE_W * kv_ns, gate_output, gate_output_ns, DRAM_ACTIVE_W * gate_output_ns
    )


class Uncounted(NamedTuple):
    """Gate-output traffic of a run that the authors' totals leave out."""

    time_ns: float
    energy_nj: float  # transfers, and the passive power that runs on meanwhile


def uncounted_traffic(
    start_len: int, new_length: int, num_experts: int, d_model: int, *, num_layers: int = 1, passive_w: float = 0.15382
) -> Uncounted:
    """What the authors' totals leave out of a generation with gate-output cache. Host, float64.

    Sums :func:`reference_traffic` over the decode steps ``L = start_len + 1 .. start_len + new_length - 1`` and layers;
    the transfers would stand in series, as their key-value reads do. `passive_w`: units and idle DRAM.

    >>> round(uncounted_traffic(32, 8, 16, 4096).time_ns)  # their headline run: 8 tokens after 32
    86800
    """
    with jax.enable_x64(True):
        lengths = np.arange(start_len + 1, start_len + new_length)
        steps = reference_traffic(lengths, num_experts, d_model)
        time_ns = num_layers * float(steps.gate_output_ns.sum())
        return Uncounted(time_ns, num_layers * float(steps.gate_output_nj.sum()) + passive_w * time_ns)


__all__ = [
    "DRAM_ACTIVE_W",
    "DRAM_BYTES_PER_NS",
    "ReferenceTraffic",
    "Uncounted",
    "reference_gate_output_bytes",
    "reference_kv_bytes",
    "reference_traffic",
    "uncounted_traffic",
]
