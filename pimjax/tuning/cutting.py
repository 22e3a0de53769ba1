"""Cutting planes: a few gradients of one start say where all parameters should go at once, legal hardware included.

Latency, energy and area are nearly sums of products of powers of the parameters, so their logarithms are nearly convex
functions of the parameters' logarithms: the tangent at any point lies below them. All tangents so far make a small
linear programme whose discrete parameters take legal levels only (scipy's `milp`): its solution is the next point,
often several bounds away, rounded with all limits in view. Where the model is not convex (ceilings, kinks) a tangent
may lie above a later point: it is dropped. The trust region shrinks when a point disappoints.

This is the outer approximation of convex integer programming (Duran and Grossmann, Math. Programming 36, 1986). A point
is left only for a better one, so nothing is lost where convexity fails; :mod:`pimjax.tuning.polish` follows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import MissingExtraError
from pimjax.tuning.evaluate import PENALTY, base_quantities, judge
from pimjax.tuning.parameters import snap
from pimjax.tuning.points import Point
from pimjax.tuning.problem import Problem, ProblemArrays, Static

DISAPPOINTMENTS = 3
"""Points in a row that do not improve before a start is given up."""
_NEAR = 0.05
"""Limits that are further than this (of their logarithm) from binding need no tangent yet."""
_GAIN = 3e-3
"""Smallest predicted gain that is worth a gradient."""
_WRONG = 1e-3
"""A tangent that lies further above a point than this is dropped."""
_STIFF = 10 * PENALTY
"""Price of a broken limit in the linear programme: only broken where nothing else is possible."""
_NODES = 2000
"""Of branch and bound: a count, not a time, so that results do not depend on the machine."""


class _Tangent(NamedTuple):
    """`value + slope @ (place - at)`, a lower bound of the objective (quantity 0) or of a limit's excess (1, 2, ...)."""

    quantity: int
    value: float
    slope: HostArray  # [P]
    at: HostArray  # [P]


Report = Callable[[int, Point], Any]


def cut(
    problem: Problem, point: Point, *, steps: int, report: Report = lambda slopes, point: None
) -> tuple[Point, int]:
    """Improve a point by at most `steps` points of cutting planes; returns it and the gradients taken. Host.

    Args:
        problem: as made.
        point: where to begin; legal.
        steps: most points visited. Each costs one gradient of the objective and one of every limit that matters there.
        report: called after every point with its gradients and the best point so far.

    Raises:
        MissingExtraError: scipy is needed and missing.
    """
    planes = _Planes(problem)
    best, here, own = point, point.unit, []
    seen: list[HostArray] = []
    radius, disappointments, gradients = 1.0, 0, 0
    while len(seen) < steps:
        found, values, slopes = planes.look(here, point.variant)
        wanted = [0, *(np.flatnonzero(values[1:] > -_NEAR) + 1)]
        gradients += len(wanted)
        fresh = [_Tangent(int(q), float(values[q]), slopes[q], planes.place(here)) for q in wanted]
        if not seen or found.beats(best, by=1e-4):
            best, own, disappointments, radius = found, fresh, 0, min(1.0, 2 * radius)
        else:
            disappointments, radius = disappointments + 1, radius / 2
        report(len(wanted), best)
        if not np.isfinite(best.merit):
            break
        seen.append(here)
        planes.add(fresh, values)
        onward = planes.solve(best, radius) if disappointments < DISAPPOINTMENTS else None
        if onward is None or _known(onward, seen):
            if disappointments >= DISAPPOINTMENTS:
                break
            planes.tangents = list(own)  # the others may cut off what they should not
            onward = planes.solve(best, radius)
        if onward is None or _known(onward, seen):
            break
        here = onward
    return (best if best.beats(point) else point), gradients


def _known(unit: HostArray, seen: list[HostArray]) -> bool:
    return any(np.abs(unit - other).max() < 1e-6 for other in seen)


class _Planes:
    """Tangents of a problem and the integer programme over them. Places are values on each parameter's scale, 0 to 1."""

    def __init__(self, problem: Problem) -> None:
        box, count = problem.arrays.box, problem.num_parameters
        self.problem, self.count = problem, count
        low, high = np.asarray(box.low)[:count], np.asarray(box.high)[:count]
        levels = (np.asarray(box.levels)[:count] - low[:, None]) / (high - low)[:, None]
        discrete = np.asarray(box.is_discrete)[:count]
        self.last = np.asarray(box.level_count)[:count] - 1
        self.levels = [levels[i, : self.last[i] + 1] if discrete[i] else None for i in range(count)]
        rows, bounds = np.asarray(problem.arrays.limit_rows), np.asarray(problem.arrays.limit_bounds)
        self.limits = np.flatnonzero(rows.any(axis=1))
        self.rows = np.concatenate([np.asarray(problem.arrays.objective)[None], rows])
        self.bounds = np.append(0.0, bounds)
        self.tangents: list[_Tangent] = []

    def look(self, unit: HostArray, variant: int) -> tuple[Point, HostArray, HostArray]:
        """The point, and values `[1 + C]` and slopes by place `[1 + C, P]` of the objective and of every limit."""
        base, state, slopes = linearise(self.problem, unit, variant, self.rows)
        slopes = slopes[:, : self.count].copy()
        for index, levels in enumerate(self.levels):
            if levels is not None:  # unit coordinates count levels; places measure them
                below = min(int(unit[index] * self.last[index] + 0.5), self.last[index] - 1)
                slopes[:, index] /= (levels[below + 1] - levels[below]) * self.last[index]
        result = judge(self.problem, base[None], state[None])
        keep = np.append(0, self.limits + 1)
        return Point.of(unit, variant, result, 0), (self.rows @ base - self.bounds)[keep], slopes[keep]

    def place(self, unit: HostArray) -> HostArray:
        """Values on each parameter's scale, 0 to 1 `[P]`."""
        return np.array(
            [
                unit[i] if levels is None else levels[round(unit[i] * self.last[i])]
                for i, levels in enumerate(self.levels)
            ]
        )

    def add(self, fresh: list[_Tangent], values: HostArray) -> None:
        """Take tangents at a point in, and drop those that its `values` disprove."""
        at = fresh[0].at
        self.tangents = [t for t in self.tangents if t.value + t.slope @ (at - t.at) < values[t.quantity] + _WRONG]
        self.tangents += fresh

    def solve(self, best: Point, radius: float) -> HostArray | None:
        """Unit coordinates of the most promising legal point within `radius` of the best; None if none promises enough."""
        try:
            from scipy.optimize import Bounds, LinearConstraint, milp
        except ImportError:
            raise MissingExtraError("scipy", "tune", "cutting planes") from None
        centre = self.place(best.unit)
        # columns: one per legal level, or one for a continuous place; then the objective, then excesses of limits
        columns = [np.array([0.0, 1.0]) if levels is None else levels for levels in self.levels]
        sizes = [1 if levels is None else len(levels) for levels in self.levels]
        begin = np.concatenate([[0], np.cumsum(sizes)])
        free, total = begin[-1], begin[-1] + 1 + len(self.limits)
        lower, upper = np.zeros(total), np.ones(total)
        lower[free], upper[free:] = -np.inf, np.inf
        weight = np.ones(total)
        for index, levels in enumerate(self.levels):
            part = slice(begin[index], begin[index + 1])
            if levels is None:
                lower[part] = max(0.0, centre[index] - radius)
                upper[part] = min(1.0, centre[index] + radius)
            else:
                here = int(np.argmin(np.abs(levels - centre[index])))
                close = (np.abs(levels - centre[index]) <= radius) | (np.abs(np.arange(len(levels)) - here) <= 1)
                upper[part] = close
                weight[part] = columns[index]
        owner = np.repeat(np.arange(self.count), sizes)
        rows = np.zeros((len(self.tangents), total))
        top = np.empty(len(self.tangents))
        for row, tangent in enumerate(self.tangents):
            rows[row, :free] = tangent.slope[owner] * weight[:free]
            rows[row, free + tangent.quantity] = -1.0
            top[row] = tangent.slope @ tangent.at - tangent.value
        discrete = [i for i, levels in enumerate(self.levels) if levels is not None]
        one = np.zeros((len(discrete), total))
        for row, index in enumerate(discrete):
            one[row, begin[index] : begin[index + 1]] = 1.0
        whole = np.zeros(total)
        whole[:free] = np.isin(owner, discrete)
        cost = np.zeros(total)
        cost[free], cost[free + 1 :] = 1.0, _STIFF
        constraints = [LinearConstraint(rows, -np.inf, top)]
        if discrete:
            constraints.append(LinearConstraint(one, 1.0, 1.0))
        found = milp(
            cost,
            constraints=constraints,
            bounds=Bounds(lower, upper),
            integrality=whole,
            options={"mip_rel_gap": 1e-4, "node_limit": _NODES},
        )
        known = best.objective + _STIFF * best.excess
        if found.x is None or found.fun > known - _GAIN:
            return None
        unit = np.zeros(len(self.problem.start))
        for index, levels in enumerate(self.levels):
            part = found.x[begin[index] : begin[index + 1]]
            unit[index] = part[0] if levels is None else np.argmax(part) / self.last[index]
        return snap(self.problem.arrays.box, unit)


def linearise(
    problem: Problem, unit: HostArray, variant: int, rows: HostArray, hardness: float = 1.0
) -> tuple[HostArray, HostArray, HostArray]:
    """Base quantities `[M]`, status, and the gradient `[R, P]` of every row `[R, M]` of them. Host, float64.

    At legal hardware, or (`hardness` 0) with discrete parameters interpolated between levels.
    """
    with jax.enable_x64(True):
        run = _linearise(problem.static)
        found = run(problem.on_device, unit, np.int32(variant), rows, np.float64(hardness))
        base, state, slopes = jax.tree.map(np.asarray, found)
    return base, state, np.where(np.isfinite(slopes), slopes, 0.0)


@functools.cache
def _linearise(static: Static) -> Any:
    def run(arrays: ProblemArrays, unit: Any, variant: Any, rows: Any, hardness: Any) -> Any:
        base, back, state = jax.vjp(
            lambda u: base_quantities(arrays, u, variant, hardness, static=static), unit, has_aux=True
        )
        return base, state, jax.vmap(lambda row: back(row)[0])(rows)

    return jax.jit(run)
