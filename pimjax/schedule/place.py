"""From a load matrix to the slots of any policy."""

from __future__ import annotations

from pimjax.array_typing import Array
from pimjax.schedule.placement import Placement, place_intervals
from pimjax.schedule.policies import INTERVAL_POLICIES
from pimjax.schedule.policies.packed import place_packed


def place(
    loads: Array,
    num_tokens: Array,
    max_open_tokens: Array | None,
    *,
    policy: str,
    bound: int,
    num_slots: int,
) -> Placement:
    """Slot table of `loads` under `policy`.

    Args:
        loads: int32 `[G, T]`, passes per group and token (padding rows zero).
        num_tokens: int32 `[]`, rows in use.
        max_open_tokens: int32 `[]` or None, `packed` only.
        policy: static name.
        bound: static upper limit of the running sums (tokens x experts).
        num_slots: static S of the table.

    Returns:
        The placement; its makespan may exceed `num_slots`.

    >>> import jax.numpy as jnp
    >>> loads = jnp.array([[2, 1], [0, 1]])
    >>> place(loads, jnp.int32(2), None, policy="compact", bound=4, num_slots=3).tokens.tolist()
    [[0, 0, 1], [1, -1, -1]]
    """
    if policy in INTERVAL_POLICIES:
        return place_intervals(*INTERVAL_POLICIES[policy](loads, num_tokens, bound), num_slots)
    return place_packed(loads, max_open_tokens, num_slots, bound)


__all__ = ["place"]
