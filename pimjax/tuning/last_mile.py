"""The last mile: L-BFGS-B over the continuous parameters of one start, discrete ones held at their legal levels."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import MissingExtraError
from pimjax.tuning.evaluate import evaluate, lagrangian
from pimjax.tuning.polish import Point
from pimjax.tuning.problem import Problem, Static

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
        best = int(np.argmin(result.merit))
        if result.merit[best] < point.merit:
            point = Point(trials[best], point.variant, result.base[best], float(result.merit[best]))
        excess = rows @ result.base[0] - bounds
        multipliers = np.clip(multipliers + penalty * excess, 0.0, 1e6)
        penalty *= _GROWTH
    return point, gradients, evaluations


def gradient(
    problem: Problem, unit: HostArray, variant: int, multipliers: HostArray, penalty: float
) -> tuple[float, HostArray]:
    """Augmented Lagrangian and its gradient `[P]` at one point, discrete parameters interpolated. Host, float64."""
    with jax.enable_x64(True):
        value, slope = _gradient(problem.static)(
            problem.on_device, unit, np.int32(variant), np.float64(0), multipliers, np.float64(penalty)
        )
        return float(value), np.where(np.isfinite(slope), slope, 0.0)


@functools.cache
def _gradient(static: Static) -> Any:
    def value(arrays: Any, unit: Any, variant: Any, hardness: Any, multipliers: Any, penalty: Any) -> Any:
        return lagrangian(arrays, unit, variant, hardness, multipliers, penalty, static=static)[0]

    return jax.jit(jax.value_and_grad(value, argnums=1))
