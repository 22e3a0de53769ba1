"""What one step of a gate-output cache returns, whatever its variant."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pimjax import status
from pimjax.array_typing import AnyArray, Array, ArrayLike
from pimjax.cache.score_keys import EMPTY, score_keys


class GateOutputStep(NamedTuple):
    """Decisions and traffic of one new token in one layer (unbatched; a scan adds a leading token axis).

    Attributes:
      admitted: bool ``[E]``, experts that must compute the new token. Their number varies from 0 to ``E``.
      hits: int32 ``[E]``, members of ``M_e(L)`` that were members before: work that the cache saves.
      evicted: bool ``[E]``, an old member lost its place.
      readmitted: bool ``[E]``, a rejected old token became a member because the capacity grew.
      taken: bool ``[E]``, the list that stores the scores took the new one.
      near_tie: bool ``[E]``, the score is within one float16 step of the threshold: only there may another arithmetic
        decide otherwise.
      capacity: int32 ``[]``, ``C(L)``.
      bytes_read, bytes_written: float ``[]``, memory accesses, see :mod:`pimjax.cache.traffic`.
      bytes_stored, bytes_evicted: float ``[]``, data that came to stay and that lost its place:
        what was ever stored = what was evicted + what is resident.
      bytes_resident: float ``[]``, memory that must be set aside for the cache at this length.
      status: int32 ``[]``, bits of :mod:`pimjax.status`: NaN scores, lists too short for the law.

    A padding token gives zeros everywhere but in `capacity` and `bytes_resident`.
    """

    admitted: Array
    hits: Array
    evicted: Array
    readmitted: Array
    taken: Array
    near_tie: Array
    capacity: Array
    bytes_read: Array
    bytes_written: Array
    bytes_stored: Array
    bytes_evicted: Array
    bytes_resident: AnyArray
    status: Array


def incoming_keys(scores: Array, num_experts: ArrayLike, is_token: ArrayLike) -> tuple[Array, Array]:
    """Keys of the new scores, :data:`EMPTY` for padding, and the mask of scores that count.

    Args:
      scores: ``[..., E]`` gate scores.
      num_experts: int ``[]``, experts in use; later columns are padding.
      is_token: bool of the leading axes; false rows are padding.

    Returns:
      uint16 and bool, both of the shape of `scores`.
    """
    column = jax.lax.broadcasted_iota(jnp.int32, scores.shape, scores.ndim - 1)
    rows = jnp.broadcast_to(jnp.expand_dims(jnp.asarray(is_token), -1), scores.shape)
    counts = (column < num_experts) & rows
    return jnp.where(counts, score_keys(scores), jnp.uint16(EMPTY)), counts


def step_status(scores: Array, counts: Array, too_short: ArrayLike) -> Array:
    """Status bits of a step, int32 ``[]``: a NaN among the scores that count, a state too short for its content."""
    nan = jnp.where((jnp.isnan(scores) & counts).any(), status.NON_FINITE, status.OK)
    short = jnp.where(jnp.asarray(too_short), status.CAPACITY_EXCEEDED, status.OK)
    return (nan | short).astype(jnp.int32)


def is_padding(scores: Array) -> Array:
    """Whether a row of scores is padding: -inf for every expert; bool of the leading axes."""
    return (scores == -jnp.inf).all(axis=-1)


__all__ = ["GateOutputStep", "incoming_keys", "is_padding", "step_status"]
