"""Closed form of a phase: the mean of a lower and an upper estimate of its length. Smooth up to max.

With w the unit time of one token over the units, h the time of a token that has the chip to itself, r the first
release and i the interval of releases (one MVM):

    lower = max(r + n w, r + (n - 1) i + h)        upper = r + (n - 1) max(i, w) + h

Source: docs/reference.md section F. Differentiable in every duration and in the number of units.
"""

from __future__ import annotations

import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.chips.reference.phases import Phase


def lone_token_ns(phase: Phase, units: Array) -> Array:
    """h: time of one token that has the chip to itself, from its release, ns."""
    return jnp.sum(phase.work / jnp.minimum(phase.width, units)) + jnp.sum(phase.delay)


def steady_interval_ns(phase: Phase, units: Array) -> Array:
    """Time between the ends of two tokens in the long run, ns: the closed rate."""
    return jnp.maximum(phase.mvm, jnp.sum(phase.work) / units)


def phase_ns(phase: Phase, tokens: Array, units: Array) -> Array:
    """Length of a phase of `tokens` tokens (any shape), ns.

    >>> one = jnp.ones(())
    >>> work, width, delay = jnp.array([132., 2880.]), jnp.array([1., 48.]), jnp.array([154., 0.])
    >>> phase = Phase(work, width, delay, mvm=130 * one, hop_in=12 * one, first=142 * one)
    >>> float(phase_ns(phase, 1 * one, 5 * one))
    1004.0
    """
    share = jnp.sum(phase.work) / units
    alone = lone_token_ns(phase, units)
    later = tokens - 1
    lower = jnp.maximum(tokens * share, later * phase.mvm + alone)
    upper = later * jnp.maximum(phase.mvm, share) + alone
    return phase.first + jnp.where(later > 0, (lower + upper) / 2, alone)
