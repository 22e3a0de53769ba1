"""Slot by slot: how many tokens are loaded and how many passes return."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.schedule.cost import flag_overflow
from pimjax.schedule.load_matrix import load_matrix
from pimjax.schedule.place import place
from pimjax.schedule.placement import loads_per_slot, returns_per_slot
from pimjax.schedule.request import resolve


class ScheduleProfile(NamedTuple):
    """Result of `schedule_profile`."""

    loads: Array  # int32 [max_slots] distinct tokens loaded for the slot; 0 from the makespan on
    returns: Array  # int32 [max_slots] passes of the slot, one per busy group: the results that come back


def schedule_profile(
    choices: Any,
    group_of_expert: Any,
    *,
    policy: str,
    num_tokens: Any = None,
    num_groups: int | None = None,
    max_slots: int | None = None,
    max_open_tokens: Any = None,
) -> ScheduleProfile:
    """Loads and returned passes of every slot. Pure, unbatched: `jit` and `vmap` it.

    Args:
        choices: `[T, E]` bool or 0/1, experts that each token visits.
        group_of_expert: int `[E]`, group of each expert.
        policy: `"token_wise"`, `"compact"`, `"reschedule"` or `"packed"`; static.
        num_tokens: rows in use, int `[]`, default T.
        num_groups: static, default E.
        max_slots: static length of the result; default: the makespan of concrete arrays, T E under `jit`.
            A schedule that needs more slots, or impossible input, gives -1 everywhere.
        max_open_tokens: `packed` only: at most this many tokens begun and not finished.

    Returns:
        `ScheduleProfile(loads, returns)`, int32 `[max_slots]`; `sum(returns)` is the number of passes.

    Raises:
        ScheduleError: as `schedule_cost`.

    >>> choices = jnp.array([[1, 1, 0, 0], [1, 0, 1, 0]])
    >>> profile = schedule_profile(choices, jnp.array([0, 0, 1, 1]), policy="compact", num_groups=2)
    >>> profile.loads.tolist(), profile.returns.tolist()
    ([2, 1, 1], [2, 1, 1])
    """
    request = resolve(
        choices,
        group_of_expert,
        policy=policy,
        num_tokens=num_tokens,
        num_groups=num_groups,
        max_slots=max_slots,
        max_open_tokens=max_open_tokens,
    )
    profile = _profile(
        request.choices,
        request.group_of_expert,
        request.num_tokens,
        request.max_open_tokens,
        jnp.int32(request.max_slots),
        policy=request.policy,
        num_groups=request.num_groups,
        table_slots=request.table_slots,
    )
    return ScheduleProfile(*(row[: request.max_slots] for row in profile))


@functools.partial(jax.jit, static_argnames=("policy", "num_groups", "table_slots"))
def _profile(choices, groups, num_tokens, max_open_tokens, limit, *, policy, num_groups, table_slots):
    tokens, experts = choices.shape
    loads = load_matrix(choices, groups, num_groups, num_tokens)
    placement = place(loads, num_tokens, max_open_tokens, policy=policy, bound=tokens * experts, num_slots=table_slots)
    makespan = flag_overflow(placement.makespan, choices, groups, num_tokens, num_groups, limit)
    rows = ScheduleProfile(loads_per_slot(placement), returns_per_slot(placement))
    return ScheduleProfile(*(jnp.where(makespan >= 0, row, -1) for row in rows))


__all__ = ["ScheduleProfile", "schedule_profile"]
