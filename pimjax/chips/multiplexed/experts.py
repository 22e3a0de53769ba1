"""The expert phase of one layer in closed form: slots, chains of additions, digital units.

    last pass = first loads t_load + sum over later slots of max(t_stage, loads t_load, busy t_out) + t_A + t_D

is exact where nothing holds the slots up (barrier, sharing, local accumulation, idle q). The chains of the last slots
are followed exactly while the units have room; otherwise the units' rounds decide.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.chips.multiplexed.durations import Durations
from pimjax.chips.multiplexed.phases import Stream, is_digital, last_start
from pimjax.chips.multiplexed.schedule import PassWindows, TokenSteps
from pimjax.chips.multiplexed.smooth import larger, smaller, whole_up


class ExpertTimes(NamedTuple):
    """Times of the expert phase after t_ready [ns]; `[L]` or scalars."""

    last_pass: Array
    residual: Array  # last residual done: T_moe
    normed: Stream  # tokens after the next layer's norm (after the residual where there is none)
    work: Array  # unit time per token, from its first result to the next layer's projections
    slots: Array  # first slot to last slot
    tail: Array  # last pass to last residual where units are free


def slot_interval(time: Durations, loads: Array, busy: Array) -> Array:
    """Start of one slot to the start of the next [ns]."""
    return larger(larger(time.stage, loads * time.load), busy * time.out)


def slots_time(time: Durations, windows: PassWindows) -> Array:
    """Sum of the intervals of all slots after the first."""
    groups = windows.load_hist.shape[-1]
    count = jnp.arange(groups, dtype=windows.load_hist.dtype)
    if windows.busy_hist is not None:
        intervals = slot_interval(time, count[:, None], count[None, :])
        return jnp.tensordot(windows.busy_hist, intervals, 2)
    mean_busy = windows.passes / jnp.maximum(windows.makespan, 1)
    loads = jnp.broadcast_to(count, windows.load_hist.shape)
    return jnp.sum(windows.load_hist * slot_interval(time, loads, mean_busy[..., None]), axis=-1)


def partial_work(time: Durations) -> Array:
    """Digital-unit time of one pass: partial sums and activation (0 with local accumulation)."""
    return time.up_strips * time.up_chain + time.act_job + time.down_strips * time.down_chain


def extra_latency(time: Durations, units: Array) -> Array:
    """How much longer than t_A + t_D a pass takes because its strips share few units."""
    up = (whole_up(time.up_strips / units) - 1) * time.up_chain
    return up + (whole_up(time.down_strips / units) - 1) * time.down_chain


class After(NamedTuple):
    """What follows a token's residual on the digital units [ns]; `[L]`."""

    norm: Array  # the next norm: of the next layer, or the final one of tokens that are sampled
    work: Array  # partial sums of the linear layer after it


def adds_in_links(time: Durations) -> Array:
    """Whether no result of an expert waits for a digital unit (combine = inline, local accumulation): the last
    residual is then there as soon as its last result is, whatever the units still have to normalise."""
    return (time.combine_add <= 0) & ~is_digital(time)


class FreeTimes(NamedTuple):
    """The expert phase on units that are always free [ns]; `[L]`."""

    start: Array  # first results are back
    last_pass: Array
    residual: Array  # last residual
    ending: Array  # residual addition itself (0 if inline)


def free_experts(time: Durations, windows: PassWindows, slots_ns: Array, units: Array, *, shared: Array) -> FreeTimes:
    """Slots and chains of additions without any wait for a unit. `slots_ns`: :func:`slots_time`."""
    flight = time.a + time.d + extra_latency(time, units)
    used = windows.makespan > 0
    start = jnp.where(used, windows.first_loads * time.load + flight, 0.0)
    last_pass = start + jnp.where(used, slots_ns, 0.0)
    intervals = slot_interval(time, windows.tail_loads, windows.tail_busy)
    gaps = jnp.cumsum(intervals, axis=-1) - intervals
    first_too = jnp.where(shared > 0, 1.0, 0.0)  # a shared result is there already: every expert's is an addition
    chains = last_pass[..., None] - gaps + (windows.tail_adds + first_too) * time.combine_add
    inside = jnp.broadcast_to(jnp.arange(gaps.shape[-1]), gaps.shape) < windows.makespan[..., None]
    ending = jnp.where(time.combine_add > 0, time.add, 0.0)
    return FreeTimes(start, last_pass, jnp.where(inside, chains, 0.0).max(axis=-1) + ending, ending)


def additions_per_token(windows: PassWindows, tokens: Array, shared: Array) -> Array:
    """Mean additions of a token's results: all but its first, which is stored; `[L]`."""
    first = jnp.where(shared > 0, 0.0, tokens - windows.unrouted)
    adds = jnp.maximum(windows.passes - first, 0.0) + jnp.maximum(shared - 1, 0) * tokens
    return adds / jnp.maximum(tokens, 1)


def closed_experts(
    time: Durations,
    windows: PassWindows,
    slots_ns: Array,
    units: Array,
    *,
    tokens: Array,
    after: After,
    shared: Array,
) -> ExpertTimes:
    """Expert phase from counts.

    Args:
        time: durations.
        windows: counts of the pass, `[L]`.
        slots_ns: `slots_time(time, windows)`.
        units: digital units c.
        tokens: n, tokens of the pass (each has a residual).
        after: what follows each residual on the units.
        shared: shared experts.
    """
    free = free_experts(time, windows, slots_ns, units, shared=shared)
    own = additions_per_token(windows, tokens, shared) * time.combine_add + free.ending
    partial = windows.passes * partial_work(time) / jnp.maximum(tokens, 1)
    work = own + partial + after.norm + after.work
    service = own + after.norm
    arrivals = Stream(free.start, larger(free.residual - own, free.start))
    queued = last_start(tokens, arrivals, service, units) + service
    fluid = free.start + jnp.maximum(tokens - 1, 0) * work / units + own + after.norm
    done = larger(jnp.where(is_digital(time), fluid, queued), free.residual + after.norm)
    residual = jnp.where(adds_in_links(time), free.residual, larger(free.residual, done - after.norm))
    normed = Stream(free.start + service, done)
    # slots wait for the additions of D + Q slots before them
    lag = jax.lax.stop_gradient(time.depth) + time.buffer_slots
    held = jnp.maximum(windows.makespan - lag, 0.0) / jnp.maximum(windows.makespan, 1)
    flight = time.a + time.d + extra_latency(time, units)
    last_pass = larger(free.last_pass, jnp.where(held > 0, free.start + held * (residual - free.start) + flight, 0.0))
    last_pass = smaller(last_pass, larger(free.last_pass, residual - free.ending))
    return expert_times(free, last_pass, residual, normed, work)


def expert_times(free: FreeTimes, last_pass: Array, residual: Array, normed: Stream, work: Array) -> ExpertTimes:
    """Put the results together."""
    first = smaller(normed.first, normed.last)
    tail = free.residual - free.last_pass
    return ExpertTimes(last_pass, residual, Stream(first, normed.last), work, last_pass - free.start, tail)


def single_token_experts(
    time: Durations, kinds: TokenSteps, units: Array, *, shared: Array, hold: Array
) -> ExpertTimes:
    """Expert phase of one token alone, the mean over its kinds (`last_pass`: of the first step); `[L]`. Exact where q
    is idle.

    Results of slot s come back together; of a token's results the first is free, the others are added in a chain. The
    chain's end is the latest of: all additions from slot 0 on, from slot 1 on, or those of the last slot.
    """
    flight = time.a + time.d + extra_latency(time, units)
    used = kinds.passes > 0
    later = jnp.maximum(kinds.slots - 1, 0)
    interval = slot_interval(time, jnp.where(hold, 0.0, 1.0), kinds.first)
    last_interval = slot_interval(time, jnp.where(hold, 0.0, 1.0), kinds.last)
    start = time.load + flight
    last = start + jnp.where(later > 0, (later - 1) * interval + last_interval, 0.0)
    add = time.combine_add
    free = jnp.where(shared > 0, 0.0, 1.0)
    from_first = start + (kinds.passes - free) * add
    from_second = jnp.where(later > 0, start + interval + (kinds.passes - kinds.first) * add, 0.0)
    from_last = jnp.where(later > 0, last + kinds.last * add, 0.0)
    end = larger(larger(from_first, from_second), from_last)
    end = jnp.where(used, end, 0.0)  # shared experts' own additions are over by then
    ending = jnp.where(add > 0, time.add, 0.0)

    def mean(value: Array) -> Array:
        return jnp.dot(kinds.share, value)

    residual, zero = mean(end + ending), mean(0 * end)
    return ExpertTimes(mean(jnp.where(used, last, 0.0)), residual, Stream(residual, residual), zero, zero, zero)
