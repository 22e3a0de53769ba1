"""Cost of a schedule: how many slots it takes and how many activation vectors it loads."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.schedule.load_matrix import compact_makespan, load_matrix, token_wise_makespan
from pimjax.schedule.policies import INTERVAL_POLICIES
from pimjax.schedule.policies.packed import pack
from pimjax.schedule.request import resolve
from pimjax.schedule.union import union_length


class ScheduleCost(NamedTuple):
    """Result of `schedule_cost`."""

    makespan: Array  # int32 [] slots until the last group is done; -1: more than max_slots, or impossible input
    loads: Array  # int32 [] token loads, summed over slots


def schedule_cost(
    choices: Any,
    group_of_expert: Any,
    *,
    policy: str,
    num_tokens: Any = None,
    num_groups: int | None = None,
    max_slots: int | None = None,
    max_open_tokens: Any = None,
) -> ScheduleCost:
    """Makespan and loads of one layer's tokens under a schedule policy. Pure, unbatched: `jit` and `vmap` it.

    Args:
        choices: `[T, E]` bool or 0/1, experts that each token visits.
        group_of_expert: int `[E]`, group of each expert; groups may differ in size.
        policy: `"token_wise"`, `"compact"`, `"reschedule"` or `"packed"`; static.
        num_tokens: rows in use, int `[]`, default T. Later rows are padding: not the same as tokens without experts,
            which the rule of `reschedule` counts.
        num_groups: static, default E. Right for any mix of group sizes; the true number is 2 to 12 times faster.
        max_slots: static. A longer schedule gives makespan -1. Default: no limit.
        max_open_tokens: `packed` only: at most this many tokens begun and not finished.

    Returns:
        `ScheduleCost(makespan, loads)`, int32 scalars.

    Raises:
        ScheduleError: wrong shapes, unknown policy, an expert in no group, ids or token counts out of range.

    Source: policies of Gao & Yang, ISCAS 2026; `packed` is this project's.

    >>> choices = jnp.array([[1, 1, 0, 0], [1, 0, 1, 0]])
    >>> cost = schedule_cost(choices, jnp.array([0, 0, 1, 1]), policy="compact", num_groups=2)
    >>> int(cost.makespan), int(cost.loads)
    (3, 4)
    """
    request = resolve(
        choices,
        group_of_expert,
        policy=policy,
        num_tokens=num_tokens,
        num_groups=num_groups,
        max_slots=max_slots,
        max_open_tokens=max_open_tokens,
        needs_slots=False,
    )
    return _cost(
        request.choices,
        request.group_of_expert,
        request.num_tokens,
        request.max_open_tokens,
        jnp.int32(request.max_slots),
        policy=request.policy,
        num_groups=request.num_groups,
    )


@functools.partial(jax.jit, static_argnames=("policy", "num_groups"))
def _cost(choices, groups, num_tokens, max_open_tokens, limit, *, policy, num_groups):
    loads = load_matrix(choices, groups, num_groups, num_tokens)
    tokens, experts = choices.shape
    bound = tokens * experts
    if policy == "token_wise":
        makespan = transfers = token_wise_makespan(loads)
    elif policy in INTERVAL_POLICIES:
        start, stop = INTERVAL_POLICIES[policy](loads, num_tokens, bound)
        makespan = compact_makespan(loads)
        transfers = union_length(start, stop, max_start=bound, max_length=experts).sum(dtype=jnp.int32)
    else:
        state = pack(loads, max_open_tokens, None, bound)
        makespan, transfers = state.slot, state.loads
    return ScheduleCost(flag_overflow(makespan, choices, groups, num_tokens, num_groups, limit), transfers)


def flag_overflow(
    makespan: Array, choices: Array, groups: Array, num_tokens: Array, num_groups: int, limit: Array
) -> Array:
    """The makespan, or -1 where it exceeds `limit` or the input was impossible.

    Impossible: a visited expert whose group id is out of range (unused padding experts may hold -1), or more tokens
    than rows.

    >>> flags = jnp.array([[True, False]])
    >>> int(flag_overflow(jnp.int32(9), flags, jnp.array([0, 1]), jnp.int32(1), 2, jnp.int32(8)))
    -1
    """
    lost = choices.astype(bool).any(axis=0) & ((groups < 0) | (groups >= num_groups))
    possible = ~lost.any() & (num_tokens >= 0) & (num_tokens <= choices.shape[0])
    return jnp.where(possible & (makespan <= limit), makespan, -1).astype(jnp.int32)


__all__ = ["ScheduleCost", "flag_overflow", "schedule_cost"]
