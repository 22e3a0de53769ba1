"""Intervals from uncertain hardware numbers, timelines, tile parts, refusal of impossible cores."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from pimjax.chips.multiplexed.core import core
from pimjax.config import load_config
from pimjax.config.build import build
from pimjax.errors import ConfigError
from pimjax.estimation import estimate
from pimjax.estimation.explain import explain
from pimjax.estimation.uncertainty import uncertain_fields, uncertainty
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
