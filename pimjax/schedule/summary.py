"""What the slots of a schedule add up to, and slot by slot: views of :func:`pimjax.schedule.counts.count_slots`."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import Array
from pimjax.schedule.counts import count_slots
from pimjax.schedule.load_matrix import load_matrix
from pimjax.schedule.request import Request, flag_overflow, resolve


class ScheduleSummary(NamedTuple):
    """Result of `schedule_summary`: hardware-independent, computed once per trace, grouping and policy."""

    makespan: Array  # int32 [] slots until the last group is done; -1: more than max_slots, or impossible input
    loads: Array  # int32 [] token loads, summed over slots
    first_loads: Array  # int32 [] loads of slot 0
    load_hist: Array  # int32 [G+1] how many of the slots 1..makespan-1 load 0, 1, .., G tokens
    open_max: Array  # int32 [] most tokens with a first pass begun and the last not ended


class ScheduleProfile(NamedTuple):
    """Result of `schedule_profile`."""

    loads: Array  # int32 [max_slots] distinct tokens loaded for the slot; 0 from the makespan on
    returns: Array  # int32 [max_slots] passes of the slot, one per busy group: the results that come back


def schedule_summary(
    choices: Any,
    group_of_expert: Any,
    *,
    policy: str,
    num_tokens: Any = None,
    num_groups: int | None = None,
    max_slots: int | None = None,
    max_open_tokens: Any = None,
) -> ScheduleSummary:
    """Makespan, loads, load histogram and open tokens of a schedule. Pure, unbatched: `jit` and `vmap` it.

    Args:
        choices, group_of_expert, policy, num_tokens, num_groups, max_open_tokens: as `schedule_cost`.
        max_slots: static; default: what the policy may need for concrete arrays, T E under `jit`. A longer schedule
            gives makespan -1, and the other numbers then describe its first `max_slots` slots.

    Returns:
        `ScheduleSummary`; `loads == first_loads + sum(m * load_hist[m])`, `sum(load_hist) == makespan - 1`.

    Raises:
        ScheduleError: as `schedule_cost`.

    >>> choices = np.array([[1, 1, 0, 0], [1, 0, 1, 0]])
    >>> summary = schedule_summary(choices, np.array([0, 0, 1, 1]), policy="compact", num_groups=2)
    >>> int(summary.first_loads), summary.load_hist.tolist(), int(summary.open_max)
    (2, [0, 2, 0], 2)
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
    return _counted(request)[0]


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
        choices, group_of_expert, policy, num_tokens, num_groups, max_open_tokens: as `schedule_cost`.
        max_slots: static length of the result; default: what the policy may need for concrete arrays (the makespan,
            for all shipped policies without a limit of open tokens), T E under `jit`. A schedule that needs more
            slots, or impossible input, gives -1 everywhere.

    Returns:
        `ScheduleProfile(loads, returns)`, int32 `[max_slots]`; `sum(returns)` is the number of passes.

    Raises:
        ScheduleError: as `schedule_cost`.

    >>> choices = np.array([[1, 1, 0, 0], [1, 0, 1, 0]])
    >>> profile = schedule_profile(choices, np.array([0, 0, 1, 1]), policy="compact", num_groups=2)
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
    return ScheduleProfile(*(row[: request.max_slots] for row in _counted(request)[1]))


def _counted(request: Request) -> tuple[ScheduleSummary, ScheduleProfile]:
    return _count(
        *request[:4],
        np.int32(request.max_slots),
        policy=request.policy,
        num_groups=request.num_groups,
        table_slots=request.table_slots,
    )


@functools.partial(jax.jit, static_argnames=("policy", "num_groups", "table_slots"))
def _count(choices, groups, num_tokens, max_open_tokens, limit, *, policy, num_groups, table_slots):
    """Summary and profile; whoever drops one of them inside a larger program pays for the other alone."""
    tokens, experts = choices.shape
    loads = load_matrix(choices, groups, num_groups, num_tokens)
    placed = policy.placement(loads, num_tokens, max_open_tokens, bound=tokens * experts, num_slots=table_slots)
    counts = count_slots(
        placed, loads.sum(axis=0, dtype=jnp.int32), num_tokens, num_groups=num_groups, joint=False, profile=True
    )
    makespan = flag_overflow(placed.makespan, choices, groups, num_tokens, num_groups, limit)
    rows = counts["profile"][:2]
    summary = ScheduleSummary(makespan, *(counts[name] for name in ScheduleSummary._fields[1:]))
    return summary, ScheduleProfile(*jnp.where(makespan >= 0, rows, -1))


__all__ = ["ScheduleProfile", "ScheduleSummary", "schedule_profile", "schedule_summary"]
