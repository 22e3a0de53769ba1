"""Gate-output cache that keeps scores only: the ``C(L_max)`` largest per expert, sorted.

Enough for the semantics ``newest``: expert ``e`` admits the token that makes the sequence ``L`` long iff its score
exceeds the ``C(L)``-th largest older score. One threshold per expert would not do: after an eviction or a growth of the
capacity the next threshold is another stored score.

Unbatched; add sequences and layers with ``jax.vmap``. One step is two passes of integer minimum and maximum over
``[E, C_max]`` uint16, so a batch of 65,536 sequences of 16 experts and 128 scores needs 268 MB and no outputs.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from pimjax.array_typing import Array, ArrayLike
from pimjax.cache.capacity import CapacityLaw, capacity_at, largest_capacity
from pimjax.cache.score_keys import EMPTY
from pimjax.cache.step import GateOutputStep, incoming_keys, step_status
from pimjax.cache.traffic import THRESHOLD, CacheWidths, gate_output_step

_TOP = jnp.iinfo(jnp.uint16).max


@struct.dataclass
class ThresholdState:
    """State of one sequence in one layer.

    Attributes:
      keys: uint16 ``[E, K]``, the largest scores so far as :func:`~pimjax.cache.score_keys.score_keys`, descending;
        places not yet filled are ``EMPTY``. ``K`` >= ``C(L_max)``.
      num_tokens: int32 ``[]``, tokens seen; padding does not count.
    """

    keys: jax.Array
    num_tokens: jax.Array


def threshold_init(num_experts: int, list_length: int) -> ThresholdState:
    """An empty cache.

    Args:
      num_experts: static size of the expert axis.
      list_length: static ``K``, see :func:`pimjax.cache.capacity.list_length`.

    >>> threshold_init(4, 8).keys.shape
    (4, 8)
    """
    return ThresholdState(jnp.full((num_experts, list_length), EMPTY, jnp.uint16), jnp.int32(0))


def threshold_prefill(
    scores: Array, num_tokens: ArrayLike, num_experts: ArrayLike, *, list_length: int
) -> ThresholdState:
    """The state after a prompt, without stepping through it.

    Args:
      scores: ``[T, E]`` gate scores; rows from `num_tokens` on do not count.
      num_tokens: int ``[]``, ``P``.
      num_experts: int ``[]``, experts in use.
      list_length: static ``K``.

    >>> state = threshold_prefill(jnp.array([[0.5], [0.75], [0.25]]), 3, 1, list_length=2)
    >>> (state.keys & 0x7FFF).view(jnp.float16).tolist()
    [[0.75, 0.5]]
    """
    count = jnp.asarray(num_tokens, jnp.int32)
    keys, _ = incoming_keys(scores, num_experts, jnp.arange(scores.shape[0], dtype=jnp.int32) < count)
    descending = jnp.flip(jnp.sort(keys.T, axis=-1), axis=-1)
    held = min(list_length, scores.shape[0])
    lists = jax.lax.pad(descending[:, :held], jnp.uint16(EMPTY), [(0, 0, 0), (0, list_length - held, 0)])
    return ThresholdState(lists, count)


def threshold_step(
    state: ThresholdState,
    scores: Array,
    law: CapacityLaw,
    widths: CacheWidths | None = None,
    *,
    is_token: ArrayLike = True,
) -> tuple[ThresholdState, GateOutputStep]:
    """Admit or reject one new token.

    Args:
      state: the cache after the older tokens.
      scores: ``[E]`` gate scores of the new token; rounded to float16 here.
      law: capacity law.
      widths: bytes per value, for the traffic.
      is_token: bool ``[]``; false for padding, which changes nothing.

    Returns:
      The new state and the :class:`~pimjax.cache.step.GateOutputStep`. Status CAPACITY_EXCEEDED if ``C(L_max)`` does
      not fit the lists, NON_FINITE if a score is NaN.

    >>> from pimjax.cache.capacity import capacity_law
    >>> law = capacity_law(2, 1, max_tokens=4)
    >>> state, step = threshold_step(threshold_init(2, 2), jnp.array([0.75, 0.25]), law)
    >>> state, step = threshold_step(state, jnp.array([0.5, 0.5]), law)
    >>> step.admitted.tolist(), step.evicted.tolist()
    ([False, True], [False, True])
    """
    widths = CacheWidths() if widths is None else widths
    real = jnp.asarray(is_token)
    keys, in_use = incoming_keys(scores, law.num_experts, real)
    places = state.keys.shape[-1]
    length = state.num_tokens + real.astype(jnp.int32)
    capacity, limit = capacity_at(law, length), largest_capacity(law)
    grew = capacity > capacity_at(law, state.num_tokens)

    def entry(rank: Array) -> Array:  # the rank-th largest older score, counted from 1
        return jax.lax.dynamic_index_in_dim(state.keys, jnp.clip(rank - 1, 0, places - 1), axis=-1, keepdims=False)

    threshold, last = entry(capacity), entry(limit)
    admitted = (keys > threshold) & in_use
    taken = (keys > last) & in_use
    displaced = taken & (last != EMPTY)
    evicted = admitted & ~grew & (threshold != EMPTY)
    readmitted = ~admitted & grew & in_use
    gap = jnp.abs(keys.astype(jnp.int32) - threshold.astype(jnp.int32))
    # Insert after equals: each place keeps its score, takes the new one, or takes its left neighbour's.
    left = jax.lax.pad(state.keys, jnp.uint16(_TOP), [(0, 0, 0), (1, -1, 0)])
    inserted = jnp.minimum(jnp.maximum(state.keys, keys[:, None]), left)

    traffic = gate_output_step(
        THRESHOLD,
        widths,
        num_tokens=length,
        num_experts=law.num_experts,
        admitted=admitted.sum(dtype=jnp.int32),
        taken=taken.sum(dtype=jnp.int32),
        capacity=capacity,
        largest_capacity=limit,
    )
    score_bytes = jnp.asarray(widths.score_bytes).astype(float)
    step = GateOutputStep(
        admitted=admitted,
        hits=jnp.where(in_use, capacity - (admitted | grew), 0).astype(jnp.int32),
        evicted=evicted,
        readmitted=readmitted,
        taken=taken,
        near_tie=(gap <= 1) & in_use,
        capacity=capacity,
        bytes_read=jnp.where(real, traffic.read, 0.0),
        bytes_written=jnp.where(real, traffic.written, 0.0),
        bytes_stored=taken.sum(dtype=jnp.int32) * score_bytes,
        bytes_evicted=displaced.sum(dtype=jnp.int32) * score_bytes,
        bytes_resident=traffic.resident,
        status=step_status(scores, in_use, limit > places),
    )
    return ThresholdState(inserted, length), step


__all__ = ["ThresholdState", "threshold_init", "threshold_prefill", "threshold_step"]
