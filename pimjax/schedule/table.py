"""Summaries of many requests and layers under many plans: one program per policy, plans picked by index later."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from pimjax.array_typing import Array, HostArray
from pimjax.checks import each, flags, having, numbers, require
from pimjax.errors import ScheduleError
from pimjax.schedule.checks import check_size
from pimjax.schedule.load_matrix import host_loads
from pimjax.schedule.policies.registry import POLICIES, check_open_limit, policy_of
from pimjax.schedule.summary import ScheduleSummary, schedule_summary

_LANES = {"cpu": 1, "gpu": 4096, "tpu": 1024}  # schedules in flight: on a CPU one at a time stays in cache


class SchedulePlan(NamedTuple):
    """One row of a schedule table."""

    group_of_expert: Any  # int [E], or [L, E] with a map per layer
    policy: str
    max_open_tokens: int | None = None  # for a policy that limits open tokens


def schedule_table(
    traces: Any,
    plans: Sequence[Any],
    *,
    num_groups: int | None = None,
    max_slots: int | None = None,
) -> ScheduleSummary:
    """Schedule every layer of every request under every plan.

    A kernel that is evaluated over plans indexes this table; choosing the policy inside it by `lax.switch` would run
    every policy for every point.

    Args:
        traces: `RoutingTrace`, stacked (`choices` `[R, L, T, E]`, `num_tokens` `[R]`) or a single request.
        plans: `SchedulePlan`s or `(group_of_expert, policy)` pairs; the map is `[E]`, or `[L, E]` for one per layer.
        num_groups: static G of the histograms, default the groups in use rounded up to a power of two.
        max_slots: static length of slot tables, default the longest schedule rounded up to a power of two.

    Returns:
        `ScheduleSummary` with leaves `[plans, R, L]`; `load_hist` `[plans, R, L, G+1]`.

    Raises:
        ScheduleError: no plan, unknown policy, maps that do not fit the traces, ids out of range.

    >>> from pimjax.trace import RoutingTrace
    >>> trace = RoutingTrace.from_expert_ids([[0, 1], [0, 2]], num_experts=4)
    >>> table = schedule_table(trace, [([0, 0, 1, 1], "compact"), ([0, 1, 0, 1], "token_wise")])
    >>> table.makespan.tolist(), table.loads.tolist()
    ([[[3]], [[3]]], [[[4]], [[3]]])
    """
    require(ScheduleError, "traces", traces, having("choices", "num_tokens", meaning="a RoutingTrace"))
    require(ScheduleError, "traces.choices", traces.choices, flags(dims=(3, 4), meaning="booleans of a RoutingTrace"))
    choices = np.asarray(traces.choices, bool)
    if choices.ndim == 3:
        choices = choices[None]
    requests, layers, _, experts = choices.shape
    num_tokens = np.broadcast_to(np.asarray(traces.num_tokens, np.int32), (requests,))
    meaning = "a list of at least one plan: SchedulePlan(group_of_expert, policy)"
    require(ScheduleError, "plans", plans, each(_is_plan, meaning, least=1))
    for name, size in (("num_groups", num_groups), ("max_slots", max_slots)):
        if size is not None:
            check_size(name, size)
    rows = [SchedulePlan(*plan) for plan in plans]
    maps = np.stack([_map(index, row, layers, experts) for index, row in enumerate(rows)])
    used = int(maps.max()) + 1
    if num_groups is None:
        num_groups = 1 << (used - 1).bit_length()
    if used > num_groups:
        raise ScheduleError(f"the plans use {used} groups, more than num_groups = {num_groups}: raise it")
    lost = (maps < 0) & np.logical_or.reduce(choices, axis=(0, 2))[None]
    if lost.any():
        plan, layer, expert = np.argwhere(lost)[0]
        raise ScheduleError(f"plan {plan}: expert {expert} of layer {layer} is in no group: give an id from 0")
    if max_slots is None:
        max_slots = _longest(choices, num_tokens, maps, rows, num_groups)
    parts, order = [], []
    for policy in POLICIES:
        for limited in (False, True):
            chosen = [
                i for i, row in enumerate(rows) if row.policy == policy and (row.max_open_tokens is not None) == limited
            ]
            if not chosen:
                continue
            limits = jnp.array([rows[i].max_open_tokens or 0 for i in chosen], jnp.int32)
            parts.append(
                _table(
                    jnp.asarray(choices),
                    jnp.asarray(num_tokens),
                    jnp.asarray(maps[chosen]),
                    limits if limited else None,
                    policy=policy,
                    num_groups=num_groups,
                    max_slots=max_slots,
                )
            )
            order += chosen
    place = jnp.asarray(np.argsort(order))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[place], *parts)


@functools.partial(jax.jit, static_argnames=("policy", "num_groups", "max_slots"))
def _table(
    choices: Array,
    num_tokens: Array,
    maps: Array,
    limits: Array | None,
    *,
    policy: str,
    num_groups: int,
    max_slots: int,
) -> ScheduleSummary:
    """All plans of one policy: `lax.map` over the flat (plan, request, layer) axis."""
    requests, layers = choices.shape[:2]
    plans = maps.shape[0]

    def one(point: Array) -> ScheduleSummary:
        plan, request, layer = point // (requests * layers), point // layers % requests, point % layers
        return schedule_summary(
            choices[request, layer],
            maps[plan, layer],
            policy=policy,
            num_tokens=num_tokens[request],
            num_groups=num_groups,
            max_slots=max_slots,
            max_open_tokens=None if limits is None else limits[plan],
        )

    points = jnp.arange(plans * requests * layers, dtype=jnp.int32)
    lanes = min(_LANES.get(jax.default_backend(), 1), points.shape[0])
    flat = lax.map(one, points, batch_size=None if lanes == 1 else lanes)
    return jax.tree.map(lambda leaf: leaf.reshape(plans, requests, layers, *leaf.shape[1:]), flat)


def _is_plan(value: Any) -> str | None:
    return None if isinstance(value, (tuple, list)) and 2 <= len(value) <= 3 else "a plan"


def _map(index: int, plan: SchedulePlan, layers: int, experts: int) -> HostArray:
    check_open_limit(policy_of(plan.policy), plan.max_open_tokens, f"plan {index}: max_open_tokens")
    require(ScheduleError, f"plan {index}: group_of_expert", plan.group_of_expert, numbers(dims=(1, 2), valued=False))
    groups = np.asarray(plan.group_of_expert)
    if groups.shape not in ((experts,), (layers, experts)) or not np.issubdtype(groups.dtype, np.integer):
        raise ScheduleError(
            f"plan {index}: group_of_expert must be integers [{experts}] or [{layers}, {experts}], "
            f"not {groups.dtype} {list(groups.shape)}"
        )
    return np.broadcast_to(groups.astype(np.int32), (layers, experts))


def _longest(
    choices: HostArray, num_tokens: HostArray, maps: HostArray, rows: list[SchedulePlan], num_groups: int
) -> int:
    """Slots of the longest schedule in the table, rounded up to a power of two."""
    real = np.arange(choices.shape[2])[None, :] < num_tokens[:, None]
    visits = choices & real[:, None, :, None]
    longest = 1
    for groups, row in zip(maps, rows, strict=True):
        slots = policy_of(row.policy).makespan_bound(host_loads(visits, groups, num_groups), row.max_open_tokens)
        longest = max(longest, int(slots.max(initial=0)))
    return 1 << (longest - 1).bit_length()


__all__ = ["SchedulePlan", "schedule_table"]
