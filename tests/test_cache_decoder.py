"""Decoding with caches against one forward pass with A*, and against expert choice recomputed on the prefix."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from oracles import cache as oracle

from pimjax.cache.capacity import capacity_law, list_length
from pimjax.cache.threshold import threshold_init, threshold_step
from pimjax.nn.cached_decoder import decode, decoder_init, decoder_prefill, generate
from pimjax.nn.convert import crossbar_model, program_model
from pimjax.nn.corpus import help_topics, windows
from pimjax.nn.crossbar_linear import Ranges
from pimjax.nn.crossbar_moe import CrossbarMoE
from pimjax.nn.language_model import LanguageModel, LanguageModelConfig, forward, load_parameters
from pimjax.numerics import Crossbar
from pimjax.numerics.device import pcm_device
from pimjax.resources import data_folder
from pimjax.trace.routers import causal_expert_choice

SEEDS = 8


def config_of(layers, router="expert_choice", **others):
    return LanguageModelConfig(
        vocabulary=32, d_model=16, d_expert=8, num_layers=layers, num_heads=2, router=router, **others
    )


def random_case(config, length, seeds=SEEDS, dtype=np.float64):
    """Parameters with visible router and expert weights, and token ids; leaves lead with seeds."""
    rng = np.random.default_rng(length)
    weights = {}
    for name, shape in config.shapes().items():
        random = 2 * rng.normal(size=(seeds, *shape)) / shape[-1] ** 0.5
        weights[name] = jnp.asarray(np.ones_like(random) if name.endswith("norm") else random, dtype)
    return weights, jnp.asarray(rng.integers(0, config.vocabulary, (seeds, length)), jnp.int32)


@partial(jax.jit, static_argnames=("config", "prompt_rows"))
def cached_and_once(weights, tokens, prompt, config, prompt_rows):
    """Prompt rows are padded to `prompt_rows`; the prompt length is data."""

    def one(weights, tokens):
        rows = tokens.shape[0]
        cache, start = decoder_prefill(weights, tokens[:prompt_rows], config, num_tokens=prompt, max_tokens=rows)
        arriving = jnp.take(tokens, prompt + jnp.arange(rows - prompt_rows))
        cache, steps = decode(weights, cache, arriving, config)
        once = forward(weights, tokens, config, prompt_tokens=prompt)
        return cache, start, steps, once

    return jax.vmap(one)(weights, tokens)


@pytest.mark.parametrize(("router", "layers"), [("expert_choice", 3), ("token_choice", 1)])
def test_cached_decode_is_one_pass_with_its_admissions(router, layers):
    config = config_of(layers, router)
    with jax.enable_x64(True):
        weights, tokens = random_case(config, 48)
        for prompt in (1, 5, 16):
            cache, start, steps, once = jax.tree.map(np.asarray, cached_and_once(weights, tokens, prompt, config, 16))
            assert (cache.num_tokens == prompt + 32).all()
            new = slice(prompt, prompt + 32)
            np.testing.assert_array_equal(steps.choices.swapaxes(1, 2), once.choices[:, :, new])
            np.testing.assert_array_equal(start.choices[:, :, :prompt], once.choices[:, :, :prompt])
            np.testing.assert_allclose(steps.logits, once.logits[:, new], rtol=0, atol=1e-12)
            np.testing.assert_allclose(steps.hidden.swapaxes(1, 2), once.hidden[:, :, new], rtol=0, atol=1e-12)
            if router == "expert_choice":  # the number of experts varies: replacing it by k would fail
                assert len(np.unique(steps.choices.sum(axis=-1))) > 3
            else:  # the gate-output cache is void
                assert (steps.choices.sum(axis=-1) == 4).all()
    assert np.abs(once.logits).max() > 0.1


def test_cached_decode_at_512_tokens():
    config = config_of(3)
    with jax.enable_x64(True):
        weights, tokens = random_case(config, 512, seeds=2)
        _, _, steps, once = jax.tree.map(np.asarray, cached_and_once(weights, tokens, 1, config, 1))
    np.testing.assert_array_equal(steps.choices.swapaxes(1, 2), once.choices[:, :, 1:])
    np.testing.assert_allclose(steps.logits, once.logits[:, 1:], rtol=0, atol=1e-12)


def test_cached_decode_of_the_trained_model():
    """The shipped trained expert-choice model on its own kind of text: the same equality, float64."""
    stored, config = load_parameters(data_folder() / "language_model_expert_choice.npz")
    assert config.router == "expert_choice"
    text = jnp.asarray(windows(help_topics().held_out, 48, 2, seed=0))
    with jax.enable_x64(True):
        weights = {name: jnp.asarray(np.stack([value] * 2), jnp.float64) for name, value in stored.items()}
        _, _, steps, once = jax.tree.map(np.asarray, cached_and_once(weights, text, 9, config, 16))
    np.testing.assert_array_equal(steps.choices.swapaxes(1, 2), once.choices[:, :, 9:41])
    np.testing.assert_allclose(steps.logits, once.logits[:, 9:41], rtol=0, atol=1e-10)
    assert len(np.unique(steps.choices.sum(axis=-1))) > 3


@partial(jax.jit, static_argnames="config")
def recomputed(weights, tokens, config):
    """Newest hidden row when every layer's expert choice is recomputed on each prefix, and the prefix's own choices."""

    def one(weights, tokens):
        rows = jnp.arange(1, tokens.shape[0] + 1)
        return jax.vmap(lambda n: forward(weights, tokens, config, prompt_tokens=n, num_tokens=n).hidden[:, n - 1])(
            rows
        )

    return jax.vmap(one)(weights, tokens)


def test_one_layer_equals_recomputing_the_prefix_and_a_deep_stack_does_not():
    for layers in (1, 3):
        config = config_of(layers)
        with jax.enable_x64(True):
            weights, tokens = random_case(config, 48)
            _, _, steps, once = jax.tree.map(np.asarray, cached_and_once(weights, tokens, 1, config, 16))
            fresh = np.asarray(recomputed(weights, tokens[:, :33], config))[:, 1:]
        cached = steps.hidden
        # up to the first layer's output both agree; later layers see old rows that moved
        np.testing.assert_allclose(cached[:, :, :2], fresh[:, :, :2], rtol=0, atol=1e-12)
        if layers > 1:
            gap = np.linalg.norm(cached[..., -1, :] - fresh[..., -1, :], axis=-1)
            assert np.median(gap / np.linalg.norm(fresh[..., -1, :], axis=-1)) > 1e-4
        # the definition itself: an expert takes the newest of L tokens iff it is among the C(L) best of all L
        for length in (2, 7, 8, 9, 25, 33):
            for seed in range(3):
                best = oracle.members(once.gate_scores[seed, 0, :length], -(-4 * length // 16))
                newest = [length - 1 in chosen for chosen in best]
                assert steps.choices[seed, length - 2, 0].tolist() == newest


def test_generation_from_a_model_object():
    config = config_of(1)
    model = LanguageModel(config, rngs=nnx.Rngs(3))
    weights = model.parameters()
    prompt = jnp.array([3, 1, 4, 1, 5])

    @jax.jit
    def run(weights):
        cache, start = decoder_prefill(weights, prompt, config, num_tokens=5, max_tokens=16)
        _, fed, record = generate(weights, cache, jnp.argmax(start.logits[-1]), config, steps=6)
        return fed, record, forward(weights, jnp.concatenate([prompt, fed]), config, prompt_tokens=5)

    fed, record, whole = run(weights)
    np.testing.assert_allclose(record.logits, whole.logits[5:], atol=2e-5)
    np.testing.assert_array_equal(fed[1:], jnp.argmax(record.logits, -1)[:-1])
    assert int(record.gate_output.status.sum()) == 0


def test_quantised_keys_and_values_stay_close():
    config = config_of(1, "token_choice", num_experts=4, top_k=4)  # all experts: routing cannot flip
    weights, tokens = jax.tree.map(lambda leaf: leaf[0], random_case(config, 40, seeds=1, dtype=np.float32))

    @partial(jax.jit, static_argnames="quantised")
    def run(quantised):
        cache, _ = decoder_prefill(weights, tokens[:8], config, num_tokens=8, max_tokens=40, quantised_kv=quantised)
        return decode(weights, cache, tokens[8:], config)[1].logits

    exact, coarse = np.asarray(run(False)), np.asarray(run(True))
    error = np.abs(exact - coarse).max() / np.abs(exact).max()
    assert 1e-5 < error < 0.02


def test_cached_decode_on_quantised_noisy_crossbars():
    """Every product on one programmed chip with 8-bit converters: caches keep the equality, read noise included."""
    config = LanguageModelConfig(
        vocabulary=16, d_model=16, d_expert=16, num_layers=1, num_heads=2, num_experts=16, router="expert_choice"
    )
    crossbar = Crossbar.create(rows=16, device=pcm_device())

    @jax.jit
    def run(weights, tokens):
        chip = program_model(weights, crossbar, chip_key=jax.random.key(0))
        ranges = {
            name: Ranges(
                jnp.full(matrix.scales.shape[:-2], 4.0), jnp.full((*matrix.scales.shape[:-2], crossbar.max_slices), 4.0)
            )
            for name, matrix in chip.items()
        }

        def of_tokens(ids):
            return crossbar_model(chip, ranges, crossbar, read_key=jax.random.key(1), token_ids=ids)

        cache = decoder_init(config, max_tokens=24, dtype=np.float64)
        steps = decode(weights, cache, tokens, config, linear_of_tokens=of_tokens)[1]
        once = forward(weights, tokens, config, linear=of_tokens(jnp.arange(24)))
        return steps, once, forward(weights, tokens, config)

    with jax.enable_x64(True):
        weights, tokens = jax.tree.map(lambda leaf: leaf[0], random_case(config, 24, seeds=1))
        steps, once, exact = jax.tree.map(np.asarray, run(weights, tokens))
    np.testing.assert_array_equal(steps.choices.swapaxes(0, 1), once.choices)
    np.testing.assert_allclose(steps.logits, once.logits, rtol=0, atol=1e-9)
    assert len(np.unique(steps.choices.sum(axis=-1))) > 3
    assert np.abs(once.logits - exact.logits).max() > 1e-3  # the crossbars do change the result


def test_tokens_one_by_one_through_a_crossbar_moe():
    """Scores and experts of the quantised layer itself: the cache's admissions give the rows of one whole pass."""
    length, experts = 20, 4
    moe = CrossbarMoE(8, 16, experts, 2, Crossbar.create(rows=8), routing="expert_choice", rngs=nnx.Rngs(0))
    inputs = jax.random.normal(jax.random.key(4), (length, 8))
    moe.calibrate(inputs)
    whole, scores = moe(inputs), moe.scores(inputs)
    law = capacity_law(experts, 2, max_tokens=length)
    state = threshold_init(experts, list_length(experts, 2, length))
    one = nnx.jit(lambda moe, row, admitted: moe(row, choices=admitted))
    step = jax.jit(threshold_step)
    for token in range(length):
        state, record = step(state, scores[token], law)
        row = one(moe, inputs[token : token + 1], record.admitted[None])
        np.testing.assert_allclose(row[0], whole[token], atol=1e-5)
    assert (causal_expert_choice(scores, 2).sum(axis=1) != 2).any()
