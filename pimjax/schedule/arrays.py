"""What NumPy and JAX name differently: one definition then serves the host, which compiles nothing, and the kernels."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def namespace(*values: Any) -> ModuleType:
    """`jax.numpy` if any of `values` is a JAX array, else `numpy`.

    >>> namespace(np.zeros(3), 2).__name__, namespace(np.zeros(3), jnp.zeros(3)).__name__
    ('numpy', 'jax.numpy')
    """
    return jnp if any(isinstance(value, jax.Array) for value in values) else np


def add_at(array: Any, index: tuple[Any, ...], values: Any) -> Any:
    """`array` with `values` added at `index`: repeated places count every time, places beyond the end do not count.

    Args:
        array: NumPy (changed in place) or JAX.
        index: one integer array per axis, from 0; they and `values` broadcast.
        values: numbers.

    >>> add_at(np.zeros(3, int), (np.array([0, 2, 2, 3]),), 1).tolist()
    [1, 0, 2]
    """
    if namespace(array) is jnp:
        return array.at[index].add(values, mode="drop")
    *places, values = np.broadcast_arrays(*index, values)
    inside = np.logical_and.reduce([place < size for place, size in zip(places, array.shape, strict=True)])
    np.add.at(array, tuple(place[inside] for place in places), values[inside])
    return array


def running_max(array: Any) -> Any:
    """Largest entry so far along the last axis.

    >>> running_max(np.array([1, 3, 2])).tolist()
    [1, 3, 3]
    """
    if namespace(array) is jnp:
        return lax.cummax(array, axis=array.ndim - 1)
    return np.maximum.accumulate(array, axis=-1)


__all__ = ["add_at", "namespace", "running_max"]
