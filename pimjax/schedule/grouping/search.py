"""Grouping by search: swap experts between groups while the expected makespan falls.

Experts are hot in different requests, so balancing the summed loads is not enough: the makespan of a request is its
own largest group load. The objective is the mean over requests of a smooth maximum (16-norm) of the group loads: it
also weighs groups that are nearly largest, and groupings fitted with it are at least as good on requests that were
not seen as with the plain maximum. All swaps are priced at once; the best is taken until none helps. Then a few
random swaps kick the grouping out of its local optimum (iterated local search), and the best one is returned.
"""

from __future__ import annotations

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.schedule.grouping.simple import snake

_KICKS = 16  # restarts from a disturbed optimum
_KICK_SWAPS = 4
_TOLERANCE = 1e-9
_SQUARINGS = 4  # the norm is 2**4 = 16


def search_groups(
    loads: HostArray,
    num_groups: int,
    *,
    pair_cost: HostArray | None = None,
    seed: int = 0,
    kicks: int = _KICKS,
) -> HostArray:
    """Groups of nearly equal size with a low mean makespan, and few costly pairs of experts inside a group.

    Minimises the mean over requests of the 16-norm over groups of their loads, plus `pair_cost[e, f]` of all pairs
    inside a group.

    Args:
        loads: `[requests, E]` passes of each expert in each request.
        num_groups: G; sizes differ by at most 1.
        pair_cost: symmetric `[E, E]`, slots that each pair costs when it shares a group; None: nothing.
        seed: of the random kicks.
        kicks: number of disturbed restarts.

    Returns:
        int32 `[E]` group of each expert.

    >>> search_groups(np.array([[8, 0, 1, 7], [0, 8, 7, 1]]), 2).tolist()
    [0, 0, 1, 1]
    """
    experts = loads.shape[1]
    if num_groups == 1 or num_groups >= experts:
        return np.arange(experts, dtype=np.int32) % num_groups
    padded = -(-experts // num_groups) * num_groups - experts  # empty places; at most one per group
    loads = np.pad(np.asarray(loads, np.float64), ((0, 0), (0, padded)))
    costs = np.zeros((experts + padded,) * 2)
    if pair_cost is not None:
        costs[:experts, :experts] = pair_cost
        np.fill_diagonal(costs, 0.0)
    empty = np.arange(experts + padded) >= experts
    groups = np.empty(experts + padded, np.int32)
    heaviest = np.argsort(loads[:, :experts].sum(axis=0), kind="stable")[::-1]
    groups[heaviest] = snake(experts, num_groups)
    short = np.flatnonzero(np.bincount(groups[:experts], minlength=num_groups) < -(-experts // num_groups))
    groups[experts:] = short
    generator = np.random.default_rng(seed)
    groups, value = _descend(loads, costs, empty, groups, num_groups)
    for _ in range(kicks):
        trial, trial_value = _descend(loads, costs, empty, _kick(groups, empty, num_groups, generator), num_groups)
        if trial_value < value - _TOLERANCE:
            groups, value = trial, trial_value
    return canonical(groups[:experts])


def canonical(groups: HostArray) -> HostArray:
    """The same partition with groups numbered in the order of their first expert.

    >>> canonical(np.array([2, 0, 2, 1])).tolist()
    [0, 1, 0, 2]
    """
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first)).astype(np.int32)[inverse]


def _descend(
    loads: HostArray, costs: HostArray, empty: HostArray, groups: HostArray, num_groups: int
) -> tuple[HostArray, float]:
    """Best swap after best swap until none lowers the objective."""
    groups = groups.copy()
    member = np.eye(num_groups)[groups]
    while True:
        gain, first, second = _best_swap(loads, costs, empty, groups, member)
        if gain <= _TOLERANCE:
            break
        groups[[first, second]] = groups[[second, first]]
        member[[first, second]] = member[[second, first]]
    inside = float(np.einsum("eg,ef,fg->", member, costs, member)) / 2
    power = _power(_relative(loads, num_groups) @ member).sum(axis=1)
    return groups, _objective(loads, num_groups, power[:, None]).item() + inside


def _best_swap(
    loads: HostArray, costs: HostArray, empty: HostArray, groups: HostArray, member: HostArray
) -> tuple[float, int, int]:
    """How much the best swap of two experts lowers the objective, and which two."""
    num_groups = member.shape[1]
    relative = _relative(loads, num_groups)
    total = relative @ member  # [R, G]
    power = _power(total)
    summed = power.sum(axis=1, keepdims=True)
    first, second = np.triu_indices(len(groups), 1)
    useful = (groups[first] != groups[second]) & ~(empty[first] & empty[second])
    lonely = np.bincount(groups[empty], minlength=num_groups) == 0  # groups without an empty place
    useful &= np.where(empty[second], lonely[groups[first]], True)
    first, second = first[useful], second[useful]
    a, b = groups[first], groups[second]
    change = relative[:, second] - relative[:, first]  # [R, pairs]
    swapped = _power(total[:, a] + change) + _power(total[:, b] - change)
    swapped += summed - power[:, a] - power[:, b]
    tie = costs @ member  # [E, G] cost of an expert with everything in a group
    pairs = tie[first, b] - tie[first, a] + tie[second, a] - tie[second, b] - 2 * costs[first, second]
    gain = _objective(loads, num_groups, summed) - _objective(loads, num_groups, swapped) - pairs
    best = int(np.argmax(gain))
    return float(gain[best]), int(first[best]), int(second[best])


def _relative(loads: HostArray, num_groups: int) -> HostArray:
    """Loads in units of the mean group load of their request, so that powers stay small."""
    return loads / np.maximum(loads.sum(axis=1, keepdims=True) / num_groups, _TOLERANCE)


def _power(values: HostArray) -> HostArray:
    for _ in range(_SQUARINGS):
        values = values * values
    return values


def _objective(loads: HostArray, num_groups: int, power_sum: HostArray) -> HostArray:
    """Mean over requests of the smooth makespan, in slots: `[candidates]` from power sums `[R, candidates]`."""
    norm = np.maximum(power_sum, 0.0) ** (0.5**_SQUARINGS)  # rounding may leave a sum just below zero
    return (norm * (loads.sum(axis=1, keepdims=True) / num_groups)).mean(axis=0)


def _kick(groups: HostArray, empty: HostArray, num_groups: int, generator: np.random.Generator) -> HostArray:
    """A few random swaps of real experts."""
    groups = groups.copy()
    real = np.flatnonzero(~empty)
    for _ in range(_KICK_SWAPS):
        pair = generator.choice(real, 2, replace=False)
        groups[pair] = groups[pair[::-1]]
    return groups


__all__ = ["canonical", "search_groups"]
