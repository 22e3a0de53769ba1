"""What the headlines of an estimate lean on: assumed numbers that carry more than half of one, or move it more than twofold
over their ranges.

The ledger says which components a number acts on, so that only numbers that can matter are tried: each is moved by one per
cent (what part of the headline is proportional to it) and to the ends of its range, in the closed form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pimjax import checks
from pimjax.chips import CHIPS, Chip
from pimjax.config.build import Capacity, Design
from pimjax.config.config import Config
from pimjax.errors import ConfigError
from pimjax.estimation.api import Prepared, prepare, run_kernel
from pimjax.estimation.explain import assumptions
from pimjax.estimation.result import Estimate
from pimjax.trace.routing import RoutingTrace

#: headline -> what people call it, the ledger's quantity, its parts by component
HEADLINES = {
    "latency_ns": ("latency", "time", "critical_ns"),
    "energy_nj": ("energy", "energy", "component_energy_nj"),
    "area_mm2": ("area", "area", "component_area_mm2"),
}
#: A headline leans on what carries more than this part of it, or moves it by more than this factor.
LARGE_SHARE, LARGE_RATIO = 0.5, 2.0
_STEP = 0.01


class Leaning(NamedTuple):
    """One assumption and one headline.

    Attributes:
        headline: field of the estimate.
        key: dotted key of the assumed number; of several that are one assumption, separated by commas.
        meaning: what it is.
        share: part of the headline that is proportional to it (its elasticity), negative where more of it helps.
        low, high: the headline at the ends of the number's range, over what it is now.
    """

    headline: str
    key: str
    meaning: str
    share: float
    low: float
    high: float

    @property
    def sentence(self) -> str:
        """For people.

        >>> Leaning("energy_nj", "hardware.leakage_w", "Leakage", 0.93, 0.1, 90.0).sentence
        '93 % of this energy is an assumption: Leakage (hardware.leakage_w); over its range the energy is 0.1 to 90 times this'
        """
        name = HEADLINES[self.headline][0]
        what = f"{self.meaning.split(' [')[0]} ({self.key})"
        least, most = sorted((self.low, self.high))
        moves = f"the {name} is {least:.2g} to {most:.3g} times this"
        wide = _is_wide(self.low, self.high)
        if abs(self.share) > LARGE_SHARE:
            first = f"{abs(self.share):.0%}".replace("%", " %") + f" of this {name} is an assumption: {what}"
            return f"{first}; over its range {moves}" if wide else first
        return f"{what} is an assumption: over its range {moves}"


@checks.checked(
    ConfigError,
    config=checks.instance(Config, "a Config from pimjax.load_config"),
    result=checks.instance(Estimate, "an Estimate of it"),
)
def leaning(
    config: Config, result: Estimate, trace: RoutingTrace | None = None, *, ready: Prepared | None = None
) -> list[Leaning]:
    """Assumptions that an estimate's latency, energy or area leans on, those that carry most first. Host function.

    Args:
        config: the configuration.
        result: its estimate.
        trace: as for :func:`pimjax.estimate`.
        ready: the run as `prepare` made it for a fast fidelity, if it is there already.

    Raises:
        ConfigError: something else than a configuration and its estimate.

    >>> import pimjax
    >>> leaky = pimjax.load_config("paper_crossbars", {"hardware.idle_power_w_per_mm2": 1e-2, "hardware.gated_power_w_per_mm2": 1e-2})
    >>> found = leaning(leaky, pimjax.estimate(leaky, fidelity="closed"))
    >>> any("gated_power_w_per_mm2" in one.key for one in found if one.headline == "energy_nj")
    True
    """
    chip = CHIPS[config.chip_model]
    rows = [row for row in assumptions(config) if isinstance(row["value"], (int, float)) and row["range"]]
    rows = [row for row in rows if any(_may_matter(config, chip, result, row, name) for name in HEADLINES)]
    if not rows:
        return []
    design, inputs, capacity = ready or prepare(config, trace, "closed")

    def at(values: Mapping[str, float]) -> dict[str, float]:
        return _headlines(design.set({key: np.float64(value) for key, value in values.items()}), inputs, capacity, chip)

    now = at({})
    found = []
    for together in _together(rows):
        keys = [row["key"] for row in together]
        values = np.array([row["value"] for row in together], float)
        ends = np.array([[*row["range"], row["value"]] for row in together], float)
        moved, least, most = (
            at(dict(zip(keys, tried, strict=True))) for tried in ((1 + _STEP) * values, ends.min(1), ends.max(1))
        )
        meaning = together[0]["meaning"] if len(together) == 1 else "idle power"
        for name, whole in now.items():
            if whole > 0:
                share = (moved[name] / whole - 1) / _STEP
                one = Leaning(name, ", ".join(keys), meaning, share, least[name] / whole, most[name] / whole)
                if abs(share) > LARGE_SHARE or _is_wide(one.low, one.high):
                    found.append(one)
    return sorted(found, key=lambda one: -abs(one.share))


def _together(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Assumptions one by one, but for powers per area: they are one assumption about what leaks."""
    leaks = [row for row in rows if row["unit"] == "W/mm2"]
    others = [[row] for row in rows if row["unit"] != "W/mm2"]
    return [leaks, *others] if leaks else others


def _is_wide(low: float, high: float) -> bool:
    least, most = min(low, high, 1.0), max(low, high, 1.0)
    return most > LARGE_RATIO * least


def _may_matter(config: Config, chip: Chip, result: Estimate, row: Mapping[str, Any], headline: str) -> bool:
    """Whether a number could carry or move so much, if what its components cost were proportional to it."""
    _, quantity, field = HEADLINES[headline]
    parts = np.asarray(getattr(result, field), float)
    readers = {
        spec.name
        for spec in chip.components
        if any(read.key == row["key"] and read.is_active(config) for read in getattr(spec, quantity))
    }
    reads = [name in readers for name in chip.component_names]
    share = float(parts @ np.array(reads, float)) / max(float(parts.sum()), 1e-300)
    value, (low, high) = float(row["value"]), row["range"]
    if not value:
        return any(reads) and high > 0
    return share > LARGE_SHARE or share * (high / value - 1) > LARGE_RATIO - 1 or share * (1 - low / value) > 0.5


def _headlines(design: Design, inputs: Any, capacity: Capacity, chip: Chip) -> dict[str, float]:
    if chip.runs_on_host(inputs):
        cost = chip.cost(design, inputs, capacity=capacity, fidelity="closed", critical=False)
        energy, area = cost.component_energy_nj.sum(), cost.component_area_mm2.sum()
        return {"latency_ns": float(cost.latency_ns), "energy_nj": float(energy), "area_mm2": float(area)}
    made = run_kernel(design, inputs, capacity, chip, "closed")
    return {name: float(getattr(made, name)) for name in HEADLINES}
