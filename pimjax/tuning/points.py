"""A legal point with what is known of it, and which of two is better."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.tuning.evaluate import Evaluation


class Point(NamedTuple):
    """A legal point with its base quantities, objective (logarithm), excess over limits and merit."""

    unit: HostArray  # [P]
    variant: int
    base: HostArray  # [M]
    objective: float
    excess: float
    merit: float

    @classmethod
    def of(cls, unit: HostArray, variant: int, result: Evaluation, index: int) -> Point:
        """Entry `index` of an evaluation."""
        numbers = (float(part[index]) for part in (result.objective, result.excess, result.merit))
        return cls(unit, int(variant), result.base[index], *numbers)

    def beats(self, other: Point, by: float = 0.0) -> bool:
        """Whether this point is better: a usable one that keeps all limits first, however small the other's excess."""
        mine, theirs = ((not np.isfinite(p.merit), p.excess > 0) for p in (self, other))
        return mine < theirs or (mine == theirs and self.merit < other.merit - by)


def best_of(units: HostArray, variants: HostArray, result: Evaluation) -> Point:
    """The best of an evaluation by :meth:`Point.beats`."""
    order = np.lexsort((result.merit, result.excess > 0, ~np.isfinite(result.merit)))
    index = int(order[0])
    return Point.of(units[index], variants[index], result, index)


def ranked(points: list[Point]) -> list[Point]:
    """Points, best first; of equal ones the first."""
    return sorted(points, key=lambda point: (not np.isfinite(point.merit), point.excess > 0, point.merit))
