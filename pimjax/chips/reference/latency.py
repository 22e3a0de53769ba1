"""Latency of a run of the `reference` chip by `fluid` or `closed`: phases of all passes, attention, sampling.

Passes add exactly (the sampling of one starts the next), so phase lengths are needed for every number of tokens that
a pass of the run has. Without caches that is every length up to the last: one simulation of the longest pass gives
all of them, because low tokens go first and hardly notice later ones. Passes of one token are chains without
competition, in both fidelities. Tiers are ignored: blocks that share a tile are not made to wait for each other.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.chips.reference import closed, fluid, phases
from pimjax.chips.reference.closed_forms import Attention, Run
from pimjax.chips.reference.phases import EMBEDDING, LAST, MIDDLE, Blocks, Phase, PhaseKind, Timings
from pimjax.config.build import Capacity, Design


class Latency(NamedTuple):
    """Latency of a run and the part of its slowest layer, ns."""

    total: Array
    slowest_layer: Array


class _Parts(NamedTuple):
    """Times of passes of some token counts, ns, all of one shape."""

    embedding: Array
    middle_moe: Array  # one layer of each kind, without attention
    middle_dense: Array
    last: Array  # last layer with the tail


def latency(
    design: Design, b: Blocks, t: Timings, run: Run, attention: Attention, *, capacity: Capacity, fidelity: str
) -> Latency:
    """Latency of the run, ns.

    In `fluid` a derivative in the number of digital units is the closed form's (the simulated latency jumps at whole
    units); all others are its own.
    """
    one = jnp.ones_like(run.prompt)
    no_cache_decodes = jnp.where(run.go, 0, run.decodes)
    first, later = t.mvm_first, t.mvm

    # Passes with decode id 0: prefill and first decode. The others: lengths prompt + 2 ... prompt + decodes.
    prefill = _passes(design, b, t, first, run.prompt, capacity)
    opening = _passes(design, b, t, first, run.first_decode_tokens, capacity)
    single = _passes(design, b, t, later, one, capacity)
    lengths = jnp.arange(1, capacity.max_tokens + 1, dtype=one.dtype)
    rest = _passes(design, b, t, later, lengths, capacity)
    if fidelity == "fluid":
        longest = jnp.maximum(run.prefill * run.prompt, run.prompt * (no_cache_decodes > 0) + no_cache_decodes)
        mvm = jnp.where(no_cache_decodes > 1, later, first)
        exact = _simulated(design, b, t, mvm, longest, lengths, capacity)
        model = _passes(design, b, t, mvm, lengths, capacity)
        gap = jax.tree.map(lambda x, y: x - y, exact, model)  # [T]: what the simulation adds to the closed form

        def corrected(parts: _Parts, tokens: Array) -> _Parts:
            place = jnp.clip(tokens.astype(int) - 1, 0, capacity.max_tokens - 1)
            return jax.tree.map(lambda part, add: part + jnp.where(tokens > 1, add[place], 0), parts, gap)

        prefill = corrected(prefill, run.prompt)
        opening = corrected(opening, run.first_decode_tokens)
        rest = corrected(rest, lengths)

    opened = jnp.minimum(run.decodes, 1)
    cached = jnp.where(run.go, run.decodes - opened, 0)
    uncached = (lengths > run.prompt + 1) & (lengths <= run.prompt + no_cache_decodes)

    def over_passes(weigh) -> Array:
        return (
            run.prefill * weigh(prefill)
            + opened * weigh(opening)
            + cached * weigh(single)
            + jnp.sum(jnp.where(uncached, weigh(rest), 0))
        )

    model = design.model
    layers, moe = (jnp.asarray(x, one.dtype) for x in (model.num_layers, model.num_moe_layers))
    middle_moe = moe - jnp.asarray(model.last_layer_is_moe, one.dtype)
    middle_dense = layers - 1 - middle_moe
    attention_ns = attention.compute_ns + attention.read_ns

    def whole(parts: _Parts) -> Array:
        return parts.embedding + middle_moe * parts.middle_moe + middle_dense * parts.middle_dense + parts.last

    def slowest(parts: _Parts) -> Array:
        dense = jnp.where(middle_dense > 0, parts.middle_dense, 0)
        return jnp.maximum(jnp.maximum(jnp.where(middle_moe > 0, parts.middle_moe, 0), dense), parts.last)

    links = (run.passes - 1) * t.hop_in  # embedding reads of later passes
    return Latency(
        total=over_passes(whole) + layers * attention_ns + links,
        slowest_layer=over_passes(slowest) + attention_ns,
    )


def _phases(
    design: Design, b: Blocks, t: Timings, mvm: Array, capacity: Capacity
) -> tuple[tuple[Phase, PhaseKind], ...]:
    """Phases in the order of `_Parts`; without a second layer the middle ones are left out."""
    last_is_moe = jnp.asarray(design.model.last_layer_is_moe, bool)
    embedding = phases.embedding_phase(b, t, mvm)
    last = phases.layer_phase(design, b, t, mvm, moe=last_is_moe, kind=LAST)
    if capacity.max_layers == 1:
        return (embedding, EMBEDDING), (last, LAST)
    middle = [(phases.layer_phase(design, b, t, mvm, moe=moe, kind=MIDDLE), MIDDLE) for moe in (True, False)]
    return (embedding, EMBEDDING), *middle, (last, LAST)


def _parts(times: list[Array], tail: Array) -> _Parts:
    if len(times) == 2:
        zero = jnp.zeros_like(times[0])
        times = [times[0], zero, zero, times[1]]
    *others, last = times
    return _Parts(*others, last + tail)


def _passes(design: Design, b: Blocks, t: Timings, mvm: Array, tokens: Array, capacity: Capacity) -> _Parts:
    """Closed form of passes of `tokens` tokens each (any shape)."""
    units = design.hardware.num_digital_units
    times = [closed.phase_ns(phase, tokens, units) for phase, _ in _phases(design, b, t, mvm, capacity)]
    return _parts(times, phases.tail_ns(b, t, mvm, units, design.plan.whole_ns))


def _simulated(
    design: Design, b: Blocks, t: Timings, mvm: Array, longest: Array, lengths: Array, capacity: Capacity
) -> _Parts:
    """Fluid times of passes of 1 ... T tokens `[T]` from one simulation of the longest."""
    units = design.hardware.num_digital_units
    whole_units = jax.lax.stop_gradient(units)
    size = min(capacity.max_tokens, fluid.MAX_SCANNED_TOKENS)
    scanned = jnp.minimum(longest, size)
    tail = phases.tail_ns(b, t, mvm, units, design.plan.whole_ns)
    times = []
    for phase, kind in _phases(design, b, t, mvm, capacity):
        done = fluid.finish_times(phase, kind, scanned, whole_units, size=size)
        ends = jax.lax.cummax(done)
        if kind is LAST:  # tokens that end after the last one's tail
            ends = jnp.maximum(ends, done + tail) - tail
        beyond = jnp.maximum(lengths - size, 0)
        ends = jnp.concatenate([ends, jnp.broadcast_to(ends[-1:], (capacity.max_tokens - size,))])
        ends = ends + beyond * closed.steady_interval_ns(phase, whole_units)
        surrogate = closed.phase_ns(jax.lax.stop_gradient(phase), lengths, units)
        times.append(ends + surrogate - jax.lax.stop_gradient(surrogate))
    return _parts(times, tail)
