"""Reschedule: the authors' order. Shorter queues are delayed so that their tokens meet those of the longest queue.

For a group let `lag(t)` be the running load of the longest group minus its own. Tokens are visited in order with a
delay `d`, first 0: if the final lag exceeds `d`, `lag(t)` exceeds `d`, and more than half of the entries `lag(t..)`
exceed `d`, then `d` becomes the smallest entry of `lag(t..)` that exceeds it. The makespan does not change.
Source: the schedule study released with Gao & Yang, ISCAS 2026 (arXiv 2602.10254).
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax

from pimjax.array_typing import Array
from pimjax.schedule.load_matrix import longest_queue, running_sum
from pimjax.schedule.policies.policy import Policy
from pimjax.schedule.policies.reschedule_host import host_reschedule_intervals

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
    stop = end + reschedule_delays(lag, num_tokens, bound)
    return stop - loads, stop


def reschedule_delays(lag: Array, num_tokens: Array, bound: int) -> Array:
    """Delay of every token in every group; never decreases along the tokens.

    Args:
        lag: int32 `[G, T]`; any value in padding columns.
        num_tokens: int32 `[]`, columns in use.
        bound: static upper limit of any lag and of T; int16 where it fits, twice as many to a vector.

    Returns:
        int32 `[G, T]`.

    >>> reschedule_delays(jnp.array([[2, 2, 1, 1]]), jnp.int32(4), 8).tolist()
    [[1, 1, 1, 1]]
    """
    groups, tokens = lag.shape
    small = np.int16 if max(2 * tokens, bound) <= np.iinfo(np.int16).max else np.int32
    index = jnp.arange(tokens, dtype=small)
    ahead = (num_tokens - jnp.arange(tokens, dtype=jnp.int32)).astype(small)  # tokens from here to the end
    lag = jnp.where(ahead[None, :] > 0, lag, -1).astype(small).T  # [T, G]: reductions over tokens run across groups
    last = lax.dynamic_index_in_dim(lag, jnp.maximum(num_tokens - 1, 0), 0, keepdims=False)
    state = jnp.zeros((groups,), small), (lag > 0).sum(axis=0, dtype=small)
    delays = []
    part_tokens = -(-tokens // _SEGMENTS)
    for begin in range(0, tokens, part_tokens):
        part = slice(begin, begin + part_tokens)
        visit = functools.partial(_visit, window=lag[begin:], position=index[begin:], last=last)
        state, visited = lax.scan(visit, state, (index[part], lag[part], ahead[part]))
        delays.append(visited)
    return jnp.concatenate(delays, axis=0).T.astype(jnp.int32)


def _visit(
    state: tuple[Array, Array], token: tuple[Array, Array, Array], *, window: Array, position: Array, last: Array
) -> tuple[tuple[Array, Array], Array]:
    """Delay at one token. The state carries `[G]` delays and how many entries from here on exceed them.

    Entries are counted again only where a group moves (every second token or so), and most moves are by one slot:
    the smallest larger entry is looked for only if that guess is wrong.
    """
    delay, more = state
    t, here, left = token
    moves = (last > delay) & (here > delay) & (2 * more > left)

    def exceeds(limit: Array) -> Array:
        return (window > limit[None, :]) & (position >= t)[:, None]

    def count(limit: Array) -> Array:
        return exceeds(limit).sum(axis=0, dtype=more.dtype)

    def move() -> tuple[Array, Array]:
        by_one = delay + moves
        beyond = count(by_one)

        def search() -> tuple[Array, Array]:
            smallest = jnp.where(exceeds(delay), window, np.iinfo(window.dtype).max).min(axis=0)
            moved = jnp.where(moves, smallest, delay)
            return moved, count(moved)

        absent = moves & (beyond == more)  # no entry equals delay + 1
        return lax.cond(absent.any(), search, lambda: (by_one, beyond))

    delay, more = lax.cond(moves.any(), move, lambda: (delay, more))
    return (delay, more - (here > delay)), delay


RESCHEDULE = Policy(
    "reschedule",
    makespan_bound=longest_queue,
    intervals=reschedule_intervals,
    host_intervals=host_reschedule_intervals,
)

__all__ = ["RESCHEDULE", "reschedule_delays", "reschedule_intervals"]
