"""Counts of many passes at once: schedules and their slots on the device, the same numbers as `count_pass` on the host.

A schedule does not depend on hardware, so its counts are made once per (pass, layer, plan) and every hardware point
reads them. One compiled program per policy and padded size; on a CPU each worker thread runs one schedule after the
other (they stay in cache, and a compiled program lets other threads run), on an accelerator thousands run together.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from pimjax.array_typing import HostArray
from pimjax.config.plan import PlanConfig
from pimjax.errors import CapacityError
from pimjax.runs.counts import PassCounts, gathered
from pimjax.schedule.counts import count_slots
from pimjax.schedule.load_matrix import host_loads, load_matrix
from pimjax.schedule.policies import policy_of
from pimjax.schedule.slots import bucket, check_makespan

_LANES = {"cpu": 1, "gpu": 4096, "tpu": 1024}  # schedules in flight in one program
_CHUNK = {"cpu": 16, "gpu": 4096, "tpu": 1024}  # schedules of one launch


class Pass(NamedTuple):
    """One pass of a run and who shares peripherals in it."""

    choices: HostArray  # bool [L, T, E], L MoE layers
    group_of_expert: HostArray  # int [L, E]
    num_groups: int


def can_count(plan: PlanConfig, tokens: int) -> bool:
    """Whether :func:`count_passes` knows a plan: the whole pass is one window.

    >>> can_count(PlanConfig(), 512), can_count(PlanConfig(window_tokens=64), 512)
    (True, False)
    """
    return plan.window_tokens is None or plan.window_tokens >= tokens


def count_passes(
    plan: PlanConfig, passes: Sequence[Pass], *, groups: int, profile: bool = False, shared_links: bool = True
) -> list[PassCounts]:
    """Counts of every pass. Host function.

    Args:
        plan: policy, limits; one window per pass (:func:`can_count`).
        passes: of any lengths; equal ones share a program.
        groups: G of the histograms, at least the groups of any pass.
        profile: also slot by slot.
        shared_links: also slots by (loads, busy groups); else `busy_hist` is zero.

    Returns:
        float64 counts in the order of `passes`, equal to those of `count_pass`.

    Raises:
        CapacityError: a pass has more groups than `groups`.

    >>> choices = np.array([[[1, 1, 0, 0], [1, 0, 1, 0]]], bool)
    >>> made = count_passes(PlanConfig(policy="compact"), [Pass(choices, np.array([[0, 0, 1, 1]]), 2)], groups=2)
    >>> made[0].rows["makespan"].tolist(), made[0].rows["load_hist"].tolist()
    ([3.0], [[0.0, 2.0, 0.0]])
    """
    buckets: dict[tuple[int, int], list[int]] = {}
    for index, one in enumerate(passes):
        if one.num_groups > groups:
            raise CapacityError(f"a pass has {one.num_groups} groups, the histograms {groups}: build a larger Capacity")
        buckets.setdefault((bucket(one.choices.shape[1]), one.num_groups), []).append(index)
    done: dict[int, PassCounts] = {}
    for (tokens, num_groups), members in buckets.items():
        chosen = [passes[index] for index in members]
        counted = _count_bucket(plan, chosen, tokens, num_groups, groups, profile, shared_links)
        done.update(zip(members, counted, strict=True))
    return [done[index] for index in range(len(passes))]


def _count_bucket(
    plan: PlanConfig,
    passes: list[Pass],
    tokens: int,
    num_groups: int,
    groups: int,
    profile: bool,
    shared_links: bool,
) -> list[PassCounts]:
    """Passes of one padded length and number of groups."""
    layers = np.array([len(one.choices) for one in passes])
    owner = np.repeat(np.arange(len(passes)), layers)
    layer = np.concatenate([np.arange(count) for count in layers]) if len(passes) else np.zeros(0, int)
    length = np.array([one.choices.shape[1] for one in passes], np.int32)
    jobs = len(owner)
    slots = max([1, *(_most_slots(plan, one) for one in passes)])
    table = bucket(slots)
    run = functools.partial(
        _count,
        limit=None if plan.max_open_tokens is None else jnp.int32(plan.max_open_tokens),
        policy=policy_of(plan.policy),
        num_groups=num_groups,
        table_slots=table,
        hold=plan.input_hold,
        profile=profile,
        shared_links=shared_links,
    )
    platform = jax.default_backend()
    size = min(_CHUNK.get(platform, 1024), bucket(jobs))

    def launch(start: int) -> dict[str, HostArray]:
        index = np.minimum(np.arange(start, start + size), jobs - 1)
        experts = passes[0].choices.shape[2]
        choices = np.zeros((size, tokens, experts), bool)
        maps = np.empty((size, experts), np.int32)
        for place_, job in enumerate(index):
            one = passes[owner[job]]
            choices[place_, : length[owner[job]]] = one.choices[layer[job]]
            maps[place_] = one.group_of_expert[layer[job]]
        with jax.enable_x64(False):
            made = run(choices, maps, length[owner[index]], lanes=min(size, _LANES.get(platform, 1)))
            return {name: np.asarray(value)[: jobs - start] for name, value in made.items()}

    starts = range(0, jobs, size)
    if len(starts) > 1 and platform == "cpu":
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            parts = [launch(0), *pool.map(launch, starts[1:])]  # the first one compiles for all
    else:
        parts = [launch(start) for start in starts]
    if not parts:
        return [gathered(int(tokens), {}, groups, profile=profile) for tokens in length]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    check_makespan(policy_of(plan.policy), int(whole["makespan"].max(initial=0)), table)
    ends = np.cumsum(layers)
    return [
        gathered(
            int(length[index]),
            {name: values[end - layers[index] : end] for name, values in whole.items()},
            groups,
            profile=profile,
        )
        for index, end in enumerate(ends)
    ]


def _most_slots(plan: PlanConfig, one: Pass) -> int:
    """Slots of the longest schedule of a pass."""
    loads = host_loads(one.choices, one.group_of_expert, one.num_groups)
    return int(policy_of(plan.policy).makespan_bound(loads, plan.max_open_tokens).max(initial=0))


@functools.partial(
    jax.jit, static_argnames=("policy", "num_groups", "table_slots", "hold", "profile", "shared_links", "lanes")
)
def _count(choices, maps, num_tokens, *, lanes, limit, policy, num_groups, table_slots, hold, profile, shared_links):
    """Counts of layers `[N, T, E]`; leaves `[N, ...]`, int32."""
    bound = choices.shape[1] * choices.shape[2]

    def one(job):
        rows, groups, used = job
        loads = load_matrix(rows, groups, num_groups, used)
        placed = policy.placement(loads, used, limit, bound=bound, num_slots=table_slots)
        passes = loads.sum(axis=0, dtype=jnp.int32)
        return count_slots(placed, passes, used, num_groups=num_groups, hold=hold, joint=shared_links, profile=profile)

    return lax.map(one, (choices, maps, num_tokens), batch_size=None if lanes == 1 else lanes)
