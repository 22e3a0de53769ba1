"""Tuning with choices: the optimum of enumerated problems, every combination finished, limits that cannot be met."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.studies import tune_choices
from pimjax.errors import ConfigError
from pimjax.tuning import load_tune_config, make_problem, tune
from pimjax.tuning.model_search import Goal, ModelSearch, num_points
from pimjax.tuning.regression import Regression, _misfit


@pytest.mark.parametrize("seed", [-1, 4, 5])
def test_the_optimum_by_a_twentieth_of_the_points(seed: int) -> None:
    """-1: a problem of which whole combinations were lost when only the best starts were finished."""
    solved = tune_choices.solve(seed)
    assert solved["legal"]
    assert solved["gap"] <= tune_choices.WITHIN
    assert solved["share"] <= tune_choices.SHARE


def infeasible(**more: object) -> dict:
    return {
        "base": "paper_reference",
        "set": {"plan.whole_ns": False},
        "parameters": {
            "hardware.num_digital_units": {"kind": "integer", "low": 2, "high": 12},
            "hardware.link_latency_ns_per_256": {"low": 10.0, "high": 100.0},
        },
        "objective": {"latency_ns": 1},
        "limits": [{"measure": "area_mm2", "at_most": 858.0}],
        "starts": 4,
        "optimiser": {"steps": 4, "chunk_steps": 2},
        **more,
    }


def test_gradients_finish_every_combination_or_say_which_not() -> None:
    choices = {
        "workload.go_cache": {"kind": "categorical", "choices": ["none", "authors"]},
        "workload.kv_cache": {"kind": "categorical", "choices": [True, False]},
    }
    run = infeasible(limits=[], starts=2, set={"plan.whole_ns": False, "workload.generated_tokens": 4})
    run |= {"parameters": run["parameters"] | choices, "optimiser": {"steps": 0}, "method": "gradients"}
    said: list[str] = []
    whole = tune(run, recheck=False, progress=said.append)
    assert whole.unfinished == ()
    assert any(sentence.startswith("finished 4 of 4 starts: best legal objective") for sentence in said)
    assert (whole.settings["workload.go_cache"], whole.settings["workload.kv_cache"]) == ("authors", True)
    part = tune(run | {"optimiser": {"steps": 0, "budget": 1}}, recheck=False, progress=said.append)
    assert len(part.unfinished) == 3
    assert set(part.unfinished[0]) == set(choices)
    assert "3 combinations are not finished" in " ".join(said)
    assert part.to_dict()["unfinished"] == list(part.unfinished)


def test_a_limit_that_cannot_be_met_is_named_with_what_can_be_reached() -> None:
    said: list[str] = []
    result = tune(infeasible(), recheck=False, progress=said.append)
    smallest = tune(infeasible(objective={"area_mm2": 1}, limits=[]), recheck=False).measures["area_mm2"]
    assert not result.feasible
    assert result.reachable == {"area_mm2": pytest.approx(smallest, rel=1e-9)}
    for words in ("area_mm2 <= 858 cannot be met", f"smallest reachable area_mm2 is {smallest:.6g}", "units 2"):
        assert words in result.verdict
    assert not any(sentence.startswith("step") for sentence in said)  # no descent towards what cannot be
    listed = infeasible(
        parameters={"hardware.num_digital_units": {"kind": "integer", "low": 2, "high": 90}}, optimiser={}
    )
    by_model = tune(listed, recheck=False)
    assert by_model.gradients == 0
    assert by_model.reachable == {"area_mm2": pytest.approx(smallest, rel=1e-9)}
    assert by_model.settings == {"hardware.num_digital_units": 2.0}  # the closest chip


def test_limits_that_only_exclude_each_other_are_said_so() -> None:
    bounds = [
        {"measure": "area_mm2", "at_most": 1.001, "of_base": True},
        {"measure": "latency_ns", "at_most": 0.8, "of_base": True},
    ]
    parameters = {"hardware.num_digital_units": {"kind": "integer", "low": 2, "high": 90}}
    for more in ({"optimiser": {}}, {"optimiser": {"steps": 2}}):
        result = tune(infeasible(parameters=parameters, limits=bounds, **more), recheck=False)
        assert not result.feasible
        assert "though each can be met alone; the closest misses" in result.verdict
        assert result.reachable == {}


def test_progress_says_the_best_legal_objective() -> None:
    said: list[str] = []
    result = tune(infeasible(limits=[]), recheck=False, progress=said.append)
    steps = [sentence for sentence in said if sentence.startswith("step")]
    assert [sentence.split(":")[0] for sentence in steps] == ["step 2 of 4", "step 4 of 4"]
    shown = [float(sentence.split()[-1]) for sentence in steps]
    assert np.isfinite(shown).all()
    assert min(shown) >= result.measures["latency_ns"] * (1 - 1e-5)


def test_method_is_chosen_by_the_problem() -> None:
    continuous = make_problem(load_tune_config(infeasible()))
    assert num_points(continuous) is None
    with pytest.raises(ConfigError, match="a continuous parameter: use method: auto"):
        tune(infeasible(method="model"))


def test_model_search_lists_every_legal_point_once() -> None:
    run = infeasible(
        parameters={
            "hardware.num_digital_units": {"kind": "integer", "low": 1, "high": 5},
            "hardware.crossbar_rows": {"kind": "levels", "levels": [64, 256, 512]},
            "workload.go_cache": {"kind": "categorical", "choices": ["none", "authors"]},
        },
        limits=[],
    )
    problem = make_problem(load_tune_config(run))
    search = ModelSearch(problem)
    assert num_points(problem) == len(search.level) == 30
    every = np.arange(30)
    values = [
        tuple(problem.settings(u, int(v)).values()) for u, v in zip(search.unit(every), search.variant, strict=True)
    ]
    assert len(set(values)) == 30
    search.run(Goal.of(problem))
    assert search.spent <= search.budget
    assert search.unfinished == []
    assert len(set(search.index)) == search.spent
    assert {point.variant for point in search.points()} == {0, 1}


def test_regression_interpolates_and_its_gradient_is_right() -> None:
    generator = np.random.default_rng(0)
    places, kinds = generator.random((30, 2)), generator.integers(0, 2, (30, 1)).astype(float)

    def truth(x: np.ndarray, c: np.ndarray) -> np.ndarray:
        return np.log(1 + x[:, 0] + 3 * x[:, 1] ** 2) + 0.2 * c[:, 0]

    model = Regression.wide(2, 1)
    model.fit(places, kinds, truth(places, kinds), adapt=True)
    mean, spread = model.predict(places, kinds)
    np.testing.assert_allclose(mean, truth(places, kinds), atol=1e-4)
    assert spread.max() < 1e-3
    new, of = generator.random((50, 2)), generator.integers(0, 2, (50, 1)).astype(float)
    mean, spread = model.predict(new, of)
    assert np.abs(mean - truth(new, of)).max() < 0.1
    squares = np.square(places[:, None] - places[None]).transpose(2, 0, 1)
    differ = (kinds[:, None] != kinds[None]).transpose(2, 0, 1).astype(float)
    theta = np.array([0.2, -0.4, -1.0])
    _, slope = _misfit(theta, squares, differ, truth(places, kinds))
    for index in range(3):
        step = np.eye(3)[index] * 1e-5
        up, down = (_misfit(theta + sign * step, squares, differ, truth(places, kinds))[0] for sign in (1, -1))
        assert slope[index] == pytest.approx((up - down) / 2e-5, rel=1e-4)
