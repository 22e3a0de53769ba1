"""Grouping by search: swap experts between groups while the expected makespan falls.

Experts are hot in different requests, so balancing the summed loads is not enough: the makespan of a request is its
own largest group load. The objective is the mean over requests of a smooth maximum (a norm) of the group loads, each
in units of the makespan that the request has before the search, so that short requests count as much as long ones. A
norm near the maximum (64) for pairs, where one hot expert sets the makespan of a request, and a milder one (16) for
larger groups, whose loads average out. How much of the gain is owed to that choice: benchmarks/studies/grouping_constants.py.

All swaps are priced at once, and after a swap only those that touch its two groups anew; the best is taken until none
helps. Then two random swaps kick the grouping out of its local optimum (iterated local search), again and again, and
the best one is returned.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.schedule.grouping.simple import snake

_KICKS = 64  # restarts from a disturbed optimum
_FEWEST_KICKS = 8
_PRICED = 64 * 500 * 64  # swaps x requests x restarts: larger problems restart less often
_KICK_SWAPS = 2
_TOLERANCE = 1e-9
_SQUARINGS_OF_PAIRS = 6  # the norm is 2**6 = 64
_SQUARINGS = 4  # 2**4 = 16, for larger groups


def search_groups(
    loads: HostArray,
    num_groups: int,
    *,
    pair_cost: HostArray | None = None,
    seed: int = 0,
    kicks: int | None = None,
    squarings: int | None = None,
) -> HostArray:
    """Groups of nearly equal size with a low mean makespan, and few costly pairs of experts inside a group.

    Minimises the mean over requests of a norm over groups of their loads (64-norm for pairs, 16-norm for larger
    groups), every request scaled to the mean makespan of the starting grouping (heaviest to lightest, dealt in snake
    order), plus `pair_cost[e, f]` of all pairs inside a group.

    Args:
        loads: `[requests, E]` passes of each expert in each request.
        num_groups: G; sizes differ by at most 1.
        pair_cost: symmetric `[E, E]`, slots that each pair costs when it shares a group; None: nothing.
        seed: of the random kicks.
        kicks: number of disturbed restarts; default 64, fewer (at least 8) for large problems.
        squarings: the norm is 2 to this power; default 6 for pairs, 4 for larger groups.

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
    groups = np.empty(experts + padded, np.int32)
    heaviest = np.argsort(loads[:, :experts].sum(axis=0), kind="stable")[::-1]
    groups[heaviest] = snake(experts, num_groups)
    short = np.flatnonzero(np.bincount(groups[:experts], minlength=num_groups) < -(-experts // num_groups))
    groups[experts:] = short
    if squarings is None:
        squarings = _SQUARINGS_OF_PAIRS if len(groups) <= 2 * num_groups else _SQUARINGS
    swaps = _Swaps(loads, costs, experts, groups, num_groups, squarings)
    if kicks is None:
        kicks = int(np.clip(_PRICED // (len(swaps.first) * len(loads)), _FEWEST_KICKS, _KICKS))
    generator = np.random.default_rng(seed)
    groups, value = swaps.descend(groups)
    for _ in range(kicks):
        trial, trial_value = swaps.descend(_kick(groups, experts, generator))
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


class _Swaps:
    """All swaps of two experts, and what they do to the objective."""

    def __init__(
        self, loads: HostArray, costs: HostArray, experts: int, groups: HostArray, num_groups: int, squarings: int
    ) -> None:
        self.costs, self.experts, self.num_groups, self.squarings = costs, experts, num_groups, squarings
        before = (loads @ np.eye(num_groups)[groups]).max(axis=1)
        used = before > 0
        # In units of the makespan before the search: powers stay small, and every request weighs the same.
        self.loads = loads[used].T / before[used]  # [E, R]
        self.slots = before.sum() / max(len(before), 1) / max(used.sum(), 1)  # of one request in the objective
        first, second = np.triu_indices(len(loads.T), 1)
        real = first < experts  # of two empty places none moves
        self.first, self.second = first[real], second[real]
        self.change = self.loads[self.second] - self.loads[self.first]  # [swaps, R]

    def descend(self, groups: HostArray) -> tuple[HostArray, float]:
        """Best swap after best swap until none lowers the objective; the groups and their objective.

        Differences of high powers round: a swap whose promised gain does not come is undone and left out until the
        next one that does lower the objective, so that the descent always ends.
        """
        groups = groups.copy()
        member = np.eye(self.num_groups)[groups]
        total = member.T @ self.loads  # [G, R]
        power = self._power(total)
        inside = float(np.einsum("eg,ef,fg->", member, self.costs, member)) / 2
        value = self._smooth(power.sum(axis=0)) + inside
        step = np.empty_like(self.change)  # what each swap adds to the sum of powers
        stale = np.arange(len(self.first))
        refused = np.zeros(len(self.first), bool)
        while True:
            a, b = groups[self.first[stale]], groups[self.second[stale]]
            change = self.change[stale]
            step[stale] = self._power(total[a] + change) + self._power(total[b] - change) - power[a] - power[b]
            pairs = self._pairs(groups, member)
            gain = value - inside - self._smooth(step + power.sum(axis=0)) - pairs
            gain[refused | ~self._allowed(groups)] = -np.inf
            best = int(np.argmax(gain))
            if gain[best] <= _TOLERANCE:
                return groups, value
            e, f = self.first[best], self.second[best]
            touched = groups[[e, f]]
            moved = total.copy()
            moved[touched] += [[1.0], [-1.0]] * self.change[best]
            powered = power.copy()
            powered[touched] = self._power(moved[touched])
            reached = self._smooth(powered.sum(axis=0)) + inside + float(pairs[best])
            if reached > value - _TOLERANCE:
                refused[best] = True
                stale = stale[:0]
                continue
            total, power, value, inside = moved, powered, reached, inside + float(pairs[best])
            groups[[e, f]] = groups[[f, e]]
            member[[e, f]] = member[[f, e]]
            refused[:] = False
            near = (groups == touched[0]) | (groups == touched[1])
            stale = np.flatnonzero(near[self.first] | near[self.second])

    def _smooth(self, power_sum: HostArray) -> Any:
        """The objective without pairs, from sums of powers `[..., R]`."""
        return self.slots * self._root(power_sum).sum(axis=-1)

    def _power(self, values: HostArray) -> HostArray:
        for _ in range(self.squarings):
            values = values * values
        return values

    def _root(self, power_sum: HostArray) -> HostArray:
        root = np.maximum(power_sum, 0.0)  # rounding may leave a sum just below zero
        for _ in range(self.squarings):
            np.sqrt(root, out=root)
        return root

    def _pairs(self, groups: HostArray, member: HostArray) -> HostArray:
        """What each swap adds to the cost of pairs inside groups."""
        first, second = self.first, self.second
        tie = self.costs @ member  # [E, G] cost of an expert with everything in a group
        a, b = groups[first], groups[second]
        return tie[first, b] - tie[first, a] + tie[second, a] - tie[second, b] - 2 * self.costs[first, second]

    def _allowed(self, groups: HostArray) -> HostArray:
        """Swaps between two groups; an empty place may go to a group without one only."""
        a, b = groups[self.first], groups[self.second]
        lonely = np.bincount(groups[self.experts :], minlength=self.num_groups) == 0
        return (a != b) & ((self.second < self.experts) | lonely[a])


def _kick(groups: HostArray, experts: int, generator: np.random.Generator) -> HostArray:
    """A few random swaps of real experts."""
    groups = groups.copy()
    for _ in range(_KICK_SWAPS):
        pair = generator.choice(experts, 2, replace=False)
        groups[pair] = groups[pair[::-1]]
    return groups


__all__ = ["canonical", "search_groups"]
