"""Bytes that the caches hold and move, per layer and sequence: every formula in one place, on NumPy and JAX arrays.

Lengths, widths and counts are data (scalars or arrays that broadcast); results are floating point because a run's
bytes exceed 32-bit integers. Sources: the definitions of the gate-output cache's ``full`` and ``threshold`` variants
are this project's; ``authors`` is the accounting of the simulator behind arXiv 2602.10254 (see
:mod:`pimjax.cache.reference_traffic`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from flax import struct

from pimjax import arrays, checks
from pimjax.array_typing import AnyArray, ArrayLike
from pimjax.arrays import namespace, where
from pimjax.cache.reference_traffic import reference_gate_output_bytes
from pimjax.config.workload import GO_CACHES
from pimjax.errors import ConfigError

NONE, FULL, THRESHOLD, AUTHORS = (GO_CACHES.index(name) for name in ("none", "full", "threshold", "authors"))


class Traffic(NamedTuple):
    """Bytes of one layer and sequence: `read` and `written` by the step or prefill, `resident` after it.

    Two caches together: ``jax.tree.map(jnp.add, one, other)``.
    """

    read: AnyArray
    written: AnyArray
    resident: AnyArray


@struct.dataclass
class CacheWidths:
    """Bytes per value and the width of an output row; scalars, data.

    Attributes:
      score_bytes: ``b_s``, per gate score.
      activation_bytes: ``b_a``, per activation value.
      d_model: ``d``, values per output row.
    """

    score_bytes: ArrayLike = 2
    activation_bytes: ArrayLike = 1
    d_model: ArrayLike = 4096


_COUNT = checks.numbers(0)
_VARIANT = checks.numbers(0, len(GO_CACHES) - 1)
_WIDTHS = checks.instance(CacheWidths, "CacheWidths")


def _float(value: Any) -> AnyArray:
    """A floating-point value: as it is, or float64 on the host and JAX's default in kernels."""
    if not arrays.on_device(value):
        return np.asarray(value, np.float64)[()]
    return value if value.dtype.kind == "f" else value.astype(float)


def _known(value: Any) -> AnyArray:
    """A value as it is in kernels, NumPy's on the host."""
    return value if arrays.on_device(value) else np.asarray(value)[()]


def _select(variant: ArrayLike, full: Traffic, threshold: Traffic, authors: Traffic) -> Traffic:
    is_full, is_threshold, is_authors = (variant == code for code in (FULL, THRESHOLD, AUTHORS))
    return Traffic(
        *(
            where(is_full, a, where(is_threshold, b, where(is_authors, c, 0.0 * c)))
            for a, b, c in zip(full, threshold, authors, strict=True)
        )
    )


def list_update_accesses(largest_capacity: ArrayLike) -> AnyArray:
    """Scores read, and as many written, when a sorted list of ``C_max`` takes one: ``ceil(log2(C_max + 1))``.

    >>> list_update_accesses(np.array([1, 3, 4, 128])).tolist()
    [1, 2, 3, 8]
    """
    return arrays.bit_length(largest_capacity)


def rows_held(num_tokens: ArrayLike, num_experts: ArrayLike, capacity: ArrayLike, score: ArrayLike, row: ArrayLike):
    """Bytes of the full cache after ``L`` tokens: all scores, and each expert's rows: ``L E b_s + E C(L) d b_a``.

    >>> rows_held(8, 4, 2, 2, 64)
    576
    """
    return num_experts * (num_tokens * score + capacity * row)


def lists_held(num_experts: ArrayLike, entries: ArrayLike, score: ArrayLike):
    """Bytes of the threshold lists: ``E C_max b_s``, or as many entries as there are.

    >>> lists_held(16, 16, 2)
    512
    """
    return num_experts * entries * score


@checks.checked(
    ConfigError,
    variant=_VARIANT,
    widths=_WIDTHS,
    prompt_tokens=_COUNT,
    num_experts=_COUNT,
    capacity=_COUNT,
    largest_capacity=_COUNT,
)
def gate_output_prefill(
    variant: ArrayLike,
    widths: CacheWidths,
    *,
    prompt_tokens: ArrayLike,
    num_experts: ArrayLike,
    capacity: ArrayLike,
    largest_capacity: ArrayLike,
) -> Traffic:
    """Gate-output cache traffic of a prefill of ``P`` tokens.

    Full: writes ``P E b_s + E C(P) d b_a``. Threshold: writes the ``min(P, C_max)`` best scores of each expert once.
    Authors and none: nothing.

    Args:
      variant: index into ``GO_CACHES`` ("none", "full", "threshold", "authors").
      widths: bytes per value.
      prompt_tokens: ``P``.
      num_experts: ``E``.
      capacity: ``C(P)``.
      largest_capacity: ``C_max = C(L_max)``.

    Returns:
      bytes; the threshold lists are allocated whole.

    >>> bytes_ = gate_output_prefill(
    ...     FULL, CacheWidths(2, 1, 64), prompt_tokens=8, num_experts=4, capacity=2, largest_capacity=4
    ... )
    >>> float(bytes_.written), float(bytes_.resident)
    (576.0, 576.0)
    """
    prompt, experts = _float(prompt_tokens), _float(num_experts)
    score, row = _float(widths.score_bytes), _float(widths.d_model) * widths.activation_bytes
    most = _float(largest_capacity)
    held = rows_held(prompt, experts, _float(capacity), score, row)
    lists = lists_held(experts, arrays.smaller(prompt, most), score)
    zero = 0.0 * held
    return _select(
        variant,
        Traffic(zero, held, held),
        Traffic(zero, lists, lists_held(experts, most, score)),
        Traffic(zero, zero, zero),
    )


@checks.checked(
    ConfigError,
    variant=_VARIANT,
    widths=_WIDTHS,
    num_tokens=_COUNT,
    num_experts=_COUNT,
    admitted=_COUNT,
    taken=_COUNT,
    capacity=_COUNT,
    largest_capacity=_COUNT,
)
def gate_output_step(
    variant: ArrayLike,
    widths: CacheWidths,
    *,
    num_tokens: ArrayLike,
    num_experts: ArrayLike,
    admitted: ArrayLike,
    taken: ArrayLike,
    capacity: ArrayLike,
    largest_capacity: ArrayLike,
) -> Traffic:
    """Gate-output cache traffic of the decode step that brings the sequence to ``L`` tokens.

    Full: reads ``L E b_s``, writes ``E b_s + n d b_a``, holds ``L E b_s + E C(L) d b_a``. Threshold: reads ``E b_s``,
    and each list that takes the score adds ``ceil(log2(C_max + 1)) b_s`` read and written; holds ``E C_max b_s``.
    Authors: reads ``L E + E d`` (one byte per value), writes nothing.

    Args:
      variant: index into ``GO_CACHES``.
      widths: bytes per value.
      num_tokens: ``L``, the new token included.
      num_experts: ``E``.
      admitted: ``n``, experts that admit the new token (a count, or its mean ``E C(L)/L``).
      taken: threshold lists that store the new score (a count, or its mean ``E min(1, C_max/L)``).
      capacity: ``C(L)``.
      largest_capacity: ``C_max = C(L_max)``.

    >>> counts = dict(num_tokens=33, num_experts=16, admitted=4, taken=5, capacity=9, largest_capacity=16)
    >>> step = gate_output_step(THRESHOLD, CacheWidths(), **counts)
    >>> float(step.read), float(step.written), float(step.resident)
    (82.0, 50.0, 512.0)
    """
    length, experts = _float(num_tokens), _float(num_experts)
    score, row = _float(widths.score_bytes), _float(widths.d_model) * widths.activation_bytes
    updates = _float(taken) * list_update_accesses(largest_capacity) * score
    authors = reference_gate_output_bytes(length, num_experts, widths.d_model)
    return _select(
        variant,
        Traffic(
            length * experts * score,
            experts * score + _float(admitted) * row,
            rows_held(length, experts, _float(capacity), score, row),
        ),
        Traffic(experts * score + updates, updates, lists_held(experts, _float(largest_capacity), score)),
        Traffic(authors, 0.0 * authors, authors),
    )


def summed_outputs(widths: CacheWidths, num_tokens: ArrayLike, *, new_tokens: ArrayLike = 1) -> Traffic:
    """Traffic of the gate-output cache without KV cache: the MoE outputs, summed over experts, of all tokens.

    Attention recomputes all ``L`` tokens, so a step reads their ``L`` summed outputs (``L d b_a``) instead of running
    their experts; each new token's row is written once. A prefill (`new_tokens` = ``L``) reads nothing.

    >>> float(summed_outputs(CacheWidths(d_model=64), 8).read)
    512.0
    """
    length, new = _float(num_tokens), _float(new_tokens)
    row = _float(widths.d_model) * widths.activation_bytes
    return Traffic(where(new == length, 0.0, length * row), new * row, length * row)


def kv_prefill(token_bytes: ArrayLike, prompt_tokens: ArrayLike, window: ArrayLike = 0) -> Traffic:
    """KV traffic of a prefill: every token's keys and values written once; attention reads them on the chip.

    Args:
      token_bytes: bytes per token and layer, see :func:`pimjax.cache.kv_layout.kv_token_bytes`.
      prompt_tokens: ``P``.
      window: tokens that a windowed layer sees; 0: no window. Older rows are overwritten.

    >>> float(kv_prefill(8192, 32).written)
    262144.0
    """
    per_token = _float(token_bytes)
    written = per_token * _float(prompt_tokens)
    return Traffic(0.0 * written, written, per_token * visible_tokens(prompt_tokens, window))


def kv_step(token_bytes: ArrayLike, num_tokens: ArrayLike, window: ArrayLike = 0) -> Traffic:
    """KV traffic of the decode step at length ``L``: ``min(L, window)`` tokens read, one written.

    >>> float(kv_step(8192, 33).read)
    270336.0
    """
    per_token = _float(token_bytes)
    seen = per_token * visible_tokens(num_tokens, window)
    return Traffic(seen, per_token + 0.0 * seen, seen)


@checks.checked(ConfigError, num_tokens=_COUNT, window=_COUNT)
def visible_tokens(num_tokens: ArrayLike, window: ArrayLike = 0, *, chunked: ArrayLike = False) -> AnyArray:
    """Tokens whose keys a query at length ``L`` sees: ``min(L, window)``; window 0 means all.

    Args:
      num_tokens: ``L``.
      window: the limit.
      chunked: bool, the query sees its own chunk of `window` tokens instead: ``(L - 1) mod window + 1``.

    >>> visible_tokens(np.array([3, 9]), 4).tolist(), visible_tokens(np.array([3, 8, 9]), 4, chunked=True).tolist()
    ([3, 4], [3.0, 4.0, 1.0])
    """
    seen = _limited(num_tokens, window)
    if isinstance(chunked, bool) and not chunked:
        return seen
    length, size = num_tokens + 0 * seen, arrays.larger(window + 0 * seen, 1)
    before = length - 1
    return where(_known(chunked) & (window > 0), before - size * arrays.whole_down(before / size) + 1, seen)


def _limited(num_tokens: ArrayLike, window: ArrayLike) -> AnyArray:
    shape = np.broadcast_shapes(np.shape(num_tokens), np.shape(window))  # explicit: no rank promotion
    if arrays.on_device(num_tokens, window):
        num_tokens, window = namespace(num_tokens, window).broadcast_arrays(num_tokens, window)
    length, limit = arrays.spread(num_tokens, shape), arrays.spread(window, shape)
    return where(limit > 0, namespace(length, limit).minimum(length, limit), length)


def sum_visible_tokens(
    first: ArrayLike, last: ArrayLike, window: ArrayLike = 0, *, chunked: ArrayLike = False
) -> AnyArray:
    """Closed form of the sum of ``visible_tokens(L)`` for ``L = first..last`` (0 if `last` < `first`), floating point.

    >>> float(sum_visible_tokens(2, 5, 4)), float(sum_visible_tokens(2, 6, 4, chunked=True))
    (13.0, 12.0)
    """
    low, high, width = _float(first), _float(last), _float(window)
    limited = _sum_limited(low, high, width)
    if isinstance(chunked, bool) and not chunked:
        return limited
    own = chunk_pairs(high, width) - chunk_pairs(low - 1, width)
    return where(_known(chunked) & (width > 0), where(high < low, 0.0, own), limited)


def chunk_pairs(length: AnyArray, chunk: AnyArray) -> AnyArray:
    """(query, key) pairs of a causal pass over ``L`` tokens in chunks: of n whole ones and the rest.

    >>> float(chunk_pairs(np.float64(6), np.float64(4)))  # 1 + 2 + 3 + 4, 1 + 2
    13.0
    """
    size = arrays.larger(chunk, 1.0)
    whole = arrays.whole_down(length / size)
    rest = length - whole * size
    return whole * (size * (size + 1) / 2) + rest * (rest + 1) / 2


def _sum_limited(low: AnyArray, high: AnyArray, width: AnyArray) -> AnyArray:
    cap = where(width > 0, width, high)
    knee = arrays.larger(arrays.smaller(high, cap), low - 1)  # lengths up to here are below the window
    rising = (knee - low + 1) * (knee + low) / 2
    return where(high < low, 0.0, rising + (high - knee) * cap)


class DecodeWork(NamedTuple):
    """Tokens that a decode step processes, and which stored rows it reads.

    Attributes:
      attention_queries: tokens that go through q/k/v/o and attention.
      router_tokens: tokens that go through the router.
      expert_tokens: tokens offered to the experts.
      reads_kv: bool, keys and values of old tokens come from the cache.
      reads_summed_outputs: bool, MoE outputs of old tokens come from the cache.
    """

    attention_queries: AnyArray
    router_tokens: AnyArray
    expert_tokens: AnyArray
    reads_kv: AnyArray
    reads_summed_outputs: AnyArray


def decode_work(
    num_tokens: ArrayLike, *, kv_cache: ArrayLike, go_cache: ArrayLike, expert_choice: ArrayLike
) -> DecodeWork:
    """What the cache flags save in a decode step at length ``L``.

    Expert choice: without a gate-output cache the router needs all hidden states, so all ``L`` tokens are recomputed
    and the KV cache saves nothing; gate-output alone: attention and router for ``L`` tokens, experts for one; both: one
    token. Token choice: the gate-output cache is void, the KV cache alone means one token.

    Args:
      num_tokens: ``L``.
      kv_cache, go_cache, expert_choice: bools, data (`go_cache`: any variant but "none").

    >>> work = decode_work(33, kv_cache=False, go_cache=True, expert_choice=True)
    >>> int(work.attention_queries), int(work.expert_tokens), bool(work.reads_summed_outputs)
    (33, 1, True)
    """
    length, kv, go, chooses = (_known(value) for value in (num_tokens, kv_cache, go_cache, expert_choice))
    kv, chooses, go = kv > 0, chooses > 0, (go > 0) & (chooses > 0)
    single = kv & (go | ~chooses)
    one = length * 0 + 1
    attention = where(single, one, length)
    experts = where(single | go, one, length)
    return DecodeWork(attention, attention, experts, single, go & ~kv)


__all__ = [
    "AUTHORS",
    "FULL",
    "NONE",
    "THRESHOLD",
    "CacheWidths",
    "DecodeWork",
    "Traffic",
    "decode_work",
    "gate_output_prefill",
    "gate_output_step",
    "kv_prefill",
    "kv_step",
    "list_update_accesses",
    "lists_held",
    "rows_held",
    "sum_visible_tokens",
    "summed_outputs",
    "visible_tokens",
]
