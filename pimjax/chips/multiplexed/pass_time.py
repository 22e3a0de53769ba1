"""One pass of the multiplexed chip: embedding, then per layer attention, gate, experts and the next projections.

Attention is a barrier, so the time of a layer is what lies between two of them. Everything is a scalar or `[L]`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.chips.multiplexed.durations import Durations
from pimjax.chips.multiplexed.experts import ExpertTimes
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
from pimjax.chips.multiplexed.schedule import MultiplexedSchedule
from pimjax.config.build import Design


class PassPoint(NamedTuple):
    """What distinguishes one pass from another; times in ns."""

    tokens: Array  # [] n
    is_staggered: Array  # [] bool, tokens belong to different sequences: memory and attention one after the other
    is_stored: Array  # [] bool, experts run for the newest token alone; the others' outputs are stored
    attention: Array  # [L] one sequence
    read: Array  # [L] KV read of one sequence
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
    tokens, after = point.tokens, norm_after(design, schedule, time)
    start = embedding_phase(time, tokens, units)
    attended = _attention(time, units, point)
    go_read = jnp.where(point.is_stored, 0.0, point.go_read)
    normed, gated = gate_phase(time, tokens, attended, units, go_read)
    gated = delayed(gated, jnp.where(point.is_stored, point.go_read, 0.0))
    limit = design.plan.window_tokens
    window = jnp.where(limit > 0, jnp.minimum(limit, tokens), tokens)
    ready = gated.last + jnp.where(design.plan.barrier, time.scheduler * window, 0.0)
    experts, ready = _without_barrier(design, time, point, gated, ready)
    experts = _with_stored(time, units, point, experts, gated, ready, after)

    dense = through_units(tokens, dense_phase(time, tokens, normed, units), time.add + after, units, 0 * time.add)
    routed = delayed(experts.normed, ready)
    done = Stream(*(jnp.where(schedule.is_moe, a, b) for a, b in zip(routed, dense, strict=True)))
    last_token = jnp.where(schedule.is_moe, ready + experts.last_token, dense.last)
    end = jnp.maximum(done.last, last_token + tail_time(time, units))
    layer = jnp.arange(schedule.is_moe.shape[-1])
    is_last = layer >= design.model.num_layers - 1
    return PassTimes(
        edges=start.last,
        layers=jnp.where(is_last, end, project(time, tokens, done, units).last),
        moe=jnp.where(schedule.is_moe, experts.residual, 0.0),
        last_pass=jnp.where(schedule.is_moe, experts.last_pass, 0.0),
    )


def norm_after(design: Design, schedule: MultiplexedSchedule, time: Durations) -> Array:
    """Norm that follows each residual, `[L]`: none after the last layer."""
    layer = jnp.arange(schedule.is_moe.shape[-1])
    return jnp.where(layer < design.model.num_layers - 1, time.norm, 0.0)


def _attention(time: Durations, units: Array, point: PassPoint) -> Stream:
    """Queries, keys and values of the last token there, to attention done; `[L]`.

    Several sequences pass the memory channel, then the attention units, one after the other; their queries arrive at
    the pace of projections and norms.
    """
    behind = jnp.where(point.is_staggered, jnp.maximum(point.tokens - 1, 0), 0.0)
    pace = jnp.maximum(time.qkv.issue, (time.add + time.norm) / units)
    slowest = jnp.maximum(jnp.maximum(pace, point.read), point.attention)
    alone = point.read - jnp.minimum(point.ahead, point.read) + point.attention
    last = alone + behind * (slowest - pace)
    return Stream(last - behind * slowest, last)


def _without_barrier(
    design: Design, time: Durations, point: PassPoint, gated: Stream, ready: Array
) -> tuple[ExpertTimes, Array]:
    """Slots that follow the gates: the phase begins with the first token's gate and ends after the last token's."""
    experts = point.experts
    own = jnp.maximum(point.last_token_slots - 1, 0) * time.stage + time.a + time.d
    late = jnp.where(point.slots > 0, jnp.maximum(gated.last - gated.first + own - experts.last_pass, 0.0), 0.0)
    waited = ExpertTimes(
        last_pass=experts.last_pass + late,
        residual=experts.residual + late,
        normed=Stream(experts.normed.first, experts.normed.last + late),
        last_token=experts.last_token + late,
    )
    barrier = design.plan.barrier
    chosen = jax.tree.map(lambda a, b: jnp.where(barrier, a, b), experts, waited)
    return chosen, jnp.where(barrier, ready, gated.first)


def _with_stored(
    time: Durations,
    units: Array,
    point: PassPoint,
    experts: ExpertTimes,
    gated: Stream,
    ready: Array,
    after: Array,
) -> ExpertTimes:
    """The newest token through its experts, all others through their residual and norm alone."""
    old = through_units(point.tokens, gated, time.add + after, units, 0 * time.add)
    mixed = ExpertTimes(
        last_pass=experts.last_pass,
        residual=jnp.maximum(experts.residual, old.last - after - ready),
        normed=Stream(old.first - ready, jnp.maximum(old.last - ready, experts.residual + after)),
        last_token=experts.residual,
    )
    return jax.tree.map(lambda a, b: jnp.where(point.is_stored, b, a), experts, mixed)
