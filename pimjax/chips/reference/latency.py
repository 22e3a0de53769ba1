"""Latency of a run of the `reference` chip by `fluid` or `closed`: phases of all passes, attention, sampling.

Passes add exactly (the sampling of one starts the next), so phase lengths are needed for every number of tokens that
a pass of the run has. Without caches that is every length up to the last: one simulation of the longest pass gives
all of them, because low tokens go first and hardly notice later ones. Passes of one token are chains without
competition, in both fidelities. Tiers are ignored: blocks that share a tile are not made to wait for each other.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from pimjax.array_typing import Array
from pimjax.chips.reference import closed, fluid, phases
from pimjax.chips.reference.closed_forms import Attention, Run
from pimjax.chips.reference.fluid_gradient import summed_ends
from pimjax.chips.reference.phases import EMBEDDING, LAST, MIDDLE, Blocks, Phase, PhaseKind, Timings
from pimjax.config.build import Capacity, Design


class Latency(NamedTuple):
    """Latency of a run and the part of its slowest layer, ns."""

    total: Array
    slowest_layer: Array


class _Part(NamedTuple):
    """A phase and how often a pass goes through it."""

    phase: Phase
    kind: PhaseKind
    count: Array


class _Passes(NamedTuple):
    """Kinds of passes `[T + 3]`: prefill, first decode, decode of one token, then decodes of 1 ... T tokens."""

    tokens: Array
    mvm: Array
    count: Array


def latency(
    design: Design, b: Blocks, t: Timings, run: Run, attention: Attention, *, capacity: Capacity, fidelity: str
) -> Latency:
    """Latency of the run, ns.

    In `fluid` a derivative in the number of digital units is the closed form's (the simulated latency jumps at whole
    units); all others are its own.
    """
    units = design.hardware.num_digital_units
    passes = _list_passes(t, run, capacity.max_tokens)
    tail = phases.tail_ns(b, t, passes.mvm, units, design.plan.whole_ns)
    total = slowest = jnp.zeros_like(run.prompt)
    for part in _parts(design, b, t, capacity):
        each = closed.phase_ns(part.phase, part.kind, passes.mvm, passes.tokens, units)
        each = each + tail if part.kind is LAST else each
        summed = jnp.sum(passes.count * each)
        if fidelity == "fluid":
            summed = summed + _simulation_gap(part, passes, t, run, lax.stop_gradient(units))
        total = total + part.count * summed
        if part.kind is not EMBEDDING:
            slowest = jnp.maximum(slowest, jnp.where(part.count > 0, summed, 0))

    layers = jnp.asarray(design.model.num_layers, run.prompt.dtype)
    attention_ns = attention.compute_ns + attention.read_ns
    links = (run.passes - 1) * t.hop_in  # embedding reads of later passes
    return Latency(
        total=total + layers * attention_ns + links,
        slowest_layer=slowest + attention_ns,
    )


def _list_passes(t: Timings, run: Run, max_tokens: int) -> _Passes:
    one = jnp.ones_like(run.prompt)
    lengths = jnp.arange(1, max_tokens + 1, dtype=one.dtype)
    opened = jnp.minimum(run.decodes, 1)
    cached = jnp.where(run.go, run.decodes - opened, 0)
    uncached = ~run.go & (lengths > run.prompt + 1) & (lengths <= run.prompt + run.decodes)
    return _Passes(
        tokens=jnp.concatenate([jnp.stack([run.prompt, run.first_decode_tokens, one]), lengths]),
        mvm=jnp.concatenate([jnp.stack([t.mvm_first, t.mvm_first]), jnp.full(max_tokens + 1, t.mvm)]),
        count=jnp.concatenate([jnp.stack([run.prefill, opened, cached]), uncached.astype(one.dtype)]),
    )


def _parts(design: Design, b: Blocks, t: Timings, capacity: Capacity) -> tuple[_Part, ...]:
    """Phases of a pass; where no model has a second layer the middle ones are left out."""
    model, one = design.model, jnp.ones_like(b.d_cols)
    last_is_moe = jnp.asarray(model.last_layer_is_moe, bool)
    embedding = _Part(phases.embedding_phase(b, t), EMBEDDING, one)
    last = _Part(phases.layer_phase(design, b, t, moe=last_is_moe, kind=LAST), LAST, one)
    if capacity.max_layers == 1:
        return embedding, last
    layers, moe_layers = (jnp.asarray(x, one.dtype) for x in (model.num_layers, model.num_moe_layers))
    moe = moe_layers - last_is_moe.astype(one.dtype)
    middle = [
        _Part(phases.layer_phase(design, b, t, moe=flag, kind=MIDDLE), MIDDLE, count)
        for flag, count in ((True, moe), (False, layers - 1 - moe))
    ]
    return embedding, *middle, last


def _simulation_gap(part: _Part, passes: _Passes, t: Timings, run: Run, units: Array) -> Array:
    """What a simulation of the longest pass adds to the closed form, ns, summed over the passes."""
    phase, kind, _ = part
    lengths = passes.tokens[3:]
    size = min(len(lengths), fluid.MAX_SCANNED_TOKENS)
    # Passes of one length, wherever they stand in the run; one token alone is no matter of simulation.
    early = passes.count[:2, None] * (passes.tokens[:2, None] == lengths)
    weights = jnp.where(lengths > 1, passes.count[3:] + jnp.sum(early, axis=0), 0)
    longest = jnp.where(run.go, run.prefill * run.prompt, run.prompt + run.decodes)
    mvm = jnp.where(run.go | (run.decodes < 2), t.mvm_first, t.mvm)
    scanned, beyond = weights[:size], weights[size:]
    scanned = scanned.at[-1].add(jnp.sum(beyond))
    ends = summed_ends(phase, kind, mvm, jnp.minimum(longest, size), units, scanned)
    ends = ends + jnp.sum(beyond * (lengths[size:] - size)) * closed.steady_interval_ns(phase, mvm, units)
    formula = closed.phase_ns(phase, kind, jnp.full_like(lengths, mvm), lengths, units)
    return ends - jnp.sum(weights * formula)
