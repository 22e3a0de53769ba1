"""Where the next nanosecond, nanojoule or square millimetre should go: d log measure / d log parameter."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import Array, HostArray
from pimjax.tuning.evaluate import evaluate, pick, quantities
from pimjax.tuning.measures import BASE, row
from pimjax.tuning.parameters import apply, hardware_of, leaf_names, relaxed
from pimjax.tuning.problem import Problem, ProblemArrays, Static


class Sensitivity(NamedTuple):
    """One parameter's row. Elasticities: percent per percent."""

    name: str
    value: float
    objective: float  # d log objective / d log parameter
    latency: float
    energy: float
    area: float
    quality: float  # d quality / d log parameter
    objective_per_mm2: float | None  # d log objective per mm2 that the parameter adds; None where it adds none
    objective_per_nj: float | None


def sensitivities(problem: Problem, unit: HostArray | None = None, variant: int = 0) -> list[Sensitivity]:
    """Elasticities at a point (default: the base configuration), strongest first. Host, float64.

    Tuned parameters come with their power laws; every other hardware number comes on its own. At a legal level of a
    discrete parameter the elasticity is that of the interpolation to the next level up (straight-through).

    Args:
        problem: from :func:`make_problem`.
        unit: coordinates `[P]`.
        variant: combination of choices.

    Returns:
        rows for every tuned parameter, and for every other hardware number with a finite value above 0 and an effect.
    """
    unit = problem.start if unit is None else unit
    with jax.enable_x64(True):
        values, leaves, by_value, by_leaf = jax.tree.map(
            np.asarray, _compiled(problem.static)(problem.on_device, jnp.asarray(unit, jnp.float64), np.int32(variant))
        )
    base = evaluate(problem, unit[None], np.array([variant])).base[0]
    rows = []
    for index, name in enumerate(problem.names):
        rows.append(_row(problem, name, float(values[index]), by_value[:, index], base))
    driven = {leaf for key, p in problem.config.parameters.items() for leaf in (p.drives or {key: 1.0})}
    for index, leaf in enumerate(leaf_names(problem.arrays.designs.hardware)):
        name = f"hardware.{leaf}"
        usable = np.isfinite(leaves[index]) and leaves[index] > 0 and np.isfinite(by_leaf[:, index]).all()
        if name not in driven and usable and np.any(by_leaf[:, index] != 0):
            rows.append(_row(problem, name, float(leaves[index]), by_leaf[:, index], base))
    return sorted(rows, key=lambda item: -abs(item.objective))


def _row(problem: Problem, name: str, value: float, slope: HostArray, base: HostArray) -> Sensitivity:
    """`slope` `[M]`: derivative of the base quantities by the parameter's value."""
    elastic = slope * value
    objective = float(elastic @ np.asarray(problem.arrays.objective))
    latency, energy, area = (float(elastic @ row(name)) for name in ("latency_ns", "energy_nj", "area_mm2"))
    return Sensitivity(
        name=name,
        value=value,
        objective=objective,
        latency=latency,
        energy=energy,
        area=area,
        quality=float(elastic[BASE.index("quality")]),
        objective_per_mm2=objective / (area * float(np.exp(base @ row("area_mm2")))) if area > 1e-9 else None,
        objective_per_nj=objective / (energy * float(np.exp(base @ row("energy_nj")))) if energy > 1e-9 else None,
    )


@functools.cache
def _compiled(static: Static) -> Any:
    """Values, leaves, and derivatives of base quantities by values `[M, P]` and by leaves `[M, F]`."""

    def run(arrays: ProblemArrays, unit: Array, variant: Array) -> Any:
        design, schedule = pick(arrays, variant)
        values = relaxed(arrays.box, unit, jnp.ones((), unit.dtype))
        leaves = jnp.stack(
            [jnp.asarray(getattr(design.hardware, name), unit.dtype) for name in leaf_names(design.hardware)]
        )

        def quantities_of(leaves: Array, values: Array) -> Array:
            hardware = apply(arrays.box, values, hardware_of(leaves, design.hardware))
            return quantities(dataclasses.replace(design, hardware=hardware), schedule, static=static)[0]

        slopes_leaf, slopes_value = jax.jacrev(quantities_of, argnums=(0, 1))(leaves, values)
        return values, leaves, slopes_value, slopes_leaf

    return jax.jit(run)
