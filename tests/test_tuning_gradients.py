"""Derivatives of latency, energy and area by every hardware number against finite differences, in float64, both chips.

Whole-ns rounding is off. Numbers that enter through a ceiling have straight-through derivatives, which no difference
shows: they are named in `STRAIGHT_THROUGH` and checked to be finite. The chips are moved off round numbers by a few
percent, so that no `max` is at a tie (there the derivative is a subgradient).
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pimjax.config import Config
from pimjax.config.hardware import Hardware
from pimjax.estimation.routing import resolve
from pimjax.trace import RoutingTrace
from pimjax.tuning import load_tune_config, make_problem
from pimjax.tuning.evaluate import pick, quantities
from pimjax.tuning.parameters import LEAVES

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
        "config": "paper_reference",
        "set": {"plan.whole_ns": False, "workload.generated_tokens": 4, "workload.prefill": True, "workload.kv_cache": True},
    },
    "multiplexed": {
        "config": "paper_multiplexed",
        "set": {
            "plan.tile": "parametric", "workload.trace.kind": "zipf", "workload.trace.tokens": 6,
            "workload.generated_tokens": 3, "workload.kv_cache": True, "model.num_experts": 4, "model.top_k": 2,
        },
    },
}  # fmt: skip


@functools.cache
def directional(chip: str):
    """Leaves at a generic point, and `(leaves, direction, case) -> (logs of latency, energy, area), derivative`."""
    run = SMALL[chip] | {"parameters": {"hardware.mvm_latency_ns": {"low": 50, "high": 200}}}
    if chip == "multiplexed":  # case 0: groups of 2; 1: one group; 2: everyone alone; then the same with other loads
        run["parameters"] = run["parameters"] | {"plan.group_size": {"kind": "categorical", "choices": [2, 4, 1]}}
    config = load_tune_config(run)
    problems = [make_problem(config)]
    if chip == "multiplexed":
        problems += [make_problem(config, trace=trace) for trace in edge_traces(problems[0].configs[0])]
    with jax.enable_x64(True):
        cases = [pick(problem.on_device, np.int32(v)) for problem in problems for v in range(problem.num_variants)]
        leaves = np.array([float(getattr(cases[0][0].hardware, name)) for name in LEAVES])

        def costs(leaves: jax.Array, case: Any) -> jax.Array:
            hardware = Hardware(**{name: leaves[index] for index, name in enumerate(LEAVES)})
            return quantities(case[0].replace(hardware=hardware), case[1], static=problems[0].static)[0][:3]

        run_both = jax.jit(lambda leaves, direction, case: jax.jvp(lambda x: costs(x, case), (leaves,), (direction,)))

    def call(leaves: np.ndarray, direction: np.ndarray, case: int = 0) -> tuple[np.ndarray, np.ndarray]:
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, run_both(jnp.asarray(leaves), jnp.asarray(direction), cases[case]))

    return leaves, call, len(cases)


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
    leaves, call, _ = directional(chip)
    generator = np.random.default_rng(0)
    usable = np.isfinite(leaves) & (leaves > 0)
    shift = np.where(usable, generator.uniform(1.01, 1.04, len(leaves)), 1.0)
    point = np.where(usable, leaves * shift, leaves)
    wrong, moved = {}, 0
    for index in np.flatnonzero(usable):
        name = LEAVES[index]
        direction = np.zeros(len(leaves))
        direction[index] = point[index]
        slope = call(point, direction)[1]
        assert np.isfinite(slope).all(), name
        if name in STRAIGHT_THROUGH:
            continue
        step = 1e-5
        up, down = (call(point + sign * step * direction, direction)[0] for sign in (1, -1))
        difference = (up - down) / (2 * step)
        moved += bool(np.any(slope != 0))
        if not np.allclose(slope, difference, rtol=1e-4, atol=1e-8):
            wrong[name] = (slope.tolist(), difference.tolist())
    assert not wrong
    assert moved > 15  # the chip does depend on its numbers


@pytest.mark.parametrize("chip", SMALL)
def test_no_nan_on_boundaries(chip: str) -> None:
    """Free transfers and units, one unit of each kind, the untouched chip with its ties; no load, one group, equal loads."""
    leaves, call, cases = directional(chip)
    for case in range(cases):
        for index, name in enumerate(LEAVES):
            direction = np.zeros(len(leaves))
            direction[index] = 1.0
            value, slope = call(leaves, direction, case)
            assert np.isfinite(value).all(), case
            assert not np.isnan(slope).any(), (name, case)
    free = ("link_latency_ns_per_256", "add_latency_ns_per_256", "relu_latency_ns", "norm_latency_ns_per_256")
    corners = (
        dict.fromkeys(free, 0.0),
        {"num_digital_units": 1.0, "num_attention_units": 1.0},
        {"mux_on_resistance_kohm": 0.0, "idle_power_w_per_mm2": 0.0, "sram_cache_bytes": 0.0},
    )
    for corner in corners:
        point = leaves.copy()
        for name, value in corner.items():
            point[LEAVES.index(name)] = value
        for index, name in enumerate(LEAVES):
            direction = np.zeros(len(leaves))
            direction[index] = 1.0
            assert not np.isnan(call(point, direction)[1]).any(), (name, corner)
