"""Latency of a run from its phases: prefill passes, decode steps with caches, decode steps that recompute.

Decode steps are never unrolled. With caches a step's cost is linear in its length except for memory limits: it is
evaluated at `NODES` lengths with weights that sum lines exactly; attention and KV reads of a single sequence without
prefetch are summed in closed form instead. Recomputed prefixes are evaluated at the schedule's sampled lengths, their
attention in closed form.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.cache.traffic import sum_visible_tokens, visible_tokens
from pimjax.chips.multiplexed.attention import attention_cost, attention_total
from pimjax.chips.multiplexed.durations import Durations
from pimjax.chips.multiplexed.experts import ExpertTimes, closed_experts, single_token_experts
from pimjax.chips.multiplexed.fluid import fluid_experts
from pimjax.chips.multiplexed.phases import (
    Stream,
    delayed,
    dense_phase,
    embedding_phase,
    gate_phase,
    project,
    tail_time,
    through_units,
)
from pimjax.chips.multiplexed.schedule import MultiplexedSchedule, PassWindows
from pimjax.chips.multiplexed.smooth import as_real
from pimjax.chips.multiplexed.traffic import cache_use, sram_share, step_traffic
from pimjax.chips.multiplexed.work import layer_mask
from pimjax.chips.run_cost import COMPONENT_INDEX
from pimjax.config.build import Design
from pimjax.config.plan import OVERLAP_KINDS

NODES = 16


class RunTimes(NamedTuple):
    """Times of a run [ns]."""

    latency: Array
    moe: Array  # expert phases
    last_pass: Array  # [L] of the first pass
    slowest_layer: Array


class PassTimes(NamedTuple):
    """Times of one pass [ns]; attention of one sequence is outside (`attended` says how it staggers tokens)."""

    edges: Array  # embedding, first projections and the tail
    layers: Array  # [L] after attention to the next attention
    moe: Array  # [L]
    last_pass: Array  # [L]


class MemoryTimes(NamedTuple):
    """Memory and attention of one layer and sequence in a decode step [ns]."""

    read: Array  # KV read
    attention: Array
    go_read: Array
    prefetch: Array  # how much of the reads may run ahead


def run_times(
    design: Design,
    schedule: MultiplexedSchedule,
    time: Durations,
    units: Array,
    scale: Array,
    *,
    fidelity: str,
) -> RunTimes:
    """Latency of a run on a whole number of digital units. Kernel."""
    like = jnp.asarray(time.mvm)
    model, workload = as_real(design.model, like), as_real(design.workload, like)
    use, real = cache_use(design), layer_mask(design, schedule)
    batch, prompt, steps = workload.batch_size, workload.prompt_tokens, workload.generated_tokens - 1
    prefills = batch * workload.prefill
    compute = scale[COMPONENT_INDEX["mha_comp"]]

    def summed(values: Array) -> Array:
        return jnp.sum(jnp.where(real, values, 0.0))

    # --- prefill ---
    whole = attention_cost(design, prompt, whole=True, windowed=schedule.is_windowed).time * compute
    first = one_pass(design, schedule, time, units, prompt, schedule.prompt, profile=fidelity == "fluid")
    prefill = first.edges + summed(first.layers + whole)

    # --- decode steps ---
    last = prompt + steps
    nodes = prompt + 1 + jnp.maximum(steps - 1, 0) * jnp.linspace(0.0, 1.0, NODES, dtype=like.dtype)
    trapezoid = jnp.ones(NODES, like.dtype).at[jnp.array([0, NODES - 1])].set(0.5)
    weights = steps * trapezoid / (NODES - 1)
    memory = jax.vmap(lambda length: memory_times(design, schedule, length, scale))(nodes)
    cached = jax.vmap(lambda part: cached_step(design, schedule, time, units, batch, part))(memory)
    together = jnp.tensordot(weights, cached.step, 1)
    single = cached_step(design, schedule, time, units, batch, _mean_memory(design, schedule, scale))
    alone = steps * single.step
    is_prefetching = design.plan.dram_overlap == OVERLAP_KINDS.index("prefetch")
    exact = (batch <= 1) & ~is_prefetching
    with_caches = jnp.where(exact, alone, together)

    decode_attention = attention_total(design, prompt + 1, last, whole=True, windowed=schedule.is_windowed).time
    again = jax.vmap(lambda length, windows: one_pass(design, schedule, time, units, length, windows, profile=False))(
        schedule.lengths, schedule.recomputed
    )
    recomputing = jnp.tensordot(schedule.weights, again.edges + jnp.sum(jnp.where(real, again.layers, 0.0), axis=-1), 1)
    stored = jax.vmap(lambda length: stored_step(design, schedule, time, units, length, scale))(nodes)
    storing = jnp.tensordot(weights, stored.edges + jnp.sum(jnp.where(real, stored.layers, 0.0), axis=-1), 1)
    without = batch * (jnp.where(use.experts_all, recomputing, storing) + summed(decode_attention * compute))
    decode = jnp.where(use.dense_all, without, with_caches)

    # --- layers and experts ---
    again_moe = batch * jnp.where(
        use.experts_all,
        jnp.tensordot(schedule.weights, again.moe, 1),
        jnp.tensordot(weights, stored.moe, 1),
    )
    decode_moe = jnp.where(use.dense_all, again_moe, steps * single.moe)
    again_layers = batch * (
        jnp.where(
            use.experts_all,
            jnp.tensordot(schedule.weights, again.layers, 1),
            jnp.tensordot(weights, stored.layers, 1),
        )
        + decode_attention * compute
    )
    decode_layers = jnp.where(
        use.dense_all, again_layers, jnp.where(exact, steps * single.layers, jnp.tensordot(weights, cached.layers, 1))
    )
    has_steps = steps > 0
    layer_total = prefills * (first.layers + whole) + jnp.where(has_steps, decode_layers, 0.0)
    step_last = jnp.where(
        use.dense_all, jnp.where(use.experts_all, again.last_pass[0], stored.last_pass[0]), single.last_pass
    )
    return RunTimes(
        latency=prefills * prefill + jnp.where(has_steps, decode, 0.0),
        moe=summed(prefills * first.moe + jnp.where(has_steps, decode_moe, 0.0)),
        last_pass=jnp.where(real & schedule.is_moe, jnp.where(workload.prefill > 0, first.last_pass, step_last), 0.0),
        slowest_layer=jnp.max(jnp.where(real, layer_total, 0.0)),
    )


def one_pass(
    design: Design,
    schedule: MultiplexedSchedule,
    time: Durations,
    units: Array,
    tokens: Array,
    windows: PassWindows,
    *,
    profile: bool,
) -> PassTimes:
    """A pass of all tokens of one sequence, without its attention."""
    shared = design.model.num_shared_experts.astype(tokens.dtype)
    attended = Stream(0 * tokens, 0 * tokens)
    start = embedding_phase(time, tokens, units)
    normed, gated = gate_phase(time, tokens, attended, units, 0 * tokens)
    ready = gated.last + time.scheduler * _window(design, tokens) * design.plan.barrier
    after = _norm_after(design, schedule, time)
    options = {"tokens": tokens, "after": after, "shared": shared}
    if profile:
        experts = fluid_experts(time, windows, schedule.prompt_profile, units, **options)
    else:
        experts = closed_experts(time, windows, units, **options)
    experts, begun = _without_barrier(design, time, experts, windows, gated, ready)
    return _layers(design, schedule, time, units, tokens, start, normed, begun, experts)


def stored_step(
    design: Design, schedule: MultiplexedSchedule, time: Durations, units: Array, length: Array, scale: Array
) -> PassTimes:
    """A step that recomputes attention and router for the whole prefix, and the experts of the new token alone."""
    memory = memory_times(design, schedule, length, scale)
    shared = design.model.num_shared_experts.astype(length.dtype)
    start = embedding_phase(time, length, units)
    go_read = memory.go_read
    normed, gated = gate_phase(time, length, Stream(0 * length, 0 * length), units, 0 * length)
    ready = gated.last + go_read + time.scheduler * design.plan.barrier
    newest = single_token_experts(time, schedule.token_steps, units, shared=shared, hold=design.plan.input_hold)
    after = _norm_after(design, schedule, time)
    old = through_units(length, delayed(gated, go_read), time.add + after, units, 0 * length)
    done = jnp.maximum(old.last, ready + newest.residual + after)
    experts = newest._replace(
        residual=jnp.maximum(newest.residual, old.last - after - ready),
        normed=Stream(old.first - ready, done - ready),
        last_token=newest.residual,
    )
    return _layers(design, schedule, time, units, length, start, normed, ready, experts)


class CachedStep(NamedTuple):
    """One decode step with caches [ns]."""

    step: Array
    layers: Array  # [L]
    moe: Array  # [L]
    last_pass: Array  # [L]


def cached_step(
    design: Design, schedule: MultiplexedSchedule, time: Durations, units: Array, batch: Array, memory: MemoryTimes
) -> CachedStep:
    """One token of every sequence."""
    real = layer_mask(design, schedule)
    shared = design.model.num_shared_experts.astype(batch.dtype)
    start = embedding_phase(time, batch, units)
    behind = jnp.maximum(batch - 1, 0)
    spacing = jnp.maximum(time.qkv.issue, (time.add + time.norm) / units)
    hidden = jnp.minimum(memory.prefetch, memory.read)
    read = memory.read
    # sequences pass the channel, then the attention units, one after the other
    slowest = jnp.maximum(jnp.maximum(spacing, read), memory.attention)
    span = read - hidden + memory.attention
    last = jnp.maximum(span, -behind * spacing + span + behind * slowest)
    attended = Stream(last - behind * slowest, last)
    normed, gated = gate_phase(time, batch, attended, units, memory.go_read)
    ready = gated.last + time.scheduler * batch * design.plan.barrier
    after = _norm_after(design, schedule, time)
    single = single_token_experts(time, schedule.token_steps, units, shared=shared, hold=design.plan.input_hold)
    single = single._replace(normed=Stream(single.residual + after, single.residual + after))
    joint = closed_experts(time, schedule.step, units, tokens=batch, after=after, shared=shared)
    experts = jax.tree.map(lambda a, b: jnp.where(batch > 1, b, a), single, joint)
    passed = _layers(design, schedule, time, units, batch, start, normed, ready, experts)
    total = passed.edges + jnp.sum(jnp.where(real, passed.layers, 0.0))
    return CachedStep(total, passed.layers, passed.moe, passed.last_pass)


def _layers(
    design: Design,
    schedule: MultiplexedSchedule,
    time: Durations,
    units: Array,
    tokens: Array,
    start: Stream,
    normed: Stream,
    ready: Array,
    experts: ExpertTimes,
) -> PassTimes:
    """Put a pass together: expert or dense phase, next projections, tail."""
    after = _norm_after(design, schedule, time)
    is_last = after == 0
    dense = dense_phase(time, tokens, normed, units)
    dense_residual = through_units(tokens, dense, time.add + after, units, 0 * time.add)
    routed = delayed(experts.normed, ready)
    done = Stream(
        jnp.where(schedule.is_moe, routed.first, dense_residual.first),
        jnp.where(schedule.is_moe, routed.last, dense_residual.last),
    )
    projected = project(time, tokens, done, units).last
    tail = tail_time(time, units)
    last_token = jnp.where(schedule.is_moe, ready + experts.last_token, dense_residual.last)
    end = jnp.maximum(done.last, last_token + tail)
    layers = jnp.where(is_last, end, projected)
    return PassTimes(
        edges=start.last,
        layers=layers,
        moe=jnp.where(schedule.is_moe, experts.residual, 0.0),
        last_pass=jnp.where(schedule.is_moe, experts.last_pass, 0.0),
    )


def _norm_after(design: Design, schedule: MultiplexedSchedule, time: Durations) -> Array:
    """Norm that follows each residual, `[L]`: none after the last layer."""
    layer = jnp.arange(schedule.is_moe.shape[-1])
    return jnp.where(layer < design.model.num_layers - 1, time.norm, 0.0)


def _window(design: Design, tokens: Array) -> Array:
    """Tokens of the first window."""
    limit = design.plan.window_tokens
    return jnp.where(limit > 0, jnp.minimum(limit, tokens), tokens)


def _without_barrier(
    design: Design, time: Durations, experts: ExpertTimes, windows: PassWindows, gated: Stream, ready: Array
) -> tuple[ExpertTimes, Array]:
    """Slots that follow the gates: the phase begins with the first token's gate and ends after the last token's."""
    behind = gated.last - gated.first
    own = jnp.maximum(windows.last_token_slots - 1, 0) * time.stage + time.a + time.d
    late = jnp.maximum(behind + own - experts.last_pass, 0.0) * (windows.makespan > 0)
    waited = experts._replace(
        last_pass=experts.last_pass + late,
        residual=experts.residual + late,
        normed=Stream(experts.normed.first, experts.normed.last + late),
        last_token=experts.last_token + late,
    )
    barrier = design.plan.barrier
    return jax.tree.map(lambda a, b: jnp.where(barrier, a, b), experts, waited), jnp.where(barrier, ready, gated.first)


def memory_times(design: Design, schedule: MultiplexedSchedule, length: Array, scale: Array) -> MemoryTimes:
    """Memory and attention of a decode step at `length` tokens, `[L]`."""
    window = jnp.where(schedule.is_windowed, design.model.sliding_window, 0)
    visible = visible_tokens(length, window).astype(length.dtype)
    attention = attention_cost(design, length, whole=False, windowed=schedule.is_windowed).time
    return _memory(design, schedule, length, visible, attention, scale)


def _mean_memory(design: Design, schedule: MultiplexedSchedule, scale: Array) -> MemoryTimes:
    """The mean of :func:`memory_times` over all decode steps, exactly."""
    like = jnp.asarray(design.hardware.mvm_latency_ns)
    workload = as_real(design.workload, like)
    first = workload.prompt_tokens + 1
    steps = workload.generated_tokens - 1
    count, last = jnp.maximum(steps, 1), workload.prompt_tokens + steps
    window = jnp.where(schedule.is_windowed, design.model.sliding_window, 0)
    visible = sum_visible_tokens(first, last, window).astype(like.dtype) / count
    attention = attention_total(design, first, last, whole=False, windowed=schedule.is_windowed).time / count
    return _memory(design, schedule, (first + last) / 2, visible, attention, scale)


def _memory(
    design: Design, schedule: MultiplexedSchedule, length: Array, visible: Array, attention: Array, scale: Array
) -> MemoryTimes:
    batch = design.workload.batch_size.astype(length.dtype)
    moved = step_traffic(
        design,
        length,
        visible,
        is_moe=schedule.is_moe,
        admitted=schedule.step.passes / batch,
        taken=schedule.taken,
    )
    share = sram_share(design, windowed=schedule.is_windowed, is_moe=schedule.is_moe)
    bandwidth = design.hardware.dram_bandwidth_gb_per_s
    kv_scale, go_scale = scale[COMPONENT_INDEX["dram_kv"]], scale[COMPONENT_INDEX["dram_go"]]
    from_dram = kv_scale * (1 - share) * moved.kv_read / bandwidth
    from_sram = scale[COMPONENT_INDEX["sram"]] * share * moved.kv_read / design.hardware.sram_bandwidth_gb_per_s
    prefetching = design.plan.dram_overlap == OVERLAP_KINDS.index("prefetch")
    ahead = jnp.where(prefetching, kv_scale * design.hardware.kv_prefetch_bytes / bandwidth, 0.0)
    dtype = length.dtype
    return MemoryTimes(
        read=jnp.maximum(from_dram, from_sram).astype(dtype),
        attention=(scale[COMPONENT_INDEX["mha_comp"]] * attention).astype(dtype),
        go_read=(go_scale * (1 - share) * moved.go_read / bandwidth).astype(dtype),
        prefetch=(ahead * jnp.ones_like(from_dram)).astype(dtype),
    )
