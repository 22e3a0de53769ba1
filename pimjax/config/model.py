"""The transformer: widths, experts, the attention of each layer, the router (its traced twin: model_arrays)."""

from __future__ import annotations

import functools
from typing import Literal

from pydantic import model_validator

from pimjax.config.base import Section, option
from pimjax.config.layer_kinds import (
    MAX_COUNT,
    MAX_WIDTH,
    FullLayersConfig,
    IndexerConfig,
    LinearAttentionConfig,
    MambaConfig,
)
from pimjax.config.model_rules import check_model

#: laws of the chips; the activations of ModelConfig that are not listed follow the law of `ACTIVATION_LAWS`
ACTIVATIONS = ("relu", "gelu", "swiglu")
#: GeGLU is a GELU and a product, which is the law of SwiGLU; ReLU squared is a ReLU and a square, each a step of ReLU's
ACTIVATION_LAWS = {"relu": "relu", "relu2": "relu", "gelu": "gelu", "swiglu": "swiglu", "geglu": "swiglu"}
ATTENTION_KINDS = ("gqa", "mla")
ROUTING_KINDS = ("token_choice", "expert_choice")
MAX_LAYERS = 10_000

LayerKind = Literal["full", "sliding", "chunked", "sparse", "linear", "mamba", "none"]
WeightFormat = Literal["fp32", "bf16", "fp16", "fp8", "int8", "mxfp8", "mxfp4", "nvfp4", "int4", "nf4"]


class ModelConfig(Section):
    """Host description of a decoder-only transformer with Mixture-of-Experts layers."""

    source: str = option("", about="Where these numbers are published")
    left_out: tuple[str, ...] = option(
        (), about="Parts of the published model that this description leaves out", strict=False
    )  # fmt: skip
    d_model: int = option(4096, about="Width of the residual stream [values]", ge=1, le=MAX_WIDTH)
    d_ff: int = option(
        688,
        about="Hidden width of one expert (of the feed-forward block if there are no experts) [values]",
        ge=1,
        le=MAX_WIDTH,
    )
    vocab_size: int = option(32000, about="Tokens in the vocabulary", ge=1, le=MAX_WIDTH)
    num_layers: int = option(1, about="Decoder layers", ge=1, le=MAX_LAYERS)
    num_experts: int = option(16, about="Routed experts per MoE layer; 0: dense model", ge=0, le=MAX_COUNT)
    top_k: int = option(4, about="Experts per token (token choice) or on average (expert choice)", ge=1, le=MAX_COUNT)
    activation: Literal["relu", "relu2", "gelu", "swiglu", "geglu"] = option(
        "relu", about="Activation of the feed-forward blocks; swiglu and geglu have two input matrices"
    )
    routing: Literal["token_choice", "expert_choice"] = option("token_choice", about="Who chooses: tokens or experts")
    # which layers are what
    layer_types: tuple[LayerKind, ...] | None = option(
        None, about="Attention kind of each layer, or a pattern that repeats; null: sliding_window_period", strict=False
    )
    single_block_layers: bool = option(
        False, about="A layer is either attention or (kind none) a feed-forward block, not both"
    )
    moe_layers: tuple[int, ...] | None = option(
        None, about="Layers with experts (from 0); null: moe_frequency, moe_offset, first_dense_layers", strict=False
    )
    # attention
    attention: Literal["gqa", "mla"] = option("gqa", about="Grouped-query (gqa) or multi-head latent attention (mla)")
    num_heads: int = option(32, about="Query heads", ge=1, le=MAX_COUNT)
    num_kv_heads: int | None = option(
        None, about="Key/value heads; null: as many as query heads", ge=1, le=MAX_COUNT
    )  # fmt: skip
    head_dim: int | None = option(None, about="Width of one head; null: d_model / num_heads", ge=1, le=MAX_WIDTH)
    kv_lora_rank: int = option(0, about="MLA: width of the compressed keys and values", ge=0, le=MAX_WIDTH)
    q_lora_rank: int = option(0, about="MLA: width of the compressed queries; 0: not compressed", ge=0, le=MAX_WIDTH)
    rope_head_dim: int = option(0, about="MLA: rotary part of each head", ge=0, le=MAX_WIDTH)
    nope_head_dim: int = option(0, about="MLA: part of each head without position", ge=0, le=MAX_WIDTH)
    v_head_dim: int = option(0, about="MLA: value width of each head", ge=0, le=MAX_WIDTH)
    sliding_window: int = option(0, about="Tokens a windowed layer sees; 0: no window", ge=0, le=2**31 - 1)
    sliding_window_period: int = option(
        1, about="Layers i with i mod period < period - 1 are windowed; 1: every layer (if there is a window)", ge=1, le=MAX_LAYERS
    )  # fmt: skip
    chunk_tokens: int = option(0, about="Tokens of one chunk of a chunked layer", ge=0, le=2**31 - 1)
    full_layers: FullLayersConfig | None = option(None, about="What full layers have otherwise than windowed ones")
    indexer: IndexerConfig | None = option(None, about="Indexer of sparse layers")
    linear: LinearAttentionConfig | None = option(None, about="Sizes of linear layers")
    mamba: MambaConfig | None = option(None, about="Sizes of mamba layers")
    output_gate: bool = option(False, about="A gate as wide as the query multiplies attention's output")
    # dense parts
    num_shared_experts: int = option(
        0, about="Experts that see every token: one block of this many times d_ff", ge=0, le=MAX_COUNT
    )  # fmt: skip
    shared_d_ff: int | None = option(
        None, about="Width of the shared block; null: num_shared_experts x d_ff", ge=1, le=MAX_WIDTH
    )  # fmt: skip
    shared_gate: bool = option(False, about="One learned gate multiplies the shared block's output")
    first_dense_layers: int = option(0, about="Leading layers without experts", ge=0, le=MAX_LAYERS)
    dense_d_ff: int | None = option(None, about="Hidden width of dense layers; null: d_ff", ge=1, le=MAX_WIDTH)
    moe_frequency: int = option(
        1, about="Layer i (from 0) has experts iff i mod frequency = moe_offset", ge=1, le=MAX_LAYERS
    )
    moe_offset: int = option(0, about="See moe_frequency", ge=0, le=MAX_LAYERS)
    expert_latent_width: int | None = option(
        None, about="Experts work on a projection of this width; null: on d_model", ge=1, le=MAX_WIDTH
    )  # fmt: skip
    tied_embeddings: bool = option(False, about="Output embedding shares the input embedding's weights")
    # the router: how a choice is made from its scores
    router_scoring: Literal["softmax", "softmax_of_chosen", "sigmoid", "sigmoid_of_chosen", "sqrt_softplus"] = option(
        "softmax", about="What makes weights of the router's scores: before choosing, or over the chosen only"
    )
    router_correction: Literal["none", "buffer", "parameter"] = option(
        "none", about="A bias added only for choosing, and whether it counts as a parameter"
    )
    router_groups: int = option(
        1, about="Groups of experts the router chooses among first; 1: none", ge=1, le=MAX_COUNT
    )
    router_groups_kept: int = option(1, about="Groups whose experts may be chosen", ge=1, le=MAX_COUNT)
    normalised_top_k: bool = option(True, about="The weights of the chosen experts are scaled to the sum one")
    routed_scale: float = option(1.0, about="Factor on the routed experts' sum", gt=0, le=1e6)
    # only for the parameter count
    attention_bias: bool = option(False, about="Biases on q, k, v and output projections")
    qkv_bias: bool = option(False, about="Biases on q, k, v only")
    expert_bias: bool = option(False, about="Biases on expert projections")
    dense_bias: bool = option(False, about="Biases on the projections of dense and shared blocks")
    router_bias: bool = option(False, about="Bias on the router")
    router_scale: bool = option(False, about="The router scales its input per channel and its choice per expert")
    output_bias: bool = option(False, about="Bias on the output embedding")
    attention_sinks: bool = option(False, about="One learned sink logit per query head")
    qk_norm: Literal["none", "head", "full"] = option("none", about="Normalisation weights on queries and keys")
    norm_weights: Literal["none", "scale", "scale_and_bias"] = option("scale", about="Weights of each other norm")
    norms_per_layer: int = option(2, about="Norms over d_model in each layer", ge=0, le=16)
    moe_norms: int = option(0, about="Further norms over d_model in layers with experts", ge=0, le=16)
    # how a checkpoint stores them: memory of GPUs; crossbars follow the section numerics
    weight_format: WeightFormat = option("bf16", about="Format of stored weights")
    linear_format: WeightFormat | None = option(None, about="Of attention, dense and shared matrices; null: the same")
    expert_format: WeightFormat | None = option(None, about="Of the routed experts' matrices; null: linear_format")
    published_parameters: float | None = option(None, about="Published parameter count", gt=0, le=1e18)
    published_active_parameters: float | None = option(
        None, about="Published parameters active per token", gt=0, le=1e18
    )  # fmt: skip
    published_active_counts_embedding: bool = option(
        True, about="Whether the published active parameters include the input embedding"
    )

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        check_model(self)
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

    @property
    def shared_width(self) -> int:
        """Hidden width of the one block that all shared experts make [values]; 0: there is none."""
        if not self.num_shared_experts:
            return 0
        return self.shared_d_ff if self.shared_d_ff is not None else self.num_shared_experts * self.d_ff

    @property
    def gated(self) -> bool:
        """Whether a feed-forward block has two input matrices."""
        return self.activation in ("swiglu", "geglu")

    def layer_kind(self, layer: int) -> LayerKind:
        """Attention kind of layer `layer` (from 0).

        >>> ModelConfig(num_layers=4, layer_types=("sliding", "full"), sliding_window=8).layer_kind(2)
        'sliding'
        """
        if self.layer_types is not None:
            return self.layer_types[layer % len(self.layer_types)]
        period = self.sliding_window_period
        return "sliding" if self.sliding_window and (period == 1 or layer % period < period - 1) else "full"

    def is_moe_layer(self, layer: int) -> bool:
        """Whether layer `layer` (from 0) has routed experts.

        >>> [ModelConfig(num_layers=4, moe_frequency=2, moe_offset=1).is_moe_layer(layer) for layer in range(4)]
        [False, True, False, True]
        """
        if not self.num_experts or not self.has_feed_forward(layer):
            return False
        if self.moe_layers is not None:
            return layer in self.listed_moe_layers
        return layer >= self.first_dense_layers and layer % self.moe_frequency == self.moe_offset

    @functools.cached_property
    def listed_moe_layers(self) -> frozenset[int]:
        """`moe_layers` as a set; empty where it is not given."""
        return frozenset(self.moe_layers or ())

    def has_feed_forward(self, layer: int) -> bool:
        """Whether layer `layer` (from 0) has a feed-forward block, dense or of experts."""
        return not self.single_block_layers or self.layer_kind(layer) == "none"

    def is_windowed_layer(self, layer: int) -> bool:
        """Whether layer `layer` (from 0) attends within the sliding window only."""
        return self.layer_kind(layer) == "sliding"

    @property
    def num_moe_layers(self) -> int:
        """Layers with routed experts."""
        return sum(self.is_moe_layer(layer) for layer in range(self.num_layers))

    def count_layers(self, kind: LayerKind) -> int:
        """Layers of one attention kind."""
        return sum(self.layer_kind(layer) == kind for layer in range(self.num_layers))
