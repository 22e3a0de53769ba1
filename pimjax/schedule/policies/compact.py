"""Compact order: every group works through its own queue of tokens without a gap."""

from __future__ import annotations

import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.schedule.load_matrix import running_sum


def compact_intervals(loads: Array, num_tokens: Array, bound: int) -> tuple[Array, Array]:
    """Intervals `[start, stop)` of the compact policy: stop is the running sum of a group's loads.

    Args:
        loads: int32 `[G, T]`, passes per group and token (padding rows zero).
        num_tokens: int32 `[]`; not needed by this policy, every policy has the same signature.
        bound: static upper limit of any running sum.

    Returns:
        int32 `[G, T]` starts and stops.

    >>> start, stop = compact_intervals(jnp.array([[2, 1], [0, 1]]), jnp.int32(2), 4)
    >>> start.tolist(), stop.tolist()
    ([[0, 2], [0, 0]], [[2, 3], [0, 1]])
    """
    del num_tokens
    stop = running_sum(loads, bound)
    return stop - loads, jnp.asarray(stop)


__all__ = ["compact_intervals"]
