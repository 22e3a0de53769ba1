"""The expert phase of every layer by a scan over slots: `u(s)` with the digital units as a fluid server of rate c.

    u(s) = max(u(s-1) + interval(s), q(s)),   q(s) = end of all additions that the results of slots <= s-D-Q caused

The units serve in order of arrival: the additions of a slot's results, then the residuals and norms of the tokens that
the slot completes. A ring of static length holds the last additions' ends: `D + Q <= RING`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.chips.multiplexed.durations import Durations
from pimjax.chips.multiplexed.experts import (
    After,
    ExpertTimes,
    additions_per_token,
    adds_in_links,
    expert_times,
    extra_latency,
    free_experts,
    partial_work,
    slot_interval,
)
from pimjax.chips.multiplexed.phases import Stream, is_digital, last_start
from pimjax.chips.multiplexed.schedule import PassWindows, SlotProfile
from pimjax.chips.multiplexed.smooth import larger

RING = 16


class _Carry(NamedTuple):
    """State of the recurrence, `[L]`; times after t_ready [ns]."""

    begin: Array  # u(s)
    served: Array  # the units are done with everything that has arrived
    ring: Array  # [RING, L] ends of the additions of the last slots, running maximum
    last_pass: Array
    last_end: Array  # last norm (or residual) of a token


def ring_overflows(time: Durations) -> Array:
    """Whether D + Q exceeds the ring; bool `[]`."""
    return jnp.isfinite(time.buffer_slots) & (time.depth + time.buffer_slots > RING)


def fluid_experts(
    time: Durations,
    windows: PassWindows,
    profile: SlotProfile,
    slots_ns: Array,
    units: Array,
    *,
    tokens: Array,
    after: After,
    shared: Array,
) -> ExpertTimes:
    """Expert phase of every layer `[L]`; arguments as :func:`.closed_experts`, and the profile `[L, S]`."""
    free = free_experts(time, windows, slots_ns, units, shared=shared)
    flight = time.a + time.d + extra_latency(time, units)
    unlimited = jnp.isinf(time.buffer_slots)
    lag = jnp.where(unlimited, 1.0, jax.lax.stop_gradient(time.depth + time.buffer_slots))
    place = jnp.clip(lag.astype(jnp.int32) - 1, 0, RING - 1)
    partial = partial_work(time)

    # per slot, for every layer at once: [S, L]
    interval = slot_interval(time, jnp.where(profile.opens > 0, 0.0, profile.loads), profile.returns).T
    adds = jnp.where(shared > 0, profile.returns, profile.adds).T
    sums_ns = profile.returns.T * partial / units
    adds_ns = adds * time.combine_add / units
    chains_ns = (profile.chains.T + jnp.where(shared > 0, 1.0, 0.0) * (profile.returns.T > 0)) * time.combine_add
    next_work = after.norm + after.work
    ends_ns = profile.ends.T * (free.ending + next_work)[None] / units
    count = jnp.arange(interval.shape[0])
    live = count[:, None] < windows.makespan[None, :]
    first = windows.first_loads * time.load

    def step(carry: _Carry, slot: tuple[Array, ...]) -> tuple[_Carry, None]:
        interval, sums, added, chain, ended, has_ends, is_live, is_first = slot
        pressure = jnp.where(unlimited, 0.0, carry.ring[place])
        begin = jnp.where(is_first, first, larger(carry.begin + interval, pressure))
        summed = jnp.where(partial > 0, larger(carry.served, begin + time.up_link) + sums, carry.served)
        back = larger(begin + flight, jnp.where(partial > 0, summed, 0.0))
        combined = jnp.where(added > 0, larger(summed, back) + added, summed)
        combined_end = jnp.where(added > 0, larger(combined, back + chain), back)
        done = jnp.where(has_ends, larger(combined, back) + ended, combined)
        end = larger(done, combined_end + free.ending + after.norm)
        ring = jnp.concatenate([larger(combined_end, carry.ring[0])[None], carry.ring[:-1]])
        new = _Carry(begin, done, ring, back, jnp.where(has_ends, larger(end, carry.last_end), carry.last_end))
        return jax.tree.map(lambda a, b: jnp.where(is_live, a, b), new, carry), None

    zero = jnp.zeros_like(free.start)
    start = _Carry(zero, zero, jnp.zeros((RING, *zero.shape), zero.dtype), zero, zero)
    slots = (interval, sums_ns, adds_ns, chains_ns, ends_ns, profile.ends.T > 0, live, count == 0)
    end, _ = jax.lax.scan(step, start, slots)

    residual = free.residual + jnp.maximum(end.last_pass - free.last_pass, 0.0)
    own = free.ending + after.norm
    rounds = last_start(tokens, Stream(free.start, larger(residual - free.ending, free.start)), own, units) + own
    done = larger(larger(end.last_end, residual + after.norm), jnp.where(is_digital(time), 0.0, rounds))
    residual = jnp.where(adds_in_links(time), residual, larger(residual, done - after.norm))
    adds_work = additions_per_token(windows, tokens, shared) * time.combine_add
    work = adds_work + windows.passes * partial / jnp.maximum(tokens, 1) + free.ending + next_work
    return expert_times(free, end.last_pass, residual, Stream(free.start + own, done), work)
