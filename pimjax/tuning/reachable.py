"""What limits can be met: the nearest reachable value of a limit that no chip keeps, found by seeking nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.tuning.cutting import cut
from pimjax.tuning.evaluate import FEASIBLE, Evaluation
from pimjax.tuning.measures import value_of
from pimjax.tuning.model_search import FEW, Goal, ModelSearch
from pimjax.tuning.points import Point, ranked
from pimjax.tuning.polish import polish, reweighed
from pimjax.tuning.problem import Problem

_BEGINNINGS = 4
"""Points of different combinations from which the nearest value of a limit is sought."""


class Reach(NamedTuple):
    """Limits that cannot be met."""

    values: dict[str, float] = {}  # noqa: RUF012  # immutable by use; measure -> nearest value found
    sentence: str = ""
    spent: int = 0
    gradients: int = 0
    points: tuple[Point, ...] = ()  # the chips that come nearest to each of those limits


def closest_first(points: list[Point]) -> list[Point]:
    """Points of a problem whose limits cannot all be met: least excess first, then the objective."""
    return sorted(points, key=lambda point: (not np.isfinite(point.merit), round(point.excess, 9), point.objective))


def reach_of_starts(
    problem: Problem, units: HostArray, variants: HostArray, result: Evaluation, points: list[Point] | None = None
) -> Reach:
    """Limits that no start keeps and that cannot be met on their own, sought by cutting planes and polish. Host.

    Args:
        problem: as made.
        units, variants, result: legal points and their evaluation.
        points: finished points, where the search is over: then limits that cannot be met *together* are named, too.
    """
    rows, bounds = np.asarray(problem.arrays.limit_rows), np.asarray(problem.arrays.limit_bounds)
    usable = np.isfinite(result.merit)
    excess = result.base @ rows.T - bounds
    known = [Point.of(units[i], variants[i], result, int(i)) for i in np.flatnonzero(usable)] + list(points or [])
    found: dict[int, tuple[float, Point]] = {}
    spent = gradients = 0
    for index in range(len(problem.config.limits)):
        if not usable.any() or (excess[usable, index] <= FEASIBLE).any():
            continue
        alone = _alone(problem, index)
        order = ranked([reweighed(alone, point) for point in known])
        firsts = list({point.variant: point for point in reversed(order)}.values())[::-1]
        best = order[0]
        for point in ranked(firsts)[:_BEGINNINGS]:
            point, slopes = cut(alone, point, steps=problem.config.optimiser.cutting_steps)
            point, some = polish(alone, point, sweeps=problem.config.optimiser.polish_sweeps)
            spent, gradients = spent + some, gradients + slopes
            best = point if point.beats(best) else best
            if best.objective <= bounds[index] + FEASIBLE:
                break
        if best.objective > bounds[index] + FEASIBLE:
            found[index] = (float(value_of(problem.config.limits[index].measure, best.base)), best)
    closest = None if points is None else closest_first(points)[0]
    return Reach(*_said(problem, found, closest), spent, gradients, _nearest(problem, found))


def reach_by_model(problem: Problem, search: ModelSearch, closest: Point) -> Reach:
    """The same for a problem whose legal points are listed; evaluates `FEW` more points at most for each limit."""
    goal = Goal.of(problem)
    rows, bounds = np.asarray(problem.arrays.limit_rows), np.asarray(problem.arrays.limit_bounds)
    found: dict[int, tuple[float, Point]] = {}
    for index, limit in enumerate(problem.config.limits):
        search.budget = min(len(search.level), search.spent + FEW)
        search.run(Goal(rows[index], goal.rows[:0], goal.bounds[:0]))
        best = search.best(Goal(rows[index], goal.rows[:0], goal.bounds[:0]))
        base = search.base[best]
        if rows[index] @ base > bounds[index] + FEASIBLE:
            place = search.index[best]
            point = Point(search.unit(np.array([place]))[0], int(search.variant[place]), base, 0.0, 0.0, 0.0)
            found[index] = (float(value_of(limit.measure, base)), point)
    return Reach(*_said(problem, found, closest), points=_nearest(problem, found))


def _nearest(problem: Problem, found: dict[int, tuple[float, Point]]) -> tuple[Point, ...]:
    return tuple(reweighed(problem, point) for _, point in found.values())


def _alone(problem: Problem, index: int) -> Problem:
    """The problem of one limit: its measure is the objective, and nothing limits it."""
    arrays = problem.arrays
    alone = dataclasses.replace(
        arrays,
        objective=np.asarray(arrays.limit_rows)[index],
        limit_rows=np.zeros_like(arrays.limit_rows),
        limit_bounds=np.ones_like(arrays.limit_bounds),
    )
    return dataclasses.replace(problem, arrays=alone)


def _said(
    problem: Problem, found: dict[int, tuple[float, Point]], closest: Point | None
) -> tuple[dict[str, float], str]:
    rows, bounds = np.asarray(problem.arrays.limit_rows), np.asarray(problem.arrays.limit_bounds)
    limits = problem.config.limits
    if found:
        parts = []
        for index, (value, point) in found.items():
            limit = limits[index]
            side = "smallest" if limit.at_most is not None else "largest"
            where = ", ".join(
                f"{key} {_short(item)}" for key, item in problem.settings(point.unit, point.variant).items()
            )
            parts.append(
                f"the limit {_text(problem, index)} cannot be met: the {side} reachable {limit.measure} is {value:.6g} ({where})"
            )
        return {limits[i].measure: value for i, (value, _) in found.items()}, "; ".join(parts)
    if closest is None or closest.excess <= 0:
        return {}, ""
    missed = []
    for index in range(len(limits)):
        over = float(rows[index] @ closest.base - bounds[index])
        if over > FEASIBLE:
            value = float(value_of(limits[index].measure, closest.base))
            missed.append(f"{_text(problem, index)} (there {value:.6g})")
    return {}, (
        f"no chip that was found keeps all limits together, though each can be met alone; the closest misses {', '.join(missed)}"
    )


def _text(problem: Problem, index: int) -> str:
    limit = problem.config.limits[index]
    row, bound = np.asarray(problem.arrays.limit_rows)[index], float(np.asarray(problem.arrays.limit_bounds)[index])
    place = int(np.argmax(np.abs(row)))
    if limit.of_base:  # the bound as a number: solve row @ base = bound along one quantity
        base = np.zeros(len(row))
        base[place] = bound / row[place]
        number = float(value_of(limit.measure, base))
    else:
        number = limit.bound
    return f"{limit.measure} {'<=' if limit.at_most is not None else '>='} {number:.6g}"


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
