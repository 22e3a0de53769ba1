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
_SMALL, _CHUNK = 64, 512
"""Points evaluated at once. Temporaries of a point with many dies take up to 4.4 MB (Mixtral 8x7B, measured)."""
_CHUNK_BYTES = 2 << 30
"""What designs and schedules of one chunk may take of the memory, copied for every point."""
_WORTH_COMPILING = 1e10
"""Points times their bytes from which on compiling well (8 s more) pays: it saves 40 % of a point's time (measured)."""


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

    `once`: the problem is evaluated no more after this, so that compiling well costs more than it saves, unless the points
    are many and large.
    """
    unit = snap(problem.arrays.box, unit)
    variant = np.asarray(variant, np.int32)
    own = [np.flatnonzero(variant == one) for one in range(problem.num_variants)]
    # points of one combination, where there are many of each, share its design and schedule: nothing is copied per point
    shared = problem.num_variants > 1 and min(map(len, own)) >= _CHUNK // 2
    each = _point_bytes(problem)
    size = _SMALL if len(unit) <= 4 * _SMALL else _chunk(each)
    base, states = np.zeros((len(unit), problem.arrays.objective.shape[0])), np.zeros(len(unit), int)
    with jax.enable_x64(True):
        run = _batch(problem.static, (once and len(unit) * each < _WORTH_COMPILING) or size == _SMALL)
        for place, rows in enumerate(own) if shared else [(None, np.arange(len(unit)))]:
            arrays = problem.on_device if place is None else _only(problem.on_device, place)
            for begin in range(0, len(rows), size):
                chosen = rows[begin : begin + size]
                padded = np.pad(chosen, (0, size - len(chosen)), mode="edge")
                found, state = run(arrays, unit[padded], variant[padded])
                base[chosen], states[chosen] = np.asarray(found)[: len(chosen)], np.asarray(state)[: len(chosen)]
    return judge(problem, base, states)


def _only(arrays: ProblemArrays, variant: int) -> ProblemArrays:
    """The arrays of one combination of choices."""
    designs, schedules = jax.tree.map(lambda leaf: leaf[variant : variant + 1], (arrays.designs, arrays.schedules))
    return dataclasses.replace(arrays, designs=designs, schedules=schedules)


def _point_bytes(problem: Problem) -> float:
    """Bytes of the design and schedule of one combination of choices."""
    leaves = jax.tree.leaves((problem.arrays.designs, problem.arrays.schedules))
    return sum(np.asarray(leaf).nbytes for leaf in leaves) / problem.num_variants


def _chunk(each: float) -> int:
    """Points of so many bytes that are evaluated at once: as many as fit the memory, a power of two.

    >>> _chunk(1e3), _chunk(8e6), _chunk(19e6)
    (512, 256, 64)
    """
    size = _CHUNK
    while size > _SMALL and size * each > _CHUNK_BYTES:
        size //= 2
    return size


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
