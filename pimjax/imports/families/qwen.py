"""Qwen's families with experts: Qwen2-MoE, Qwen3-MoE, and Qwen3-Next and Qwen3.5 with gated linear attention."""

from __future__ import annotations

from pimjax.imports.common import Keys, decoder, dense, expert_layers, routed, shared, windows
from pimjax.imports.fields import Fields
from pimjax.imports.registry import family


@family("qwen2_moe")
def qwen2_moe(fields: Fields) -> Keys:
    """Qwen2MoeForCausalLM: one shared block with a gate; biases on q, k and v."""
    keys = {**decoder(fields), **_experts(fields, normalised=False), **_shared(fields)}
    first, on = fields.count("max_window_layers", default=28, least=0), fields.flag("use_sliding_window", False)
    kinds = {}
    if on:
        kinds = windows(
            fields, keys["num_layers"], lambda i: "sliding" if (i + 1) % 2 and i < first else "full", 4096
        )  # fmt: skip
    return {**keys, **kinds, "qkv_bias": fields.flag("qkv_bias", True)}


@family("qwen3_moe", "qwen3_vl_moe_text")
def qwen3_moe(fields: Fields) -> Keys:
    """Qwen3MoeForCausalLM: norms on queries and keys."""
    keys = {**decoder(fields), **_experts(fields, normalised=False), "qk_norm": "head"}
    window = fields.count("sliding_window", default=0, least=0) if fields.flag("use_sliding_window", False) else 0
    keys |= {"sliding_window": window} if window else {}
    return {**keys, "attention_bias": fields.flag("attention_bias", False)}


@family("qwen3_next")
def qwen3_next(fields: Fields) -> Keys:
    """Qwen3NextForCausalLM: three layers of gated linear attention to one of full attention with an output gate."""
    keys = {**decoder(fields, head_dim=256), **_experts(fields, normalised=True), **_shared(fields)}
    return {**keys, **_linear(fields)}


@family("qwen3_5_moe_text", "qwen3_5_moe")
def qwen3_5_moe(fields: Fields) -> Keys:
    """Qwen3_5MoeForCausalLM: Qwen3-Next with experts in every layer."""
    keys = decoder(fields, head_dim=256)
    top_k = fields.count("num_experts_per_tok")
    experts = routed(fields, fields.count("moe_intermediate_size"), fields.count("num_experts"), top_k)
    if fields.items("mlp_only_layers", int, "layers"):
        raise fields.wrong("mlp_only_layers", fields.data["mlp_only_layers"], "Qwen3.5 has experts in every layer")
    return {**keys, **experts, **_shared(fields), **_linear(fields)}


@family("qwen3_5_text", "qwen3_5")
def qwen3_5(fields: Fields) -> Keys:
    """Qwen3_5ForCausalLM: Qwen3-Next without experts."""
    return {**dense(fields, head_dim=256), **_linear(fields)}


def _experts(fields: Fields, normalised: bool) -> Keys:
    layers, step = fields.count("num_hidden_layers", most=10_000), fields.count("decoder_sparse_step", default=1)
    without = set(fields.items("mlp_only_layers", int, "layers") or [])
    experts = routed(
        fields, fields.count("moe_intermediate_size"), fields.count("num_experts", "num_local_experts"),
        fields.count("num_experts_per_tok"), normalised_top_k=fields.flag("norm_topk_prob", normalised),
    )  # fmt: skip
    chosen = expert_layers(layers, lambda layer: (layer + 1) % step == 0 and layer not in without)
    blocks = {"dense_d_ff": fields.count("intermediate_size")} if chosen else {}
    fields.read.add("intermediate_size")
    return {**experts, **chosen, **blocks}


def _shared(fields: Fields) -> Keys:
    return shared(fields, 1, fields.count("shared_expert_intermediate_size"), gate=True)


def _linear(fields: Fields) -> Keys:
    """Which layers are linear, their sizes, and what the full ones have: norms on queries and keys, an output gate."""
    layers, every = fields.count("num_hidden_layers"), fields.count("full_attention_interval", default=4)
    kinds = windows(
        fields, layers, lambda layer: "linear" if (layer + 1) % every else "full", known=("full", "linear")
    )  # fmt: skip
    sizes = {
        "key_heads": fields.count("linear_num_key_heads", default=16),
        "key_head_dim": fields.count("linear_key_head_dim", default=128),
        "value_heads": fields.count("linear_num_value_heads", default=32),
        "value_head_dim": fields.count("linear_value_head_dim", default=128),
        "conv_kernel": fields.count("linear_conv_kernel_dim", default=4),
    }
    if not fields.flag("attn_output_gate", True):
        raise fields.wrong("attn_output_gate", False, "Qwen3-Next and Qwen3.5 are imported with their output gate only")
    bias = fields.flag("attention_bias", False)
    return {**kinds, "linear": sizes, "output_gate": True, "qk_norm": "head", "attention_bias": bias}
