"""Where latency, energy and area go: the authors' chip and the multiplexed one, by families of components."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.chips import CHIPS, Chip
from pimjax.config.loader import load_config
from pimjax.estimation.api import estimate
from pimjax.report.measures import quantity
from pimjax.report.palette import FAMILIES

NAME = "breakdown"
ABOUT = (
    "latency (critical path), energy and area by component: authors' chip and multiplexed chip, prefill and generation"
)
HEIGHT = {"column": 4.6, "page": 2.3}
_CACHED = {
    "workload.generated_tokens": 8,
    "workload.kv_cache": True,
    "workload.prefill": False,
    "workload.prompt_tokens": 32,
}
#: row -> preset, overrides, fidelity
ROWS: dict[str, tuple[str, dict[str, Any], str]] = {
    "authors' chip,\nprefill 32": ("paper_reference", {}, "event"),
    "authors' chip,\ngenerate 8, KV + GO": ("paper_reference", {**_CACHED, "workload.go_cache": "authors"}, "event"),
    "multiplexed,\nprefill 32": ("paper_multiplexed", {"workload.prompt_tokens": 32}, "event"),
    "multiplexed,\ngenerate 8, KV": ("paper_multiplexed", _CACHED, "event"),
}
_PANELS = (("critical_ns", "latency, critical path", "ns"), ("component_energy_nj", "energy", "nJ"), ("component_area_mm2", "area", "mm2"))  # fmt: skip


def shares(chip: Chip, values: Any) -> dict[str, float]:
    """Share of every family of a chip's components `[C]`; 0 where it has none.

    >>> chip = CHIPS["multiplexed"]
    >>> round(sum(shares(chip, np.ones(len(chip.component_names))).values()), 12)
    1.0
    """
    values = np.asarray(values, float)
    out = dict.fromkeys(FAMILIES, 0.0)
    for name, value in zip(chip.component_names, values, strict=True):
        if value:
            out[chip.spec(name).family] += float(value)
    return {family: value / float(values.sum()) for family, value in out.items()}


def draw(figure: Any, page: bool) -> None:
    """Fill an empty figure."""
    configs = {name: load_config(preset, overrides) for name, (preset, overrides, _) in ROWS.items()}
    results = {name: estimate(config, fidelity=ROWS[name][2]) for name, config in configs.items()}
    chips = [CHIPS[config.chip_model] for config in configs.values()]
    panels = figure.subplots(1, 3, sharey=True) if page else figure.subplots(3, 1, sharex=True)
    for axes, (field, title, unit) in zip(panels, _PANELS, strict=True):
        for place, result in enumerate(results.values()):
            values = np.asarray(getattr(result, field), float)
            left = 0.0
            for family, share in shares(chips[place], values).items():
                axes.barh(place, share, left=left, color=FAMILIES[family][0], height=0.62)
                if share >= 0.12:
                    axes.text(
                        left + share / 2, place, f"{share:.0%}", ha="center", va="center", fontsize=6.5, color="white"
                    )
                left += share
            axes.text(1.02, place, " ".join(quantity(float(values.sum()), unit)), va="center", fontsize=6.5)
        axes.set_yticks(range(len(results)), list(results))
        axes.set(title=title, xlim=(0, 1), ylim=(len(results) - 0.5, -0.5))
        axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
        axes.tick_params(axis="y", length=0)
    used = {spec.family for chip in chips for spec in chip.components}
    shown = [(colour, label) for family, (colour, label) in FAMILIES.items() if family in used]
    figure.legend(
        [_patch(colour) for colour, _ in shown],
        [label for _, label in shown],
        loc="outside lower center",
        ncols=4 if page else 2,
    )


def _patch(colour: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=colour)
