"""Accuracy of digital macros and of models that are digital in part: exact at their bits, and nothing else changes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import pimjax
from pimjax.estimation.accuracy import analog_parts, measure_accuracy
from pimjax.nn.analog_parts import all_parts
from pimjax.nn.convert import calibrate_model, model_loss
from pimjax.nn.language_model import LanguageModel, LanguageModelConfig
from pimjax.numerics.from_config import crossbar_from_config, macro_from_config
from pimjax.numerics.mvm import crossbar_mvm

NOISY = {"numerics.device": "pcm", "numerics.adc_gain_spread": 0.02, "hardware.adc_bits": 6}


def _config(**overrides: Any) -> pimjax.Config:
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    return pimjax.load_config("paper_multiplexed", {**NOISY, **keys})


@pytest.mark.parametrize(("weight_bits", "input_bits"), [(8, 8), (4, 6)])
def test_a_macro_multiplies_whole_numbers_exactly(weight_bits: int, input_bits: int) -> None:
    bits = {"numerics__weight_bits": weight_bits, "numerics__input_bits": input_bits, "numerics__cell_bits": 3}
    macro = macro_from_config(_config(**bits))
    draw = np.random.default_rng(0)
    weights, inputs = draw.uniform(-1, 1, (6, 300)), draw.uniform(-1, 1, (300, 5))
    made = np.asarray(crossbar_mvm(jnp.asarray(weights, jnp.float32), jnp.asarray(inputs, jnp.float32), macro))
    levels = 2 ** (weight_bits - 1) - 1, 2 ** (input_bits - 1) - 1
    whole = np.round(np.float32(weights) * np.float32(levels[0])) @ np.round(np.float32(inputs) * np.float32(levels[1]))
    np.testing.assert_allclose(made, whole / (levels[0] * levels[1]), rtol=2e-6, atol=2e-6)


def test_each_kind_has_its_signal_to_noise() -> None:
    analog, mixed, digital = (
        measure_accuracy(_config(**keys))
        for keys in ({}, {"plan__expert_tile": "mixed"}, {"plan__tile": "digital_sram"})
    )
    assert "digital_sqnr_db" not in analog
    assert float(mixed["sqnr_db"]) == float(analog["sqnr_db"])
    assert float(mixed["digital_sqnr_db"]) == float(digital["sqnr_db"]) > float(analog["sqnr_db"]) + 10
    assert float(crossbar_from_config(_config(plan__tile="digital_sram")).adc_ideal) == 1
    coarse = measure_accuracy(_config(plan__tile="digital_sram", numerics__weight_bits=5))
    assert float(coarse["sqnr_db"]) < float(digital["sqnr_db"]) - 10


def test_a_small_model_whose_parts_are_all_digital_is_that_on_macros() -> None:
    language = LanguageModelConfig(num_layers=1, num_experts=2, top_k=1, d_model=16, d_expert=8, num_heads=2)
    parameters = LanguageModel(language, rngs=nnx.Rngs(0)).parameters()
    windows = jnp.arange(40).reshape(2, 20) % 128
    crossbar, macro = (crossbar_from_config(_config()), macro_from_config(_config()))
    ranges = calibrate_model(parameters, windows, language, crossbar)
    options = {"config": language, "chip_key": jax.random.key(1), "read_key": jax.random.key(2)}
    none, every = all_parts(language, 0.0), all_parts(language, 1.0)
    mixed = [model_loss(parameters, windows, ranges, crossbar, parts=p, macro=macro, **options) for p in (none, every)]
    whole = model_loss(parameters, windows, ranges, macro, config=language)
    analog = model_loss(parameters, windows, ranges, crossbar, **options)
    assert float(mixed[0]) == pytest.approx(float(whole), rel=1e-6)
    assert float(mixed[1]) == pytest.approx(float(analog), rel=1e-6)
    assert abs(float(whole) - float(analog)) > 1e-4


@pytest.mark.slow
def test_perplexity_of_a_model_all_of_whose_parts_are_digital_is_that_of_the_digital_chip() -> None:
    dense = ["attention", "router", "head"]
    parts = measure_accuracy(_config(plan__expert_tile="digital", plan__digital_dense=dense), "perplexity")
    whole = measure_accuracy(_config(plan__tile="digital_sram"), "perplexity")
    analog = measure_accuracy(_config(), "perplexity")
    assert float(parts["perplexity"]) == pytest.approx(float(whole["perplexity"]), rel=1e-6)
    assert float(whole["exact_perplexity"]) < float(whole["perplexity"]) < float(analog["perplexity"])


def test_the_map_is_taken_as_it_is_or_by_its_share() -> None:
    language = LanguageModelConfig(num_layers=2, num_experts=4, top_k=1)
    same = {"model__num_layers": 2, "model__num_experts": 4, "model__top_k": 1, "plan__expert_tile": "mixed"}
    own = analog_parts(_config(**same, plan__digital_experts=[[3], [0, 1]]), language)
    assert own.experts.tolist() == [[1, 1, 1, 0], [0, 0, 1, 1]]
    other = analog_parts(
        _config(plan__expert_tile="mixed", plan__digital_experts=[5, 9, 11, 12, 13, 14, 2, 3]), language
    )
    assert other.experts.tolist() == [[0, 0, 1, 1]] * 2
    dense = analog_parts(_config(plan__digital_dense=["attention", "head"]), language)
    assert (dense.attention.tolist(), dense.router.tolist(), float(dense.output)) == ([0, 0], [1, 1], 0.0)
    assert dense.experts.min() == 1
