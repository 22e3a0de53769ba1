"""Derivatives of the multiplexed chip in the numbers of its memory, system, power states and tiers, against differences."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pimjax
from pimjax.chips import CHIPS
from pimjax.compiling import quick_compilation
from pimjax.config.base import field_facts
from pimjax.estimation.result import from_run_cost
from pimjax.estimation.routing import resolve

CHIP = CHIPS["multiplexed"]
#: layers with and without experts over several dies and packages, two sequences that decode, whatever may be gated
RUN = {
    "model.d_model": 512, "model.d_ff": 300, "model.num_heads": 4, "model.num_layers": 3, "model.vocab_size": 1000,
    "model.num_experts": 8, "model.top_k": 2, "model.first_dense_layers": 1, "model.activation": "swiglu",
    "workload.trace.kind": "zipf", "workload.prompt_tokens": 9, "workload.generated_tokens": 3,
    "workload.kv_cache": True, "workload.batch_size": 2, "plan.group_size": 2, "plan.memory_idle": "always",
    "memory": "hbm3", "system": "dies", "hardware.tiers": 2, "hardware.gated_power_w_per_mm2": 4e-5,
}  # fmt: skip
#: Each number is drawn between these; what is not here, within a factor of two of its own value.
BETWEEN = {
    "memory_bandwidth_gb_per_s": (2.0, 200.0), "memory_channels": (1.0, 4.0), "system_die_area_mm2": (12.0, 120.0),
    "system_injection_bandwidth_gb_per_s": (4.0, 60.0), "system_die_link_bandwidth_gb_per_s_per_mm": (0.3, 30.0),
    "system_package_link_bandwidth_gb_per_s": (0.5, 60.0), "system_die_edge_share": (0.2, 0.8),
    "shareable_fraction": (0.2, 0.9), "tier_area_overhead": (0.05, 0.9), "sram_cache_bytes": (0.0, 20_000.0),
    "gated_power_w_per_mm2": (1e-6, 1e-4), "idle_power_w_per_mm2": (2e-4, 8e-3), "wake_latency_ns": (1.0, 400.0),
    "active_power_w_per_mm2": (1e-4, 8e-3),
}  # fmt: skip
POWER = (
    "active_power_w_per_mm2",
    "idle_power_w_per_mm2",
    "gated_power_w_per_mm2",
    "wake_latency_ns",
    "wake_energy_nj_per_mm2",
)
#: whole numbers and flags: rounded on the way, with a straight-through derivative
WHOLE = ("system_dies_per_package", "system_die_link_by_area", "system_die_link_phy_depth_mm")
METRICS = ("latency_ns", "dynamic_energy_nj", "static_energy_nj", "peak_power_w", "moe_area_mm2")
NAMES = tuple(
    name
    for name in field_facts(CHIP.hardware)
    if (name.startswith(("memory_", "system_")) or name in (*POWER, *BETWEEN)) and name not in WHOLE
)


@functools.cache
def made(fidelity: str) -> tuple[Any, Any, Any, Any]:
    """Design, counts on the host, the metrics of given numbers, and their derivatives, compiled once."""
    config, trace = resolve(pimjax.load_config("paper_crossbars", RUN), None)
    design, capacity = pimjax.build(config)
    counts = CHIP.inputs(config, trace, fidelity=fidelity, capacity=capacity)

    def metrics(values: Any, hardware: Any, counts: Any) -> Any:
        drawn = hardware.replace(**dict(zip(NAMES, values, strict=True)))
        cost = CHIP.cost(design.replace(hardware=drawn), counts, capacity=capacity, fidelity=fidelity, critical=False)
        found = from_run_cost(cost, drawn, CHIP)
        return [getattr(found, name) for name in METRICS]

    def derivatives(values: Any, hardware: Any, counts: Any) -> Any:
        return jax.jacrev(lambda values: jnp.stack(metrics(values, hardware, counts)))(values)

    return design, counts, metrics, jax.jit(derivatives, compiler_options=quick_compilation())


def numbers_of(seed: int, design: Any) -> np.ndarray:
    """Random values of `NAMES`, uniform in the logarithm."""
    rng = np.random.default_rng(seed)
    own = {name: float(getattr(design.hardware, name)) for name in NAMES}
    ends = [BETWEEN.get(name, (0.5 * own[name], 2.0 * own[name])) for name in NAMES]
    low, high = np.array(ends).T
    return np.where(low > 0, np.exp(rng.uniform(np.log(np.maximum(low, 1e-9)), np.log(high))), rng.uniform(low, high))


@pytest.mark.parametrize("fidelity", ["closed", "fluid"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_derivatives_are_differences_of_the_exact_formulas(seed: int, fidelity: str) -> None:
    """In float64, at random designs: where the differences to both sides agree the derivative is theirs, at a kink it lies
    between them."""
    design, counts, metrics, derivatives = made(fidelity)
    values = numbers_of(seed, design)
    with jax.enable_x64(True):
        found = np.asarray(derivatives(values, *jax.tree.map(jnp.asarray, (design.hardware, counts))))

    def at(values: np.ndarray) -> np.ndarray:
        return np.array([float(one) for one in metrics([np.float64(each) for each in values], design.hardware, counts)])

    base = at(values)
    assert np.all(np.isfinite(found))
    wrong, smooth = {}, 0
    for index, name in enumerate(NAMES):
        step = np.zeros(len(NAMES))
        step[index] = 1e-6 * values[index]
        ahead, behind = (at(values + step) - base) / step[index], (base - at(values - step)) / step[index]
        room = 1e-4 * np.maximum(np.abs(ahead), np.abs(behind)) + 2e-8 * np.abs(base) / values[index]
        low, high = np.minimum(ahead, behind) - room, np.maximum(ahead, behind) + room
        smooth += int((np.abs(ahead - behind) <= room).sum())
        for metric in np.flatnonzero((found[:, index] < low) | (found[:, index] > high)):
            wrong[name, METRICS[metric]] = (found[metric, index], ahead[metric], behind[metric])
    assert not wrong
    assert smooth > 0.95 * len(NAMES) * len(METRICS)


def test_every_number_moves_something_somewhere() -> None:
    """The designs above are such that the derivatives are of something: each number but the capacity has one."""
    design, counts, _, derivatives = made("closed")
    with jax.enable_x64(True):
        lanes = jax.tree.map(jnp.asarray, (design.hardware, counts))
        found = [np.asarray(derivatives(numbers_of(seed, design), *lanes)) for seed in range(5)]
    still = {name for name, moves in zip(NAMES, (np.array(found) != 0).any(axis=(0, 1)), strict=True) if not moves}
    only_area = {
        "system_bond_area_mm2",
        "system_defect_density_per_cm2",
        "system_defect_clustering",
        "memory_phy_area_mm2",
    }
    of_swapping = {name for name in NAMES if name.startswith(("system_sram_", "system_pcm_", "system_resident_"))}
    assert still <= {"memory_capacity_gb", *only_area, *of_swapping}
