"""Attention of one layer: what a token asks, what it leaves in a cache, and what a query makes of a cache's rows.

Shapes: ``T`` tokens, ``d`` model width, ``h`` query heads, ``g`` key/value heads, ``w`` values of a head, ``R`` rows of a
cache. Every product with weights goes through a :data:`~pimjax.nn.decoder_block.LinearFunction`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.nn.decoder.architecture import LayerNumbers, LayerShape
from pimjax.nn.decoder.rope import rotate_pairs
from pimjax.nn.decoder_block import LinearFunction, Parameters, Site


def root_mean_square_norm(hidden: Array, gain: Array, epsilon: Array) -> Array:
    """``hidden / sqrt(mean(hidden^2) + epsilon)`` over the last axis, times `gain` (arXiv 1910.07467).

    >>> root_mean_square_norm(jnp.full((1, 2), 3.0), jnp.ones(2), 0.0).tolist()
    [[1.0, 1.0]]
    """
    scale = jax.lax.rsqrt(jnp.mean(hidden * hidden, axis=-1, keepdims=True) + epsilon)
    return hidden * scale * jnp.broadcast_to(gain, hidden.shape)


def project(
    weights: Parameters, name: str, inputs: Array, layer: int, linear: LinearFunction, tokens: Array | None = None
) -> Array:
    """The product with the matrix `name`, plus the bias `NAME_bias` where the layer has one; biases stay digital."""
    product = linear(weights[name], inputs, Site(name, layer, None, tokens))
    bias = weights.get(f"{name}_bias")
    return product if bias is None else product + jnp.broadcast_to(bias, product.shape)


def attention_inputs(
    weights: Parameters,
    shape: LayerShape,
    numbers: LayerNumbers,
    hidden: Array,
    positions: Array,
    *,
    layer: int,
    linear: LinearFunction,
    tokens: Array | None = None,
) -> tuple[Array, tuple[Array, Array]]:
    """Queries, and the two entries that a key-value cache keeps of each token.

    Args:
      weights: one layer's parameters.
      shape: static.
      numbers: data.
      hidden: ``[T, d]`` residual stream.
      positions: int ``[T]``, from 0.
      layer: static, for `linear`.
      linear: product to use.
      tokens: int ``[T]``, numbers of the tokens, for noise.

    Returns:
      queries ``[T, h, w]``; keys and values ``[T, g, w]``, already turned, or (MLA) latent vectors ``[T, rank]`` and
      turned keys ``[T, rope_dim]``.
    """
    normed = root_mean_square_norm(hidden, weights["attention_norm"], numbers.norm_epsilon)

    def of(name: str, inputs: Array = normed) -> Array:
        return project(weights, name, inputs, layer, linear, tokens)

    def turned(vectors: Array) -> Array:
        return rotate_pairs(
            vectors, positions, numbers.rope_frequencies, numbers.rope_scale, interleaved=shape.interleaved
        )

    if shape.attention == "mla":
        return _latent_inputs(weights, shape, numbers, of, turned)
    query, key, value = of("query"), of("key"), of("value")
    if shape.qk_norm == "full":
        query = root_mean_square_norm(query, weights["query_norm"], numbers.norm_epsilon)
        key = root_mean_square_norm(key, weights["key_norm"], numbers.norm_epsilon)
    query, key, value = (jnp.clip(one, -numbers.clip, numbers.clip) for one in (query, key, value))
    query, key, value = (one.reshape(hidden.shape[0], -1, shape.head_dim) for one in (query, key, value))
    if shape.qk_norm == "head":
        query = root_mean_square_norm(query, weights["query_norm"], numbers.norm_epsilon)
        key = root_mean_square_norm(key, weights["key_norm"], numbers.norm_epsilon)
    return turned(query), (turned(key), value)


def _latent_inputs(
    weights: Parameters, shape: LayerShape, numbers: LayerNumbers, of, turned
) -> tuple[Array, tuple[Array, Array]]:  # type: ignore[no-untyped-def]
    """Multi-head latent attention (arXiv 2405.04434, section 2.1): keys and values are kept compressed."""
    if "query_down" in weights:
        compressed = root_mean_square_norm(of("query_down"), weights["query_down_norm"], numbers.latent_epsilon)
        query = of("query_up", compressed)
    else:
        query = of("query")
    query = query.reshape(query.shape[0], shape.num_heads, shape.head_dim)
    still, moving = query[..., : shape.nope_dim], query[..., shape.nope_dim :]
    both = of("latent_down")
    rank = both.shape[-1] - shape.rope_dim
    latent = root_mean_square_norm(both[:, :rank], weights["latent_norm"], numbers.latent_epsilon)
    key = turned(both[:, None, rank:])[:, 0]
    return jnp.concatenate([still, turned(moving)], axis=-1), (latent, key)


def keys_and_values(
    weights: Parameters,
    shape: LayerShape,
    stored: tuple[Array, Array],
    *,
    layer: int,
    linear: LinearFunction,
    tokens: Array | None = None,
) -> tuple[Array, Array]:
    """Keys ``[R, g, w]`` and values ``[R, g, value_dim]`` from the rows of a cache; MLA expands its latent vectors."""
    if shape.attention != "mla":
        return stored
    latent, turned = stored
    wide = project(weights, "latent_up", latent, layer, linear, tokens).reshape(latent.shape[0], shape.num_heads, -1)
    keys, values = wide[..., : shape.nope_dim], wide[..., shape.nope_dim :]
    turned = jnp.broadcast_to(turned[:, None], (*keys.shape[:2], shape.rope_dim))
    return jnp.concatenate([keys, turned], axis=-1), values


def attend(
    query: Array,
    keys: Array,
    values: Array,
    visible: Array,
    scale: Array,
    sinks: Array | None = None,
) -> Array:
    """Softmax attention with grouped heads and, where given, sinks: a logit per head that takes weight and adds nothing.

    Args:
      query: ``[T, h, w]``.
      keys: ``[R, g, w]``, `h` a multiple of `g`.
      values: ``[R, g, v]``.
      visible: bool ``[T, R]``; every query sees at least one row.
      scale: ``[]`` factor on logits.
      sinks: ``[h]`` or None.

    Returns:
      ``[T, h v]``.

    >>> attend(jnp.ones((1, 2, 4)), jnp.ones((3, 1, 4)), jnp.ones((3, 1, 4)), jnp.ones((1, 3), bool), 1.0).shape
    (1, 8)
    """
    tokens = query.shape[0]
    grouped = query.reshape(tokens, keys.shape[1], -1, query.shape[2])
    logits = jnp.einsum("tgqw,rgw->gqtr", grouped, keys) * scale
    logits = jnp.where(visible[None, None], logits, -jnp.inf)
    top = jnp.max(logits, axis=-1, keepdims=True)
    if sinks is None:
        power = jnp.exp(logits - top)
        total = power.sum(axis=-1, keepdims=True)
    else:
        sink = sinks.reshape(keys.shape[1], -1)[:, :, None, None]
        top = jnp.maximum(top, sink)
        power = jnp.exp(logits - top)
        total = power.sum(axis=-1, keepdims=True) + jnp.exp(sink - top)
    return jnp.einsum("gqtr,rgv->tgqv", power / total, values).reshape(tokens, -1)


def visible_rows(positions: Array, rows: Array, window: Array) -> Array:
    """Which rows a query sees: bool ``[T, R]``, those of its own and earlier tokens within the window.

    Args:
      positions: int ``[T]``.
      rows: int ``[R]``, position of the token in each row, -1 where it is empty.
      window: int ``[]``.

    >>> visible_rows(jnp.array([2]), jnp.array([0, 1, 2, 3, -1]), 2).tolist()
    [[False, True, True, False, False]]
    """
    age = positions[:, None] - rows[None, :]
    return (rows >= 0)[None, :] & (age >= 0) & (age < window)
