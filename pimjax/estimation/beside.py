"""Another chip beside a run: the same model, requests, caches and routing on a GPU, or on any chip that takes a routing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pimjax import status as status_bits
from pimjax.array_typing import HostArray
from pimjax.chips import CHIPS
from pimjax.config.build import build
from pimjax.config.config import Config
from pimjax.config.loader import load_config
from pimjax.config.uncosted import refuse_uncosted
from pimjax.errors import ConfigError, shown
from pimjax.estimation.generation_lanes import lane_configs
from pimjax.runs.routing import RunRouting

OWN = ("prompt_tokens", "generated_tokens", "batch_size", "kv_cache", "go_cache", "prefill", "max_context_tokens", "semantics", "capacity_rule")  # fmt: skip
"""Keys of `workload` that both runs share; widths of what is cached are the other chip's."""


@dataclass(frozen=True)
class GpuCase:
    """The same run on another chip."""

    name: str
    first_token_ns: float
    token_ns: HostArray  # [K]
    tokens_per_s: float  # decode phase
    energy_per_token_nj: float  # decode phase
    latency_ns: float
    energy_nj: float
    area_mm2: float
    fits: bool


def load_beside(name: str) -> Config:
    """The configuration of a chip to set beside a run.

    Args:
        name: preset or YAML file of a whole configuration, of a chip that takes a routing (a GPU: "h100").

    Raises:
        ConfigError: no such configuration, or its chip takes no routing.

    >>> load_beside("h200").hardware.device_memory_gb
    141.0
    """
    other = load_config(name)
    if not CHIPS[other.chip_model].takes_routing:
        raise ConfigError(
            f"gpus: {shown(name)} has chip_model {other.chip_model!r}, which takes no routing to compare on; name a GPU, such as 'h100'"
        )
    return other


def same_run(run: Config, other: Config) -> Config:
    """The model and the run of one configuration on the chip of another.

    Raises:
        ConfigError: the other chip does not cost the model.

    >>> one = same_run(load_config("gpt_oss_20b"), load_beside("h100"))
    >>> one.model.num_experts, one.workload.kv_bytes
    (32, 2)
    """
    shared = {name: getattr(run.workload, name) for name in OWN}
    workload = {**other.workload.model_dump(), "trace": run.workload.trace.model_dump(), **shared}
    both = load_config({**other.model_dump(), "model": run.model.model_dump(), "workload": workload})
    refuse_uncosted(both)
    return both


def case_beside(run: Config, routing: RunRouting, edges: HostArray, other: Config) -> GpuCase:
    """A generation on another chip. Host, NumPy: nothing is compiled where the chip's formulas run on the host.

    Args:
        run: the generation; `workload.prompt_tokens` is given.
        routing: of the whole run.
        edges: of the pieces of its decode phase.
        other: the other chip, from :func:`load_beside`.
    """
    both = same_run(run, other)
    chip = CHIPS[both.chip_model]
    parts = lane_configs(both, edges)
    capacity = build(both)[1]
    inputs = chip.inputs_of_parts(both, routing, parts, edges, fidelity="closed", capacity=capacity)
    costs = []
    with np.errstate(all="ignore"):
        for part, one in zip(parts, inputs, strict=True):
            own, of = build(part)
            costs.append(chip.cost(own, one, capacity=of, fidelity="closed", critical=False))
    ns, nj = (
        np.array([float(np.sum(value)) for value in values])
        for values in zip(*((cost.latency_ns, cost.component_energy_nj) for cost in costs), strict=True)
    )
    steps, batch = np.diff(edges), both.workload.batch_size
    return GpuCase(
        name=other.name,
        first_token_ns=float(ns[1]),
        token_ns=ns[2:] / steps,
        tokens_per_s=float(1e9 * batch * steps.sum() / ns[2:].sum()),
        energy_per_token_nj=float(nj[2:].sum() / (batch * steps.sum())),
        latency_ns=float(ns[0]),
        energy_nj=float(nj[0]),
        area_mm2=float(np.sum(costs[0].component_area_mm2)),
        fits=not any(int(cost.status) & status_bits.DOES_NOT_FIT for cost in costs),
    )


def costed_beside(run: Config, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names whose chip costs the run's model, and a sentence for each that does not."""
    kept, sentences = [], []
    for name in names:
        other = load_beside(name)
        try:
            same_run(run, other)
        except ConfigError as error:
            sentences.append(f"{name} is left out: {error}")
        else:
            kept.append(name)
    return kept, sentences
