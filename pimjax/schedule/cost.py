"""Cost of a schedule: how many slots it takes and how many activation vectors it loads."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from pimjax.array_typing import Array
from pimjax.schedule.load_matrix import load_matrix
from pimjax.schedule.request import flag_overflow, resolve


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
        policy: a name in `pimjax.schedule.POLICIES`: `"token_wise"`, `"compact"`, `"reschedule"`, `"packed"` or one of
            your own; static.
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

    >>> choices = np.array([[1, 1, 0, 0], [1, 0, 1, 0]])
    >>> cost = schedule_cost(choices, np.array([0, 0, 1, 1]), policy="compact", num_groups=2)
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
    return _cost(*request[:4], np.int32(request.max_slots), policy=request.policy, num_groups=request.num_groups)


@functools.partial(jax.jit, static_argnames=("policy", "num_groups"))
def _cost(choices, groups, num_tokens, max_open_tokens, limit, *, policy, num_groups):
    loads = load_matrix(choices, groups, num_groups, num_tokens)
    tokens, experts = choices.shape
    makespan, transfers = policy.makespan_and_loads(
        loads, num_tokens, max_open_tokens, bound=tokens * experts, longest=experts
    )
    return ScheduleCost(flag_overflow(makespan, choices, groups, num_tokens, num_groups, limit), transfers)


__all__ = ["ScheduleCost", "schedule_cost"]
