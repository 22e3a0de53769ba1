"""`pimjax size`: the best of the listed chips, within budgets, with no cheap units left to bound the run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import pimjax
from pimjax.chips import CHIPS, Sized
from pimjax.chips.multiplexed.chip import MultiplexedChip
from pimjax.chips.sizes import doublings
from pimjax.errors import ConfigError
from pimjax.estimation.balance import advice, parts
from pimjax.tuning import evaluate as evaluation
from pimjax.tuning import make_problem, size
from pimjax.tuning.sizing import budget, every_point, size_problem

BASE = {
    "chip_model": "multiplexed",
    "hardware": "hermes",
    "model": {"num_experts": 8, "top_k": 2, "num_layers": 2},
    "workload": {"trace": {"kind": "zipf", "tokens": 24}},
}
SHORT = {"workload.prompt_tokens": 24}
FEW = (
    Sized("hardware.num_digital_units", "digital", (2.0, 8.0, 32.0)),
    Sized("hardware.num_attention_units", "attention", (1.0, 4.0, 16.0)),
    Sized("plan.group_size", "crossbars", choices=(1, 2)),
)


@pytest.fixture
def few_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MultiplexedChip, "sizes", lambda self, config: FEW)


@pytest.mark.usefixtures("few_sizes")
def test_it_is_the_best_of_all_chips_estimated_one_by_one() -> None:
    sized = size(BASE, settings=SHORT)
    merits = {}
    for digital, attention, group in itertools.product((2.0, 8.0, 32.0), (1.0, 4.0, 16.0), (1, 2)):
        settings = {"hardware.num_digital_units": digital, "hardware.num_attention_units": attention}
        config = pimjax.load_config(BASE, {**SHORT, **settings, "plan.group_size": group})
        one = pimjax.estimate(config, fidelity="fluid")
        merits[(digital, attention, group)] = float(one.latency_ns) * float(one.area_mm2)
    best = min(merits, key=lambda key: merits[key])
    chosen = sized.settings
    assert best == (
        chosen["hardware.num_digital_units"],
        chosen["hardware.num_attention_units"],
        chosen["plan.group_size"],
    )
    assert sized.chips == len(merits)
    assert sized.config.hardware.num_digital_units == chosen["hardware.num_digital_units"]


@pytest.mark.usefixtures("few_sizes")
def test_points_that_share_a_combination_cost_what_each_costs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem(size_problem(BASE, settings=SHORT))
    units, variants = every_point(problem)
    order = np.random.default_rng(0).permutation(len(units))
    plain = evaluation.evaluate(problem, units[order], variants[order], once=True)
    monkeypatch.setattr(evaluation, "_SMALL", 2)
    monkeypatch.setattr(evaluation, "_CHUNK", 8)
    shared = evaluation.evaluate(problem, units[order], variants[order], once=True)
    for one, other in zip(plain, shared, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12)


@pytest.mark.usefixtures("few_sizes")
def test_budgets_hold_and_what_cannot_be_kept_is_said() -> None:
    free = size(BASE, settings=SHORT)
    area = float(free.estimate.area_mm2)
    tight = size(BASE, [f"{area * 0.999:.6f}mm2"], settings=SHORT)
    assert tight.feasible
    assert float(tight.estimate.area_mm2) <= area * 0.999
    assert tight.settings != free.settings
    never = size(BASE, ["3 mm2", "1e9W"], settings=SHORT)
    assert not never.feasible
    assert never.verdict.startswith("3 mm2 is too little: the least is ")
    least = float(never.verdict.split()[-2].replace(",", ""))
    assert least == pytest.approx(float(never.estimate.area_mm2), rel=1e-5)


@pytest.mark.usefixtures("few_sizes")
def test_goals_differ_where_they_should() -> None:
    fast, lean = size(BASE, goal="latency", settings=SHORT), size(BASE, goal="balance", settings=SHORT)
    assert float(fast.estimate.latency_ns) <= float(lean.estimate.latency_ns) * (1 + 1e-9)
    assert fast.settings["hardware.num_attention_units"] == 16.0


def test_a_chip_whose_few_units_bound_it_gets_advice_and_a_sized_one_none() -> None:
    starved = pimjax.load_config(
        "paper_multiplexed", {"hardware.num_attention_units": 1, "workload.prompt_tokens": 512}
    )
    found = pimjax.estimate(starved)
    assert "hardware.num_attention_units" in advice(starved, found)
    shares = parts(found, CHIPS[starved.chip_model])
    assert sum(part.area_share for part in shares) == pytest.approx(1)
    assert sum(part.latency_share for part in shares) == pytest.approx(1)
    enough = pimjax.load_config(
        "paper_multiplexed", {"hardware.num_attention_units": 64, "hardware.num_digital_units": 64}
    )
    assert advice(enough, pimjax.estimate(enough)) == ""


@pytest.mark.parametrize("text", ["", "12", "mm2", "-3mm2", "0W", "1e999mm2", "3 parsecs", "1..2W", "nan W", "1,mm2,3"])
def test_a_budget_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no budget"):
        budget(text, 858.0)


def test_a_budget_in_dies_is_of_the_dies_of_the_system() -> None:
    small = {"system": "dies", "system.die_area_mm2": 100.0}
    assert size_problem("paper_multiplexed", ["7 dies"]).limits[0].at_most == 7 * 858
    assert size_problem("paper_multiplexed", ["7 dies"], settings=small).limits[0].at_most == 700


def test_wrong_arguments_are_refused_in_one_sentence() -> None:
    with pytest.raises(ConfigError, match="goal: 'speed' is unknown"):
        size(BASE, goal="speed")
    with pytest.raises(ConfigError, match="nothing to size; chips that have: multiplexed"):
        size("paper_reference")
    with pytest.raises(ConfigError, match="within is '3mm2'"):
        size(BASE, "3mm2")


def test_every_size_is_a_key_the_chip_takes_and_levels_rise() -> None:
    for name, chip in CHIPS.items():
        config = pimjax.load_config({"chip_model": name})
        for one in chip.sizes(config):
            assert bool(one.levels) != bool(one.choices), one
            assert list(one.levels) == sorted(set(one.levels))
            for value in one.levels or one.choices:
                pimjax.load_config({"chip_model": name}, {one.key: value})
    assert np.diff(doublings(4, 1024, halves=True)).min() > 0
