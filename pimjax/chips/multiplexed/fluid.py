"""The expert phase of every layer by a scan over slots: `u(s)` with the digital units as a fluid server of rate c.

    u(s) = max(u(s-1) + interval(s), q(s)),   q(s) = end of all additions that the results of slots <= s-D-Q caused

The units serve in order of arrival: the additions of a slot's results, then the residuals and norms of the tokens that
the slot completes. A ring of static length holds the last additions' ends: `D + Q <= RING`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.chips.multiplexed.durations import Durations
from pimjax.chips.multiplexed.experts import ExpertTimes, closed_experts, extra_latency, partial_work, slot_interval
from pimjax.chips.multiplexed.phases import Stream, last_start
from pimjax.chips.multiplexed.schedule import PassWindows, SlotProfile

RING = 16


def ring_overflows(time: Durations) -> Array:
    """Whether D + Q exceeds the ring; bool `[]`."""
    return jnp.isfinite(time.buffer_slots) & (time.depth + time.buffer_slots > RING)


def fluid_experts(
    time: Durations,
    windows: PassWindows,
    profile: SlotProfile,
    units: Array,
    *,
    tokens: Array,
    after: Array,
    shared: Array,
) -> ExpertTimes:
    """Expert phase of every layer `[L]`; arguments as :func:`closed_experts`, and the profile `[L, S]`."""
    free = closed_experts(time, windows, jnp.inf * jnp.ones_like(units), tokens=tokens, after=after, shared=shared)
    flight = time.a + time.d + extra_latency(time, units)
    ending = jnp.where(time.combine_add > 0, time.add, 0.0)
    unlimited = jnp.isinf(time.buffer_slots)
    lag = jnp.where(unlimited, 1.0, jax.lax.stop_gradient(time.depth + time.buffer_slots))
    place = jnp.clip(lag.astype(jnp.int32) - 1, 0, RING - 1)
    intervals = slot_interval(time, jnp.where(profile.opens > 0, 0.0, profile.loads), profile.returns)
    extra_adds = jnp.where(shared > 0, 1.0, 0.0)
    count = jnp.arange(profile.loads.shape[-1])
    live = count < windows.makespan[:, None]

    def step(carry, slot):
        start, served, ring, last_pass, last_end = carry
        interval, returns, adds, ends, first, alive = slot
        pressure = jnp.where(unlimited, -jnp.inf, ring[place])
        begin = jnp.where(first, windows.first_loads * time.load, jnp.maximum(start + interval, pressure))
        back = begin + flight
        summed = jnp.maximum(served, back - (time.d + time.a - time.up_link)) + returns * partial_work(time) / units
        summed = jnp.where(partial_work(time) > 0, summed, served)
        back = jnp.maximum(back, summed)
        added = jnp.maximum(summed, back) + adds * time.combine_add / units
        added_end = jnp.where(adds > 0, jnp.maximum(added, back + time.combine_add), back)
        done = jnp.maximum(added, back) + ends * (ending + after) / units
        new = (
            begin,
            jnp.where(adds + ends > 0, done, summed),
            jnp.concatenate([jnp.where(adds > 0, added_end, -jnp.inf)[None], ring[:-1]]),
            back,
            jnp.where(ends > 0, jnp.maximum(done, added_end + ending + after), last_end),
        )
        # a slot's additions include those of all slots before it
        new[2].at[0].max(ring[0])
        carry = jax.tree.map(lambda a, b: jnp.where(alive, a, b), new, carry)
        return carry, None

    layers = windows.makespan.shape[0]
    zero = jnp.zeros(layers, intervals.dtype)
    adds = profile.adds + extra_adds * (profile.returns - profile.adds)
    first = jnp.broadcast_to(count[:, None] == 0, (count.shape[0], layers))
    slots = (intervals.T, profile.returns.T, adds.T, profile.ends.T, first, live.T)
    carry = (zero, zero, jnp.full((RING, layers), -jnp.inf, intervals.dtype), zero, zero)
    (_, served, _, last_pass, last_end), _ = jax.lax.scan(step, carry, slots)
    del served
    late = jnp.maximum(last_pass - free.last_pass, 0.0)
    residual_free = free.residual + late
    done = jnp.maximum(last_end, residual_free + after)
    used = windows.makespan > 0
    start = jnp.where(used, windows.first_loads * time.load + flight, 0.0)
    own = ending + after
    crowd = last_start(tokens, Stream(start, jnp.maximum(residual_free - ending, start)), own, units) + own
    done = jnp.maximum(done, crowd)
    residual = jnp.maximum(residual_free, done - after)
    early = windows.last_token_early * (last_pass - start) / jnp.maximum(windows.makespan - 1, 1)
    return ExpertTimes(last_pass, residual, Stream(jnp.minimum(start + own, done), done), residual - early)
