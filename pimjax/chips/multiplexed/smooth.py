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


@jax.custom_jvp
def larger(first: Array, second: Array) -> Array:
    """`max(first, second)` of two arrays of one dtype; where they are equal each gets half the derivative.

    The same numbers as `jnp.maximum`, by half as many operations in the derivative, which decides how long kernels
    compile.

    >>> float(jax.grad(larger)(2.0, 2.0)), float(jax.grad(larger)(2.0, 1.0))
    (0.5, 1.0)
    """
    return jnp.maximum(first, second)


@larger.defjvp
def _larger_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (first, second), (one, other) = primals, tangents
    value = jnp.maximum(first, second)
    slope = jnp.where(first > second, one, other)
    return value, jnp.where(first == second, (one + other) / 2, slope)


def smaller(first: Array, second: Array) -> Array:
    """`min(first, second)`; see :func:`larger`."""
    return -larger(-first, -second)


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
