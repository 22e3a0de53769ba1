"""Closed form of a phase: bound by the digital units, or by the releases of tokens. Smooth up to min and max.

With w the unit time of one token over the units, h the time of a token that has the chip to itself, r the first
release and i the interval of releases (one MVM), a phase of n > 1 tokens takes

    r + max(n w + h min(a + b min(i / w, 1), g (n - 1)), (n - 1) i + h)

The term with h is the time that units idle while all tokens are at their tiles or in single operations: bursts of
early tokens hold back the singles of later ones, so tokens march in groups. Its shape has three constants per kind of
phase, fitted to the event engine (`python benchmarks/validation/reference_error.py --fit` repeats the fit). One token takes r + h.

Differentiable in every duration and in the number of units; homogeneous in the durations.
"""

from __future__ import annotations

import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.chips.reference.phases import EMBEDDING, LAST, MIDDLE, Phase, PhaseKind

IDLE_SHAPE: dict[PhaseKind, tuple[float, float, float]] = {
    EMBEDDING: (-0.1, 2.9, 0.15),
    LAST: (0.25, 0.7, 0.38),
    MIDDLE: (0.3, 0.7, 0.3),
}
"""a, b, g of each kind of phase."""


def lone_token_ns(phase: Phase, kind: PhaseKind, mvm: Array, units: Array) -> Array:
    """h: time of one token that has the chip to itself, from its release, ns (the shape of `mvm`)."""
    return jnp.sum(phase.work / jnp.minimum(phase.width, units)) + jnp.sum(phase.delay) + kind.trips * mvm


def steady_interval_ns(phase: Phase, mvm: Array, units: Array) -> Array:
    """Time between the ends of two tokens in the long run, ns: the closed rate."""
    return jnp.maximum(mvm, jnp.sum(phase.work) / units)


def phase_ns(phase: Phase, kind: PhaseKind, mvm: Array, tokens: Array, units: Array) -> Array:
    """Length of a phase of `tokens` tokens, ns; `mvm` and `tokens` of one shape.

    >>> one = jnp.ones(())
    >>> work, width, delay = jnp.array([132., 2880.]), jnp.array([1., 48.]), jnp.array([24., 0.])
    >>> phase = Phase(work, width, delay, lead=width, hop_in=12 * one, add=12 * one, first=12 * one)
    >>> float(phase_ns(phase, EMBEDDING, 130 * one, 1 * one, 5 * one))
    1004.0
    """
    share = jnp.sum(phase.work) / units
    alone = lone_token_ns(phase, kind, mvm, units)
    later = tokens - 1
    a, b, g = IDLE_SHAPE[kind]
    idle = alone * jnp.minimum(a + b * jnp.minimum(mvm / share, 1), g * later)
    busy = jnp.maximum(tokens * share + idle, later * mvm + alone)
    return phase.first + mvm + jnp.where(later > 0, busy, alone)
