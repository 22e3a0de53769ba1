"""The paper's scheduling figure: its example under every policy, tokens by group and slot, loads per slot."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.report.figures.studies import study
from pimjax.report.palette import OKABE_ITO, POLICY_NAMES
from pimjax.report.schedule_contents import gantt
from pimjax.schedule import POLICIES, schedule_slots

NAME = "schedule"
ABOUT = "the paper's scheduling figure: its example under every policy, with loads per slot"
HEIGHT = {"column": 3.6, "page": 2.1}
_COLOURS = [OKABE_ITO[name] for name in ("blue", "orange", "green", "vermilion", "purple", "sky", "yellow", "grey")]


def example() -> tuple[HostArray, HostArray]:
    """Choices bool `[6, 8]` and groups int `[8]` of the paper's example.

    >>> choices, groups = example()
    >>> choices.sum(axis=1).tolist(), groups.tolist()
    ([4, 4, 4, 4, 4, 4], [0, 0, 1, 1, 2, 2, 3, 3])
    """
    found = study("schedule_figure", "tests/golden")
    experts = sum(len(members) for members in found["groups"])
    choices = np.zeros((len(found["token_experts"]), experts), bool)
    for token, chosen in enumerate(found["token_experts"]):
        choices[token, np.array(chosen) - 1] = True  # the paper counts from 1
    groups = np.empty(experts, int)
    for group, members in enumerate(found["groups"]):
        groups[np.array(members) - 1] = group
    return choices, groups


def draw(figure: Any, page: bool) -> None:
    """Fill an empty figure."""
    choices, groups = example()
    charts = {policy: gantt(schedule_slots(choices, groups, policy=policy)) for policy in POLICIES}
    slots = max(len(chart["loads"]) for chart in charts.values())
    most = max(max(chart["loads"]) for chart in charts.values())
    places = figure.subfigures(1, 4) if page else figure.subfigures(2, 2)
    for index, ((policy, chart), place) in enumerate(zip(charts.items(), places.flat, strict=True)):
        top, bottom = place.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
        first = index == 0 if page else index % 2 == 0
        loads = chart["loads"]
        top.set_title(f"{POLICY_NAMES[policy]}\n{len(loads)} slots, {sum(loads)} loads", fontsize=7.5)
        count = int(groups.max()) + 1
        for group, row in enumerate(chart["slots"][:count]):
            for slot, token in enumerate(row):
                if token is not None:
                    top.add_patch(_cell(slot, group, _COLOURS[token % len(_COLOURS)]))
                    top.text(slot, group, str(token + 1), ha="center", va="center", fontsize=6, color="white"
                             if token % len(_COLOURS) in (0, 2, 3) else "black")  # fmt: skip
        top.set(xlim=(-0.6, slots - 0.4), ylim=(count - 0.4, -0.6))
        top.set_yticks(range(count), [f"G{group + 1}" for group in range(count)] if first else [])
        top.tick_params(length=0)
        for side in ("left", "bottom"):
            top.spines[side].set_visible(False)
        bottom.bar(range(len(loads)), loads, color="#5b6673", width=0.8)
        bottom.set(ylim=(0, most + 0.4), xlabel="slot")
        bottom.set_yticks([0, most], [0, most] if first else [])
        if first:
            bottom.set_ylabel("loads")
        bottom.set_xticks(range(0, slots, 2), [str(slot + 1) for slot in range(0, slots, 2)])


def _cell(slot: int, group: int, colour: str) -> Any:
    from matplotlib.patches import FancyBboxPatch

    return FancyBboxPatch(
        (slot - 0.42, group - 0.38),
        0.84,
        0.76,
        boxstyle="round,pad=0,rounding_size=0.14",
        facecolor=colour,
        linewidth=0,
    )
