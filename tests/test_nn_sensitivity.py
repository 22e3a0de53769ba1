"""Digital parts of a language model: maps, shares of the loss, orders, and routing recorded through crossbars."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

import pimjax
from pimjax.config.parameters import parameter_count
from pimjax.errors import ConfigError
from pimjax.nn.analog_parts import all_parts, from_vector, mixed_linear, part_names, part_weights, to_vector
from pimjax.nn.convert import calibrate_model, model_loss
from pimjax.nn.corpus import help_topics, windows
from pimjax.nn.decoder_block import Site, exact_linear
from pimjax.nn.description import model_section, plan_section
from pimjax.nn.language_model import LanguageModel, LanguageModelConfig, load_parameters
from pimjax.nn.recording import record_crossbar_traces, record_traces
from pimjax.nn.sensitivity import (
    activation_frequency,
    digital_order,
    greedy_order,
    neuron_norm_scores,
    noise_sensitivity,
    part_losses,
)
from pimjax.numerics import Crossbar
from pimjax.numerics.device import pcm_device
from pimjax.resources import data_folder

# Every expert is chosen, so that noise cannot move a choice and the loss is smooth in the levels.
TINY = LanguageModelConfig(vocabulary=8, d_model=8, d_expert=4, num_layers=1, num_heads=1, num_experts=2, top_k=2)
PARTS = len(part_names(TINY))
WINDOWS = jnp.array([[1, 5, 3, 7, 0, 2, 6, 4, 4, 1], [2, 2, 7, 5, 1, 3, 0, 6, 5, 7]])
KEYS = jax.random.split(jax.random.key(3), 2)
FINE = {"rows": 8, "adc_ideal": True, "weight_bits": 12, "input_bits": 12, "cell_bits": 11, "cycle_bits": 11}


@functools.cache
def case():
    """Weights, crossbars with noisy cells, ranges."""
    parameters = LanguageModel(TINY, rngs=nnx.Rngs(1)).parameters()
    device = pcm_device(programming_scale=3.0, read_scale=0.0, drift_scale=0.0)
    crossbar = Crossbar.create(**FINE, device=device)
    return parameters, crossbar, calibrate_model(parameters, WINDOWS, TINY, crossbar, input_percentile=100.0)


def losses(maps):
    parameters, crossbar, ranges = case()
    parts = from_vector(np.asarray(maps), TINY)
    return np.asarray(part_losses(parameters, WINDOWS, parts, ranges, crossbar, config=TINY, chip_keys=KEYS))


def test_a_map_of_parts_is_what_each_product_becomes():
    """Every matrix belongs to one part; 0 and 1 are the two products themselves, bit for bit."""
    config = LanguageModelConfig(vocabulary=8, d_model=8, d_expert=4, num_layers=2, num_heads=1, num_experts=2, top_k=1)
    weights, inputs = jnp.ones((3, 4)) / 3, jnp.arange(8.0).reshape(2, 4)

    def crossbar(weights, inputs, site):
        return exact_linear(weights, inputs, site) * 1.1

    dense = {name: "attention {}" for name in ("query", "key", "value", "attention_output")} | {"router": "router {}"}
    sites = [(Site(name, layer), part.format(layer)) for name, part in dense.items() for layer in range(2)]
    sites += [(Site("output", -1), "output")]
    sites += [
        (Site(name, layer, jnp.int32(expert)), f"expert {layer}.{expert}")
        for name in ("up", "gate", "down") for layer in range(2) for expert in range(2)
    ]  # fmt: skip
    names = part_names(config)
    for site, own in sites:
        exact, analog = exact_linear(weights, inputs, site), crossbar(weights, inputs, site)
        for index, name in enumerate(names):
            linear = mixed_linear(crossbar, from_vector(np.eye(len(names))[index], config))
            np.testing.assert_array_equal(linear(weights, inputs, site), analog if name == own else exact)
        half = mixed_linear(crossbar, all_parts(config, 0.5))(weights, inputs, site)
        np.testing.assert_allclose(half, 1.05 * exact, rtol=1e-6)


def test_losses_of_maps_are_those_of_the_model_on_each_chip():
    parameters, crossbar, ranges = case()
    maps = np.array([np.ones(PARTS), [1, 0, 1, 0, 1]])
    expected = [
        np.mean([
            float(model_loss(parameters, WINDOWS, ranges, crossbar, config=TINY, chip_key=key, read_key=jax.random.fold_in(key, 1), parts=from_vector(levels, TINY)))
            for key in KEYS
        ])
        for levels in maps
    ]  # fmt: skip
    padded = np.concatenate([maps, np.ones((6, PARTS))])
    np.testing.assert_allclose(losses(padded)[:2], expected, rtol=1e-5)


def test_shares_sum_to_the_growth_of_the_loss_and_are_its_slopes():
    parameters, crossbar, ranges = case()
    options = {"config": TINY, "chip_keys": KEYS}
    shares = noise_sensitivity(parameters, WINDOWS, ranges, crossbar, levels=4, **options)
    half = noise_sensitivity(parameters, WINDOWS, ranges, crossbar, **options)
    step = 0.1
    around = 0.5 + np.concatenate([step * np.eye(PARTS)[:3], -step * np.eye(PARTS)[:3], np.zeros((2, PARTS))])
    found = losses(around)
    np.testing.assert_allclose(
        half[:3], (found[:3] - found[3:6]) / (2 * step), rtol=0.1, atol=5e-4
    )  # gate scores are float16
    ends = losses(np.concatenate([[np.ones(PARTS)], np.zeros((7, PARTS))]))
    growth = ends[0] - ends[1]
    assert growth > 0.01
    np.testing.assert_allclose(shares.sum(), growth, rtol=0.05)  # rounding is straight-through in the shares only


@given(st.lists(st.floats(0, 1), min_size=25, max_size=25), st.lists(st.floats(0.1, 2), min_size=5, max_size=5))
def test_lazy_greedy_is_greedy_where_savings_shrink(entries, linear):
    """A quadratic form with entries of one sign: what a part saves shrinks as others become digital."""
    matrix, size = np.reshape(entries, (5, 5)), part_weights(TINY)

    def loss(maps):
        return np.einsum("np,pq,nq->n", maps, matrix, maps) + maps @ np.array(linear)

    current, order = np.ones(5), []
    while current.any():
        left = np.flatnonzero(current)
        saved = [
            (loss(current[None]) - loss((current * (np.arange(5) != part))[None]))[0] / size[part] for part in left
        ]
        order.append(int(left[int(np.argmax(saved))]))
        current[order[-1]] = 0
        if len({round(value, 12) for value in saved}) < len(saved):
            return  # ties: either order is greedy
    assert greedy_order(loss, TINY).tolist() == order


def test_scores_and_orders():
    parameters, config = load_parameters(data_folder() / "language_model_token_choice.npz")
    norms = neuron_norm_scores(parameters)
    rows = {name: np.linalg.norm(np.asarray(parameters[name], float), axis=3) for name in ("up", "gate", "down")}
    assert norms[2, 5] == pytest.approx(np.prod([rows[name][2, 5].max() for name in rows]))
    order = digital_order(config, norms)
    dense = 2 * config.num_layers + 1
    assert order[:dense].tolist() == list(range(dense))
    assert order[dense] == dense + norms.argmax()
    assert sorted(digital_order(config, np.arange(float(len(order))), dense_first=False)) == list(range(len(order)))
    assert part_weights(config).sum() == sum(
        np.prod(shape) for name, shape in config.shapes().items() if "norm" not in name
    )
    share = activation_frequency(parameters, jnp.arange(24).reshape(2, 12), config)
    assert share.mean() == pytest.approx(config.top_k / config.num_experts)
    with pytest.raises(ConfigError, match=r"\[3, 16\]"):
        digital_order(config, norms, dense_first=False)
    with pytest.raises(ConfigError, match="55 parts"):
        from_vector(np.ones(3), config)
    np.testing.assert_array_equal(to_vector(from_vector(np.arange(55.0), config)), np.arange(55.0))


@pytest.mark.parametrize("routing", ["token_choice", "expert_choice"])
def test_the_section_describes_the_same_model(routing):
    """As many parameters as the weights have, so that what is costed is what is measured."""
    parameters, config = load_parameters(data_folder() / f"language_model_{routing}.npz")
    section = {f"model.{key}": value for key, value in model_section(config).items()}
    loaded = pimjax.load_config("paper_multiplexed", section)
    assert parameter_count(loaded.model).total == sum(np.size(value) for value in parameters.values())


@pytest.mark.parametrize("fidelity", ["closed", "fluid"])
def test_a_map_is_costed_by_the_same_configuration(fidelity):
    """A map with some experts digital costs an energy between all analog and all digital, and a larger area than both."""
    parameters, config = load_parameters(data_folder() / "language_model_token_choice.npz")
    window = windows(help_topics().held_out, 32, 1, 2027)
    trace = record_traces(parameters, config, list(window), keep_scores="none").request(0)
    one = all_parts(config)
    some = one.experts.at[:, :5].set(0)
    found = []
    for parts in (one, one.replace(experts=some), one.replace(experts=0 * some)):
        keys = {f"model.{key}": value for key, value in model_section(config).items()}
        keys |= {f"plan.{key}": value for key, value in plan_section(parts).items()}
        keys |= {"plan.tile": "parametric", "hardware.crossbar_rows": 64, "hardware.crossbar_cols": 64}
        loaded = pimjax.load_config("paper_crossbars", {**keys, "workload.prompt_tokens": 32})
        found.append(pimjax.estimate(loaded, trace, fidelity=fidelity))
        if parts is one:  # nothing digital is the configuration without the map
            plain = {key: value for key, value in keys.items() if "digital" not in key and "expert_tile" not in key}
            chip = pimjax.load_config("paper_crossbars", {**plain, "workload.prompt_tokens": 32})
            assert float(pimjax.estimate(chip, trace, fidelity=fidelity).energy_nj) == float(found[0].energy_nj)
    analog, mixed, digital = (float(result.energy_nj) for result in found)
    assert min(analog, digital) < mixed < max(analog, digital)
    # Two kinds of tile in a group are two sets of peripherals.
    assert float(found[1].area_mm2) > max(float(found[0].area_mm2), float(found[2].area_mm2))
    with pytest.raises(ConfigError, match="some layers only"):
        plan_section(one.replace(attention=one.attention.at[0].set(0)))
    with pytest.raises(ConfigError, match="between 0"):
        plan_section(all_parts(config, 0.5))


def test_noise_moves_recorded_choices_and_digital_parts_do_not():
    config = LanguageModelConfig(vocabulary=8, d_model=8, d_expert=4, num_layers=1, num_heads=1, num_experts=4, top_k=1)
    parameters = LanguageModel(config, rngs=nnx.Rngs(1)).parameters()
    crossbar = Crossbar.create(**FINE, device=pcm_device(programming_scale=6.0))
    ranges = calibrate_model(parameters, WINDOWS, config, crossbar)
    requests = [np.asarray(window) for window in WINDOWS]
    exact = record_traces(parameters, config, requests)

    def recorded(parts):
        return record_crossbar_traces(
            parameters, config, requests, ranges, crossbar, chip_key=KEYS[0], read_key=KEYS[1], parts=parts
        )

    np.testing.assert_array_equal(recorded(all_parts(config, 0.0)).choices, exact.choices)
    noisy = recorded(all_parts(config)).choices
    assert (np.asarray(noisy).sum(axis=-1) == 1).all()
    assert not np.array_equal(noisy, exact.choices)
    router_digital = all_parts(config, 0.0).replace(experts=jnp.ones((1, 4)))
    np.testing.assert_array_equal(recorded(router_digital).choices, exact.choices)  # one layer: experts come later
