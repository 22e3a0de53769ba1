"""Gate-output cache that keeps every score and the expert outputs of the current members.

Needed by the semantics ``revise`` (old rows follow the sets ``M_e(L)``; a study of one layer) and as the exact record
of who is a member. Decisions only: the bookkeeping holds scores and masks, never an output vector. Unbatched.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from pimjax.array_typing import Array, ArrayLike
from pimjax.cache.capacity import CapacityLaw, capacity_at, largest_capacity
from pimjax.cache.score_keys import EMPTY
from pimjax.cache.step import GateOutputStep, incoming_keys, step_status
from pimjax.cache.traffic import FULL, CacheWidths, gate_output_step
from pimjax.trace.routers import expert_choice

#: Index that stands for "no token".
NO_TOKEN = -1


@struct.dataclass
class FullState:
    """State of one sequence in one layer.

    Attributes:
      keys: uint16 ``[T, E]``, scores of all tokens as :func:`~pimjax.cache.score_keys.score_keys`; ``EMPTY`` where no
        token has come yet.
      member: bool ``[T, E]``, the sets ``M_e(L)``: the ``C(L)`` tokens with the largest scores, the older of equals.
      stored: bool ``[T, E]``, members whose expert output is in the cache. A member that was re-admitted under
        ``newest`` has none: its expert never runs again.
      num_tokens: int32 ``[]``, ``L``.
    """

    keys: jax.Array
    member: jax.Array
    stored: jax.Array
    num_tokens: jax.Array


def full_init(num_experts: int, max_tokens: int) -> FullState:
    """An empty cache for sequences of up to `max_tokens` tokens (both static).

    >>> full_init(4, 8).keys.shape
    (8, 4)
    """
    none = jnp.zeros((max_tokens, num_experts), bool)
    return FullState(jnp.full((max_tokens, num_experts), EMPTY, jnp.uint16), none, none, jnp.int32(0))


def full_prefill(scores: Array, num_tokens: ArrayLike, law: CapacityLaw, *, max_tokens: int) -> FullState:
    """The state after a prompt: every expert runs on its members ``M_e(P)``.

    Args:
      scores: ``[T, E]`` gate scores, ``T`` <= `max_tokens`; rows from `num_tokens` on do not count.
      num_tokens: int ``[]``, ``P``.
      law: capacity law.
      max_tokens: static size of the state.

    >>> from pimjax.cache.capacity import capacity_law
    >>> scores = jnp.array([[0.9, 0.1], [0.8, 0.2], [0.9, 0.1]])
    >>> full_prefill(scores, 3, capacity_law(2, 1, max_tokens=4), max_tokens=4).member.astype(int).tolist()
    [[1, 1], [0, 1], [1, 0], [0, 0]]
    """
    count = jnp.asarray(num_tokens, jnp.int32)
    rows = scores.shape[0]
    keys, in_use = incoming_keys(scores, law.num_experts, jnp.arange(rows, dtype=jnp.int32) < count)
    member = expert_choice(scores, capacity_at(law, count), num_tokens=count) & in_use
    below = ((0, max_tokens - rows), (0, 0))
    member = jnp.pad(member, below)
    return FullState(jnp.pad(keys, below, constant_values=EMPTY), member, member, count)


class FullStep(NamedTuple):
    """A :class:`~pimjax.cache.step.GateOutputStep`, and who left and came back: tokens int32 ``[E]``, -1 for none."""

    step: GateOutputStep
    evicted_token: Array
    readmitted_token: Array


def _first(mask: Array) -> Array:
    return jnp.where(mask.any(axis=0), jnp.argmax(mask, axis=0), NO_TOKEN).astype(jnp.int32)


def _last(mask: Array) -> Array:
    index = mask.shape[0] - 1 - jnp.argmax(mask[::-1], axis=0)
    return jnp.where(mask.any(axis=0), index, NO_TOKEN).astype(jnp.int32)


def weakest_member(state: FullState) -> Array:
    """The member that leaves next: smallest score, the youngest of equals; int32 ``[E]``, -1 where there is none."""
    held = jnp.where(state.member, state.keys, jnp.iinfo(jnp.uint16).max)
    return _last(state.member & (held == held.min(axis=0)[None, :]))


def best_rejected(state: FullState) -> Array:
    """The old token that enters next: largest score, the oldest of equals; int32 ``[E]``, -1 where there is none."""
    outside = jnp.where(state.member, EMPTY, state.keys)
    best = outside.max(axis=0)
    return _first((outside == best[None, :]) & (outside != EMPTY))


def full_step(
    state: FullState,
    scores: Array,
    law: CapacityLaw,
    widths: CacheWidths | None = None,
    *,
    revise: ArrayLike = False,
    is_token: ArrayLike = True,
) -> tuple[FullState, FullStep]:
    """Admit or reject one new token, and bring the sets ``M_e`` up to date.

    If the capacity grew, the set gains the new token or else re-admits the best rejected old one. If not, an admitted
    token replaces the smallest member, the youngest of equals.

    Args:
      state: the cache after the older tokens.
      scores: ``[E]`` gate scores of the new token; rounded to float16 here.
      law: capacity law.
      widths: bytes per value, for the traffic.
      revise: bool, data; semantics "revise": a re-admission runs the expert on the old token (one pass, whose hidden
        state must be cached and whose output is stored). False, "newest": its output stays as it was.
      is_token: bool ``[]``; false for padding, which changes nothing.

    Returns:
      The new state and a :class:`FullStep`. Status CAPACITY_EXCEEDED if the state is full, NON_FINITE for a NaN score.

    >>> from pimjax.cache.capacity import capacity_law
    >>> law = capacity_law(2, 1, max_tokens=4)
    >>> state, _ = full_step(full_init(2, 4), jnp.array([0.75, 0.25]), law)
    >>> state, out = full_step(state, jnp.array([0.5, 0.5]), law)
    >>> out.step.admitted.tolist(), out.evicted_token.tolist()
    ([False, True], [-1, 0])
    """
    widths = CacheWidths() if widths is None else widths
    real, revising = jnp.asarray(is_token), jnp.asarray(revise)
    rows = state.keys.shape[0]
    keys, in_use = incoming_keys(scores, law.num_experts, real)
    overflow = real & (state.num_tokens >= rows)
    length = state.num_tokens + real.astype(jnp.int32)
    capacity = capacity_at(law, length)
    grew = capacity > capacity_at(law, state.num_tokens)

    rivals = (state.keys >= keys[None, :]).sum(axis=0, dtype=jnp.int32)
    admitted = (rivals < capacity) & in_use
    weakest, strongest = weakest_member(state), best_rejected(state)
    evicts = admitted & ~grew & (weakest != NO_TOKEN)
    readmits = ~admitted & grew & in_use & (strongest != NO_TOKEN)
    evicted_token = jnp.where(evicts, weakest, NO_TOKEN)
    readmitted_token = jnp.where(readmits, strongest, NO_TOKEN)

    row = jnp.arange(rows, dtype=jnp.int32)[:, None]
    new = (row == state.num_tokens) & real
    leaves, returns = row == evicted_token[None, :], row == readmitted_token[None, :]
    arrives = new & admitted[None, :]
    dropped = state.stored & leaves
    computed = arrives | (returns & revising)
    after = FullState(
        keys=jnp.where(new, keys[None, :], state.keys),
        member=(state.member & ~leaves) | arrives | returns,
        stored=(state.stored & ~leaves) | computed,
        num_tokens=length,
    )

    # The newest token, plus under revise the re-admitted ones: passes whose outputs are written.
    passes = computed.sum(dtype=jnp.int32)
    traffic = gate_output_step(
        FULL,
        widths,
        num_tokens=length,
        num_experts=law.num_experts,
        admitted=passes,
        taken=law.num_experts,
        capacity=capacity,
        largest_capacity=largest_capacity(law),
    )
    row_bytes = jnp.asarray(widths.d_model).astype(float) * widths.activation_bytes
    hidden = jnp.where(revising, row_bytes, 0.0)  # hidden states: one written per token, one read per re-admission
    step = GateOutputStep(
        admitted=admitted,
        hits=jnp.where(in_use, capacity - (admitted | readmits), 0).astype(jnp.int32),
        evicted=evicts,
        readmitted=readmits,
        taken=in_use,
        near_tie=_near_tie(state.keys, keys, capacity) & in_use,
        capacity=capacity,
        bytes_read=jnp.where(real, traffic.read, 0.0) + readmits.sum(dtype=jnp.int32) * hidden,
        bytes_written=jnp.where(real, traffic.written + hidden, 0.0),
        bytes_stored=jnp.where(real, traffic.written + hidden, 0.0),
        bytes_evicted=dropped.sum(dtype=jnp.int32) * row_bytes,
        bytes_resident=traffic.resident + length * hidden,
        status=step_status(scores, in_use, overflow),
    )
    return after, FullStep(step, evicted_token, readmitted_token)


def _near_tie(old: Array, new: Array, capacity: Array) -> Array:
    """Whether a score lies within one float16 step of the ``C(L)``-th largest old one: moving it by a step either way
    changes which side of that threshold it is on."""
    below = (old >= (jnp.maximum(new, 1) - 1)[None, :]).sum(axis=0, dtype=jnp.int32)  # old scores at least new - 1 step
    above = (old > (new + 1)[None, :]).sum(axis=0, dtype=jnp.int32)  # old scores beyond new + 1 step
    return (below >= capacity) & (above < capacity)


__all__ = [
    "NO_TOKEN",
    "FullState",
    "FullStep",
    "best_rejected",
    "full_init",
    "full_prefill",
    "full_step",
    "weakest_member",
]
