"""Families with routed experts and grouped-query attention, as Hugging Face transformers 5.24 builds them."""

from __future__ import annotations

from typing import Any

from pimjax.imports.common import (
    Keys,
    decoder,
    dense,
    dense_then_sparse,
    every_layer_windowed,
    expert_layers,
    grouped_choice,
    routed,
    shared,
    windows,
)
from pimjax.imports.families.dense import local_global
from pimjax.imports.fields import Fields
from pimjax.imports.registry import family


def experts_of_block_width(fields: Fields, **defaults: Any) -> Keys:
    """A decoder whose experts are as wide as `intermediate_size`, in every layer."""
    keys = decoder(fields, **defaults)
    experts = fields.count("num_local_experts", "num_experts")
    top_k = fields.count("num_experts_per_tok", "num_experts_per_token")
    return {**keys, **routed(fields, fields.count("intermediate_size"), experts, top_k)}


@family("mixtral")
def mixtral(fields: Fields) -> Keys:
    """MixtralForCausalLM."""
    return {**experts_of_block_width(fields), **every_layer_windowed(fields)}


@family("minimax_m2")
def minimax_m2(fields: Fields) -> Keys:
    """MiniMaxM2ForCausalLM: sigmoid scores with a correction bias; norms over all queries and keys."""
    keys = experts_of_block_width(fields)
    return {**keys, "qk_norm": "full", "router_scoring": "sigmoid", "router_correction": "buffer"}


@family("phimoe")
def phimoe(fields: Fields) -> Keys:
    """PhimoeForCausalLM: LayerNorm; a choice by SparseMixer, whose weights are softmax scores of the chosen."""
    biases = {"attention_bias": fields.flag("attention_bias", False), "output_bias": fields.flag("lm_head_bias", False)}
    keys = {**experts_of_block_width(fields), **every_layer_windowed(fields), **biases}
    if keys["top_k"] != 2:
        raise fields.wrong("num_experts_per_tok", keys["top_k"], "SparseMixer, PhiMoE's router, always chooses 2")
    return {**keys, "norm_weights": "scale_and_bias", "normalised_top_k": False}


@family("olmoe")
def olmoe(fields: Fields) -> Keys:
    """OlmoeForCausalLM: norms over all queries and keys."""
    if fields.count("hidden_size") % fields.count("num_attention_heads"):
        raise fields.wrong("num_attention_heads", fields.data["num_attention_heads"], "it must divide hidden_size")
    bias = fields.flag("attention_bias", False)
    normalised = fields.flag("norm_topk_prob", False)
    return {**experts_of_block_width(fields), "attention_bias": bias, "qk_norm": "full", "normalised_top_k": normalised}


@family("flex_olmo")
def flex_olmo(fields: Fields) -> Keys:
    """FlexOlmoForCausalLM: as OLMoE with norms after the blocks."""
    return olmoe(fields)


@family("granitemoe", "granitemoeshared")
def granitemoe(fields: Fields) -> Keys:
    """GraniteMoeForCausalLM: the weights are a softmax over the chosen experts; perhaps a shared block."""
    bias = fields.flag("attention_bias", False)
    width = fields.count("shared_intermediate_size", default=0, least=0)
    keys = {**experts_of_block_width(fields), **shared(fields, 1, width)}
    return {**keys, "attention_bias": bias, "router_scoring": "softmax_of_chosen"}


@family("gpt_oss")
def gpt_oss(fields: Fields) -> Keys:
    """GptOssForCausalLM: biases everywhere, sinks, every other layer windowed."""
    keys = {**experts_of_block_width(fields, head_dim=64), "attention_bias": fields.flag("attention_bias", True)}
    kinds = windows(fields, keys["num_layers"], lambda layer: "full" if layer % 2 else "sliding", 128)
    biases = {"expert_bias": True, "router_bias": True, "attention_sinks": True}
    return {**keys, **kinds, **biases, "router_scoring": "softmax_of_chosen"}


@family("glm4_moe", "glm4v_moe_text", "sarvam_moe")
def glm4_moe(fields: Fields) -> Keys:
    """Glm4MoeForCausalLM: DeepSeek-V3's routing with grouped-query attention; biases on q, k and v."""
    norm = "head" if fields.flag("use_qk_norm", False) else "none"
    keys = {**_deepseek_experts(fields), "qk_norm": norm}
    return {**keys, "qkv_bias": fields.flag("attention_bias", False)}


@family("dots1")
def dots1(fields: Fields) -> Keys:
    """Dots1ForCausalLM: as GLM-4.5 with norms on queries and keys."""
    keys = _deepseek_experts(fields, first=0, normalised=False)
    kinds = windows(fields, keys["num_layers"], lambda layer: "full")
    return {**keys, **kinds, "attention_bias": fields.flag("attention_bias", False), "qk_norm": "head"}


@family("solar_open")
def solar_open(fields: Fields) -> Keys:
    """SolarOpenForCausalLM: experts in every layer."""
    return {**_deepseek_experts(fields, first=0, head_dim=128), "qkv_bias": fields.flag("attention_bias", False)}


@family("exaone_moe")
def exaone_moe(fields: Fields) -> Keys:
    """ExaoneMoeForCausalLM: EXAONE 4's attention, DeepSeek-V3's routing."""
    return {**_deepseek_experts(fields), **local_global(fields), "qk_norm": "head"}


@family("hy_v3")
def hy_v3(fields: Fields) -> Keys:
    """HYV3ForCausalLM (Hunyuan 3): sigmoid scores with a correction bias; at least one shared expert."""
    fields.count("num_shared_experts", default=1)
    bias = fields.flag("mlp_bias", False)
    keys = {**_deepseek_experts(fields, head_dim=128), "dense_bias": bias, "qk_norm": "head"}
    return {**keys, "attention_bias": fields.flag("attention_bias", False),
            "routed_scale": fields.number("router_scaling_factor", 1.0)}  # fmt: skip


@family("afmoe")
def afmoe(fields: Fields) -> Keys:
    """AfmoeForCausalLM (Trinity): four norms, an output gate, a correction bias that counts as a parameter."""
    keys = decoder(fields, head_dim=128)
    if fields.flag("attention_bias", False):
        raise fields.wrong("attention_bias", True, "a bias on q, k and v but not on the gate is not modelled")
    layers, width = keys["num_layers"], fields.count("moe_intermediate_size")
    first, every = (
        fields.count("num_dense_layers", default=1, least=0),
        fields.count("global_attn_every_n_layers", default=4),
    )
    count = fields.count("num_shared_experts", default=2, least=0)
    experts = routed(fields, width, fields.count("num_experts"), fields.count("num_experts_per_tok"))
    return {
        **keys, **experts, **expert_layers(layers, lambda layer: layer >= first),
        **shared(fields, count, count * width),
        **windows(fields, layers, lambda layer: "sliding" if (layer + 1) % every else "full", 1024),
        "dense_d_ff": fields.count("intermediate_size"), "qk_norm": "head", "output_gate": True, "norms_per_layer": 4, "router_scoring": "sigmoid",
        "router_correction": "parameter", "routed_scale": fields.number("route_scale", 1.0),
    }  # fmt: skip


@family("ernie4_5_moe")
def ernie_moe(fields: Fields) -> Keys:
    """Ernie4_5_MoeForCausalLM: one flag for all biases, a correction bias that counts as a parameter."""
    keys, bias = decoder(fields, tied=True), fields.flag("use_bias", False)
    layers, width = keys["num_layers"], fields.count("moe_intermediate_size")
    start = fields.count("moe_layer_start_index", default=1, least=0)
    end = fields.count("moe_layer_end_index", default=-1, least=-1)
    end, step = layers - 1 if end == -1 else end, fields.count("moe_layer_interval", default=1)
    count = fields.count("moe_num_shared_experts", default=2, least=0)
    experts = routed(
        fields, width, fields.count("moe_num_experts", "num_experts"), fields.count("moe_k", "num_experts_per_tok")
    )
    return {
        **keys, **experts, **expert_layers(layers, lambda layer: start <= layer <= end and (layer + 1) % step == 0),
        **shared(fields, count, count * width), "dense_d_ff": fields.count("intermediate_size"),
        "attention_bias": bias, "dense_bias": bias, "output_bias": bias, "router_correction": "parameter",
    }  # fmt: skip


@family("hunyuan_v1_moe")
def hunyuan_moe(fields: Fields) -> Keys:
    """HunYuanMoEV1ForCausalLM: experts and one shared block of `intermediate_size`; lists must say one number."""
    keys, width = dense(fields), fields.count("intermediate_size")
    experts = fields.count("num_experts", "num_local_experts")
    top_k, count = (_one_number(fields, name) for name in ("moe_topk", "num_shared_expert"))
    if _one_number(fields, "moe_intermediate_size", width) != width or count > 1:
        raise fields.wrong(
            "moe_intermediate_size or num_shared_expert", "another size",
            "only experts and one shared expert of intermediate_size are imported, as transformers builds them",
        )  # fmt: skip
    bias = fields.flag("attention_bias", False)
    return {**keys, **routed(fields, width, experts, top_k), **shared(fields, 1, width), "attention_bias": bias,
            "qk_norm": "head"}  # fmt: skip


@family("dbrx")
def dbrx(fields: Fields) -> Keys:
    """DbrxForCausalLM: sizes in two nested mappings."""
    attention, blocks = (
        Fields(fields.mapping(name) or {}, f"{fields.where}: {name}") for name in ("attn_config", "ffn_config")
    )
    width, heads = fields.count("d_model"), fields.count("n_heads")
    if width % heads:
        raise fields.wrong("n_heads", heads, f"it must divide d_model = {width}")
    layers = fields.count("n_layers", most=10_000)
    experts = routed(
        fields, blocks.count("ffn_hidden_size"), blocks.count("moe_num_experts"), blocks.count("moe_top_k", default=1)
    )
    return {
        "d_model": width, "vocab_size": fields.count("vocab_size"), "num_layers": layers, "num_heads": heads,
        "num_kv_heads": attention.count("kv_n_heads", default=1), "head_dim": width // heads,
        "activation": "swiglu", "tied_embeddings": fields.flag("tie_word_embeddings", False), **experts,
    }  # fmt: skip


def _one_number(fields: Fields, name: str, default: int = 1) -> int:
    """A whole number, or a list that says the same one for each layer."""
    value = fields.data.get(name)
    if not isinstance(value, list):
        return fields.count(name, default=default, least=0)
    found = set(fields.items(name, int, "whole numbers") or [default])
    if len(found) != 1:
        raise fields.wrong(name, value, "layers that differ in it are not modelled")
    return Fields({name: found.pop()}, fields.where).count(name, least=0)


def _deepseek_experts(fields: Fields, first: int = 1, normalised: bool = True, **defaults: Any) -> Keys:
    """Decoder, experts, leading dense layers, shared block and router of DeepSeek-V3's heirs."""
    keys, width = decoder(fields, **defaults), fields.count("moe_intermediate_size")
    count = fields.count("n_shared_experts", "num_shared_experts", default=0, least=0)
    experts = fields.count("n_routed_experts", "num_experts", "num_local_experts")
    layers = dense_then_sparse(
        fields, keys["num_layers"], fields.count("first_k_dense_replace", default=first, least=0)
    )  # fmt: skip
    chosen = grouped_choice(fields)
    chosen["normalised_top_k"] = fields.flag("norm_topk_prob", normalised)
    blocks = {"dense_d_ff": fields.count("intermediate_size")} if layers else {}
    return {
        **keys, **routed(fields, width, experts, fields.count("num_experts_per_tok")), **layers, **chosen, **blocks,
        **shared(fields, count, count * width),
    }  # fmt: skip
