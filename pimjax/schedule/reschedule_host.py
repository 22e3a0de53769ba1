"""The authors' rescheduled order on the host: the table of `schedule_slots`, sooner and without compiling.

The rule of :mod:`pimjax.schedule.policies.reschedule` looks at all later tokens at every token: T squared steps, minutes
at 32,768 tokens. Delay and token only grow, so a list sorted by lag answers both questions (how many later entries
exceed the delay, and which is the smallest) in one walk through it.
"""

from __future__ import annotations

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.schedule.placement import IDLE


def reschedule_slots(choices: HostArray, group_of_expert: HostArray, num_groups: int) -> HostArray:
    """Slot table of policy `reschedule`.

    Args:
        choices: bool `[T, E]`, all rows in use.
        group_of_expert: int `[E]`.
        num_groups: G.

    Returns:
        int32 `[S, G]` token or `IDLE`, as :func:`pimjax.schedule.schedule_slots`.

    >>> reschedule_slots(np.array([[1, 1, 0, 0], [1, 0, 1, 0]], bool), np.array([0, 0, 1, 1]), 2).tolist()
    [[0, -1], [0, -1], [1, 1]]
    """
    tokens = len(choices)
    member = np.zeros((choices.shape[1], num_groups), np.int64)
    member[np.arange(len(member)), group_of_expert] = 1
    loads = (choices.astype(np.int64) @ member).T
    end = np.cumsum(loads, axis=1)
    longest = int(np.argmax(end[:, -1]))
    table = np.full((int(end[longest, -1]), num_groups), IDLE, np.int32)
    for group in range(num_groups):
        stop = end[group] + delays(end[longest] - end[group])
        slot = np.repeat(stop - end[group], loads[group]) + np.arange(int(end[group, -1]))
        table[slot, group] = np.repeat(np.arange(tokens), loads[group])
    return table


def delays(lag: HostArray) -> HostArray:
    """Delay of every token of one group, see :func:`pimjax.schedule.policies.reschedule.reschedule_delays`.

    Args:
        lag: int `[T]`, running load of the longest group less this group's.

    >>> delays(np.array([2, 2, 1, 1])).tolist()
    [1, 1, 1, 1]
    """
    count = len(lag)
    order = np.argsort(lag, kind="stable")
    by_value, indices, lags = lag[order].tolist(), order.tolist(), lag.tolist()
    out, delay, token = np.zeros(count, np.int64), 0, 0
    place = int(np.searchsorted(by_value, 0, side="right"))  # first entry by value that exceeds the delay
    ahead = count - place  # entries of lag(t..) that exceed the delay
    while token < count and lags[-1] > delay:
        if lags[token] > delay and 2 * ahead > count - token:
            while indices[place] < token:
                place += 1
            delay = by_value[place]
            while place < count and by_value[place] <= delay:
                ahead -= indices[place] >= token
                place += 1
        out[token] = delay
        ahead -= lags[token] > delay
        token += 1
    out[token:] = delay
    return out


__all__ = ["delays", "reschedule_slots"]
