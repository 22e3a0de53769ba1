"""Accuracy beside cost: what the crossbars of a configuration do to a product and to a language model.

The configuration that the chip models cost is the one that is measured: rows, columns, ADC bits and columns per ADC
come from its hardware section, everything else from its numerics section, the router's place and the experts that
share converters from its plan.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import HostArray
from pimjax.config.config import Config
from pimjax.config.digital_map import digital_experts, has_digital_parts
from pimjax.errors import ConfigError, shown
from pimjax.estimation.result import ACCURACY, SCALARS, Estimate
from pimjax.numerics.calibrate import calibrate_adc_range
from pimjax.numerics.from_config import crossbar_from_config, macro_from_config
from pimjax.numerics.quality import product_quality_db
from pimjax.resources import data_folder

MEASURES = ("none", "sqnr", "perplexity")
HELD_OUT_WINDOWS, WINDOW_TOKENS = 8, 128
_OUTPUTS, _VECTORS = 64, 256


def measure_accuracy(config: Config, measure: str = "sqnr") -> dict[str, HostArray]:
    """Fields of `Estimate` that `measure` ("none", "sqnr" or "perplexity") asks for, as float64 scalars. Host.

    Raises ConfigError for another name, NumericsError for numerics the crossbars cannot do.

    >>> import pimjax
    >>> coarse, fine = (pimjax.load_config("paper_multiplexed", {"hardware.adc_bits": bits}) for bits in (5, 8))
    >>> bool(measure_accuracy(coarse)["sqnr_db"] < measure_accuracy(fine)["sqnr_db"])
    True
    """
    if measure not in MEASURES:
        raise ConfigError(f"accuracy: {shown(measure)} is unknown; allowed: {', '.join(MEASURES)}")
    if measure == "none":
        return {}
    found = {"sqnr_db": product_sqnr_db(config)}
    if has_digital_parts(config):
        found["digital_sqnr_db"] = product_sqnr_db(config, digital=True)
    if measure == "perplexity":
        found["perplexity"], found["exact_perplexity"] = perplexity(config)
    return {name: np.asarray(value, np.float64) for name, value in found.items()}


def product_sqnr_db(config: Config, *, digital: bool = False) -> float:
    """Signal over error [dB] of one product of uniformly random weights and inputs on the configuration's crossbars.

    As deep as the model is wide (`d_model` inputs), ADC ranges by the configuration's rule on the same data, one chip
    and one read drawn from `numerics.seed` where the numerics are random; `digital`: on its digital macros. Host.
    """
    crossbar = macro_from_config(config) if digital else crossbar_from_config(config)
    draw = np.random.default_rng(config.numerics.seed)
    depth = config.model.d_model
    weights = jnp.asarray(draw.uniform(-1, 1, (_OUTPUTS, depth)), jnp.float32)
    inputs = jnp.asarray(draw.uniform(-1, 1, (depth, _VECTORS)), jnp.float32)
    if config.numerics.adc_range != "fixed":
        crossbar = calibrate_adc_range(
            weights,
            inputs,
            crossbar,
            method=config.numerics.adc_range,
            percentile=config.numerics.adc_range_percentile,
        )
    key = None if digital or not _is_random(config) else jax.random.key(config.numerics.seed)
    return float(_quality(weights, inputs, crossbar, key))


_quality = jax.jit(product_quality_db)


def perplexity(config: Config) -> tuple[float, float]:
    """Perplexity on held-out text of the project's language model on these crossbars, and of the exact model. Host.

    The model that routes as the configuration does (`model.routing`; expert choice by the causal rule), every matrix
    on crossbars of the configuration, ranges calibrated on training text, `HELD_OUT_WINDOWS` windows of
    `WINDOW_TOKENS` tokens; one chip drawn from `numerics.seed`. Experts that share a group share converters. Parts on
    digital macros (:func:`analog_parts`) are exact at their bits. It is a small model: read differences between settings, not the perplexity of the configured model.
    """
    from pimjax.nn.convert import calibrate_model, model_loss
    from pimjax.nn.crossbar_linear import Ranges

    parameters, language, held_out, calibration, exact = _language_model(config.model.routing)
    crossbar = crossbar_from_config(config)
    rule = config.numerics.adc_range
    ranges = calibrate_model(
        parameters,
        calibration,
        language,
        crossbar,
        method="max" if rule == "fixed" else rule,
        percentile=config.numerics.adc_range_percentile,
    )
    if rule == "fixed":
        ranges = {
            name: Ranges(item.input_scale, jnp.broadcast_to(crossbar.adc_range, item.adc_range.shape))
            for name, item in ranges.items()
        }
    key = jax.random.key(config.numerics.seed) if _is_random(config) else None
    loss = model_loss(
        parameters,
        held_out,
        ranges,
        crossbar,
        config=language,
        router=config.plan.router,
        chip_key=key,
        read_key=None if key is None else jax.random.fold_in(key, 1),
        group_of_expert=jnp.arange(language.num_experts) // max(round(config.plan.group_size), 1),
        parts=analog_parts(config, language) if has_digital_parts(config) else None,
        macro=macro_from_config(config) if has_digital_parts(config) else None,
    )
    return math.exp(float(loss)), exact


def analog_parts(config: Config, language: Any) -> Any:
    """Which parts of the language model are analog (1) or digital (0), as `plan` says for the configured one. Host.

    Where both models have as many layers with experts and experts the map is used as it is; else as many experts of
    every layer are digital, by number, as the configured model has on average. Parts that the small model lacks do not
    count.
    """
    from pimjax.nn.analog_parts import AnalogParts

    digital, shape = digital_experts(config), (language.num_layers, language.num_experts)
    if digital.shape != shape:
        share = digital.mean() if digital.size else 0.0
        digital = np.broadcast_to(np.arange(shape[1]) < round(share * shape[1]), shape)
    layers, dense = np.ones(language.num_layers, np.float32), config.plan.digital_dense
    return AnalogParts(
        attention=jnp.asarray(0 * layers if "attention" in dense else layers),
        router=jnp.asarray(0 * layers if "router" in dense else layers),
        experts=jnp.asarray(1 - digital, jnp.float32),
        output=jnp.asarray(0.0 if "head" in dense else 1.0, jnp.float32),
    )


@functools.cache
def _language_model(routing: str) -> tuple[Any, Any, jax.Array, jax.Array, float]:
    """Weights, configuration, held-out and calibration windows, exact perplexity."""
    from pimjax.nn import corpus
    from pimjax.nn.language_model import load_parameters
    from pimjax.nn.training import evaluate

    parameters, language = load_parameters(data_folder() / f"language_model_{routing}.npz")
    text = corpus.help_topics()
    held_out = corpus.windows(text.held_out, WINDOW_TOKENS + 1, HELD_OUT_WINDOWS, 2027)
    calibration = corpus.windows(text.train, WINDOW_TOKENS, 4, 2028)
    exact = math.exp(evaluate(parameters, language, held_out))
    return parameters, language, jnp.asarray(held_out), jnp.asarray(calibration), exact


def _is_random(config: Config) -> bool:
    numerics = config.numerics
    if config.plan.tile == "digital_sram":
        return False
    spreads = (numerics.stuck_fraction, numerics.adc_gain_spread, numerics.polarity_spread)
    return numerics.device != "ideal" or any(spread > 0 for spread in spreads)


def best_trades(
    results: Sequence[Estimate], measures: Sequence[str] = ("perplexity", "energy_nj", "area_mm2")
) -> list[int]:
    """Indices of the estimates that no other one equals or beats in all `measures` (smaller is better; `sqnr_db`: larger).

    Host. Raises ConfigError for an unknown measure, or one that an estimate does not carry.

    >>> import pimjax
    >>> base = pimjax.estimate(pimjax.load_config("paper_reference"), fidelity="closed")
    >>> chips = [base.replace(perplexity=p, energy_nj=e) for p, e in ((5.0, 2.0), (4.6, 3.0), (4.7, 3.0))]
    >>> best_trades(chips)
    [0, 1]
    """
    goals = np.empty((len(results), len(measures)))
    for column, name in enumerate(measures):
        if name not in (*SCALARS, *ACCURACY):
            raise ConfigError(f"measures: {shown(name)} is unknown; allowed: {', '.join((*SCALARS, *ACCURACY))}")
        values = [getattr(result, name) for result in results]
        if any(value is None for value in values):
            raise ConfigError(
                f"measures: an estimate carries no {name}; ask for it with estimate(accuracy='perplexity')"
            )
        goals[:, column] = np.array(values, np.float64) * (-1 if name == "sqnr_db" else 1)
    front = []
    for index, goal in enumerate(goals):
        no_worse = (goals <= goal).all(axis=1)
        first_equal = np.flatnonzero((goals == goal).all(axis=1))[0]
        if not (no_worse & (goals < goal).any(axis=1)).any() and first_equal == index:
            front.append(index)
    return front
