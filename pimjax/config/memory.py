"""The memory beside the crossbars: what it is described by, and how a configuration names it.

`memory: hbm3` starts from shipped numbers (`configs/memory`), `memory: {preset: hbm3, channels: 2}` replaces single ones.
The numbers become `memory_*` of the chip's `hardware` section, so that they can be swept, tuned and differentiated as
every other hardware number; `memory.channels` and `hardware.memory_channels` are two spellings of one key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pimjax.config.base import Section, number
from pimjax.config.system import PREFIX, SYSTEM_NUMBERS

#: What `memory` is where nothing is said: one stack, sized to a chip of some thousand mm2.
DEFAULT_MEMORY = "hbm3"
_NONE = "assumption without a published source"

#: Arguments of every number; the defaults are those of DEFAULT_MEMORY.
_NUMBERS: dict[str, tuple[float, dict[str, Any]]] = {
    "energy_pj_per_bit": (
        5,
        {"unit": "pJ/bit", "about": "Energy of a bit read or written", "spread": (3.5, 8), "assumed": True, "ge": 0,
         "source": "assumption with the interface; HBM2 3.9, HBM3E 7 to 9 by a weak source"},
    ),
    "bandwidth_gb_per_s": (
        819,
        {"unit": "GB/s", "about": "Bandwidth of one channel or stack", "source": "JEDEC JESD238: 1,024 bit x 6.4 Gb/s", "gt": 0},
    ),
    "channels": (
        1,
        {"unit": "channels", "about": "Channels or stacks; transfers are striped over them", "source": "one stack", "gt": 0,
         "chosen": True, "whole": True},
    ),
    "capacity_gb": (
        16,
        {"unit": "GB", "about": "Capacity of one channel or stack", "source": "JEDEC JESD238: eight dies of 16 Gb", "gt": 0,
         "chosen": True},
    ),
    "idle_w": (
        1.5,
        {"unit": "W", "about": "Power of one channel or stack that is drawn whatever it does", "source": _NONE,
         "spread": (0.5, 3), "assumed": True, "ge": 0},
    ),
    "latency_ns": (
        100,
        {"unit": "ns", "about": "First access, where nothing could be asked for ahead",
         "source": f"{_NONE}; row cycle and controller", "spread": (60, 150), "assumed": True, "ge": 0},
    ),
    "phy_area_mm2": (
        12,
        {"unit": "mm2", "about": "Interface of one channel or stack on the die; sram: the array", "source": _NONE,
         "spread": (8, 20), "assumed": True, "ge": 0},
    ),
}  # fmt: skip


def memory_number(name: str) -> Any:
    """The field of a section for one of the memory's numbers, with the default memory's value and source."""
    default, facts = _NUMBERS[name]
    return number(default, **facts)


class MemorySection(Section):
    """The memory beside the crossbars; every number is of one channel or stack."""

    energy_pj_per_bit: float = memory_number("energy_pj_per_bit")
    bandwidth_gb_per_s: float = memory_number("bandwidth_gb_per_s")
    channels: float = memory_number("channels")
    capacity_gb: float = memory_number("capacity_gb")
    idle_w: float = memory_number("idle_w")
    latency_ns: float = memory_number("latency_ns")
    phy_area_mm2: float = memory_number("phy_area_mm2")


_AUTHORS_BANDWIDTH = 5.332
#: What old keys were numbers of.
OLD_MEMORY = "lpddr4"
#: Old hardware key -> the memory's number it became.
OLD_KEYS = {
    "dram_bandwidth_gb_per_s": "bandwidth_gb_per_s",
    "dram_active_power_w": "energy_pj_per_bit",
    "dram_idle_power_w": "idle_w",
}
#: Old dotted key -> the key it became, and why.
BECAME = {f"hardware.{old}": f"hardware.memory_{name}" for old, name in OLD_KEYS.items()}
WHY = {
    "hardware.dram_bandwidth_gb_per_s": "write memory.bandwidth_gb_per_s; a bit costs the same at any bandwidth now",
    "hardware.dram_active_power_w": "write memory.energy_pj_per_bit, power [W] / bandwidth [GB/s] x 125",
    "hardware.dram_idle_power_w": "write memory.idle_w",
}


def hardware_key(dotted: str) -> str:
    """The key of the hardware section that `memory.NUMBER` or `system.NUMBER` is another spelling of; others as they are.

    >>> hardware_key("memory.channels"), hardware_key("system.die_area_mm2"), hardware_key("plan.policy")
    ('hardware.memory_channels', 'hardware.system_die_area_mm2', 'plan.policy')
    """
    section, _, name = dotted.partition(".")
    if section == "system" and name in SYSTEM_NUMBERS:
        return f"hardware.{PREFIX}{name}"
    return f"hardware.memory_{name}" if section == "memory" and name in _NUMBERS else dotted


def from_old_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """The memory's numbers that old keys (:data:`OLD_KEYS`) became; others, and what is no number, are left out.

    Energy was a power while transferring: power / bandwidth, so that it fell with the bandwidth alone. A bit now costs
    what the two said together, at the authors' 5.332 GB/s where only the power is given.

    >>> from_old_keys({"dram_bandwidth_gb_per_s": 10.664})
    {'bandwidth_gb_per_s': 10.664}
    >>> round(from_old_keys({"dram_active_power_w": 0.2467, "dram_idle_power_w": 0})["energy_pj_per_bit"], 4)
    5.7835
    """
    given = {name: values[old] for old, name in OLD_KEYS.items() if old in values}
    power, bandwidth = given.get("energy_pj_per_bit"), given.get("bandwidth_gb_per_s", _AUTHORS_BANDWIDTH)
    if _is_number(power) and _is_number(bandwidth) and bandwidth > 0:
        given["energy_pj_per_bit"] = power / bandwidth * 125
    return given


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
