"""Runs of the multiplexed chip that the claims stand on: its expert part, generation with and without caches, energy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pimjax.chips import CHIPS, EventOptions
from pimjax.chips.run_cost import COMPONENT_INDEX, OP_INDEX, RunCost
from pimjax.config import load_config
from pimjax.config.build import build
from pimjax.reproduction.lines import PROMPT_TOKENS
from pimjax.runs.requests import resolve

DEFAULT = "paper_multiplexed"
AUTHORS_MEMORY = "paper_crossbars"

#: Nothing shared, one token at a time: what the paper's area efficiency is against.
UNSHARED = "unshared, token by token"
#: Name of a chip -> (group size, grouping, schedule).
MOE_CHIPS: dict[str, tuple[int, str, str]] = {
    UNSHARED: (1, "uniform", "token_wise"),
    **{
        f"{grouping} groups of {size}, {policy}": (size, grouping, policy)
        for size, grouping, policy in (
            (1, "uniform", "packed"),
            (2, "sorted", "reschedule"),
            (2, "sorted", "packed"),
            (4, "sorted", "reschedule"),
            (4, "sorted", "packed"),
        )
    },
}
#: The same schedule without and with sharing: what sharing alone gives.
SCHEDULED, SHARED = "uniform groups of 1, packed", "sorted groups of 4, packed"


@dataclass(frozen=True)
class MultiplexedRuns:
    """What the claims need of the multiplexed chip.

    Attributes:
        moe: passes, time and area of the MoE part, by name of the chip; event engine.
        generation: latency and energy of generating 8 tokens, by caches; event engine.
        efficiency: operations, energy and area of one chip and of its experts; event engine.
        ablations: lines of :mod:`pimjax.reproduction.ablations`, by name of the claim.
    """

    moe: dict[str, dict[str, float]]
    generation: dict[str, dict[str, float]]
    efficiency: dict[str, float]
    ablations: dict[str, list[dict[str, Any]]]


def run_cost(preset: str, changes: Mapping[str, Any], fidelity: str) -> RunCost:
    """Primitive costs of one run of a preset with changes. Host, float64, compiles nothing."""
    config, requests = resolve(load_config(preset, dict(changes)), None)
    chip = CHIPS[config.chip_model]
    design, capacity = build(config)
    with np.errstate(all="ignore"):
        if fidelity == "event":
            return chip.simulate(config, requests, capacity=capacity, options=EventOptions())
        inputs = chip.inputs(config, requests, fidelity=fidelity, capacity=capacity)
        return chip.cost(design, inputs, capacity=capacity, fidelity=fidelity, critical=False)


def moe_run(name: str, changes: Mapping[str, Any] | None = None) -> dict[str, float]:
    """Passes per ns and mm2 of the MoE part of one of :data:`MOE_CHIPS`: crossbars, shared peripherals, buffers; exact."""
    size, grouping, policy = MOE_CHIPS[name]
    plan = {"plan.group_size": size, "plan.grouping": grouping, "plan.policy": policy}
    cost = run_cost(DEFAULT, {"workload.prompt_tokens": PROMPT_TOKENS, **plan, **(changes or {})}, "event")
    passes = float(cost.op_counts[OP_INDEX["expert_pass"]])
    buffers = float(cost.component_area_mm2[COMPONENT_INDEX["buffers"]])
    return {
        "passes": passes,
        "moe_latency_ns": float(cost.moe_latency_ns),
        "moe_area_mm2": float(cost.moe_area_mm2),
        "buffer_area_mm2": buffers,
        "passes_per_ns_per_mm2": passes / (float(cost.moe_latency_ns) * (float(cost.moe_area_mm2) + buffers)),
    }


def generation_run(
    kv_cache: bool, go_cache: str, *, preset: str = DEFAULT, changes: Mapping[str, Any] | None = None, fidelity: str
) -> dict[str, float]:
    """Latency and energy of the decode steps of 8 tokens after a prompt of 32 under expert choice."""
    run = {
        "model.routing": "expert_choice",
        "workload.prompt_tokens": PROMPT_TOKENS,
        "workload.generated_tokens": 8,
        "workload.prefill": False,
        "workload.kv_cache": kv_cache,
        "workload.go_cache": go_cache,
    }
    cost = run_cost(preset, {**run, **(changes or {})}, fidelity)
    return {"latency_ns": float(cost.latency_ns), "energy_nj": float(np.sum(cost.component_energy_nj))}


def efficiency_run(preset: str = DEFAULT, changes: Mapping[str, Any] | None = None) -> dict[str, float]:
    """Operations per energy and area of sorted groups of four, rescheduled, a prompt of 32; exact.

    Operations per nJ are GOPS/W. Every key names whose operations and energy it counts, and whose area.
    """
    plan = {"plan.group_size": 4, "plan.policy": "reschedule"}
    cost = run_cost(preset, {"workload.prompt_tokens": PROMPT_TOKENS, **plan, **(changes or {})}, "event")
    chip_area, expert_area = float(np.sum(cost.component_area_mm2)), float(cost.moe_area_mm2)
    chip = float(cost.flops) / float(np.sum(cost.component_energy_nj))
    experts = float(cost.moe_flops) / float(cost.moe_energy_nj)
    return {
        "chip_gops_per_w": chip,
        "expert_gops_per_w": experts,
        "chip_area_mm2": chip_area,
        "expert_area_mm2": expert_area,
        "chip_gops_per_w_per_mm2_of_chip": chip / chip_area,
        "expert_gops_per_w_per_mm2_of_experts": experts / expert_area,
        "chip_gops_per_w_per_mm2_of_experts": chip / expert_area,
    }


def multiplexed_runs() -> MultiplexedRuns:
    """Run the multiplexed chip for all claims; independent of the authors' runs."""
    from pimjax.reproduction.ablations import ablations

    moe = {name: moe_run(name) for name in MOE_CHIPS}
    efficiency = efficiency_run()
    return MultiplexedRuns(
        moe=moe,
        generation={
            "no cache": generation_run(False, "none", fidelity="event"),
            "kv": generation_run(True, "none", fidelity="event"),
            "kv+go": generation_run(True, "full", fidelity="event"),
            "kv+go threshold": generation_run(True, "threshold", fidelity="event"),
        },
        efficiency=efficiency,
        ablations=ablations(moe, efficiency),
    )
