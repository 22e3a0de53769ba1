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

_HIGHEST = np.iinfo(np.int32).max
_SEGMENTS = 4  # the tokens are visited in so many parts: later parts look at shorter vectors


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
    stop = end + reschedule_delays(lag, num_tokens)
    return stop - loads, stop


def reschedule_delays(lag: Array, num_tokens: Array) -> Array:
    """Delay of every token in every group; never decreases along the tokens.

    Args:
        lag: int32 `[G, T]`; any value in padding columns.
        num_tokens: int32 `[]`, columns in use.

    Returns:
        int32 `[G, T]`.

    >>> reschedule_delays(jnp.array([[2, 2, 1, 1]]), jnp.int32(4)).tolist()
    [[1, 1, 1, 1]]
    """
    groups, tokens = lag.shape
    index = jnp.arange(tokens, dtype=jnp.int32)
    lag = jnp.where(index[None, :] < num_tokens, lag, -1).T  # [T, G]: reductions over tokens run across groups
    last = lax.dynamic_index_in_dim(lag, jnp.maximum(num_tokens - 1, 0), 0, keepdims=False)
    delay = jnp.zeros((groups,), jnp.int32)
    delays = []
    part_tokens = -(-tokens // _SEGMENTS)
    for begin in range(0, tokens, part_tokens):
        window, position = lag[begin:], index[begin:]

        def visit(delay: Array, t: Array, window: Array = window, position: Array = position, begin: int = begin):
            exceeds = (window > delay[None, :]) & (position >= t)[:, None]
            more = exceeds.sum(axis=0, dtype=jnp.int32)
            smallest = jnp.where(exceeds, window, _HIGHEST).min(axis=0)
            here = lax.dynamic_index_in_dim(window, t - begin, 0, keepdims=False)
            moves = (last > delay) & (here > delay) & (2 * more > num_tokens - t)
            delay = jnp.where(moves, smallest, delay)
            return delay, delay

        delay, part = lax.scan(visit, delay, position[:part_tokens])
        delays.append(part)
    return jnp.concatenate(delays, axis=0).T


__all__ = ["reschedule_delays", "reschedule_intervals"]
