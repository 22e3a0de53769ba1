"""Crossbar layers, conversion of the shipped language models, fine-tuning."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pimjax.errors import NumericsError
from pimjax.nn.convert import calibrate_model, crossbar_model, model_loss, program_model, sample_activations
from pimjax.nn.crossbar_expert import CrossbarExpertMLP
from pimjax.nn.crossbar_linear import CrossbarLinear, weight_scales
from pimjax.nn.crossbar_moe import CrossbarMoE
from pimjax.nn.finetune import finetune
from pimjax.nn.language_model import LanguageModel, LanguageModelConfig, forward
from pimjax.numerics import Crossbar
from pimjax.numerics.device import pcm_device
from pimjax.trace.rounding import gate_scores
from pimjax.trace.routers import causal_expert_choice, token_choice

IDEAL = Crossbar.create(rows=8, adc_ideal=True, weight_bits=12, input_bits=12, cell_bits=11, cycle_bits=11)
TINY = LanguageModelConfig(
    vocabulary=16, d_model=8, d_expert=8, num_layers=1, num_heads=2, num_experts=4, top_k=2, router="expert_choice"
)


def normal(seed, shape):
    return jax.random.normal(jax.random.key(seed), shape)


def test_linear_layer_approaches_the_exact_one():
    inputs = normal(1, (2, 5, 12))
    layer = CrossbarLinear(12, 6, IDEAL, use_bias=True, rngs=nnx.Rngs(0))
    layer.calibrate(inputs, input_percentile=100.0)
    np.testing.assert_allclose(layer(inputs), inputs @ layer.weight[...].T, atol=5e-3)
    copied = CrossbarLinear.from_weights(layer.weight[...], jnp.arange(6.0), IDEAL)
    copied.calibrate(inputs, input_percentile=100.0)
    np.testing.assert_allclose(copied(inputs) - layer(inputs), np.broadcast_to(np.arange(6.0), (2, 5, 6)), atol=1e-5)
    with pytest.raises(NumericsError, match="in_features = 12"):
        layer(jnp.ones((3, 4)))


def test_rows_of_zeros_have_a_scale():
    assert weight_scales(jnp.array([[0.0, 0.0], [3.0, -4.0]])).tolist() == [[1.0], [4.0]]


@pytest.mark.parametrize("activation", ["relu", "swiglu"])
def test_expert_approaches_the_exact_one(activation):
    inputs = normal(2, (7, 8))
    expert = CrossbarExpertMLP(8, 16, IDEAL, activation=activation, rngs=nnx.Rngs(1))
    expert.calibrate(inputs, input_percentile=100.0)
    up, down = expert.up.weight[...], expert.down.weight[...]
    hidden = inputs @ up.T
    if activation == "swiglu":
        hidden = jax.nn.silu(inputs @ expert.gate.weight[...].T) * hidden
    else:
        hidden = jax.nn.relu(hidden)
    np.testing.assert_allclose(expert(inputs), hidden @ down.T, atol=2e-2)
    with pytest.raises(NumericsError, match="activation"):
        CrossbarExpertMLP(8, 16, IDEAL, activation="gelu", rngs=nnx.Rngs(1))


@pytest.mark.parametrize("routing", ["token_choice", "expert_choice"])
def test_moe_layer_follows_its_router_key(routing):
    """A digital router gives the exact scores; a coarse crossbar router gives others, and both are obeyed."""
    inputs = normal(3, (6, 8))
    coarse = dataclasses.replace(IDEAL, weight_bits=jnp.float32(3))
    layers = {
        kind: CrossbarMoE(8, 4, 4, 2, coarse, routing=routing, router=kind, rngs=nnx.Rngs(2))
        for kind in ("digital", "crossbar")
    }
    scores = {}
    for kind, layer in layers.items():
        layer.calibrate(inputs)
        scores[kind] = layer.scores(inputs)
        if routing == "token_choice":
            choices = token_choice(scores[kind], 2).choices
        else:
            choices = causal_expert_choice(scores[kind], 2)
        gates = jnp.where(choices, scores[kind], 0)
        if routing == "token_choice":
            gates = gates / gates.sum(axis=1, keepdims=True)
        outputs = nnx.vmap(lambda expert, x: expert(x), in_axes=(0, None))(layer.experts, inputs)
        np.testing.assert_allclose(layer(inputs), jnp.einsum("te,etd->td", gates, outputs), atol=1e-5)
    exact = gate_scores(inputs @ layers["digital"].router.weight[...].T)
    np.testing.assert_array_equal(scores["digital"], exact)
    assert np.abs(np.asarray(scores["crossbar"] - exact)).max() > 1e-3


def test_shared_converters_hurt_unless_calibrated_per_crossbar():
    inputs = normal(4, (6, 8))
    base = Crossbar.create(rows=8, adc_bits=12, path_gain_spread=0.2)
    moe = CrossbarMoE(8, 4, 4, 2, base, router="digital", group_of_expert=np.array([0, 0, 1, 1]), rngs=nnx.Rngs(3))
    moe.calibrate(inputs, method="max")
    for layer in moe.experts.layers().values():
        layer.adc_range[...] = 3 * layer.adc_range[...]  # room for gains above 1
    clean = moe(inputs)

    @nnx.jit
    def error(layer):
        return jnp.std(layer(inputs, chip_key=jax.random.key(0)) - clean)

    def with_calibration(mode):
        for layer in moe.experts.layers().values():
            settings = layer.settings.get_value()
            layer.settings.set_value(
                dataclasses.replace(settings, adc_calibration=jnp.full_like(settings.adc_calibration, mode))
            )
        return float(error(moe))

    uncalibrated, per_converter, per_crossbar = (with_calibration(mode) for mode in (0, 1, 2))
    assert per_crossbar < 0.1 * per_converter < 0.1 * 1.5 * uncalibrated


@pytest.mark.parametrize(
    ("options", "words"),
    [({"router": "analog"}, "router"), ({"routing": "soft"}, "routing"), ({"group_of_expert": [0]}, "group_of_expert")],
)
def test_bad_moe_options(options, words):
    with pytest.raises(NumericsError, match=words):
        CrossbarMoE(8, 4, 4, 2, IDEAL, rngs=nnx.Rngs(0), **options)


@pytest.fixture(scope="module")
def tiny():
    model = LanguageModel(TINY, rngs=nnx.Rngs(0))
    windows = jax.random.randint(jax.random.key(5), (2, 17), 0, TINY.vocabulary)
    return model.parameters(), windows


def test_captured_activations_are_the_models_own(tiny):
    parameters, windows = tiny
    seen = sample_activations(parameters, windows[0], TINY)
    assert seen["query"].shape == (1, 17, 8)
    assert seen["down"].shape == (1, 4, 17, 8)
    hidden = jax.nn.relu(jnp.einsum("efd,td->etf", parameters["up"][0], seen["router"][0]))
    np.testing.assert_allclose(seen["down"][0], hidden, rtol=1e-5, atol=1e-6)


def test_converted_model_approaches_the_exact_one(tiny):
    parameters, windows = tiny
    ranges = calibrate_model(parameters, windows, TINY, IDEAL, input_percentile=100.0)

    @jax.jit
    def both(tokens):
        exact = forward(parameters, tokens, TINY)
        linear = crossbar_model(program_model(parameters, IDEAL), ranges, IDEAL)
        return exact.logits, forward(parameters, tokens, TINY, choices=exact.choices, linear=linear).logits

    exact, result = both(windows[0])
    np.testing.assert_allclose(result, exact, atol=0.05)
    with pytest.raises(NumericsError, match="router"):
        crossbar_model({}, ranges, IDEAL, router="none")


def test_noise_of_a_token_does_not_depend_on_later_tokens(tiny):
    """Read noise is keyed by token and the routing is causal: a prefix is the same before any continuation."""
    parameters, windows = tiny
    noisy = Crossbar.create(rows=8, device=pcm_device())
    ranges = calibrate_model(parameters, windows, TINY, noisy)

    @jax.jit
    def logits(tokens):
        chip = program_model(parameters, noisy, chip_key=jax.random.key(0))
        linear = crossbar_model(chip, ranges, noisy, read_key=jax.random.key(1))
        return forward(parameters, tokens, TINY, linear=linear).logits

    other = windows[0].at[9:].set((windows[0, 9:] + 1) % TINY.vocabulary)
    first, second = logits(windows[0]), logits(other)
    np.testing.assert_array_equal(first[:9], second[:9])
    assert (first[9:] != second[9:]).any()


def test_fine_tuning_recovers_from_a_coarse_converter(tiny):
    """Trained through 4-bit converters, the loss falls; ranges move and stay positive."""
    parameters, windows = tiny
    coarse = Crossbar.create(rows=8, adc_bits=4)
    ranges = calibrate_model(parameters, windows, TINY, coarse)
    before = float(model_loss(parameters, windows, ranges, coarse, config=TINY))
    batches = jnp.broadcast_to(windows, (40, *windows.shape))
    result = finetune(parameters, ranges, batches, TINY, coarse, key=None, learning_rate=1e-2, range_learning_rate=1e-2)
    after = float(model_loss(result.parameters, windows, result.ranges, coarse, config=TINY))
    assert after < before - 0.1
    assert math.isclose(float(result.losses[0]), before, rel_tol=1e-4)
    moved = jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), ranges, result.ranges))
    assert all(moved) or sum(moved) > len(moved) // 2
    assert all(bool((leaf > 0).all()) for leaf in jax.tree.leaves(result.ranges))
    with pytest.raises(NumericsError, match="batches"):
        finetune(parameters, ranges, windows, TINY, coarse, key=None)
