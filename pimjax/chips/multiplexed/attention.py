"""Attention of one sequence in one layer [ns, nJ]: linear in (query, key, channel), or the authors' fit.

`linear`: kappa d_att x visible (query, key) pairs, d_att = heads x head_dim; the heads are dealt to the M attention
units, so time shrinks by `ceil(heads / M) / heads`. `fit`: the authors' formula, half of A(L) for a causal pass and
A(L)/(2L) for a decode step with cached keys, on all units, without a window.
"""

from __future__ import annotations

from typing import NamedTuple

from pimjax.array_typing import AnyArray, ArrayLike
from pimjax.arrays import blocks, where
from pimjax.cache.traffic import sum_visible_tokens, visible_tokens
from pimjax.config.build import Design
from pimjax.runs.point import Point, point_of


class AttentionCost(NamedTuple):
    """One sequence, one layer; one pass or the sum over several."""

    time: AnyArray  # ns
    energy: AnyArray  # nJ
    pairs: AnyArray  # visible (query, key) pairs


class _Queries(NamedTuple):
    """What attention is proportional to."""

    pairs: AnyArray  # visible (query, key) pairs: the linear law
    halves: AnyArray  # half of the lengths, or of their squares: the fit


def attention_cost(
    design: Design | Point, length: ArrayLike, *, whole: ArrayLike, windowed: ArrayLike
) -> AttentionCost:
    """Attention at sequence length `length` (broadcasts with the flags).

    Args:
        design: leaves scalars.
        length: L, keys of the last query.
        whole: bool, all L queries (prefill, recomputed prefix); else the last one alone.
        windowed: bool, the layer sees the sliding window only.
    """
    point = point_of(design)
    keys = point.real(length)
    window = where(windowed, point.model.sliding_window, 0.0)
    if isinstance(whole, bool):
        each = _whole(keys, window) if whole else _Queries(visible_tokens(keys, window), keys / 2)
    else:
        pairs = where(whole, _whole(keys, window).pairs, visible_tokens(keys, window))
        each = _Queries(pairs, where(whole, keys**2, keys) / 2)
    return _cost(point, each)


def _whole(length: AnyArray, window: AnyArray) -> _Queries:
    return _Queries(sum_visible_tokens(length * 0 + 1, length, window), length**2 / 2)


def attention_total(
    design: Design | Point, first: ArrayLike, last: ArrayLike, *, whole: ArrayLike, windowed: ArrayLike
) -> AttentionCost:
    """The sum of :func:`attention_cost` over the lengths `first..last`, in closed form (0 if `last` < `first`)."""
    point = point_of(design)
    low, high = point.real(first), point.real(last)
    window = where(windowed, point.model.sliding_window, 0.0)
    single = sum_visible_tokens(low, high, window), (high - low + 1) * (high + low) / 4
    every = _pairs_up_to(high, window) - _pairs_up_to(low - 1, window), (_squares(high) - _squares(low - 1)) / 2
    none = high < low
    return _cost(point, _Queries(*(where(none, 0.0, where(whole, b, a)) for a, b in zip(single, every, strict=True))))


def _squares(last: AnyArray) -> AnyArray:
    return last * (last + 1) * (2 * last + 1) / 6


def _pairs_up_to(last: AnyArray, window: AnyArray) -> AnyArray:
    """Sum over lengths 1..last of the pairs of a causal pass; window 0 means none."""
    knee = visible_tokens(last, window)
    beyond = last - knee  # lengths above the window: each has window more pairs than the one before
    square = knee * (knee + 1)
    return square * (knee + 2) / 6 + beyond * square / 2 + knee * beyond * (beyond + 1) / 2


def _cost(point: Point, each: _Queries) -> AttentionCost:
    hardware, model = point.hardware, point.model
    width = model.num_heads * model.head_dim
    share = blocks(model.num_heads, hardware.num_attention_units) / model.num_heads
    fit = model.d_model * hardware.attention_fit_linear + model.d_model**2 * hardware.attention_fit_quadratic
    linear = point.linear_attention
    pairs = width * each.pairs
    time = where(linear, hardware.attention_latency_ns_per_pair * share * pairs, fit * each.halves)
    energy = where(
        linear,
        hardware.attention_energy_nj_per_pair * pairs,
        hardware.attention_fit_energy_nj * model.d_model * each.halves,
    )
    return AttentionCost(time, energy, each.pairs)
