"""Experts that are fetched and written while a run needs them, for the ledger of the multiplexed chip."""

from __future__ import annotations

from pimjax.chips.ledger import ComponentSpec, Condition, Read, Reader, reads

SWAPS = Condition(
    "system.residency", "swap", lambda config: config.system.residency == "swap" and config.model.num_experts > 0
)
_ANALOG = Condition(
    "plan.expert_tile",
    "analog",
    lambda config: config.plan.tile != "digital_sram" and config.plan.expert_tile != "digital",
)
_DIGITAL = Condition(
    "plan.expert_tile",
    "digital",
    lambda config: config.plan.tile == "digital_sram" or config.plan.expert_tile == "digital",
)


def swap_component(
    blocks: tuple[Read, ...], memory_time: tuple[Read, ...], memory_energy: tuple[Read, ...]
) -> ComponentSpec:
    """Fetching and writing. `blocks`: reads that decide how many crossbars an expert has."""
    size = reads("numerics.weight_bits")
    passes = reads("program_verify_passes", SWAPS, _ANALOG)

    def swapping(items: tuple[Read, ...], *when: Condition) -> tuple[Read, ...]:
        return tuple(item.given(SWAPS, *when) for item in items)

    return ComponentSpec(
        "expert_swap",
        "fetching and writing experts",
        "crossbars",
        "experts that are not on the chip: more of them on it (system.resident_experts), or tiles that are written faster, help",
        time=passes
        + reads("program_pulse_mvms mvm_latency_ns crossbar_rows", SWAPS, _ANALOG)
        + reads("system_sram_row_write_ns crossbar_rows", SWAPS, _DIGITAL)
        + swapping(memory_time + size),
        energy=passes
        + reads("program_pulse_energy_pj", SWAPS, _ANALOG)
        + swapping(blocks, _ANALOG)
        + reads("system_sram_write_energy_pj_per_bit", SWAPS, _DIGITAL)
        + swapping(memory_energy + size),
        counted="experts written",
    )


def swap_readers(experts: Condition) -> tuple[Reader, ...]:
    """What else reads the keys of residency."""
    return (
        Reader(
            "which experts are on the chip",
            reads("system.residency", experts) + reads("system.resident_experts system.replacement", SWAPS),
        ),
        Reader("wear", reads("system_pcm_endurance_cycles program_verify_passes", SWAPS, _ANALOG)),
    )
