"""The event engine's word on finished chips: limits that the fast model's error hides are found, and repaired.

The exact engine may find a limit broken that the differentiated model keeps. Then that limit is tightened so far that the
fast model, with its error at this chip, would keep it (the error of neighbours is nearly the same), the chip is repaired
under the tightened limits and checked again, `ROUNDS` times; then the next finished chips follow, and last the base chip.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.config.config import Config
from pimjax.errors import CapacityError
from pimjax.estimation.api import estimate
from pimjax.estimation.result import Estimate
from pimjax.tuning.evaluate import evaluate
from pimjax.tuning.measures import QUALITIES
from pimjax.tuning.parameters import snap
from pimjax.tuning.points import Point
from pimjax.tuning.polish import polish, repair, reweighed
from pimjax.tuning.problem import Problem

ROUNDS = 3
"""Repairs of one chip."""
CHIPS = 3
"""Finished chips that are checked before the base chip is returned."""
_KEPT = 1e-6
"""Largest relative excess by the event engine that still counts as kept: rounding of another order of additions."""
_MARGIN = 1.05


class Checked(NamedTuple):
    """A chip and what the event engine says of it; `event` is None where it is too large for it."""

    point: Point
    event: Estimate | None
    excess: dict[str, float]  # limits found broken: relative excess


def check(
    problem: Problem, points: list[Point], say: Callable[[str], None] = lambda sentence: None
) -> tuple[Checked, Checked, int]:
    """The base chip and the best of the finished `points` that keeps its limits by the event engine. Host.

    Returns:
        base, chip (the first of `points` with its excess where none keeps the limits), and evaluations of the fast model.
    """
    exact = _event(problem, problem.configs[0])
    shift = _base_shift(problem, exact)
    start = snap(problem.arrays.box, problem.start)
    found = evaluate(problem, start[None], np.zeros(1, int))
    base_point = Point.of(start, 0, found, 0)
    base = Checked(base_point, exact, _names(problem, _excess(problem, exact, shift)))
    first: Checked | None = None
    spent = 1
    for point in points[:CHIPS]:
        if first is not None and (point.excess > 0 or _same(point, first.point)):
            continue
        checked, some = _settle(problem, point, shift, say)
        spent += some
        first = first or checked
        if not checked.excess:
            return base, checked, spent
    # the base itself only where it is legal hardware, not a point between levels
    if base_point.excess == 0 and not base.excess and np.allclose(start, problem.start):
        say("no finished chip keeps the limits by the event engine: the base chip does")
        return base, base, spent
    assert first is not None
    return base, first, spent


def _same(one: Point, other: Point) -> bool:
    return one.variant == other.variant and np.allclose(one.unit, other.unit, atol=1e-9)


def _settle(problem: Problem, point: Point, shift: HostArray, say: Callable[[str], None]) -> tuple[Checked, int]:
    """A chip, repaired until the event engine finds its limits kept or `ROUNDS` are over; what was found first otherwise."""
    event = _event(problem, problem.configuration(point.unit, point.variant))
    excess = _excess(problem, event, shift)
    first = Checked(point, event, _names(problem, excess))
    if point.excess > 0 or not first.excess:
        return first, 0
    spent, bounds = 0, np.asarray(problem.arrays.limit_bounds).copy()
    sweeps = problem.config.optimiser.polish_sweeps
    for _ in range(ROUNDS):
        say(f"the event engine finds {', '.join(_names(problem, excess))} over the limit: repairing")
        fast = np.asarray(problem.arrays.limit_rows) @ point.base
        bounds = np.where(excess > 0, np.minimum(bounds, fast - _MARGIN * excess), bounds)
        tight = dataclasses.replace(problem, arrays=dataclasses.replace(problem.arrays, limit_bounds=bounds))
        moved, some = repair(tight, reweighed(tight, point), sweeps=sweeps)
        spent += some
        if moved.excess > 0:
            break
        moved, some = polish(tight, moved, sweeps=sweeps)
        point, spent = reweighed(problem, moved), spent + some
        event = _event(problem, problem.configuration(point.unit, point.variant))
        excess = _excess(problem, event, shift)
        if not (names := _names(problem, excess)):
            return Checked(point, event, names), spent
    return first, spent


def _event(problem: Problem, config: Config) -> Estimate | None:
    try:
        return estimate(config, problem.trace, "event")
    except CapacityError:
        return None


def _base_shift(problem: Problem, exact: Estimate | None) -> HostArray:
    """What the bounds `[C]` of limits relative to the base change when the base is measured by the event engine."""
    shift = np.zeros(len(problem.arrays.limit_bounds))
    if exact is None:
        return shift
    fast = evaluate(problem, problem.start[None], np.zeros(1, int)).base[0]
    for index, limit in enumerate(problem.config.limits):
        if limit.of_base and limit.measure not in QUALITIES:
            shift[index] = np.asarray(problem.arrays.limit_rows)[index] @ (event_base_quantities(exact) - fast)
    return shift


def _excess(problem: Problem, event: Estimate | None, shift: HostArray) -> HostArray:
    """Excess `[C]` (logarithms) over every limit by the event engine; 0 where it says nothing."""
    if event is None:
        return np.zeros(len(problem.arrays.limit_bounds))
    rows, bounds = np.asarray(problem.arrays.limit_rows), np.asarray(problem.arrays.limit_bounds)
    excess = rows @ event_base_quantities(event) - bounds - shift
    asked = [limit.measure not in QUALITIES for limit in problem.config.limits]
    asked += [False] * (len(bounds) - len(asked))
    return np.where(np.array(asked) & (excess > _KEPT), excess, 0.0)


def _names(problem: Problem, excess: HostArray) -> dict[str, float]:
    """Broken limits by measure: relative excess."""
    return {
        limit.measure: float(np.expm1(value))
        for limit, value in zip(problem.config.limits, excess, strict=False)
        if value
    }


def event_base_quantities(result: Estimate) -> HostArray:
    """Base quantities `[M]` (logarithms; quality 0) of an estimate of any fidelity. Host."""
    tokens = float(result.tokens_per_s) * float(result.latency_ns) * 1e-9
    amounts = [
        result.latency_ns,
        result.energy_nj,
        result.area_mm2,
        result.flops,
        tokens,
        result.moe_latency_ns,
        result.moe_area_mm2,
    ]
    return np.append(np.log(np.maximum(np.array(amounts, np.float64), 1e-30)), 0.0)
