"""Host views of a schedule: the slot table for plots and the intervals of the published policies."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import ScheduleError
from pimjax.schedule.checks import check_size
from pimjax.schedule.load_matrix import load_matrix
from pimjax.schedule.place import place
from pimjax.schedule.placement import IDLE
from pimjax.schedule.policies import INTERVAL_POLICIES
from pimjax.schedule.request import Request, resolve


def schedule_slots(
    choices: Any,
    group_of_expert: Any,
    *,
    policy: str,
    num_tokens: Any = None,
    num_groups: int | None = None,
    max_slots: int | None = None,
    max_open_tokens: Any = None,
) -> HostArray:
    """Token that each group works on in each slot. Host function, all policies.

    Args:
        choices: `[T, E]` bool or 0/1, experts that each token visits.
        group_of_expert: int `[E]`, group of each expert.
        policy: `"token_wise"`, `"compact"`, `"reschedule"` or `"packed"`.
        num_tokens: rows in use, default T.
        num_groups: G, default E.
        max_slots: longest schedule to accept, default any.
        max_open_tokens: `packed` only: at most this many tokens begun and not finished.

    Returns:
        int32 `[S, G]` with S the makespan; `IDLE` (-1) where a group waits.

    Raises:
        ScheduleError: as `schedule_cost`; also when the schedule is longer than `max_slots`.

    >>> choices = np.array([[1, 1, 0, 0], [1, 0, 1, 0]])
    >>> schedule_slots(choices, np.array([0, 0, 1, 1]), policy="compact", num_groups=2).tolist()
    [[0, 1], [0, -1], [1, -1]]
    """
    request = resolve(
        choices,
        group_of_expert,
        policy=policy,
        num_tokens=num_tokens,
        num_groups=num_groups,
        max_open_tokens=max_open_tokens,
    )
    if max_slots is not None:
        check_size("max_slots", max_slots)
    placement = _place(
        _bucketed(request.choices),
        request.group_of_expert,
        request.num_tokens,
        request.max_open_tokens,
        policy=policy,
        num_groups=request.num_groups,
        table_slots=request.table_slots,
    )
    makespan = int(placement.makespan)
    if max_slots is not None and makespan > max_slots:
        raise ScheduleError(f"the schedule takes {makespan} slots, more than max_slots = {max_slots}: raise it")
    return np.asarray(placement.tokens).T[:makespan].copy()


def schedule_intervals(
    choices: Any,
    group_of_expert: Any,
    *,
    policy: str,
    num_tokens: Any = None,
    num_groups: int | None = None,
    max_slots: int | None = None,
) -> tuple[HostArray, HostArray]:
    """Slots `[start, stop)` in which each group works on each token. Host function, published policies.

    Args:
        choices: `[T, E]` bool or 0/1, experts that each token visits.
        group_of_expert: int `[E]`, group of each expert.
        policy: `"token_wise"`, `"compact"` or `"reschedule"`.
        num_tokens: rows in use, default T.
        num_groups: G, default E.
        max_slots: longest schedule to accept, default any.

    Returns:
        int32 `[T, G]` starts and stops; `stop - start` is the number of passes, empty intervals are legal.

    Raises:
        ScheduleError: as `schedule_cost`; for `"packed"`, which may split a token over separate slots; and when
            the schedule is longer than `max_slots`.

    >>> choices = np.array([[1, 1, 0, 0], [1, 0, 1, 0]])
    >>> start, stop = schedule_intervals(choices, np.array([0, 0, 1, 1]), policy="compact", num_groups=2)
    >>> start.tolist(), stop.tolist()
    ([[0, 0], [2, 0]], [[2, 0], [3, 1]])
    """
    if policy == "packed":
        raise ScheduleError(
            "the policy 'packed' may split a token over separate slots and has no intervals: use schedule_slots"
        )
    request = resolve(
        choices,
        group_of_expert,
        policy=policy,
        num_tokens=num_tokens,
        num_groups=num_groups,
        needs_slots=False,
    )
    if max_slots is not None:
        check_size("max_slots", max_slots)
    start, stop = _intervals(request, policy)
    makespan = int(stop.max())
    if max_slots is not None and makespan > max_slots:
        raise ScheduleError(f"the schedule takes {makespan} slots, more than max_slots = {max_slots}: raise it")
    return start, stop


def _intervals(request: Request, policy: str) -> tuple[HostArray, HostArray]:
    tokens = request.choices.shape[0]
    start, stop = _interval_kernel(
        _bucketed(request.choices),
        request.group_of_expert,
        request.num_tokens,
        policy=policy,
        num_groups=request.num_groups,
    )
    return np.asarray(start).T[:tokens].copy(), np.asarray(stop).T[:tokens].copy()


def _bucketed(choices: Any) -> HostArray:
    """Choices padded to a power of two of tokens: a few compiled programs then serve every length."""
    rows = choices.shape[0]
    return np.pad(np.asarray(choices), ((0, (1 << (rows - 1).bit_length()) - rows), (0, 0)))


@functools.partial(jax.jit, static_argnames=("policy", "num_groups", "table_slots"))
def _place(choices, groups, num_tokens, max_open_tokens, *, policy, num_groups, table_slots):
    tokens, experts = choices.shape
    loads = load_matrix(choices, groups, num_groups, num_tokens)
    return place(loads, num_tokens, max_open_tokens, policy=policy, bound=tokens * experts, num_slots=table_slots)


@functools.partial(jax.jit, static_argnames=("policy", "num_groups"))
def _interval_kernel(choices, groups, num_tokens, *, policy, num_groups):
    tokens, experts = choices.shape
    loads = load_matrix(choices, groups, num_groups, num_tokens)
    return INTERVAL_POLICIES[policy](loads, num_tokens, tokens * experts)


__all__ = ["IDLE", "schedule_intervals", "schedule_slots"]
