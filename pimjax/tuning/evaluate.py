"""Evaluate a problem: the kernel that is differentiated, and batches of legal points with feasibility.

`vmap` over points happens here. Points of one combination of choices share its design and schedule.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pimjax import status as status_bits
from pimjax.array_typing import Array, HostArray
from pimjax.chips import CHIPS
from pimjax.compiling import quick_compilation
from pimjax.config.build import Design
from pimjax.tuning.measures import base_of
from pimjax.tuning.parameters import apply, relaxed, snap
from pimjax.tuning.problem import Problem, ProblemArrays, Static

FEASIBLE = 1e-9
"""Largest relative excess over a limit that still counts as kept."""
PENALTY = 10.0
"""Merit of an infeasible point: its objective plus this times the sum of its excesses (logarithms)."""
FATAL = sum(bit for bit, (_, _, fatal) in status_bits.MEANING.items() if fatal)
_SMALL, _CHUNK = 64, 4096


class Evaluation(NamedTuple):
    """Legal points, evaluated. Host, float64."""

    base: HostArray  # [N, M] base quantities
    objective: HostArray  # [N] logarithm that is minimised
    excess: HostArray  # [N] sum of relative excesses over limits; 0 where feasible
    merit: HostArray  # [N] objective + PENALTY * excess; inf where the model refuses the point


def base_quantities(
    arrays: ProblemArrays, unit: Array, variant: Array, hardness: Array, *, static: Static
) -> tuple[Array, Array]:
    """Base quantities `[M]` and status at unit coordinates `[P]`. Kernel: pure, unbatched, differentiable in `unit`."""
    design, schedule = pick(arrays, variant)
    hardware = apply(arrays.box, relaxed(arrays.box, unit, hardness), design.hardware)
    return quantities(dataclasses.replace(design, hardware=hardware), schedule, static=static)


def pick(arrays: ProblemArrays, variant: Array) -> tuple[Design, Any]:
    """Design and schedule of one combination of choices."""
    only = arrays.designs.plan.policy.shape[0] == 1  # then nothing is copied per point

    def take(leaf: Any) -> Array:
        return jnp.asarray(leaf)[0 if only else variant]

    return jax.tree.map(take, (arrays.designs, arrays.schedules))


def quantities(design: Design, schedule: Any, *, static: Static) -> tuple[Array, Array]:
    """Base quantities `[M]` and status of one design. Kernel: pure, unbatched, differentiable in its hardware."""
    cost = CHIPS[static.chip_model].cost(
        design, schedule, capacity=static.capacity, fidelity=static.fidelity, critical=False
    )
    hardware = design.hardware
    quality = jnp.zeros(()) if static.quality is None else jnp.asarray(static.quality(hardware))
    return base_of(cost, quality), cost.status


def lagrangian(
    arrays: ProblemArrays,
    unit: Array,
    variant: Array,
    hardness: Array,
    multipliers: Array,
    penalty: Array,
    *,
    static: Static,
) -> tuple[Array, tuple[Array, Array]]:
    """Augmented Lagrangian of the objective's logarithm, and (objective, excess of each limit `[C]`)."""
    base, _ = base_quantities(arrays, unit, variant, hardness, static=static)
    objective = arrays.objective @ base
    excess = arrays.limit_rows @ base - arrays.limit_bounds
    pushed = jnp.maximum(multipliers + penalty * excess, 0.0)
    return objective + jnp.sum(pushed**2 - multipliers**2) / (2 * penalty), (objective, excess)


def evaluate(problem: Problem, unit: HostArray, variant: HostArray, *, once: bool = False) -> Evaluation:
    """Evaluate unit coordinates `[N, P]`, snapped to legal hardware, of combinations `[N]`. Host, float64.

    `once`: the problem is evaluated no more after this, so that compiling well would cost more than it saves.
    """
    unit = snap(problem.arrays.box, unit)
    variant = np.asarray(variant, np.int32)
    size = _SMALL if len(unit) <= 4 * _SMALL else _CHUNK
    out, states = [], []
    with jax.enable_x64(True):
        run = _batch(problem.static, once or size == _SMALL)
        for begin in range(0, len(unit), size):
            units, variants = unit[begin : begin + size], variant[begin : begin + size]
            count = len(units)
            pad = size - count
            base, state = run(
                problem.on_device,
                np.pad(units, ((0, pad), (0, 0)), mode="edge"),
                np.pad(variants, (0, pad), mode="edge"),
            )
            out.append(np.asarray(base)[:count])
            states.append(np.asarray(state)[:count])
    return judge(problem, np.concatenate(out), np.concatenate(states))


def judge(problem: Problem, base: HostArray, state: HostArray) -> Evaluation:
    """Objective, excess and merit of base quantities `[N, M]`."""
    arrays = problem.arrays
    objective = base @ np.asarray(arrays.objective)
    excess = np.maximum(base @ np.asarray(arrays.limit_rows).T - np.asarray(arrays.limit_bounds), 0.0)
    total = np.where(excess > FEASIBLE, excess, 0.0).sum(axis=-1)
    broken = (state & FATAL != 0) | ~np.isfinite(base).all(axis=-1)
    return Evaluation(base, objective, total, np.where(broken, np.inf, objective + PENALTY * total))


@functools.cache
def _batch(static: Static, small: bool) -> Any:
    """Small batches are asked for a few hundred times: compiling them well would cost more than it saves.

    Of values only: with these options the compiler (jaxlib 0.10) gives NaN for derivatives that are finite.
    """
    kernel = functools.partial(base_quantities, static=static)

    def run(arrays: ProblemArrays, unit: Array, variant: Array) -> tuple[Array, Array]:
        return jax.vmap(kernel, in_axes=(None, 0, 0, None))(arrays, unit, variant, jnp.ones((), unit.dtype))

    return jax.jit(run, compiler_options=quick_compilation() if small else None)
