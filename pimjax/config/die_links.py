"""Kinds of links between the dies of a package: what `system.die_link` names."""

from __future__ import annotations

from typing import NamedTuple

HOT_INTERCONNECTS = "UCIe at Hot Interconnects 2025 (convergedigest.com), arXiv 2510.06513"


class DieLink(NamedTuple):
    """A kind of link between dies.

    Attributes:
        bandwidth_gb_per_s_per_mm: each way, per mm of die edge; of bonds: per mm2 of bonded area.
        energy_pj_per_bit: both PHYs together.
        latency_ns: one way, through both PHYs.
        phy_depth_mm: from the edge inwards; of bonds 1: their area is the bonded area.
        by_area: whether the bandwidth is one per mm2 (bonds) and no edge is used.
        source: where the numbers come from.
    """

    bandwidth_gb_per_s_per_mm: float
    energy_pj_per_bit: float
    latency_ns: float
    phy_depth_mm: float
    by_area: bool
    source: str


#: Bandwidths are published for both directions together: half of them each way.
DIE_LINKS: dict[str, DieLink] = {
    "ucie_standard": DieLink(
        224 / 2, 0.55, 1.0, 1.8, False,
        f"{HOT_INTERCONNECTS}: 224 GB/s per mm both ways, 0.5-0.6 pJ/bit, about 2 ns there and back; depth from the "
        "specification's 125 GB/s per mm2",
    ),
    "ucie_advanced": DieLink(
        1316 / 2, 0.275, 1.0, 0.98, False,
        f"{HOT_INTERCONNECTS}: 1.3 TB/s per mm both ways (64 lanes x 32 GT/s in 0.389 mm: 658 GB/s per mm and direction), "
        "0.25-0.3 pJ/bit; depth from the specification's 1.35 TB/s per mm2",
    ),
    "bonded_3d": DieLink(
        4000 / 2, 0.05, 1.0, 1.0, True,
        f"{HOT_INTERCONNECTS}: about 4 TB/s per mm2 both ways and 0.05 pJ/bit at 9 um bonds",
    ),
}  # fmt: skip


def link_numbers(link: DieLink) -> dict[str, float]:
    """A kind's numbers by the section's names.

    >>> link_numbers(DIE_LINKS["bonded_3d"])["die_link_by_area"]
    1.0
    """
    return {
        "die_link_bandwidth_gb_per_s_per_mm": link.bandwidth_gb_per_s_per_mm,
        "die_link_energy_pj_per_bit": link.energy_pj_per_bit,
        "die_link_latency_ns": link.latency_ns,
        "die_link_phy_depth_mm": link.phy_depth_mm,
        "die_link_by_area": float(link.by_area),
    }


__all__ = ["DIE_LINKS", "HOT_INTERCONNECTS", "DieLink", "link_numbers"]
