"""The last mile: L-BFGS-B over the continuous parameters of one start, discrete ones held at their legal levels."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import MissingExtraError
from pimjax.tuning.cutting import linearise
from pimjax.tuning.evaluate import evaluate
from pimjax.tuning.points import Point, best_of
from pimjax.tuning.problem import Problem

ROUNDS = 4
"""Updates of the multipliers of the limits; each is one run of L-BFGS-B."""
_GROWTH = 10.0
_PULL_BACK = 1e-3


def last_mile(problem: Problem, point: Point, *, steps: int) -> tuple[Point, int, int]:
    """Improve the continuous parameters of a legal point. Host.

    Args:
        problem: as made.
        point: where to begin; never left for a worse one.
        steps: iterations per round; 0 does nothing.

    Returns:
        the better point, gradients taken, evaluations taken.
    """
    free = ~np.asarray(problem.arrays.box.is_discrete) & (np.arange(len(point.unit)) < problem.num_parameters)
    if not free.any() or steps == 0:
        return point, 0, 0
    try:
        from scipy.optimize import minimize
    except ImportError:
        raise MissingExtraError("scipy", "tune", "the last mile of tuning") from None
    gradients = evaluations = 0
    multipliers = np.zeros(len(problem.arrays.limit_bounds))
    penalty = problem.config.optimiser.penalty
    bounds = np.asarray(problem.arrays.limit_bounds)
    rows = np.asarray(problem.arrays.limit_rows)
    unit, variant = point.unit.copy(), point.variant
    for _ in range(ROUNDS):

        def cost(
            inner: HostArray, unit: HostArray = unit, multipliers: HostArray = multipliers, penalty: float = penalty
        ) -> Any:
            nonlocal gradients
            gradients += 1
            whole = unit.copy()
            whole[free] = inner
            value, slope = gradient(problem, whole, variant, multipliers, penalty)
            return value, slope[free]

        found = minimize(
            cost,
            unit[free],
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, 1.0)] * int(free.sum()),
            options={"maxiter": steps},
        )
        unit = unit.copy()
        unit[free] = np.clip(found.x, 0.0, 1.0)
        # the augmented solution may break a limit a little: also try it pulled back towards the feasible start
        trials = np.stack([unit, unit + _PULL_BACK * (point.unit - unit), unit + 10 * _PULL_BACK * (point.unit - unit)])
        result = evaluate(problem, trials, np.full(len(trials), point.variant))
        evaluations += len(trials)
        found_point = best_of(trials, np.full(len(trials), point.variant), result)
        point = found_point if found_point.beats(point) else point
        excess = rows @ result.base[0] - bounds
        multipliers = np.clip(multipliers + penalty * excess, 0.0, 1e6)
        penalty *= _GROWTH
    return point, gradients, evaluations


def gradient(
    problem: Problem, unit: HostArray, variant: int, multipliers: HostArray, penalty: float
) -> tuple[float, HostArray]:
    """Augmented Lagrangian and its gradient `[P]` at one point, discrete parameters interpolated. Host, float64.

    Of one sum: put together from the gradients of its terms, which the compiled program of the cutting planes gives.
    """
    limits, bounds = np.asarray(problem.arrays.limit_rows), np.asarray(problem.arrays.limit_bounds)
    objective = np.asarray(problem.arrays.objective)
    base, _, slopes = linearise(problem, unit, variant, np.concatenate([objective[None], limits]), 0.0)
    pushed = np.maximum(multipliers + penalty * (limits @ base - bounds), 0.0)
    value = objective @ base + np.sum(pushed**2 - multipliers**2) / (2 * penalty)
    return float(value), slopes[0] + pushed @ slopes[1:]
