"""Intervals from uncertain hardware numbers, timelines, tile parts, refusal of impossible cores."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from pimjax.chips import CHIPS
from pimjax.chips.multiplexed.core import core
from pimjax.circuit import CONSTANTS
from pimjax.circuit.constants import nominal_constants
from pimjax.config import load_config
from pimjax.config.base import field_facts
from pimjax.config.build import build
from pimjax.errors import ConfigError
from pimjax.estimation import estimate
from pimjax.estimation.explain import explain
from pimjax.estimation.uncertainty import METRICS, uncertain_fields, uncertainty
from pimjax.runs.requests import resolve
from pimjax.trace.routing import RoutingTrace

TRACE = RoutingTrace.from_expert_ids(np.array([[0, 1], [2, 3], [0, 2]]), 4)


def configuration(**parts):
    return load_config({"model": {"num_experts": 4, "top_k": 2, "d_model": 512}, **parts})


def test_intervals_hold_the_nominal_value_and_name_what_moves_them():
    found = uncertainty(configuration(), TRACE, "closed", samples=200)
    assert found["failed"] == 0
    for row in found["metrics"].values():
        assert row["low"] < row["nominal"] < row["high"]
    exact = estimate(configuration(), TRACE, "closed")
    for name, row in found["metrics"].items():
        assert row["nominal"] == pytest.approx(float(getattr(exact, name)), rel=1e-9)
    area = [item["name"] for item in found["metrics"]["moe_area_mm2"]["moved_by"]]
    assert set(area[:2]) == {"shareable_fraction", "core_area_mm2"}
    unused = {"swiglu_latency_ns_per_256", "gelu_latency_base_ns"}  # the model has ReLU
    assert not unused & {item["name"] for row in found["metrics"].values() for item in row["moved_by"]}


def test_a_parametric_core_draws_the_circuit_constants():
    found = uncertainty(configuration(plan={"tile": "parametric"}), TRACE, "closed", samples=64)
    moved = {item["name"] for item in found["metrics"]["area_mm2"]["moved_by"]}
    assert any("." in name for name in moved)  # constants of components, "adc_survey...."
    assert "core_area_mm2" not in found["drawn"]
    nominal = estimate(configuration(plan={"tile": "parametric"}), TRACE, "closed")
    assert found["metrics"]["area_mm2"]["nominal"] == pytest.approx(float(nominal.area_mm2), rel=1e-9)


MANY = {
    "model.d_model": 300, "model.d_ff": 200, "model.num_heads": 4, "model.num_layers": 2, "model.vocab_size": 500,
    "model.num_experts": 4, "model.top_k": 2, "model.activation": "swiglu", "workload.prompt_tokens": 6,
    "workload.generated_tokens": 3, "workload.kv_cache": True, "workload.trace.kind": "zipf",
}  # fmt: skip
RUNS = {
    "system": ("paper_crossbars", {
        "memory": "hbm3", "system": "dies", "system.die_area_mm2": 25, "system.dies_per_package": 2,
        "system.package_link_bandwidth_gb_per_s": 5, "system.injection_bandwidth_gb_per_s": 8, "hardware.tiers": 2,
        "hardware.sram_cache_bytes": 500, "hardware.gated_power_w_per_mm2": 1e-5, "system.die_link_bandwidth_gb_per_s_per_mm": 2,
    }),
    "mixed": ("paper_crossbars", {"plan.expert_tile": "mixed", "plan.digital_dense": ["head"], "memory": "lpddr5x"}),
    "digital": ("paper_multiplexed", {"plan.tile": "digital_sram"}),
    "parametric": ("paper_multiplexed", {"plan.tile": "parametric", "plan.accumulate": "digital"}),
    "reference": ("paper_reference", {"model.activation": "relu", "workload.generated_tokens": 1}),
    "gpu": ("h100", {"model.d_model": 1024}),
}  # fmt: skip


@pytest.mark.parametrize("run", RUNS)
def test_every_number_with_a_range_that_moves_a_run_is_drawn(run):
    """Beside the ledger: each number that nobody chooses goes to the ends of its range, and what changes must be drawn."""
    preset, overrides = RUNS[run]
    config = load_config(preset, {**MANY, **overrides})
    drawn = uncertain_fields(config)
    base, moving = estimate(config, fidelity="closed"), set()
    for name, facts in field_facts(CHIPS[config.chip_model].hardware).items():
        value = getattr(config.hardware, name)
        noted = config.sources.get(f"hardware.{name}", {})
        spread = noted.get("range") or facts["spread"] or (0.9 * (value or 0), 1.1 * (value or 0))
        if facts["chosen"] or value is None:
            continue
        ends = [estimate(_with(config, name, float(end)), fidelity="closed") for end in spread]
        acts = any(float(getattr(end, metric)) != float(getattr(base, metric)) for end in ends for metric in METRICS)
        if acts:
            moving.add(name)
    assert moving <= set(drawn)
    assert len(moving) > 10
    if run == "system":
        links = (
            "package_link_energy_pj_per_bit",
            "die_link_energy_pj_per_bit",
            "wire_latency_ns_per_mm",
            "die_link_latency_ns",
        )
        assert {f"system_{name}" for name in links} <= moving  # fmt: skip
        assert {"memory_idle_w", "idle_power_w_per_mm2", "wake_energy_nj_per_mm2", "tier_area_overhead"} <= set(drawn)
    elif config.system.network == "none":
        assert not {name for name in drawn if name.startswith("system_")}


def _with(config, name, value):
    return config.model_copy(update={"hardware": config.hardware.model_copy(update={name: value})})


@pytest.mark.parametrize("run", ["mixed", "digital", "parametric"])
def test_every_constant_of_computed_cores_and_macros_is_drawn(run):
    preset, overrides = RUNS[run]
    config, requests = resolve(load_config(preset, {**MANY, **overrides}), None)
    chip, (design, capacity) = CHIPS["multiplexed"], build(config)
    inputs = chip.inputs(config, requests, fidelity="closed", capacity=capacity)
    circuits = chip.uncertain_constants(config, design)
    assert circuits is not None

    nominal = nominal_constants()

    def cost(**changed):
        options = {"capacity": capacity, "fidelity": "closed", "critical": False}
        found = circuits.cost(design, inputs, constants={**nominal, **changed}, **options)
        return np.array([found.latency_ns, found.component_energy_nj.sum(), found.component_area_mm2.sum()], float)

    plain = chip.cost(design, inputs, capacity=capacity, fidelity="closed", critical=False)
    assert cost()[0] == pytest.approx(float(plain.latency_ns), rel=1e-12)
    moved = {
        name
        for name, item in CONSTANTS.items()
        if any((cost(**{name: end}) != cost()).any() for end in (item.low, item.high) if end != item.value)
    }
    assert len(moved) >= 3
    assert moved <= set(circuits.names)
    found = uncertainty(config, None, "closed", samples=64)
    assert found["failed"] == 0
    assert {item["name"] for item in found["metrics"]["area_mm2"]["moved_by"]} & moved


def test_a_measured_chip_has_no_constants():
    config = configuration()
    assert CHIPS["multiplexed"].uncertain_constants(config, build(config)[0]) is None


def test_ranges_of_the_user_and_of_sources():
    fields = uncertain_fields(configuration())
    assert fields["shareable_fraction"] == (0.4, 0.8, 0.8, True)
    low, value, high, stated = fields["add_latency_ns_per_256"]
    assert (low, high, stated) == (pytest.approx(0.9 * value), pytest.approx(1.1 * value), False)
    assert "num_digital_units" not in fields


def test_event_cannot_be_drawn():
    with pytest.raises(ConfigError, match="event"):
        uncertainty(configuration(), TRACE, "event")


def test_timeline_holds_every_job(tmp_path):
    file = tmp_path / "run.json"
    result = estimate(configuration(), TRACE, "event", timeline=file)
    events = [event for event in json.loads(file.read_text())["traceEvents"] if event["ph"] == "X"]
    assert max(event["ts"] + event["dur"] for event in events) == pytest.approx(float(result.latency_ns) / 1e3)
    with pytest.raises(ConfigError, match="timeline"):
        estimate(configuration(), TRACE, "fluid", timeline=file)


def test_impossible_cores_are_refused():
    config = configuration(plan={"tile": "parametric"}, hardware={"columns_per_adc": 512.0})
    with pytest.raises(ConfigError, match="columns_per_adc"):
        estimate(config, TRACE, "closed")


@pytest.mark.parametrize(
    ("key", "value", "law"),
    [("mvm_energy_nj", 1.2e-8, "kT ln 2"), ("mvm_latency_ns", 1.3e-7, "gate delay"), ("core_area_mm2", 6e-7, "4 F")],
)
def test_measured_cores_below_a_physical_limit_are_refused_and_flagged(key, value, law):
    config = configuration(hardware={key: value})  # a unit slip: J, s and m2
    with pytest.raises(ConfigError, match=f"hardware.{key} = .*{law}.*is the number in"):
        estimate(config, TRACE, "closed")
    with jax.enable_x64(True):
        assert bool(core(build(config)[0]).impossible)
        assert not bool(core(build(configuration())[0]).impossible)


def test_explanation_has_tile_parts_and_weight_writing():
    config = configuration()
    report = explain(config, estimate(config, TRACE, "event"))
    parts = {row["part"]: row for row in report["tile"]["parts"]}
    assert sum(row["area_mm2"] for row in parts.values()) == pytest.approx(0.634, rel=1e-3)
    assert sum(row["energy_nj"] for row in parts.values()) == pytest.approx(12.48, rel=1e-3)
    assert all(row["source"] for row in parts.values())
    swap = report["weights"]["expert_swap"]
    assert swap["time_ns"] * 1e-6 == pytest.approx(8.32)
    assert report["weights"]["crossbar"]["energy_nj"] * 1e-3 == pytest.approx(26.2, rel=0.01)
    assert report["weights"]["model_load"]["energy_nj"] > swap["energy_nj"]
    assert all(row["range"] for row in report["assumptions"])
