"""Attention of one sequence in one layer [ns, nJ]: linear in (query, key, channel), or the authors' fit.

`linear`: kappa d_att x visible (query, key) pairs, d_att = heads x head_dim; the heads are dealt to the M attention
units, so time shrinks by `ceil(heads / M) / heads`. `fit`: the authors' formula, half of A(L) for a causal pass and
A(L)/(2L) for a decode step with cached keys, on all units, without a window.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from pimjax.array_typing import Array, ArrayLike
from pimjax.cache.traffic import sum_visible_tokens, visible_tokens
from pimjax.chips.multiplexed.smooth import as_real, blocks
from pimjax.config.build import Design
from pimjax.config.plan import ATTENTION_LAWS


class AttentionCost(NamedTuple):
    """One sequence, one layer; one pass or the sum over several."""

    time: Array  # ns
    energy: Array  # nJ
    pairs: Array  # visible (query, key) pairs


def attention_cost(design: Design, length: ArrayLike, *, whole: ArrayLike, windowed: ArrayLike) -> AttentionCost:
    """Attention at sequence length `length` (broadcasts with the flags).

    Args:
        design: leaves scalars.
        length: L, keys of the last query.
        whole: bool, all L queries (prefill, recomputed prefix); else the last one alone.
        windowed: bool, the layer sees the sliding window only.
    """
    length = jnp.asarray(length, jnp.asarray(design.hardware.mvm_latency_ns).dtype)
    window = jnp.where(jnp.asarray(windowed), design.model.sliding_window, 0)
    every = sum_visible_tokens(jnp.ones_like(length), length, window).astype(length.dtype)
    pairs = jnp.where(jnp.asarray(whole), every, visible_tokens(length, window))
    return _cost(design, pairs, jnp.where(jnp.asarray(whole), length**2, length) / 2)


def attention_total(
    design: Design, first: ArrayLike, last: ArrayLike, *, whole: ArrayLike, windowed: ArrayLike
) -> AttentionCost:
    """The sum of :func:`attention_cost` over the lengths `first..last`, in closed form (0 if `last` < `first`)."""
    dtype = jnp.asarray(design.hardware.mvm_latency_ns).dtype
    low, high = jnp.asarray(first, dtype), jnp.asarray(last, dtype)
    window = jnp.where(jnp.asarray(windowed), design.model.sliding_window, 0).astype(dtype)
    single = sum_visible_tokens(low, high, window).astype(dtype)
    squares = _squares(high) - _squares(low - 1)
    pairs = jnp.where(jnp.asarray(whole), _pairs_up_to(high, window) - _pairs_up_to(low - 1, window), single)
    halves = jnp.where(jnp.asarray(whole), squares, (high - low + 1) * (high + low) / 2) / 2
    none = high < low
    return _cost(design, jnp.where(none, 0, pairs), jnp.where(none, 0, halves))


def _squares(last: Array) -> Array:
    return last * (last + 1) * (2 * last + 1) / 6


def _pairs_up_to(last: Array, window: Array) -> Array:
    """Sum over lengths 1..last of the pairs of a causal pass; window 0 means none."""
    knee = jnp.where(window > 0, jnp.minimum(last, window), last)
    beyond = last - knee  # lengths above the window: each has window more pairs than the one before
    return knee * (knee + 1) * (knee + 2) / 6 + beyond * knee * (knee + 1) / 2 + knee * beyond * (beyond + 1) / 2


def _cost(design: Design, pairs: Array, halves: Array) -> AttentionCost:
    hardware = as_real(design.hardware, design.hardware.mvm_latency_ns)
    model = as_real(design.model, hardware.mvm_latency_ns)
    width = model.num_heads * model.head_dim
    share = blocks(model.num_heads, hardware.num_attention_units) / model.num_heads
    fit = model.d_model * hardware.attention_fit_linear + model.d_model**2 * hardware.attention_fit_quadratic
    is_linear = design.plan.attention == ATTENTION_LAWS.index("linear")
    time = jnp.where(is_linear, hardware.attention_latency_ns_per_pair * width * pairs * share, fit * halves)
    energy = jnp.where(
        is_linear,
        hardware.attention_energy_nj_per_pair * width * pairs,
        hardware.attention_fit_energy_nj * model.d_model * halves,
    )
    return AttentionCost(time, energy, pairs)
