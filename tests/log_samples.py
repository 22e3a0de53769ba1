"""Routing as other programs record it: what the tests of their logs share."""

from __future__ import annotations

import numpy as np

from pimjax.config.model import ModelConfig

EXPERTS, K = 8, 2
MODEL = ModelConfig(num_experts=EXPERTS, top_k=K, num_layers=5, first_dense_layers=2)  # experts in layers 2, 3, 4
MOE = (2, 3, 4)


def chosen(tokens, layers=3, seed=0, experts=EXPERTS, k=K):
    """Ids [layers, tokens, k]."""
    rng = np.random.default_rng(seed)
    return np.stack([[rng.permutation(experts)[:k] for _ in range(tokens)] for _ in range(layers)]).astype(np.int32)


def with_dense(ids, fill):
    """The same with the model's two dense layers before."""
    return np.concatenate([np.full((2, *ids.shape[1:]), fill, ids.dtype), ids])


def write(path, **arrays):
    np.savez(path, **arrays)
    return path


def padded(ids, columns=8):
    """As the recorder stores them: -1 in dense layers and unused columns."""
    wide = np.full((*ids.shape[:2], columns), -1, np.int32)
    wide[..., : ids.shape[2]] = ids
    return with_dense(wide, -1)


def logits_of(tokens, layers=3, seed=0):
    return np.random.default_rng(seed).normal(0, 3, (layers, tokens, EXPERTS)).astype(np.float32)
