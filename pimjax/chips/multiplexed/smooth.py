"""Whole numbers inside differentiable formulas, and the dtype they are computed in."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array, ArrayLike


def whole_up(ratio: ArrayLike) -> Array:
    """`ceil(ratio)`; its gradient is that of `ratio` (straight-through).

    >>> float(whole_up(2.2)), float(jax.grad(whole_up)(2.2))
    (3.0, 1.0)
    """
    value = jnp.asarray(ratio)
    return jax.lax.stop_gradient(jnp.ceil(value)) + (value - jax.lax.stop_gradient(value))


def whole_down(ratio: ArrayLike) -> Array:
    """`floor(ratio)`; its gradient is zero."""
    return jax.lax.stop_gradient(jnp.floor(jnp.asarray(ratio)))


def blocks(values: ArrayLike, size: ArrayLike) -> Array:
    """Crossbar blocks that `values` rows or columns fill: `ceil(values / size)`, straight-through.

    >>> float(blocks(688.0, 256.0))
    3.0
    """
    return whole_up(jnp.asarray(values) / size)


def as_real(tree: Any, like: ArrayLike) -> Any:
    """Every leaf of a pytree as a JAX array of the floating-point dtype of `like`."""
    dtype = jnp.asarray(like).dtype

    def convert(leaf: Any) -> Array:
        if isinstance(leaf, jax.Array) and leaf.dtype == dtype:
            return leaf
        return jnp.asarray(leaf).astype(dtype)

    return jax.tree.map(convert, tree)
