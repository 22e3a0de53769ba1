"""Error of the fast models against the exact engine: distribution for the multiplexed chip, summary for the authors'."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.report.figures.studies import study
from pimjax.report.palette import FIDELITY_COLOURS

NAME = "error"
ABOUT = "latency error of the fluid and closed models against the event engine, both chips"
HEIGHT = {"column": 5.6, "page": 2.7}
_STYLES = {"prefill": "-", "cached": "--", "batch": "-.", "recompute": ":", "prefetch": (0, (6, 1, 1, 1, 1, 1))}
_FLOOR = 1e-5


def draw(figure: Any, page: bool) -> None:
    """Fill an empty figure."""
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1)) if page else figure.subplots(2, 1)
    found = study("multiplexed_error", "benchmarks/validation/multiplexed_error.py")
    for mode, entry in found["modes"].items():
        for fidelity in ("fluid", "closed"):
            if fidelity in entry:
                errors = np.maximum(entry[fidelity]["quantiles"], _FLOOR)
                left.plot(100 * errors, found["at"], linestyle=_STYLES.get(mode, "-"), color=FIDELITY_COLOURS[fidelity],
                          label=f"{fidelity}, {mode} ({entry['runs']} runs, mean {entry[fidelity]['mean']:.2%})")  # fmt: skip
    left.set(
        xscale="log", xlabel="|latency error| [%]", ylabel="share of runs", title="Multiplexed chip", ylim=(0, 1.01)
    )
    left.set_xlim(100 * _FLOOR, 20)
    left.grid()
    figure.legend(
        *left.get_legend_handles_labels(),
        fontsize=6.3,
        loc="outside lower center",
        ncols=3 if page else 1,
        handlelength=3,
    )
    sets = study("reference_error", "benchmarks/validation/reference_error.py")["sets"]
    chosen = {"published": "published scale", "small": "small models"}
    statistics = (("mean_percent", "mean"), ("p95_percent", "95 %"), ("p99_percent", "99 %"), ("max_percent", "max"))
    for column, (name, label) in enumerate(chosen.items()):
        for offset, fidelity in enumerate(("fluid", "closed")):
            for bar, (key, short) in enumerate(statistics):
                place = column * 9.4 + offset * 4.4 + bar
                value = sets[name][fidelity][key]
                right.bar(place, value, 0.84, color=FIDELITY_COLOURS[fidelity], alpha=1 - 0.2 * bar, label=fidelity if (column, bar) == (0, 0) else None)  # fmt: skip
                right.text(place, value * 1.06, short, rotation=90, ha="center", va="bottom", fontsize=5.8)
        right.text(
            column * 9.4 + 3.7,
            0.026,
            f"{label}\n({sets[name]['fluid']['runs']} runs)",
            ha="center",
            va="top",
            fontsize=6.5,
        )
    right.set(yscale="log", ylim=(0.03, 30), ylabel="|latency error| [%]", title="Authors' chip")
    right.set_xticks([])
    right.legend(loc="upper left", ncols=2)
    right.grid(axis="y")
