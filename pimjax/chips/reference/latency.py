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
from jax import lax

from pimjax.array_typing import Array
from pimjax.chips.reference import closed, fluid, phases
from pimjax.chips.reference.closed_forms import Attention, Run
from pimjax.chips.reference.fluid_gradient import summed_ends
from pimjax.chips.reference.phases import EMBEDDING, LAST, MIDDLE, Blocks, Phase, PhaseKind, Timings
from pimjax.config.build import Capacity, Design


class _Passes(NamedTuple):
    """Kinds of passes `[T + 3]`: prefill, first decode, decode of one token, then decodes of 1 ... T tokens."""

    tokens: Array
    mvm: Array
    count: Array


def latency(
    design: Design, b: Blocks, t: Timings, run: Run, attention: Attention, *, capacity: Capacity, fidelity: str
) -> Array:
    """Latency of the run, ns.

    In `fluid` a derivative in the number of digital units is the closed form's (the simulated latency jumps at whole
    units); all others are its own.
    """
    units = design.hardware.num_digital_units
    passes = _list_passes(t, run, capacity.max_tokens)
    tail = phases.tail_ns(b, t, passes.mvm, units, design.plan.whole_ns)

    def summed(phase: Phase, kind: PhaseKind) -> Array:
        each = closed.phase_ns(phase, kind, passes.mvm, passes.tokens, units)
        total = jnp.sum(passes.count * each)
        if fidelity == "fluid":
            # whole units are simulated, one at least; of a fraction of one the closed form tells the difference
            simulated = jnp.maximum(lax.stop_gradient(units), 1)
            total = total + _simulation_gap(phase, kind, passes, t, run, simulated)
        return total

    last_is_moe = jnp.asarray(design.model.last_layer_is_moe, bool)
    embedding = summed(phases.embedding_phase(b, t), EMBEDDING)
    last = summed(phases.layer_phase(design, b, t, moe=last_is_moe, kind=LAST), LAST)
    total = embedding + last + jnp.sum(passes.count * tail)
    layers = jnp.asarray(design.model.num_layers, run.prompt.dtype)
    if capacity.max_layers > 1:  # layers before the last: [experts, dense]
        moe = jnp.asarray(design.model.num_moe_layers, run.prompt.dtype) - last_is_moe
        middle = jax.vmap(lambda moe: summed(phases.layer_phase(design, b, t, moe=moe, kind=MIDDLE), MIDDLE))
        total = total + jnp.sum(jnp.stack([moe, layers - 1 - moe]) * middle(jnp.array([True, False])))
    links = (run.passes - 1) * t.hop_in  # embedding reads of later passes
    return total + layers * (attention.compute_ns + attention.read_ns) + links


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


def _simulation_gap(phase: Phase, kind: PhaseKind, passes: _Passes, t: Timings, run: Run, units: Array) -> Array:
    """What a simulation of the longest pass adds to the closed form, ns, summed over the passes."""
    lengths = passes.tokens[3:]
    size = min(len(lengths), fluid.MAX_SCANNED_TOKENS)
    # Passes of one length, wherever they stand in the run; one token alone is no matter of simulation.
    early = passes.count[:2, None] * (passes.tokens[:2, None] == lengths[None, :])
    weights = jnp.where(lengths > 1, passes.count[3:] + jnp.sum(early, axis=0), 0)
    longest = jnp.where(run.go, run.prefill * run.prompt, run.prompt + run.decodes)
    mvm = jnp.where(run.go | (run.decodes < 2), t.mvm_first, t.mvm)
    scanned, beyond = weights[:size], weights[size:]
    scanned = scanned.at[-1].add(jnp.sum(beyond))
    ends = summed_ends(phase, kind, mvm, jnp.minimum(longest, size), units, scanned)
    ends = ends + jnp.sum(beyond * (lengths[size:] - size)) * closed.steady_interval_ns(phase, mvm, units)
    formula = closed.phase_ns(phase, kind, jnp.full_like(lengths, mvm), lengths, units)
    return ends - jnp.sum(weights * formula)
