"""Token-wise order: one token at a time; all groups wait for the group that needs the most slots for it."""

from __future__ import annotations

from typing import Any

from pimjax.schedule.load_matrix import one_after_another, running_sum
from pimjax.schedule.policies.policy import Policy


def token_wise_intervals(loads: Any, num_tokens: Any, bound: int) -> tuple[Any, Any]:
    """Intervals `[start, stop)` of the token-wise policy. NumPy or JAX.

    Token `t` begins when token `t-1` has left every group, so its start is the sum over earlier tokens of the
    largest group load.

    Args:
        loads: int32 `[G, T]`, passes per group and token (padding rows zero).
        num_tokens: int32 `[]`; not needed by this policy, every policy has the same signature.
        bound: static upper limit of any running sum.

    Returns:
        int32 `[G, T]` starts and stops.

    >>> import numpy as np
    >>> start, stop = token_wise_intervals(np.array([[2, 1], [0, 1]]), 2, 4)
    >>> start.tolist(), stop.tolist()
    ([[0, 2], [0, 2]], [[2, 3], [0, 3]])
    """
    del num_tokens
    longest = loads.max(axis=0)
    start = (running_sum(longest, bound) - longest)[None, :] + 0 * loads
    return start, start + loads


def _cost(loads: Any, max_open_tokens: Any, bound: int) -> tuple[Any, Any]:
    """One token is loaded for each slot."""
    del bound
    makespan = one_after_another(loads, max_open_tokens)
    return makespan, makespan


TOKEN_WISE = Policy(
    "token_wise",
    makespan_bound=one_after_another,
    intervals=token_wise_intervals,
    cost=_cost,
    host_intervals=token_wise_intervals,
    needs_barrier=False,  # a token's slots need its own experts alone
)

__all__ = ["TOKEN_WISE", "token_wise_intervals"]
