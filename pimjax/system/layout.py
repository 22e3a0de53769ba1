"""Layers in order over the dies of a system: which dies hold which expert of which layer, and where a layer is at home.

A layer takes the silicon after the one before it: first what every token passes (attention, router, norms: its home), then
its groups in the order of their numbers. A group is cut where a die ends, or (whole groups) begins on the next die.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.errors import ConfigError
from pimjax.system.placement import place_experts

_AREA, _POSITIVE = checks.numbers(0, dims=0), checks.numbers(0, dims=0, above=True)
_SMALL = 1e-9
_GROUPS = checks.numbers(0, dims=(1, 2), integer=True, filled=True)


class Layout(NamedTuple):
    """Where the experts of all layers are; NumPy.

    Attributes:
        holds: bool `[L, E, D]`, the die has crossbars of the expert.
        homes: int32 `[L]`, die on which a layer's tokens start and its results meet.
        used_mm2: `[D]`, silicon in use of each die.
    """

    holds: HostArray
    homes: HostArray
    used_mm2: HostArray


@checks.checked(
    ConfigError,
    group_of_expert=_GROUPS,
    dense_area_mm2=_AREA,
    group_area_mm2=_POSITIVE,
    usable_mm2=_POSITIVE,
    whole_groups=checks.flag,
)
def lay_out(
    group_of_expert: Any,
    *,
    dense_area_mm2: float,
    group_area_mm2: float,
    usable_mm2: float,
    whole_groups: bool = False,
) -> Layout:
    """Lay all layers out. Host.

    Args:
        group_of_expert: int `[L, E]` (one layer: `[E]`), groups in the order in which they lie.
        dense_area_mm2: of a layer, without its experts.
        group_area_mm2: of one group.
        usable_mm2: of one die, :func:`~pimjax.system.dies.usable_die_area_mm2`.
        whole_groups: no group is cut.

    Raises:
        ConfigError: whole groups that are larger than a die.

    >>> made = lay_out([[0, 0, 1], [0, 1, 1]], dense_area_mm2=20, group_area_mm2=60, usable_mm2=100)
    >>> made.holds[0].astype(int).tolist(), made.homes.tolist()  # the second group of each layer is cut
    ([[1, 0, 0], [1, 0, 0], [1, 1, 0]], [0, 1])
    >>> lay_out([[0, 0, 1]], dense_area_mm2=20, group_area_mm2=60, usable_mm2=100, whole_groups=True).used_mm2.tolist()
    [80.0, 60.0]
    """
    groups = np.atleast_2d(np.asarray(group_of_expert, np.int64))
    if whole_groups and group_area_mm2 > usable_mm2:
        raise ConfigError(
            f"a group of {group_area_mm2:g} mm2 does not fit a die of {usable_mm2:g} mm2: let groups be cut, or make them smaller"
        )
    at, spans, homes, used = 0.0, [], [], {}

    def take(area: float) -> tuple[int, int]:
        """First and last die of the next `area`."""
        nonlocal at
        first = die = int(at / usable_mm2 + _SMALL)
        rest = area
        while True:
            room = (die + 1) * usable_mm2 - at
            part = min(room, rest)
            used[die] = used.get(die, 0.0) + part
            at, rest = at + part, rest - part
            if rest <= _SMALL * usable_mm2:
                return first, die
            die += 1
            at = max(at, die * usable_mm2)

    for layer in groups:
        homes.append(take(dense_area_mm2)[0])
        rows = []
        for _ in range(int(layer.max()) + 1):
            room = (int(at / usable_mm2 + _SMALL) + 1) * usable_mm2 - at
            if whole_groups and room < group_area_mm2 * (1 - _SMALL):
                at += room
            rows.append(take(group_area_mm2))
        spans.append(np.array(rows)[layer])  # [E, 2]
    span, dies = np.stack(spans), np.arange(max(used) + 1)
    holds = (dies >= span[..., :1]) & (dies <= span[..., 1:])
    return Layout(holds, np.array(homes, np.int32), np.array([used.get(die, 0.0) for die in dies]))


@checks.checked(
    ConfigError,
    group_of_expert=checks.numbers(0, dims=1, integer=True, filled=True),
    choices=checks.flags(meaning="booleans or 0 and 1 of [..., tokens, experts]"),
    dies=checks.whole(1, 65_536),
    seed=checks.whole(0, 2**63 - 1),
)
def order_groups(group_of_expert: Any, choices: Any, dies: int, *, seed: int = 0) -> HostArray:
    """The same groups of one layer in an order that puts those that tokens visit together next to each other. Host.

    Args:
        group_of_expert: int `[E]`, groups from 0 without gaps.
        choices: bool `[..., T, E]`, requests that the order is fitted on.
        dies: dies of the layer.
        seed: of the search.

    Returns:
        int32 `[E]`, for :func:`lay_out`.

    >>> order_groups([0, 1, 2, 3], [[1, 0, 1, 0], [0, 1, 0, 1]], 2).tolist()
    [0, 2, 1, 3]
    """
    groups, visits = np.asarray(group_of_expert, np.int64), np.asarray(choices, bool)
    count = int(groups.max()) + 1
    if visits.ndim < 2 or visits.shape[-1] != len(groups) or len(np.unique(groups)) != count:
        raise ConfigError(
            f"group_of_expert has {len(groups)} experts in groups up to {count - 1} and choices shape {list(visits.shape)}: "
            "give [..., tokens, experts] of as many experts, and groups without gaps"
        )
    visited = visits.reshape(-1, len(groups)).astype(np.float32) @ np.eye(count, dtype=np.float32)[groups] > 0
    die = place_experts(count, min(dies, count), "coactivation", choices=visited, seed=seed)
    return np.argsort(np.argsort(die, kind="stable")).astype(np.int32)[groups]


__all__ = ["Layout", "lay_out", "order_groups"]
