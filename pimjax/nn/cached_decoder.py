"""Decoding with caches: one token at a time through the same weights as :func:`pimjax.nn.language_model.forward`.

What the caches preserve. Keys and values of old tokens never change, and the gate-output cache admits each new token to
the experts that expert choice on the longer sequence would give it. So a decode equals one forward pass with the
admissions ``A*`` (the prompt's sets, then each token's own), at any depth. What they do not preserve: expert choice is
not causal. A deep stack recomputed on the longer prefix moves old tokens between experts, which changes old rows and,
in deeper layers, the newest one; ``benchmarks/studies/expert_choice_gap.py`` measures by how much. In one layer there is no
difference. Inside the prompt the choice looks ahead unless the prompt is one token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from pimjax import checks
from pimjax.array_typing import Array, ArrayLike
from pimjax.cache.capacity import CapacityLaw, list_length
from pimjax.cache.key_value import KeyValueCache, kv_append, kv_init, kv_prefill, kv_read
from pimjax.cache.step import GateOutputStep
from pimjax.cache.threshold import ThresholdState, threshold_init, threshold_prefill, threshold_step
from pimjax.cache.traffic import CacheWidths
from pimjax.config.workload import CAPACITY_RULES
from pimjax.errors import ConfigError
from pimjax.nn.decoder_block import (
    LinearFunction,
    Parameters,
    attend,
    attention_inputs,
    attention_output,
    combine,
    exact_linear,
    expert_outputs,
    moe_inputs,
)
from pimjax.nn.language_model import (
    ForwardResult,
    LanguageModelConfig,
    check_parameters,
    forward,
    layer_weights,
    output_logits,
)
from pimjax.trace.routers import token_choice

#: Token indices int ``[1]`` -> the products of that token: for crossbars whose read noise belongs to the token.
LinearOfTokens = Callable[[Array], LinearFunction]


@struct.dataclass
class DecoderCache:
    """Caches of one sequence; leaves lead with ``L`` (layers).

    Attributes:
      key_value: keys and values of all tokens so far.
      gate_output: threshold lists (under token choice they are kept and not used).
      num_tokens: int32 ``[]``.
    """

    key_value: KeyValueCache
    gate_output: ThresholdState
    num_tokens: jax.Array


class DecodeStep(NamedTuple):
    """One decoded position: logits ``[V]``, residual stream ``[L + 1, d]``, choices ``[L, E]``, and the gate-output
    record (leaves lead with ``L``). :func:`decode` adds a leading axis ``N``."""

    logits: Array
    hidden: Array
    choices: Array
    gate_output: GateOutputStep


def decoder_law(config: LanguageModelConfig, *, max_tokens: ArrayLike, prompt_tokens: ArrayLike = 1) -> CapacityLaw:
    """The growing capacity law of a model, as its forward pass uses it; lengths are data."""
    return CapacityLaw(
        num_experts=jnp.int32(config.num_experts),
        top_k=jnp.int32(config.top_k),
        prompt_tokens=jnp.asarray(prompt_tokens, jnp.int32),
        max_tokens=jnp.asarray(max_tokens, jnp.int32),
        rule=jnp.int32(CAPACITY_RULES.index("growing")),
    )


def decoder_init(
    config: LanguageModelConfig, *, max_tokens: int, quantised_kv: bool = False, dtype: jnp.dtype = jnp.float32
) -> DecoderCache:
    """Empty caches: every token is decoded, which is the causal rule (``P = 1``).

    Args:
      config: static.
      max_tokens: static, the longest sequence the caches hold.
      quantised_kv: static; keys and values in 8 bits.
      dtype: of keys and values that are not quantised.

    >>> int(decoder_init(LanguageModelConfig(num_layers=2), max_tokens=8).num_tokens)
    0
    """
    shape = (config.num_heads, config.d_model // config.num_heads)
    layer = (
        kv_init(shape, shape, rows=max_tokens, quantised=quantised_kv, dtype=dtype),
        threshold_init(config.num_experts, list_length(config.num_experts, config.top_k, max_tokens)),
    )
    stores = jax.tree.map(lambda leaf: jnp.stack([leaf] * config.num_layers), layer)
    return DecoderCache(*stores, num_tokens=jnp.int32(0))


@checks.checked(
    ConfigError,
    parameters=checks.mapping,
    tokens=checks.numbers(0, dims=1, integer=True, filled=True),
    config=checks.instance(LanguageModelConfig, "a LanguageModelConfig"),
    num_tokens=checks.numbers(1, dims=0, integer=True),
    max_tokens=checks.whole(1, 2**24),
    linear=checks.function,
    quantised_kv=checks.flag,
)
def decoder_prefill(
    parameters: Parameters,
    tokens: Array,
    config: LanguageModelConfig,
    *,
    num_tokens: ArrayLike,
    max_tokens: int,
    linear: LinearFunction = exact_linear,
    quantised_kv: bool = False,
) -> tuple[DecoderCache, ForwardResult]:
    """Run the prompt in one pass and fill the caches.

    Args:
      parameters: see :meth:`~pimjax.nn.language_model.LanguageModelConfig.shapes`.
      tokens: int ``[T]``, the prompt; rows from `num_tokens` on are padding.
      config: static.
      num_tokens: int ``[]``, ``P``.
      max_tokens: static, the longest sequence the caches hold.
      linear: replaces every matrix product.
      quantised_kv: static; keys and values in 8 bits from the first decoded token on (the prompt itself attends to
        unrounded ones).

    Returns:
      The caches and the prompt's :class:`~pimjax.nn.language_model.ForwardResult`.
    """
    check_parameters(parameters, config, tokens)
    tokens = jnp.asarray(tokens)
    count = jnp.asarray(num_tokens, jnp.int32)
    result = forward(parameters, tokens, config, prompt_tokens=count, num_tokens=count, linear=linear)
    shape = (config.num_heads, config.d_model // config.num_heads)
    empty = kv_init(shape, shape, rows=max_tokens, quantised=quantised_kv, dtype=result.hidden.dtype)
    size = list_length(config.num_experts, config.top_k, max_tokens)
    stores = []
    for layer in range(config.num_layers):
        _, key, value = attention_inputs(
            layer_weights(parameters, layer),
            result.hidden[layer],
            jnp.arange(tokens.shape[0]),
            num_heads=config.num_heads,
            layer=layer,
            linear=linear,
        )
        lists = threshold_prefill(result.gate_scores[layer], count, config.num_experts, list_length=size)
        stores.append((kv_prefill(empty, key, value, count), lists))
    key_value, gate_output = jax.tree.map(lambda *leaves: jnp.stack(leaves), *stores)
    return DecoderCache(key_value, gate_output, count), result


def decoder_step(
    parameters: Parameters,
    cache: DecoderCache,
    token: Array,
    config: LanguageModelConfig,
    *,
    law: CapacityLaw | None = None,
    widths: CacheWidths | None = None,
    linear: LinearFunction = exact_linear,
    linear_of_tokens: LinearOfTokens | None = None,
) -> tuple[DecoderCache, DecodeStep]:
    """Decode one position with caches: only the new token is computed.

    Every expert's matrices are multiplied and the unadmitted results dropped, because shapes are fixed; what hardware
    would run is `choices`.

    Args:
      parameters: as in :func:`decoder_prefill`.
      cache: after the older tokens.
      token: int ``[]``, the token at position `cache.num_tokens`.
      config: static.
      law: capacity law; default :func:`decoder_law` with the caches' size.
      widths: bytes per value in the record.
      linear: replaces every matrix product.
      linear_of_tokens: replaces `linear` by one that knows the token's index, so that a cached step draws the same
        read noise as one pass over the whole sequence:
        ``lambda ids: crossbar_model(chip, ranges, crossbar, read_key=key, token_ids=ids)``.
    """
    position = cache.num_tokens
    if linear_of_tokens is not None:
        linear = linear_of_tokens(position[None])
    dtype = parameters["embedding"].dtype
    if law is None:
        law = decoder_law(config, max_tokens=jax.tree.leaves(cache.key_value.first)[0].shape[1])
    hidden = parameters["embedding"][token][None]
    states, chosen, records, stores = [hidden[0]], [], [], []
    for layer in range(config.num_layers):
        weights = layer_weights(parameters, layer)
        key_value, gate_output = jax.tree.map(
            lambda leaf, layer=layer: leaf[layer], (cache.key_value, cache.gate_output)
        )
        query, key, value = attention_inputs(
            weights, hidden, position[None], num_heads=config.num_heads, layer=layer, linear=linear
        )
        key_value = kv_append(key_value, key[0], value[0])
        keys, values, age = kv_read(key_value, dtype)
        attended = attend(query, keys, values, (age >= 0)[None, :])
        hidden = hidden + attention_output(weights, attended, layer=layer, linear=linear)
        normed, gates = moe_inputs(weights, hidden, layer=layer, linear=linear)
        gate_output, record = threshold_step(gate_output, gates[0], law, widths)
        if config.router == "token_choice":
            admitted = token_choice(gates, config.top_k).choices
        else:
            admitted = record.admitted[None]
        outputs = expert_outputs(weights, normed, activation=config.activation, layer=layer, linear=linear)
        hidden = hidden + combine(outputs, gates, admitted, renormalise=config.router == "token_choice")
        states.append(hidden[0])
        chosen.append(admitted[0])
        records.append(record)
        stores.append((key_value, gate_output))
    key_value, gate_output = jax.tree.map(lambda *leaves: jnp.stack(leaves), *stores)
    step = DecodeStep(
        logits=output_logits(parameters, hidden, linear=linear)[0],
        hidden=jnp.stack(states),
        choices=jnp.stack(chosen),
        gate_output=jax.tree.map(lambda *leaves: jnp.stack(leaves), *records),
    )
    return DecoderCache(key_value, gate_output, position + 1), step


@checks.checked(
    ConfigError,
    parameters=checks.mapping,
    cache=checks.instance(DecoderCache, "a DecoderCache from decoder_prefill"),
    tokens=checks.numbers(0, dims=1, integer=True, filled=True),
    config=checks.instance(LanguageModelConfig, "a LanguageModelConfig"),
    law=checks.instance(CapacityLaw, "a CapacityLaw from pimjax.cache.capacity_law"),
    widths=checks.instance(CacheWidths, "CacheWidths"),
    linear=checks.function,
    linear_of_tokens=checks.function,
)
def decode(
    parameters: Parameters,
    cache: DecoderCache,
    tokens: Array,
    config: LanguageModelConfig,
    *,
    law: CapacityLaw | None = None,
    widths: CacheWidths | None = None,
    linear: LinearFunction = exact_linear,
    linear_of_tokens: LinearOfTokens | None = None,
) -> tuple[DecoderCache, DecodeStep]:
    """Decode given tokens ``[N]`` in order, as one scan (teacher forcing); see :func:`decoder_step`.

    >>> config = LanguageModelConfig(num_layers=1, router="expert_choice")
    >>> weights = {name: jnp.ones(shape) for name, shape in config.shapes().items()}
    >>> cache, _ = decoder_prefill(weights, jnp.array([1, 2]), config, num_tokens=2, max_tokens=4)
    >>> cache, steps = decode(weights, cache, jnp.array([3, 4]), config)
    >>> steps.logits.shape, int(cache.num_tokens)
    ((2, 128), 4)
    """
    check_parameters(parameters, config, tokens)

    def body(carry: DecoderCache, token: Array) -> tuple[DecoderCache, DecodeStep]:
        return decoder_step(
            parameters, carry, token, config, law=law, widths=widths, linear=linear, linear_of_tokens=linear_of_tokens
        )

    return jax.lax.scan(body, cache, jnp.asarray(tokens))


def generate(
    parameters: Parameters,
    cache: DecoderCache,
    first_token: Array,
    config: LanguageModelConfig,
    *,
    steps: int,
    law: CapacityLaw | None = None,
    linear: LinearFunction = exact_linear,
    linear_of_tokens: LinearOfTokens | None = None,
) -> tuple[DecoderCache, Array, DecodeStep]:
    """Generate greedily: each position's most likely token is the next input.

    Args:
      parameters, cache, config, law, linear, linear_of_tokens: as in :func:`decoder_step`.
      first_token: int ``[]``, usually ``argmax`` of the prompt's last logits.
      steps: static ``N``.

    Returns:
      caches, the tokens fed in int32 ``[N]`` and the :class:`DecodeStep` record ``[N, ...]``.
    """

    def body(carry: tuple[DecoderCache, Array], _: None) -> tuple[tuple[DecoderCache, Array], tuple[Array, DecodeStep]]:
        state, token = carry
        state, step = decoder_step(
            parameters, state, token, config, law=law, linear=linear, linear_of_tokens=linear_of_tokens
        )
        return (state, jnp.argmax(step.logits).astype(jnp.int32)), (token, step)

    start = (cache, jnp.asarray(first_token, jnp.int32))
    (cache, _), (tokens, record) = jax.lax.scan(body, start, None, length=steps)
    return cache, tokens, record


__all__ = [
    "DecodeStep",
    "DecoderCache",
    "LinearOfTokens",
    "decode",
    "decoder_init",
    "decoder_law",
    "decoder_prefill",
    "decoder_step",
    "generate",
]
