"""Inputs and programs that more than one script times: routing, chips that all differ, cache steps, starts of a tuning."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import pimjax
from benchmarks.lib.tune_problems import problem_config
from pimjax.cache.capacity import CapacityLaw
from pimjax.cache.threshold import ThresholdState, threshold_step
from pimjax.estimation.routing import resolve
from pimjax.tuning.evaluate import base_quantities, lagrangian
from pimjax.tuning.problem import make_problem


def make_choices(traces: int, tokens: int, experts: int, top_k: int) -> np.ndarray:
    """Skewed token-choice routing: popularity differs per trace, `[N, T, E]`."""
    generator = np.random.default_rng(0)
    scores = generator.random((traces, tokens, experts)) + 0.3 * generator.random((traces, 1, experts))
    choices = np.zeros(scores.shape, bool)
    np.put_along_axis(choices, np.argsort(scores, axis=-1)[..., -top_k:], True, axis=-1)
    return choices


def kernel_inputs(
    preset: str, fidelity: str, overrides: dict[str, Any] | None = None
) -> tuple[Any, Any, dict[str, Any]]:
    """Design, schedule (None where the chip needs none) and static options of `pimjax.estimate_kernel`."""
    config = pimjax.load_config(preset, overrides)
    config, trace = resolve(config, None)
    design, capacity = pimjax.build(config)
    options = {"capacity": capacity, "chip_model": config.chip_model, "fidelity": fidelity}
    schedule = None
    if config.chip_model != "reference":
        schedule = pimjax.schedule_inputs(config, trace, fidelity=fidelity, capacity=capacity)
    return design, schedule, options


def vary_hardware(design: Any, points: int, *, spread: float = 0.1) -> Any:
    """Hardware of `[points]` chips, float32, every number different; counts of units stay whole."""
    generator = np.random.default_rng(7)
    leaves, tree = jax.tree_util.tree_flatten_with_path(design.hardware)
    out = []
    for path, leaf in leaves:
        values = np.asarray(leaf, np.float64) * generator.uniform(1 - spread, 1 + spread, (points, *np.shape(leaf)))
        if jax.tree_util.keystr(path).strip(".").startswith("num_"):
            values = np.maximum(1, np.round(values))
        out.append(jnp.asarray(values, jnp.float32))
    return jax.tree.unflatten(tree, out)


def cost_program(options: dict[str, Any]) -> Callable[..., Any]:
    """Latency, energy and area of chips `hardware [N]`, the rest of the design and the schedule shared."""

    def one(hardware: Any, design: Any, schedule: Any) -> Any:
        found = pimjax.estimate_kernel(design.replace(hardware=hardware), schedule, **options)
        return found.latency_ns, found.energy_nj, found.area_mm2

    return jax.vmap(one, in_axes=(0, None, None))


def gradient_program(options: dict[str, Any]) -> Callable[..., Any]:
    """Energy-delay product of chips `hardware [N]` and its derivative in every number of the hardware."""

    def one(hardware: Any, design: Any, schedule: Any) -> Any:
        return pimjax.estimate_kernel(design.replace(hardware=hardware), schedule, **options).edp_nj_ns

    return jax.vmap(jax.value_and_grad(one), in_axes=(0, None, None))


def admitted_scan(states: ThresholdState, scores: jax.Array, law: CapacityLaw) -> tuple[ThresholdState, Any]:
    """All steps of all sequences: admitted experts, bytes read and written."""

    def body(state: ThresholdState, row: jax.Array) -> tuple[ThresholdState, Any]:
        state, step = jax.vmap(threshold_step, in_axes=(0, 0, None))(state, row, law)
        return state, (step.admitted, step.bytes_read, step.bytes_written)

    return jax.lax.scan(body, states, scores)


def tuning_programs(name: str, starts: int) -> tuple[Callable[..., Any], Callable[..., Any], tuple[Any, Any]]:
    """Objective of a tuning problem's starts, the same with gradients and limits, and their arguments."""
    problem = make_problem(problem_config(name))
    arrays = jax.tree.map(jnp.asarray, problem.arrays)
    limits = jnp.zeros(len(problem.arrays.limit_bounds))

    def forward(units: Any, variants: Any) -> Any:
        kernel = functools.partial(base_quantities, static=problem.static)
        return (
            jax.vmap(kernel, in_axes=(None, 0, 0, None))(arrays, units, variants, jnp.float32(0))[0] @ arrays.objective
        )

    def value(unit: Any, variant: Any) -> Any:
        return lagrangian(arrays, unit, variant, jnp.float32(0), limits, jnp.float32(10), static=problem.static)[0]

    units = np.random.default_rng(0).random((starts, len(problem.start)))
    return forward, jax.vmap(jax.value_and_grad(value)), (jnp.asarray(units, jnp.float32), jnp.zeros(starts, jnp.int32))
