"""Host views of a schedule: the slot table and the intervals. NumPy wherever the policy has a NumPy twin."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import ScheduleError
from pimjax.schedule.checks import check_size
from pimjax.schedule.load_matrix import host_loads
from pimjax.schedule.placement import IDLE, Placement, place_intervals, place_table
from pimjax.schedule.policies.policy import Policy
from pimjax.schedule.request import resolve

_COMPILE_NS = 0.5e9  # what compiling the kernel of a policy takes, or less
_spent: dict[Policy, float] = {}  # ns that slow NumPy twins have taken in this process


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
        choices, group_of_expert, policy, num_tokens, num_groups, max_open_tokens: as `schedule_cost`, concrete.
        max_slots: longest schedule to accept, default any.

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
        needs_slots=False,
    )
    if max_slots is not None:
        check_size("max_slots", max_slots)
    rows = np.asarray(request.choices)[: int(request.num_tokens)]
    loads = host_loads(rows, np.asarray(request.group_of_expert), request.num_groups)
    placed = place_on_host(request.policy, loads, request.max_open_tokens)
    _check_length(int(placed.makespan), max_slots)
    return placed.tokens.T.copy()


def schedule_intervals(
    choices: Any,
    group_of_expert: Any,
    *,
    policy: str,
    num_tokens: Any = None,
    num_groups: int | None = None,
    max_slots: int | None = None,
) -> tuple[HostArray, HostArray]:
    """Slots `[start, stop)` in which each group works on each token. Host function, policies that have intervals.

    Args:
        choices, group_of_expert, policy, num_tokens, num_groups: as `schedule_cost`, concrete.
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
    request = resolve(
        choices,
        group_of_expert,
        policy=policy,
        num_tokens=num_tokens,
        num_groups=num_groups,
        needs_slots=False,
    )
    if request.policy.intervals is None:
        raise ScheduleError(
            f"the policy {policy!r} may split a token over separate slots and has no intervals: use schedule_slots"
        )
    if max_slots is not None:
        check_size("max_slots", max_slots)
    used = int(request.num_tokens)
    rows = np.asarray(request.choices) * (np.arange(len(request.choices)) < used)[:, None]
    loads = host_loads(rows, np.asarray(request.group_of_expert), request.num_groups)
    start, stop = _intervals(request.policy, loads, used)
    _check_length(int(np.where(stop > start, stop, 0).max()), max_slots)
    return start.T.copy(), stop.T.copy()


def _check_length(makespan: int, max_slots: int | None) -> None:
    if max_slots is not None and makespan > max_slots:
        raise ScheduleError(f"the schedule takes {makespan} slots, more than max_slots = {max_slots}: raise it")


def place_on_host(
    policy: Policy, loads: HostArray, max_open_tokens: Any = None, *, passes: int | None = None
) -> Placement:
    """Slot table of a load matrix, without compiling where the policy has a NumPy twin.

    Args:
        policy: the policy.
        loads: int32 `[G, T]`, every token in use.
        max_open_tokens: limit of tokens begun and not finished, or None.
        passes: passes that will be placed in all, for a policy whose kernel is faster once it is compiled: many are
            then compiled at once; default those of `loads`.

    Returns:
        NumPy placement with S the makespan.

    Raises:
        ScheduleError: the policy takes more slots than it says.

    >>> from pimjax.schedule.policies import POLICIES
    >>> place_on_host(POLICIES["token_wise"], np.array([[2, 1], [0, 1]], np.int32)).tokens.tolist()
    [[0, 0, 1], [-1, -1, 1]]
    """
    groups, tokens = loads.shape
    if not loads.any():
        none = np.zeros(tokens, np.int32)
        return Placement(np.zeros((groups, 0), np.int32), none, none, np.int32(0))
    passes = int(loads.sum()) if passes is None else passes
    if policy.host_intervals is not None:
        start, stop = policy.host_intervals(loads, tokens, int(loads.sum()))
        return place_intervals(start, stop, int(np.where(stop > start, stop, 0).max()))
    if policy.host_place is not None and _sooner(policy, passes, int(loads.sum()), tokens):
        return place_table(policy.host_place(loads, max_open_tokens), tokens)
    return _placed(policy, loads, max_open_tokens)


def _sooner(policy: Policy, passes: int, own: int, tokens: int) -> bool:
    """Whether to use a slow NumPy twin once more: never for longer, in all, than what compiling takes."""
    if policy.host_ns is None:
        return True
    spent = _spent.get(policy, 0.0)
    if spent + policy.host_ns(passes, tokens) > _COMPILE_NS:
        return False
    _spent[policy] = spent + policy.host_ns(own, tokens)
    return True


def _placed(policy: Policy, loads: HostArray, max_open_tokens: Any) -> Placement:
    """The compiled kernel's placement, cut to its makespan."""
    tokens = loads.shape[1]
    most = int(policy.makespan_bound(loads, max_open_tokens))
    limit = None if max_open_tokens is None else np.int32(max_open_tokens)
    size = bucket(most)
    made = _place(_widened(loads), np.int32(tokens), limit, policy=policy, bound=bucket(int(loads.sum())), slots=size)
    placed = Placement(*(np.asarray(leaf) for leaf in made))
    check_makespan(policy, int(placed.makespan), size)
    return Placement(
        placed.tokens[:, : int(placed.makespan)], placed.first[:tokens], placed.stop[:tokens], placed.makespan
    )


def check_makespan(policy: Policy, makespan: int, slots: int) -> None:
    """Raise if a schedule did not fit the table that its policy asked for.

    Raises:
        ScheduleError: the policy's `makespan_bound` is too small.

    >>> from pimjax.schedule.policies import POLICIES
    >>> check_makespan(POLICIES["compact"], 3, 3)
    """
    if makespan > slots:
        raise ScheduleError(
            f"the policy {policy.name!r} took {makespan} slots where its makespan_bound says {slots} at most: "
            "correct the bound"
        )


def _intervals(policy: Policy, loads: HostArray, num_tokens: int) -> tuple[HostArray, HostArray]:
    """int32 `[G, T]` starts and stops."""
    tokens, bound = loads.shape[1], max(1, int(loads.sum()))
    if policy.host_intervals is not None:
        return policy.host_intervals(loads, num_tokens, bound)
    made = _interval_kernel(_widened(loads), np.int32(num_tokens), policy=policy, bound=bucket(bound))
    start, stop = (np.asarray(edge)[:, :tokens] for edge in made)
    return start, stop


def bucket(size: int) -> int:
    """The next power of two, or three quarters of it: few programs serve all sizes.

    >>> [bucket(size) for size in (1, 9, 33, 97, 511)]
    [8, 12, 48, 128, 512]
    """
    power = max(8, 1 << (size - 1).bit_length())
    return power * 3 // 4 if power > 8 and size <= power * 3 // 4 else power


def _widened(loads: HostArray) -> HostArray:
    return np.pad(loads, ((0, 0), (0, bucket(loads.shape[1]) - loads.shape[1])))


@functools.partial(jax.jit, static_argnames=("policy", "bound", "slots"))
def _place(loads, num_tokens, max_open_tokens, *, policy, bound, slots):
    return policy.placement(loads, num_tokens, max_open_tokens, bound=bound, num_slots=slots)


@functools.partial(jax.jit, static_argnames=("policy", "bound"))
def _interval_kernel(loads, num_tokens, *, policy, bound):
    return policy.intervals(loads, num_tokens, bound)


__all__ = ["IDLE", "bucket", "check_makespan", "place_on_host", "schedule_intervals", "schedule_slots"]
