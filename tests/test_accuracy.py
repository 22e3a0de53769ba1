"""Accuracy beside cost: one configuration feeds numerics and chip, results carry both."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import pimjax
from pimjax.cli.app import main
from pimjax.errors import ConfigError
from pimjax.estimation import accuracy
from pimjax.nn.language_model import LanguageModel, LanguageModelConfig, cross_entropy, forward
from pimjax.numerics.from_config import crossbar_from_config
from pimjax.numerics.settings import check_crossbar

SMALL = {"plan.tile": "parametric", "model.d_model": 128, "hardware.crossbar_rows": 64, "hardware.crossbar_cols": 32}


def chip(**changes):
    return pimjax.load_config(
        "paper_multiplexed", {**SMALL, **{key.replace("__", "."): changes[key] for key in changes}}
    )


def test_crossbar_of_a_configuration():
    config = chip(
        hardware__adc_bits=6,
        hardware__columns_per_adc=4,
        numerics__weight_encoding="sliced",
        numerics__cell_bits=2,
        numerics__input_encoding="serial",
        numerics__adc_range="fixed",
        numerics__adc_range_value=0.25,
        numerics__device="hermes_2",
        numerics__noise_scale=0.5,
        numerics__drift_seconds=3600.0,
        numerics__stuck_fraction=0.02,
        numerics__on_off_ratio=50.0,
        numerics__wire_resistance_ohm=2.0,
        numerics__adc_gain_spread=0.07,
    )
    crossbar = crossbar_from_config(config)
    check_crossbar(crossbar)
    assert (crossbar.rows, crossbar.cols, crossbar.max_slices, crossbar.max_cycles) == (64, 32, 4, 7)
    assert (crossbar.max_slices, crossbar.max_cycles) == (config.numerics.weight_slices, config.numerics.input_cycles)
    assert [float(crossbar.adc_bits), float(crossbar.columns_per_adc), float(crossbar.adc_calibration)] == [6, 4, 2]
    np.testing.assert_allclose(crossbar.adc_range, np.full(4, 16.0))
    np.testing.assert_allclose(crossbar.wire_row, 2.0 * 20.7e-6, rtol=1e-6)
    device = crossbar.device
    levels = (device.programming_scale, device.read_scale, device.drift_time_s, device.stuck_on, device.on_off_ratio)
    np.testing.assert_allclose(levels, (0.5, 0.5, 3600.0, 0.01, 50.0), rtol=1e-6)


@pytest.mark.parametrize("signed_inputs", ["sign_magnitude", "offset"])
def test_cost_counts_the_cycles_that_the_numerics_run(signed_inputs):
    settings = {"numerics.input_encoding": "serial", "numerics.input_bits": 8, "numerics.signed_inputs": signed_inputs}
    config = pimjax.load_config("paper_multiplexed", settings)
    assert crossbar_from_config(config).max_cycles == config.numerics.input_cycles


def test_estimate_carries_what_was_asked_for():
    config = pimjax.load_config("paper_reference", SMALL)
    plain = pimjax.estimate(config, fidelity="closed")
    assert plain.sqnr_db is None
    assert "sqnr_db" not in plain.to_dict()
    both = pimjax.estimate(config, fidelity="closed", accuracy="sqnr")
    assert (both.latency_ns, both.energy_nj) == (plain.latency_ns, plain.energy_nj)
    assert both.to_dict()["sqnr_db"] == float(both.sqnr_db) > 25
    # One bit less costs six decibels; noise costs more.
    seven = accuracy.measure_accuracy(chip(hardware__adc_bits=6))["sqnr_db"]
    six = accuracy.measure_accuracy(chip(hardware__adc_bits=5))["sqnr_db"]
    assert 5 < seven - six < 7
    assert accuracy.measure_accuracy(chip(numerics__device="pcm"))["sqnr_db"] < both.sqnr_db - 3
    with pytest.raises(ConfigError, match="accuracy"):
        pimjax.estimate(config, accuracy="bleu")
    with pytest.raises(ConfigError, match=r"weight_bits: 16 .*at most 12"):
        chip(numerics__weight_bits=16)


def test_perplexity_of_a_configuration(monkeypatch):
    """On a tiny model: coarse converters raise it, fine ones give nearly the exact model's."""
    tiny = LanguageModelConfig(
        vocabulary=16, d_model=8, d_expert=8, num_layers=1, num_heads=2, num_experts=4, top_k=2, router="token_choice"
    )
    parameters = LanguageModel(tiny, rngs=nnx.Rngs(0)).parameters()
    # A confident model: the larger the logits, the more coarse products hurt.
    parameters = {**parameters, "final_norm": 8 * parameters["final_norm"]}
    windows = jax.random.randint(jax.random.key(1), (2, 13), 0, 16)
    exact = float(
        jnp.exp(jnp.mean(jax.vmap(lambda w: cross_entropy(forward(parameters, w[:-1], tiny).logits, w[1:]))(windows)))
    )
    monkeypatch.setattr(accuracy, "_language_model", lambda routing: (parameters, tiny, windows, windows, exact))
    fine = accuracy.measure_accuracy(chip(hardware__adc_bits=10), "perplexity")
    coarse = accuracy.measure_accuracy(chip(hardware__adc_bits=3), "perplexity")
    assert float(fine["exact_perplexity"]) == exact
    assert abs(float(fine["perplexity"]) / exact - 1) < 0.1
    assert abs(float(coarse["perplexity"]) / exact - 1) > 2 * abs(float(fine["perplexity"]) / exact - 1)


def test_best_trades_are_those_that_nothing_beats():
    base = pimjax.estimate(pimjax.load_config("paper_reference"), fidelity="closed")
    points = [(1.0, 4.0, 2.0), (2.0, 3.0, 2.0), (2.0, 4.0, 2.0), (3.0, 1.0, 1.0), (1.0, 4.0, 2.0), (3.0, 1.0, 1.5)]
    chips = [dataclasses.replace(base, perplexity=p, energy_nj=e, area_mm2=a) for p, e, a in points]
    assert accuracy.best_trades(chips) == [0, 1, 3]
    louder = [dataclasses.replace(base, sqnr_db=db) for db in (30.0, 40.0)]
    assert accuracy.best_trades(louder, ("sqnr_db", "energy_nj")) == [1]
    with pytest.raises(ConfigError, match="perplexity"):
        accuracy.best_trades([base])
    with pytest.raises(ConfigError, match="speed"):
        accuracy.best_trades([base], ("speed",))


def test_command_prints_accuracy(capsys):
    settings = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    with pytest.raises(SystemExit) as stop:
        main(["estimate", "paper_reference", "--fidelity", "closed", "--accuracy", "sqnr", "--json", *settings])
    assert stop.value.code in (0, None)
    assert json.loads(capsys.readouterr().out)["sqnr_db"] > 25
