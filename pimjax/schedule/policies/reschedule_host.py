"""The authors' rescheduled order on the host: sooner, and without compiling.

The kernel of :mod:`pimjax.schedule.policies.reschedule` looks at all later tokens at every token: T squared steps,
minutes at 32,768 tokens. Delay and token only grow, so a list sorted by lag answers both questions (how many later
entries exceed the delay, and which is the smallest) in one walk through it.
"""

from __future__ import annotations

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.schedule.load_matrix import running_sum


def host_reschedule_intervals(loads: HostArray, num_tokens: int, bound: int) -> tuple[HostArray, HostArray]:
    """NumPy twin of :func:`pimjax.schedule.policies.reschedule.reschedule_intervals`.

    Args:
        loads: int32 `[G, T]`, passes per group and token.
        num_tokens: rows in use.
        bound: not needed.

    Returns:
        int32 `[G, T]` starts and stops.

    >>> start, stop = host_reschedule_intervals(np.array([[2, 1, 1], [0, 1, 1]]), 3, 6)
    >>> start.tolist(), stop.tolist()
    ([[0, 2, 3], [2, 2, 3]], [[2, 3, 4], [2, 3, 4]])
    """
    end = running_sum(loads, bound)
    longest = int(np.argmax(end[:, -1]))
    stop = end.copy()
    for group in range(len(loads)):
        stop[group, :num_tokens] += delays((end[longest] - end[group])[:num_tokens]).astype(np.int32)
    return stop - loads, stop


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


__all__ = ["delays", "host_reschedule_intervals"]
