"""Components of the dies, wires and links around the crossbars, for the ledger of the multiplexed chip."""

from __future__ import annotations

from pimjax.chips.ledger import ComponentSpec, Condition, Read, Reader, reads, setting

DIES = setting("system.network", "dies")
NO_DIES = setting("system.network", "none")
#: of what decides how large layers and dies are: what moves a border between dies now and then, and all else by less than
#: a thousandth
_SLIGHT = "mux_area_um2_per_line accumulator_adder_area_um2 buffer_area_mm2_per_mb sram_cache_bytes out_buffer_slots"


def system_reads(names: str, *when: Condition) -> tuple[Read, ...]:
    """Reads of the system's numbers, where there is one."""
    return reads(" ".join(f"system_{name}" for name in names.split()), DIES, *when)


_DIE_SIZE = system_reads(
    "die_area_mm2 dies_per_package die_edge_share bond_area_mm2 die_link_phy_depth_mm die_link_by_area"
)


def _without(items: tuple[Read, ...], names: str) -> tuple[Read, ...]:
    left = {name if "." in name else f"hardware.{name}" for name in names.split()}
    return tuple(item.given(DIES) for item in items if item.key not in left)


def network_components(
    silicon: tuple[Read, ...], bits: tuple[Read, ...], swaps: Condition
) -> tuple[ComponentSpec, ...]:
    """Wires and links. `silicon`: reads that decide how large layers, groups and dies are; `bits`: how large macros are;
    `swaps`: experts are fetched from the memory, across a die."""
    others = "num_digital_units digital_unit_area_mm2 attention_unit_area_mm2 memory_phy_area_mm2"
    distances = _without(silicon, f"{_SLIGHT} {others}") + _without(bits, "")
    fetched = reads(others, DIES, swaps)
    borders = _without(silicon, f"{_SLIGHT} adc_bits numerics.weight_bits numerics.cell_bits shareable_fraction")
    no_bonds = _without(_DIE_SIZE, "system_bond_area_mm2")
    return (
        ComponentSpec(
            "noc",
            "wires of the dies",
            "links",
            "wires and routers of the dies: smaller groups and layers, or shorter ways for results, help",
            time=system_reads("wire_latency_ns_per_mm router_latency_ns") + no_bonds + distances,
            energy=system_reads("wire_energy_pj_per_bit_mm router_energy_pj_per_bit accumulator_bits result_bits")
            + _DIE_SIZE
            + distances
            + fetched,
            counted="bits",
        ),
        ComponentSpec(
            "d2d",
            "links between dies",
            "links",
            "links between dies and packages: experts that tokens choose together on one die, or more dies in a package, help",
            time=system_reads("result_bits die_link_bandwidth_gb_per_s_per_mm package_link_bandwidth_gb_per_s")
            + _DIE_SIZE
            + borders,
            energy=system_reads("result_bits die_link_energy_pj_per_bit package_link_energy_pj_per_bit")
            + no_bonds
            + borders,
            area=_DIE_SIZE + _without(silicon, f"{_SLIGHT} num_digital_units shareable_fraction"),
            counted="messages",
        ),
    )


def network_readers(silicon: tuple[Read, ...], loads: tuple[Read, ...], experts: Condition) -> tuple[Reader, ...]:
    """What else reads the system."""
    return (
        Reader("the number of dies", reads("reticle_area_mm2", NO_DIES)),
        Reader(
            "the silicon that has to be made", system_reads("defect_density_per_cm2 defect_clustering die_area_mm2")
        ),
        Reader("where dies end", _DIE_SIZE + _without(silicon, "")),
        Reader("placement", reads("system.placement", DIES, experts) + reads("system.network system.die_link")),
        Reader("waits for links between dies", system_reads("die_link_latency_ns package_link_latency_ns")),
        Reader("loads into a die", loads),
    )
