"""8-bit storage of cached rows: one float16 scale per row, symmetric, round to nearest."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array

_LEVELS = 127


class QuantisedRows(NamedTuple):
    """Rows stored in 8 bits: `codes` int8 ``[..., n]`` in -127..127 times `scale` float16 ``[...]``."""

    codes: Array
    scale: Array


def quantise_rows(rows: Array) -> QuantisedRows:
    """Quantise every row (last axis) by its largest magnitude.

    The scale is rounded to float16 before the codes are made and never below ``max|row| / 127``, so nothing clips
    and the error of each value is at most half a scale. Rows of zeros give zeros.

    Not differentiable in `rows` (rounding): use it on stored values only.

    Args:
      rows: finite floats ``[..., n]``, magnitudes below 127 x 65504.

    >>> stored = quantise_rows(jnp.array([[1.0, -0.5, 0.0]]))
    >>> stored.codes.tolist()
    [[127, -63, 0]]
    """
    magnitude = jnp.abs(rows).max(axis=-1)
    wanted = (magnitude / _LEVELS).astype(jnp.float32)
    nearest = jnp.maximum(wanted, 2.0**-24).astype(jnp.float16)
    bits = jax.lax.bitcast_convert_type(nearest, jnp.uint16)
    # One float16 step up where rounding went down, so that the largest value still fits 127 levels.
    short = nearest.astype(rows.dtype) * _LEVELS < magnitude
    scale = jax.lax.bitcast_convert_type(bits + short.astype(jnp.uint16), jnp.float16)
    codes = jnp.round(rows / scale.astype(rows.dtype)[..., None]).astype(jnp.int8)
    return QuantisedRows(codes, jnp.where(magnitude > 0, scale, jnp.float16(0)))


def dequantise_rows(stored: QuantisedRows, dtype: jnp.dtype) -> Array:
    """The rows that 8-bit storage gives back, ``[..., n]`` in `dtype`."""
    return stored.codes.astype(dtype) * stored.scale.astype(dtype)[..., None]


__all__ = ["QuantisedRows", "dequantise_rows", "quantise_rows"]
