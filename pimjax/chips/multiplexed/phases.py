"""Closed forms for the phases around attention and experts: n tokens through links, crossbars and digital units.

Tokens come in order. A digital unit that takes a token's addition keeps the token through its norm (low token first),
so the units are c servers of one service time, and the start of token i is `max(arrival_i, finish_{i-c})`; for evenly
spaced arrivals this has a closed form (:func:`last_start`). With digital accumulation the work of a token spreads over
the units and the queue is taken as fluid.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.chips.multiplexed.durations import Durations, LinearTime
from pimjax.chips.multiplexed.smooth import larger, whole_down, whole_up


class Stream(NamedTuple):
    """n tokens that reach a point in order, nearly evenly: when the first and the last arrive [ns]."""

    first: Array
    last: Array


def last_start(count: Array, arrivals: Stream, service: Array, units: Array) -> Array:
    """When the last of `count` tokens starts its service on one of `units` servers, first come first served.

    A fraction of a unit interpolates between the whole numbers beside it, so the derivative in `units` is the gain of
    one more unit.

    >>> one = jnp.float32(1.0)
    >>> float(last_start(4 * one, Stream(0 * one, 0 * one), 10 * one, 2 * one))
    10.0
    """
    behind = jnp.maximum(count - 1, 0)
    spacing = (arrivals.last - arrivals.first) / jnp.maximum(behind, 1)
    low = whole_down(units)

    def delay(servers: Array) -> Array:
        rounds = whole_down(behind / servers)
        return (behind - rounds * servers) * spacing + rounds * service

    late = delay(low) + (units - low) * (delay(low + 1) - delay(low))
    return larger(arrivals.last, arrivals.first + late)


def through_units(count: Array, arrivals: Stream, service: Array, units: Array, extra: Array) -> Stream:
    """`service` ns on one unit for each token; `extra` ns of other work per token slows the rounds."""
    start = last_start(count, arrivals, service + extra, units)
    return Stream(arrivals.first + service, start + service)


def through_linear(count: Array, arrivals: Stream, linear: LinearTime, units: Array) -> Stream:
    """One linear layer; its digital additions (if any) are a fluid queue."""
    behind = jnp.maximum(count - 1, 0)
    first = arrivals.first + linear.flight
    last = larger(arrivals.last, arrivals.first + behind * linear.issue) + linear.flight
    span = linear.chain * whole_up(linear.strips / units)
    work = linear.chain * linear.strips / units
    return Stream(first + span, larger(last, first + behind * work) + span)


def delayed(arrivals: Stream, time: Array) -> Stream:
    """Every token later by `time`."""
    return Stream(arrivals.first + time, arrivals.last + time)


def shared_channel(count: Array, arrivals: Stream, time: Array) -> Stream:
    """Every token through one channel that takes `time` per token."""
    behind = jnp.maximum(count - 1, 0)
    return Stream(
        arrivals.first + time,
        larger(arrivals.last, arrivals.first + behind * time) + time,
    )


def span_of(linear: LinearTime, units: Array) -> Array:
    """One token alone through a linear layer [ns]."""
    return linear.flight + linear.chain * whole_up(linear.strips / units)


def work_of(linear: LinearTime) -> Array:
    """Digital-unit time of one token in a linear layer [ns]."""
    return linear.chain * linear.strips


def is_digital(time: Durations) -> Array:
    """Whether partial sums run on the digital units (accumulate = digital and something to add)."""
    return time.qkv.chain + time.up_chain + time.down_chain + time.act_job > 0


def crowd(count: Array, arrivals: Stream, span: Array, issue: Array, work: Array, units: Array) -> Stream:
    """A whole phase as one fluid queue: `span` ns for a token alone, `work` ns of unit time per token."""
    behind = jnp.maximum(count - 1, 0)
    pace = larger(issue, work / units)
    return Stream(arrivals.first + span, larger(arrivals.last, arrivals.first + behind * pace) + span)


def project(time: Durations, count: Array, normed: Stream, units: Array) -> Stream:
    """Queries, keys and values; unit time for partial sums is counted where the tokens come from."""
    behind = jnp.maximum(count - 1, 0)
    span = span_of(time.qkv, units) + span_of(time.expand, units)
    issue = larger(time.qkv.issue, time.expand.issue)
    return Stream(normed.first + span, larger(normed.last, normed.first + behind * issue) + span)


def projection_work(time: Durations) -> Array:
    """Unit time of a token's queries, keys and values [ns]; 0 with local accumulation."""
    return work_of(time.qkv) + work_of(time.expand)


def embedding_phase(time: Durations, count: Array, units: Array) -> Stream:
    """Pass start to queries, keys and values of the first layer."""
    behind = jnp.maximum(count - 1, 0)
    read = delayed(Stream(time.embed, time.embed * (behind + 1)), time.embed_flight)
    service = time.add + time.norm
    queued = through_units(count, read, service, units, 0 * time.add)
    fluid = crowd(count, read, service, 0 * time.add, service + projection_work(time), units)
    return project(time, count, either(is_digital(time), fluid, queued), units)


def either(condition: Array, first: Stream, second: Stream) -> Stream:
    """`first` where `condition`, else `second`."""
    return Stream(*(jnp.where(condition, a, b) for a, b in zip(first, second, strict=True)))


def gate_phase(
    time: Durations, count: Array, attended: Stream, units: Array, go_read: Array, other: Array
) -> tuple[Stream, Stream]:
    """Attention to the norm before the feed-forward part, and to the gate.

    Args:
        time: durations.
        count: n.
        attended: tokens after attention.
        units: c.
        go_read: gate-output read of each token, one after the other.
        other: further unit time per token that comes before later tokens' gates.
    """
    service = time.add + time.norm + time.router_digital
    output = through_linear(count, attended, time.output._replace(chain=0 * time.add), units)
    queued = through_units(count, output, service, units, time.gate + other)
    span = span_of(time.output, units) + service
    work = work_of(time.output) + service + work_of(time.router) + time.gate + other
    normed = either(is_digital(time), crowd(count, attended, span, time.output.issue, work, units), queued)
    behind = jnp.maximum(count - 1, 0)
    through = span_of(time.router, units)
    routed = Stream(normed.first + through, larger(normed.last, normed.first + behind * time.router.issue) + through)
    return normed, delayed(shared_channel(count, routed, go_read), time.gate)


def dense_phase(time: Durations, count: Array, normed: Stream, units: Array) -> Stream:
    """Dense feed-forward block up to its residual's addition (exclusive)."""
    hidden = delayed(through_linear(count, normed, time.dense_up, units), time.dense_act)
    hidden = through_units(count, hidden, time.dense_act_job, units, 0 * time.add)
    return through_linear(count, hidden, time.dense_down, units)


def tail_time(time: Durations, units: Array) -> Array:
    """Last residual of a sequence to its sampled token [ns]."""
    return time.norm + span_of(time.head, units) + time.link + time.sampling
