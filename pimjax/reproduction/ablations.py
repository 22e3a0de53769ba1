"""Which assumption carries a claim: the claim's value on the multiplexed chip with one assumption changed at a time.

Caches start from `paper_crossbars`, whose memory and accounting are the authors'; its single changes say why their factor
of 4.2 is 0.74 there, and which of them give it back. Sharing and efficiency start from the default chip, whose wires and
links are counted; a line of each says what they are without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pimjax.reproduction.chip_runs import (
    AUTHORS_MEMORY,
    DEFAULT,
    MOE_CHIPS,
    SCHEDULED,
    SHARED,
    UNSHARED,
    efficiency_run,
    generation_run,
    moe_run,
)


@dataclass(frozen=True)
class Assumption:
    """One line of an ablation.

    Attributes:
        name: what the line says.
        set: dotted keys that differ from the preset, and their values.
        preset: where the line starts from.
    """

    name: str
    set: Mapping[str, Any] = field(default_factory=dict)
    preset: str = DEFAULT

    def row(self, **values: Any) -> dict[str, Any]:
        """The line as plain data."""
        return {"assumption": self.name, "preset": self.preset, "set": dict(self.set), **values}


_FIT, _DIGITAL = {"plan.attention": "fit"}, {"plan.accumulate": "digital"}
_CACHES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("the authors' memory: one LPDDR4 channel", {}),
    ("embedding on crossbars", {"plan.embedding": "crossbar"}),
    ("32 layers", {"model.num_layers": 32}),
    ("10.7 GB/s, twice the channel", {"memory.bandwidth_gb_per_s": 10.664}),
    ("44.8 GB/s", {"memory.bandwidth_gb_per_s": 44.8}),
    ("256 GB/s", {"memory.bandwidth_gb_per_s": 256}),
    ("819 GB/s", {"memory.bandwidth_gb_per_s": 819}),
    ("8 MiB of SRAM before the channel", {"hardware.sram_cache_bytes": 8_388_608}),
    ("attention and embeddings stream", {"plan.dram_overlap": "stream"}),
    ("the authors' attention law", _FIT),
    ("additions on digital units", _DIGITAL),
    ("both: their attention, digital additions", _FIT | _DIGITAL),
    ("one HBM3 stack", {"memory": "hbm3"}),
    ("wires and links counted", {"system": "dies"}),
)
_FREE, WITHOUT_WIRES = {"system": "none"}, "wires and links cost nothing"
CACHES = (
    *(Assumption(name, changes, AUTHORS_MEMORY) for name, changes in _CACHES),
    Assumption("HBM3, streaming, idle power, free wires", _FREE),
    Assumption("the default: HBM3, streaming, idle power, wires"),
)

_LITTLE, _UNITS = {"hardware.shareable_fraction": 0.4}, {"hardware.num_digital_units": 64}
_LONGER = {"workload.prompt_tokens": 128}
SHARING = (
    Assumption("the default: 32 tokens"),
    Assumption(WITHOUT_WIRES, _FREE),
    Assumption("half as much shared: s = 0.4", _LITTLE),
    Assumption("64 digital units", _UNITS),
    Assumption("128 tokens", _LONGER),
    Assumption("s = 0.4 and 64 units", _LITTLE | _UNITS),
    Assumption("s = 0.4, 64 units, 128 tokens", _LITTLE | _UNITS | _LONGER),
)

EFFICIENCY = (
    Assumption("the default"),
    Assumption(WITHOUT_WIRES, _FREE),
    Assumption("the authors' memory, free wires", preset=AUTHORS_MEMORY),
    Assumption("idle peripherals draw nothing", {"hardware.idle_power_w_per_mm2": 0}),
    Assumption("idle peripherals: 10 mW/mm2", {"hardware.idle_power_w_per_mm2": 0.01}),
    Assumption("energy rule 0.2 + 0.8/g", {"plan.energy_scale_with_sharing": True}),
    Assumption("half as much shared: s = 0.4", _LITTLE),
    Assumption("nothing shared", {"plan.group_size": 1}),
    Assumption("128 tokens", _LONGER),
)


def ablations(
    moe: Mapping[str, Mapping[str, float]], efficiency: Mapping[str, float]
) -> dict[str, list[dict[str, Any]]]:
    """All lines, by name of the claim.

    Args:
        moe: :func:`~pimjax.reproduction.chip_runs.moe_run` of every chip as it is: the first line of SHARING.
        efficiency: :func:`~pimjax.reproduction.chip_runs.efficiency_run` of the default: the first line of EFFICIENCY.
    """
    caches = [(line, cache_gains(line)) for line in CACHES]
    return {
        "area_efficiency": [sharing_line(SHARING[0], moe), *(sharing_line(line, _moe(line)) for line in SHARING[1:])],
        "generation_speedup": [line.row(value=gains[0]) for line, gains in caches],
        "generation_energy_saving": [line.row(value=gains[1]) for line, gains in caches],
        "gops_per_w_per_mm2": [
            _named(EFFICIENCY[0], efficiency),
            *(_named(line, efficiency_run(line.preset, line.set)) for line in EFFICIENCY[1:]),
        ],
    }


def cache_gains(line: Assumption) -> tuple[float, float]:
    """Latency and energy of generating 8 tokens without caches over that with both; closed form."""
    plain, cached = (
        generation_run(kv, go, preset=line.preset, changes=line.set, fidelity="closed")
        for kv, go in ((False, "none"), (True, "full"))
    )
    return plain["latency_ns"] / cached["latency_ns"], plain["energy_nj"] / cached["energy_nj"]


def sharing_line(line: Assumption, moe: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Area efficiency of every chip that shares over the unshared one; what its schedule and its sharing alone give."""
    gains = {name: run["passes_per_ns_per_mm2"] / moe[UNSHARED]["passes_per_ns_per_mm2"] for name, run in moe.items()}
    shared = {name: gain for name, gain in gains.items() if MOE_CHIPS[name][0] > 1}
    return line.row(
        value=max(shared.values()),
        lowest=min(shared.values()),
        schedule_alone=gains[SCHEDULED],
        sharing_alone=gains[SHARED] / gains[SCHEDULED],
        gains=shared,
    )


def _moe(line: Assumption) -> dict[str, dict[str, float]]:
    return {name: moe_run(name, line.set) for name in MOE_CHIPS}


def _named(line: Assumption, found: Mapping[str, float]) -> dict[str, Any]:
    return line.row(**{key: value for key, value in found.items() if "_per_mm2_of_" in key})
