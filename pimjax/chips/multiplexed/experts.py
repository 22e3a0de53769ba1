"""The expert phase of one layer in closed form: slots, chains of additions, digital units.

    last pass = first loads t_load + sum over later slots of max(t_stage, loads t_load, busy t_out) + t_A + t_D

is exact where nothing holds the slots up (barrier, sharing, local accumulation, idle q). The chains of the last slots
are followed exactly while the units have room; otherwise the units' rounds decide.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax import arrays
from pimjax.array_typing import Array
from pimjax.arrays import fixed
from pimjax.chips.multiplexed.durations import Durations
from pimjax.chips.multiplexed.phases import Crew, Phases, Stream, flight_of, last_start
from pimjax.chips.parts.dual import larger, largest, scan, smaller, spread, total, where
from pimjax.runs.run_counts import PassWindows, TokenSteps
from pimjax.system.layer_links import LinkTimes


class Counts(NamedTuple):
    """What the expert phase of every pass reads of its windows; `[points, L]`, tails `[points, L, W]`, pauses `[points, L, B]`."""

    passes: Array
    makespan: Array
    first_loads: Array
    unrouted: Array
    last_token_slots: Array
    tail_adds: Array
    tail_loads: Array
    tail_busy: Array
    gap_hist: Array
    gap_slots: Array


class After(NamedTuple):
    """What follows a token's residual on the digital units [ns]; `[points, L]`."""

    norm: Any  # the next norm: of the next layer, or the final one of tokens that are sampled
    work: Any  # partial sums of the linear layer after it


class ExpertTimes(NamedTuple):
    """Times of the expert phase after t_ready [ns]; `[points, L]`."""

    last_pass: Any
    residual: Any  # last residual done: T_moe
    normed: Stream  # tokens after the next layer's norm (after the residual where there is none)
    work: Any  # unit time per token, from its first result to the next layer's projections
    slots: Any  # first slot to last slot
    tail: Any  # last pass to last residual where units are free


def slot_interval(time: Durations, loads: Any, busy: Any) -> Any:
    """Start of one slot to the start of the next [ns]; arrays of one shape."""
    stage = spread(time.stage, np.broadcast_shapes(np.shape(loads), np.shape(busy)))
    return larger(larger(stage, time.load * loads), time.out * busy)


def slots_time(time: Durations, windows: PassWindows) -> Any:
    """Sum of the intervals of all slots after the first; `[L]`, or `[K, L]`.

    Level by level of the histogram: a loop over short vectors, not a short axis inside of long ones, which compiled
    programs of many lanes would sum one by one.
    """
    hist = windows.load_hist
    levels, shape = np.shape(hist)[-1], np.shape(hist)[:-1]
    loads = np.arange(levels, dtype=hist.dtype)
    if windows.busy_hist is not None:
        busy, counts = np.tile(loads, levels), _levels_first(windows.busy_hist.reshape((*shape, levels * levels)))
        loads, before = np.repeat(loads, levels), spread(time.stage, shape)
    else:
        mean_busy = windows.passes / arrays.larger(windows.makespan, 1.0)
        before = larger(spread(time.stage, shape), time.out * mean_busy)
        busy, counts = None, _levels_first(hist)

    def level(sum_ns: Any, row: tuple[Any, Any, Any]) -> tuple[Any, None]:
        count, loads, busy = row
        interval = larger(before, spread(time.load * loads, shape))
        if busy is not None:
            interval = larger(interval, spread(time.out * busy, shape))
        return sum_ns + interval * count, None

    return scan(level, 0.0 * before, (counts, loads, busy))[0]


def _levels_first(values: Any) -> Any:
    return arrays.namespace(values).moveaxis(values, -1, 0)


class FreeTimes(NamedTuple):
    """The expert phase on units that are always free [ns]; `[points, L]`."""

    first: Any  # the first slot begins: its tokens were loaded while groups woke up
    start: Any  # first results are back
    last_pass: Any
    residual: Any  # last residual
    ending: Any  # residual addition itself (0 if inline)


def free_experts(time: Durations, phases: Phases, counts: Counts, slots_ns: Any, *, shared: Array) -> FreeTimes:
    """Slots and chains of additions without any wait for a unit. `slots_ns`: :func:`slots_time`."""
    used = counts.makespan > 0
    first = larger(phases.load * counts.first_loads, spread(time.wake, np.shape(counts.first_loads)))
    start = where(used, first + phases.flight, 0.0)
    last_pass = start + where(used, slots_ns, 0.0)
    residual = _last_chain(time, phases, counts, last_pass, shared)
    return FreeTimes(first, start, last_pass, residual + phases.ending, phases.ending)


def _last_chain(time: Durations, phases: Phases, counts: Counts, last_pass: Any, shared: Array) -> Any:
    """End of the longest chain of additions that begins in one of the last W slots; 0 if there are none."""
    adds, loads, busy = (_levels_first(each) for each in (counts.tail_adds, counts.tail_loads, counts.tail_busy))
    shape = np.shape(adds)
    first_too = arrays.where(shared > 0, 1.0, 0.0 * shared)  # a shared result is there already: every result is added
    inside = np.arange(shape[0])[:, None, None] < arrays.spread(counts.makespan[None], shape)

    def slot(carry: tuple[Any, Any], row: tuple[Any, Any, Any, Any]) -> tuple[tuple[Any, Any], None]:
        (before, end), (adds, loads, busy, is_inside) = carry, row
        chain = last_pass - before + phases.combine_add * adds
        return (before + slot_interval(time, loads, busy), larger(end, where(is_inside, chain, 0.0))), None

    zero = 0.0 * last_pass
    return scan(slot, (zero, zero), (adds + first_too, loads, busy, inside))[0][1]


def additions_per_token(counts: Counts, tokens: Array, shared: Array) -> Array:
    """Mean additions of a token's results: all but its first, which is stored; `[points, L]`."""
    first = arrays.where(shared > 0, 0.0, tokens - counts.unrouted)
    adds = arrays.larger(counts.passes - first, 0.0)
    return adds / arrays.larger(tokens, 1.0)


def closed_experts(
    time: Durations, phases: Phases, crew: Crew, counts: Counts, slots_ns: Any, *, after: After, shared: Array
) -> ExpertTimes:
    """Expert phase from counts.

    Args:
        time: durations.
        phases: the same, `[points, L]`.
        crew: tokens of the passes (each has a residual) and units.
        counts: of the passes.
        slots_ns: :func:`slots_time`, `[points, L]`.
        after: what follows each residual on the units.
        shared: 1 where a shared block's result is there already, else 0.
    """
    tokens, units = crew.count, crew.units
    free = free_experts(time, phases, counts, slots_ns, shared=shared)
    own = phases.combine_add * additions_per_token(counts, tokens, shared) + free.ending
    service = own + after.norm
    work = service + phases.partial * (counts.passes / arrays.larger(tokens, 1.0)) + after.work
    arrivals = Stream(free.start, larger(free.residual - own, free.start))
    queued = last_start(crew, arrivals, service) + service
    fluid = free.start + work * (crew.behind / units) + service
    done = larger(where(phases.is_digital, fluid, queued), free.residual + after.norm)
    residual = where(phases.adds_in_links, free.residual, larger(free.residual, done - after.norm))
    normed = Stream(free.start + service, done)
    # slots wait for the additions of D + Q slots before them
    lag = fixed(time.depth) + time.buffer_slots
    held = arrays.larger(counts.makespan - lag, 0.0) / arrays.larger(counts.makespan, 1.0)
    waiting = where(held > 0, free.start + (residual - free.start) * held + phases.flight, 0.0)
    last_pass = smaller(larger(free.last_pass, waiting), larger(free.last_pass, residual - free.ending))
    return expert_times(free, last_pass, residual, normed, work)


def expert_times(free: FreeTimes, last_pass: Any, residual: Any, normed: Stream, work: Any) -> ExpertTimes:
    """Put the results together."""
    first = smaller(normed.first, normed.last)
    tail = free.residual - free.last_pass
    return ExpertTimes(last_pass, residual, Stream(first, normed.last), work, last_pass - free.start, tail)


def over_links(experts: ExpertTimes, links: LinkTimes, lead: Array, counts: Counts, crew: Crew) -> ExpertTimes:
    """The expert phase where tokens go to other dies and sums come back, `[points, L]`.

    The first slot waits for the longest way there. Which slots wait for late tokens on the busiest link, and how many sums are
    still to go back over the busiest link then, are lines of the routing (:func:`pimjax.runs.reach.leads_of`).

    Args:
        experts: without links.
        links: of one pass.
        lead: `[3, R, points, L]`, the lines.
        counts, crew: of the passes.
    """
    used = counts.makespan > 0
    token = links.there_work / crew.gaps
    slot = experts.slots / arrays.larger(counts.makespan - 1, 1.0)
    started = token[None] * lead[0] + slot[None] * lead[1]
    wait = larger(largest(started, -3) - experts.slots, 0.0)
    late = larger(largest(started + links.back_work[None] * lead[2], -3) - experts.slots, wait)
    there, fill = links.there_fill, links.there_fill + links.back_fill
    # units that are busy all the time begin later; the last result comes later; the busiest link carries the last sum
    residual = larger(experts.residual + there, experts.last_pass + (fill + late + experts.tail))
    residual = larger(residual, experts.last_pass - experts.slots + links.busy_back + experts.tail)
    residual = where(used, residual, experts.residual)
    return experts._replace(
        last_pass=experts.last_pass + where(used, there + wait, 0.0),
        residual=residual,
        normed=Stream(
            experts.normed.first + where(used, there, 0.0), experts.normed.last + (residual - experts.residual)
        ),
    )


def single_token_experts(
    time: Durations, kinds: TokenSteps, units: Array, *, after: After, shared: Array, hold: Array
) -> ExpertTimes:
    """Expert phase of one token alone, the mean over its kinds (`last_pass`: of the first step). Exact where q is idle.

    Results of slot s come back together; of a token's results the first is free, the others are added in a chain. The
    chain's end is the latest of: all additions from slot 0 on, from slot 1 on, or those of the last slot.
    """
    used, later = kinds.passes > 0, arrays.larger(kinds.slots, 1.0) - 1
    loads = arrays.where(hold, 0.0, 0.0 * later + 1.0)
    interval, last_interval = slot_interval(time, loads, kinds.first), slot_interval(time, loads, kinds.last)
    start = spread(larger(time.load, time.wake) + flight_of(time, units), np.shape(later))
    add = time.combine_add
    several = later > 0
    last = start + where(several, interval * (later - 1) + last_interval, 0.0)
    free = arrays.where(shared > 0, 0.0 * shared, 1.0)
    from_first = start + add * (kinds.passes - free)
    from_second = where(several, start + interval + add * (kinds.passes - kinds.first), 0.0)
    from_last = where(several, last + add * kinds.last, 0.0)
    end = larger(larger(from_first, from_second), from_last)
    end = where(used, end, 0.0)  # shared experts' own additions are over by then
    ending = time.ending

    def mean(value: Any) -> Any:
        each = total(spread(value, np.shape(kinds.share)) * kinds.share, -1)
        return spread(each, np.shape(after.norm))

    residual, last_pass = mean(end + ending), mean(where(used, last, 0.0))
    zero = 0.0 * after.norm
    done = residual + after.norm
    return ExpertTimes(last_pass, residual, Stream(done, done), zero, zero, residual - last_pass)
