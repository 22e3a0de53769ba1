"""Gradient policies of the crossbar numerics, and functions that stay finite where their derivative does not.

Every discontinuity of :mod:`pimjax.numerics` goes through this file, so that its gradient has a name:

* rounding: *straight-through* (the derivative of the identity);
* clipping: exact (1 inside, 0 outside for the signal; 1 towards the bound that was hit);
* square roots and powers at zero: derivative 0 instead of infinity.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array, ArrayLike


@jax.custom_jvp
def round_straight_through(value: ArrayLike) -> Array:
    """Nearest integer, ties to even; gradient straight-through.

    >>> float(jax.grad(round_straight_through)(1.3))
    1.0
    """
    return jnp.round(value)


@round_straight_through.defjvp
def _round_straight_through_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return jnp.round(primals[0]), tangents[0]


def power_of_two(bits: ArrayLike) -> Array:
    """2^bits, exact for whole bits up to 2^24 in float32; smooth in `bits` (straight-through rounding).

    `exp2` alone may miss the integer by one unit in the last place.

    >>> float(power_of_two(jnp.float32(7)))
    128.0
    """
    return round_straight_through(jnp.exp2(bits))


def safe_sqrt(value: Array) -> Array:
    """Square root of values >= 0 whose derivative at 0 is 0, not infinite.

    >>> float(jax.grad(safe_sqrt)(0.0))
    0.0
    """
    positive = value > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, value, 1)), 0)
