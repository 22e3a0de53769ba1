"""Analog-to-digital conversion: levels, codes and the gradient of a learned range.

Two converters. *Sign and magnitude* (CrossSim's `SignMagnitudeADC`, AIHWKit's output quantiser): 2^b - 1 levels
symmetric about 0, step = range / (2^(b-1) - 1). *One-sided*: 2^b levels over [0, range], step = range / (2^b - 1).
A signal is clipped to the range and rounded half to even.

Gradients: rounding is straight-through, everything else exact. With respect to the signal this is 1 inside the range
and 0 where it saturates; with respect to the step it is (code - signal / step) inside and the code where it saturates,
which is learned step size quantisation (Esser et al., ICLR 2020, eq. 3). Where a signal saturates that is the true
derivative; inside, where the output is a staircase, it is the derivative of the expected squared error for signals that
vary over many levels and seldom reach the bound.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from pimjax.array_typing import Array, ArrayLike
from pimjax.numerics.relax import power_of_two, round_straight_through


class Levels(NamedTuple):
    """Codes an ADC can give; scalar arrays."""

    low: Array
    high: Array
    ideal: Array  # bool: no levels and no range at all


def adc_levels(bits: ArrayLike, *, one_sided: ArrayLike = False, ideal: ArrayLike = False, dtype: Any) -> Levels:
    """Lowest and highest code of a `bits`-bit converter.

    >>> levels = adc_levels(6, dtype="float32")
    >>> float(levels.low), float(levels.high)
    (-31.0, 31.0)
    """
    one_sided = jnp.asarray(one_sided, dtype)
    high = power_of_two(jnp.asarray(bits, dtype) - 1 + one_sided) - 1
    return Levels(-high * (1 - one_sided), high, jnp.asarray(ideal, dtype) > 0)


def adc_step(adc_range: Array, levels: Levels) -> Array:
    """Size of one level, in the units of `adc_range` and its shape; 1 where the converter is ideal.

    >>> float(adc_step(jnp.float32(31.0), adc_levels(6, dtype="float32")))
    1.0
    """
    return jnp.where(levels.ideal, 1, adc_range / levels.high)


def to_codes(scaled: Array, levels: Levels) -> Array:
    """Codes of signals already divided by the step; NaN stays NaN. Straight-through (see the module)."""
    codes = round_straight_through(jnp.clip(scaled, levels.low, levels.high))
    return jnp.where(levels.ideal, scaled, codes)


def quantise(
    signal: Array,
    adc_range: ArrayLike,
    bits: ArrayLike,
    *,
    one_sided: ArrayLike = False,
    ideal: ArrayLike = False,
) -> Array:
    """What a converter makes of `signal`: code times step, any shape; `adc_range` broadcasts against it.

    Differentiable in: signal, adc_range (see the module); an ideal converter is the identity.

    >>> quantise(jnp.array([0.4, -0.6, 9.0]), 3.0, 3).tolist()
    [0.0, -1.0, 3.0]
    """
    levels = adc_levels(bits, one_sided=one_sided, ideal=ideal, dtype=signal.dtype)
    step = adc_step(jnp.asarray(adc_range, signal.dtype), levels)
    return to_codes(signal / step, levels) * step
