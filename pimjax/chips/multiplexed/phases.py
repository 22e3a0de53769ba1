"""Closed forms for the phases around attention and experts: n tokens through links, crossbars and digital units.

Tokens come in order. A digital unit that takes a token's addition keeps the token through its norm (low token first),
so the units are c servers of one service time, and the start of token i is `max(arrival_i, finish_{i-c})`; for evenly
spaced arrivals this has a closed form (:func:`last_start`). With digital accumulation the work of a token spreads over
the units and the queue is taken as fluid. All passes of a run and all layers at once: every array is `[points, L]`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax import arrays
from pimjax.array_typing import Array
from pimjax.arrays import subroutine, whole_down, whole_up
from pimjax.chips.multiplexed.durations import Durations
from pimjax.chips.parts.dual import chosen, larger, spread, where


class Stream(NamedTuple):
    """n tokens that reach a point in order, nearly evenly: when the first and the last arrive [ns]."""

    first: Any
    last: Any


class LinearPhase(NamedTuple):
    """One linear layer as a phase sees it [ns]."""

    issue: Any  # the next token may follow
    flight: Any  # without digital additions
    chains: Any  # digital additions of a token alone
    work: Any  # unit time of a token

    @property
    def span(self) -> Any:
        """A token alone."""
        return self.flight + self.chains


class Projection(NamedTuple):
    """Queries, keys and values (or what a state reads) of one layer [ns]."""

    span: Any  # of a token alone
    issue: Any
    work: Any  # unit time of a token


class Phases(NamedTuple):
    """Times that the phases of a pass read, all `[points, L]` [ns]; `is_digital` `[]`."""

    is_digital: Array  # partial sums run on the digital units (accumulate = digital and something to add)
    adds_in_links: Array  # [] no result of an expert waits for a digital unit
    add: Any
    combine_add: Any
    norm: Any
    gate: Any
    residual: Any  # addition, after the norm of what is added where there is one
    ending: Any  # the same behind the experts, 0 where the links add
    before_gate: Any  # residual, norms and digital router
    embed: Any
    embed_flight: Any
    projection: Projection
    next_projection: Projection  # of the layer after
    pace: Any  # queries after the first one follow at this interval
    output: LinearPhase
    router: LinearPhase
    dense_up: LinearPhase
    dense_down: LinearPhase
    dense_act: Any
    dense_act_job: Any
    head_issue: Any
    head_work: Any
    tail: Any  # last residual of a sequence to its sampled token
    load: Any
    stage: Any
    flight: Any  # t_A + t_D, and what a pass takes longer because its strips share few units
    a_and_d: Any
    scheduler: Any
    partial: Any  # unit time of one expert pass: partial sums and activation


def phases_of(time: Durations, units: Array, shape: tuple[int, int], *, mixer: Array, is_moe: Array) -> Phases:
    """What phases read of the durations, on `units` digital units. `mixer`, `is_moe`: `[L]` of the layers."""

    def linear(name: str) -> LinearPhase:
        issue, flight, chain, strips = getattr(time, name)
        return LinearPhase(issue, flight, chain * whole_up(strips / units), chain * strips)

    def everywhere(tree: Any) -> Any:
        return type(tree)(*map(everywhere, tree)) if isinstance(tree, tuple) else spread(tree, shape)

    def by_layer(tree: Any, index: Any) -> Any:
        """Of each kind of mixer -> of each layer."""
        return type(tree)(*(chosen(value, index) for value in tree))

    qkv, expand, head = linear("qkv"), linear("expand"), linear("head")
    projection = Projection(qkv.span + expand.span, larger(qkv.issue, expand.issue), qkv.work + expand.work)
    own = by_layer(projection, mixer)
    following = by_layer(projection, arrays.join([mixer[1:], mixer[-1:]]))
    residual = time.add + time.post_norms
    is_digital = time.qkv.chain + time.up_chain + time.down_chain + time.act_job > 0
    spread_out = {
        "add": time.add,
        "combine_add": time.combine_add,
        "norm": time.norm,
        "gate": time.gate,
        "residual": residual,
        "ending": time.ending,
        "before_gate": residual + time.norm + time.router_digital,
        "embed": time.embed,
        "embed_flight": time.embed_flight,
        "projection": own,
        "next_projection": following,
        "pace": larger(chosen(qkv.issue, mixer), (residual + time.norm + own.work) / units),
        "output": by_layer(linear("output"), mixer),
        "router": linear("router"),
        "dense_up": linear("dense_up"),
        "dense_down": linear("dense_down"),
        "dense_act": time.dense_act,
        "dense_act_job": time.dense_act_job,
        "head_issue": head.issue,
        "head_work": head.work,
        "tail": time.norm + head.span + time.link + time.sampling,
        "load": time.load,
        "stage": time.stage,
        "flight": flight_of(time, units),
        "a_and_d": time.a + time.d,
        "scheduler": time.scheduler,
        "partial": partial_work(time),
    }
    made = {name: everywhere(value) for name, value in spread_out.items()}
    # the experts' input may have a norm of its own
    first = where(spread(is_moe, shape), spread(time.first_norm, shape), 0.0)
    made["before_gate"] = made["before_gate"] + first
    return Phases(is_digital=is_digital, adds_in_links=(time.combine_add <= 0) & ~is_digital, **made)


def flight_of(time: Durations, units: Array) -> Any:
    """t_A + t_D of a pass whose strips share the units."""
    extra = time.up_chain * (whole_up(time.up_strips / units) - 1)
    extra = extra + time.down_chain * (whole_up(time.down_strips / units) - 1)
    return time.a + time.d + extra


def partial_work(time: Durations) -> Any:
    """Digital-unit time of one pass: partial sums and activation (0 with local accumulation)."""
    return time.up_chain * time.up_strips + time.act_job + time.down_chain * time.down_strips


class Crew(NamedTuple):
    """n tokens of each pass and the c digital units they queue for; `[points, L]`.

    A fraction of a unit interpolates between the whole numbers beside it, so the derivative in `units` is the gain of
    one more unit.
    """

    count: Array  # n
    behind: Array  # n - 1
    gaps: Array  # n - 1, at least 1
    units: Array
    rounds: Array  # whole services before the last token's
    rest: Array  # arrivals that it waits for after them


def crew_of(count: Array, units: Array) -> Crew:
    """The crew of `count` tokens and `units` units, arrays of one shape."""
    gaps = arrays.larger(count - 1, 1.0)
    behind = arrays.larger(count, 1.0) - 1
    low = arrays.larger(whole_down(units), 1.0)  # below one unit the line through one and two goes on
    between = units - low
    fewer, more = whole_down(behind / low), whole_down(behind / (low + 1))
    busy = fewer * low
    return Crew(
        count=count,
        behind=behind,
        gaps=gaps,
        units=units,
        rounds=fewer + between * (more - fewer),
        rest=behind - busy - between * (more * (low + 1) - busy),
    )


@subroutine
def last_start(crew: Crew, arrivals: Stream, service: Any) -> Any:
    """When the last token starts its service on one of the units, first come first served.

    >>> import numpy as np
    >>> float(last_start(crew_of(np.float64(4), np.float64(2)), Stream(0.0, 0.0), 10.0))
    10.0
    """
    spacing = (arrivals.last - arrivals.first) / crew.gaps
    late = spacing * crew.rest + service * crew.rounds
    return larger(arrivals.last, arrivals.first + late)


def through_units(crew: Crew, arrivals: Stream, service: Any, extra: Any = None) -> Stream:
    """`service` ns on one unit for each token; `extra` ns of other work per token slows the rounds."""
    start = last_start(crew, arrivals, service if extra is None else service + extra)
    return Stream(arrivals.first + service, start + service)


@subroutine
def in_turn(crew: Crew, arrivals: Stream, issue: Any, span: Any) -> Stream:
    """Every token takes `span`; the next one follows `issue` later, or when it arrives."""
    return Stream(arrivals.first + span, larger(arrivals.last, arrivals.first + issue * crew.behind) + span)


def through_linear(crew: Crew, arrivals: Stream, linear: LinearPhase) -> Stream:
    """One linear layer; its digital additions (if any) are a fluid queue."""
    there = in_turn(crew, arrivals, linear.issue, linear.flight)
    return in_turn(crew, there, linear.work / crew.units, linear.chains)


def delayed(arrivals: Stream, time: Any) -> Stream:
    """Every token later by `time`."""
    return Stream(arrivals.first + time, arrivals.last + time)


def either(condition: Any, first: Stream, second: Stream) -> Stream:
    """`first` where `condition`, else `second`."""
    return Stream(*(where(condition, a, b) for a, b in zip(first, second, strict=True)))


def project(projection: Projection, crew: Crew, normed: Stream) -> Stream:
    """Queries, keys and values; unit time for partial sums is counted where the tokens come from."""
    return in_turn(crew, normed, projection.issue, projection.span)


def embedding_phase(phases: Phases, crew: Crew, rows: Array) -> Stream:
    """Pass start to queries, keys and values of the first layer. `rows`: embeddings that are read in the pass; those of
    the tokens before are there."""
    first = where(rows >= crew.count, phases.embed + phases.embed_flight, 0.0)
    read = Stream(first, where(rows > 0, phases.embed * rows + phases.embed_flight, 0.0))
    service = phases.add + phases.norm
    queued = through_units(crew, read, service)
    fluid = in_turn(crew, read, (service + phases.projection.work) / crew.units, service)
    return project(phases.projection, crew, either(phases.is_digital, fluid, queued))


class Attended(NamedTuple):
    """Tokens after attention."""

    done: Stream
    projected: Stream  # through the output's crossbars, which are no digital units


def attended(phases: Phases, crew: Crew, done: Stream) -> Attended:
    """Tokens whose attention is done, and on from there through the output projection."""
    return Attended(done, in_turn(crew, done, phases.output.issue, phases.output.flight))


def _beyond_output(phases: Phases, crew: Crew, tokens: Attended, service: Any, queued: Stream, work: Any) -> Stream:
    """Attention to the end of a `service` on the units: `queued`, or where partial sums crowd the units at the pace of all
    `work` of a token on them."""
    output = phases.output
    issue = larger(output.issue, (output.work + service + work) / crew.units)
    return either(phases.is_digital, in_turn(crew, tokens.done, issue, output.span + service), queued)


def gate_phase(
    phases: Phases, crew: Crew, tokens: Attended, go_read: tuple[Any, Any] | None, other: Any
) -> tuple[Stream, Stream]:
    """Attention to the norm before the feed-forward part, and to the gate.

    Args:
        phases, crew: the pass.
        tokens: after attention.
        go_read: gate-output read of each token, one after the other: time on the channels, time until it is there;
            None: none.
        other: further unit time per token that comes before later tokens' gates; None: none.
    """
    service, router = phases.before_gate, phases.router
    extra = phases.gate if other is None else phases.gate + other
    queued = through_units(crew, tokens.projected, service, extra)
    normed = _beyond_output(phases, crew, tokens, service, queued, router.work + extra)
    routed = in_turn(crew, normed, router.issue, router.span)
    if go_read is not None:  # one channel
        routed = in_turn(crew, routed, *go_read)
    return normed, delayed(routed, phases.gate)


def mixer_phase(phases: Phases, crew: Crew, tokens: Attended, norm: Any, work: Any) -> Stream:
    """Attention to the next layer's norm (`norm`) where nothing feeds forward; `work`: partial sums after it."""
    service = phases.residual + norm
    queued = through_units(crew, tokens.projected, service)
    return _beyond_output(phases, crew, tokens, service, queued, work)


def dense_phase(phases: Phases, crew: Crew, normed: Stream) -> Stream:
    """Dense feed-forward block up to its residual's addition (exclusive)."""
    hidden = delayed(through_linear(crew, normed, phases.dense_up), phases.dense_act)
    hidden = through_units(crew, hidden, phases.dense_act_job)
    return through_linear(crew, hidden, phases.dense_down)
