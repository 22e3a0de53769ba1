"""Stacked experts: the area law of tiers, its limits, its derivative, and crossbars on each tier."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pimjax
from pimjax.chips.multiplexed.tiers import experts_by_tier, stacks_of

#: without wires, which get shorter where experts are stacked
SMALL = {
    "model.num_experts": 8,
    "model.top_k": 2,
    "workload.prompt_tokens": 8,
    "workload.trace.kind": "zipf",
    "system": "none",
}


def _estimate(fidelity: str = "closed", **overrides: Any) -> Any:
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    return pimjax.estimate(pimjax.load_config("paper_multiplexed", {**SMALL, **keys}), fidelity=fidelity)


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 1))
def test_a_group_of_no_more_experts_than_tiers_follows_the_law_of_the_stack(size: int, tiers: int, overhead: float):
    found = stacks_of(np.array([float(size)]), float(tiers), overhead)
    if size <= tiers:
        assert found.footprints[0] == pytest.approx(1 + overhead * (size - 1))
    else:  # every plane over some stack adds the same, however the planes are dealt
        assert found.footprints[0] == pytest.approx(-(-size // tiers) * (1 - overhead) + overhead * size)
    planes = experts_by_tier(np.array([size]), tiers)
    assert planes.sum() == size
    assert (np.diff(planes) <= 0).all()
    assert planes[0] == found.count[0]


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 8), st.sampled_from([1, 2, 4, 8]), st.floats(0, 1), st.floats(0.1, 0.9))
def test_the_chip_has_the_area_of_its_stacks(tiers: int, group: int, overhead: float, shareable: float) -> None:
    keys = {"plan__group_size": group, "hardware__shareable_fraction": shareable, "hardware__mux_area_um2_per_line": 0}
    keys |= {"plan__accumulate": "digital"}  # no adders: the core's area alone
    made = _estimate(hardware__tiers=tiers, hardware__tier_area_overhead=overhead, **keys)
    stacks = -(-group // tiers)
    cells = stacks + overhead * (group - stacks)
    groups, blocks = 8 // group, 96
    wanted = groups * blocks * 0.634 * (shareable + (1 - shareable) * cells)
    assert float(made.moe_area_mm2) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("keys", [{"hardware__tiers": 1}, {"hardware__tiers": 4, "hardware__tier_area_overhead": 1.0}])
def test_one_tier_or_tiers_that_save_nothing_are_the_flat_chip(keys: dict[str, Any]) -> None:
    flat, made = _estimate(plan__group_size=4), _estimate(plan__group_size=4, **keys)
    for name in ("latency_ns", "energy_nj", "area_mm2", "moe_area_mm2", "crossbars"):
        assert float(getattr(made, name)) == pytest.approx(float(getattr(flat, name)), rel=1e-12)


@pytest.mark.parametrize("fidelity", ["event", "fluid", "closed"])
def test_stacking_changes_the_footprint_and_nothing_else(fidelity: str) -> None:
    flat, stacked = (_estimate(fidelity, plan__group_size=4, hardware__tiers=tiers) for tiers in (1, 4))
    assert float(stacked.area_mm2) < float(flat.area_mm2)
    for name in ("latency_ns", "energy_nj", "crossbars"):
        assert float(getattr(stacked, name)) == float(getattr(flat, name))


def test_area_is_differentiable_in_the_overhead() -> None:
    with jax.enable_x64(True):
        sizes = jnp.array([4.0, 4.0, 2.0])

        def footprint(overhead: Any) -> Any:
            return stacks_of(sizes, jnp.float64(3.0), overhead).footprints.sum()

        slope = float(jax.grad(footprint)(jnp.float64(0.33)))
        wanted = float(footprint(0.33 + 1e-6) - footprint(0.33 - 1e-6)) / 2e-6
    assert slope == pytest.approx(wanted, rel=1e-6)


def test_explain_counts_crossbars_on_every_tier() -> None:
    from pimjax.estimation.explain import explain

    config = pimjax.load_config("paper_multiplexed", {**SMALL, "plan.group_size": 4, "hardware.tiers": 3})
    report = explain(config, pimjax.estimate(config, fidelity="closed"))
    assert report["tiers"] == [2 * 2 * 96.0, 2 * 2 * 96.0, 0.0]


@pytest.mark.parametrize(("preset", "latency", "energy"), [("one", 133.0, 13.4), ("four", 521.0, 52.9)])
def test_presets_of_hermes_64_have_the_published_product(preset: str, latency: float, energy: float) -> None:
    from pimjax.chips.multiplexed.core import core
    from pimjax.config.build import build

    made = core(build(pimjax.load_config({"hardware": f"hermes_64_{preset}_phase"}))[0])
    assert float(made.mvm_latency_ns) == pytest.approx(latency)
    assert float(made.mvm_energy_nj) == pytest.approx(energy)
