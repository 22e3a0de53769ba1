"""The published chip against the one that gradient tuning finds: measures and the parameters that moved."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.report.figures.studies import study
from pimjax.report.figures.style import label_bars
from pimjax.report.palette import OKABE_ITO

NAME = "tuned"
ABOUT = "tuned against published chip: latency, energy and area, exact, at equal area, energy or latency"
HEIGHT = {"column": 4.2, "page": 2.5}
_MEASURES = (("latency_ns", "latency", "blue"), ("energy_nj", "energy", "orange"), ("area_mm2", "area", "green"))


def cases() -> dict[str, dict[str, Any]]:
    """Base and tuned measures of the paper's chips by the event engine, from the committed study."""
    found = study("tuned", "benchmarks/studies/tune_case_study.py")["cases"]
    return {name: case for name, case in found.items() if name.startswith("paper_multiplexed")}


def draw(figure: Any, page: bool) -> None:
    """Fill an empty figure."""
    found = cases()
    axes = figure.subplots()
    draw_bars = axes.bar if page else axes.barh  # names of many chips fit beside horizontal bars
    for offset, (key, label, colour) in enumerate(_MEASURES):
        ratios = [case["tuned"][key] / case["base"][key] for case in found.values()]
        bars = draw_bars(
            np.arange(len(found)) + (offset - 1) * 0.27, ratios, 0.25, color=OKABE_ITO[colour], label=label
        )
        label_bars(axes, bars)
    names, label = [_name(name) for name in found], "tuned / published chip (exact)"
    if page:
        axes.axhline(1, color="black", linewidth=0.8)
        axes.set_xticks(range(len(found)), names)
        axes.set(xlim=(-0.6, max(len(found) - 0.4, 1.2)), ylabel=label)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.18)
        axes.legend(ncols=3, loc="upper right")
    else:
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_yticks(range(len(found)), names)
        axes.set(ylim=(max(len(found) - 0.4, 1.2), -0.6), xlabel=label)
        figure.legend(ncols=3, loc="outside upper center")


def _name(case: str) -> str:
    """`paper_multiplexed_S2O_equal_area` -> two lines for an axis."""
    words = case.removeprefix("paper_multiplexed_").removeprefix("paper_")
    chip, _, target = words.partition("_equal_")
    chip = chip.replace("_", " ")
    return f"{chip},\n{target} held"
