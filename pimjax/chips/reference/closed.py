"""Closed form of a phase: the mean of a lower and an upper estimate of its length. Smooth up to max.

With w the unit time of one token over the units, h the time of a token that has the chip to itself, r the first
release and i the interval of releases (one MVM):

    lower = max(r + n w, r + (n - 1) i + h)        upper = r + (n - 1) max(i, w) + h

Source: docs/reference.md section F. Differentiable in every duration and in the number of units.
"""

from __future__ import annotations

import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.chips.reference.phases import Phase, PhaseKind


def lone_token_ns(phase: Phase, kind: PhaseKind, mvm: Array, units: Array) -> Array:
    """h: time of one token that has the chip to itself, from its release, ns (the shape of `mvm`)."""
    return jnp.sum(phase.work / jnp.minimum(phase.width, units)) + jnp.sum(phase.delay) + kind.trips * mvm


def steady_interval_ns(phase: Phase, mvm: Array, units: Array) -> Array:
    """Time between the ends of two tokens in the long run, ns: the closed rate."""
    return jnp.maximum(mvm, jnp.sum(phase.work) / units)


def phase_ns(phase: Phase, kind: PhaseKind, mvm: Array, tokens: Array, units: Array) -> Array:
    """Length of a phase of `tokens` tokens, ns; `mvm` and `tokens` of one shape.

    >>> from pimjax.chips.reference.phases import EMBEDDING
    >>> one = jnp.ones(())
    >>> work, width, delay = jnp.array([132., 2880.]), jnp.array([1., 48.]), jnp.array([24., 0.])
    >>> phase = Phase(work, width, delay, hop_in=12 * one, first=12 * one)
    >>> float(phase_ns(phase, EMBEDDING, 130 * one, 1 * one, 5 * one))
    1004.0
    """
    share = jnp.sum(phase.work) / units
    alone = lone_token_ns(phase, kind, mvm, units)
    later = tokens - 1
    lower = jnp.maximum(tokens * share, later * mvm + alone)
    upper = later * jnp.maximum(mvm, share) + alone
    return phase.first + mvm + jnp.where(later > 0, (lower + upper) / 2, alone)
