"""Latency of a run from its phases: prefill passes and decode steps, all evaluated by one vectorised pass.

Decode steps are never unrolled: a pass is evaluated at a fixed number of *points* (static, from the schedule's shapes),
point 0 the prefill and the others decode steps at sampled lengths with weights that sum straight lines exactly. For
one sequence with caches and no prefetch a step is linear in its counts and lengths, so all points hold the mean step
and the sum over steps is exact. Recomputed prefixes sit at the schedule's lengths; their attention, cubic in the
length, is summed in closed form.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.cache.traffic import sum_visible_tokens, visible_tokens
from pimjax.chips.multiplexed.attention import attention_cost, attention_total
from pimjax.chips.multiplexed.backlog import PromptWrites, left_over, prompt_writes, waiting_time
from pimjax.chips.multiplexed.durations import Durations
from pimjax.chips.multiplexed.experts import closed_experts, single_token_experts, slots_time
from pimjax.chips.multiplexed.fluid import fluid_experts
from pimjax.chips.multiplexed.pass_time import PassPoint, PassTimes, pass_times, work_after
from pimjax.chips.multiplexed.phases import Stream
from pimjax.chips.multiplexed.schedule import MultiplexedSchedule, PassWindows
from pimjax.chips.multiplexed.smooth import as_real, larger
from pimjax.chips.multiplexed.traffic import Moved, cache_use, sram_share, step_traffic
from pimjax.chips.multiplexed.work import layer_mask
from pimjax.chips.run_cost import COMPONENT_INDEX
from pimjax.config.build import Design
from pimjax.config.plan import OVERLAP_KINDS


class RunTimes(NamedTuple):
    """Times of a run [ns]."""

    latency: Array
    moe: Array  # expert phases
    last_pass: Array  # [L] of the first pass
    slowest_layer: Array


class MemoryTimes(NamedTuple):
    """Attention and memory of one layer and sequence in a decode step, unscaled [ns]; `[points, L]`."""

    attention: Array
    dram_read: Array
    sram_read: Array
    go_read: Array
    posted: Array  # writes and late reads that nobody waits for


class Nodes(NamedTuple):
    """What the points need that does not depend on the durations."""

    tokens: Array  # [points]
    weights: Array  # [points] passes that a point stands for
    memory: MemoryTimes
    extra_attention: Array  # [L] attention of recomputed decode steps, in all [ns]
    written: PromptWrites  # of one prefill


def nodes(design: Design, schedule: MultiplexedSchedule) -> Nodes:
    """Where passes are evaluated."""
    like = design.hardware.mvm_latency_ns
    workload, use = as_real(design.workload, like), cache_use(design)
    batch, prompt, steps = workload.batch_size, workload.prompt_tokens, workload.generated_tokens - 1
    count = schedule.lengths.shape[0]
    fraction = jnp.linspace(0.0, 1.0, count, dtype=like.dtype) if count else jnp.zeros(0, like.dtype)
    lengths = jnp.where(use.experts_all, schedule.lengths, prompt + 1 + jnp.maximum(steps - 1, 0) * fraction)
    ends = (jnp.arange(count) == 0) | (jnp.arange(count) == count - 1)
    even = steps * jnp.where(ends, 0.5, 1.0) / max(count - 1, 1)
    weights = jnp.where(use.experts_all, batch * schedule.weights, jnp.where(use.dense_all, batch * even, even))
    tokens = jnp.where(use.dense_all, lengths, batch)

    exact = (batch <= 1) & (design.plan.dram_overlap != OVERLAP_KINDS.index("prefetch")) & ~use.dense_all
    sampled = _memory_at(design, schedule, lengths)
    mean = _mean_memory(design, schedule, prompt, steps)
    memory = jax.tree.map(lambda a, b: jnp.where(exact, b[None], a), sampled, mean)
    memory = memory._replace(attention=jnp.where(use.dense_all, 0.0, memory.attention))
    whole = attention_cost(design, prompt, whole=True, windowed=schedule.is_windowed).time
    zero = jnp.zeros_like(whole)
    memory = jax.tree.map(
        lambda first, rest: jnp.concatenate([first[None], rest.astype(like.dtype)]),
        MemoryTimes(whole, zero, zero, zero, zero),
        memory,
    )
    every = attention_total(design, prompt + 1, prompt + steps, whole=True, windowed=schedule.is_windowed).time
    return Nodes(
        tokens=jnp.concatenate([prompt[None], tokens]),
        weights=jnp.concatenate([(batch * workload.prefill)[None], weights]),
        memory=memory,
        extra_attention=jnp.where(use.dense_all, batch * every, 0.0) if count else zero,
        written=prompt_writes(design, schedule),
    )


def run_times(
    design: Design, schedule: MultiplexedSchedule, at: Nodes, time: Durations, scale: Array, *, fidelity: str
) -> RunTimes:
    """Latency of a run. Kernel; `at` = :func:`nodes`, `time` the durations at `scale`."""
    use, real = cache_use(design), layer_mask(design, schedule)
    units = design.hardware.num_digital_units
    shared = as_real(design.model.num_shared_experts, units)
    batch = as_real(design.workload.batch_size, units)
    count = at.tokens.shape[0] - 1
    decode = jnp.arange(count + 1) > 0
    staggered = decode & ~use.dense_all
    after = jax.vmap(lambda each: work_after(design, schedule, time, each))(staggered)

    # which windows each point has
    windows, slots_ns = _windows(schedule, time, use.experts_all, count)
    single = single_token_experts(time, schedule.token_steps, units, shared=shared, hold=design.plan.input_hold)
    alone = decode & ~use.experts_all & ((batch <= 1) | use.dense_all)
    given = jax.tree.map(lambda value: jnp.broadcast_to(value, (count + 1, *value.shape)), single)
    given = given._replace(normed=Stream(given.residual + after.norm, given.residual + after.norm))
    has_given = alone
    if fidelity == "fluid":
        fluid = fluid_experts(
            # pyrefly: ignore[bad-argument-type]
            time, schedule.prompt, schedule.prompt_profile, slots_ns[0], units,
            tokens=at.tokens[0], after=jax.tree.map(lambda value: value[0], after), shared=shared,
        )  # fmt: skip
        given = jax.tree.map(lambda rest, first: rest.at[0].set(first), given, fluid)
        has_given = has_given | ~decode
    closed = jax.vmap(
        lambda tokens, part, slots, each: closed_experts(
            time, part, slots, units, tokens=tokens, after=each, shared=shared
        )
    )(at.tokens, windows, slots_ns, after)
    experts = jax.tree.map(lambda a, b: jnp.where(has_given[:, None], b, a), closed, given)

    prefetching = design.plan.dram_overlap == OVERLAP_KINDS.index("prefetch")
    ahead = jnp.where(prefetching, design.hardware.kv_prefetch_bytes / design.hardware.dram_bandwidth_gb_per_s, 0.0)
    kv, go = scale[COMPONENT_INDEX["dram_kv"]], scale[COMPONENT_INDEX["dram_go"]]
    points = PassPoint(
        tokens=at.tokens,
        is_staggered=staggered,
        is_stored=decode & use.dense_all & ~use.experts_all,
        attention=scale[COMPONENT_INDEX["mha_comp"]] * at.memory.attention,
        read=larger(kv * at.memory.dram_read, scale[COMPONENT_INDEX["sram"]] * at.memory.sram_read),
        ahead=jnp.broadcast_to(kv * ahead, (count + 1,)),
        go_read=go * at.memory.go_read,
        write=kv * at.memory.posted,
        slots=windows.makespan,
        last_token_slots=windows.last_token_slots,
        experts=experts,
    )
    passes: PassTimes = jax.vmap(lambda point: pass_times(design, schedule, time, units, point))(points)

    def total(values: Array) -> Array:
        return jnp.tensordot(at.weights, values, 1)

    extra = scale[COMPONENT_INDEX["mha_comp"]] * at.extra_attention
    layers = total(passes.layers) + extra
    step = 1 if count else 0  # the first decode step stands in where no prefill runs
    first = jnp.where(design.workload.prefill, passes.last_pass[0], passes.last_pass[step])
    written = PromptWrites(kv * at.written.keys, go * at.written.outputs)
    left = left_over(written, jnp.where(real, passes.layers[0], 0.0), jnp.where(real, passes.moe[0], 0.0))
    waits = waiting_time(design, left, passes.edges[step])
    return RunTimes(
        latency=total(passes.edges) + jnp.sum(jnp.where(real, layers, 0.0)) + waits,
        moe=jnp.sum(jnp.where(real, total(passes.moe), 0.0)),
        last_pass=jnp.where(real & schedule.is_moe, first, 0.0),
        slowest_layer=jnp.max(jnp.where(real, layers, 0.0)),
    )


def _windows(
    schedule: MultiplexedSchedule, time: Durations, experts_all: Array, count: int
) -> tuple[PassWindows, Array]:
    """Windows of every point (histograms dropped) and the time of their slots, `[points, L]`."""

    def bare(windows: PassWindows) -> PassWindows:
        # pyrefly: ignore[missing-attribute]
        return windows.replace(load_hist=None, busy_hist=None, tokens=None)

    def spread(prompt: Array, step: Array, recomputed: Array) -> Array:
        rest = jnp.where(experts_all, recomputed, step[None])
        return jnp.concatenate([prompt[None], rest]) if count else prompt[None]

    slots = spread(
        slots_time(time, schedule.prompt), slots_time(time, schedule.step), slots_time(time, schedule.recomputed)
    )
    return jax.tree.map(spread, bare(schedule.prompt), bare(schedule.step), bare(schedule.recomputed)), slots


def _memory_at(design: Design, schedule: MultiplexedSchedule, lengths: Array) -> MemoryTimes:
    """Decode steps at `lengths` `[K]` tokens, `[K, L]`."""
    window = jnp.where(schedule.is_windowed, design.model.sliding_window, 0)

    def one(length: Array) -> MemoryTimes:
        visible = visible_tokens(length, window).astype(length.dtype)
        attention = attention_cost(design, length, whole=False, windowed=schedule.is_windowed).time
        return _memory(design, schedule, length, visible, attention)

    return jax.vmap(one)(lengths)


def _mean_memory(design: Design, schedule: MultiplexedSchedule, prompt: Array, steps: Array) -> MemoryTimes:
    """Mean over all decode steps, exactly; `[L]`."""
    first, last, count = prompt + 1, prompt + steps, jnp.maximum(steps, 1)
    window = jnp.where(schedule.is_windowed, design.model.sliding_window, 0)
    visible = sum_visible_tokens(first, last, window).astype(prompt.dtype) / count
    attention = attention_total(design, first, last, whole=False, windowed=schedule.is_windowed).time / count
    return _memory(design, schedule, (first + last) / 2, visible, attention)


def _memory(
    design: Design, schedule: MultiplexedSchedule, length: Array, visible: Array, attention: Array
) -> MemoryTimes:
    hardware = design.hardware
    moved: Moved = step_traffic(
        design,
        length,
        visible,
        is_moe=schedule.is_moe,
        admitted=schedule.step.passes / design.workload.batch_size,
        taken=schedule.taken,
    )
    share = sram_share(design, windowed=schedule.is_windowed, is_moe=schedule.is_moe)
    times = MemoryTimes(
        attention=attention,
        dram_read=(1 - share) * moved.kv_read / hardware.dram_bandwidth_gb_per_s,
        sram_read=share * moved.kv_read / hardware.sram_bandwidth_gb_per_s,
        go_read=(1 - share) * moved.go_read / hardware.dram_bandwidth_gb_per_s,
        posted=(1 - share) * (moved.kv_written + moved.go_posted) / hardware.dram_bandwidth_gb_per_s,
    )
    return jax.tree.map(lambda value: jnp.broadcast_to(value, jnp.shape(visible)).astype(length.dtype), times)
