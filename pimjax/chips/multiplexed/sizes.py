"""What `pimjax size` may choose of the multiplexed chip: units, memory, and how many experts share peripherals."""

from __future__ import annotations

from pimjax.chips.sizes import Sized, doublings
from pimjax.config.config import Config
from pimjax.runs.residency import resident_experts

_GROUPS = (1, 2, 4, 8)
_MEMORIES = ("lpddr5x", "hbm3", "hbm3e")
"""Memories that a new chip may have; another one, or numbers of a user's own, stays."""


def sizes_of(config: Config) -> tuple[Sized, ...]:
    """Keys and their levels; group sizes only where they divide the experts that the chip holds and no
    map of groups is given, memories only where the configuration names one of them."""
    found = [
        Sized("hardware.num_digital_units", "digital", doublings(4, 1024, halves=True)),
        Sized("hardware.num_attention_units", "attention", doublings(2, 256, halves=True)),
        Sized("hardware.memory_channels", "memory", doublings(1, 16)),
    ]
    if config.memory in _MEMORIES:
        found.append(Sized("memory", "memory", choices=_MEMORIES))
    if config.plan.accumulate == "local":
        found.append(Sized("hardware.accumulator_lanes", "sharing", (16, 64, 256)))
    held = resident_experts(config)
    experts = 0 if config.plan.group_of_expert is not None else config.model.num_experts if held is None else held
    groups = tuple(size for size in _GROUPS if experts and experts % size == 0)
    if len(groups) > 1:
        found.append(Sized("plan.group_size", "crossbars", choices=groups))
    return tuple(found)
