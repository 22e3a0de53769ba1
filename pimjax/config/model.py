"""The transformer: widths, experts, attention; its parameter count; and its traced twin."""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
from flax import struct
from pydantic import model_validator

from pimjax.config.base import Section, option

ACTIVATIONS = ("relu", "gelu", "swiglu")
ATTENTION_KINDS = ("gqa", "mla")
ROUTING_KINDS = ("token_choice", "expert_choice")


class ModelConfig(Section):
    """Host description of a decoder-only transformer with Mixture-of-Experts layers."""

    source: str = option("", about="Where these numbers are published")
    d_model: int = option(4096, about="Width of the residual stream [values]", ge=1)
    d_ff: int = option(
        688,
        about="Hidden width of one expert (of the feed-forward block if there are no experts) [values]",
        ge=1,
    )
    vocab_size: int = option(32000, about="Tokens in the vocabulary", ge=1)
    num_layers: int = option(1, about="Decoder layers", ge=1)
    num_experts: int = option(16, about="Routed experts per MoE layer; 0: dense model", ge=0)
    top_k: int = option(4, about="Experts per token (token choice) or on average (expert choice)", ge=1)
    activation: Literal["relu", "gelu", "swiglu"] = option("relu", about="Activation of the feed-forward blocks")
    routing: Literal["token_choice", "expert_choice"] = option("token_choice", about="Who chooses: tokens or experts")
    # attention
    attention: Literal["gqa", "mla"] = option("gqa", about="Grouped-query (gqa) or multi-head latent attention (mla)")
    num_heads: int = option(32, about="Query heads", ge=1)
    num_kv_heads: int | None = option(None, about="Key/value heads; null: as many as query heads", ge=1)
    head_dim: int | None = option(None, about="Width of one head; null: d_model / num_heads", ge=1)
    kv_lora_rank: int = option(0, about="MLA: width of the compressed keys and values", ge=0)
    q_lora_rank: int = option(0, about="MLA: width of the compressed queries; 0: not compressed", ge=0)
    rope_head_dim: int = option(0, about="MLA: rotary part of each head", ge=0)
    nope_head_dim: int = option(0, about="MLA: part of each head without position", ge=0)
    v_head_dim: int = option(0, about="MLA: value width of each head", ge=0)
    sliding_window: int = option(0, about="Tokens a windowed layer sees; 0: no window", ge=0)
    sliding_window_period: int = option(
        1, about="Layers i with i mod period < period - 1 are windowed; 1: every layer (if there is a window)", ge=1
    )  # fmt: skip
    # dense parts
    num_shared_experts: int = option(0, about="Experts that see every token, of width d_ff each", ge=0)
    first_dense_layers: int = option(0, about="Leading layers without experts", ge=0)
    dense_d_ff: int | None = option(None, about="Hidden width of dense layers; null: d_ff", ge=1)
    moe_frequency: int = option(1, about="Layer i (from 0) has experts iff i mod frequency = 0", ge=1)
    tied_embeddings: bool = option(False, about="Output embedding shares the input embedding's weights")
    # only for the parameter count
    attention_bias: bool = option(False, about="Biases on q, k, v and output projections")
    qkv_bias: bool = option(False, about="Biases on q, k, v only")
    expert_bias: bool = option(False, about="Biases on expert projections")
    router_bias: bool = option(False, about="Bias on the router")
    attention_sinks: bool = option(False, about="One learned sink logit per query head")
    qk_norm: Literal["none", "head", "full"] = option("none", about="Normalisation weights on queries and keys")
    published_parameters: float | None = option(None, about="Published parameter count", gt=0)
    published_active_parameters: float | None = option(None, about="Published parameters active per token", gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        if self.num_experts and self.top_k > self.num_experts:
            raise ValueError(
                f"model.top_k is {self.top_k} but model.num_experts is {self.num_experts}: a token cannot visit more "
                "experts than there are; lower top_k or raise num_experts"
            )
        if self.num_heads % self.kv_heads:
            raise ValueError(
                f"model.num_kv_heads is {self.kv_heads} but must divide model.num_heads = {self.num_heads}"
            )
        if self.first_dense_layers > self.num_layers:
            raise ValueError(
                f"model.first_dense_layers is {self.first_dense_layers} but there are only {self.num_layers} layers"
            )
        if self.attention == "mla" and not (
            self.kv_lora_rank and self.rope_head_dim and self.nope_head_dim and self.v_head_dim
        ):
            raise ValueError(
                "model.attention is 'mla', which needs kv_lora_rank, rope_head_dim, nope_head_dim and v_head_dim above 0"
            )
        if self.head_dim is None and self.attention == "gqa" and self.d_model % self.num_heads:
            raise ValueError(
                f"model.num_heads is {self.num_heads} and does not divide model.d_model = {self.d_model}: give model.head_dim"
            )
        return self

    @property
    def kv_heads(self) -> int:
        """Key/value heads."""
        return self.num_kv_heads if self.num_kv_heads is not None else self.num_heads

    @property
    def head_width(self) -> int:
        """Width of one query head [values]."""
        if self.attention == "mla":
            return self.nope_head_dim + self.rope_head_dim
        return self.head_dim if self.head_dim is not None else self.d_model // self.num_heads

    @property
    def dense_width(self) -> int:
        """Hidden width of a dense feed-forward block [values]."""
        return self.dense_d_ff if self.dense_d_ff is not None else self.d_ff

    def is_moe_layer(self, layer: int) -> bool:
        """Whether layer `layer` (from 0) has routed experts."""
        return self.num_experts > 0 and layer >= self.first_dense_layers and layer % self.moe_frequency == 0

    def is_windowed_layer(self, layer: int) -> bool:
        """Whether layer `layer` (from 0) attends within the sliding window only."""
        if not self.sliding_window:
            return False
        return self.sliding_window_period == 1 or layer % self.sliding_window_period < self.sliding_window_period - 1

    @property
    def num_moe_layers(self) -> int:
        """Layers with routed experts."""
        return sum(self.is_moe_layer(layer) for layer in range(self.num_layers))


class ParameterCount(NamedTuple):
    """Parameters of a model and those one token uses."""

    total: int
    active: int


def attention_weights(model: ModelConfig) -> int:
    """Weights in the attention matrices of one layer, without biases and norms.

    >>> attention_weights(ModelConfig(d_model=8, d_ff=4, vocab_size=10, num_experts=2, top_k=1, num_heads=2))
    256
    """
    d = model.d_model
    if model.attention == "mla":
        wide = model.num_heads * (model.nope_head_dim + model.rope_head_dim)
        query = d * wide if not model.q_lora_rank else model.q_lora_rank * (d + wide)
        compressed = d * (model.kv_lora_rank + model.rope_head_dim)
        expanded = model.kv_lora_rank * model.num_heads * (model.nope_head_dim + model.v_head_dim)
        return query + compressed + expanded + model.num_heads * model.v_head_dim * d
    return 2 * d * model.head_width * (model.num_heads + model.kv_heads)


def parameter_count(model: ModelConfig) -> ParameterCount:
    """Count the weights of a model: embeddings, attention, norms, routers, experts, output.

    >>> parameter_count(ModelConfig(d_model=8, d_ff=4, vocab_size=10, num_experts=2, top_k=1, num_heads=2)).total
    584
    """
    d = model.d_model
    attention = attention_weights(model)
    if model.attention == "mla":
        attention += model.q_lora_rank + model.kv_lora_rank  # norms of the compressed vectors
    else:
        q, kv = model.num_heads * model.head_width, model.kv_heads * model.head_width
        if model.attention_bias or model.qkv_bias:
            attention += q + 2 * kv
        if model.attention_bias:
            attention += d
        attention += {"none": 0, "head": 2 * model.head_width, "full": q + kv}[model.qk_norm]
        attention += model.num_heads if model.attention_sinks else 0
    inputs = 2 if model.activation == "swiglu" else 1

    def feed_forward(width: int) -> int:
        return (inputs + 1) * d * width

    expert = feed_forward(model.d_ff) + ((inputs * model.d_ff + d) if model.expert_bias else 0)
    router = d * model.num_experts + (model.num_experts if model.router_bias else 0)
    total = active = 0
    for layer in range(model.num_layers):
        common = attention + 2 * d
        if model.is_moe_layer(layer):
            shared = model.num_shared_experts * expert
            total += common + router + shared + model.num_experts * expert
            active += common + router + shared + model.top_k * expert
        else:
            dense = common + feed_forward(model.dense_width)
            total, active = total + dense, active + dense
    embeddings = d * model.vocab_size * (1 if model.tied_embeddings else 2) + d
    return ParameterCount(total + embeddings, active + embeddings)


@struct.dataclass
class Model:
    """Traced twin of :class:`ModelConfig`: integer scalars; kinds as indices into the tuples of this module."""

    d_model: jax.Array
    d_ff: jax.Array
    vocab_size: jax.Array
    num_layers: jax.Array
    num_moe_layers: jax.Array
    last_layer_is_moe: jax.Array  # bool
    num_windowed_layers: jax.Array
    num_experts: jax.Array
    top_k: jax.Array
    activation: jax.Array  # index into ACTIVATIONS
    routing: jax.Array  # index into ROUTING_KINDS
    attention: jax.Array  # index into ATTENTION_KINDS
    num_heads: jax.Array
    num_kv_heads: jax.Array
    head_dim: jax.Array
    kv_lora_rank: jax.Array
    q_lora_rank: jax.Array
    rope_head_dim: jax.Array
    nope_head_dim: jax.Array
    v_head_dim: jax.Array
    sliding_window: jax.Array
    num_shared_experts: jax.Array
    dense_d_ff: jax.Array
    tied_embeddings: jax.Array
