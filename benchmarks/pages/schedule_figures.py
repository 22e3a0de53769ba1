"""Pictures of the schedule policies for `docs/schedules.md`: the paper's example, packing step by step, the bound.

python benchmarks/pages/schedule_figures.py            # writes docs/images/schedule_*.png
python benchmarks/pages/schedule_figures.py --quick    # the paper's example only, writes nothing
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.lib.paths import COMMITTED, GOLDEN, IMAGES
from pimjax.schedule import IDLE, POLICIES, schedule_slots

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")  # told apart by colour-blind readers


def paper_example() -> tuple[np.ndarray, np.ndarray]:
    """Choices `[6, 8]` and groups `[8]` of the paper's scheduling figure."""
    figure = json.loads((GOLDEN / "paper_schedule_figure.json").read_text())
    choices, groups = np.zeros((6, 8), bool), np.zeros(8, int)
    for token, experts in enumerate(figure["token_experts"]):
        choices[token, np.array(experts) - 1] = True
    for group, members in enumerate(figure["groups"]):
        groups[np.array(members) - 1] = group
    return choices, groups


def loads_per_slot(slots: np.ndarray) -> list[int]:
    """Tokens brought in each slot."""
    return [len(set(row[row != IDLE].tolist())) for row in slots]


def draw(axis: Any, slots: np.ndarray, width: int) -> None:
    """Groups x slots, coloured by token, with the loads of each slot below."""
    num_groups = slots.shape[1]
    for s, row in enumerate(slots):
        for j, token in enumerate(row):
            if token != IDLE:
                axis.add_patch(plt.Rectangle((s, j), 0.94, 0.9, color=COLOURS[token % len(COLOURS)]))
                axis.text(s + 0.47, j + 0.47, f"t{token + 1}", ha="center", va="center", color="white", fontsize=8)
        axis.text(
            s + 0.47, num_groups + 0.42, len(set(row[row != IDLE].tolist())), ha="center", va="center", fontsize=8
        )
    axis.text(-0.15, num_groups + 0.42, "loads", ha="right", va="center", fontsize=8)
    axis.set(xlim=(-0.05, width), ylim=(num_groups + 0.8, -0.05), yticks=np.arange(num_groups) + 0.45, xticks=[])
    axis.set_yticklabels([f"group {j + 1}" for j in range(num_groups)], fontsize=8)
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)


def figure_policies(choices: np.ndarray, groups: np.ndarray) -> Any:
    """The paper's figure with this project's policy beside it."""
    figure, axes = plt.subplots(len(POLICIES), 1, figsize=(7, 7.6), layout="constrained")
    schedules = {policy: schedule_slots(choices, groups, policy=policy, num_groups=4) for policy in POLICIES}
    width = max(len(slots) for slots in schedules.values())
    for axis, (policy, slots) in zip(axes, schedules.items(), strict=True):
        draw(axis, slots, width)
        total = sum(loads_per_slot(slots))
        axis.set_title(f"{policy}: {len(slots)} slots, {total} loads", fontsize=10, loc="left")
    return figure


def figure_steps(choices: np.ndarray, groups: np.ndarray) -> Any:
    """The packed schedule after 1, 3, 5 and all slots, with what every group still owes."""
    slots = schedule_slots(choices, groups, policy="packed", num_groups=4)
    owed = np.bincount(groups[np.nonzero(choices)[1]], minlength=4)
    stages = (1, 3, 5, len(slots))
    figure, axes = plt.subplots(len(stages), 2, figsize=(8, 7.6), width_ratios=(3, 1), layout="constrained")
    for (left, right), count in zip(axes, stages, strict=True):
        draw(left, slots[:count], len(slots))
        rest = owed - (slots[:count] != IDLE).sum(axis=0)
        remaining = len(slots) - count
        left.set_title(f"after slot {count}: {sum(loads_per_slot(slots[:count]))} loads", fontsize=10, loc="left")
        tight = rest >= max(remaining, 1)
        right.barh(np.arange(4) + 0.45, rest, 0.8, color=np.where(tight, "#D55E00", "#999999"))
        right.axvline(remaining, color="black", linewidth=1)
        right.set(ylim=(4.8, -0.05), xlim=(0, len(slots)), yticks=[], xticks=range(0, len(slots) + 1, 2))
        right.set_title("passes owed | slots left", fontsize=8)
        right.tick_params(labelsize=7)
        for side in ("top", "right"):
            right.spines[side].set_visible(False)
    return figure


def figure_bound() -> Any:
    """Loads of every sampled case over the simple bound: packed against what any schedule needs."""
    document = json.loads((COMMITTED / "packing_optimum.json").read_text())
    cases = sorted(document["cases"], key=lambda case: case["relaxed_optimum"] / case["simple_bound"])
    bound = np.array([case["simple_bound"] for case in cases])
    figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
    series = (
        ("limited", "packed, at most 32 open tokens", "s", "#56B4E9"),
        ("packed", "packed", "o", "#0072B2"),
        ("relaxed_optimum", "fewest loads of any schedule (lower bound)", "_", "#D55E00"),
    )
    for key, label, marker, colour in series:
        excess = 100 * (np.array([case[key] for case in cases]) / bound - 1)
        axis.plot(range(len(cases)), excess, marker, color=colour, label=label, markersize=5)
    axis.set_xlabel("sampled requests and layers (GPT-OSS-20B, balanced groups of 4), sorted")
    axis.set_ylabel("loads over the simple bound (%)")
    axis.legend(frameon=False, fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Draw and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="draw one, write nothing; for continuous integration")
    arguments = parser.parse_args()
    example = paper_example()
    figures = {"schedule_policies": figure_policies(*example)}
    if not arguments.quick:
        figures |= {"schedule_packing_steps": figure_steps(*example), "schedule_bound": figure_bound()}
        for name, figure in figures.items():
            figure.savefig(IMAGES / f"{name}.png", dpi=130)
            print(f"wrote {IMAGES / name}.png")


if __name__ == "__main__":
    main()
