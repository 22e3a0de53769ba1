"""Gate scores as integers: one comparison rule, the same on every device."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import Array, HostArray
from pimjax.errors import TraceError

#: Key of a place that holds no score; below the key of every score, -inf included.
EMPTY = 0
_SIGN = 0x8000


def score_keys(scores: Array) -> Array:
    """Scores rounded once to float16 and mapped to integers in the same order.

    Comparing integers keeps the compiler from comparing the unrounded scores (it may widen float16 arithmetic), halves
    the memory, and makes "one float16 step apart" a difference of 1. Both zeros give the same key.

    Args:
      scores: floats of any shape, without NaN.

    Returns:
      uint16 of the same shape; larger key, larger score; never :data:`EMPTY`.

    >>> keys = score_keys(jnp.array([-jnp.inf, 0.0, 1e-7, 0.5, 0.5001, 1.0]))
    >>> bool((keys[1:] >= keys[:-1]).all()), bool(keys[3] == keys[4]), int(keys.min()) > EMPTY
    (True, True, True)
    """
    # The same values as pimjax.trace.rounding.round_to_float16 at a tenth of its time: reduce_precision rounds normal
    # numbers, subnormal ones are whole multiples of 2**-24. A cast alone may round float64 twice.
    small = jnp.round(scores * 2.0**24) * 2.0**-24
    rounded = jnp.where(jnp.abs(scores) < 2.0**-14, small, jax.lax.reduce_precision(scores, 5, 10))
    half = (rounded + 0.0).astype(jnp.float16)  # + 0.0: minus zero becomes zero
    bits = jax.lax.bitcast_convert_type(half, jnp.uint16)
    return jnp.where(bits >= _SIGN, ~bits, bits | jnp.uint16(_SIGN))


def check_scores(scores: Any) -> HostArray:
    """Gate scores as a NumPy array, refused if any is NaN (host).

    Raises:
      TraceError: names the first NaN.

    >>> check_scores([[0.5, 0.5]]).shape
    (1, 2)
    """
    host = np.asarray(scores)
    wrong = np.argwhere(np.isnan(host))
    if wrong.size:
        raise TraceError(
            f"gate score at index {wrong[0].tolist()} is NaN ({len(wrong)} in all): scores must be numbers; "
            "padding is -inf"
        )
    return host


__all__ = ["EMPTY", "check_scores", "score_keys"]
