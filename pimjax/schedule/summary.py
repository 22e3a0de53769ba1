"""What the chip models need to know of a schedule, whatever the hardware."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.schedule.cost import flag_overflow
from pimjax.schedule.load_matrix import load_matrix
from pimjax.schedule.place import place
from pimjax.schedule.placement import loads_per_slot, open_per_slot
from pimjax.schedule.request import resolve


class ScheduleSummary(NamedTuple):
    """Result of `schedule_summary`: hardware-independent, computed once per trace, grouping and policy."""

    makespan: Array  # int32 [] slots until the last group is done; -1: more than max_slots, or impossible input
    loads: Array  # int32 [] token loads, summed over slots
    first_loads: Array  # int32 [] loads of slot 0
    load_hist: Array  # int32 [G+1] how many of the slots 1..makespan-1 load 0, 1, .., G tokens
    open_max: Array  # int32 [] most tokens with a first pass begun and the last not ended


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
        choices: `[T, E]` bool or 0/1, experts that each token visits.
        group_of_expert: int `[E]`, group of each expert.
        policy: `"token_wise"`, `"compact"`, `"reschedule"` or `"packed"`; static.
        num_tokens: rows in use, int `[]`, default T.
        num_groups: static, default E.
        max_slots: static; default: the makespan of concrete arrays, T E under `jit`. A longer schedule gives
            makespan -1, and the other numbers then describe its first `max_slots` slots.
        max_open_tokens: `packed` only: at most this many tokens begun and not finished.

    Returns:
        `ScheduleSummary`; `loads == first_loads + sum(m * load_hist[m])`, `sum(load_hist) == makespan - 1`.

    Raises:
        ScheduleError: as `schedule_cost`.

    >>> choices = jnp.array([[1, 1, 0, 0], [1, 0, 1, 0]])
    >>> summary = schedule_summary(choices, jnp.array([0, 0, 1, 1]), policy="compact", num_groups=2)
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
    return _summary(
        request.choices,
        request.group_of_expert,
        request.num_tokens,
        request.max_open_tokens,
        jnp.int32(request.max_slots),
        policy=request.policy,
        num_groups=request.num_groups,
        table_slots=request.table_slots,
    )


@functools.partial(jax.jit, static_argnames=("policy", "num_groups", "table_slots"))
def _summary(choices, groups, num_tokens, max_open_tokens, limit, *, policy, num_groups, table_slots):
    tokens, experts = choices.shape
    loads = load_matrix(choices, groups, num_groups, num_tokens)
    placement = place(loads, num_tokens, max_open_tokens, policy=policy, bound=tokens * experts, num_slots=table_slots)
    slot_loads = loads_per_slot(placement)
    slot = jnp.arange(table_slots, dtype=jnp.int32)
    later = (slot >= 1) & (slot < placement.makespan)
    count = jnp.arange(num_groups + 1, dtype=jnp.int32)
    histogram = ((slot_loads[None, :] == count[:, None]) & later[None, :]).sum(axis=1, dtype=jnp.int32)
    return ScheduleSummary(
        makespan=flag_overflow(placement.makespan, choices, groups, num_tokens, num_groups, limit),
        loads=slot_loads.sum(dtype=jnp.int32),
        first_loads=slot_loads[0],
        load_hist=histogram,
        open_max=open_per_slot(placement).max(),
    )


__all__ = ["ScheduleSummary", "schedule_summary"]
