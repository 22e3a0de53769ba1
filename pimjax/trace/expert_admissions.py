"""Admissions of expert choice on the host, in time that grows little faster than the number of tokens.

The same sets as :func:`pimjax.trace.causal_expert_choice`, whose kernel compares every pair of tokens; here a long
recording is counted in blocks, with integers in the place of scores.
"""

from __future__ import annotations

import numpy as np

from pimjax.array_typing import HostArray

_BLOCK = 256  # tokens: a block is compared pair by pair, all older tokens by their counts


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
    admitted = np.zeros((tokens, experts), bool)

    def ceiling(length: HostArray) -> HostArray:
        return np.minimum(length, -(-top_k * length // experts))

    lengths = np.arange(1, tokens + 1, dtype=np.int64)
    if rule == "growing":
        capacity = ceiling(lengths)
    else:
        fixed = ceiling(np.asarray(prompt_tokens if rule == "frozen" else tokens, np.int64))
        capacity = np.full(tokens, fixed) if rule == "frozen" else np.minimum(lengths, fixed)
    best = np.argsort(-scores[:prompt_tokens], axis=0, kind="stable")[: capacity[prompt_tokens - 1]]
    np.put_along_axis(admitted, best, True, axis=0)
    if prompt_tokens < tokens:
        rivals = _older_rivals(scores, prompt_tokens)
        admitted[prompt_tokens:] = rivals < capacity[prompt_tokens:, None]
    return admitted


def _older_rivals(scores: HostArray, begin: int) -> HostArray:
    """int ``[T - begin, E]``: older tokens whose score is at least that of each token from `begin` on."""
    tokens, experts = scores.shape
    values, ranks = np.unique(scores, return_inverse=True)
    ranks = ranks.reshape(scores.shape)
    seen = np.zeros((experts, len(values) + 1), np.int64)  # tokens so far, by expert and rank
    expert = np.arange(experts)
    np.add.at(seen, (expert[None, :], ranks[:begin]), 1)
    out = np.empty((tokens - begin, experts), np.int64)
    for start in range(begin, tokens, _BLOCK):
        block = ranks[start : start + _BLOCK]
        at_least = seen[:, ::-1].cumsum(axis=1)[:, ::-1]
        before = at_least[expert[None, :], block]
        inside = np.tril(np.ones((len(block), len(block)), bool), -1)
        within = ((block[None, :, :] >= block[:, None, :]) & inside[:, :, None]).sum(axis=1)
        out[start - begin : start - begin + len(block)] = before + within
        np.add.at(seen, (expert[None, :], block), 1)
    return out
