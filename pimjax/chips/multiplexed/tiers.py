"""Experts of a group stacked above each other: `hardware.tiers` planes of cells over one set of peripherals.

One tier of a stack works at a time, which is what sharing peripherals asks anyway. A group of g experts on T tiers has
`ceil(g / T)` stacks; each plane more than the first adds the vertical lines of the planes below it, a fraction o of
the cells' area. With g <= T that is `A_core (s + (1 - s) (1 + o (g - 1)))` for a crossbar position of the group; one
tier, or o = 1, is the flat chip. Only the experts of groups are stacked: every other crossbar lies on the lowest tier.

Areas are footprints, what a die and its heat sink see; crossbars are counted on every tier.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pimjax.array_typing import AnyArray, ArrayLike, HostArray
from pimjax.arrays import whole_up


class Stacks(NamedTuple):
    """Groups as stacks."""

    count: AnyArray  # stacks beside each other in each group: cells of so many experts on the lowest tier
    footprints: AnyArray  # area of a group's cells, in cells of one flat expert


def stacks_of(sizes: AnyArray, tiers: ArrayLike, overhead: ArrayLike) -> Stacks:
    """Stacks of groups of `sizes` members. Kernel: any shape; the number of stacks is straight-through in `tiers`.

    Args:
        sizes: members of each group; 0: no such group.
        tiers: T, at least 1.
        overhead: o, area that every further plane adds, in cells of a flat expert.

    >>> stacks_of(np.array([4.0, 3.0]), 2.0, 0.33).footprints.tolist()
    [2.66, 2.33]
    """
    count = whole_up(sizes / tiers)
    return Stacks(count, count + overhead * (sizes - count))


def experts_by_tier(sizes: HostArray, tiers: int) -> HostArray:
    """Experts on each tier, lowest first: `[T]`. Host. The planes of a group are filled from below.

    >>> experts_by_tier(np.array([4, 3]), 3).tolist()
    [3, 3, 1]
    """
    sizes = np.asarray(sizes)
    count = np.asarray(stacks_of(sizes, tiers, 0.0).count, int)
    return np.array([np.clip(sizes - tier * count, 0, count).sum() for tier in range(tiers)])
