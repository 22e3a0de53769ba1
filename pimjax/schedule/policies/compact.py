"""Compact order: every group works through its own queue of tokens without a gap."""

from __future__ import annotations

from typing import Any

from pimjax.schedule.load_matrix import longest_queue, running_sum
from pimjax.schedule.policies.policy import Policy


def compact_intervals(loads: Any, num_tokens: Any, bound: int) -> tuple[Any, Any]:
    """Intervals `[start, stop)` of the compact policy: stop is the running sum of a group's loads. NumPy or JAX.

    Args:
        loads: int32 `[G, T]`, passes per group and token (padding rows zero).
        num_tokens: int32 `[]`; not needed by this policy, every policy has the same signature.
        bound: static upper limit of any running sum.

    Returns:
        int32 `[G, T]` starts and stops.

    >>> import numpy as np
    >>> start, stop = compact_intervals(np.array([[2, 1], [0, 1]]), 2, 4)
    >>> start.tolist(), stop.tolist()
    ([[0, 2], [0, 0]], [[2, 3], [0, 1]])
    """
    del num_tokens
    stop = running_sum(loads, bound)
    return stop - loads, stop


COMPACT = Policy("compact", makespan_bound=longest_queue, intervals=compact_intervals, host_intervals=compact_intervals)

__all__ = ["COMPACT", "compact_intervals"]
