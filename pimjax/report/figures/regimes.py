"""Which plan is best where: by the time of a load against a slot, and by the part of the area that can be shared."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.report.figures.studies import study
from pimjax.report.figures.style import dark

NAME = "regimes"
ABOUT = "regime map: best grouping and policy by load time and shareable area, and its gain over no sharing"
HEIGHT = {"column": 4.4, "page": 2.7}
_LETTERS = {"token_wise": "T", "compact": "C", "reschedule": "R", "packed": "P"}


def draw(figure: Any, page: bool) -> None:
    """Fill an empty figure."""
    draw_rows(figure, page, study("regimes", "benchmarks/studies/worth_study.py")["rows"])


def draw_rows(figure: Any, page: bool, rows: list[dict[str, Any]]) -> None:
    """The map of given rows (units, t_load/t_stage, s, policy, g, gain_over_best_without_sharing)."""
    units = sorted({row["units"] for row in rows})
    ratios = sorted({row["t_load/t_stage"] for row in rows})
    fractions = sorted({row["s"] for row in rows})
    key = "gain_over_best_without_sharing"
    limits = min(row[key] for row in rows), max(row[key] for row in rows)
    panels = np.atleast_1d(
        figure.subplots(1, len(units), sharey=True) if page else figure.subplots(len(units), 1, sharex=True)
    )
    image = None
    for axes, count in zip(panels, units, strict=True):
        chosen = {(row["s"], row["t_load/t_stage"]): row for row in rows if row["units"] == count}
        grid = np.array([[chosen[s, ratio][key] for ratio in ratios] for s in fractions])
        image = axes.imshow(grid, cmap="cividis", vmin=limits[0], vmax=limits[1], aspect="auto", origin="lower")
        for y, s in enumerate(fractions):
            for x, ratio in enumerate(ratios):
                row = chosen[s, ratio]
                colour = "white" if dark(image.cmap(image.norm(row[key]))) else "black"
                axes.text(
                    x, y, f"{_LETTERS[row['policy']]}{row['g']}", ha="center", va="center", fontsize=6.5, color=colour
                )
        axes.set_xticks(range(len(ratios)), [f"{ratio:g}" for ratio in ratios])
        axes.set_yticks(range(len(fractions)), [f"{s:g}" for s in fractions])
        axes.set(title=f"{count:g} digital units")
        if page or axes is panels[-1]:
            axes.set_xlabel("time of a load / slot interval")
        if not page or axes is panels[0]:
            axes.set_ylabel("shareable part of the area")
        axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=list(panels), location="right" if page else "bottom", pad=0.02, aspect=25)
    bar.set_label("best plan's area efficiency /\nbest without sharing")
    between = "; " if page else "\n"
    figure.supxlabel(
        f"letter: policy (T token-wise, C compact, R reschedule, P packed){between}number: experts per group",
        fontsize=6.5,
    )
