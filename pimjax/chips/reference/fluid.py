"""Fluid model of a phase: tokens as stages with divisible bursts, advanced event by event in a fixed-length loop.

Digital units serve the lowest token first. A single keeps its unit until it ends and starts only where a whole unit
is left; bursts share what remains, in token order, each up to its width. Time advances to the next end of a stage or
the next return from tiles, one token per event, so a phase of n tokens takes at most `n * kind.events_per_token`
events. Against the exact engine the error is a few ns per stage; what is left are the anomalies of list schedules
(a few ns decide whether a long normalisation slips in before or after a burst).

Derivatives: the result is piecewise linear in all durations. The loop carries their derivatives forward (a custom
JVP rule), so reverse mode keeps only a small Jacobian and costs the same as forward mode. Widths, token and unit
counts are discrete here: their derivatives are zero (`kernel` adds the closed form's derivative in the units).
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from pimjax.array_typing import Array
from pimjax.chips.reference.phases import Phase, PhaseKind

MAX_SCANNED_TOKENS = 64
"""Tokens of a phase that are simulated; later ones follow at the closed rate."""


def finish_times(phase: Phase, kind: PhaseKind, tokens: Array, units: Array, *, size: int) -> Array:
    """End of the phase for each token, ns `[T]`, T = `size`; 0 beyond `tokens`.

    Args:
        phase: durations and widths of the stages.
        kind: static layout of the stages.
        tokens: `[]` float, tokens in the pass (at most `size` of them are simulated).
        units: `[]` float, digital units; whole numbers are meant.
        size: static length of the result.

    >>> from pimjax.chips.reference.phases import EMBEDDING
    >>> one = jnp.ones(())
    >>> work, width, delay = jnp.array([132., 2880.]), jnp.array([1., 48.]), jnp.array([154., 0.])
    >>> phase = Phase(work, width, delay, mvm=130 * one, hop_in=12 * one, first=142 * one)
    >>> finish_times(phase, EMBEDDING, 2 * one, 5 * one, size=2).tolist()
    [1004.0, 1580.0]
    """
    returning = [index for index, tiles in enumerate(kind.tiles) if tiles]
    durations = jnp.concatenate([phase.work, phase.delay[jnp.array(returning)], jnp.stack([phase.mvm, phase.hop_in])])
    done = _finish_times(kind, size, durations, phase.width, tokens, units)
    return jnp.where(jnp.arange(size) < tokens, done + phase.first, 0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _finish_times(kind: PhaseKind, size: int, durations: Array, width: Array, tokens: Array, units: Array) -> Array:
    return _run_events(kind, size, durations, width, tokens, units)


@_finish_times.defjvp
def _finish_times_jvp(kind, size, primals, tangents):  # pyrefly: ignore
    durations, *rest = primals

    def run(durations):
        done = _run_events(kind, size, durations, *rest)
        return done, done

    jacobian, done = jax.jacfwd(run, has_aux=True)(durations)  # [T, P]
    return done, jnp.dot(jacobian, tangents[0], precision="highest")


def _run_events(kind: PhaseKind, size: int, durations: Array, width: Array, tokens: Array, units: Array) -> Array:
    stages = len(kind.single)
    dtype = durations.dtype
    work, durations = durations[:stages], durations[stages:]
    returning = [index for index, tiles in enumerate(kind.tiles) if tiles]
    delay = {index: durations[place] for place, index in enumerate(returning)}
    mvm, hop_in = durations[-2], durations[-1]
    tolerance = 1e-2 if dtype == jnp.float32 else 1e-9  # rounding of `left`, in ns of one unit
    index = jnp.arange(size, dtype=dtype)
    never = jnp.asarray(jnp.inf, dtype)
    zeros = jnp.zeros(size, dtype)
    earlier = (index[:, None] < index[None, :]).astype(dtype)  # [T, T]

    def pick(values, stage):  # values: one per stage, None where nothing follows
        picked = jnp.zeros_like(mvm)
        for number, value in enumerate(values):
            if value is not None:
                picked = jnp.where(stage == number, value, picked)
        return picked

    zero = jnp.zeros((), dtype)

    def event(_, state):
        now, tile_free, wait, left, span, single, held, stage, done = state
        ready = wait <= 0
        want = jnp.where(ready & (held == 0), span, 0)
        before = jnp.dot(want, earlier, precision="highest")
        rate = jnp.clip(units - held.sum() - before, 0, want)
        rate = jnp.where(single > 0, jnp.floor(rate), rate)
        held = jnp.where((single > 0) & (rate > 0), 1, held)
        rate = lax.stop_gradient(jnp.where(held > 0, 1, rate))

        served = jnp.where(rate > 0, left / jnp.where(rate > 0, rate, 1), never)
        needed = jnp.where(ready, jnp.where(left <= tolerance, 0, served), wait)
        shortest = lax.stop_gradient(needed.min())
        alive = shortest < never
        token = jnp.where(needed <= shortest, index, size).min()
        chosen = index == token
        step = jnp.where(alive, jnp.sum(jnp.where(chosen, needed, 0)), 0)
        ends = jnp.any(chosen & ready)

        now = now + step
        wait = jnp.where(ready, wait, wait - step)
        left = left - rate * step
        at = jnp.sum(jnp.where(chosen, stage, 0))
        lag = pick([delay.get(number) for number in range(stages)], at)
        tile_free = jnp.maximum(tile_free - step, 0)
        if kind.queued >= 0:
            queues = ends & (at == kind.queued)
            turn = jnp.maximum(tile_free - hop_in, 0)  # waits for the token before it
            lag = jnp.where(queues, turn + lag, lag)
            tile_free = jnp.where(queues, turn + hop_in + mvm, tile_free)
        final = at == stages - 1
        moves = chosen & ends
        done = jnp.where(moves & final, now, done)
        wait = jnp.where(chosen, jnp.where(ends, jnp.where(final, never, lag), 0), wait)
        left = jnp.where(moves, pick(list(work), at + 1), left)
        span = jnp.where(moves, pick(list(width), at + 1), span)
        single = jnp.where(moves, pick([zero + float(flag) for flag in kind.single], at + 1), single)
        held = jnp.where(moves, 0, held)
        stage = jnp.where(moves, stage + 1, stage)
        return now, tile_free, wait, left, span, single, held, stage, done

    released = jnp.where(index < tokens, index * mvm, never)
    state = (
        zero,
        zero,
        released,
        zeros + work[0],
        zeros + width[0],
        zeros + float(kind.single[0]),
        zeros,
        zeros,
        zeros,
    )
    return lax.fori_loop(0, size * kind.events_per_token, event, state)[-1]
