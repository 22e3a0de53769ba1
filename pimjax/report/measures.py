"""How measures of an estimate read: name, unit, and whether more is better; quantities in the unit that reads best."""

from __future__ import annotations

import math
from typing import NamedTuple


class Measure(NamedTuple):
    """Name, unit and direction of a field of :class:`pimjax.Estimate`."""

    label: str
    unit: str
    larger_is_better: bool = False

    def title(self) -> str:
        """Label with the unit in brackets."""
        return f"{self.label} [{self.unit}]" if self.unit else self.label


#: field -> how it is shown
MEASURES: dict[str, Measure] = {
    "latency_ns": Measure("latency", "ns"),
    "energy_nj": Measure("energy", "nJ"),
    "area_mm2": Measure("area", "mm2"),
    "flops": Measure("operations", "", True),
    "power_w": Measure("power", "W"),
    "edp_nj_ns": Measure("energy x delay", "nJ ns"),
    "tokens_per_s": Measure("tokens per second", "1/s", True),
    "pipeline_tokens_per_s": Measure("tokens per second, layers pipelined", "1/s", True),
    "gops": Measure("throughput", "GOPS", True),
    "gops_per_w": Measure("energy efficiency", "GOPS/W", True),
    "gops_per_mm2": Measure("area efficiency", "GOPS/mm2", True),
    "gops_per_w_per_mm2": Measure("efficiency", "GOPS/W/mm2", True),
    "moe_latency_ns": Measure("expert phases", "ns"),
    "moe_area_mm2": Measure("MoE area", "mm2"),
    "moe_gops_per_w_per_mm2": Measure("efficiency over the MoE area", "GOPS/W/mm2", True),
    "crossbars": Measure("crossbars", ""),
    "dies": Measure("reticles", ""),
    "expert_hit_rate": Measure("visits that find their expert on the chip", "", True),
    "lifetime_years": Measure("lifetime", "years", True),
    "peak_memory_bytes": Measure("peak memory", "B"),
}

_SCALES = {
    "ns": ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns")),
    "nJ": ((1e9, "J"), (1e6, "mJ"), (1e3, "uJ"), (1.0, "nJ"), (1e-3, "pJ")),
    "B": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")),
    "years": ((1.0, "years"), (1 / 365.25, "days"), (1 / 8766, "hours")),
}


def scale_of(largest: float, unit: str) -> tuple[float, str]:
    """Divisor and unit in which numbers up to `largest` read best.

    >>> scale_of(244282.5, "ns")
    (1000.0, 'us')
    """
    for scale, name in _SCALES.get(unit, ((1.0, unit),)):
        if abs(largest) >= scale:
            return scale, name
    return _SCALES.get(unit, ((1.0, unit),))[-1]


def number(value: float | int | None, digits: int = 4) -> str:
    """A number for people: thousands separated, `digits` significant digits.

    >>> number(6592), number(0.01234567), number(4179.328), number(None)
    ('6,592', '0.01235', '4,179', '-')
    """
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.{digits}g}"
    return f"{value:.{digits}g}"


def quantity(value: float | None, unit: str) -> tuple[str, str]:
    """Number and unit of a quantity, in the multiple that reads best.

    >>> quantity(244282.5, "ns")
    ('244.3', 'us')
    """
    if value is None:
        return "-", unit
    scale, name = scale_of(value, unit)
    return number(value / scale), name
