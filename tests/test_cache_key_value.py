"""Key-value arrays against a Python list of rows; attention over them; 8-bit storage; byte formulas."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimjax.cache.key_value import kv_append, kv_init, kv_prefill, kv_read
from pimjax.cache.kv_layout import gqa_token_bytes, kv_token_bytes, mla_token_bytes
from pimjax.cache.quantisation import dequantise_rows, quantise_rows
from pimjax.config import Config, build

SHAPES = {"gqa": ((2, 4), (2, 4)), "mla": ((6,), (2,))}


def tokens_of(shapes, count):
    rng = np.random.default_rng(count)
    return tuple(rng.normal(size=(count, *shape)).astype(np.float32) for shape in shapes)


@partial(jax.jit, static_argnames=("kind", "rows", "quantised"))
def fill(first, second, prompt, real, kind, rows, quantised):
    """Prefill `prompt` tokens, then append the others one by one."""
    cache = kv_init(*SHAPES[kind], rows=rows, quantised=quantised)
    cache = kv_prefill(cache, first, second, prompt)

    def body(cache, t):
        cache = kv_append(cache, first[t], second[t], is_token=(t >= prompt) & real[t])
        return cache, kv_read(cache)

    return jax.lax.scan(body, cache, jnp.arange(first.shape[0]))


@pytest.mark.parametrize("kind", ["gqa", "mla"])
@pytest.mark.parametrize("rows", [5, 12])  # a ring (sliding window of 5), and room for all
def test_rows_against_a_list(kind, rows):
    first, second = tokens_of(SHAPES[kind], 12)
    real = np.ones(12, bool)
    real[9] = False  # padding between tokens
    for prompt in (0, 3, 5, 8):
        cache, (keys, values, token) = jax.tree.map(np.asarray, fill(first, second, prompt, real, kind, rows, False))
        kept = list(range(prompt))
        for t in range(12):
            if t >= prompt and real[t]:
                kept.append(t)
            visible = kept[-rows:]
            order = np.argsort(token[t])
            order = order[token[t][order] >= 0]
            assert token[t][order].tolist() == list(range(len(kept) - len(visible), len(kept)))
            np.testing.assert_array_equal(keys[t][order], first[visible])
            np.testing.assert_array_equal(values[t][order], second[visible])
        assert cache.num_tokens == len(kept)


def test_windowed_gqa_attention_equals_a_masked_matrix():
    """Queries of 4 heads share 2 kv heads; each sees the last 5 tokens."""
    first, second = tokens_of(SHAPES["gqa"], 12)
    query = tokens_of(((4, 4), (1,)), 12)[0]
    _, (keys, values, token) = fill(first, second, 0, np.ones(12, bool), "gqa", 5, False)

    def attend(query, keys, values, visible):
        keys, values = (jnp.repeat(rows, 2, axis=1) for rows in (keys, values))
        logits = jnp.einsum("hw,khw->hk", query, keys) / 2
        return jnp.einsum("hk,khw->hw", jax.nn.softmax(jnp.where(visible[None], logits, -jnp.inf)), values)

    cached = jax.vmap(attend)(query, keys, values, token >= 0)
    age = np.arange(12)[:, None] - np.arange(12)[None, :]
    whole = jax.vmap(attend, in_axes=(0, None, None, 0))(query, first, second, (age >= 0) & (age < 5))
    np.testing.assert_allclose(cached, whole, atol=1e-6)


def test_latent_attention_reads_the_expanded_heads():
    """MLA: scores from the latent vector and the shared rotary key equal attention over expanded keys and values."""
    latent, rope = tokens_of(SHAPES["mla"], 9)
    rng = np.random.default_rng(1)
    up_key, up_value = rng.normal(size=(2, 3, 4, 6)).astype(np.float32)  # [heads, width, rank]
    query, query_rope = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(3, 2)).astype(np.float32)
    _, (stored, rotary, token) = fill(latent, rope, 4, np.ones(9, bool), "mla", 12, False)
    order = np.asarray(token[-1])
    assert order.tolist() == [*range(9), -1, -1, -1]
    absorbed = np.einsum("hw,hwr->hr", query, up_key)
    logits = np.einsum("hr,kr->hk", absorbed, stored[-1]) + np.einsum("hw,kw->hk", query_rope, rotary[-1])
    weights = np.asarray(jax.nn.softmax(jnp.where(jnp.asarray(order >= 0)[None], logits, -jnp.inf)))
    got = np.einsum("hk,kr,hwr->hw", weights, stored[-1], up_value)
    keys, values = (np.einsum("hwr,kr->khw", up, latent) for up in (up_key, up_value))
    plain = np.einsum("hw,khw->hk", query, keys) + np.einsum("hw,kw->hk", query_rope, rope)
    want = np.einsum("hk,khw->hw", np.asarray(jax.nn.softmax(jnp.asarray(plain))), values)
    np.testing.assert_allclose(got, want, atol=2e-5)


rows_of_floats = st.lists(st.floats(-1e5, 1e5, width=32, allow_subnormal=True), min_size=8, max_size=8)


@settings(max_examples=120)
@given(rows_of_floats, st.integers(-12, 0))
def test_8_bit_error_is_at_most_half_a_scale(row, exponent):
    row = np.asarray(row, np.float32) * np.float32(10.0) ** exponent
    stored = jax.tree.map(np.asarray, jax.jit(quantise_rows)(row))
    scale = stored.scale.astype(np.float64)
    back = np.asarray(dequantise_rows(stored, jnp.float32), np.float64)
    flushed = 2.0**-126  # subnormal float32 numbers count as zero on some devices
    assert (np.abs(back - row) <= scale / 2 * (1 + 1e-5) + flushed).all()
    assert np.abs(stored.codes.astype(int)).max() <= 127
    # the scale is a float16 at most one rounding step above what fits
    assert scale <= np.abs(row).max() / 127 * (1 + 2.0**-9) + 2.0**-23


def test_8_bit_cache_stores_a_quarter_and_reads_close():
    first, second = tokens_of(SHAPES["gqa"], 12)
    cache, (keys, _, _) = fill(first, second, 4, np.ones(12, bool), "gqa", 12, True)
    assert cache.first.codes.dtype == jnp.int8
    assert cache.first.scale.shape == (12, 2)
    bytes_per_token = sum(leaf.nbytes for leaf in jax.tree.leaves((cache.first, cache.second))) / 12
    assert bytes_per_token == float(gqa_token_bytes(2, 4, 1, scale_bytes=2))
    error = np.abs(np.asarray(keys[-1]) - first)
    assert 0 < error.max() <= np.abs(first).max() / 127 / 2 * 1.01


def test_array_bytes_are_the_formulas():
    for kind, want in (("gqa", gqa_token_bytes(2, 4, 4)), ("mla", mla_token_bytes(6, 2, 4))):
        cache = kv_init(*SHAPES[kind], rows=10)
        assert (cache.first.nbytes + cache.second.nbytes) / 10 == float(want)


def test_bytes_of_designs():
    design, _ = build(Config())
    assert float(kv_token_bytes(design.model, design.workload)) == 2 * 4096  # the authors' 2 d
    latent = design.set({"model.attention": np.int32(1), "model.kv_lora_rank": np.int32(512),
                         "model.rope_head_dim": np.int32(64), "workload.kv_bytes": np.int32(2)})  # fmt: skip
    assert float(kv_token_bytes(latent.model, latent.workload)) == 1152
