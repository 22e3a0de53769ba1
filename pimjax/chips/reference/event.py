"""The authors' simulator, exactly: one run of the `reference` chip model on the event engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pimjax.chips.reference import costs
from pimjax.chips.reference.choices import draw_choices, shape_choices
from pimjax.chips.reference.graph import ReferenceGraph, build_graph
from pimjax.chips.reference.mapping import map_model
from pimjax.chips.reference.parameters import Pass, ReferenceParameters, list_passes
from pimjax.chips.reference.segments import Chain, SegmentCache, distinct_operations, run_chain
from pimjax.event import EventLog, require_capacity, run

HostArray = np.ndarray[Any, Any]

COMPONENT_OF_KIND = {
    "tier_linear": "tier_linear",
    "communication_out": "communication",
    "communication_in": "communication",
    "communication_norm": "communication",
    "add_columns": "digital_add",
    "add_model": "digital_add",
    "add_hidden": "digital_add",
    "layer_norm": "layer_norm",
    "digital_relu": "digital_relu",
    "multinomial": "multinomial",
}
"""Component (`costs.COMPONENTS`) of each job kind; attention is split into `mha_comp` and `dram_kv`."""


@dataclass(frozen=True)
class ReferenceResult:
    """Outputs of the authors' simulator for one run, and what explains its latency.

    Attributes:
        latency_ns: total latency, bit for bit the authors'.
        energy_nj: active plus passive energy.
        flops: floating-point operations.
        peak_memory_bytes: peak scratchpad, None if it was not asked for.
        op_counts: operations by `costs.OP_KINDS`.
        busy_ns: plain sums of operation latencies by `costs.COMPONENTS` (the authors' latency breakdown); `dram_go` is
            recorded there but never part of the latency.
        critical_ns: share of the latency by `costs.COMPONENTS`; waiting for a busy resource counts for the job that
            held it; sums to `latency_ns`.
        energy_breakdown_nj: `passive` and `costs.COMPONENTS`; `dram_go` is not part of `energy_nj`.
        mha_finish_ns: float64 [passes * layers], end of each attention operation.
        mha_cumulative_energy_nj: float64 [passes * layers], active energy spent until then.
        num_time_steps: steps of the authors' event loop.
        num_tiles: tiles of the chip.
        simulated_jobs: operations put through the engine; fewer than the run has where equal passes ran once.
    """

    latency_ns: float
    energy_nj: float
    flops: float
    peak_memory_bytes: int | None
    op_counts: dict[str, int]
    busy_ns: dict[str, float]
    critical_ns: dict[str, float]
    energy_breakdown_nj: dict[str, float]
    mha_finish_ns: HostArray = field(repr=False)
    mha_cumulative_energy_nj: HostArray = field(repr=False)
    num_time_steps: int
    num_tiles: int
    simulated_jobs: int


def simulate(
    parameters: ReferenceParameters,
    expert_choices: Sequence[Sequence[int]] | None = None,
    *,
    seed: int = 0,
    with_memory: bool = True,
    reuse_passes: bool = True,
    cache: SegmentCache | None = None,
    compiled: bool | None = None,
) -> ReferenceResult:
    """Run the authors' simulator.

    Args:
        parameters: the run.
        expert_choices: one entry (k distinct expert ids in drawn order) per (used pass, MoE layer, token), pass-major;
            empty for dense models. None: drawn from `seed`.
        seed: for drawing the experts.
        with_memory: also track peak scratchpad memory.
        reuse_passes: run passes separately, and equal passes once, wherever `segments` proves on the run itself that
            this changes nothing; False runs the whole chain as one graph.
        cache: segments that several runs may share (a dictionary).
        compiled: as in :func:`pimjax.event.run`.

    Returns:
        All outputs, float64.

    Raises:
        CapacityError: more than 5 million operations to simulate, or too few tiles.
        ConfigError: the run has no pass.
        TraceError: expert choices of the wrong number, length or range.
        PimjaxError: memory cannot be tracked by the authors' rules, whose simulator stops there as well: the sampling
            operation of a decode step feeds a number of tiles that its 512 values do not divide into.

    >>> result = simulate(ReferenceParameters(d_model=512, d_ff=300, vocab=1000, k=2, experts=4, start_len=1))
    >>> result.latency_ns, result.num_time_steps, result.peak_memory_bytes
    (1283.5, 33, 3584)
    """
    passes = list_passes(parameters)
    require_capacity(distinct_operations(parameters, passes))
    mapping = map_model(parameters)
    entries = draw_choices(parameters, seed) if expert_choices is None else expert_choices
    chain = run_chain(
        parameters,
        mapping,
        passes,
        shape_choices(parameters, entries),
        with_memory=with_memory,
        reuse_passes=reuse_passes,
        cache=cache,
        compiled=compiled,
    )
    return _collect(parameters, passes, mapping.tiles, chain)


def event_log(
    parameters: ReferenceParameters,
    expert_choices: Sequence[Sequence[int]] | None = None,
    *,
    seed: int = 0,
    compiled: bool | None = None,
) -> tuple[ReferenceGraph, EventLog]:
    """The whole run as one graph with its log, for timelines and critical paths; arguments as in :func:`simulate`.

    >>> graph, log = event_log(ReferenceParameters(d_model=512, d_ff=300, vocab=1000, k=2, experts=4, start_len=1))
    >>> log.makespan_ns, log.critical_path().total_ns
    (1283.5, 1283.5)
    """
    passes = list_passes(parameters)
    require_capacity(sum(int(costs.pass_counts(parameters, work.tokens, work.first).total) for work in passes))
    entries = draw_choices(parameters, seed) if expert_choices is None else expert_choices
    choices = shape_choices(parameters, entries)
    graph = build_graph(parameters, map_model(parameters), passes, choices, with_memory=False)
    return graph, run(graph.jobs, arithmetic="stepwise", compiled=compiled)


def _collect(p: ReferenceParameters, passes: tuple[Pass, ...], tiles: int, chain: Chain) -> ReferenceResult:
    """Join the segments: clock, attention times and energies, critical path, peak."""
    steps: list[HostArray] = []
    attention_steps: list[HostArray] = []
    attention_energy: list[HostArray] = []
    critical = dict.fromkeys(costs.COMPONENTS, 0.0)
    first_step, spent_nj = 0, 0.0
    for segment, works in chain.pieces:
        step_ns = segment.step_ns
        times = [costs.attention_ns(p, work.length, work.decode and p.kv) for work in works]
        if segment.isolated:  # a segment may come from a pass of another length
            step_ns = step_ns.copy()
            step_ns[segment.attention_step] = times[0][0] + times[0][1]
        steps.append(step_ns)
        attention_steps.append(segment.attention_step.ravel() + first_step)
        first_step += len(step_ns)

        each_nj = np.array([_kind_energies(p, work) for work in works])
        attention_energy.append(spent_nj + np.einsum("apk,pk->a", segment.retired, each_nj))
        spent_nj += math.fsum(_active_energy(p, work) for work in works)

        for kind, duration in zip(costs.PassCounts._fields, segment.path_ns.tolist(), strict=True):
            if kind != "mha":
                critical[COMPONENT_OF_KIND[kind]] += duration
        for (compute, read), on_path in zip(times, segment.attention_on_path, strict=True):
            critical["mha_comp"] += float(compute) * int(on_path.sum())
            critical["dram_kv"] += float(read) * int(on_path.sum())

    clock = np.add.accumulate(np.concatenate(steps))  # one addition per step, as the authors' loop does
    latency_ns = float(clock[-1])
    sums = costs.run_costs(p, passes)
    passive_nj = latency_ns * float(costs.passive_power_w(p))
    peaks = [segment.peak_memory_bytes for segment, _ in chain.pieces]
    return ReferenceResult(
        latency_ns=latency_ns,
        energy_nj=float(costs.energy_total_nj(p, sums.active_energy_nj, latency_ns)),
        flops=sums.flops,
        peak_memory_bytes=max((peak for peak in peaks if peak is not None), default=None),
        op_counts=sums.op_counts,
        busy_ns=sums.busy_ns,
        critical_ns=critical,
        energy_breakdown_nj={"passive": passive_nj, **sums.active_energy_nj},
        mha_finish_ns=clock[np.concatenate(attention_steps)],
        mha_cumulative_energy_nj=np.concatenate(attention_energy),
        num_time_steps=len(clock),
        num_tiles=tiles,
        simulated_jobs=chain.simulated_jobs,
    )


def _kind_energies(p: ReferenceParameters, work: Pass) -> list[float]:
    """Energy of one job of each kind, nJ, in the order of `costs.PassCounts`."""
    each = costs.operation_energy_nj(p, work)
    each["mha"] = each["mha_comp"] + each["dram_kv"]
    return [float(each[kind]) for kind in costs.PassCounts._fields]


def _active_energy(p: ReferenceParameters, work: Pass) -> float:
    """Active energy of a pass, nJ, without the uncounted gate-output cache."""
    return math.fsum(float(value) for name, value in costs.pass_energy_nj(p, work).items() if name != "dram_go")
