"""Sum of a phase's ends over passes of several lengths, with cheap derivatives in forward and in reverse mode.

Two simulations stand behind it: `fluid` with divisible bursts and `rounds` with whole additions. A few ns decide
whether a long normalisation slips in before or after a burst, and then the whole phase shifts; the two simulations
rarely err there together, so their mean has smaller large errors than either (`DIVISIBLE_SHARE`). Phases of few tokens
are simulated in rounds several times (`rounds.MOST_REPEATS`).

The simulation logs who was served how fast (a few bytes per event); one walk back over the log gives the derivative of
the sum in every duration. It is computed inside a custom JVP rule and multiplied with the tangents, so `jax.grad`
keeps only the derivative `[P]` and both modes cost the same: about two simulations.

Widths, token counts and unit counts are discrete here: their derivatives are zero. At ties (stages that end at the same instant)
the derivative is that of the token that the simulation names first.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from pimjax.array_typing import Array
from pimjax.chips.reference.fluid import (
    AHEAD,
    ENDS,
    HELD_UP,
    SERVED,
    EventLog,
    pack_durations,
    returning_stages,
    run_events,
)
from pimjax.chips.reference.phases import EMBEDDING, LAST, MIDDLE, Phase, PhaseKind
from pimjax.chips.reference.rounds import RoundDurations, round_durations, run_rounds, walk_back

DIVISIBLE_SHARE: dict[PhaseKind, float] = {EMBEDDING: 0.0, LAST: 0.5, MIDDLE: 0.5}
"""Weight of the simulation with divisible bursts; the rest is that in rounds, which is enough for `EMBEDDING`."""


def summed_ends(phase: Phase, kind: PhaseKind, mvm: Array, tokens: Array, units: Array, weights: Array) -> Array:
    """Sum over n of `weights[n - 1]` times the end of a pass of n tokens, ns, from one simulation of `tokens` tokens.

    A phase that a barrier closes ends with its slowest token; the last phase (no `queued` stage) with its last token.

    Args:
        phase, kind, mvm, tokens, units: as in :func:`fluid.finish_times`.
        weights: `[T]`, zero beyond `tokens`.

    >>> from pimjax.chips.reference.phases import EMBEDDING
    >>> one = jnp.ones(())
    >>> work, width, delay = jnp.array([132., 2880.]), jnp.array([1., 48.]), jnp.array([24., 0.])
    >>> phase = Phase(work, width, delay, lead=width, hop_in=12 * one, add=12 * one, first=12 * one)
    >>> float(summed_ends(phase, EMBEDDING, 130 * one, 2 * one, 5 * one, jnp.array([1., 1.])))
    2584.0
    """
    share = DIVISIBLE_SHARE[kind]
    total = jnp.sum(weights) * (phase.first + mvm)
    if share > 0:
        durations = pack_durations(phase, kind, mvm)
        total = total + share * _summed(kind, durations, phase.width, tokens, units, weights)
    if share < 1:
        durations = round_durations(phase, kind, mvm)
        total = total + (1 - share) * _summed_rounds(kind, durations, phase.width, phase.lead, tokens, units, weights)
    return total


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _summed(kind: PhaseKind, durations: Array, width: Array, tokens: Array, units: Array, weights: Array) -> Array:
    done, _ = run_events(kind, len(weights), durations, width, tokens, units)
    return jnp.sum(weights * _ends(kind, done))


@_summed.defjvp
def _summed_jvp(kind, primals, tangents):
    durations, width, tokens, units, weights = primals
    done, log = run_events(kind, len(weights), durations, width, tokens, units, log=True)
    assert log is not None
    gradient = _walk_back(kind, log, len(durations), _weights_of_tokens(kind, done, weights))
    return jnp.sum(weights * _ends(kind, done)), jnp.sum(gradient * tangents[0])


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _summed_rounds(
    kind: PhaseKind,
    durations: RoundDurations,
    width: Array,
    lead: Array,
    tokens: Array,
    units: Array,
    weights: Array,
) -> Array:
    done, _ = run_rounds(kind, len(weights), durations, width, lead, tokens, units)
    return jnp.sum(weights * _ends(kind, done))


@_summed_rounds.defjvp
def _summed_rounds_jvp(kind, primals, tangents):
    durations, width, lead, tokens, units, weights = primals
    done, events = run_rounds(kind, len(weights), durations, width, lead, tokens, units, log=True)
    assert events is not None
    gradient = walk_back(kind, events, durations, tokens, _weights_of_tokens(kind, done, weights))
    slopes = jax.tree.map(lambda slope, tangent: jnp.sum(slope * tangent), gradient, tangents[0])
    return jnp.sum(weights * _ends(kind, done)), sum(jax.tree.leaves(slopes))


def _ends(kind: PhaseKind, done: Array) -> Array:
    return done if kind.queued < 0 else lax.cummax(done)


def _weights_of_tokens(kind: PhaseKind, done: Array, weights: Array) -> Array:
    """d sum / d done `[T]`: each pass's weight goes to the token that ends it."""
    if kind.queued < 0:
        return weights
    index = jnp.arange(len(done))
    latest = lax.cummax(jnp.where(done >= lax.cummax(done), index, 0))
    return jnp.zeros_like(weights).at[latest].add(weights)


def _walk_back(kind: PhaseKind, log: EventLog, size: int, weights: Array) -> Array:
    """d sum / d durations `[P]`, P = `size`, by the adjoint of `run_events`, event by event from the last."""
    stages, tokens, dtype = len(kind.single), len(weights), weights.dtype
    zero = jnp.zeros((), dtype)
    place = {stage: stages + number for number, stage in enumerate(returning_stages(kind))}
    lag_place = jnp.array([place.get(stage, size) for stage in range(stages)])  # `size`: a spare entry

    def event(state, entry):
        # Adjoints of now, tile_free, wait [T], left [T], durations [P + 1]; stage int [T]: the stage after the event.
        now, tile, wait, left, gradient, stage = state
        token = entry.token.astype(int)
        flags, rate = entry.flags, entry.rate.astype(dtype)
        ends = (flags & ENDS) > 0
        stage = stage.at[token].add(-ends.astype(stage.dtype))
        at = stage[token]
        final = ends & (at == stages - 1)
        now = now + jnp.where(final, weights[token], zero)
        lag = jnp.where(ends & ~final, wait[token], zero)
        begun = jnp.where(ends & ~final, left[token], zero)
        gradient = gradient.at[lag_place[at]].add(lag)
        gradient = gradient.at[jnp.minimum(at + 1, stages - 1)].add(begun)
        wait = wait.at[token].set(zero)
        left = left.at[token].set(jnp.where(ends, zero, left[token]))
        step = now
        if kind.queued >= 0:
            queues = ends & (at == kind.queued)
            renewed = jnp.where(queues, tile, zero)
            turn = jnp.where((flags & HELD_UP) > 0, jnp.where(queues, lag, zero) + renewed, zero)
            gradient = gradient.at[size - 1].add(renewed - turn).at[size - 2].add(renewed)
            tile = jnp.where(queues, turn, tile)
            tile = jnp.where((flags & AHEAD) > 0, tile, zero)
            step = step - tile
        step = step - jnp.sum(rate * left) - jnp.sum(wait)
        speed = rate[token]
        served = ends & ((flags & SERVED) > 0) & (speed > 0)
        left = left.at[token].add(jnp.where(served, step / jnp.where(served, speed, 1), zero))
        wait = wait.at[token].add(jnp.where(ends, zero, step))
        return (now, tile, wait, left, gradient, stage), None

    full = jnp.zeros(tokens, dtype)
    finished = jnp.zeros(tokens, int).at[log.token.astype(int)].add((log.flags & ENDS).astype(int))
    state = (zero, zero, full, full, jnp.zeros(size + 1, dtype), finished)
    (_, _, wait, left, gradient, _), _ = lax.scan(event, state, log, reverse=True)
    gradient = gradient.at[0].add(jnp.sum(left)).at[size - 2].add(jnp.sum(jnp.arange(tokens) * wait))
    return gradient[:size]
