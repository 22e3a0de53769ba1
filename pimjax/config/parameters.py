"""How many weights a model has, part by part, and how many of them one token uses."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from pimjax.config.model import LayerKind, ModelConfig


class ParameterCount(NamedTuple):
    """Parameters of a model and those one token uses.

    `active` counts every weight of the layers a token passes (its `top_k` experts, the shared block), the output
    embedding and the whole input embedding. Model cards differ: Qwen3, OLMoE and Mixtral count the input embedding,
    GPT-OSS and DeepSeek leave it out, which is `active_without_embedding`. A table that is input and output embedding
    in one (`tied_embeddings`) stays in both: the output layer multiplies by all of it.
    """

    total: int
    active: int
    embedding: int = 0  # the input embedding's weights where the output embedding has its own

    @property
    def active_without_embedding(self) -> int:
        """Active parameters without the input embedding."""
        return self.active - self.embedding


class Part(NamedTuple):
    """One kind of weights: all of them, and those a token uses."""

    total: int
    active: int


def parameter_count(model: ModelConfig) -> ParameterCount:
    """Count the weights of a model: embeddings, attention, norms, routers, experts, output.

    >>> parameter_count(ModelConfig(d_model=8, d_ff=4, vocab_size=10, num_experts=2, top_k=1, num_heads=2)).total
    584
    """
    parts = parameter_table(model)
    return ParameterCount(
        sum(part.total for part in parts.values()),
        sum(part.active for part in parts.values()),
        0 if model.tied_embeddings else parts["input embedding"].total,
    )


def parameter_table(model: ModelConfig) -> dict[str, Part]:
    """Weights of each part of a model; parts it has none of are left out.

    >>> parameter_table(ModelConfig(d_model=8, d_ff=4, vocab_size=10, num_experts=2, top_k=1, num_heads=2))["norms"]
    Part(total=24, active=24)
    """
    d = model.d_model
    norm = {"none": 0, "scale": d, "scale_and_bias": 2 * d}[model.norm_weights]
    table: Counter[str] = Counter()
    idle: Counter[str] = Counter()
    layers = Counter(
        (model.layer_kind(i), model.has_feed_forward(i), model.is_moe_layer(i)) for i in range(model.num_layers)
    )
    for (kind, has_feed_forward, is_moe), count in layers.items():
        table["attention"] += count * layer_attention(model, kind)
        table["norms"] += count * norm * (model.norms_per_layer + (model.moe_norms if is_moe else 0))
        if is_moe:
            expert = _expert(model)
            table["routers"] += count * _router(model)
            table["routed experts"] += count * (model.num_experts * expert + _latent_projections(model))
            idle["routed experts"] += count * (model.num_experts - model.top_k) * expert
            table["shared experts"] += count * _shared(model)
        elif has_feed_forward:
            table["dense feed-forward"] += count * _feed_forward(model, d, model.dense_width, model.dense_bias)
    if model.indexer is not None:
        reusing = sum(model.layer_kind(layer) == "sparse" for layer in model.indexer.reusing_layers)
        table["attention"] -= reusing * _indexer(model)
    table["norms"] += norm
    table["input embedding"] += d * model.vocab_size
    table["output embedding"] += (0 if model.tied_embeddings else d * model.vocab_size) + (
        model.vocab_size if model.output_bias else 0
    )
    return {name: Part(total, total - idle[name]) for name, total in table.items() if total}


def attention_weights(model: ModelConfig) -> int:
    """Weights in the attention matrices of one windowed or full layer, without biases and norms.

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
    gate = model.num_heads if model.output_gate else 0
    return d * model.head_width * (2 * model.num_heads + 2 * model.kv_heads + gate)


def layer_attention(model: ModelConfig, kind: LayerKind) -> int:
    """All weights of one layer's attention: matrices, biases, norms inside it.

    Linear and Mamba layers are counted as Hugging Face transformers 5.24 builds them (`Qwen3NextGatedDeltaNet`,
    `NemotronHMamba2Mixer`), the indexer as `DeepseekV32Indexer`.
    """
    match kind:
        case "none":
            return 0
        case "linear":
            return _linear(model)
        case "mamba":
            return _mamba(model)
        case "sparse":
            return _mla(model) + _indexer(model)
    return _mla(model) if model.attention == "mla" else _grouped_query(model, kind)


def _grouped_query(model: ModelConfig, kind: LayerKind) -> int:
    own = model.full_layers if kind == "full" else None
    head = (own and own.head_dim) or model.head_width
    q, kv = model.num_heads * head, ((own and own.num_kv_heads) or model.kv_heads) * head
    value = 0 if own and own.keys_are_values else kv
    gate = q if model.output_gate else 0
    weights = model.d_model * (q + gate + kv + value + q)
    if model.attention_bias or model.qkv_bias:
        weights += q + gate + kv + value
    if model.attention_bias:
        weights += model.d_model
    weights += {"none": 0, "head": 2 * head, "full": q + kv}[model.qk_norm]
    return weights + (model.num_heads if model.attention_sinks else 0)


def _mla(model: ModelConfig) -> int:
    norms = model.q_lora_rank + model.kv_lora_rank  # of the compressed vectors
    biases = model.q_lora_rank + model.kv_lora_rank + model.rope_head_dim + model.d_model
    return attention_weights(model) + norms + (biases if model.attention_bias else 0)


def _indexer(model: ModelConfig) -> int:
    indexer = model.indexer
    assert indexer is not None
    keys = model.d_model * indexer.head_dim + 2 * indexer.head_dim  # with the norm's scale and bias
    return model.q_lora_rank * indexer.heads * indexer.head_dim + keys + model.d_model * indexer.heads


def _linear(model: ModelConfig) -> int:
    linear = model.linear
    assert linear is not None
    projections = model.d_model * (2 * linear.keys + 2 * linear.values + 2 * linear.value_heads)
    convolution = linear.convolved * linear.conv_kernel
    small = 2 * linear.value_heads + linear.value_head_dim  # decay, time step, norm
    return projections + convolution + small + linear.values * model.d_model


def _mamba(model: ModelConfig) -> int:
    mamba = model.mamba
    assert mamba is not None
    convolution = mamba.convolved * (mamba.conv_kernel + (1 if mamba.conv_bias else 0))
    small = 3 * mamba.heads + mamba.inner  # decay, skip, time step, norm
    biases = mamba.projected + model.d_model if mamba.projection_bias else 0
    return model.d_model * (mamba.projected + mamba.inner) + convolution + small + biases


def _feed_forward(model: ModelConfig, d: int, width: int, bias: bool) -> int:
    inputs = 2 if model.gated else 1
    return (inputs + 1) * d * width + ((inputs * width + d) if bias else 0)


def _expert(model: ModelConfig) -> int:
    return _feed_forward(model, model.expert_latent_width or model.d_model, model.d_ff, model.expert_bias)


def _latent_projections(model: ModelConfig) -> int:
    """The projections into and out of the width experts work on: every token uses them."""
    width = model.expert_latent_width
    return 2 * model.d_model * width + (model.d_model + width if model.dense_bias else 0) if width else 0


def _shared(model: ModelConfig) -> int:
    if not model.num_shared_experts:
        return 0
    gate = model.d_model if model.shared_gate else 0
    return _feed_forward(model, model.d_model, model.shared_width, model.dense_bias) + gate


def _router(model: ModelConfig) -> int:
    d, experts = model.d_model, model.num_experts
    bias = experts if model.router_bias else 0
    correction = experts if model.router_correction == "parameter" else 0
    return d * experts + bias + correction + (d + experts if model.router_scale else 0)
