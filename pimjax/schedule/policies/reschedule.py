"""Reschedule: the authors' order. Shorter queues are delayed so that their tokens meet those of the longest queue.

For a group let `lag(t)` be the running load of the longest group minus its own. Tokens are visited in order with a
delay `d`, first 0: if the final lag exceeds `d`, `lag(t)` exceeds `d`, and more than half of the entries `lag(t..)`
exceed `d`, then `d` becomes the smallest entry of `lag(t..)` that exceeds it. The makespan does not change.
Source: the schedule study released with Gao & Yang, ISCAS 2026 (arXiv 2602.10254).
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from pimjax.array_typing import Array
from pimjax.schedule.load_matrix import running_sum

_SEGMENT = 128  # tokens that share one view of the remaining lags: later segments look at shorter vectors


def reschedule_intervals(loads: Array, num_tokens: Array, bound: int) -> tuple[Array, Array]:
    """Intervals `[start, stop)` of the authors' rescheduled order.

    Args:
        loads: int32 `[G, T]`, passes per group and token (padding rows zero).
        num_tokens: int32 `[]`, rows in use: idle tokens inside count for the rule, padding does not.
        bound: static upper limit of any running sum.

    Returns:
        int32 `[G, T]` starts and stops. The longest group is the lowest index among ties.

    >>> start, stop = reschedule_intervals(jnp.array([[2, 1, 1], [0, 1, 1]]), jnp.int32(3), 6)
    >>> start.tolist(), stop.tolist()
    ([[0, 2, 3], [2, 2, 3]], [[2, 3, 4], [2, 3, 4]])
    """
    end = running_sum(loads, bound)
    longest = jnp.argmax(end[:, -1])
    lag = lax.dynamic_index_in_dim(end, longest, 0) - end
    stop = end + reschedule_delays(lag, num_tokens, bound)
    return stop - loads, stop


def reschedule_delays(lag: Array, num_tokens: Array, bound: int) -> Array:
    """Delay of every token in every group; never decreases along the tokens.

    Args:
        lag: int32 `[G, T]`; any value in padding columns.
        num_tokens: int32 `[]`, columns in use.
        bound: static upper limit of `lag`; below 2**15 the work is done in int16.

    Returns:
        int32 `[G, T]`.

    >>> reschedule_delays(jnp.array([[2, 2, 1, 1]]), jnp.int32(4), 10).tolist()
    [[1, 1, 1, 1]]
    """
    groups, tokens = lag.shape
    dtype = jnp.int16 if max(bound, tokens) < np.iinfo(np.int16).max else jnp.int32
    highest = jnp.asarray(np.iinfo(np.dtype(dtype)).max, dtype)
    lowest = jnp.asarray(np.iinfo(np.dtype(dtype)).min, dtype)
    index = jnp.arange(tokens, dtype=dtype)
    count = num_tokens.astype(dtype)
    lag = jnp.where(index[None, :] < count, lag.astype(dtype), lowest)  # padding never exceeds a delay
    last = lag.max(axis=1, where=index[None, :] == count - 1, initial=-1)
    delay = jnp.zeros((groups,), dtype)
    delays = []
    for begin in range(0, tokens, _SEGMENT):
        window = lag[:, begin:]
        position = index[begin:]

        def visit(delay: Array, t: Array, window: Array = window, position: Array = position):
            exceeds = (window > delay[:, None]) & (position[None, :] >= t)
            more = exceeds.sum(axis=1, dtype=dtype)
            smallest = jnp.where(exceeds, window, highest).min(axis=1)
            here = (exceeds & (position[None, :] == t)).any(axis=1)
            moves = (last > delay) & here & (more > count - t - more)
            delay = jnp.where(moves, smallest, delay)
            return delay, delay

        delay, part = lax.scan(visit, delay, position[:_SEGMENT])
        delays.append(part)
    return jnp.concatenate(delays, axis=0).T.astype(jnp.int32)


__all__ = ["reschedule_delays", "reschedule_intervals"]
