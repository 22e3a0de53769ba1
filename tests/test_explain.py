"""What --explain says: counts times unit costs give the totals, shares sum to one, every row has its source."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import pimjax
from pimjax.cli.explanation import show_explanation
from pimjax.config.config import Config
from pimjax.estimation import Estimate, estimate
from pimjax.estimation.explain import explain
from pimjax.trace.routing import RoutingTrace

TRACE = RoutingTrace.from_expert_ids(np.array([[0, 1], [2, 3], [0, 2]]), 4)
FIGURES = ("latency_ns", "energy_nj", "area_mm2")
SMALL = {"num_experts": 4, "top_k": 2, "d_model": 512}
EVERYTHING = {
    "plan": {"tile": "parametric", "adc": "survey", "router": "digital", "accumulate": "digital"},
    "hardware": {"adc_bits": 3, "sram_cache_bytes": 1000, "scheduler_ns_per_token": 2.0},
    "workload": {"generated_tokens": 3, "kv_cache": True},
}


@pytest.fixture(scope="module", params=["published", "measured", "computed"])
def explained(request: pytest.FixtureRequest) -> tuple[Config, Estimate, dict[str, Any]]:
    """The authors' chip, and the multiplexed chip with a measured core and with a computed one and every option."""
    if request.param == "published":
        config = pimjax.load_config("paper_reference")
        result = estimate(config, fidelity="event")
    else:
        config = pimjax.load_config({"model": SMALL, **(EVERYTHING if request.param == "computed" else {})})
        result = estimate(config, TRACE, "closed" if request.param == "computed" else "event")
    return config, result, explain(config, result)


def test_every_row_has_count_unit_cost_share_and_source(explained: tuple[Config, Estimate, dict[str, Any]]) -> None:
    _, result, report = explained
    totals = {"latency_ns": result.latency_ns, "energy_nj": result.energy_nj, "area_mm2": result.area_mm2}
    for key, total in totals.items():
        rows = report[key]
        assert sum(row["total"] for row in rows) == pytest.approx(float(total), rel=1e-9), key
        assert sum(row["share"] for row in rows) == pytest.approx(1.0), key
        for row in rows:
            product = row["count"] * row["unit_cost"]
            assert product == pytest.approx(row["busy" if key == "latency_ns" else "total"], rel=1e-9), row
            assert row["counted"]
            assert row["source"] == "; ".join(row["sources"])
    crossbars = [row["count"] for row in report["area_mm2"] if row["counted"] == "crossbars"]
    assert sum(crossbars) == pytest.approx(float(result.crossbars))
    for name in ("area", "energy", "latency"):
        assert sum(row[f"{name}_share"] for row in report["tile"]["parts"]) == pytest.approx(1.0)
    json.dumps(report["latency_ns"])


def test_sources_are_those_of_the_figure_and_a_computed_core_is_not_called_measured(
    explained: tuple[Config, Estimate, dict[str, Any]],
) -> None:
    config, _, report = explained
    rows = {(key, row["component"]): row["source"] for key in FIGURES for row in report[key]}
    core = (("energy_nj", "tier_linear"), ("latency_ns", "tier_linear"), ("area_mm2", "dense_crossbars"))
    computed = config.plan.tile == "parametric"
    for name in core:
        assert rows[name].startswith("computed from circuit parameters") == computed
    if computed:
        assert report["tile"]["outside_validity"][0].startswith("adc_survey: 3 bit is outside 4 to 17 bit")
    else:
        assert report["tile"]["outside_validity"] == []
        assert "1.008 TOPS" not in rows["energy_nj", "tier_linear"]  # where the latency comes from


def test_the_terminal_shows_numbered_sources_and_ranges_that_are_left(
    explained: tuple[Config, Estimate, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, report = explained
    show_explanation(report)
    text = capsys.readouterr().out
    for words in ("count x one = busy", "count x one = total", "Writing weights", "\nSources\n   1  "):
        assert words in text
    assert ("outside its range" in text) == bool(report["tile"]["outside_validity"])
