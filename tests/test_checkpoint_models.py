"""Loaded checkpoints against transformers' own forward pass: from committed outputs, and live where it is installed."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimjax.errors import CheckpointError, ConfigError, PimjaxError
from pimjax.nn import load_checkpoint, open_checkpoint
from pimjax.nn.checkpoint.packed import from_block_scaled, from_mxfp4
from pimjax.nn.decoder.architecture import FAMILIES, architecture_of
from pimjax.nn.decoder.attention import attend, visible_rows
from pimjax.nn.decoder.experts import Choice, choose, gated_unit, routed_experts
from pimjax.nn.decoder.forward import decoder_caches, decoder_forward
from pimjax.nn.decoder.rope import rope_of, rotate_pairs
from pimjax.nn.decoder_block import exact_linear

FOLDER = Path(__file__).parent / "golden" / "checkpoints"
NAMES = sorted(path.name for path in FOLDER.iterdir())
CLOSE = 1e-4


def expected(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / name / "expected.npz") as file:
        return dict(file)


def agree(own, other: dict[str, np.ndarray]) -> None:
    for part in ("logits", "hidden", "router_logits"):
        assert np.abs(np.asarray(getattr(own, part)) - other[part]).max() < CLOSE, part
    # transformers does not sort the chosen of every family
    assert np.array_equal(np.sort(own.experts, -1), np.sort(other["experts"], -1))


def test_every_family_has_a_committed_checkpoint():
    assert {json.loads((FOLDER / name / "config.json").read_text())["model_type"] for name in NAMES} == set(FAMILIES)


@pytest.mark.parametrize("name", NAMES)
def test_a_pass_equals_that_of_transformers(name):
    other = expected(name)
    agree(load_checkpoint(FOLDER / name)(other["tokens"]), other)


@pytest.mark.parametrize("name", NAMES)
def test_decoding_with_a_cache_equals_that_of_transformers(name):
    other = expected(name)
    model = load_checkpoint(FOLDER / name)
    tokens, decoded = other["tokens"], other["decoded_logits"]
    prompt = len(tokens) - len(decoded)
    caches, result = model.prefill(tokens[:prompt], max_tokens=len(tokens))
    assert np.abs(np.asarray(result.logits) - other["logits"][:prompt]).max() < CLOSE
    for position, logits in zip(range(prompt, len(tokens)), decoded, strict=True):
        caches, step = model.step(caches, tokens[position])
        assert np.abs(np.asarray(step.logits[0]) - logits).max() < CLOSE
        assert np.abs(np.asarray(step.hidden[:, 0]) - other["hidden"][:, position]).max() < CLOSE
        assert np.array_equal(np.sort(step.experts[:, 0], -1), np.sort(other["experts"][:, position], -1))


def test_a_windowed_layer_keeps_its_window_only():
    weights = load_checkpoint(FOLDER / "gpt_oss").weights()
    assert [cache.num_rows for cache in decoder_caches(weights, 20)] == [5, 20]


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe", "olmoe", "gpt_oss", "deepseek_v2", "deepseek_v3"])
def test_live_against_transformers(name, tmp_path):
    pytest.importorskip("torch", reason="needs the extra hf")
    pytest.importorskip("transformers", reason="needs the extra hf")
    from benchmarks.lib.tiny_checkpoints import draw_tokens, make_checkpoint, reference_decode, reference_pass

    model = make_checkpoint(name, tmp_path / name, seed=7)
    tokens = draw_tokens(24, seed=8)
    own = load_checkpoint(tmp_path / name)
    agree(own(tokens), reference_pass(model, tokens))
    caches, _ = own.prefill(tokens[:20], max_tokens=24)
    for position, logits in zip(range(20, 24), reference_decode(model, tokens, 20), strict=True):
        caches, step = own.step(caches, tokens[position])
        assert np.abs(np.asarray(step.logits[0]) - logits).max() < CLOSE


def test_experts_in_one_tensor_are_read_too(tmp_path):
    """The layout that transformers holds in memory: gate and up of all experts in one tensor, [E, 2 f, d]."""
    from pimjax.nn.checkpoint.folder import CheckpointFolder
    from pimjax.nn.checkpoint.tensors import layer_arrays

    folder = CheckpointFolder(FOLDER / "olmoe")
    architecture = architecture_of(folder.config)
    usual = layer_arrays(folder, architecture, 0)

    class Fused:
        """The same tensors, those of layer 0's experts joined."""

        path, config = folder.path, folder.config
        joined: ClassVar = {
            "model.layers.0.mlp.experts.gate_up_proj": np.concatenate([usual["gate"], usual["up"]], axis=1),
            "model.layers.0.mlp.experts.down_proj": usual["down"],
        }

        def __contains__(self, name):
            return name in self.joined or (name in folder and ".experts." not in name)

        def array(self, name):
            return self.joined[name] if name in self.joined else folder.array(name)

    fused = layer_arrays(Fused(), architecture, 0)
    assert fused.keys() == usual.keys()
    assert all(np.array_equal(fused[name], usual[name]) for name in usual)


# --- what is refused ----------------------------------------------------------------------------------------------


def changed(tmp_path: Path, name: str, **fields) -> Path:
    folder = tmp_path / name
    shutil.copytree(FOLDER / name, folder)
    content = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("olmoe", {"hidden_act": "gelu"}, "activation"),
        ("olmoe", {"intermediate_size": 24}, "has shape"),
        ("olmoe", {"vocab_size": 60}, "has shape"),
        ("olmoe", {"num_hidden_layers": 4}, "lacks the tensor"),
        ("olmoe", {"num_experts": 9}, "lacks the tensor"),
        ("olmoe", {"num_experts": 7}, "left out of every result"),
        ("olmoe", {"attention_bias": True}, "lacks the tensor"),
        ("qwen3_moe", {"attention_bias": False}, "left out of every result"),
        ("qwen3_moe", {"mlp_only_layers": []}, "lacks the tensor"),
        ("qwen3_moe", {"tie_word_embeddings": False}, "lacks the tensor 'lm_head.weight'"),
        ("olmoe", {"model_type": "minimax_m2"}, "weights of model_type 'minimax_m2' are not"),
        ("olmoe", {"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "rope_type is 'longrope'"),
        ("olmoe", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": -2}}, "number above 0"),
        ("olmoe", {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ("olmoe", {"rope_parameters": {"rope_theta": 1.0}}, "above 1"),
        ("olmoe", {"rope_parameters": "yarn"}, "mapping"),
        ("olmoe", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": "4"}}, "factor is '4'"),
        ("olmoe", {"rms_norm_eps": "1e-5"}, "rms_norm_eps"),
        ("deepseek_v3", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "mscale_all_dim": "1"}}, "mscale_all_dim"),
        ("deepseek_v3", {"rope_interleave": 1}, "rope_interleave"),
        ("gpt_oss", {"swiglu_limit": -7}, "swiglu_limit"),
        ("deepseek_v2", {"norm_topk_prob": True}, "norm_topk_prob"),
        ("gpt_oss_mxfp4", {"intermediate_size": 64}, "has shape"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_is_not_what_its_config_says(tmp_path, name, fields, words):
    with pytest.raises(PimjaxError, match=words) as caught:
        load_checkpoint(changed(tmp_path, name, **fields))
    assert "\n" not in str(caught.value)


def test_layers_behind_the_last_are_not_part_of_the_model(tmp_path):
    """Multi-token prediction layers follow the others in DeepSeek-V3's files."""
    model = load_checkpoint(changed(tmp_path, "mixtral", num_hidden_layers=2))
    assert len(model.layers) == 2


@pytest.mark.parametrize("tokens", [[], [-1], [61], [[1]], [0.5], "abc"])
def test_tokens_that_are_none(tokens):
    with pytest.raises(ConfigError, match="tokens is"):
        load_checkpoint(FOLDER / "olmoe")(tokens)


def test_no_such_layer():
    opened = open_checkpoint(FOLDER / "olmoe")
    with pytest.raises(ConfigError, match="layer is 3"):
        opened.layer(3)
    with pytest.raises(ConfigError, match="max_tokens"):
        load_checkpoint(FOLDER / "olmoe").prefill(np.arange(1, 9), max_tokens=4)


# --- the parts, against plain NumPy -------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    sizes=st.sampled_from([(1, 9, 3), (33, 5, 2), (40, 1, 1)]), seed=st.integers(0, 2**31), skewed=st.booleans()
)  # fmt: skip
def test_experts_over_blocks_equal_a_plain_loop(sizes, seed, skewed):
    tokens, experts, top_k = sizes
    draw = np.random.default_rng(seed)
    shape = dataclasses.replace(SHAPE, num_experts=experts, top_k=top_k)
    scores = draw.normal(size=(tokens, experts)) + (8 * (np.arange(experts) == 0) if skewed else 0)
    chosen = np.argsort(-scores, axis=-1)[:, :top_k].astype(np.int32)
    share = draw.uniform(size=(tokens, top_k)).astype(np.float32)
    inputs = draw.normal(size=(tokens, 4)).astype(np.float32)
    sizes = {"gate": (experts, 5, 4), "up": (experts, 5, 4), "down": (experts, 4, 5), "up_bias": (experts, 5)}
    weights = {name: draw.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    choice = Choice(jnp.asarray(scores), jnp.asarray(chosen), jnp.asarray(share))
    own = ROUTED(weights, shape, NUMBERS, inputs, choice)
    plain = np.zeros_like(inputs)
    for token in range(tokens):
        for expert, weight in zip(chosen[token], share[token], strict=True):
            gate, up = (weights[name][expert] @ inputs[token] for name in ("gate", "up"))
            hidden = gate / (1 + np.exp(-gate)) * (up + weights["up_bias"][expert])
            plain[token] += weight * (weights["down"][expert] @ hidden)
    np.testing.assert_allclose(own, plain, rtol=1e-4, atol=1e-4)


ROUTED = jax.jit(functools.partial(routed_experts, layer=0, linear=exact_linear), static_argnums=1)
ARCHITECTURE = architecture_of(json.loads((FOLDER / "olmoe" / "config.json").read_text()))
SHAPE, NUMBERS = ARCHITECTURE.shapes[0], ARCHITECTURE.numbers[0]


@settings(deadline=None, max_examples=25)
@given(
    scoring=st.sampled_from(["softmax", "sigmoid", "softmax_of_chosen"]), groups=st.sampled_from([1, 2, 4]),
    score=st.sampled_from(["max", "top2"]), corrected=st.booleans(), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_choices_equal_those_of_route(scoring, groups, score, corrected, seed):
    """`pimjax.trace.route` is the host's rule for the same families."""
    from pimjax.trace import route

    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(6, 8)).astype(np.float32)
    correction = draw.normal(size=8).astype(np.float32) * 0.3 if corrected and scoring != "softmax_of_chosen" else None
    kept = max(1, groups // 2)
    shape = dataclasses.replace(
        SHAPE,
        num_experts=8,
        top_k=2,
        scoring=scoring,
        groups=groups,
        groups_kept=kept,
        group_score=score,
        normalised=True,
    )
    own = choose(jnp.asarray(logits), shape, NUMBERS, None if correction is None else jnp.asarray(correction))
    options = {"correction_bias": correction}
    if groups > 1:
        words = {"max": "max", "top2": "top_2_sum"}
        options |= {"num_groups": groups, "top_groups": kept, "group_score": words[score]}
    other = route(logits[None], 2, kind=scoring, **options)
    assert np.array_equal(np.sort(own.experts, -1), np.sort(np.asarray(other.expert_order)[0], -1))
    np.testing.assert_allclose(own.weights.sum(-1), 1, rtol=1e-5)


@settings(deadline=None, max_examples=25)
@given(
    window=st.integers(1, 10), heads=st.sampled_from([(1, 1), (2, 3)]), sunk=st.booleans(), seed=st.integers(0, 2**31)
)  # fmt: skip
def test_attention_equals_a_plain_loop(window, heads, sunk, seed):
    length, (groups, each) = 7, heads
    draw = np.random.default_rng(seed)
    query = draw.normal(size=(length, groups * each, 4)).astype(np.float32)
    keys, values = draw.normal(size=(2, length, groups, 4)).astype(np.float32)
    sinks = draw.normal(size=groups * each).astype(np.float32) if sunk else None
    here = np.arange(length)
    seen = visible_rows(jnp.asarray(here), jnp.asarray(here), window)
    own = np.asarray(jax.jit(attend)(query, keys, values, seen, 0.5, sinks)).reshape(length, groups * each, 4)
    for position in range(length):
        for head in range(groups * each):
            begin = max(0, position - window + 1)
            logits = 0.5 * keys[begin : position + 1, head // each] @ query[position, head]
            weights = np.exp(logits)
            total = weights.sum() + (np.exp(sinks[head]) if sunk else 0)
            np.testing.assert_allclose(
                own[position, head], weights @ values[begin : position + 1, head // each] / total, rtol=2e-4, atol=2e-5
            )


def test_rotation_keeps_lengths_and_depends_on_distances_only():
    draw = np.random.default_rng(0)
    first, second = draw.normal(size=(2, 1, 1, 8)).astype(np.float32)
    rope = rope_of({"rope_theta": 100.0}, 8)
    for interleaved in (False, True):

        def product(one, other, interleaved=interleaved):
            turned = [
                rotate_pairs(vector, jnp.array([place]), rope.frequencies, 1.0, interleaved=interleaved)
                for vector, place in ((first, one), (second, other))
            ]
            return float((turned[0] * turned[1]).sum())

        assert product(5, 2) == pytest.approx(product(13, 10), rel=1e-4)
        assert product(5, 5) == pytest.approx(float((first * second).sum()), rel=1e-4)


def test_rules_of_longer_contexts():
    """Long waves are slowed by the factor, short ones are kept."""
    plain = rope_of({"rope_theta": 10_000.0}, 64).frequencies
    linear = rope_of({"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}, 64).frequencies
    np.testing.assert_allclose(linear, plain / 4, rtol=1e-6)
    own = {"rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 256}
    for extra in ({"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}, {"rope_type": "yarn"}):
        slowed = plain / rope_of({**own, **extra}, 64).frequencies
        assert slowed[0] == pytest.approx(1)
        assert slowed[-1] == pytest.approx(4, rel=1e-5)
        assert (np.diff(slowed) >= -1e-6).all()
    with pytest.raises(ConfigError, match="must exceed"):
        rope_of({**own, "rope_type": "llama3", "low_freq_factor": 4.0, "high_freq_factor": 4.0}, 64)


@pytest.mark.parametrize(
    "extra",
    [
        {"rope_type": "default"},
        {"rope_type": "linear", "factor": 3.0},
        {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 512},
        {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096, "mscale": 1.0, "mscale_all_dim": 1.0},
        {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 256, "truncate": False},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "attention_factor": 1.25, "beta_fast": 16.0},
    ],
    ids=lambda extra: extra["rope_type"],
)  # fmt: skip
def test_rules_equal_those_of_transformers(extra):
    pytest.importorskip("torch", reason="needs the extra hf")
    transformers = pytest.importorskip("transformers", reason="needs the extra hf")
    from transformers.models.mixtral.modeling_mixtral import MixtralRotaryEmbedding

    settings = {"rope_theta": 50_000.0, **extra}
    config = transformers.MixtralConfig(
        hidden_size=128, num_attention_heads=2, head_dim=64, rope_parameters=dict(settings)
    )
    other = MixtralRotaryEmbedding(config)
    own = rope_of(settings, 64)
    np.testing.assert_allclose(own.frequencies, other.inv_freq.numpy(), rtol=2e-6)
    assert own.scale == pytest.approx(other.attention_scaling, rel=1e-6)


def test_the_clamped_unit():
    shape = dataclasses.replace(SHAPE, activation="clamped_swiglu")
    numbers = NUMBERS.replace(gate_limit=jnp.float32(2.0), gate_slope=jnp.float32(1.5))
    gate, up = np.float32([-3, 1, 5]), np.float32([-5, 0.5, 5])
    low = np.minimum(gate, 2)
    plain = low / (1 + np.exp(-1.5 * low)) * (np.clip(up, -2, 2) + 1)
    np.testing.assert_allclose(gated_unit(jnp.asarray(gate), jnp.asarray(up), shape, numbers), plain, rtol=1e-6)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), blocks=st.integers(1, 3))
def test_mxfp4_numbers_one_by_one(seed, blocks):
    draw = np.random.default_rng(seed)
    codes = draw.integers(0, 256, (2, blocks, 16), dtype=np.uint8)
    scales = draw.integers(0, 253, (2, blocks), dtype=np.uint8)
    own = from_mxfp4(codes, scales).reshape(2, blocks, 16, 2)
    for place in np.ndindex(codes.shape):
        for half, code in enumerate((int(codes[place]) & 15, int(codes[place]) >> 4)):
            sign, exponent, mantissa = code >> 3, (code >> 1) & 3, code & 1
            value = mantissa / 2 if exponent == 0 else (1 + mantissa / 2) * 2.0 ** (exponent - 1)
            assert own[place][half] == np.float32((-1) ** sign * value * 2.0 ** (int(scales[place[:2]]) - 127))


def test_packed_weights_of_other_shapes():
    with pytest.raises(CheckpointError, match="must be uint8"):
        from_mxfp4(np.zeros((2, 3), np.uint8), np.zeros(3, np.uint8))
    with pytest.raises(CheckpointError, match="must be uint8"):
        from_mxfp4(np.zeros((2, 3), np.int8), np.zeros(2, np.uint8))
    with pytest.raises(CheckpointError, match="beyond float32"):
        from_mxfp4(np.zeros((2, 3), np.uint8), np.array([1, 253], np.uint8))
    with pytest.raises(CheckpointError, match="blocks of"):
        from_block_scaled(np.zeros((4, 4), np.float32), np.ones((1, 2), np.float32), (2, 2))


def test_jit_and_grad_reach_every_weight():
    weights = load_checkpoint(FOLDER / "qwen3_moe").weights()
    tokens = jnp.asarray(expected("qwen3_moe")["tokens"])

    def loss(outside, arrays):
        layers = tuple(layer.replace(arrays=own) for layer, own in zip(weights.layers, arrays, strict=True))
        return decoder_forward(weights.replace(outside=outside, layers=layers), tokens).logits.var()

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))(
        weights.outside, tuple(layer.arrays for layer in weights.layers)
    )
    assert all(bool(jnp.isfinite(leaf).all()) and bool((leaf != 0).any()) for leaf in jax.tree.leaves(gradients))


def test_the_first_step_of_empty_caches_is_a_pass_over_one_token():
    model = load_checkpoint(FOLDER / "mixtral")
    grown, first = model.step(decoder_caches(model.weights(), 4), jnp.int32(3))
    assert int(grown[0].num_tokens) == 1
    np.testing.assert_allclose(first.logits, model(jnp.array([3])).logits, atol=1e-5)
