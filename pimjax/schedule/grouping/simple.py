"""Groupings by a formula: neighbouring experts, and the paper's pairs of heavy and light experts."""

from __future__ import annotations

import numpy as np

from pimjax.array_typing import HostArray


def uniform_groups(num_experts: int, num_groups: int) -> HostArray:
    """Neighbouring experts share a group (`e // g`); where E is uneven the first groups hold one more.

    >>> uniform_groups(6, 3).tolist(), uniform_groups(5, 2).tolist()
    ([0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1])
    """
    sizes = np.full(num_groups, num_experts // num_groups)
    sizes[: num_experts % num_groups] += 1
    return np.repeat(np.arange(num_groups, dtype=np.int32), sizes)


def sorted_groups(loads: HostArray, group_size: int) -> HostArray:
    """The paper's load-sorted grouping: each group joins light experts with the mirrored heavy ones.

    With `idx` the stable ascending order of the loads and `h = g/2`, group `i` is `idx[h i : h i + h]` and
    `idx[E-1-h i-q]` for `q < h`. For odd group sizes and uneven E the heaviest experts are dealt in snake order.

    Args:
        loads: `[E]` summed loads.
        group_size: g.

    Returns:
        int32 `[E]` group of each expert.

    >>> sorted_groups(np.array([5, 1, 9, 3]), 2).tolist()
    [1, 0, 0, 1]
    """
    experts = len(loads)
    order = np.argsort(loads, kind="stable")
    groups = np.empty(experts, np.int32)
    if group_size % 2 or experts % group_size:
        groups[order[::-1]] = snake(experts, -(-experts // group_size))
        return groups
    half = group_size // 2
    rank = np.arange(experts)
    groups[order] = np.where(rank < experts // 2, rank, experts - 1 - rank) // half
    return groups


def snake(num_experts: int, num_groups: int) -> HostArray:
    """Groups in the order 0..G-1, G-1..0, 0..G-1, ... for as many experts as there are.

    >>> snake(5, 2).tolist()
    [0, 1, 1, 0, 0]
    """
    row, column = np.divmod(np.arange(num_experts, dtype=np.int32), num_groups)
    return np.where(row % 2 == 0, column, num_groups - 1 - column).astype(np.int32)


__all__ = ["snake", "sorted_groups", "uniform_groups"]
