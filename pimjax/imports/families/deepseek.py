"""Families with multi-head latent attention: DeepSeek V2, V3 (Kimi K2), V3.2, GLM-4.7 Flash, GLM-5."""

from __future__ import annotations

from pimjax.imports.common import Keys, decoder, dense_then_sparse, grouped_choice, routed, shared
from pimjax.imports.fields import Fields
from pimjax.imports.registry import family


@family("deepseek_v3", "kimi_k2", "glm4_moe_lite", "sarvam_mla")
def deepseek_v3(fields: Fields) -> Keys:
    """DeepseekV3ForCausalLM; Kimi K2 names this class too."""
    return {**_latent(fields), **_experts(fields, default_first=3), **grouped_choice(fields)}


@family("deepseek_v2")
def deepseek_v2(fields: Fields) -> Keys:
    """DeepseekV2ForCausalLM: softmax scores, chosen greedily or among the best groups."""
    method = fields.word("topk_method", default="greedy")
    if method not in ("greedy", "group_limited_greedy"):
        raise fields.wrong("topk_method", method, "DeepSeek-V2 chooses by 'greedy' or 'group_limited_greedy'")
    groups = (fields.count("n_group", default=1) or 1) if method != "greedy" else 1
    router = {
        "router_scoring": "softmax",
        "router_groups": groups,
        "router_groups_kept": fields.count("topk_group", default=1) if groups > 1 else 1,
        "normalised_top_k": fields.flag("norm_topk_prob", False),
        "routed_scale": fields.number("routed_scaling_factor", 1.0),
    }
    return {**_latent(fields), **_experts(fields, default_first=0), **router,
            "dense_bias": fields.flag("mlp_bias", False)}  # fmt: skip


@family("deepseek_v32")
def deepseek_v32(fields: Fields) -> Keys:
    """DeepseekV32ForCausalLM: V3 with an indexer in each layer."""
    return {**deepseek_v3(fields), **_sparse(fields, (), 64)}


@family("glm_moe_dsa")
def glm_moe_dsa(fields: Fields) -> Keys:
    """GlmMoeDsaForCausalLM (GLM-5): V3.2; some layers may take the tokens that an earlier layer's indexer picked."""
    keys = deepseek_v3(fields)
    layers = keys["num_layers"]
    words = fields.items("indexer_types", str, "'full' and 'shared'")
    if words is None and isinstance(fields.data.get("index_topk_pattern"), str):
        letters = fields.word("index_topk_pattern")
        words = ["shared" if letter == "S" else "full" for letter in letters]
    if words is None:
        every = max(1, fields.count("index_topk_freq", default=1, least=0))
        skip = fields.count("index_skip_topk_offset", default=2, least=0)
        words = ["shared" if max(i - skip + 1, 0) % every else "full" for i in range(layers)]
    if len(words) != layers or set(words) - {"full", "shared"}:
        raise fields.wrong("indexer_types", words, f"it must say 'full' or 'shared' for each of the {layers} layers")
    return {**keys, **_sparse(fields, tuple(i for i, word in enumerate(words) if word == "shared"), 32)}


def _sparse(fields: Fields, reusing: tuple[int, ...], heads: int) -> Keys:
    kinds = fields.items("layer_types", str, "'indexed_attention'")
    if kinds is not None and set(kinds) != {"indexed_attention"}:
        raise fields.wrong("layer_types", kinds, "each layer must be 'indexed_attention'")
    indexer = {
        "heads": fields.count("index_n_heads", default=heads),
        "head_dim": fields.count("index_head_dim", default=128),
        "top_k": fields.count("index_topk", default=2048),
        "reusing_layers": reusing,
    }
    return {"layer_types": ("sparse",), "indexer": indexer}


def _latent(fields: Fields) -> Keys:
    """Widths of multi-head latent attention; keys and values are expanded for every query head."""
    keys = decoder(fields)
    return {
        **keys,
        "num_kv_heads": keys["num_heads"],
        "head_dim": None,
        "attention": "mla",
        "kv_lora_rank": fields.count("kv_lora_rank"),
        "q_lora_rank": fields.count("q_lora_rank", default=0),
        "rope_head_dim": fields.count("qk_rope_head_dim"),
        "nope_head_dim": fields.count("qk_nope_head_dim"),
        "v_head_dim": fields.count("v_head_dim"),
        "attention_bias": fields.flag("attention_bias", False),
    }


def _experts(fields: Fields, default_first: int) -> Keys:
    width, layers = fields.count("moe_intermediate_size"), fields.count("num_hidden_layers", most=10_000)
    if fields.count("moe_layer_freq", default=1) != 1:
        raise fields.wrong("moe_layer_freq", fields.data["moe_layer_freq"], "only 1 is imported")
    count = fields.count("n_shared_experts", default=0, least=0)
    first = fields.count("first_k_dense_replace", default=default_first, least=0)
    experts = fields.count("n_routed_experts", "num_local_experts", "num_experts")
    return {
        **routed(fields, width, experts, fields.count("num_experts_per_tok")),
        **shared(fields, count, count * width),
        **dense_then_sparse(fields, layers, first),
        "dense_d_ff": fields.count("intermediate_size"),
    }
