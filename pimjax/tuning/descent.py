"""Gradient descent of many starts at once: an optax optimiser inside a scan, vmapped over starts.

Coordinates stay in the unit box by projection, so that optima on a bound are reached exactly. Limits enter by an
augmented Lagrangian whose multipliers are updated every `MULTIPLIER_STEPS` steps. From `anneal_from` on, discrete
parameters are drawn towards their nearest legal level (straight-through), all the way at the end.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from pimjax.array_typing import HostArray
from pimjax.errors import MissingExtraError
from pimjax.tuning.evaluate import lagrangian
from pimjax.tuning.problem import Problem, ProblemArrays, Static

MULTIPLIER_STEPS = 4


@struct.dataclass
class Lanes:
    """State of all starts between chunks; what a checkpoint holds. `N` starts, `P` parameters, `C` limits."""

    unit: Any  # [N, P]
    variant: Any  # [N] int32
    multipliers: Any  # [N, C]
    optimiser: Any  # optax state, leaves [N, ...]
    step: Any  # [] int32
    objective: Any  # [N] of the last step
    excess: Any  # [N]


@struct.dataclass
class Schedule:
    """Numbers of the run that are data."""

    learning_rate: Any
    steps: Any
    penalty: Any
    anneal_from: Any


def optax_module() -> Any:
    """optax, or the sentence that says how to install it."""
    try:
        import optax
    except ImportError:
        raise MissingExtraError("optax", "tune", "gradient tuning") from None
    return optax


def start_lanes(problem: Problem, unit: HostArray, variant: HostArray) -> Lanes:
    """Lanes at unit coordinates `[N, P]` of combinations `[N]`."""
    count = len(unit)
    limits = len(problem.arrays.limit_bounds)
    with jax.enable_x64(True):
        state = jax.vmap(_optimiser(problem.config.optimiser.name).init)(jnp.asarray(unit))
        state = jax.tree.map(np.asarray, state)
    zeros = np.zeros(count)
    return Lanes(
        unit=np.asarray(unit, np.float64),
        variant=np.asarray(variant, np.int32),
        multipliers=np.zeros((count, limits)),
        optimiser=state,
        step=np.int32(0),
        objective=zeros,
        excess=zeros,
    )


def descend(problem: Problem, lanes: Lanes, steps: int) -> tuple[Lanes, dict[str, HostArray]]:
    """Advance all lanes by `steps` gradient steps. Host; returns lanes and per-step records `[steps, N]`.

    Costs `steps` gradients per lane.
    """
    options = problem.config.optimiser
    schedule = Schedule(
        *(np.float64(x) for x in (options.learning_rate, options.steps, options.penalty, options.anneal_from))
    )
    with jax.enable_x64(True):
        run = compiled_descent(problem.static, options.name, steps)
        lanes, records = run(problem.on_device, lanes, schedule)
        return jax.tree.map(np.asarray, (lanes, records))


@functools.cache
def _optimiser(name: str) -> Any:
    """The optax transformation without its learning rate, which the schedule applies."""
    optax = optax_module()
    rules = {
        "adam": lambda: optax.scale_by_adam(b1=0.8, b2=0.95),
        "adamw": lambda: optax.chain(optax.scale_by_adam(b1=0.8, b2=0.95), optax.add_decayed_weights(1e-4)),
        "sgd": lambda: optax.trace(decay=0.8),
        "lion": lambda: optax.scale_by_lion(),
        "rmsprop": lambda: optax.scale_by_rms(decay=0.95),
    }
    return rules[name]()


@functools.cache
def compiled_descent(static: Static, name: str, steps: int) -> Any:
    """`(arrays, lanes, schedule) -> (lanes, records)`, jitted."""
    rule = _optimiser(name)

    def one_step(arrays: ProblemArrays, schedule: Schedule, step: Any, lane: Lanes) -> Lanes:
        progress = step / jnp.maximum(schedule.steps - 1, 1)
        hardness = jnp.clip((progress - schedule.anneal_from) / jnp.maximum(1 - schedule.anneal_from, 1e-9), 0.0, 1.0)
        (_, (objective, excess)), slope = jax.value_and_grad(
            lambda unit: lagrangian(
                arrays, unit, lane.variant, hardness, lane.multipliers, schedule.penalty, static=static
            ),
            has_aux=True,
        )(lane.unit)
        slope = jnp.where(jnp.isfinite(slope), slope, 0.0)
        update, state = rule.update(slope, lane.optimiser, lane.unit)
        rate = schedule.learning_rate * (0.1 + 0.45 * (1 + jnp.cos(jnp.pi * progress)))
        unit = jnp.clip(lane.unit - rate * update, 0.0, 1.0)
        raised = jnp.clip(lane.multipliers + schedule.penalty * excess, 0.0, 1e3)
        now = (step + 1) % MULTIPLIER_STEPS == 0
        return dataclasses.replace(
            lane,
            unit=unit,
            multipliers=jnp.where(now, raised, lane.multipliers),
            optimiser=state,
            objective=objective,
            excess=jnp.sum(jnp.maximum(excess, 0.0)),
        )

    axes = Lanes(unit=0, variant=0, multipliers=0, optimiser=0, step=None, objective=0, excess=0)  # type: ignore[arg-type]

    def run(arrays: ProblemArrays, lanes: Lanes, schedule: Schedule) -> tuple[Lanes, dict[str, Any]]:
        def body(lanes: Lanes, _: None) -> tuple[Lanes, dict[str, Any]]:
            advanced = jax.vmap(
                lambda lane: one_step(arrays, schedule, lane.step, lane), in_axes=(axes,), out_axes=axes
            )(lanes)
            advanced = dataclasses.replace(advanced, step=lanes.step + 1)
            return advanced, {"objective": advanced.objective, "excess": advanced.excess}

        return jax.lax.scan(body, lanes, None, length=steps)

    return jax.jit(run)
