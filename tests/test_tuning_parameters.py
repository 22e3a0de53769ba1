"""Tuning: descriptions, the box of parameters, measures, quality, grouping."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimjax.config import Config, build
from pimjax.errors import ConfigError
from pimjax.numerics.quality import product_quality_db
from pimjax.numerics.settings import Crossbar
from pimjax.tuning import load_tune_config, make_problem
from pimjax.tuning.evaluate import evaluate
from pimjax.tuning.measures import BASE, MEASURES, row, value_of
from pimjax.tuning.parameters import apply, leaf_names, make_box, relaxed, snap, unit_at, values_at
from pimjax.tuning.quality import sqnr_db
from pimjax.tuning.tune_config import ParameterConfig

UNITS = {"hardware.num_digital_units": {"kind": "integer", "low": 1, "high": 9}}


def box_of(**parameters: dict):
    known = {key.replace("__", "."): ParameterConfig.model_validate(item) for key, item in parameters.items()}
    return make_box(known, build(Config())[0].hardware)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"parameters": {}}, "parameters is empty"),
        ({"parameters": {"hardware.nonsense": {"low": 1, "high": 2}}}, "hardware.nonsense"),
        ({"parameters": {"plan.group_size": {"low": 1, "high": 2}}}, "categorical"),
        ({"parameters": {"hardware.adc_bits": {"low": 4, "high": 40}}}, "at most 16"),
        ({"parameters": {"hardware.adc_bits": {"low": 8, "high": 4}}}, "low below high"),
        ({"parameters": {"speed": {"low": 1, "high": 2, "drives": {"hardware.adc_bits": 1}}}}, "needs start"),
        ({"objective": {"speed": 1}}, "'speed' is unknown"),
        ({"limits": [{"measure": "area_mm2"}]}, "at_most or at_least"),
        ({"limits": [{"measure": "area_mm2", "at_most": -3}]}, "above 0"),
        ({"optimiser": {"name": "newton"}}, "adam"),
        ({"parametres": {}}, "did you mean 'parameters'"),
    ],
)
def test_mistakes_become_one_sentence(change: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        load_tune_config({"parameters": UNITS} | change)
    assert "\n" not in str(error.value)


def test_too_many_combinations_are_refused() -> None:
    many = {"plan.copies": {"kind": "categorical", "choices": list(range(300))}}
    with pytest.raises(ConfigError, match="300 combinations"):
        load_tune_config({"parameters": many})


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_unit_and_values_are_inverse(point: list[float]) -> None:
    box = box_of(
        hardware__supply_v={"low": 0.6, "high": 1.0},
        hardware__num_digital_units={"kind": "integer", "low": 1, "high": 9},
        hardware__crossbar_rows={"kind": "levels", "levels": [64, 128, 512], "scale": "linear"},
    )
    unit = np.zeros(box.num_padded)
    unit[:3] = point
    values = values_at(box, unit)
    assert 0.6 - 1e-12 <= values[0] <= 1.0 + 1e-12
    assert values[1] in range(1, 10)
    assert values[2] in (64, 128, 512)
    np.testing.assert_allclose(unit_at(box, values)[:3], snap(box, unit)[:3], atol=1e-12)


def test_hardened_values_are_exactly_legal_and_gradients_stay() -> None:
    box = box_of(hardware__crossbar_rows={"kind": "levels", "levels": [64, 128, 256, 512]})
    unit = np.full(box.num_padded, 0.6)
    with jax.enable_x64(True):
        hard = relaxed(box, jnp.asarray(unit), jnp.asarray(1.0))
        soft = relaxed(box, jnp.asarray(unit), jnp.asarray(0.0))
        slope_hard = jax.grad(lambda u: relaxed(box, u, jnp.asarray(1.0))[0])(jnp.asarray(unit))
        slope_soft = jax.grad(lambda u: relaxed(box, u, jnp.asarray(0.0))[0])(jnp.asarray(unit))
    assert float(hard[0]) == 256.0  # not 256 (1 + eps): crossbar counts are ceilings of it
    assert float(soft[0]) == pytest.approx(64 * 8**0.6)
    assert float(slope_hard[0]) == pytest.approx(float(slope_soft[0]))
    assert float(slope_soft[0]) > 0


def test_power_laws_drive_several_leaves_and_leave_others_alone() -> None:
    base = build(Config())[0].hardware
    box = make_box(
        {
            "speed": ParameterConfig.model_validate(
                {"low": 0.5, "high": 2.0, "start": 1.0,
                 "drives": {"hardware.mvm_latency_ns": -1, "hardware.mvm_energy_nj": 2}}
            ),
            "hardware.sram_cache_bytes": ParameterConfig.model_validate({"low": 0, "high": 100, "scale": "linear"}),
        },
        base,
    )  # fmt: skip
    values = np.ones(box.num_padded)
    values[:2] = (2.0, 50.0)
    with jax.enable_x64(True):
        tuned = apply(box, jnp.asarray(values), base)
    expected = {"mvm_latency_ns": 65.0, "mvm_energy_nj": 4 * 12.48, "sram_cache_bytes": 50.0}
    for name in leaf_names(base):
        assert float(getattr(tuned, name)) == pytest.approx(expected.get(name, float(getattr(base, name))), rel=1e-12)


def test_a_power_law_needs_a_base() -> None:
    item = ParameterConfig.model_validate({"low": 1, "high": 2, "start": 1, "drives": {"hardware.out_links": 1}})
    with pytest.raises(ConfigError, match="out_links"):
        make_box({"speed": item}, build(Config())[0].hardware)


def test_measures_are_products_of_powers() -> None:
    amounts = dict(zip(BASE, (2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 0.0), strict=True))
    base = np.log(np.maximum(list(amounts.values()), 1e-30))
    base[-1] = 42.0
    assert value_of("edap", base) == pytest.approx(30.0)
    assert value_of("gops_per_w_per_mm2", base) == pytest.approx(7 / 15)
    assert value_of("tokens_per_s", base) == pytest.approx(11e9 / 2)
    assert value_of("energy_per_token_nj", base) == pytest.approx(3 / 11)
    assert value_of("quality", base) == 42.0
    assert all(row(name).any() for name in MEASURES)


@pytest.mark.parametrize("bits", [4, 8])
def test_closed_signal_to_noise_agrees_with_the_crossbar(bits: int) -> None:
    weights, inputs = (jax.random.uniform(key, (96, 96), minval=-1.0) for key in jax.random.split(jax.random.key(1)))
    measured = float(product_quality_db(weights, inputs, Crossbar.create(rows=96, adc_bits=bits)))
    hardware = build(Config())[0].hardware.replace(adc_bits=np.float64(bits))
    assert float(sqnr_db(hardware)) == pytest.approx(measured, abs=0.3)


def test_perplexity_may_be_a_limit(monkeypatch) -> None:
    """Measured once per whole number of bits; the limit picks the fewest bits that keep it."""
    asked = []

    def measured(config) -> tuple[float, float]:
        asked.append(config.hardware.adc_bits)
        return 4.0 + 2.0 ** (6 - config.hardware.adc_bits), 4.0

    monkeypatch.setattr("pimjax.estimation.accuracy.perplexity", measured)
    run = {
        "base": "paper_reference",
        "quality": "perplexity",
        "parameters": {"hardware.adc_bits": {"kind": "integer", "low": 4, "high": 8}},
        "limits": [{"measure": "perplexity", "at_most": 4.6}],
    }
    problem = make_problem(load_tune_config(run))
    assert asked == [4, 5, 6, 7, 8]
    levels = np.zeros((5, len(problem.start)))
    levels[:, 0] = np.linspace(0, 1, 5)
    found = evaluate(problem, levels, np.zeros(5, int))
    np.testing.assert_allclose(value_of("perplexity", found.base), [8, 6, 5, 4.5, 4.25], rtol=1e-6)
    assert (found.excess == 0).tolist() == [False, False, False, True, True]
    with pytest.raises(ConfigError, match="set quality: perplexity"):
        load_tune_config(run | {"quality": "sqnr"})
