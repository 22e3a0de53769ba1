"""Expert choice on the host, in time that grows little faster than the number of tokens: counted, not stepped through.

A token is admitted iff fewer older tokens than the capacity have at least its score: the decisions of
:func:`pimjax.trace.causal_expert_choice`, whose kernel compares every pair of tokens, and of the threshold cache
(:func:`pimjax.cache.gate_output.gate_output_request`). Scores are compared as float16, by integers in their place.
"""

from __future__ import annotations

import numpy as np

from pimjax.array_typing import HostArray

_BLOCK = 256  # tokens that are compared with each other pair by pair; older ones are sorted
_SIGN = 0x8000


def admissions(scores: HostArray, top_k: int, prompt_tokens: int, rule: str) -> HostArray:
    """bool ``[T, E]``: who is admitted when tokens arrive one by one after a prompt that is chosen together.

    Args:
      scores: float16 ``[T, E]``.
      top_k: mean experts per token.
      prompt_tokens: tokens of the prompt, 1 to T.
      rule: "growing", "frozen" or "fixed", see :func:`pimjax.trace.expert_capacity`; L_max of "fixed" is T.

    >>> scores = np.float16([[0.5, 0.5], [0.6, 0.4], [0.5, 0.5]])
    >>> admissions(scores, 1, 1, "growing").astype(int).tolist()
    [[1, 1], [1, 0], [0, 1]]
    """
    tokens, experts = scores.shape

    def ceiling(length: HostArray) -> HostArray:
        return np.minimum(length, -(-top_k * length // experts))

    lengths = np.arange(1, tokens + 1, dtype=np.int64)
    if rule == "growing":
        capacity = ceiling(lengths)
    else:
        fixed = ceiling(np.asarray(prompt_tokens if rule == "frozen" else tokens, np.int64))
        capacity = np.full(tokens, fixed) if rule == "frozen" else np.minimum(lengths, fixed)
    prompt = chosen_sets(scores[:prompt_tokens], int(capacity[prompt_tokens - 1]))
    return np.concatenate([prompt, older_rivals(scores, prompt_tokens) < capacity[prompt_tokens:, None]])


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


def older_rivals(scores: HostArray, begin: int) -> HostArray:
    """How many older tokens have at least the score of each token from `begin` on.

    Args:
        scores: `[..., T, E]` gate scores.
        begin: tokens before it are only counted.

    Returns:
        int `[..., T - begin, E]`.

    >>> older_rivals(np.array([[0.5], [0.9], [0.5]]), 1).ravel().tolist()
    [0, 2]
    """
    keys = _keys(scores)
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


def _keys(scores: HostArray) -> HostArray:
    """uint16: scores rounded to float16, as integers in the same order (:mod:`pimjax.cache.score_keys`)."""
    bits = (np.asarray(scores).astype(np.float16) + np.float16(0)).view(np.uint16)  # minus zero becomes zero
    return np.where(bits >= _SIGN, ~bits, bits | np.uint16(_SIGN))
