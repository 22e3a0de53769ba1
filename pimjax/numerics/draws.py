"""Random numbers drawn flat and reshaped: the generator compiles five times faster for one axis than for five."""

from __future__ import annotations

import math
from typing import Any

import jax

from pimjax.array_typing import Array


def standard_normal(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Independent standard normal numbers of any shape. `key` is consumed.

    >>> standard_normal(jax.random.key(0), (2, 3, 4), "float32").shape
    (2, 3, 4)
    """
    return jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)


def uniform(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Independent uniform numbers in [0, 1) of any shape. `key` is consumed."""
    return jax.random.uniform(key, (math.prod(shape),), dtype).reshape(shape)
