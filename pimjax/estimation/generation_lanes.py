"""A generation run cut into parts that one compiled program evaluates: the whole run, its prefill, pieces of its decode.

A *lane* is one design point. The decode steps are cut into at most `pieces` consecutive pieces; the cost of a piece over
its steps is one point of the per-token curve, and pieces add up to the decode phase. No lane and no program grows with
the number of tokens: a piece is a run of its own that starts with a longer prompt and has no prefill.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from pimjax.array_typing import HostArray
from pimjax.chips.multiplexed import MultiplexedSchedule, multiplexed_cost
from pimjax.chips.multiplexed.routing import RunRouting
from pimjax.chips.multiplexed.schedule_inputs import inputs_from_routing
from pimjax.chips.multiplexed.traffic import cache_use
from pimjax.chips.reference.kernel import reference_cost
from pimjax.config.build import Capacity, build
from pimjax.config.config import Config


class LaneCosts(NamedTuple):
    """What every lane costs; float64 `[lanes]`."""

    latency_ns: HostArray
    energy_nj: HostArray
    area_mm2: HostArray
    status: HostArray


def piece_edges(steps: int, pieces: int) -> HostArray:
    """Bounds of at most `pieces` consecutive pieces of `steps` decode steps, nearly equal; int `[K + 1]`.

    >>> piece_edges(7, 16).tolist(), piece_edges(10, 3).tolist()
    ([0, 1, 2, 3, 4, 5, 6, 7], [0, 3, 7, 10])
    """
    return np.unique(np.round(np.linspace(0, steps, min(steps, pieces) + 1)).astype(int))


def lane_configs(config: Config, edges: HostArray) -> list[Config]:
    """The run, its prefill alone, then one run per piece; caches stay sized for the whole run.

    >>> from pimjax.config.loader import load_config
    >>> run = load_config("paper_multiplexed", {"workload.prompt_tokens": 8, "workload.generated_tokens": 5})
    >>> [lane.workload.generated_tokens for lane in lane_configs(run, piece_edges(4, 2))]
    [5, 1, 3, 3]
    """
    workload = config.workload
    prompt, longest = workload.num_prompt_tokens, workload.context_tokens
    parts = [
        {"prefill": True, "generated_tokens": 1},
        *(
            {"prefill": False, "prompt_tokens": prompt + int(a), "generated_tokens": int(b - a) + 1}
            for a, b in itertools.pairwise(edges)
        ),
    ]
    return [
        config.model_copy(update={"workload": workload.model_copy(update={"max_context_tokens": longest, **part})})
        for part in ({}, *parts)
    ]


def lane_schedules(
    config: Config, routing: RunRouting, lanes: Sequence[Config], edges: HostArray, *, fidelity: str, capacity: Capacity
) -> list[MultiplexedSchedule]:
    """Schedules of :func:`lane_configs`, all of one shape; recomputed prefixes are sampled once for all lanes."""
    whole = inputs_from_routing(config, routing, fidelity=fidelity, capacity=capacity)
    none = np.zeros_like(whole.weights)
    recomputes = bool(cache_use(build(config)[0]).experts_all)
    # pyrefly: ignore[missing-attribute]
    schedules = [whole, whole.replace(weights=none)]
    first = config.workload.num_prompt_tokens + 1
    for lane, begin, end in zip(lanes[2:], edges[:-1], edges[1:], strict=True):
        if recomputes:
            weights = sample_weights(whole.lengths, np.arange(first + begin, first + end))
            schedules.append(whole.replace(weights=weights))  # pyrefly: ignore[missing-attribute]
            continue
        part = dataclasses.replace(
            routing, steps=routing.steps[:, :, begin:end], taken=routing.taken[:, :, begin:end], config=lane
        )
        piece = inputs_from_routing(lane, part, fidelity="closed", capacity=capacity)
        schedules.append(
            whole.replace(  # pyrefly: ignore[missing-attribute]
                step=piece.step, token_steps=piece.token_steps, taken=piece.taken, lengths=piece.lengths,
                weights=piece.weights,
            )
        )  # fmt: skip
    return schedules


def sample_weights(lengths: HostArray, every: HostArray) -> HostArray:
    """How much each sampled length stands for when costs at the lengths `every` are interpolated between samples.

    `lengths` ascend; repeated ones (padding) get nothing.

    >>> sample_weights(np.array([33.0, 35.0, 37.0, 37.0]), np.array([33, 34, 36])).tolist()
    [1.5, 1.0, 0.5, 0.0]
    """
    known, place = np.unique(lengths, return_index=True)
    out = np.zeros(len(lengths))
    if len(known) == 1:
        out[place[0]] = len(every)
        return out
    right = np.clip(np.searchsorted(known, every), 1, len(known) - 1)
    part = (every - known[right - 1]) / (known[right] - known[right - 1])
    np.add.at(out, place[right], part)
    np.add.at(out, place[right - 1], 1 - part)
    return out


def run_lanes(lanes: Sequence[Config], schedules: Sequence[Any] | None, *, chip_model: str, fidelity: str) -> LaneCosts:
    """All lanes in one compiled call, in float64. Schedules may differ in the length of their slot profiles."""
    design, capacity = build(list(lanes))
    if chip_model == "multiplexed":  # its shapes are those of the schedules: one program for every length
        capacity = Capacity(tile_kinds=capacity.tile_kinds)
    stacked = None if schedules is None else _stack(schedules)
    with jax.enable_x64(True):
        costs = _compiled(capacity, chip_model, fidelity)(design, stacked)
        return LaneCosts(*(np.asarray(value) for value in costs))


@functools.cache
def _compiled(capacity: Capacity, chip_model: str, fidelity: str) -> Any:
    def one(design: Any, schedule: Any) -> tuple[Any, ...]:
        if chip_model == "reference":
            cost = reference_cost(design, capacity=capacity, fidelity=fidelity, critical=False)  # pyrefly: ignore[bad-argument-type]
        else:
            cost = multiplexed_cost(design, schedule, capacity=capacity, fidelity=fidelity, critical=False)
        return cost.latency_ns, cost.component_energy_nj.sum(), cost.component_area_mm2.sum(), cost.status

    return jax.jit(jax.vmap(one))


def _stack(schedules: Sequence[MultiplexedSchedule]) -> MultiplexedSchedule:
    """Stacked schedules; slot profiles padded with idle slots to the longest."""
    profiles = [schedule.prompt_profile for schedule in schedules if schedule.prompt_profile is not None]
    if profiles:
        size = max(np.shape(profile.loads)[-1] for profile in profiles)
        pad = [
            jax.tree.map(lambda leaf: np.pad(leaf, ((0, 0), (0, size - leaf.shape[-1]))), profile)
            for profile in profiles
        ]
        # pyrefly: ignore[missing-attribute]
        schedules = [one.replace(prompt_profile=profile) for one, profile in zip(schedules, pad, strict=True)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *schedules)
