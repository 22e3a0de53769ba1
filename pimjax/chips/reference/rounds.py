"""Second simulation of a phase: bursts in rounds of whole additions, as the engine runs them.

`fluid` takes a burst as divisible work. Here its units add in rounds of one addition each. Where fewer additions than
units are left for the last round, the units that it does not need are free one addition earlier, for whoever waits:
this is where a long single of a later token slips in. What follows the burst starts then too, if the chains that it
waits for (`Phase.lead`) are through, else when the last round ends. Units that join a burst keep their own rhythm; the
burst knows the mean time to the next round. A unit that a lower token takes away ends its addition first. The rest
is as in `fluid`.

A few ns decide whether a long single slips in before or after a burst, and in a short phase one such slip is a large
part of the whole. So phases of few tokens are simulated several times in the same loop, with singles up to
`STRETCH` longer and shorter, and :func:`run_rounds` gives the mean (`REPEATED_TOKENS`, `MOST_REPEATS`).

Every event is split in two: :func:`_decide` chooses what happens (whole numbers and flags), and :func:`_advance`
moves the clock. The second is linear in times and durations, so derivatives are its transpose, event by event
(:func:`walk_back`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from pimjax.array_typing import Array
from pimjax.chips.reference.phases import EMBEDDING, LAST, MIDDLE, Phase, PhaseKind

NOTHING, SERVED, CUT, WAITED, RELEASED, REPEATED = range(6)
"""What an event waited for: nothing, the end of a stage, a last round, a token's return, the end of a last round; or
the next simulation begins."""

REPEATED_TOKENS = 48
"""A phase is repeated as long as all its simulations together have at most so many tokens."""

MOST_REPEATS: dict[PhaseKind, int] = {EMBEDDING: 1, LAST: 4, MIDDLE: 4}
"""Most simulations of a phase; that of `EMBEDDING` is nearly exact as it is."""

STRETCH = 0.01
"""Singles of the simulations are up to this part longer and shorter, evenly spread."""

SLACK = 0.05
"""Rounding that is forgiven in counts of additions."""

_MOST_REST = 2**16 - 1
"""Most additions of a last round: fewer than digital units."""


class RoundDurations(NamedTuple):
    """All durations of a phase but the first release, ns."""

    work: Array  # [S] of one unit
    trip: Array  # [S] from the end of a stage until the token is ready again, MVM included; 0 where no tiles follow
    mvm: Array  # []
    hop_in: Array  # []
    add: Array  # [] one addition of a burst


class Clock(NamedTuple):
    """What moves with time, ns; axis T = tokens."""

    now: Array  # []
    tile_free: Array  # []
    wait: Array  # [T] until the token is ready
    left: Array  # [T] work of its stage
    bound: Array  # [T] until the next round, mean over its units
    held: Array  # [T] until its last round ends
    done: Array  # [T] end of the token, mean over simulations


class _Counts(NamedTuple):
    """Whole numbers, axis T."""

    span: Array  # units asked for: 0 while a single runs, -1 before it starts
    stage: Array
    rate: Array  # units that served it in the last event
    background: Array  # units of its last round
    run: Array  # [] number of the simulation


class _Repeats(NamedTuple):
    """How often a phase is simulated; `[]` floats."""

    tokens: Array
    runs: Array


class RoundEvent(NamedTuple):
    """What happened in an event."""

    token: Array  # int16
    how: Array  # uint8
    at: Array  # uint8, stage of the token
    ends: Array  # bool
    late: Array  # bool: the next stage waits for the last round
    ahead: Array  # bool: the queue at the tiles outlasts the step
    held_up: Array  # bool: the token waits in it
    stretch: Array  # float, factor on the work of the next stage
    rounds: Array  # uint16, whole rounds before the last one
    before: Array  # uint16 [T] units of each token in the event before, 0 if its stage is new
    rate: Array  # uint16 [T] units now
    passed: Array  # uint16 [T] rounds that begin


def round_durations(phase: Phase, kind: PhaseKind, mvm: Array) -> RoundDurations:
    """Durations of a phase as the simulation takes them."""
    tiles = jnp.array(kind.tiles)
    trip = jnp.where(tiles, phase.delay + mvm, 0)
    return RoundDurations(work=phase.work, trip=trip, mvm=mvm, hop_in=phase.hop_in, add=phase.add)


def events_per_token(kind: PhaseKind) -> int:
    """Most events one token causes: its release, ends of stages, returns from tiles, ends of last rounds."""
    return kind.events_per_token + sum(not single for single in kind.single)


def repeats_of(kind: PhaseKind, tokens: Array) -> _Repeats:
    """Simulations of a phase of `tokens` tokens: a matter of the phase alone, not of the size of the arrays.

    >>> [int(repeats_of(LAST, jnp.float32(tokens)).runs) for tokens in (9, 16, 24, 25)]
    [4, 3, 2, 1]
    """
    runs = jnp.clip(jnp.floor(REPEATED_TOKENS / jnp.maximum(tokens, 1)), 1, MOST_REPEATS[kind])
    return _Repeats(tokens, jnp.where(tokens > 1, runs, 1))  # a token alone competes with none


def run_rounds(
    kind: PhaseKind,
    size: int,
    durations: RoundDurations,
    width: Array,
    lead: Array,
    tokens: Array,
    units: Array,
    *,
    log: bool = False,
    differentiable: bool = False,
) -> tuple[Array, RoundEvent | None]:
    """End of each token after the first release, ns `[T]`, mean over simulations, and the events if asked for.

    `differentiable`: JAX may differentiate the simulation itself, which is slow and what :func:`walk_back` is held to.

    >>> from pimjax.chips.reference.phases import EMBEDDING
    >>> one = jnp.ones(())
    >>> durations = RoundDurations(jnp.array([132., 2880.]), jnp.array([154., 0.]), 130 * one, 12 * one, 12 * one)
    >>> width = jnp.array([1., 48.])
    >>> run_rounds(EMBEDDING, 2, durations, width, width, 2 * one, 7 * one)[0].tolist()
    [706.0, 1114.0]
    """
    dtype = durations.work.dtype
    index = jnp.arange(size)
    spans = jnp.where(jnp.array(kind.single), -1, width)
    units = jnp.floor(units)
    zero, full = jnp.zeros((), dtype), jnp.zeros(size, dtype)
    released = jnp.where(index < tokens, index * durations.mvm, jnp.asarray(jnp.inf, dtype))
    clock = Clock(zero, zero, released, full + durations.work[0], full, full, full)
    counts = _Counts(full + spans[0], jnp.zeros(size, int), full, full, zero)
    repeats = repeats_of(kind, tokens)
    earlier = (index[:, None] < index[None, :]).astype(dtype)  # [T, T]

    def event(state, _):
        clock, counts = state
        entry, counts, step = _decide(kind, clock, counts, durations, spans, width, lead, units, earlier, repeats)
        known = None if differentiable else step
        return (_advance(kind, clock, entry, durations, repeats, known), counts), (_compact(entry) if log else None)

    most = MOST_REPEATS[kind]
    length = max(size, min(most * size, REPEATED_TOKENS)) * events_per_token(kind) + most - 1
    (clock, _), entries = lax.scan(event, (clock, counts), None, length=length)
    return clock.done, entries


def _compact(entry: RoundEvent) -> RoundEvent:
    """The event in few bytes."""
    short, byte = jnp.uint16, jnp.uint8
    stretch = entry.stretch.dtype
    kinds: tuple[Any, ...] = (jnp.int16, byte, byte, bool, bool, bool, bool, stretch, short, short, short, short)
    return RoundEvent(*(value.astype(kind) for value, kind in zip(entry, kinds, strict=True)))


def _decide(
    kind, clock, counts, durations, spans, width, lead, units, earlier, repeats
) -> tuple[RoundEvent, _Counts, Array]:
    """What happens next, the whole numbers after it, and the time until then."""
    dtype, size = clock.left.dtype, len(clock.left)
    never = jnp.asarray(jnp.inf, dtype)
    tolerance = 1e-2 if dtype == jnp.float32 else 1e-9
    add = jnp.where(durations.add > 0, durations.add, 1)
    per_addition = 1 / add
    index = jnp.arange(size)
    span, stage, before, background, run = counts

    ready = clock.wait <= 0
    running = ready & (span == 0)
    want = jnp.where(ready, jnp.abs(span), 0)
    taken = jnp.sum(running + background)
    rate = jnp.clip(units - taken - jnp.dot(want, earlier, precision="highest"), 0, want)
    span = jnp.where((span < 0) & (rate > 0), 0, span)
    rate = jnp.where(running, 1, rate)

    pace = 1 / jnp.maximum(rate, 1)
    left, bound = _hand_over(clock.left, clock.bound, before, rate, durations.add)
    additions = (left - rate * bound) * per_addition  # not started
    rounds = jnp.floor((additions + SLACK) * pace)
    rest = additions - rate * rounds
    finished = left <= tolerance
    cut = (span > 0) & (rate > 0) & (additions > SLACK) & (rest > SLACK)
    served = jnp.where(rate > 0, jnp.where(cut, bound + rounds * add, left * pace), never)
    needed = jnp.where(ready, jnp.where(finished, 0, served), clock.wait)
    release = jnp.where(background > 0, clock.held, never)
    soonest = jnp.minimum(needed, release)
    shortest = soonest.min()

    # The first token of those that are next, and what concerns it, in one number: one reduction finds it all.
    rest = jnp.clip(jnp.ceil(rest - SLACK), 0, _MOST_REST).astype(int)
    flags = (
        jnp.where(release < needed, 1, 0) | jnp.where(ready, 2, 0) | jnp.where(finished, 4, 0) | jnp.where(cut, 8, 0)
    )
    key = (index << 24) | (rest << 8) | (stage << 4) | flags
    key = jnp.where(soonest <= shortest, key, (size << 24) - 1).min()
    token, rest, at = key >> 24, ((key >> 8) & _MOST_REST).astype(dtype), (key >> 4) & 15
    alive = shortest < never
    released, is_ready = (key & 1) > 0, (key & 2) > 0
    ends = is_ready & ~released & alive
    cuts = ends & ((key & 12) == 8)
    how = jnp.where(is_ready, jnp.where(cuts, CUT, SERVED), WAITED)
    how = jnp.where(is_ready & ((key & 4) > 0), NOTHING, how)
    again = ~alive & (run + 1 < repeats.runs)
    how = jnp.where(alive, jnp.where(released, RELEASED, how), jnp.where(again, REPEATED, NOTHING))
    step = jnp.where(alive, shortest, 0)

    spare, following = _rows(jnp.stack([width - lead, jnp.append(spans[1:], 0)], axis=1), at)
    late = cuts & (spare - rest < -SLACK)
    passed = jnp.where(rate > 0, jnp.maximum(jnp.floor((tolerance + step - bound) * per_addition) + 1, 0), 0)
    ahead, held_up = clock.tile_free > step, jnp.zeros((), bool)
    if kind.queued >= 0:
        held_up = jnp.where(ahead, clock.tile_free - step, 0) > durations.hop_in
    here = index == token
    part = jnp.where(repeats.runs > 1, 2 * run / jnp.maximum(repeats.runs - 1, 1) - 1, 0)
    entry = RoundEvent(
        token=token,
        how=how,
        at=at,
        ends=ends,
        late=late,
        ahead=ahead,
        held_up=held_up,
        stretch=jnp.where(following < 0, 1 + STRETCH * part, 1),
        rounds=jnp.sum(jnp.where(here, rounds, 0)),
        before=before,
        rate=rate,
        passed=jnp.where(span > 0, passed, 0),
    )
    background = jnp.where(clock.held - step <= 0, 0, background)
    background = jnp.where(here & cuts, rest, background)
    fresh = ends | (how == WAITED)
    after = _Counts(
        span=jnp.where(again, spans[0], jnp.where(here & ends, following, span)),
        stage=jnp.where(again, 0, stage + (here & ends)),
        rate=jnp.where(again | (here & fresh), 0, rate),
        background=background,
        run=run + again,
    )
    return lax.stop_gradient((entry, after, step))


def _rows(table: Array, row: Array) -> Array:
    """`table[row]` `[K]` without a gather, which would be repeated for every token."""
    return jnp.sum(jnp.where((jnp.arange(len(table)) == row)[:, None], table, 0), axis=0)


def _hand_over(left: Array, bound: Array, before: Array, rate: Array, add: Array) -> tuple[Array, Array]:
    """Work `[T]` and mean time to the next round `[T]` after units have changed hands.

    A unit that is taken from a burst first ends its addition there: that much of the loser's work is done, and the
    winner's work grows by the wait. Idle units begin at once, with a whole addition ahead.
    """
    gained, lost = jnp.maximum(rate - before, 0), jnp.maximum(before - rate, 0)
    all_gained, all_lost = jnp.sum(gained), jnp.sum(lost)
    share = jnp.where(all_gained > 0, 1 / jnp.maximum(all_gained, all_lost), 0)  # of what is lost, per unit gained
    wait = share * jnp.sum(lost * bound)
    left = left + gained * wait - jnp.where(all_gained > 0, lost, 0) * bound
    kept = before / jnp.maximum(rate, 1)
    return left, jnp.where(gained > 0, bound * kept + (add + wait) * (1 - kept), bound)


def _advance(
    kind: PhaseKind,
    clock: Clock,
    entry: RoundEvent,
    durations: RoundDurations,
    repeats: _Repeats,
    step: Array | None = None,
) -> Clock:
    """Times after an event: linear in times and durations. `step`: time until the event, where it is known."""
    dtype = clock.left.dtype
    before, rate, passed = (count.astype(dtype) for count in (entry.before, entry.rate, entry.passed))
    token, at = entry.token.astype(int), entry.at.astype(int)
    ends, how = entry.ends, entry.how
    now, tile_free, wait, left, bound, held, done = clock
    last = at == len(kind.single) - 1

    left, bound = _hand_over(left, bound, before, rate, durations.add)
    if step is None:
        step = _step(clock, entry, left, bound, durations)
    now = now + step
    wait = wait - step  # of no concern where the token is ready
    left = left - rate * step
    bound = bound - step + passed * durations.add
    held = held - step
    late = jnp.where(entry.late, durations.add, 0)
    trip, following = _rows(jnp.stack([durations.trip, jnp.append(durations.work[1:], 0)], axis=1), at)
    lag = late + trip
    if kind.queued >= 0:
        queues = ends & (at == kind.queued)
        tile_free = jnp.where(entry.ahead, tile_free - step, 0)
        turn = jnp.where(entry.held_up, tile_free - durations.hop_in, 0)  # waits for the token before it
        lag = jnp.where(queues, turn + lag, lag)
        tile_free = jnp.where(queues, turn + durations.hop_in + durations.mvm, tile_free)
    lag = jnp.where(last, jnp.asarray(jnp.inf, dtype), lag)
    index = jnp.arange(len(left))
    here = index == token
    wait = jnp.where(here & (ends | (how == WAITED)), jnp.where(ends, lag, 0), wait)
    left = jnp.where(here & ends, following * entry.stretch, left)
    held = jnp.where(here & ends & (how == CUT), durations.add, held)
    done = jnp.where(here & ends & last, done + (now + late) / repeats.runs, done)
    if MOST_REPEATS[kind] > 1:
        again = how == REPEATED
        now, tile_free = jnp.where(again, 0, now), jnp.where(again, 0, tile_free)
        wait = jnp.where(again & (index < repeats.tokens), index * durations.mvm, wait)
        left, bound, held = (
            jnp.where(again, first, value) for first, value in ((durations.work[0], left), (0, bound), (0, held))
        )
    return Clock(now, tile_free, wait, left, bound, held, done)


def _step(clock: Clock, entry: RoundEvent, left: Array, bound: Array, durations: RoundDurations) -> Array:
    """Time until an event, as a linear function of times and durations."""
    dtype = clock.left.dtype
    token, how = entry.token.astype(int), entry.how
    rate = entry.rate[token].astype(dtype)
    step = jnp.where(how == SERVED, left[token] / jnp.where(rate > 0, rate, 1), 0)
    step = step + jnp.where(how == CUT, bound[token] + entry.rounds.astype(dtype) * durations.add, 0)
    step = step + jnp.where(how == WAITED, clock.wait[token], 0)
    return step + jnp.where(how == RELEASED, clock.held[token], 0)


def walk_back(
    kind: PhaseKind, events: RoundEvent, durations: RoundDurations, tokens: Array, weights: Array
) -> RoundDurations:
    """Derivative of `sum(weights * done)` in every duration: the events, transposed, from the last to the first."""
    repeats = repeats_of(kind, tokens)
    zero, full = jnp.zeros((), weights.dtype), jnp.zeros_like(weights)
    origin = Clock(zero, zero, full, full, full, full, full)

    def event(state, entry):
        clock, gradient = state
        _, transpose = jax.vjp(lambda clock, d: _advance(kind, clock, entry, d, repeats), origin, durations)
        clock, more = transpose(clock)
        return (clock, jax.tree.map(jnp.add, gradient, more)), None

    end = origin._replace(done=weights)
    nothing = jax.tree.map(jnp.zeros_like, durations)
    (clock, gradient), _ = lax.scan(event, (end, nothing), events, reverse=True)
    released = jnp.sum(jnp.arange(len(weights)) * clock.wait)
    return gradient._replace(work=gradient.work.at[0].add(jnp.sum(clock.left)), mvm=gradient.mvm + released)
