"""Feed-forward blocks of one layer: the router's choice, and the chosen experts over blocks of tokens.

Shapes: ``T`` tokens, ``d`` model width, ``f`` expert width, ``E`` experts, ``k`` experts of a token.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.nn.decoder.architecture import LayerNumbers, LayerShape
from pimjax.nn.decoder.attention import project
from pimjax.nn.decoder_block import LinearFunction, Parameters, Site


class Choice(NamedTuple):
    """What a router decided: logits ``[T, E]``, experts int32 ``[T, k]`` (best first) and their weights ``[T, k]``."""

    logits: Array
    experts: Array
    weights: Array


def choose(logits: Array, shape: LayerShape, numbers: LayerNumbers, correction: Array | None = None) -> Choice:
    """The `top_k` experts of each token and their weights; of equal scores the lower id wins.

    Args:
      logits: ``[T, E]``.
      shape: static; scoring, groups, normalisation.
      numbers: data; the factor on the routed sum.
      correction: ``[E]``, added to scores for choosing only (DeepSeek-V3, arXiv 2412.19437, section 2.1.2).
    """
    scores = {"sigmoid": jax.nn.sigmoid, "softmax": jax.nn.softmax}.get(shape.scoring, lambda x: x)(logits)
    ranked = scores if correction is None else scores + jnp.broadcast_to(correction, scores.shape)
    if shape.groups > 1:
        grouped = ranked.reshape(*ranked.shape[:-1], shape.groups, -1)
        best = 1 if shape.group_score == "max" else min(2, grouped.shape[-1])
        _, kept = jax.lax.top_k(jax.lax.top_k(grouped, best)[0].sum(axis=-1), shape.groups_kept)
        allowed = (kept[..., None] == jnp.arange(shape.groups)[None, None]).any(axis=-2)
        # the group-limited choice of DeepSeek-V2 sets the others to 0, which is below every softmax score
        ranked = jnp.where(jnp.repeat(allowed, grouped.shape[-1], axis=-1), ranked, -jnp.inf)
    _, experts = jax.lax.top_k(ranked, shape.top_k)
    weights = jnp.take_along_axis(scores, experts, axis=-1)
    if shape.scoring == "softmax_of_chosen":
        weights = jax.nn.softmax(weights, axis=-1)
    if shape.normalised:
        weights = weights / (weights.sum(axis=-1, keepdims=True) + jnp.finfo(weights.dtype).tiny)
    return Choice(logits, experts.astype(jnp.int32), weights * numbers.routed_scale)


def gated_unit(gate: Array, up: Array, shape: LayerShape, numbers: LayerNumbers) -> Array:
    """SwiGLU ``silu(gate) up``; clamped: ``g sigmoid(slope g) (u + 1)`` with both clipped (gpt-oss, its model card)."""
    if shape.activation == "swiglu":
        return jax.nn.silu(gate) * up
    gate = jnp.minimum(gate, numbers.gate_limit)
    up = jnp.clip(up, -numbers.gate_limit, numbers.gate_limit)
    return gate * jax.nn.sigmoid(numbers.gate_slope * gate) * (up + 1)


def dense_block(
    weights: Parameters, shape: LayerShape, numbers: LayerNumbers, inputs: Array, *, prefix: str, layer: int,
    linear: LinearFunction, tokens: Array | None = None,
) -> Array:  # fmt: skip
    """One feed-forward block over all tokens, ``[T, d]``; `prefix` is "dense" or "shared"."""
    gate, up = (project(weights, f"{prefix}_{name}", inputs, layer, linear, tokens) for name in ("gate", "up"))
    return project(weights, f"{prefix}_down", gated_unit(gate, up, shape, numbers), layer, linear, tokens)


class Blocks(NamedTuple):
    """Tokens sorted by expert and cut into blocks of one expert each.

    expert: int ``[N]``; token: int ``[N, B]``; weight: ``[N, B]``, 0 in rows that no token fills.
    """

    expert: Array
    token: Array
    weight: Array


def into_blocks(choice: Choice, num_experts: int, size: int) -> Blocks:
    """Cut the visits of a choice into blocks of `size` (static) visits to one expert.

    ``floor(T k / size) + min(E, T k)`` blocks hold any choice: each expert has at most one that is not full.

    >>> choice = Choice(jnp.zeros((2, 3)), jnp.array([[0, 2], [2, 1]]), jnp.ones((2, 2)))
    >>> made = into_blocks(choice, 3, 2)
    >>> made.expert.tolist()[:3], made.token.tolist()[2], made.weight.tolist()[0]
    ([0, 1, 2], [0, 1], [1.0, 0.0])
    """
    top_k = choice.experts.shape[-1]
    visits = choice.experts.reshape(-1)
    order = jnp.argsort(visits, stable=True)
    count = jnp.zeros(num_experts, jnp.int32).at[visits].add(1)
    begin = jnp.cumsum(count) - count
    blocks = (count + size - 1) // size
    last = jnp.cumsum(blocks)
    number = jnp.arange(visits.shape[0] // size + min(num_experts, visits.shape[0]))
    expert = jnp.minimum(jnp.searchsorted(last, number, side="right"), num_experts - 1)
    inside = (number - (last - blocks)[expert]) * size
    row = inside[:, None] + jnp.arange(size)[None]
    real = row < count[expert][:, None]
    visit = order[jnp.where(real, begin[expert][:, None] + row, 0)]
    return Blocks(expert, visit // top_k, jnp.where(real, choice.weights.reshape(-1)[visit], 0))


def routed_experts(
    weights: Parameters, shape: LayerShape, numbers: LayerNumbers, inputs: Array, choice: Choice, *, layer: int,
    linear: LinearFunction, tokens: Array | None = None,
) -> Array:  # fmt: skip
    """Weighted sum ``[T, d]`` of the chosen experts; each block of visits runs one expert.

    An expert's products go through `linear` with `site.expert` a traced number and `site.tokens` the block's tokens.
    """
    visits = choice.experts.size
    # Blocks of about the mean load of an expert: full for a balanced choice, and little to fill up for another.
    mean = max(visits // shape.num_experts, 1)
    size = min(128, max(8, 1 << (mean.bit_length() - 1)), visits)
    blocks = into_blocks(choice, shape.num_experts, size)
    numbered = jnp.arange(inputs.shape[0]) if tokens is None else tokens

    def one(total: Array, block: Blocks) -> tuple[Array, None]:
        own = {name: weights[name][block.expert] for name in _EXPERT_ARRAYS if name in weights}
        rows = numbered[block.token]

        def of(name: str, vectors: Array) -> Array:
            product = linear(own[name], vectors, Site(name, layer, block.expert, rows))
            bias = own.get(f"{name}_bias")
            return product if bias is None else product + jnp.broadcast_to(bias, product.shape)

        seen = inputs[block.token]
        output = of("down", gated_unit(of("gate", seen), of("up", seen), shape, numbers))
        return total.at[block.token].add(output * block.weight[:, None]), None

    return jax.lax.scan(one, jnp.zeros_like(inputs), blocks)[0]


_EXPERT_ARRAYS = ("gate", "up", "down", "gate_bias", "up_bias", "down_bias")


def feed_forward(
    weights: Parameters, shape: LayerShape, numbers: LayerNumbers, inputs: Array, *, layer: int, linear: LinearFunction,
    tokens: Array | None = None,
) -> tuple[Array, Choice | None]:  # fmt: skip
    """What the feed-forward part adds to the residual stream ``[T, d]`` for normalised `inputs`, and the choice."""
    if not shape.num_experts:
        return dense_block(
            weights, shape, numbers, inputs, prefix="dense", layer=layer, linear=linear, tokens=tokens
        ), None
    logits = project(weights, "router", inputs, layer, linear, tokens)
    choice = choose(logits, shape, numbers, weights.get("router_correction"))
    added = routed_experts(weights, shape, numbers, inputs, choice, layer=layer, linear=linear, tokens=tokens)
    if "shared_up" in weights:
        added = added + dense_block(
            weights, shape, numbers, inputs, prefix="shared", layer=layer, linear=linear, tokens=tokens
        )
    return added, choice
