"""A decoder's forward pass, whole or with a key-value cache: pure functions over the weights of its layers.

A batch of sequences is one list of tokens everywhere but inside attention, which is mapped over the sequences: products
with weights see all tokens at once, and the experts' blocks are as full as they can be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.cache.key_value import KeyValueCache, kv_append, kv_init, kv_prefill, kv_read
from pimjax.nn.decoder.attention import (
    attend,
    attention_inputs,
    keys_and_values,
    project,
    root_mean_square_norm,
    visible_rows,
)
from pimjax.nn.decoder.experts import Choice, feed_forward
from pimjax.nn.decoder.weights import DecoderWeights, LayerWeights
from pimjax.nn.decoder_block import LinearFunction, Parameters, Site, exact_linear

#: queries [T, h, w] and what the tokens leave in a cache -> attended values [T, h v]
Attention = Callable[[Array, tuple[Array, Array]], Array]


class DecoderResult(NamedTuple):
    """One pass over one sequence.

    logits ``[T, V]``; hidden ``[L + 1, T, d]``, the residual stream before each layer and after the last (before the
    final norm); router_logits ``[M, T, E]``, experts int32 ``[M, T, k]`` (best first) and expert_weights ``[M, T, k]``
    of the ``M`` layers with experts.
    """

    logits: Array
    hidden: Array
    router_logits: Array
    experts: Array
    expert_weights: Array


class LayerResult(NamedTuple):
    """Residual stream ``[T, d]`` behind a layer, its choice (None for a dense layer), its cache entries."""

    hidden: Array
    choice: Choice | None
    stored: tuple[Array, Array]


def decoder_layer(
    own: LayerWeights,
    hidden: Array,
    positions: Array,
    attention: Attention,
    *,
    layer: int = 0,
    linear: LinearFunction = exact_linear,
    tokens: Array | None = None,
) -> LayerResult:
    """One layer over tokens ``[T, d]``.

    Args:
      own: the layer's weights.
      hidden: ``[T, d]``.
      positions: int ``[T]``.
      attention: what queries make of the tokens' entries and perhaps of a cache.
      layer: static, for `linear`.
      linear: replaces every product with weights.
      tokens: int ``[T]``, numbers of the tokens, for noise that belongs to a token.
    """
    weights, shape, numbers = own.arrays, own.shape, own.numbers
    query, stored = attention_inputs(
        weights, shape, numbers, hidden, positions, layer=layer, linear=linear, tokens=tokens
    )
    attended = attention(query, stored)
    hidden = hidden + project(weights, "attention_output", attended, layer, linear, tokens)
    normed = root_mean_square_norm(hidden, weights["feed_forward_norm"], numbers.norm_epsilon)
    added, choice = feed_forward(weights, shape, numbers, normed, layer=layer, linear=linear, tokens=tokens)
    return LayerResult(hidden + added, choice, stored)


def causal_attention(
    own: LayerWeights,
    *,
    sequences: int = 1,
    layer: int = 0,
    linear: LinearFunction = exact_linear,
    tokens: Array | None = None,
) -> Attention:
    """Attention among the tokens given: `sequences` (static) of equal length, one behind the other."""

    def run(query: Array, stored: tuple[Array, Array]) -> Array:
        keys, values = keys_and_values(own.arrays, own.shape, stored, layer=layer, linear=linear, tokens=tokens)
        length = query.shape[0] // sequences
        here = jnp.arange(length)
        seen = visible_rows(here, here, own.numbers.window)

        def one(query: Array, keys: Array, values: Array) -> Array:
            return attend(query, keys, values, seen, own.numbers.attention_scale, own.arrays.get("sinks"))

        split = (one.reshape(sequences, length, *one.shape[1:]) for one in (query, keys, values))
        return jax.vmap(one)(*split).reshape(query.shape[0], -1)

    return run


def embed(weights: Parameters, tokens: Array) -> Array:
    """Residual stream ``[T, d]`` of int `tokens` ``[T]``."""
    return weights["embedding"][tokens]


def output_logits(
    weights: Parameters,
    hidden: Array,
    epsilon: Array,
    *,
    linear: LinearFunction = exact_linear,
    tokens: Array | None = None,
) -> Array:
    """Logits ``[T, V]`` from the residual stream behind the last layer; a tied model multiplies by its embedding."""
    normed = root_mean_square_norm(hidden, weights["final_norm"], epsilon)
    return linear(weights.get("output", weights["embedding"]), normed, Site("output", -1, None, tokens))


def decoder_forward(decoder: DecoderWeights, tokens: Array, *, linear: LinearFunction = exact_linear) -> DecoderResult:
    """One causal pass over a whole sequence, unbatched.

    Args:
      decoder: weights.
      tokens: int ``[T]``.
      linear: replaces every product with weights.
    """
    return _through(decoder, tokens, jnp.arange(tokens.shape[0]), linear, _causal(linear))[0]


def _causal(linear: LinearFunction) -> Callable[[int, LayerWeights], Attention]:
    return lambda layer, own: causal_attention(own, layer=layer, linear=linear)


def _through(
    decoder: DecoderWeights,
    tokens: Array,
    positions: Array,
    linear: LinearFunction,
    attention: Callable[[int, LayerWeights], Attention],
) -> tuple[DecoderResult, list[tuple[Array, Array]]]:
    """All layers over tokens ``[T]``, with what `attention` gives for each; also what the tokens leave in caches."""
    hidden = embed(decoder.outside, tokens)
    states, choices, entries = [hidden], [], []
    for layer, own in enumerate(decoder.layers):
        result = decoder_layer(own, hidden, positions, attention(layer, own), layer=layer, linear=linear)
        hidden = result.hidden
        states.append(hidden)
        entries.append(result.stored)
        choices += [] if result.choice is None else [result.choice]
    epsilon = decoder.layers[-1].numbers.norm_epsilon
    logits = output_logits(decoder.outside, hidden, epsilon, linear=linear)
    if choices:
        routed = [jnp.stack(part) for part in zip(*choices, strict=True)]
    else:
        none = jnp.zeros((0, tokens.shape[0], 0))
        routed = [none, none.astype(jnp.int32), none]
    return DecoderResult(logits, jnp.stack(states), *routed), entries


# --- with a cache -----------------------------------------------------------------------------------------------


def decoder_caches(decoder: DecoderWeights, max_tokens: int) -> tuple[KeyValueCache, ...]:
    """Empty key-value caches for sequences of at most `max_tokens`, one for each layer; a windowed one keeps its window."""
    caches = []
    for own in decoder.layers:
        entries = own.shape.cached_shapes or ((own.arrays["latent_norm"].shape[0],), (own.shape.rope_dim,))
        caches.append(kv_init(*entries, rows=min(max_tokens, int(own.numbers.window))))
    return tuple(caches)


def decoder_prefill(
    decoder: DecoderWeights,
    caches: Sequence[KeyValueCache],
    tokens: Array,
    *,
    linear: LinearFunction = exact_linear,
) -> tuple[tuple[KeyValueCache, ...], DecoderResult]:
    """Run a prompt int ``[T]`` in one pass and fill empty caches with it."""
    result, entries = _through(decoder, tokens, jnp.arange(tokens.shape[0]), linear, _causal(linear))
    filled = (kv_prefill(cache, *stored, tokens.shape[0]) for cache, stored in zip(caches, entries, strict=True))
    return tuple(filled), result


def decoder_step(
    decoder: DecoderWeights,
    caches: Sequence[KeyValueCache],
    token: Array,
    *,
    linear: LinearFunction = exact_linear,
) -> tuple[tuple[KeyValueCache, ...], DecoderResult]:
    """Decode one position int ``[]`` with caches; the result has ``T = 1``. A full cache drops its oldest token."""
    position = caches[0].num_tokens[None]
    grown: list[KeyValueCache] = []

    def cached(layer: int, own: LayerWeights) -> Attention:
        def run(query: Array, stored: tuple[Array, Array]) -> Array:
            appended = kv_append(caches[layer], stored[0][0], stored[1][0])
            grown.append(appended)
            first, second, rows = kv_read(appended, query.dtype)
            keys, values = keys_and_values(own.arrays, own.shape, (first, second), layer=layer, linear=linear)
            seen = visible_rows(position, rows, own.numbers.window)
            return attend(query, keys, values, seen, own.numbers.attention_scale, own.arrays.get("sinks"))

        return run

    result, _ = _through(decoder, jnp.asarray(token)[None], position, linear, cached)
    return tuple(grown), result
