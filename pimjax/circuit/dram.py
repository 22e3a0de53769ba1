"""Off-chip memory: energy per bit and bandwidth of published parts, each marked by the quality of its source."""

from __future__ import annotations

import dataclasses

from pimjax.circuit.component import Component, component
from pimjax.circuit.constants import Constants, Real, Sourced, sourced, value
from pimjax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class DramKind:
    """One kind of memory: energy [pJ/b], bandwidth [B/ns] and idle power [W]; None where no source gives it."""

    energy: Sourced
    bandwidth_bytes_per_ns: float | None
    idle_w: float | None
    quality: str


def _energy(name: str, nominal: float, spread: float, source: str, quality: str) -> Sourced:
    return sourced(
        f"dram.{name}_pj_per_bit",
        nominal,
        "pJ/b",
        low=nominal / spread,
        high=nominal * spread,
        source=source,
        quality=quality,
    )


_CACTI = "Accelergy CACTI wrapper cacti_wrapper.py"
_PAPER = "3D-SiM accelerator.py, kept by MoEwithPIM"
_BLOG = "eureka.patsnap.com blog (weak source)"

DRAM_KINDS: dict[str, DramKind] = {
    "paper": DramKind(
        _energy("paper", 0.2467 / 5.332 / 8 * 1e3, 1.3, _PAPER + ": 0.2467 W at 5.332 GB/s", "F"), 5.332, 0.1297, "tool"
    ),
    "paper_fast": DramKind(
        _energy("paper_fast", 3.26 / 44.8 / 8 * 1e3, 1.3, "MoEwithPIM main.py, commented out", "F"), 44.8, 0.625, "tool"
    ),
    "lpddr4": DramKind(_energy("lpddr4", 8.0, 1.5, _CACTI, "F"), None, None, "tool"),
    "lpddr": DramKind(_energy("lpddr", 40.0, 1.5, _CACTI, "F"), None, None, "tool"),
    "ddr3": DramKind(_energy("ddr3", 70.0, 1.5, _CACTI, "F"), None, None, "tool"),
    "gddr5": DramKind(_energy("gddr5", 14.0, 1.5, _CACTI, "F"), None, None, "tool"),
    "hmc": DramKind(_energy("hmc", 4.2, 1.5, _CACTI, "F"), None, None, "tool"),
    "hbm1": DramKind(_energy("hbm1", 37.5, 1.5, _BLOG, "U"), 128.0, None, "weak"),
    "hbm2": DramKind(_energy("hbm2", 3.9, 1.5, _CACTI, "F"), None, None, "tool"),
    "hbm3e": DramKind(_energy("hbm3e", 8.0, 1.5, _BLOG, "U"), 1200.0, None, "weak"),
    "zigzag": DramKind(_energy("zigzag", 11.3, 1.5, "ZigZag aimc.yaml, 700/750 pJ per 64 b", "F"), None, None, "tool"),
}
"""Kinds by name; quality `tool` is a number read in a tool's file, `weak` an unchecked web source."""

ACCESS_TIME = sourced(
    "dram.access_ns", 0.0, "ns", low=0.0, high=60.0, quality="U", source="none in the reference simulator; 0 there"
)


@component(
    "dram",
    action="one transfer of `bytes`",
    node="off-chip: no area on the chip",
    validity="streaming transfers; no row misses, refresh only through idle power",
    source="see DRAM_KINDS",
    analog=False,
    constants=(ACCESS_TIME, *(kind.energy for kind in DRAM_KINDS.values())),
)
def dram_transfer(
    kind: str,
    transferred_bytes: Real,
    *,
    bandwidth_bytes_per_ns: Real | None = None,
    constants: Constants | None = None,
) -> Component:
    """Time and energy of a transfer on the memory with static name `kind`.

    Raises:
      ConfigError: the kind is unknown, or has no sourced bandwidth and none is given.

    >>> unit = dram_transfer("paper", 5332.0)
    >>> round(float(unit.latency_ns), 3), round(float(unit.energy_nj), 1)
    (1000.0, 246.7)
    """
    if kind not in DRAM_KINDS:
        raise ConfigError(f"dram kind {kind!r} is unknown; allowed: {', '.join(DRAM_KINDS)}")
    entry = DRAM_KINDS[kind]
    bandwidth = entry.bandwidth_bytes_per_ns if bandwidth_bytes_per_ns is None else bandwidth_bytes_per_ns
    if bandwidth is None:
        raise ConfigError(
            f"no sourced bandwidth for dram kind {kind!r}; give bandwidth_bytes_per_ns (bytes per ns, that is GB/s)"
        )
    energy = transferred_bytes * 8.0 * value(entry.energy, constants) * 1e-3
    return Component(0.0, energy, value(ACCESS_TIME, constants) + transferred_bytes / bandwidth)
