"""Activation loads of every policy against the bound that no schedule can beat, and the slots they take."""

from __future__ import annotations

from typing import Any

from pimjax.report.figures.studies import study
from pimjax.report.palette import POLICY_COLOURS, POLICY_NAMES

NAME = "loads"
ABOUT = "loads and slots per token by group size on GPT-OSS-20B routing: every policy against the bound"
HEIGHT = {"column": 4.2, "page": 2.4}
_MODEL = "GPT-OSS-20B"


def draw(figure: Any, page: bool) -> None:
    """Fill an empty figure."""
    found = study("loads", "benchmarks/studies/contention_study.py")["models"][_MODEL]
    sizes = sorted(int(size) for size in found)
    left, right = figure.subplots(1, 2) if page else figure.subplots(2, 1)
    bound = [found[str(size)]["packed"]["loads"] / found[str(size)]["packed"].get("over_bound", 1.0) for size in sizes]
    left.plot(sizes, bound, color="black", linewidth=4, alpha=0.22, label="bound", solid_capstyle="round")
    for policy, marker in (("compact", "s"), ("reschedule", "D"), ("token_wise", "o"), ("packed", "^")):
        rows = [found[str(size)][policy] for size in sizes]
        colour = POLICY_COLOURS[policy]
        left.plot(sizes, [row["loads"] for row in rows], marker + "-", color=colour, label=POLICY_NAMES[policy])
        left.fill_between(sizes, [row["loads_low"] for row in rows], [row["loads_high"] for row in rows], color=colour, alpha=0.18, linewidth=0)  # fmt: skip
        right.plot(sizes, [row["slots"] for row in rows], marker + "-", color=colour, label=POLICY_NAMES[policy])
    over = max(found[str(size)]["packed"].get("over_bound", 1.0) for size in sizes) - 1
    left.set(title="Loads", ylabel="loads per token", xlabel="experts per group", ylim=(0, 4.4))
    left.annotate(f"packed: at most {over:.1%} above the bound\n(mean over requests and layers)", (0.98, 0.04),
                  xycoords="axes fraction", ha="right", fontsize=6.5)  # fmt: skip
    right.set(title="Schedule length", ylabel="slots per token", xlabel="experts per group")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.grid(axis="y")
    right.annotate(
        "compact, reschedule and packed: equal", (0.98, 0.04), xycoords="axes fraction", ha="right", fontsize=6.5
    )
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5 if page else 3)
