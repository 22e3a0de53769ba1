"""Attention of one sequence in one layer [ns, nJ]: linear in (query, key, channel), or the authors' fit.

`linear`: kappa d_att x visible (query, key) pairs, d_att = heads x head_dim; the heads are dealt to the M attention
units, so time shrinks by `ceil(heads / M) / heads`. `fit`: the authors' formula, half of A(L) for a causal pass and
A(L)/(2L) for a decode step with cached keys, on all units, without a window.

What else the units do, under the linear law alone, at the same kappa (a pair and channel are two multiplications):

- *Chunks*: a query sees its own chunk's tokens. *Sparse attention*: `min(L, top_k)` keys for each query, and the
  indexer's own pairs with all L of them, `heads x head_dim` channels each.
- *States* (linear attention, Mamba-2): all multiplications of a token, however long the sequence: four for each value
  of the state under the gated delta rule, three in Mamba-2, and those of the convolution and the gates.
- *Output gates*: a multiplication for each channel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax import arrays
from pimjax.array_typing import AnyArray, ArrayLike
from pimjax.arrays import blocks, where
from pimjax.cache.traffic import sum_visible_tokens, visible_tokens
from pimjax.config.build import Design
from pimjax.runs.mixers import Mixers, of_layers
from pimjax.runs.point import Point, point_of


class AttentionCost(NamedTuple):
    """One sequence, one layer; one pass or the sum over several."""

    time: AnyArray  # ns
    energy: AnyArray  # nJ
    pairs: AnyArray  # visible (query, key) pairs
    flops: AnyArray  # useful operations


class _Queries(NamedTuple):
    """What attention is proportional to."""

    count: AnyArray  # queries
    pairs: AnyArray  # visible (query, key) pairs: the linear law
    every: AnyArray  # pairs without any limit
    halves: AnyArray  # half of the lengths, or of their squares: the fit


def attention_cost(
    design: Design | Point, length: ArrayLike, *, whole: ArrayLike, mixer: ArrayLike = 0
) -> AttentionCost:
    """Attention at sequence length `length` (broadcasts with the flags).

    Args:
        design: leaves scalars.
        length: L, keys of the last query.
        whole: bool, all L queries (prefill, recomputed prefix); else the last one alone.
        mixer: whole number, row of the model's table of mixers.
    """
    point = point_of(design)
    keys, own = point.real(length), of_layers(point, mixer)
    if isinstance(whole, bool):
        each = _prefix(keys, own) if whole else _last(keys, own)
    else:
        each = _Queries(*(where(whole, a, b) for a, b in zip(_prefix(keys, own), _last(keys, own), strict=True)))
    return _cost(point, own, each, np.shape(mixer))


def _prefix(length: AnyArray, own: Mixers) -> _Queries:
    pairs = sum_visible_tokens(length * 0 + 1, length, own.window, chunked=own.is_chunked)
    return _Queries(length, pairs, length * (length + 1) / 2, length**2 / 2)


def _last(length: AnyArray, own: Mixers) -> _Queries:
    return _Queries(length * 0 + 1, visible_tokens(length, own.window, chunked=own.is_chunked), length, length / 2)


def attention_total(
    design: Design | Point, first: ArrayLike, last: ArrayLike, *, whole: ArrayLike, mixer: ArrayLike = 0
) -> AttentionCost:
    """The sum of :func:`attention_cost` over the lengths `first..last`, in closed form (0 if `last` < `first`)."""
    point = point_of(design)
    low, high, own = point.real(first), point.real(last), of_layers(point, mixer)
    window, chunked, lengths = own.window, own.is_chunked, (high - low + 1) * (high + low) / 2
    single = _Queries(high - low + 1, sum_visible_tokens(low, high, window, chunked=chunked), lengths, lengths / 2)
    every = _Queries(
        lengths,
        _pairs_up_to(high, own) - _pairs_up_to(low - 1, own),
        _triangles(high) - _triangles(low - 1),
        (_squares(high) - _squares(low - 1)) / 2,
    )
    none = high < low
    each = (where(none, 0.0, where(whole, b, a)) for a, b in zip(single, every, strict=True))
    return _cost(point, own, _Queries(*each), np.shape(mixer))


def _squares(last: AnyArray) -> AnyArray:
    return last * (last + 1) * (2 * last + 1) / 6


def _triangles(last: AnyArray) -> AnyArray:
    """Sum over lengths 1..last of L (L + 1) / 2."""
    return last * (last + 1) * (last + 2) / 6


def _pairs_up_to(last: AnyArray, own: Mixers) -> AnyArray:
    """Sum over lengths 1..last of the pairs of a causal pass; window 0 means none."""
    window = own.window
    knee = visible_tokens(last, window)
    beyond = last - knee  # lengths above the window: each has window more pairs than the one before
    square = knee * (knee + 1)
    limited = square * (knee + 2) / 6 + beyond * square / 2 + knee * beyond * (beyond + 1) / 2
    # chunks: those of whole ones, and of the rest with all whole ones before it
    size = arrays.larger(window, 1.0)
    count = arrays.whole_down(last / size)
    rest, one = last - count * size, size * (size + 1) / 2
    chunked = size * one * count * (count - 1) / 2 + count * _triangles(size) + rest * count * one + _triangles(rest)
    return where(own.is_chunked, chunked, limited)


def _cost(point: Point, own: Mixers, each: _Queries, shape: tuple[int, ...]) -> AttentionCost:
    hardware, model = point.hardware, point.model

    def share(heads: AnyArray) -> AnyArray:
        heads = arrays.larger(heads, 1.0)
        return blocks(heads, hardware.num_attention_units) / heads

    fit = model.d_model * hardware.attention_fit_linear + model.d_model**2 * hardware.attention_fit_quadratic
    linear, pairs, index = point.linear_attention, own.width * each.pairs, own.index_width * each.every
    own_pairs = pairs + own.products / 2 * each.count
    time = where(
        linear,
        hardware.attention_latency_ns_per_pair * (share(own.heads) * own_pairs + share(own.index_heads) * index),
        fit * each.halves,
    )
    energy = where(
        linear,
        hardware.attention_energy_nj_per_pair * (own_pairs + index),
        hardware.attention_fit_energy_nj * model.d_model * each.halves,
    )
    # of a pair: two products and three operations of the softmax; of the indexer's one product, and a weighted ReLU
    softmax = where(own.width > 0, 3.0, 0.0 * own.width)
    flops = (
        4 * pairs + softmax * each.pairs + 2 * own.products * each.count + 2 * (index + own.index_heads * each.every)
    )
    found = (time, energy, each.pairs, flops)
    if not shape:
        return AttentionCost(*found)
    full: Any = (arrays.spread(value, np.broadcast_shapes(np.shape(value), shape)) for value in found)
    return AttentionCost(*full)
