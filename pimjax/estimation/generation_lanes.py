"""A generation run cut into parts that one compiled program evaluates: the whole run, its prefill, pieces of its decode.

A *lane* is one design point. The decode steps are cut into at most `pieces` consecutive pieces; the cost of a piece over
its steps is one point of the per-token curve, and pieces add up to the decode phase. No lane and no program grows with
the number of tokens: a piece is a run of its own that starts with a longer prompt and has no prefill.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from pimjax.array_typing import HostArray
from pimjax.chips import CHIPS, Chip
from pimjax.config.build import Capacity, build
from pimjax.config.config import Config
from pimjax.runs import reshape


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


def run_lanes(lanes: Sequence[Config], inputs: Sequence[Any], *, fidelity: str) -> LaneCosts:
    """All lanes in one compiled call, in float64. Their inputs may differ in the length of their slot profiles."""
    chip = CHIPS[lanes[0].chip_model]
    design, capacity = build(list(lanes))
    if chip.takes_routing:  # its shapes are those of the inputs: one program for every length
        capacity = Capacity(tile_kinds=capacity.tile_kinds, digital_parts=capacity.digital_parts)
    stacked = reshape.stacked(chip.alike(inputs))
    with jax.enable_x64(True):
        costs = _compiled(capacity, chip, fidelity)(design, stacked)
        return LaneCosts(*(np.asarray(value) for value in costs))


@functools.cache
def _compiled(capacity: Capacity, chip: Chip, fidelity: str) -> Any:
    def one(design: Any, inputs: Any) -> tuple[Any, ...]:
        cost = chip.cost(design, inputs, capacity=capacity, fidelity=fidelity, critical=False)
        return cost.latency_ns, cost.component_energy_nj.sum(), cost.component_area_mm2.sum(), cost.status

    return jax.jit(jax.vmap(one))
