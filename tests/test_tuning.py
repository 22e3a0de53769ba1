"""Tuning end to end on the `reference` chip: gradients, limits, polish, checkpoints, results, command line."""

from __future__ import annotations

import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest

from pimjax.chips import CHIPS
from pimjax.cli import main
from pimjax.config.hardware import leaf_names
from pimjax.errors import ConfigError
from pimjax.tuning import baselines, load_tune_config, make_problem, recheck, tune
from pimjax.tuning.cutting import cut
from pimjax.tuning.descent import descend, start_lanes
from pimjax.tuning.evaluate import evaluate
from pimjax.tuning.last_mile import gradient
from pimjax.tuning.points import Point
from pimjax.tuning.polish import polish, repair, return_idle
from pimjax.tuning.problem import Problem
from pimjax.tuning.sensitivity import sensitivities

RUN = {
    "base": "paper_reference",
    "set": {"plan.whole_ns": False},
    "parameters": {
        "hardware.num_digital_units": {"kind": "integer", "low": 1, "high": 8},
        "hardware.num_attention_units": {"kind": "integer", "low": 1, "high": 4},
        "hardware.crossbar_rows": {"kind": "levels", "levels": [128, 256, 512]},
        "core_speed": {
            "low": 0.5,
            "high": 2.0,
            "start": 1.0,
            "drives": {"hardware.mvm_latency_ns": -1, "hardware.mvm_energy_nj": 1},
        },
    },
    "objective": {"edp_nj_ns": 1},
    "limits": [{"measure": "area_mm2", "at_most": 1.0, "of_base": True}, {"measure": "energy_nj", "at_most": 6e5}],
    "starts": 4,
    "optimiser": {"steps": 12, "chunk_steps": 6, "learning_rate": 0.15},
}


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem(load_tune_config(RUN))


@pytest.fixture(scope="module")
def result():
    return tune(RUN)


def test_result_is_legal_feasible_better_and_checked(result) -> None:
    assert result.feasible
    assert result.improvement > 1.5
    assert result.settings["hardware.crossbar_rows"] in (128, 256, 512)
    assert result.settings["hardware.num_digital_units"] in range(1, 9)
    assert result.measures["area_mm2"] <= result.base_measures["area_mm2"] * (1 + 1e-9)
    assert result.measures["energy_nj"] <= 6e5 * (1 + 1e-9)
    assert float(result.event.latency_ns) == pytest.approx(result.measures["latency_ns"], rel=0.05)
    assert float(result.event.area_mm2) == pytest.approx(result.measures["area_mm2"], rel=1e-9)
    assert result.event_excess == {}
    assert result.evaluations >= 4 * result.gradients
    json.dumps(result.to_dict())


def test_result_is_the_optimum_of_a_fine_grid(problem: Problem, result) -> None:
    """Every discrete point with 41 speeds each; the optimum found may only be better (its speed is continuous)."""
    box, width = problem.arrays.box, len(problem.start)
    levels = [np.linspace(0, 1, n) for n in np.asarray(box.level_count)[:3]] + [np.linspace(0, 1, 41)]
    grid = np.array(list(itertools.product(*levels)))
    unit = np.zeros((len(grid), width))
    unit[:, :4] = grid
    best = np.inf
    for part in np.array_split(unit, 16):
        found = evaluate(problem, part, np.zeros(len(part), int))
        best = min(best, found.objective[found.excess == 0].min(initial=np.inf))
    assert np.log(result.measures["edp_nj_ns"]) <= best + 1e-6


def test_gradient_agrees_with_finite_differences(problem: Problem) -> None:
    generator = np.random.default_rng(0)
    unit = problem.start.copy()
    unit[:4] = generator.uniform(0.2, 0.8, 4)
    multipliers = np.array([0.3, 0.2, 0.0, 0.0])
    _, slope = gradient(problem, unit, 0, multipliers, 5.0)
    for index in (0, 1, 3):  # rows enter through ceilings: straight-through there
        step = np.zeros_like(unit)
        step[index] = 1e-6
        up, down = (gradient(problem, unit + sign * step, 0, multipliers, 5.0)[0] for sign in (1, -1))
        assert slope[index] == pytest.approx((up - down) / 2e-6, rel=2e-4, abs=1e-6), problem.names[index]


def test_padding_has_no_gradient(problem: Problem) -> None:
    _, slope = gradient(problem, problem.start, 0, np.zeros(4), 5.0)
    assert not slope[problem.num_parameters :].any()


def test_polish_never_worsens_and_counts(problem: Problem) -> None:
    begin = evaluate(problem, problem.start[None], [0])
    point = Point.of(problem.start, 0, begin, 0)
    seen: list[int] = []
    better, spent = polish(problem, point, sweeps=3, report=lambda count, _: seen.append(count))
    assert better.merit < point.merit
    assert sum(seen) == spent
    again = evaluate(problem, better.unit[None], [0])
    assert float(again.merit[0]) == pytest.approx(better.merit, abs=1e-12)


@pytest.mark.parametrize("corner", [0.0, 1.0])
def test_cutting_planes_find_the_best_legal_chip_in_a_few_gradients(problem: Problem, corner: float) -> None:
    """From a corner, one of which breaks the limits: hardly anything is left to polish."""
    unit = np.zeros_like(problem.start)
    unit[: problem.num_parameters] = corner
    begin = Point.of(unit, 0, evaluate(problem, unit[None], [0]), 0)
    seen: list[int] = []
    found, gradients = cut(problem, begin, steps=25, report=lambda count, _: seen.append(count))
    assert sum(seen) == gradients <= 3 * 15
    assert found.excess == 0
    assert found.beats(begin)
    again = evaluate(problem, found.unit[None], [0])
    assert float(again.objective[0]) == pytest.approx(found.objective, abs=1e-12)  # legal, and said what it is
    polished, _ = polish(problem, found, sweeps=30)
    assert found.objective - polished.objective < 0.02


def test_searches_store_their_improvements(problem: Problem) -> None:
    search = baselines.SEARCHES["gradient"](problem, 200, 0)
    again = baselines.Trace.from_dict(json.loads(json.dumps(search.to_dict())))
    assert search.best == sorted(search.best, reverse=True)
    for evaluations in (10, 50, 10**6):
        assert again.at(evaluations) == pytest.approx(search.at(evaluations), abs=1e-8)


def test_parameters_without_effect_return_to_the_base(problem: Problem) -> None:
    """ADC bits do nothing to the calibrated tile: they go back; units that help stay."""
    run = RUN | {"parameters": RUN["parameters"] | {"hardware.adc_bits": {"kind": "integer", "low": 4, "high": 10}}}
    wider = make_problem(load_tune_config(run))
    place = list(wider.names).index("hardware.adc_bits")
    unit = wider.start.copy()
    unit[place] = 1.0
    unit[0] = 1.0
    found = evaluate(wider, unit[None], [0])
    point = Point.of(unit, 0, found, 0)
    settled, spent = return_idle(wider, point)
    assert spent == 2
    assert settled.unit[place] == wider.start[place]
    assert settled.unit[0] == 1.0


def test_interrupted_run_goes_on_where_it_stopped(problem: Problem, tmp_path) -> None:
    from pimjax.tuning.checkpoint import restore_lanes, save_lanes

    starts = np.tile(problem.start, (4, 1))
    starts[:, 0] = np.linspace(0, 1, 4)
    lanes = start_lanes(problem, starts, np.zeros(4, int))
    assert restore_lanes(tmp_path, problem, lanes) is None
    first, _ = descend(problem, lanes, 6)
    save_lanes(tmp_path, problem, first)
    restored = restore_lanes(tmp_path, problem, lanes)
    whole, _ = descend(problem, first, 6)
    resumed, _ = descend(problem, restored, 6)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    other = make_problem(load_tune_config(RUN | {"seed": 7}))
    with pytest.raises(ConfigError, match="another tuning run"):
        restore_lanes(tmp_path, other, lanes)


def test_killed_run_resumes_to_the_same_result(result, tmp_path) -> None:
    def kill(sentence: str) -> None:
        if sentence.startswith("step 6 of 12"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(RUN, checkpoint=tmp_path, progress=kill)
    said: list[str] = []
    resumed = tune(RUN, checkpoint=tmp_path, progress=said.append)
    assert not any(sentence.startswith("step 6 of 12") for sentence in said)
    assert resumed.settings == result.settings
    assert resumed.measures == result.measures
    assert resumed.evaluations == result.evaluations


def test_history_is_written_as_parquet(result, tmp_path) -> None:
    from pyarrow import parquet

    result.history.write(tmp_path / "history.parquet")
    table = parquet.read_table(tmp_path / "history.parquet")
    stages = table.column("stage").to_pylist()
    assert stages.count("descent") == 4 * 12
    assert stages.count("finished") == 1
    last = table.to_pylist()[-1]
    assert last["hardware.num_digital_units"] == result.settings["hardware.num_digital_units"]
    assert last["objective"] == pytest.approx(np.log(result.measures["edp_nj_ns"]))
    assert last["excess"] == 0


def test_sensitivities_are_sorted_and_agree_with_a_step(problem: Problem) -> None:
    rows = sensitivities(problem)
    by_name = {row.name: row for row in rows}
    assert "hardware.memory_bandwidth_gb_per_s" not in by_name  # a prefill without caches reads nothing
    speed = by_name["core_speed"]
    assert speed.energy > 0 > speed.latency
    assert speed.objective == pytest.approx(speed.energy + speed.latency)
    order = [abs(row.objective) for row in rows]
    assert order == sorted(order, reverse=True)
    step = 1e-4
    units = np.stack([problem.start] * 2)
    units[:, 3] += (step, -step)
    up, down = evaluate(problem, units, np.zeros(2, int)).objective
    span = float(np.asarray(problem.arrays.box.high - problem.arrays.box.low)[3])  # of log speed
    assert speed.objective == pytest.approx((up - down) / (2 * step * span), rel=1e-4)
    units_of_area = by_name["hardware.core_area_mm2"]
    assert units_of_area.objective == 0 < units_of_area.area


def test_command_prints_json_and_sensitivities(tmp_path, capsys) -> None:
    file = tmp_path / "tune.yaml"
    file.write_text(json.dumps(RUN))
    with pytest.raises(SystemExit) as stop:
        main(["tune", "--config", str(file), "--json", "--output", str(tmp_path / "best.yaml")])
    assert stop.value.code in (0, None)
    document = json.loads(capsys.readouterr().out)
    assert document["improvement"] > 1.5
    from pimjax.config import load_config

    chip = load_config(tmp_path / "best.yaml")
    assert chip.hardware.crossbar_rows == document["settings"]["hardware.crossbar_rows"]
    with pytest.raises(SystemExit):
        main(["tune", "--config", str(file), "--sensitivity"])
    text = capsys.readouterr().out
    assert "#" in text
    chart, idle = text.partition("next: ")[0].split("no effect here: ")
    assert "hardware.core_area_mm2 " in chart  # moves the area alone: no bar, but a row
    for name in (*RUN["parameters"], *(f"hardware.{leaf}" for leaf in leaf_names(CHIPS[chip.chip_model].hardware))):
        # every number once: in the chart, among those without effect, or moved by one of the run's own
        driven = name in RUN["parameters"]["core_speed"]["drives"]
        assert (f"{name} " in chart) + (name in idle.replace("\n", " ").strip().split(", ")) == (0 if driven else 1), (
            name
        )


def test_command_names_the_mistake(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["tune", "--config", str(tmp_path / "absent.yaml")])
    assert stop.value.code == 2
    assert "neither a YAML file nor a shipped tuning run" in capsys.readouterr().err.replace("\n", " ")


def few_units(**limit: object) -> dict:
    """Units alone: one more is a small part of the area and a large part of the latency, so that breaking an area limit a
    little would pay by the penalty for broken limits."""
    return {
        "base": "paper_reference",
        "set": {"plan.whole_ns": False},
        "parameters": {"hardware.num_digital_units": {"kind": "integer", "low": 1, "high": 12}},
        "objective": {"latency_ns": 1},
        "limits": [{"measure": "area_mm2", "at_most": 1.0, **limit}],
        "starts": 4,
        "optimiser": {"steps": 0},
    }


def test_a_feasible_chip_wins_where_breaking_a_limit_a_little_would_pay() -> None:
    """The best merit lies outside the limit; the result is the best that keeps it."""
    areas = make_problem(load_tune_config(few_units(at_most=1e9)))
    every = np.zeros((12, len(areas.start)))
    every[:, 0] = np.linspace(0, 1, 12)
    area = np.exp(evaluate(areas, every, np.zeros(12, int)).base[:, 2])
    run = few_units(at_most=float(area[3] * 1.0001))
    problem = make_problem(load_tune_config(run))
    found = evaluate(problem, every, np.zeros(12, int))
    assert int(np.argmin(found.merit)) > 3  # what a penalty alone would return
    assert int(np.flatnonzero(found.excess == 0)[-1]) == 3
    result = tune(run)
    assert result.feasible
    assert result.settings["hardware.num_digital_units"] == 4


def test_a_broken_limit_is_repaired_and_a_hopeless_one_is_said(problem: Problem) -> None:
    worst = np.zeros_like(problem.start)
    worst[: problem.num_parameters] = 1.0
    begin = Point.of(worst, 0, evaluate(problem, worst[None], [0]), 0)
    assert begin.excess > 0
    repaired, spent = repair(problem, begin, sweeps=30)
    assert repaired.excess == 0
    assert spent > 0
    result = tune(few_units(at_most=1e-3))
    assert not result.feasible
    assert result.measures["area_mm2"] > 1e-3


@pytest.mark.parametrize(("error", "units"), [(1.0005, 6), (1.5, 5)])
def test_limits_that_only_the_event_engine_finds_broken_are_repaired(monkeypatch, error: float, units: int) -> None:
    """An event engine that finds more area for chips with more than `units` units: a small error is repaired, a hopeless
    one leads back to the base chip, which has 5."""
    exact = recheck.estimate

    def larger(config, trace, fidelity):
        found = exact(config, trace, fidelity)
        more = config.hardware.num_digital_units > units
        return dataclasses.replace(found, area_mm2=found.area_mm2 * (error if more else 1.0))

    monkeypatch.setattr(recheck, "estimate", larger)
    said: list[str] = []
    result = tune(few_units(at_most=1.001, of_base=True), progress=said.append)
    assert any("repairing" in sentence for sentence in said)
    assert result.feasible
    assert result.event_excess == {}
    assert result.settings["hardware.num_digital_units"] == units
    assert float(result.event.area_mm2) <= 1.001 * float(result.event_base.area_mm2)


def test_a_result_that_the_event_engine_refuses_is_not_called_feasible(monkeypatch) -> None:
    """Nothing legal keeps an absolute limit by the event engine: the result says so."""
    exact = recheck.estimate

    def larger(config, trace, fidelity):
        found = exact(config, trace, fidelity)
        return dataclasses.replace(found, area_mm2=found.area_mm2 * 1.5)

    monkeypatch.setattr(recheck, "estimate", larger)
    result = tune(few_units(at_most=4210.0))
    assert not result.feasible
    assert result.event_excess["area_mm2"] == pytest.approx(0.5, rel=0.01)
