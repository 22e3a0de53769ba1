"""Experts that each token visits: the caller's list checked and shaped, or drawn as the authors draw them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pimjax.chips.reference.parameters import ReferenceParameters, list_passes
from pimjax.errors import TraceError

HostArray = np.ndarray[Any, Any]
PassChoices = tuple[HostArray, ...]
"""One int64 array [tokens, k] per pass-and-layer pair of one pass, in layer order, experts in drawn order."""


def draw_choices(p: ReferenceParameters, seed: int = 0) -> list[list[int]]:
    """Draw the experts of a run: one entry of k distinct ids per (pass, MoE layer, token), pass-major.

    k > 2: the head of a random permutation; k = 1: one draw from a random density; k = 2: an ordered pair from a
    random symmetric density without a diagonal (densities are drawn once per layer). The authors' own random stream
    is PyTorch's and unseeded; this one is NumPy's, so runs with the same `seed` are equal.

    >>> entries = draw_choices(ReferenceParameters(d_model=512, start_len=3, experts=8, k=2), seed=1)
    >>> len(entries), all(len(set(entry)) == 2 for entry in entries)
    (3, True)
    """
    rng = np.random.default_rng(seed)
    layers = p.num_moe_layers
    experts, k = p.experts, p.k
    densities = [_density(rng, experts, k) for _ in range(layers)] if k <= 2 else []
    entries: list[list[int]] = []
    for work in list_passes(p):
        for layer in range(layers):
            if k > 2:
                drawn = rng.permuted(np.tile(np.arange(experts), (work.tokens, 1)), axis=1)[:, :k]
            else:
                flat = rng.choice(experts**k, size=work.tokens, p=densities[layer])
                drawn = flat[:, None] if k == 1 else np.stack(np.divmod(flat, experts), axis=1)
            entries.extend(drawn.tolist())
    return entries


def _density(rng: np.random.Generator, experts: int, k: int) -> HostArray:
    weights = rng.random(experts if k == 1 else (experts, experts))
    if k == 2:
        weights = weights + weights.T
        np.fill_diagonal(weights, 0.0)
    return (weights / weights.sum()).ravel()


def shape_choices(p: ReferenceParameters, expert_choices: Sequence[Sequence[int]]) -> tuple[PassChoices, ...]:
    """Check a list of expert choices and cut it into passes and layers.

    Args:
        p: the run.
        expert_choices: one entry (k distinct ids in drawn order) per (pass, MoE layer, token), pass-major;
            empty for dense models.

    Raises:
        TraceError: a wrong number of entries, a wrong number of ids, ids out of range or repeated.

    >>> p = ReferenceParameters(d_model=512, start_len=2, experts=4, k=2)
    >>> shape_choices(p, [[2, 3], [0, 1]])[0][0].tolist()
    [[2, 3], [0, 1]]
    """
    passes = list_passes(p)
    layers = p.num_moe_layers
    wanted = sum(work.tokens for work in passes) * layers
    if len(expert_choices) != wanted:
        raise TraceError(
            f"expert_choices has {len(expert_choices)} entries: {wanted} are needed, one per (pass, MoE layer, token) "
            f"for {len(passes)} passes, {layers} MoE layers and {sum(work.tokens for work in passes)} tokens"
        )
    if layers == 0:
        return tuple(() for _ in passes)
    if any(np.ndim(entry) == 0 for entry in expert_choices):
        raise TraceError(f"expert_choices holds single numbers: each entry must be a list of k = {p.k} expert ids")
    lengths = {len(entry) for entry in expert_choices}
    if lengths != {p.k}:
        raise TraceError(f"expert_choices has entries of {sorted(lengths)} experts: each must name k = {p.k}")
    table = np.asarray(expert_choices)
    if table.dtype.kind not in "iu":
        raise TraceError(f"expert_choices holds values of type {table.dtype}: expert ids are whole numbers")
    table = table.astype(np.int64)
    if table.size and not (table.min() >= 0 and table.max() < p.experts):
        raise TraceError(
            f"expert_choices holds ids {table.min()}..{table.max()}: allowed is 0..{p.experts - 1} for "
            f"{p.experts} experts"
        )
    ordered = np.sort(table, axis=1)
    repeated = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
    if len(repeated):
        row = int(repeated[0])
        raise TraceError(f"expert_choices[{row}] is {table[row].tolist()}: the experts of a token must differ")
    result = []
    first = 0
    for work in passes:
        block = table[first : first + layers * work.tokens].reshape(layers, work.tokens, p.k)
        result.append(tuple(block))
        first += layers * work.tokens
    return tuple(result)


def canonical_choices(choices: PassChoices) -> PassChoices:
    """Rename the experts of each layer by order of first use: equal patterns become equal arrays.

    >>> canonical_choices((np.array([[7, 2], [2, 5]]),))[0].tolist()
    [[0, 1], [1, 2]]
    """
    renamed = []
    for layer in choices:
        ids, first, inverse = np.unique(layer.ravel(), return_index=True, return_inverse=True)
        names = np.empty(len(ids), np.int64)
        names[np.argsort(first)] = np.arange(len(ids))
        renamed.append(names[inverse].reshape(layer.shape))
    return tuple(renamed)
