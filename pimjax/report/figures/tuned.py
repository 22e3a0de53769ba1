"""The published chip against the one that gradient tuning finds: measures and the parameters that moved."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.report.figures.studies import has_study, study
from pimjax.report.figures.style import label_bars
from pimjax.report.palette import OKABE_ITO

NAME = "tuned"
ABOUT = "tuned against published chip: latency, energy and area, exact, at equal area, energy or latency"
HEIGHT = {"column": 3.0, "page": 2.5}
_MEASURES = (("latency_ns", "latency", "blue"), ("energy_nj", "energy", "orange"), ("area_mm2", "area", "green"))


def cases() -> dict[str, dict[str, Any]]:
    """Base and tuned chip by the event engine: of the committed study, or of one shipped run tuned here."""
    if has_study("tuned"):
        found = study("tuned", "benchmarks/tune_case_study.py")["cases"]
        return {name: case for name, case in found.items() if name.startswith("paper_multiplexed")}
    from pimjax.tuning import load_tune_config, tune

    options = load_tune_config("tune_paper_chip")
    optimiser = options.optimiser.model_copy(update={"steps": 20})
    result = tune(options.model_copy(update={"starts": 4, "optimiser": optimiser}))
    if result.event is None or result.event_base is None:
        return {}
    keys = [key for key, _, _ in _MEASURES]
    sides = {"base": result.event_base, "tuned": result.event}
    return {
        "paper_reference_equal_area": {
            side: {key: float(getattr(one, key)) for key in keys} for side, one in sides.items()
        }
    }


def draw(figure: Any, page: bool) -> None:
    """Fill an empty figure."""
    found = cases()
    axes = figure.subplots()
    for offset, (key, label, colour) in enumerate(_MEASURES):
        ratios = [case["tuned"][key] / case["base"][key] for case in found.values()]
        bars = axes.bar(np.arange(len(found)) + (offset - 1) * 0.27, ratios, 0.25, color=OKABE_ITO[colour], label=label)
        label_bars(axes, bars)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(found)), [_name(name) for name in found])
    axes.set_xlim(-0.6, max(len(found) - 0.4, 1.2))
    axes.set(ylabel="tuned / published chip (exact)")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.18)
    axes.legend(ncols=3, loc="upper right")


def _name(case: str) -> str:
    """`paper_multiplexed_S2O_equal_area` -> two lines for an axis."""
    words = case.removeprefix("paper_multiplexed_").removeprefix("paper_")
    chip, _, target = words.partition("_equal_")
    return f"{chip.replace('_', ' ')},\nequal {target}"
