"""Latency of a run from its phases: prefill passes and decode steps, all evaluated at once.

Decode steps are never unrolled: a pass is evaluated at a fixed number of *points* (static, from the schedule's shapes),
point 0 the prefill and the others decode steps at sampled lengths with weights that sum straight lines exactly. For
one sequence with caches and no prefetch a step is linear in its counts and lengths (keys and values stream in
proportion to what attention takes, but for the authors' fit), so all points hold the mean step and the sum is exact. Recomputed prefixes sit at the schedule's lengths; their attention, cubic in the
length, is summed in closed form. A schedule without sampled lengths has point 0 alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from pimjax import arrays
from pimjax.array_typing import AnyArray
from pimjax.cache.traffic import visible_tokens
from pimjax.chips.multiplexed.attention import attention_cost
from pimjax.chips.multiplexed.backlog import PromptWrites, left_over, prompt_writes, waiting_time
from pimjax.chips.multiplexed.durations import Durations, share_of
from pimjax.chips.multiplexed.experts import (
    Counts,
    ExpertTimes,
    closed_experts,
    over_links,
    single_token_experts,
    slots_time,
)
from pimjax.chips.multiplexed.fluid import fluid_experts
from pimjax.chips.multiplexed.network import PassLinks
from pimjax.chips.multiplexed.pass_time import Decode, Passes, pass_times, work_after
from pimjax.chips.multiplexed.phases import Phases, crew_of, phases_of
from pimjax.chips.multiplexed.power import TOKEN_PAUSES, States
from pimjax.chips.multiplexed.work import Run
from pimjax.chips.parts.dual import Dual, join, larger, pick, total, value_of, where
from pimjax.chips.parts.memory import memory_of
from pimjax.runs.mixers import of_layers
from pimjax.runs.point import Point
from pimjax.runs.run_counts import RunCounts
from pimjax.runs.traffic import Moved, step_traffic


class RunTimes(NamedTuple):
    """Times of a run [ns]; the first a :class:`.Dual` where shares are asked for."""

    latency: Any
    moe: Any  # expert phases
    last_pass: Any  # [L] of the first pass
    layers: Any  # [L] time the run spends in each
    pauses: AnyArray  # [3, K], see :data:`.power.PAUSES`


class MemoryTimes(NamedTuple):
    """Attention and memory of one layer and sequence in a decode step, unscaled [ns]; `[points, L]`."""

    attention: AnyArray
    dram_read: AnyArray
    sram_read: AnyArray
    go_read: AnyArray
    posted: AnyArray  # writes and late reads that nobody waits for


class Nodes(NamedTuple):
    """What the points need that does not depend on the durations."""

    tokens: AnyArray  # [points]
    weights: AnyArray  # [points] passes that a point stands for
    attention: AnyArray  # [points, L] unscaled [ns]
    memory: MemoryTimes | None  # None: prefills only
    written: PromptWrites  # of one prefill


def nodes(point: Point, schedule: RunCounts, run: Run) -> Nodes:
    """Where passes are evaluated."""
    whole, written = run.whole.time[None], prompt_writes(point, run)
    if run.mean is None or run.decode is None:
        return Nodes(run.prompt[None], run.prefills[None], whole, None, written)
    batch, prompt, steps, dense_all = run.batch, run.prompt, run.steps, point.dense_all
    count = np.shape(schedule.lengths)[0]
    fraction, part = np.linspace(0.0, 1.0, count), np.full(count, 1.0 / max(count - 1, 1))
    part[[0, -1]] /= 2
    evenly = prompt + 1 + (arrays.larger(steps, 1.0) - 1) * fraction.astype(point.dtype)
    lengths = arrays.where(point.experts_all, schedule.lengths, evenly)
    even = steps * part.astype(point.dtype)
    weights = arrays.where(point.experts_all, batch * schedule.weights, arrays.where(dense_all, batch * even, even))
    is_linear = ~point.prefetches & (point.linear_attention | ~point.streams)
    exact = (batch <= 1) & is_linear & ~dense_all
    sampled = _memory_at(point, schedule, run, lengths[:, None])
    mean = _memory(point, run, run.mean, run.decode.time / arrays.larger(steps, 1.0))
    memory = MemoryTimes(*(arrays.where(exact, b[None], a) for a, b in zip(sampled, mean, strict=True)))
    zero = np.zeros(np.shape(whole), point.dtype)
    attention = arrays.where(dense_all, 0.0, memory.attention)
    return Nodes(
        tokens=arrays.join([prompt[None], arrays.where(dense_all, lengths, batch)]),
        weights=arrays.join([run.prefills[None], weights]),
        attention=arrays.join([whole, attention]),
        memory=MemoryTimes(*(arrays.join([zero, each]) for each in memory)),
        written=written,
    )


def run_times(
    point: Point,
    schedule: RunCounts,
    run: Run,
    at: Nodes,
    time: Durations,
    *,
    state: States,
    fidelity: str,
    shares: bool,
    links: PassLinks | None = None,
) -> RunTimes:
    """Latency of a run. Kernel; `at` = :func:`nodes`, `time` the durations, with their shares if `shares`; `state`: of
    peripherals; `links` between dies, None: there are none."""
    points, layers = np.shape(at.attention)
    shape = (points, layers)
    units, shared = point.hardware.num_digital_units, where(point.model.shared_width > 0, 1.0, 0.0 * run.batch)
    phases = phases_of(time, units, shape, mixer=schedule.mixer, is_moe=schedule.is_moe)
    crew = crew_of(arrays.spread(at.tokens[:, None], shape), arrays.spread(units, shape))
    is_decode = np.broadcast_to(np.arange(shape[0])[:, None] > 0, shape)
    decode = None
    if at.memory is not None:
        decode = _decode(point, at.memory, is_decode, shares)
    is_last = arrays.spread(np.arange(shape[1]) >= point.design.model.num_blocks - 1, shape)
    after = work_after(phases, is_last, False if decode is None else decode.is_staggered)

    counts, slots_ns = _windows(point, schedule, time, shape)
    options: dict[str, Any] = {"after": after, "shared": shared}
    experts = None
    if fidelity == "fluid":
        experts = fluid_experts(
            time,
            _first(phases),
            _first(crew),
            _first(counts),
            schedule.prompt_profile,  # pyrefly: ignore[bad-argument-type]
            _first(slots_ns),
            after=_first(after),
            shared=shared,
        )
    if experts is None or decode is not None:
        closed = closed_experts(time, phases, crew, counts, slots_ns, **options)
        if decode is not None:
            hold = point.design.plan.input_hold
            single = single_token_experts(time, schedule.token_steps, units, hold=hold, **options)
            alone = is_decode & ~point.experts_all & ((run.batch <= 1) | point.dense_all)
            closed = _chosen(alone, single, closed)
        experts = closed if experts is None else _chosen(is_decode, closed, experts)

    if links is not None:
        lead: Any = links.lead
        links = jax.tree.map(lambda one: share_of("d2d", one, shares=shares), links)
        experts = over_links(experts, links.experts, lead, counts, crew)
    is_prompt = np.arange(points) == 0
    count = arrays.larger(at.tokens, 1.0)
    looked_up = arrays.where(
        is_prompt, 0.0, arrays.where(point.dense_all, 1.0, count)
    )  # decode knows all but its newest
    rows = arrays.where(point.streams & point.looks_up, looked_up, count)
    passes = Passes(
        point=point,
        phases=phases,
        crew=crew,
        counts=counts,
        after=after,
        attention=share_of("mha_comp", at.attention, shares=shares),
        rows=arrays.spread(rows[:, None], shape),
        decode=decode,
        is_moe=arrays.spread(schedule.is_moe, shape),
        feeds=None if schedule.has_feed_forward is None else arrays.spread(schedule.has_feed_forward, shape),
        is_last=is_last,
        links=links,
    )
    found = pass_times(passes, experts)

    def over_points(values: Any) -> Any:
        return total(values * arrays.spread(at.weights[:, None], shape), -2)

    def existing(values: Any) -> Any:
        return where(run.real, values, 0.0)

    layers = over_points(found.layers)
    if run.decode is not None:
        recomputed = arrays.where(point.dense_all, run.batch * run.decode.time, 0.0)
        layers = layers + share_of("mha_comp", recomputed, shares=shares)
    layers = existing(layers)
    step = min(1, shape[0] - 1)  # the first decode step stands in where no prefill runs
    last_pass = value_of(found.last_pass)
    first_pass = arrays.where(point.design.workload.prefill, last_pass[0], last_pass[step])
    written = PromptWrites(
        share_of("dram_kv", at.written.keys, shares=shares), share_of("dram_go", at.written.outputs, shares=shares)
    )
    edges = pick(found.edges, 0, -1)
    first_layers = existing(pick(found.layers, 0, -2))
    left = left_over(written, first_layers, existing(pick(found.moe, 0, -2)))
    grows = larger(total(written.keys + written.outputs - first_layers, -1) - pick(edges, 0, -1), 0.0)
    waits = waiting_time(point, run, left, grows, pick(edges, step, -1))
    return RunTimes(
        latency=total(edges * at.weights, -1) + total(layers, -1) + waits,
        moe=existing(over_points(value_of(found.moe))).sum(-1),
        last_pass=arrays.where(run.real & schedule.is_moe, first_pass, 0.0),
        layers=value_of(layers),
        pauses=_pauses(state, run, at, counts, phases, experts, passes, value_of(slots_ns)),
    )


def _pauses(
    state: States,
    run: Run,
    at: Nodes,
    counts: Counts,
    phases: Phases,
    experts: ExpertTimes,
    passes: Passes,
    slots_ns: Any,
) -> AnyArray:
    """Pauses of peripherals within forward passes, summed over the run: `[3, K]`, see :data:`.power.PAUSES`.

    Groups: k idle slots between two passes are k + 1 mean intervals of their window's slots, less the product's time; pauses
    of one bin are taken as equal where some may exceed the break-even. Crossbars that every token passes: the first linears
    of a layer get tokens as the layer before is done with them (those of the first layer as embeddings are read), what is
    behind attention at the pace of the units; sequences that decode together no faster than their attention.
    """
    hist, idle = (arrays.namespace(each).moveaxis(each, -1, 0) for each in (counts.gap_hist, counts.gap_slots))
    interval = arrays.larger(slots_ns, value_of(experts.slots)) / arrays.larger(counts.makespan - 1, 1.0)
    of_groups = (idle + hist) * interval[None] - hist * state.pass_ns
    shape = np.shape(slots_ns)
    between, pace = arrays.larger(passes.crew.count - 1, 0.0), value_of(phases.pace)
    done = value_of(experts.normed.last - experts.normed.first) / arrays.larger(between, 1.0)
    embedded = arrays.where(passes.rows > 0, value_of(phases.embed), 0.0)
    arriving = arrays.where(passes.is_last, embedded, done)  # of the layer after; the first stands at the last's place
    attended = arrays.where(np.broadcast_to(np.arange(shape[0])[:, None] > 0, shape), at.attention, 0.0)
    follows = arrays.larger(arrays.stack([pace, pace, 0.0 * pace]), arrays.stack([arriving, attended, attended]))
    of_tokens = (follows - state.product_ns) * between[None]
    count = arrays.join([hist, arrays.spread(between, (len(TOKEN_PAUSES), *shape))])
    whole = arrays.larger(arrays.join([of_groups, of_tokens]), 0.0)
    short = arrays.smaller(whole, count * state.shortest_ns)
    weights = at.weights[:, None] * run.real[None]
    every = arrays.join([short, whole, count])
    return (every.reshape(len(every), -1) @ weights.reshape(-1)).reshape(3, -1)


def _first(tree: Any) -> Any:
    """The first point of `[points, ...]` leaves; scalars stay."""
    return jax.tree.map(
        lambda leaf: leaf[:1] if np.ndim(value_of(leaf)) else leaf, tree, is_leaf=lambda leaf: isinstance(leaf, Dual)
    )


def _chosen(condition: Any, first: Any, second: Any) -> Any:
    """`where` over named tuples of times."""
    if not isinstance(second, tuple):
        return where(condition, first, second)
    return type(second)(*(_chosen(condition, a, b) for a, b in zip(first, second, strict=True)))


def _decode(point: Point, memory: MemoryTimes, is_decode: Any, shares: bool) -> Decode:
    """The decode part of every point."""
    shape = np.shape(is_decode)

    def part(component: str, time: Any) -> Any:
        return share_of(component, time, shares=shares)

    channels = memory_of(point)
    ahead = arrays.where(point.prefetches, point.hardware.kv_prefetch_bytes / channels.bandwidth, 0.0)

    def latency(read: AnyArray, is_ahead: Any) -> AnyArray:
        return read + arrays.where((read > 0) & ~is_ahead, channels.latency_ns, 0.0)

    sram = part("sram", memory.sram_read)
    kv_wait = latency(memory.dram_read, point.prefetches | point.streams)
    return Decode(
        is_staggered=arrays.spread(is_decode & ~point.dense_all, shape),
        is_stored=arrays.spread(is_decode & (point.dense_all & ~point.experts_all), shape),
        streams=point.streams,
        read=larger(part("dram_kv", memory.dram_read), sram),
        wait=larger(part("dram_kv", kv_wait), sram),
        write=part("dram_kv", memory.posted),
        ahead=part("dram_kv", ahead),
        go_read=part("dram_go", memory.go_read),
        go_wait=part("dram_go", latency(memory.go_read, point.prefetches)),
    )


def _windows(point: Point, schedule: RunCounts, time: Durations, shape: tuple[int, int]) -> tuple[Counts, Any]:
    """Counts of every point, and the time of their slots `[points, L]`."""

    def over(prompt: Any, step: Any, recomputed: Any) -> Any:
        if shape[0] == 1:
            return prompt[None]
        rest = where(point.experts_all, recomputed, step[None])
        return join([prompt[None], rest])

    parts = (schedule.prompt, schedule.step, schedule.recomputed)
    counts = Counts(**{name: over(*(getattr(part, name) for part in parts)) for name in Counts._fields})
    slots = [slots_time(time, part) if index == 0 or shape[0] > 1 else None for index, part in enumerate(parts)]
    return counts, over(*slots)


def _memory_at(point: Point, schedule: RunCounts, run: Run, lengths: AnyArray) -> MemoryTimes:
    """Decode steps at `lengths` `[K, 1]` tokens, `[K, L]`."""
    mixer, is_moe = schedule.mixer[None], schedule.is_moe[None]
    own = of_layers(point, mixer)
    visible = visible_tokens(lengths, own.window, chunked=own.is_chunked)
    moved = step_traffic(
        point,
        lengths,
        visible,
        is_moe=is_moe,
        admitted=schedule.step.passes[None] / run.batch,
        taken=schedule.taken[None],
        mixer=mixer,
    )
    return _memory(point, run, moved, attention_cost(point, lengths, whole=False, mixer=mixer).time)


def _memory(point: Point, run: Run, moved: Moved, attention: AnyArray) -> MemoryTimes:
    hardware = point.hardware
    dram = (1 - run.sram) / memory_of(point).bandwidth
    times = (
        attention,
        dram * moved.kv_read,
        run.sram / hardware.sram_bandwidth_gb_per_s * moved.kv_read,
        dram * moved.go_read,
        dram * (moved.kv_written + moved.go_posted),
    )
    return MemoryTimes(*(arrays.spread(value, np.shape(moved.kv_read)) for value in times))
