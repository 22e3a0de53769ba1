"""One pass of the multiplexed chip: embedding, then per layer attention, gate, experts and the next projections.

Attention is a barrier, so the time of a layer is what lies between two of them. Everything is a scalar or `[L]`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.chips.multiplexed.durations import Durations
from pimjax.chips.multiplexed.experts import After, ExpertTimes
from pimjax.chips.multiplexed.phases import (
    Stream,
    delayed,
    dense_phase,
    embedding_phase,
    gate_phase,
    project,
    projection_work,
    tail_time,
    through_units,
    work_of,
)
from pimjax.chips.multiplexed.schedule import MultiplexedSchedule
from pimjax.chips.multiplexed.smooth import larger, smaller
from pimjax.config.build import Design


class PassPoint(NamedTuple):
    """What distinguishes one pass from another; times in ns."""

    tokens: Array  # [] n
    is_staggered: Array  # [] bool, tokens belong to different sequences: memory and attention one after the other
    is_stored: Array  # [] bool, experts run for the newest token alone; the others' outputs are stored
    attention: Array  # [L] one sequence
    read: Array  # [L] KV read of one sequence
    write: Array  # [L] posted writes of one sequence: they take the channel from reads ahead
    ahead: Array  # [] part of the reads that may be read ahead
    go_read: Array  # [L] gate-output read of one sequence
    slots: Array  # [L] makespan
    last_token_slots: Array  # [L]
    experts: ExpertTimes  # [L] with a barrier


class PassTimes(NamedTuple):
    """Times of one pass [ns]."""

    edges: Array  # [] embedding and first projections
    layers: Array  # [L] attention to the next attention; the last: to the end of the pass
    moe: Array  # [L] t_ready to the last residual
    last_pass: Array  # [L] t_ready to the end of the last pass


def pass_times(
    design: Design, schedule: MultiplexedSchedule, time: Durations, units: Array, point: PassPoint
) -> PassTimes:
    """Times of one pass. Kernel."""
    tokens, after = point.tokens, work_after(design, schedule, time, point.is_staggered)
    start = embedding_phase(time, tokens, units)
    ahead = point.ahead > 0
    attended = _attention(time, units, point, jnp.where(ahead, 0.0, point.read))
    go_read = jnp.where(point.is_stored, 0.0, point.go_read)
    late_read = jnp.where(point.is_stored, point.go_read, 0.0)

    def gate(other: Array) -> tuple[Stream, Stream]:
        normed, gated = gate_phase(time, tokens, attended, units, go_read, other)
        return normed, delayed(gated, late_read)

    # alone, and with the work of the experts of earlier tokens
    both = jax.vmap(gate)(jnp.stack([0 * point.experts.work, point.experts.work]))
    (normed, gated), (_, crowded) = (jax.tree.map(lambda value, i=i: value[i], both) for i in (0, 1))
    experts, ready = _windows(design, time, point, gated, crowded, after)
    experts = _with_stored(time, units, point, experts, gated, ready, after)

    dense = through_units(tokens, dense_phase(time, tokens, normed, units), time.add + after.norm, units, 0 * time.add)
    routed = delayed(experts.normed, ready)
    done = Stream(*(jnp.where(schedule.is_moe, a, b) for a, b in zip(routed, dense, strict=True)))
    tail = tail_time(time, units)
    heads = larger(done.last, done.first + jnp.maximum(tokens - 1, 0) * time.head.issue) + tail - time.norm
    end = jnp.where(point.is_staggered, heads, done.last + tail)
    layer = jnp.arange(schedule.is_moe.shape[-1])
    is_last = layer >= design.model.num_layers - 1
    layers = jnp.where(is_last, end, project(time, tokens, done, units).last)
    exposed = _exposed_reads(point, start.last - time.embed * tokens, layers)
    waits = _attention(time, units, point, exposed).last - attended.last
    return PassTimes(
        edges=start.last,
        layers=layers + jnp.where(ahead, waits, 0.0),
        moe=jnp.where(schedule.is_moe, experts.residual, 0.0),
        last_pass=jnp.where(schedule.is_moe, experts.last_pass, 0.0),
    )


def work_after(design: Design, schedule: MultiplexedSchedule, time: Durations, is_staggered: Array) -> After:
    """What follows each residual: the next layer's norm and projections; after the last layer nothing, unless every
    token is a sequence of its own and is sampled (`is_staggered`)."""
    layer = jnp.arange(schedule.is_moe.shape[-1])
    inner = layer < design.model.num_layers - 1
    norm = jnp.where(inner | is_staggered, time.norm, 0.0)
    sampled = jnp.where(is_staggered, work_of(time.head), 0.0)
    return After(norm, jnp.where(inner, projection_work(time), sampled))


def _attention(time: Durations, units: Array, point: PassPoint, read: Array) -> Stream:
    """Queries, keys and values of the last token there, to attention done; `[L]`.

    Several sequences pass the memory channel, then the attention units, one after the other; their queries arrive at
    the pace of projections and norms.
    """
    behind = jnp.where(point.is_staggered, jnp.maximum(point.tokens - 1, 0), 0.0)
    pace = larger(time.qkv.issue, (time.add + time.norm + projection_work(time)) / units)
    slowest = larger(larger(pace, read), point.attention)
    last = read + point.attention + behind * (slowest - pace)
    return Stream(last - behind * slowest, last)


def _exposed_reads(point: PassPoint, head_start: Array, layers: Array) -> Array:
    """Read time per sequence and layer that prefetching does not hide, `[L]`.

    At the start of layer l's attention the channel is ahead of what may be consumed by at most `ahead`; it reads on
    while the layer computes.
    """
    count = jnp.where(point.is_staggered, point.tokens, 1.0)
    reads = count * point.read

    def layer(stock: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        read, free = step
        left = jnp.maximum(read - stock, 0.0)
        return smaller(point.ahead, jnp.maximum(stock - read, 0.0) + free), left

    free = jnp.maximum(layers - count * point.write, 0.0)
    stock = smaller(point.ahead, jnp.maximum(head_start, 0.0))
    return jax.lax.scan(layer, stock, (reads, free))[1] / jnp.maximum(count, 1)


def _windows(
    design: Design, time: Durations, point: PassPoint, gated: Stream, crowded: Stream, after: After
) -> tuple[ExpertTimes, Array]:
    """The expert phase from the first window's t_ready, and that t_ready.

    Later windows (single tokens where there is no barrier) wait for their own gates, which the earlier tokens' work
    in the expert phase delays (`crowded`): low tokens go first.
    """
    experts, tokens = point.experts, point.tokens
    barrier, limit = design.plan.barrier, design.plan.window_tokens
    size = jnp.where(limit > 0, smaller(limit, tokens), tokens)
    size = jnp.where(point.is_stored, tokens, jnp.where(barrier, size, 1.0))
    part = jnp.maximum(size - 1, 0) / jnp.maximum(tokens - 1, 1)  # of the way from the first gate to the last
    part = jnp.where(tokens > 1, part, 1.0)
    planning = jnp.where(barrier, time.scheduler * size, 0.0)
    ready = gated.first + part * (gated.last - gated.first) + planning
    behind = (1 - part) * (crowded.last - crowded.first)
    own_slots = jnp.where(
        barrier, experts.slots * size / jnp.maximum(tokens, 1), jnp.maximum(point.last_token_slots - 1, 0) * time.stage
    )
    late = jnp.maximum(behind + own_slots + time.load + time.a + time.d - experts.last_pass, 0.0)
    late = jnp.where((part < 1) & (point.slots > 0), late, 0.0)
    last_pass = experts.last_pass + late
    residual = jnp.where(late > 0, larger(experts.residual, last_pass + experts.tail), experts.residual)
    # the wait already holds the norms of earlier tokens: only the last one's own is still to come
    waited = experts._replace(
        last_pass=last_pass,
        residual=residual,
        normed=Stream(experts.normed.first, larger(experts.normed.last, residual + after.norm)),
    )
    return waited, ready


def _with_stored(
    time: Durations,
    units: Array,
    point: PassPoint,
    experts: ExpertTimes,
    gated: Stream,
    ready: Array,
    after: After,
) -> ExpertTimes:
    """The newest token through its experts, all others through their residual and norm alone."""
    old = through_units(point.tokens, gated, time.add + after.norm, units, 0 * time.add)
    mixed = experts._replace(
        residual=larger(experts.residual, old.last - after.norm - ready),
        normed=Stream(old.first - ready, larger(old.last - ready, experts.residual + after.norm)),
    )
    return jax.tree.map(lambda a, b: jnp.where(point.is_stored, b, a), experts, mixed)
