"""`RoutingLoads`: experts of the tokens of a routing trace, laid out so that a batch of real tokens is counted quickly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pimjax.array_typing import HostArray


class RoutingLoads(NamedTuple):
    """Experts of `Q` recorded requests, and who shares peripherals; `K` is the most experts that a token visits.

    Attributes:
        ids: int32 `[Q, T, L, K]`, experts; -1 is none.
        lengths: int64 `[Q]`, tokens of each request; a longer one begins again.
        group_of_expert: int32 `[L, E]`.
        num_groups: G.
    """

    ids: Any
    lengths: Any
    group_of_expert: Any
    num_groups: int

    def of_batch(self, tokens: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """Longest queue and distinct experts, each summed over layers, of tokens given as (request, position).

        >>> loads = make_loads(np.eye(2, dtype=bool)[None, None], [[0, 0]])
        >>> loads.of_batch([(0, 0), (0, 1), (0, 2)])
        (3, 2)
        """
        layers, experts = self.group_of_expert.shape
        visits = np.zeros((layers, experts), int)
        for request, position in tokens:
            request %= len(self.lengths)
            for layer, row in enumerate(self.ids[request, position % self.lengths[request]]):
                for expert in row[row >= 0]:
                    visits[layer, expert] += 1
        peak = sum(
            int(np.bincount(groups, weights=row, minlength=self.num_groups).max())
            for groups, row in zip(self.group_of_expert, visits, strict=True)
        )
        return peak, int((visits > 0).sum())


def make_loads(choices: Any, group_of_expert: Any, lengths: Any = None) -> RoutingLoads:
    """From choices bool `[Q, L, T, E]`, groups `[L, E]`, and real tokens `[Q]` of each request (default T)."""
    choices = np.asarray(choices, bool)
    requests, layers, tokens, _ = choices.shape
    most = max(1, int(choices.sum(axis=-1).max(initial=0)))
    order = np.argsort(~choices, axis=-1, kind="stable")[..., :most].astype(np.int32)
    ids = np.where(np.take_along_axis(choices, order, axis=-1), order, -1)
    groups = np.asarray(group_of_expert, np.int32)
    length = np.full(requests, tokens) if lengths is None else np.asarray(lengths)
    return RoutingLoads(
        np.ascontiguousarray(ids.transpose(0, 2, 1, 3).astype(np.int32)),
        length.astype(np.int64),
        groups.reshape(layers, -1),
        int(groups.max(initial=0)) + 1,
    )


def no_loads() -> RoutingLoads:
    """No routing: every batch is the mean one.

    >>> no_loads().ids.shape[0]
    0
    """
    empty: HostArray = np.zeros((0, 0), np.int32)
    return RoutingLoads(np.zeros((0, 0, 0, 0), np.int32), np.zeros(0, np.int64), empty, 1)
