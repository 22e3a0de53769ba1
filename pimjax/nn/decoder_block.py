"""The parts of one MoE decoder layer as pure functions, unbatched, so that caches and crossbars can reuse them.

Every matrix is ``[out, in]`` and every product goes through a :data:`LinearFunction`, so a crossbar model replaces all
of them by passing one function. Shapes: ``T`` tokens, ``d`` model width, ``h`` heads, ``f`` expert width,
``E`` experts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.trace.rounding import gate_scores

Parameters = Mapping[str, Array]


class Site(NamedTuple):
    """Which matrix is being multiplied: `name`, `layer` (-1 for the output head), `expert` (traced int, or None).

    `tokens`: int [T], the numbers of the tokens that the inputs belong to; None: whoever multiplies knows them.
    """

    name: str
    layer: int
    expert: Array | None = None
    tokens: Array | None = None


#: ``(weights [out, in], inputs [..., in], site) -> [..., out]``; experts call it under ``jax.vmap`` over ``E``.
LinearFunction = Callable[[Array, Array, Site], Array]


def exact_linear(weights: Array, inputs: Array, site: Site) -> Array:
    """The product itself, ``inputs @ weights.T``; what crossbars approximate.

    >>> exact_linear(jnp.eye(2), jnp.ones((3, 2)), Site("query", 0)).shape
    (3, 2)
    """
    del site
    return inputs @ weights.T


def rms_norm(hidden: Array, gain: Array) -> Array:
    """Root-mean-square normalisation over the last axis, times `gain` ``[d]``.

    >>> rms_norm(jnp.full((1, 4), 3.0), jnp.ones(4)).round(4).tolist()
    [[1.0, 1.0, 1.0, 1.0]]
    """
    scale = jax.lax.rsqrt(jnp.mean(hidden * hidden, axis=-1, keepdims=True) + 1e-6)
    return hidden * scale * jnp.broadcast_to(gain, hidden.shape)


def rotate(vectors: Array, positions: Array) -> Array:
    """Rotary position embedding (arXiv 2104.09864) of `vectors` ``[T, h, width]`` at `positions` int ``[T]``.

    >>> vectors = jnp.ones((2, 1, 4))
    >>> bool((rotate(vectors, jnp.array([0, 5]))[0] == vectors[0]).all())  # nothing turns at position 0
    True
    """
    half = vectors.shape[-1] // 2
    frequency = 10000.0 ** (-jnp.arange(half, dtype=vectors.dtype) / half)
    angle = positions.astype(vectors.dtype)[:, None] * frequency[None, :]
    cosine, sine = jnp.cos(angle)[:, None, :], jnp.sin(angle)[:, None, :]
    first, second = vectors[..., :half], vectors[..., half:]
    return jnp.concatenate([first * cosine - second * sine, first * sine + second * cosine], axis=-1)


def attention_inputs(
    weights: Parameters,
    hidden: Array,
    positions: Array,
    *,
    num_heads: int,
    layer: int,
    linear: LinearFunction = exact_linear,
) -> tuple[Array, Array, Array]:
    """Queries, keys and values of tokens; keys and values are what a KV cache holds (keys already rotated).

    Args:
      weights: one layer's parameters.
      hidden: ``[T, d]`` residual stream.
      positions: int ``[T]``, from 0.
      num_heads: static.
      layer: static, for `linear`.
      linear: product to use.

    Returns:
      three arrays ``[T, h, d / h]``.
    """
    normed = rms_norm(hidden, weights["attention_norm"])
    query, key, value = (
        linear(weights[name], normed, Site(name, layer)).reshape(hidden.shape[0], num_heads, -1)
        for name in ("query", "key", "value")
    )
    return rotate(query, positions), rotate(key, positions), value


def attend(query: Array, key: Array, value: Array, visible: Array) -> Array:
    """Softmax attention: ``[Tq, h, w]`` queries over ``[Tk, h, w]`` keys where bool `visible` ``[Tq, Tk]``.

    Every query must see at least one key. Returns ``[Tq, h w]``.
    """
    logits = jnp.einsum("qhw,khw->hqk", query, key) / jnp.sqrt(jnp.asarray(query.shape[-1], query.dtype))
    weights = jax.nn.softmax(jnp.where(visible[None], logits, -jnp.inf), axis=-1)
    return jnp.einsum("hqk,khw->qhw", weights, value).reshape(query.shape[0], -1)


def attention_output(
    weights: Parameters, attended: Array, *, layer: int, linear: LinearFunction = exact_linear
) -> Array:
    """Output projection ``[T, d]`` of attended values, to be added to the residual stream."""
    return linear(weights["attention_output"], attended, Site("attention_output", layer))


def moe_inputs(
    weights: Parameters, hidden: Array, *, layer: int, linear: LinearFunction = exact_linear
) -> tuple[Array, Array]:
    """What the MoE part of a layer sees: normalised tokens ``[T, d]`` and gate scores ``[T, E]`` (float16 values)."""
    normed = rms_norm(hidden, weights["moe_norm"])
    return normed, gate_scores(linear(weights["router"], normed, Site("router", layer)))


def expert_outputs(
    weights: Parameters, normed: Array, *, activation: str, layer: int, linear: LinearFunction = exact_linear
) -> Array:
    """Outputs ``[E, T, d]`` of every expert for every token of `normed` ``[T, d]``.

    relu: ``down(relu(up x))``; swiglu: ``down(silu(gate x) * up x)``.
    """
    experts = jnp.arange(weights["up"].shape[0])

    def run(expert: Array, up: Array, gate: Array | None, down: Array) -> Array:
        raised = linear(up, normed, Site("up", layer, expert))
        if gate is None:
            raised = jax.nn.relu(raised)
        else:
            raised = jax.nn.silu(linear(gate, normed, Site("gate", layer, expert))) * raised
        return linear(down, raised, Site("down", layer, expert))

    gate = weights["gate"] if activation == "swiglu" else None
    return jax.vmap(run, in_axes=(0, 0, None if gate is None else 0, 0))(experts, weights["up"], gate, weights["down"])


def combine(outputs: Array, scores: Array, choices: Array, *, renormalise: bool) -> Array:
    """Sum over chosen experts of score times output, ``[T, d]``; a token without expert gets 0.

    Args:
      outputs: ``[E, T, d]``.
      scores: ``[T, E]`` gate scores.
      choices: bool ``[T, E]``.
      renormalise: divide a token's scores by their sum over its chosen experts (token choice); expert choice uses them
        as they are.
    """
    weights = jnp.where(choices, scores, 0)
    if renormalise:
        total = weights.sum(axis=-1, keepdims=True)
        weights = weights / jnp.where(total > 0, total, 1)
    return jnp.einsum("te,etd->td", weights, outputs)
