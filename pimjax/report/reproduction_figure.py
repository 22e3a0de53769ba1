"""The published runs and claims as one figure: authors' numbers beside every fidelity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from pimjax.reproduction.claims import claim_rows

#: Okabe-Ito colours: told apart by colour-blind readers too.
COLOURS = {"authors": "#000000", "event": "#0072B2", "fluid": "#E69F00", "closed": "#009E73", "multiplexed": "#CC79A7"}


def reproduction_figure(results: dict[str, Any], path: Path) -> Path:
    """Write the figure; the format follows the file's ending (png, svg, pdf).

    Args:
        results: what :func:`pimjax.reproduction.reproduce` returned.
        path: file to write.
    """
    style = {
        "font.size": 8,
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with plt.rc_context(style):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.6), width_ratios=(1.7, 1), layout="constrained")
        _runs(left, results["lines"])
        _claims(right, results["claims"])
        figure.savefig(path, dpi=160)
        plt.close(figure)
    return path


def _runs(axes: Any, lines: list[dict[str, Any]]) -> None:
    places = range(len(lines))
    axes.set_yticks(places, [line["name"] for line in lines])
    axes.invert_yaxis()
    for fidelity, marker, size in (("closed", "s", 34), ("fluid", "D", 20), ("event", "o", 12)):
        known = [
            (line[fidelity]["latency_ns"] / 1e3, place)
            for place, line in zip(places, lines, strict=True)
            if line[fidelity]
        ]
        axes.scatter(
            *zip(*known, strict=True), marker=marker, s=size, color=COLOURS[fidelity], label=fidelity, zorder=3
        )
    known = [
        (line["reference"]["latency_ns"] / 1e3, place)
        for place, line in zip(places, lines, strict=True)
        if line["reference"]
    ]
    axes.scatter(*zip(*known, strict=True), marker="|", s=130, color=COLOURS["authors"], label="authors", zorder=4)
    axes.set_xscale("log")
    axes.set_xlabel("latency [us]")
    axes.set_title("The authors' 25 published runs", loc="left", fontweight="bold")
    axes.grid(axis="x", alpha=0.25)
    axes.legend(frameon=False, loc="upper right")


def _claims(axes: Any, claims: list[dict[str, Any]]) -> None:
    rows = claim_rows(claims)
    bars = ((1, "authors", "published"), (2, "event", "authors' method"), (3, "multiplexed", "multiplexed chip"))
    for offset, (column, colour, label) in enumerate(bars):
        known = [
            (index + (offset - 1) * 0.26, row[column]) for index, row in enumerate(rows) if row[column] is not None
        ]
        drawn = axes.barh(*zip(*known, strict=True), height=0.24, color=COLOURS[colour], label=label)
        axes.bar_label(drawn, fmt="%.3g", padding=2)
    axes.set_yticks(range(len(rows)), [_label(row[0]) for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_title("The paper's claims", loc="left", fontweight="bold")
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=3)


def _label(name: str) -> str:
    """A claim's name in lines that fit beside the axis."""
    head, unit, tail = name.partition("_gops_per_w_per_mm2_of_")
    return f"{head}: GOPS/W\nper mm2 of {tail}" if unit else name.replace("_", "\n", 1).replace("_", " ")
