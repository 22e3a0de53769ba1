"""Token-wise order: one token at a time; all groups wait for the group that needs the most slots for it."""

from __future__ import annotations

import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.schedule.load_matrix import running_sum


def token_wise_intervals(loads: Array, num_tokens: Array, bound: int) -> tuple[Array, Array]:
    """Intervals `[start, stop)` of the token-wise policy.

    Token `t` begins when token `t-1` has left every group, so its start is the sum over earlier tokens of the
    largest group load.

    Args:
        loads: int32 `[G, T]`, passes per group and token (padding rows zero).
        num_tokens: int32 `[]`; not needed by this policy, every policy has the same signature.
        bound: static upper limit of any running sum.

    Returns:
        int32 `[G, T]` starts and stops.

    >>> start, stop = token_wise_intervals(jnp.array([[2, 1], [0, 1]]), jnp.int32(2), 4)
    >>> start.tolist(), stop.tolist()
    ([[0, 2], [0, 2]], [[2, 3], [0, 3]])
    """
    del num_tokens
    longest = loads.max(axis=0)
    start = jnp.broadcast_to((running_sum(longest, bound) - longest)[None, :], loads.shape)
    return start, start + loads


__all__ = ["token_wise_intervals"]
