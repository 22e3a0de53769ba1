"""Whether a chip is balanced: what each kind of unit takes of the area, and what of the latency it bounds."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from pimjax.chips import CHIPS
from pimjax.chips.chip import Chip
from pimjax.config.config import Config
from pimjax.estimation.result import Estimate

SMALL_AREA, LARGE_LATENCY = 0.01, 0.5
"""Units below this part of the area that bound more than that part of the latency make a chip unbalanced."""


class Part(NamedTuple):
    """Units of one family: their share of the area and the share of the latency that they bound."""

    family: str
    area_share: float
    latency_share: float

    @property
    def is_short(self) -> bool:
        """Whether more of these units would be cheap and would help most."""
        return self.area_share < SMALL_AREA and self.latency_share > LARGE_LATENCY


def parts(result: Estimate, chip: Chip) -> list[Part]:
    """Shares by family of units, the largest part of the latency first. Host.

    Crossbars of experts and of dense layers are one family: a product's time is not told apart by them.

    >>> import pimjax
    >>> config = pimjax.load_config("paper_multiplexed")
    >>> shares = parts(pimjax.estimate(config), CHIPS[config.chip_model])
    >>> round(sum(part.area_share for part in shares), 9), round(sum(part.latency_share for part in shares), 9)
    (1.0, 1.0)
    """
    area, latency = _by_family(chip, result.component_area_mm2), _by_family(chip, result.critical_ns)
    whole_area, whole = sum(area.values()) or 1.0, sum(latency.values()) or 1.0
    found = [
        Part(family, area.get(family, 0.0) / whole_area, latency.get(family, 0.0) / whole)
        for family in dict.fromkeys((*latency, *area))
    ]
    return sorted(found, key=lambda part: -part.latency_share)


def _by_family(chip: Chip, values: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    families = {spec.name: spec.family for spec in chip.components}
    for name, value in zip(chip.component_names, values, strict=True):
        family = families.get(name, "other")
        family = "crossbars" if family == "dense crossbars" else family
        found[family] = found.get(family, 0.0) + float(value)
    return {family: value for family, value in found.items() if value > 0 and math.isfinite(value)}


def advice(config: Config, result: Estimate) -> str:
    """One sentence where units under 1 % of the area bound over half of the latency; else empty.

    >>> import pimjax
    >>> config = pimjax.load_config("paper_multiplexed", {"hardware.num_attention_units": 1, "workload.prompt_tokens": 512})
    >>> advice(config, pimjax.estimate(config)).partition(" take ")[0]
    'attention units'
    """
    chip = CHIPS[config.chip_model]
    keys = [one for one in chip.sizes(config) if one.key.startswith("hardware.")]
    for part in parts(result, chip):
        helping = [one.key for one in keys if one.family == part.family]
        if part.is_short and helping:
            return (
                f"{part.family} units take {part.area_share:.1%} of the area and bound {part.latency_share:.1%} of the "
                f"latency: more of them cost little ({', '.join(helping)}; pimjax size finds how many)"
            )
    return ""
