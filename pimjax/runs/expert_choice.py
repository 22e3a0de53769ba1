"""Expert choice of a run whose gate scores are known: the prompt's sets and every step's admissions. Host, NumPy.

The decisions of :func:`pimjax.trace.routers.expert_choice` and of the threshold cache
(:func:`pimjax.cache.gate_output.gate_output_request`), counted instead of stepped through: a token is admitted iff fewer
older tokens than the capacity have at least its score.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pimjax.array_typing import HostArray

_BLOCK = 256  # steps whose scores are compared with each other; older ones are sorted
_SIGN = 0x8000


class Admissions(NamedTuple):
    """Decode steps of one or more sequences."""

    admitted: HostArray  # bool [..., N, E] experts that take the step's token
    taken: HostArray  # float64 [..., N] threshold lists that store its score


def chosen_sets(scores: HostArray, capacity: int) -> HostArray:
    """The sets M_e: of every expert its `capacity` best tokens, the older one of equals.

    Args:
        scores: `[..., T, E]` gate scores of all tokens that compete.
        capacity: tokens per expert.

    Returns:
        bool `[..., T, E]`.

    >>> chosen_sets(np.array([[0.9, 0.1], [0.8, 0.2], [0.9, 0.1]]), 1).astype(int).tolist()
    [[1, 0], [0, 1], [0, 0]]
    """
    best = np.argsort(~_keys(scores), axis=-2, kind="stable")[..., :capacity, :]
    chosen = np.zeros(scores.shape, bool)
    np.put_along_axis(chosen, best, True, axis=-2)
    return chosen


def admissions(scores: HostArray, prompt: int, capacity: HostArray, largest: int) -> Admissions:
    """Who takes the token of every decode step.

    Args:
        scores: `[..., P + N, E]` gate scores.
        prompt: P.
        capacity: int `[N]`, C(L) of the lengths P + 1, .. P + N.
        largest: C(L_max), entries of a threshold list.

    >>> admissions(np.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]]), 2, np.array([2]), 2).admitted.astype(int).tolist()
    [[0, 1]]
    """
    rivals = _older_rivals(_keys(scores), prompt)
    return Admissions(rivals < capacity[:, None], (rivals < largest).sum(axis=-1).astype(np.float64))


def _keys(scores: HostArray) -> HostArray:
    """uint16: scores rounded to float16, as integers in the same order (:mod:`pimjax.cache.score_keys`)."""
    bits = (np.asarray(scores).astype(np.float16) + np.float16(0)).view(np.uint16)  # minus zero becomes zero
    return np.where(bits >= _SIGN, ~bits, bits | np.uint16(_SIGN))


def _older_rivals(keys: HostArray, begin: int) -> HostArray:
    """int `[..., T - begin, E]`: older tokens with at least the score of each token from `begin` on."""
    lead, (tokens, experts) = keys.shape[:-2], keys.shape[-2:]
    columns = np.ascontiguousarray(np.swapaxes(keys, -1, -2).reshape(-1, tokens))
    offset = np.arange(len(columns), dtype=np.int64)[:, None] << 16  # makes all columns one sorted row
    out = np.zeros((len(columns), tokens - begin), np.int64)
    for start in range(begin, tokens, _BLOCK):
        block = columns[:, start : start + _BLOCK]
        older = (np.sort(columns[:, :start], axis=1) + offset).ravel()
        below = np.searchsorted(older, (block + offset).ravel()).reshape(block.shape)
        found = out[:, start - begin : start - begin + block.shape[1]]
        found[:] = start * np.arange(1, len(columns) + 1)[:, None] - below
        for index in range(1, block.shape[1]):
            found[:, index] += (block[:, :index] >= block[:, index : index + 1]).sum(axis=1)
    return np.swapaxes(out.reshape(*lead, experts, tokens - begin), -1, -2)
