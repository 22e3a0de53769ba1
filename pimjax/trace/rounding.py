"""Rounding of gate scores to float16, the same bits on every device."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.errors import TraceError
from pimjax.trace.arguments import check_numbers

_MANTISSA_BITS = 11  # of float16, with the implied one
_SMALLEST_EXPONENT = -24  # spacing of float16's subnormal numbers
_LARGEST = 65504.0


def round_to_float16(scores: Array) -> Array:
    """Scores rounded to the nearest float16 value, ties to even, kept in their own dtype.

    A plain cast there and back does not do: XLA may drop the pair (excess precision is allowed by default), and
    ``lax.reduce_precision`` flushes subnormal numbers, which small softmax scores are. This is arithmetic on powers
    of two, exact in float32 and float64. NaN and infinities pass through.

    Differentiable in: `scores`, straight-through (the derivative is one).

    Args:
      scores: floats of any shape.

    >>> import numpy as np
    >>> values = np.float32([1 / 3, 1e-6, 0.0])
    >>> bool((round_to_float16(values) == values.astype(np.float16)).all())
    True
    """
    return _round(check_numbers("scores", scores, None, "floating-point numbers"))


@jax.custom_jvp
def _round(scores: Array) -> Array:
    _, exponent = jnp.frexp(scores)
    step = jnp.ldexp(jnp.ones_like(scores), jnp.maximum(exponent - _MANTISSA_BITS, _SMALLEST_EXPONENT))
    rounded = jnp.round(scores / step) * step
    rounded = jnp.where(jnp.abs(rounded) > _LARGEST, jnp.copysign(jnp.inf, scores), rounded)
    return jnp.where(jnp.isfinite(scores), rounded, scores)


@_round.defjvp
def _straight_through(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _round(primals[0]), tangents[0]


def gate_scores(logits: Array) -> Array:
    """Gate scores of a router: softmax over experts, then rounded once to float16.

    The softmax runs over experts and not over tokens, so a score never changes when later tokens arrive.

    Args:
      logits: ``[..., E]``.

    Returns:
      ``[..., E]`` in the dtype of `logits`; the rounding is straight-through for gradients.

    >>> gate_scores(jnp.zeros((1, 4))).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    numbers = check_numbers("logits", logits, None, "floating-point numbers [..., experts]")
    if not numbers.ndim or not numbers.shape[-1]:
        raise TraceError(f"logits has shape {list(numbers.shape)}: it must be [..., experts]")
    return _round(jax.nn.softmax(numbers, axis=-1))
