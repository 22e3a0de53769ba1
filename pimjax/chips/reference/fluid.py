"""Fluid model of a phase: tokens as stages with divisible bursts, advanced event by event in a fixed-length loop.

Digital units serve the lowest token first. A single keeps its unit until it ends and starts only where a whole unit
is left; bursts share what remains, in token order, each up to its width. Time advances to the next end of a stage or
the next return from tiles, one token per event, so a phase of n tokens takes at most `n * kind.events_per_token`
events. Against the exact engine the error is a few ns per stage; what is left are the anomalies of list schedules
(a few ns decide whether a long normalisation slips in before or after a burst).

The result is piecewise linear in all durations. `fluid_gradient` gives their derivatives in forward and in reverse mode.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from pimjax.array_typing import Array
from pimjax.chips.reference.phases import Phase, PhaseKind

MAX_SCANNED_TOKENS = 64
"""Tokens of a phase that are simulated; later ones follow at the closed rate."""

ENDS, AHEAD, HELD_UP, SERVED = 1, 2, 4, 8
"""Flags of a logged event: a stage ended; the tile queue outlasted the step; a token waited in it; work was left."""


class EventLog(NamedTuple):
    """What the derivatives need of each event; axis V = events. Whole units up to 65535."""

    token: Array  # int16 [V]
    flags: Array  # uint8 [V]
    rate: Array  # uint16 [V, T] units of each token


def finish_times(phase: Phase, kind: PhaseKind, mvm: Array, tokens: Array, units: Array, *, size: int) -> Array:
    """End of the phase for each token, ns `[T]`, T = `size`; 0 beyond `tokens`.

    Args:
        phase: durations and widths of the stages.
        kind: static layout of the stages.
        mvm: `[]` MVM latency, ns.
        tokens: `[]` float, tokens in the pass (at most `size` of them are simulated).
        units: `[]` float, digital units; whole numbers are meant.
        size: static length of the result.

    >>> from pimjax.chips.reference.phases import EMBEDDING
    >>> one = jnp.ones(())
    >>> work, width, delay = jnp.array([132., 2880.]), jnp.array([1., 48.]), jnp.array([24., 0.])
    >>> phase = Phase(work, width, delay, lead=width, hop_in=12 * one, add=12 * one, first=12 * one)
    >>> finish_times(phase, EMBEDDING, 130 * one, 2 * one, 5 * one, size=2).tolist()
    [1004.0, 1580.0]
    """
    done, _ = run_events(kind, size, pack_durations(phase, kind, mvm), phase.width, tokens, units)
    return jnp.where(jnp.arange(size) < tokens, done + phase.first + mvm, 0)


def pack_durations(phase: Phase, kind: PhaseKind, mvm: Array) -> Array:
    """All durations of a phase but the first release, ns `[P]`: work of stages, trips to tiles, MVM, hop in."""
    trips = jnp.stack([phase.delay[stage] + mvm for stage in returning_stages(kind)])
    return jnp.concatenate([phase.work, trips, jnp.stack([mvm, phase.hop_in])])


def returning_stages(kind: PhaseKind) -> list[int]:
    """Stages after which a token goes to tiles."""
    return [stage for stage, tiles in enumerate(kind.tiles) if tiles]


def run_events(
    kind: PhaseKind, size: int, durations: Array, width: Array, tokens: Array, units: Array, *, log: bool = False
) -> tuple[Array, EventLog | None]:
    """End of each token after the first release, ns `[T]`, and the log if it is asked for."""
    stages, dtype = len(kind.single), durations.dtype
    work, trips = durations[:stages], durations[stages:-2]
    mvm, hop_in = durations[-2], durations[-1]
    zero, never = jnp.zeros((), dtype), jnp.asarray(jnp.inf, dtype)
    tolerance = 1e-2 if dtype == jnp.float32 else 1e-9  # rounding of `left`, in ns of one unit
    index = jnp.arange(size)
    earlier = (index[:, None] < index[None, :]).astype(dtype)  # [T, T]

    # Per stage: units it asks for (negative: a single that has not started), and what follows its end.
    spans = jnp.where(jnp.array(kind.single), -1, width)
    returning = returning_stages(kind)
    lags = [trips[returning.index(stage)] if stage in returning else zero for stage in range(stages)]
    follows = jnp.stack(
        [jnp.append(work[1:], 0), jnp.append(spans[1:], 0), jnp.stack([*lags[:-1], never])],
        axis=1,  # [S, 3]: work and span of the next stage, time until the token is ready for it
    )

    def event(state, _):
        # wait [T]: ns until ready; left [T]: work; span [T]: 0 while a single runs; stage int [T]; done [T].
        now, tile_free, wait, left, span, stage, done = state
        ready = wait <= 0
        running = ready & (span == 0)
        want = jnp.where(ready, jnp.abs(span), 0)
        before = jnp.dot(want, earlier, precision="highest")
        rate = jnp.clip(units - jnp.sum(running, dtype=dtype) - before, 0, want)
        rate = jnp.where(span < 0, jnp.floor(rate), rate)
        span = jnp.where((span < 0) & (rate > 0), 0, span)
        rate = jnp.where(running, 1, rate)

        served = jnp.where(rate > 0, left / jnp.where(rate > 0, rate, 1), never)
        needed = jnp.where(ready, jnp.where(left <= tolerance, 0, served), wait)
        shortest = lax.stop_gradient(needed).min()
        token = jnp.where(needed <= shortest, index, size - 1).min()
        alive = shortest < never
        ends = ready[token] & alive
        step = jnp.where(alive, needed[token], 0)
        at = stage[token]
        lag = follows[at, 2]

        now = now + step
        wait = jnp.where(ready, wait, wait - step)
        served_token = left[token] > tolerance
        left = left - rate * step
        flags = jnp.where(ends, ENDS, 0) | jnp.where(served_token, SERVED, 0)
        if kind.queued >= 0:
            queues = ends & (at == kind.queued)
            ahead = tile_free > step
            tile_free = jnp.where(ahead, tile_free - step, 0)
            held_up = tile_free > hop_in
            turn = jnp.where(held_up, tile_free - hop_in, 0)  # waits for the token before it
            lag = jnp.where(queues, turn + lag, lag)
            tile_free = jnp.where(queues, turn + hop_in + mvm, tile_free)
            flags |= jnp.where(ahead, AHEAD, 0) | jnp.where(held_up, HELD_UP, 0)
        wait = wait.at[token].set(jnp.where(ends, lag, jnp.where(alive, 0, never)))
        left = left.at[token].set(jnp.where(ends, follows[at, 0], left[token]))
        span = span.at[token].set(jnp.where(ends, follows[at, 1], span[token]))
        stage = stage.at[token].add(ends.astype(stage.dtype))
        done = done.at[token].set(jnp.where(ends, now, done[token]))
        entry = EventLog(token.astype(jnp.int16), flags.astype(jnp.uint8), rate.astype(jnp.uint16)) if log else None
        return (now, tile_free, wait, left, span, stage, done), entry

    released = jnp.where(index < tokens, index * mvm, never)
    full = jnp.zeros(size, dtype)
    state = (zero, zero, released, full + work[0], full + spans[0], jnp.zeros(size, int), full)
    state, entries = lax.scan(event, state, None, length=size * kind.events_per_token)
    return state[-1], entries
