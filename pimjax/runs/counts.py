"""The counts of one pass: every layer scheduled, every slot counted. Host, NumPy: nothing is compiled.

What is counted: :func:`pimjax.schedule.counts.count_slots`, for the host as for the device
(:mod:`pimjax.runs.count_many`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.config.config import Config
from pimjax.runs.reach import leads_of
from pimjax.runs.routing import RunRouting
from pimjax.runs.windows import Windows, layer_windows
from pimjax.schedule.counts import GAP_BINS, PROFILE_ROWS, TAIL_SLOTS, count_slots
from pimjax.schedule.placement import IDLE


class PassCounts(NamedTuple):
    """Counts of one pass.

    Attributes:
        tokens: tokens of the pass.
        rows: the array fields of :class:`~pimjax.runs.run_counts.PassWindows`, each `[MoE layers, ...]`.
        profile: `[PROFILE_ROWS, MoE layers, S]` or None.
    """

    tokens: int
    rows: dict[str, HostArray]
    profile: HostArray | None = None


def count_pass(
    config: Config, routing: RunRouting, choices: HostArray, *, groups: int, profile: bool = False
) -> PassCounts:
    """Schedule every layer of one pass and count its slots.

    Args:
        config: plan of the schedule.
        routing: groups of the experts.
        choices: bool `[MoE layers, T, E]`.
        groups: static G of the histograms.
        profile: also slot by slot.
    """
    plan, passes = config.plan, int(choices.sum())
    counted = []
    for index, layer in enumerate(choices):
        table = layer_windows(
            layer,
            routing.group_of_expert[index],
            policy=plan.policy,
            num_groups=routing.num_groups,
            window_tokens=plan.window_tokens,
            max_open_tokens=plan.max_open_tokens,
            input_hold=plan.input_hold,
            passes=passes,
        )
        one = count_windows(table, hold=plan.input_hold, profile=profile)
        counted.append(one if config.system.network == "none" else {**one, "lead": leads_of(table)})
    slots = max((int(one["makespan"]) for one in counted), default=0)
    rows = {name: np.stack([_cut(one[name], name, slots) for one in counted]) for name in counted[0]} if counted else {}
    return gathered(choices.shape[1], rows, groups, profile=profile)


def count_windows(table: Windows, *, hold: bool, profile: bool = False) -> dict[str, HostArray]:
    """What :func:`~pimjax.schedule.counts.count_slots` finds in the windows of one layer.

    >>> table = layer_windows(np.array([[1, 1, 0, 0]], bool), np.array([0, 0, 1, 1]), policy="compact", num_groups=2)
    >>> int(count_windows(table, hold=False)["makespan"])
    2
    """
    placed, opens = table.placement, table.opens
    if not len(opens):  # there is always a slot to look at
        placed, opens = placed._replace(tokens=np.full((table.token.shape[1], 1), IDLE, np.int32)), np.ones(1, bool)
    passes = np.bincount(table.token[table.token != IDLE], minlength=table.num_tokens).astype(np.int32)
    return count_slots(
        placed,
        passes,
        table.num_tokens,
        num_groups=table.token.shape[1],
        opens=opens,
        hold=hold,
        profile=profile,
    )


def _cut(values: HostArray, name: str, slots: int) -> HostArray:
    """Profiles of all layers as long as the longest schedule."""
    if name != "profile":
        return values
    return np.pad(values[:, :slots], ((0, 0), (0, max(0, slots - values.shape[1]))))


def gathered(tokens: int, rows: dict[str, HostArray], groups: int, *, profile: bool) -> PassCounts:
    """Counts of the layers of one pass, `[layers, ...]` by name, as float64; histograms padded to `groups`."""
    layers = len(rows["makespan"]) if rows else 0
    found = no_counts(layers, groups)
    for name in found.keys() & rows.keys():
        found[name][tuple(map(slice, rows[name].shape))] = rows[name]
    if "lead" in rows:  # where a system is around the chip
        found["lead"] = rows["lead"]
    if not profile:
        return PassCounts(tokens, found)
    own = rows["profile"].astype(np.float64) if rows else np.zeros((0, len(PROFILE_ROWS), 0))
    return PassCounts(tokens, found, np.moveaxis(own, 1, 0)[..., : int(found["makespan"].max(initial=0))])


def no_counts(layers: int, groups: int) -> dict[str, HostArray]:
    """Rows of a pass without passes.

    >>> no_counts(2, 4)["load_hist"].shape
    (2, 5)
    """
    scalars = ("passes", "makespan", "loads", "first_loads", "open_max", "unrouted", "last_token_slots")
    tails = ("tail_adds", "tail_loads", "tail_busy")
    return {
        **{name: np.zeros(layers) for name in scalars},
        "load_hist": np.zeros((layers, groups + 1)),
        "busy_hist": np.zeros((layers, groups + 1, groups + 1)),
        **{name: np.zeros((layers, TAIL_SLOTS)) for name in tails},
        **{name: np.zeros((layers, GAP_BINS)) for name in ("gap_hist", "gap_slots")},
    }
