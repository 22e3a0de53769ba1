"""Routing of a run -> :class:`~pimjax.runs.run_counts.RunCounts`, for one run, many runs or parts of one. Host, NumPy.

Sampling, where exact counts would need a schedule per decode step: decode steps of several sequences are scheduled
for at most `STEP_SAMPLES` steps, evenly spaced; recomputed prefixes for at most `LENGTH_SAMPLES` lengths, between
which costs are taken as linear. One sequence with caches is exact: its steps are counted by kind.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.config.build import Capacity, capacity_of
from pimjax.config.config import Config
from pimjax.errors import CapacityError, ConfigError
from pimjax.progress import part, report
from pimjax.runs.assemble import inputs_from_counts, shares_links, swap_counts
from pimjax.runs.cache_flags import cache_use
from pimjax.runs.count_many import Pass, can_count, count_passes
from pimjax.runs.counts import PassCounts, count_pass
from pimjax.runs.passes import run_passes, sample_weights
from pimjax.runs.requests import with_prompt
from pimjax.runs.reshape import trimmed
from pimjax.runs.routing import RunRouting, run_routing
from pimjax.runs.run_counts import RunCounts
from pimjax.trace.routing import RoutingTrace

_CONFIG = checks.instance(Config, "a Config from pimjax.load_config")
_TRACE = checks.instance(RoutingTrace, "a RoutingTrace")
_ROUTING = checks.instance(RunRouting, "a RunRouting from run_routing")
_CAPACITY = checks.instance(Capacity, "a Capacity from pimjax.build")
_FIDELITY = checks.word("fluid", "closed")


def _is_run(value: Any) -> str | None:
    fine = isinstance(value, (tuple, list)) and len(value) == 2
    return "a pair" if not fine or _CONFIG(value[0]) or _TRACE(value[1]) else None


_FEW = 12  # so few schedules are made on the host: compiling for many takes longer


@checks.checked(ConfigError, config=_CONFIG, trace=_TRACE, fidelity=_FIDELITY, capacity=_CAPACITY)
def schedule_inputs(
    config: Config, trace: RoutingTrace, *, fidelity: str = "fluid", capacity: Capacity | None = None
) -> RunCounts:
    """Counts of a run's routing, for a chip's kernel.

    Args:
        config: the configuration; a null prompt length is the trace's.
        trace: one request, or stacked requests.
        fidelity: "fluid" (with a profile per slot) or "closed".
        capacity: shapes; default `build(config)[1]`.

    Returns:
        NumPy leaves, float64 and bool.

    Raises:
        TraceError: the trace does not fit the model.
        CapacityError: more layers, groups or slots than `capacity` has.
    """
    config = with_prompt(config, trace)
    capacity = capacity_of(config) if capacity is None else capacity
    return inputs_from_routing(config, run_routing(config, trace), fidelity=fidelity, capacity=capacity)


@checks.checked(ConfigError, config=_CONFIG, routing=_ROUTING, fidelity=_FIDELITY, capacity=_CAPACITY)
def inputs_from_routing(config: Config, routing: RunRouting, *, fidelity: str, capacity: Capacity) -> RunCounts:
    """The same from a routing that is already there."""
    check_capacity(config, routing, capacity)
    passes = run_passes(config, routing)
    counted = []
    for index, choices in enumerate(passes.all):
        report(share=index / len(passes.all))
        profile = fidelity == "fluid" and index == 0
        counted.append(count_pass(config, routing, choices, groups=capacity.max_groups, profile=profile))
    return inputs_from_counts(config, routing, passes, counted, fidelity=fidelity, capacity=capacity)


@checks.checked(
    ConfigError,
    runs=checks.each(_is_run, "pairs of a Config and a RoutingTrace"),
    fidelity=_FIDELITY,
    capacity=_CAPACITY,
    layers=checks.whole(1),
)
def inputs_of_many(
    runs: Sequence[tuple[Config, RoutingTrace]], *, fidelity: str, capacity: Capacity, layers: int | None = None
) -> list[RunCounts]:
    """Counts of runs whose configurations differ in their lengths alone, schedules on the device, many at once.

    Args:
        runs: configurations with their prompt length filled in, and their requests.
        fidelity, capacity: as :func:`schedule_inputs`.
        layers: length of the layer axes; default `capacity.max_layers`.

    Raises:
        TraceError: a trace does not fit the model.
        CapacityError: it exceeds the capacity.
    """
    made = []
    for config, trace in runs:
        routing = run_routing(config, trace)
        check_capacity(config, routing, capacity)
        made.append((config, routing, run_passes(config, routing)))
    if not made:
        return []
    plan, groups = made[0][0].plan, capacity.max_groups
    counted: dict[tuple[int, int], PassCounts] = {}
    ahead: dict[bool, list[tuple[int, int]]] = {True: [], False: []}  # with a profile, without
    jobs = sum(len(choices) for _, _, passes in made for choices in passes.all)
    for run, (config, routing, passes) in enumerate(made):
        for index, choices in enumerate(passes.all):
            profile = fidelity == "fluid" and index == 0
            # where links carry tokens, tables say how early: the device keeps none
            alone = config.system.network == "none"
            if jobs >= _FEW and alone and can_count(plan, choices.shape[1]):
                ahead[profile].append((run, index))
            else:
                counted[run, index] = count_pass(config, routing, choices, groups=groups, profile=profile)
    for profile, places in ahead.items():
        wanted = [
            Pass(made[run][2].all[index], made[run][1].group_of_expert, made[run][1].num_groups)
            for run, index in places
        ]
        links = shares_links(made[0][0])
        found = count_passes(plan, wanted, groups=groups, profile=profile, shared_links=links)
        counted.update(zip(places, found, strict=True))
    return [
        trimmed(
            inputs_from_counts(
                config,
                routing,
                passes,
                [counted[run, index] for index in range(len(passes.all))],
                fidelity=fidelity,
                capacity=capacity,
            ),
            layers,
        )
        for run, (config, routing, passes) in enumerate(made)
    ]


@checks.checked(
    ConfigError,
    config=_CONFIG,
    routing=_ROUTING,
    parts=checks.each(_CONFIG, "configurations"),
    edges=checks.numbers(0, dims=1, integer=True),
    fidelity=_FIDELITY,
    capacity=_CAPACITY,
)
def inputs_of_parts(
    config: Config, routing: RunRouting, parts: Sequence[Config], edges: HostArray, *, fidelity: str, capacity: Capacity
) -> list[RunCounts]:
    """Counts of a whole run, its prefill alone, and each piece of its decode phase, all of one shape.

    Args:
        config: the whole run.
        routing: of the whole run.
        parts: configurations of the whole, the prefill and each piece (a run that starts with a longer prompt).
        edges: int `[K + 1]`, decode steps at which the pieces begin and end.
        fidelity, capacity: as :func:`schedule_inputs`.

    Recomputed prefixes are sampled once for all pieces.
    """
    if len(parts) != len(edges) + 1:
        raise ConfigError(
            f"parts has {len(parts)} configurations for {len(edges)} edges: give the whole run, its prefill, and one for each "
            "piece between edges"
        )
    with part(0.0, 0.9):
        whole = inputs_from_routing(config, routing, fidelity=fidelity, capacity=capacity)
    recomputes = bool(cache_use(config).experts_all)
    made = [whole, dataclasses.replace(whole, weights=np.zeros_like(whole.weights))]
    first = config.workload.num_prompt_tokens + 1
    pieces = list(zip(parts[2:], itertools.pairwise(edges), strict=True))
    for index, (piece_config, (begin, end)) in enumerate(pieces):
        writes = None if routing.writes is None else routing.writes.with_steps(int(begin), int(end))
        own = dataclasses.replace(
            routing,
            steps=routing.steps[:, :, begin:end],
            taken=routing.taken[:, :, begin:end],
            config=piece_config,
            writes=writes,
        )
        if recomputes:
            weights = sample_weights(whole.lengths, np.arange(first + begin, first + end))
            swaps = swap_counts(piece_config, own, capacity)
            made.append(dataclasses.replace(whole, weights=weights, swaps=swaps))
            continue
        with part(0.9 + 0.1 * index / len(pieces), 0.9 + 0.1 * (index + 1) / len(pieces)):
            piece = inputs_from_routing(piece_config, own, fidelity="closed", capacity=capacity)
        names = ("step", "token_steps", "taken", "lengths", "weights", "swaps")
        made.append(dataclasses.replace(whole, **{name: getattr(piece, name) for name in names}))
    return made


def check_capacity(config: Config, routing: RunRouting, capacity: Capacity) -> None:
    """Raise if arrays of `capacity` cannot hold the run's counts.

    Raises:
        CapacityError: more layers or groups.
    """
    layers = config.model.num_layers
    if layers > capacity.max_layers or routing.num_groups > capacity.max_groups:
        raise CapacityError(
            f"the configuration has {layers} layers and {routing.num_groups} groups, the capacity "
            f"{capacity.max_layers} and {capacity.max_groups}: build a larger Capacity"
        )
