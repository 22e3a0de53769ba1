"""Length of the union of a token's intervals: what a schedule loads, without a slot axis.

Sort the G intervals of a token by start and keep a running maximum of their ends; each interval adds what it covers
beyond that maximum. Start and length travel in one packed integer key.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from pimjax.array_typing import Array
from pimjax.schedule.sorting import sort_rows

_INT32_BITS = 31


def union_length(start: Array, stop: Array, *, max_start: int, max_length: int) -> Array:
    """Slots that the union of G intervals covers, for every token.

    Args:
        start: int32 `[G, T]`, first slot of each interval.
        stop: int32 `[G, T]`, one past the last slot; an interval with `stop == start` is empty.
        max_start: static upper limit of `start`.
        max_length: static upper limit of `stop - start`.

    Returns:
        int32 `[T]`.

    >>> start, stop = jnp.array([[0], [1], [5]]), jnp.array([[2], [4], [6]])
    >>> union_length(start, stop, max_start=8, max_length=4).tolist()
    [5]
    """
    covered = jnp.zeros_like(start[0])
    reach = jnp.zeros_like(start[0])
    for begin, end in _sorted_by_start(start, stop, max_start, max_length):
        covered = covered + jnp.maximum(end - jnp.maximum(begin, reach), 0)
        reach = jnp.maximum(reach, end)
    return covered


def _sorted_by_start(start: Array, stop: Array, max_start: int, max_length: int) -> list[tuple[Array, Array]]:
    bits = max_length.bit_length()
    if max_start.bit_length() + bits > _INT32_BITS:  # the key would not fit: sort pairs
        return list(zip(*lax.sort((start, stop), dimension=0, num_keys=2), strict=True))
    keys = sort_rows((start << bits) | (stop - start))
    return [(key >> bits, (key >> bits) + (key & ((1 << bits) - 1))) for key in keys]


__all__ = ["union_length"]
