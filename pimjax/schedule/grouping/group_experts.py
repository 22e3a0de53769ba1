"""Which experts share one set of peripherals."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.checks import checked, flags, numbers, require, whole
from pimjax.errors import ScheduleError, shown
from pimjax.schedule.checks import MOST_PASSES, check_loads
from pimjax.schedule.grouping.search import search_groups
from pimjax.schedule.grouping.simple import snake, sorted_groups, uniform_groups

GROUPING_STRATEGIES = ("uniform", "sorted", "snake", "balanced", "coactivation")
COACTIVATION_WEIGHT = 0.25
"""Slots that one token pays, in the objective of `coactivation`, for a pair of its experts that share a group."""


@checked(ScheduleError, seed=whole(0, 2**63 - 1))
def group_experts(
    loads: Any,
    group_size: int,
    strategy: str = "sorted",
    *,
    coactivation: Any = None,
    seed: int = 0,
) -> HostArray:
    """Assign experts to groups that share peripherals. Host function, deterministic.

    Strategies:

    * `uniform`: neighbours, `e // g`; needs no loads.
    * `sorted`: the paper's pairs of heavy and light experts by summed load (Gao & Yang, ISCAS 2026).
    * `snake`: heaviest to lightest by summed load, dealt 0..G-1, G-1..0, and so on.
    * `balanced`: lowest expected makespan over the requests given, found by search (see `grouping.search`).
    * `coactivation`: as `balanced`, and experts that one token visits together are kept apart: a token with two
      experts in one group needs two slots of that group, so at least two loads.

    Args:
        loads: `[E]` or `[requests, E]`, passes of each expert (per request); not negative.
        group_size: g, largest number of experts in a group, 1 to E.
        strategy: one of `GROUPING_STRATEGIES`.
        coactivation: `[E, E]`, how many tokens (of all requests) visit both experts (`count_coactivation`); for
            the strategy `coactivation` only, which without it knows the loads alone and equals `balanced`.
        seed: of the search's random restarts.

    Returns:
        int32 `[E]`, group of each expert, `0..ceil(E/g)-1`; sizes differ by at most 1.

    Raises:
        ScheduleError: unknown strategy, impossible group size, loads or coactivation of wrong shape or negative.

    >>> group_experts([5, 1, 9, 3], 2).tolist()
    [1, 0, 0, 1]
    >>> group_experts([[8, 0, 1, 7], [0, 8, 7, 1]], 2, "balanced").tolist()
    [0, 0, 1, 1]
    """
    if not isinstance(strategy, str) or strategy not in GROUPING_STRATEGIES:
        raise ScheduleError(
            f"unknown grouping strategy {shown(strategy)}: choose one of {', '.join(GROUPING_STRATEGIES)}"
        )
    requests = check_loads(loads)
    experts = requests.shape[1]
    if isinstance(group_size, bool) or not isinstance(group_size, (int, np.integer)):
        raise ScheduleError(f"group_size must be an integer, not {shown(group_size)}")
    if not 1 <= group_size <= experts:
        raise ScheduleError(f"group_size is {group_size}, but there are {experts} experts: give 1 to {experts}")
    num_groups = -(-experts // int(group_size))
    if strategy == "uniform":
        return uniform_groups(experts, num_groups)
    if strategy == "sorted":
        return sorted_groups(requests.sum(axis=0), int(group_size))
    if strategy == "snake":
        groups = np.empty(experts, np.int32)
        groups[np.argsort(requests.sum(axis=0), kind="stable")[::-1]] = snake(experts, num_groups)
        return groups
    pair_cost = None
    if strategy == "coactivation" and coactivation is not None:
        pair_cost = COACTIVATION_WEIGHT * _check_coactivation(coactivation, experts) / len(requests)
    return search_groups(requests, num_groups, pair_cost=pair_cost, seed=seed)


def count_coactivation(choices: Any, num_tokens: Any = None) -> HostArray:
    """How many tokens visit each pair of experts: what the strategy `coactivation` needs. Host function.

    Args:
        choices: `[..., T, E]` bool or 0/1; leading axes (requests) are summed.
        num_tokens: int `[...]`, rows in use, default T.

    Returns:
        float64 `[E, E]`, symmetric; the diagonal is the load of each expert.

    >>> count_coactivation(np.array([[1, 1, 0], [0, 1, 1]])).tolist()
    [[1.0, 1.0, 0.0], [1.0, 2.0, 1.0], [0.0, 1.0, 1.0]]
    """
    require(
        ScheduleError, "choices", choices, flags(meaning="[tokens, experts] or stacked, of booleans or only 0 and 1")
    )
    visits = np.asarray(choices, np.float64)
    if visits.ndim < 2:
        raise ScheduleError(f"choices must be [tokens, experts] or stacked, not shape {list(visits.shape)}")
    if num_tokens is not None:
        require(
            ScheduleError, "num_tokens", num_tokens, numbers(0, visits.shape[-2], dims=visits.ndim - 2, integer=True)
        )
        used = np.arange(visits.shape[-2]) < np.asarray(num_tokens)[..., None]
        visits = np.where(used[..., None], visits, 0.0)
    flat = visits.reshape(-1, visits.shape[-1])
    return flat.T @ flat


def _check_coactivation(coactivation: Any, experts: int) -> HostArray:
    try:
        pairs = np.asarray(coactivation, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ScheduleError(f"coactivation must be numbers [{experts}, {experts}]") from error
    if pairs.shape != (experts, experts):
        raise ScheduleError(
            f"coactivation has shape {list(pairs.shape)}, but there are {experts} experts: give [{experts}, {experts}]"
        )
    if not ((pairs >= 0) & (pairs <= MOST_PASSES)).all():
        raise ScheduleError(f"coactivation must be finite and not negative, at most {MOST_PASSES:g}: it counts tokens")
    return (pairs + pairs.T) / 2


__all__ = ["COACTIVATION_WEIGHT", "GROUPING_STRATEGIES", "count_coactivation", "group_experts"]
