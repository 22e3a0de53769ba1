"""The expert phase of every layer by a scan over slots: `u(s)` with the digital units as a fluid server of rate c.

    u(s) = max(u(s-1) + interval(s), q(s)),   q(s) = end of all additions that the results of slots <= s-D-Q caused

The units serve in order of arrival: the additions of a slot's results, then the residuals and norms of the tokens that
the slot completes. A ring of static length holds the last additions' ends: `D + Q <= RING`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax import arrays
from pimjax.array_typing import AnyArray, Array
from pimjax.arrays import fixed
from pimjax.chips.multiplexed.durations import Durations
from pimjax.chips.multiplexed.experts import (
    After,
    Counts,
    ExpertTimes,
    FreeTimes,
    additions_per_token,
    expert_times,
    free_experts,
    slot_interval,
)
from pimjax.chips.multiplexed.phases import Crew, Phases, Stream, last_start
from pimjax.chips.parts.dual import larger, pick, pushed, scan, spread, taken, where
from pimjax.runs.run_counts import SlotProfile

RING = 16


class _Carry(NamedTuple):
    """State of the recurrence, `[1, L]`; times after t_ready [ns]."""

    begin: Any  # u(s)
    served: Any  # the units are done with everything that has arrived
    ring: Any  # [RING, 1, L] ends of the additions of the last slots, running maximum
    last_pass: Any
    last_end: Any  # last norm (or residual) of a token


class _Slots(NamedTuple):
    """Every slot of every layer, `[S, 1, L]`."""

    interval: Any
    sums: Any  # partial sums on the units
    adds: Any  # additions on the units
    chain: Any  # most of them for one token: they follow each other
    ends: Any  # residuals and norms of the tokens that it completes
    has_adds: Any
    has_ends: Any
    is_live: Any
    is_first: Any


def ring_overflows(time: Durations) -> AnyArray:
    """Whether D + Q exceeds the ring; bool `[]`."""
    return (time.buffer_slots < np.inf) & (time.depth + time.buffer_slots > RING)


def fluid_experts(
    time: Durations,
    phases: Phases,
    crew: Crew,
    counts: Counts,
    profile: SlotProfile,
    slots_ns: Any,
    *,
    after: After,
    shared: Array,
) -> ExpertTimes:
    """Expert phase of every layer of one pass `[1, L]`; arguments as :func:`.closed_experts`, and the profile `[L, S]`."""
    free = free_experts(time, phases, counts, slots_ns, shared=shared)
    slots = _slots(time, phases, crew, counts, profile, free, after, shared)
    end = _recurrence(time, phases, counts, slots, free, after)
    residual = free.residual + larger(end.last_pass - free.last_pass, 0.0)
    own = free.ending + after.norm
    arrivals = Stream(free.start, larger(residual - free.ending, free.start))
    rounds = last_start(crew, arrivals, own) + own
    done = larger(larger(end.last_end, residual + after.norm), where(phases.is_digital, 0.0, rounds))
    residual = where(phases.adds_in_links, residual, larger(residual, done - after.norm))
    adds_work = phases.combine_add * additions_per_token(counts, crew.count, shared)
    sums_work = phases.partial * (counts.passes / arrays.larger(crew.count, 1.0))
    work = adds_work + sums_work + own + after.work
    return expert_times(free, end.last_pass, residual, Stream(free.start + own, done), work)


def _slots(
    time: Durations,
    phases: Phases,
    crew: Crew,
    counts: Counts,
    profile: SlotProfile,
    free: FreeTimes,
    after: After,
    shared: Array,
) -> _Slots:
    """What the recurrence reads of every slot."""

    def column(values: Any) -> Any:
        return values.T[:, None]

    count = np.shape(profile.loads)[-1]
    if not arrays.on_device(counts.makespan):  # no slot beyond the last one is of interest
        count = max(1, min(count, int(np.ceil(counts.makespan.max()))))
        profile = SlotProfile(**{name: values[:, :count] for name, values in vars(profile).items()})
    returns, ends = column(profile.returns), column(profile.ends)
    shape = np.shape(returns)
    is_shared = shared > 0
    adds = arrays.where(is_shared, returns, column(profile.adds))
    longest = column(profile.chains) + arrays.where(is_shared, arrays.where(returns > 0, 1.0, 0.0 * returns), 0.0)
    loads = arrays.where(column(profile.opens) > 0, 0.0, column(profile.loads))
    units = arrays.spread(crew.units[None], shape)
    index = np.arange(count)[:, None, None]

    def over(value: Any) -> Any:
        return spread(value, shape)

    adds_ns = over(phases.combine_add) * (adds / units)
    return _Slots(
        interval=slot_interval(time, loads, returns),
        sums=over(phases.partial) * (returns / units),
        adds=adds_ns,
        chain=over(phases.combine_add) * longest,
        ends=over(free.ending + after.norm + after.work) * (ends / units),
        has_adds=adds_ns > 0,
        has_ends=ends > 0,
        is_live=index < arrays.spread(counts.makespan[None], shape),
        is_first=index == 0,
    )


def _recurrence(
    time: Durations, phases: Phases, counts: Counts, slots: _Slots, free: FreeTimes, after: After
) -> _Carry:
    unlimited = time.buffer_slots == np.inf
    lag = arrays.where(unlimited, 1.0, fixed(time.depth) + time.buffer_slots)
    place = arrays.namespace(lag).clip(lag.astype(np.int32) - 1, 0, RING - 1)
    has_sums = phases.partial > 0
    first = free.first
    up_link = spread(time.up_link, np.shape(counts.makespan))
    end_work = free.ending + after.norm

    def step(carry: _Carry, slot: _Slots) -> tuple[_Carry, None]:
        pressure = where(unlimited, 0.0, taken(carry.ring, place))
        begin = where(slot.is_first, first, larger(carry.begin + slot.interval, pressure))
        summed = where(has_sums, larger(carry.served, begin + up_link) + slot.sums, carry.served)
        back = larger(begin + phases.flight, where(has_sums, summed, 0.0))
        combined = where(slot.has_adds, larger(summed, back) + slot.adds, summed)
        combined_end = where(slot.has_adds, larger(combined, back + slot.chain), back)
        done = where(slot.has_ends, larger(combined, back) + slot.ends, combined)
        end = larger(done, combined_end + end_work)
        newest = larger(combined_end, pick(carry.ring, 0, -3))
        last_end = where(slot.has_ends, larger(end, carry.last_end), carry.last_end)
        new = _Carry(begin, done, pushed(newest, carry.ring), back, last_end)
        return _Carry(*(where(slot.is_live, a, b) for a, b in zip(new, carry, strict=True))), None

    zero = 0.0 * first
    ring = spread(zero, (RING, *np.shape(counts.makespan)))
    return scan(step, _Carry(zero, zero, ring, zero, zero), slots)[0]
