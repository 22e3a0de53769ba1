"""Sorting the few entries of every column at once, by networks of minima and maxima over whole rows.

Up to 16 rows an unrolled network (one vector operation per comparator) is fastest; its compile time grows with the
comparators, so up to 128 rows each stage is one whole-array operation; above, XLA's sort.
"""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import Array
from pimjax.arrays import namespace

_UNROLLED_ROWS = 16
_STAGED_ROWS = 128
_LAST_KEY = np.iinfo(np.int32).max


@functools.cache
def sorting_network(size: int) -> tuple[tuple[int, int], ...]:
    """Comparators (low, high) of Batcher's odd-even merge sort for any `size`.

    Source: K. E. Batcher, "Sorting networks and their applications", AFIPS 1968.

    >>> sorting_network(3)
    ((0, 1), (0, 2), (1, 2))
    """
    comparators = []
    p = 1
    while p < size:
        k = p
        while k >= 1:
            for j in range(k % p, size - k, 2 * k):
                for i in range(min(k, size - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        comparators.append((i + j, i + j + k))
            k //= 2
        p *= 2
    return tuple(comparators)


def sort_rows(keys: Any) -> list[Any]:
    """Sort every column ascending. NumPy or JAX.

    Args:
        keys: int32 `[G, N]`.

    Returns:
        G int32 `[N]` rows, smallest first.

    >>> [row.tolist() for row in sort_rows(jnp.array([[3, 1], [2, 5]]))]
    [[2, 1], [3, 5]]
    """
    rows, xp = keys.shape[0], namespace(keys)
    if rows <= _UNROLLED_ROWS:
        ordered = list(keys)
        for low, high in sorting_network(rows):
            ordered[low], ordered[high] = (
                xp.minimum(ordered[low], ordered[high]),
                xp.maximum(ordered[low], ordered[high]),
            )
        return ordered
    if xp is np:
        return list(np.sort(keys, axis=0))
    return list(_bitonic_sort(keys) if rows <= _STAGED_ROWS else jnp.sort(keys, axis=0))


def _bitonic_sort(keys: Array) -> Array:
    """Ascending sort of `[G, N]` along G by whole-array stages (bitonic merge sort, all blocks ascending)."""
    rows, columns = keys.shape
    size = 1 << (rows - 1).bit_length()
    x = jnp.pad(keys, ((0, size - rows), (0, 0)), constant_values=_LAST_KEY)
    block = 2
    while block <= size:
        halves = x.reshape(size // block, 2, block // 2, columns)
        low, high = halves[:, 0], halves[:, 1, ::-1]  # the second half mirrored: merged blocks stay ascending
        x = jnp.concatenate([jnp.minimum(low, high), jnp.maximum(low, high)[:, ::-1]], axis=1)
        stride = block // 4
        while stride >= 1:
            pairs = x.reshape(size // (2 * stride), 2, stride, columns)
            x = jnp.stack([pairs.min(axis=1), pairs.max(axis=1)], axis=1)
            stride //= 2
        x = x.reshape(size, columns)
        block *= 2
    return x[:rows]


__all__ = ["sort_rows", "sorting_network"]
