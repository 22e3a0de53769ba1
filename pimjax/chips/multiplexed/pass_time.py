"""Passes of the multiplexed chip: embedding, then per layer attention, gate, experts and the next projections.

Attention is a barrier, so the time of a layer is what lies between two of them. Every array is `[points, L]`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax import arrays
from pimjax.array_typing import Array
from pimjax.chips.multiplexed.experts import After, Counts, ExpertTimes
from pimjax.chips.multiplexed.network import PassLinks
from pimjax.chips.multiplexed.phases import (
    Crew,
    Phases,
    Stream,
    attended,
    delayed,
    dense_phase,
    either,
    embedding_phase,
    gate_phase,
    in_turn,
    mixer_phase,
    project,
    through_units,
)
from pimjax.chips.parts.dual import apart, larger, pick, scan, smaller, spread, swapped, where
from pimjax.runs.point import Point


class Decode(NamedTuple):
    """What decode steps have and prefills have not; `[points, L]`, zeros and False at the prefill. Times in ns."""

    is_staggered: Array  # bool, tokens belong to different sequences: memory and attention one after the other
    is_stored: Array  # bool, experts run for the newest token alone; the others' outputs are stored
    streams: Array  # [] bool, keys and values are read while attention runs
    read: Any  # KV read of one sequence
    wait: Any  # the same from where it is asked for to where it is there
    write: Any  # posted writes of one sequence: they take the channel from reads ahead
    ahead: Any  # [] part of the reads that may be read ahead
    go_read: Any  # gate-output read of one sequence
    go_wait: Any


class Passes(NamedTuple):
    """The passes of a run."""

    point: Point
    phases: Phases
    crew: Crew
    counts: Counts
    after: After
    attention: Any  # of one sequence
    rows: Array  # embeddings that are read in the pass
    decode: Decode | None  # None: prefills only
    is_moe: Array  # bool
    feeds: Array | None  # bool, something feeds forward; None: in every layer
    is_last: Array  # bool, from the last layer on
    links: PassLinks | None = None  # between dies


class PassTimes(NamedTuple):
    """Times of every pass [ns]; `[points, L]`."""

    edges: Any  # embedding and first projections, the same in all layers
    layers: Any  # attention to the next attention; the last: to the end of the pass
    moe: Any  # t_ready to the last residual
    last_pass: Any  # t_ready to the end of the last pass


def work_after(phases: Phases, is_last: Array, is_staggered: Array | bool) -> After:
    """What follows each residual: the next layer's norm and projections; after the last layer nothing, unless every
    token is a sequence of its own and is sampled (`is_staggered`)."""
    return After(
        where(is_last, where(is_staggered, phases.norm, 0.0), phases.norm),
        where(is_last, where(is_staggered, phases.head_work, 0.0), phases.next_projection.work),
    )


def pass_times(passes: Passes, experts: ExpertTimes) -> PassTimes:
    """Times of all passes; `experts` with a barrier. Kernel."""
    phases, crew, after, decode = passes.phases, passes.crew, passes.after, passes.decode
    start = embedding_phase(phases, crew, passes.rows)
    go_read = late_read = None
    if decode is None:
        done = Stream(passes.attention, passes.attention)
    else:
        is_ahead = decode.ahead > 0
        done = _attention(passes, decode, where(is_ahead, 0.0, decode.read), where(is_ahead, 0.0, decode.wait))
        go_read = (where(decode.is_stored, 0.0, decode.go_read), where(decode.is_stored, 0.0, decode.go_wait))
        late_read = where(decode.is_stored, decode.go_wait, 0.0)

    done = _once(passes, done)
    tokens = attended(phases, crew, done)

    def gate(other: Any) -> tuple[Stream, Stream]:
        normed, gated = gate_phase(phases, crew, tokens, go_read, other)
        return normed, gated if late_read is None else delayed(gated, late_read)

    # alone, and with the work of the experts of earlier tokens
    normed, gated = gate(None)
    normed = _once(passes, normed)
    crowded = gate(experts.work)[1]
    experts, ready = _windows(passes, experts, gated, crowded)
    if decode is not None:
        experts = _with_stored(passes, decode, experts, gated, ready)

    dense = through_units(crew, dense_phase(phases, crew, normed), phases.residual + after.norm)
    if passes.feeds is not None:
        dense = either(passes.feeds, dense, mixer_phase(phases, crew, tokens, after.norm, after.work))
    fed = _once(passes, either(passes.is_moe, delayed(experts.normed, ready), dense))
    end = fed.last + phases.tail
    if decode is not None:
        heads = larger(fed.last, fed.first + phases.head_issue * crew.behind) + phases.tail - phases.norm
        end = where(decode.is_staggered, heads, end)
    moved = fed if passes.links is None else _moved(passes, passes.links, fed, ready)
    layers = where(passes.is_last, end, project(phases.next_projection, crew, moved).last)
    if decode is not None:
        exposed = _exposed_reads(passes, decode, start.last - phases.embed * crew.count, layers)
        waits = _attention(passes, decode, exposed, exposed).last - done.last
        layers = layers + where(decode.ahead > 0, waits, 0.0)
    return PassTimes(
        edges=start.last,
        layers=layers,
        moe=where(passes.is_moe, experts.residual, 0.0),
        last_pass=where(passes.is_moe, experts.last_pass, 0.0),
    )


def _once(passes: Passes, tokens: Stream) -> Stream:
    """The same, computed once in a compiled program, however many read it."""
    return Stream(*(apart(end, passes.point.one) for end in tokens))


def _moved(passes: Passes, links: PassLinks, done: Stream, ready: Any) -> Stream:
    """Tokens at the next layer's home: their link has carried the messages to experts on its side before."""
    free = ready + where(passes.is_moe, links.experts.before_move, 0.0)
    moved = in_turn(passes.crew, done, links.move_issue, links.move)
    return moved._replace(last=larger(moved.last, free + links.move_issue * passes.crew.behind + links.move))


def _attention(passes: Passes, decode: Decode, read: Any, wait: Any) -> Stream:
    """Queries, keys and values of the last token there, to attention done.

    `wait`: `read` from where it is asked for. Attention begins after it, or runs beside it where reads stream. Several
    sequences pass the memory's channels, then the attention units, one after the other; their queries arrive at the pace
    of projections and norms.
    """
    pace = passes.phases.pace
    behind = arrays.where(decode.is_staggered, passes.crew.behind, 0.0)
    slowest = larger(larger(pace, read), passes.attention)
    alone = where(decode.streams, larger(wait, passes.attention), wait + passes.attention)
    last = alone + (slowest - pace) * behind
    return Stream(last - slowest * behind, last)


def _exposed_reads(passes: Passes, decode: Decode, head_start: Any, layers: Any) -> Any:
    """Read time per sequence and layer that prefetching does not hide.

    At the start of layer l's attention the channel is ahead of what may be consumed by at most `ahead`; it reads on
    while the layer computes.
    """
    count = arrays.where(decode.is_staggered, passes.crew.count, 1.0)
    ahead = spread(decode.ahead, np.shape(count)[:1])

    def layer(stock: Any, step: tuple[Any, Any]) -> tuple[Any, Any]:
        read, free = step
        left = larger(read - stock, 0.0)
        return smaller(ahead, larger(stock - read, 0.0) + free), left

    free = larger(layers - decode.write * count, 0.0)
    stock = smaller(ahead, larger(pick(head_start, 0, -1), 0.0))
    left = scan(layer, stock, (swapped(decode.read * count), swapped(free)))[1]
    return swapped(left) / arrays.larger(count, 1.0)


def _windows(passes: Passes, experts: ExpertTimes, gated: Stream, crowded: Stream) -> tuple[ExpertTimes, Any]:
    """The expert phase from the first window's t_ready, and that t_ready.

    Later windows (single tokens where there is no barrier) wait for their own gates, which the earlier tokens' work
    in the expert phase delays (`crowded`): low tokens go first.
    """
    phases, crew, counts, decode = passes.phases, passes.crew, passes.counts, passes.decode
    barrier, limit, tokens = passes.point.design.plan.barrier, passes.point.plan.window_tokens, crew.count
    size = arrays.where(limit > 0, arrays.smaller(limit, tokens), tokens)
    size = arrays.where(barrier, size, 1.0)
    if decode is not None:
        size = arrays.where(decode.is_stored, tokens, size)
    part = (arrays.larger(size, 1.0) - 1) / crew.gaps  # of the way from the first gate to the last
    part = arrays.where(tokens > 1, part, 1.0)
    planning = where(barrier, phases.scheduler * size, 0.0)
    ready = gated.first + (gated.last - gated.first) * part + planning
    behind = (crowded.last - crowded.first) * (1 - part)
    own_slots = where(
        barrier,
        experts.slots * (size / arrays.larger(tokens, 1.0)),
        phases.stage * (arrays.larger(counts.last_token_slots, 1.0) - 1),
    )
    one = passes.point.one
    experts = experts._replace(last_pass=apart(experts.last_pass, one), residual=apart(experts.residual, one))
    late = larger(behind + own_slots + phases.load + phases.a_and_d - experts.last_pass, 0.0)
    late = where((part < 1) & (counts.makespan > 0), late, 0.0)
    last_pass = experts.last_pass + late
    residual = where(late > 0, larger(experts.residual, last_pass + experts.tail), experts.residual)
    # the wait already holds the norms of earlier tokens: only the last one's own is still to come
    done = larger(experts.normed.last, residual + passes.after.norm)
    waited = experts._replace(last_pass=last_pass, residual=residual, normed=Stream(experts.normed.first, done))
    return waited, ready


def _with_stored(passes: Passes, decode: Decode, experts: ExpertTimes, gated: Stream, ready: Any) -> ExpertTimes:
    """The newest token through its experts, all others through their residual and norm alone."""
    norm = passes.after.norm
    old = through_units(passes.crew, gated, passes.phases.residual + norm)
    first, last = old.first - ready, old.last - ready
    normed = Stream(first, larger(last, experts.residual + norm))
    return experts._replace(
        residual=where(decode.is_stored, larger(experts.residual, last - norm), experts.residual),
        normed=either(decode.is_stored, normed, experts.normed),
    )
