"""Perplexity of a trained MoE language model on crossbars against the energy and area of a tile."""

from __future__ import annotations

from typing import Any

from pimjax.report.figures.studies import study
from pimjax.report.palette import OKABE_ITO

NAME = "perplexity"
ABOUT = "perplexity against tile energy and area by ADC bits: what no other setting beats"
HEIGHT = {"column": 4.4, "page": 2.4}
_SHOWN = {"adc_bits_mse": ("range by least error", "o", "blue"), "adc_bits_percentile": ("range by percentile", "s", "orange")}  # fmt: skip
_WORST = 12.0


def draw(figure: Any, page: bool) -> None:
    """Fill an empty figure."""
    found = study("perplexity", "benchmarks/studies/perplexity_study.py")
    panels = figure.subplots(1, 2, sharey=True) if page else figure.subplots(2, 1)
    for axes, (key, label) in zip(
        panels, (("tile_energy_nj", "energy of a tile [nJ]"), ("tile_area_mm2", "area of a tile [mm2]")), strict=True
    ):
        rows = [row for row in found["rows"] if row["perplexity"] <= _WORST and row["sweep"] in _SHOWN]
        axes.plot(*zip(*front([(row[key], row["perplexity"]) for row in rows]), strict=True), drawstyle="steps-post",
                  color=OKABE_ITO["grey"], linewidth=1, zorder=1, label="not beaten")  # fmt: skip
        for sweep, (name, marker, colour) in _SHOWN.items():
            mine = [row for row in rows if row["sweep"] == sweep]
            axes.scatter([row[key] for row in mine], [row["perplexity"] for row in mine], marker=marker, s=18,
                         color=OKABE_ITO[colour], label=name, zorder=3)  # fmt: skip
            if sweep == "adc_bits_mse":
                for row in mine:
                    axes.annotate(
                        f"{row['value']} bit",
                        (row[key], row["perplexity"]),
                        xytext=(3, 4),
                        textcoords="offset points",
                        fontsize=6.5,
                    )
        axes.axhline(found["exact_perplexity"], color="black", linewidth=0.7, linestyle="--")
        axes.set(
            xlabel=label, ylabel="perplexity on held-out text" if axes is panels[0] or not page else "", yscale="log"
        )
        axes.set_yticks([4.5, 5, 6, 8, 10], ["4.5", "5", "6", "8", "10"])
        axes.minorticks_off()
        axes.grid(axis="y")
    panels[0].set_xscale("log")
    panels[0].set_xticks([1, 2, 5, 10, 30], ["1", "2", "5", "10", "30"])
    panels[0].minorticks_off()
    panels[0].annotate(
        "float32",
        (1.1, found["exact_perplexity"]),
        va="bottom",
        fontsize=6.5,
        xytext=(0, 1.5),
        textcoords="offset points",
    )
    panels[0].legend(loc="upper right")


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points that no other beats in both numbers, by the first one.

    >>> front([(1.0, 3.0), (2.0, 2.0), (3.0, 2.5)])
    [(1.0, 3.0), (2.0, 2.0)]
    """
    best, kept = float("inf"), []
    for first, second in sorted(points):
        if second < best:
            best = second
            kept.append((first, second))
    return kept
