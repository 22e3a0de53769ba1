"""Derivatives of latency, energy and area by every hardware number against finite differences, in float64, both chips.

Whole-ns rounding is off. Numbers that enter through a ceiling have straight-through derivatives, which no difference
shows: they are named in `STRAIGHT_THROUGH` and checked to be finite. The chips are moved off round numbers by a few
percent, so that no `max` is at a tie (there the derivative is a subgradient).
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import pytest

from pimjax.config import Config
from pimjax.estimation.routing import resolve
from pimjax.trace import RoutingTrace
from pimjax.tuning import load_tune_config, make_problem
from pimjax.tuning.evaluate import pick, quantities
from pimjax.tuning.parameters import hardware_of, leaf_names

STRAIGHT_THROUGH = {
    "crossbar_rows",
    "crossbar_cols",
    "tiers",
    "num_attention_units",
    "weight_slices",
    "out_buffer_slots",
}
SMALL: dict[str, dict[str, Any]] = {
    "reference": {
        "base": "paper_reference",
        "set": {"plan.whole_ns": False, "workload.generated_tokens": 4, "workload.prefill": True, "workload.kv_cache": True},
    },
    "multiplexed": {
        "base": "paper_multiplexed",
        "set": {
            "system": "none", "plan.tile": "parametric", "workload.trace.kind": "zipf", "workload.trace.tokens": 6,
            "workload.generated_tokens": 3, "workload.kv_cache": True, "model.num_experts": 4, "model.top_k": 2,
        },
    },
}  # fmt: skip
SMALL["multiplexed, dies"] = {
    "base": "paper_multiplexed",
    "set": {**SMALL["multiplexed"]["set"], "system": "dies", "system.die_area_mm2": 100},
}
#: Latency, energy and area are compared with differences; the dies whose links take area are rounded, with a derivative
#: that passes through.
COMPARED = {"multiplexed, dies": 2}
#: Rounded on the way as STRAIGHT_THROUGH are, of a system.
WHOLE_DIES = {"system_dies_per_package", "system_die_link_by_area"}


@functools.cache
def directional(chip: str):
    """Leaves at a generic point, `(points, directions, case) -> (logs of latency, energy, area, derivatives)`, and the cases.

    Rows of points and directions: one program, compiled once, serves every number and every difference.
    """
    run = SMALL[chip] | {"parameters": {"hardware.mvm_latency_ns": {"low": 50, "high": 200}}}
    if chip != "reference":  # case 0: groups of 2; 1: one group; 2: everyone alone; then the same with other loads
        run["parameters"] = run["parameters"] | {"plan.group_size": {"kind": "categorical", "choices": [2, 4, 1]}}
    config = load_tune_config(run)
    problems = [make_problem(config)]
    if chip != "reference":
        problems += [make_problem(config, trace=trace) for trace in edge_traces(problems[0].configs[0])]
    with jax.enable_x64(True):
        cases = [pick(problem.on_device, np.int32(v)) for problem in problems for v in range(problem.num_variants)]
        names = leaf_names(cases[0][0].hardware)
        leaves = np.array([float(getattr(cases[0][0].hardware, name)) for name in names])

        def costs(leaves: jax.Array, case: Any) -> jax.Array:
            return quantities(
                case[0].replace(hardware=hardware_of(leaves, case[0].hardware)), case[1], static=problems[0].static
            )[0][:3]

        def both(point: jax.Array, direction: jax.Array, case: Any) -> Any:
            return jax.jvp(lambda x: costs(x, case), (point,), (direction,))

        run_both = jax.jit(jax.vmap(both, in_axes=(0, 0, None)))

    def call(points: np.ndarray, directions: np.ndarray, case: int = 0) -> tuple[np.ndarray, np.ndarray]:
        with jax.enable_x64(True):
            points = np.broadcast_to(points, directions.shape)
            return jax.tree.map(np.asarray, run_both(points, directions, cases[case]))

    return names, leaves, call, len(cases)


def edge_traces(config: Config) -> list[RoutingTrace]:
    """Requests of the configuration's shape: experts 2 and 3 never chosen (load 0), and all loads equal."""
    shape = np.asarray(resolve(config, None)[1].choices)[0].shape
    idle, equal = np.zeros(shape, bool), np.zeros(shape, bool)
    idle[..., :2] = True
    tokens = np.arange(shape[1])
    for choice in range(2):
        equal[:, tokens, (2 * tokens + choice) % shape[2]] = True
    return [RoutingTrace.from_choices(idle), RoutingTrace.from_choices(equal)]


@pytest.mark.parametrize("chip", SMALL)
def test_every_hardware_number(chip: str) -> None:
    names, leaves, call, _ = directional(chip)
    generator = np.random.default_rng(0)
    usable = np.isfinite(leaves) & (leaves > 0)
    shift = np.where(usable, generator.uniform(1.01, 1.04, len(leaves)), 1.0)
    point = np.where(usable, leaves * shift, leaves)
    directions = np.diag(np.where(usable, point, 0.0))  # per cent of each number that has some
    step = 1e-5
    slopes = call(point, directions)[1]
    up, down = (call(point + sign * step * directions, directions)[0] for sign in (1, -1))
    differences = (up - down) / (2 * step)
    assert np.isfinite(slopes[usable]).all()
    slopes, differences = slopes[:, : COMPARED.get(chip)], differences[:, : COMPARED.get(chip)]
    wrong = {
        name: (slope.tolist(), difference.tolist())
        for name, slope, difference, known in zip(names, slopes, differences, usable, strict=True)
        if known
        and name not in STRAIGHT_THROUGH | WHOLE_DIES
        and not np.allclose(slope, difference, rtol=1e-4, atol=1e-8)
    }
    assert not wrong
    moved = [name not in STRAIGHT_THROUGH and bool(np.any(s != 0)) for name, s in zip(names, slopes, strict=True)]
    assert sum(moved) > 15  # the chip does depend on its numbers


@pytest.mark.parametrize("chip", SMALL)
def test_no_nan_on_boundaries(chip: str) -> None:
    """Free transfers and units, one unit of each kind, the untouched chip with its ties; no load, one group, equal loads."""
    names, leaves, call, cases = directional(chip)
    directions = np.eye(len(leaves))
    for case in range(cases):
        values, slopes = call(leaves, directions, case)
        assert np.isfinite(values).all(), case
        assert not np.isnan(slopes).any(), (case, [names[i] for i in np.flatnonzero(np.isnan(slopes).any(axis=1))])
    free = ("link_latency_ns_per_256", "add_latency_ns_per_256", "relu_latency_ns", "norm_latency_ns_per_256")
    corners = (
        dict.fromkeys(free, 0.0),
        {"num_digital_units": 1.0, "num_attention_units": 1.0},
        {"mux_on_resistance_kohm": 0.0, "idle_power_w_per_mm2": 0.0, "sram_cache_bytes": 0.0},
    )
    for corner in corners:
        point = leaves.copy()
        for name, value in corner.items():
            if name in names:  # numbers that this chip does not have stay away
                point[names.index(name)] = value
        slopes = call(point, directions)[1]
        assert not np.isnan(slopes).any(), (corner, [names[i] for i in np.flatnonzero(np.isnan(slopes).any(axis=1))])
