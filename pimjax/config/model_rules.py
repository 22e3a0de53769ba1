"""Rules across the keys of a model: one sentence for each combination that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pimjax.config.layer_kinds import MAX_STATE, MAX_WIDTH, PLAIN_NAMES

if TYPE_CHECKING:
    from pimjax.config.model import ModelConfig

#: attention kind -> the key that must be given with it
_NEEDS = {
    "sliding": "sliding_window",
    "chunked": "chunk_tokens",
    "sparse": "indexer",
    "linear": "linear",
    "mamba": "mamba",
}


def check_model(model: ModelConfig) -> None:
    """Raise ValueError with one sentence if the keys of a model contradict each other."""
    _check_widths(model)
    _check_products(model)
    _check_layers(model)
    _check_router(model)


def _check_widths(model: ModelConfig) -> None:
    if model.num_experts and model.top_k > model.num_experts:
        raise ValueError(
            f"model.top_k is {model.top_k} but model.num_experts is {model.num_experts}: a token cannot visit more "
            "experts than there are; lower top_k or raise num_experts"
        )
    if model.num_heads % model.kv_heads:
        raise ValueError(f"model.num_kv_heads is {model.kv_heads} but must divide model.num_heads = {model.num_heads}")
    if model.attention == "mla" and not (
        model.kv_lora_rank and model.rope_head_dim and model.nope_head_dim and model.v_head_dim
    ):
        raise ValueError(
            "model.attention is 'mla', which needs kv_lora_rank, rope_head_dim, nope_head_dim and v_head_dim above 0"
        )
    if model.head_dim is None and model.attention == "gqa" and model.d_model % model.num_heads:
        raise ValueError(
            f"model.num_heads is {model.num_heads} and does not divide model.d_model = {model.d_model}: give model.head_dim"
        )
    if model.shared_d_ff is not None and not model.num_shared_experts:
        raise ValueError(
            f"model.shared_d_ff is {model.shared_d_ff} but model.num_shared_experts is 0: give the number of shared experts"
        )
    if model.full_layers is not None:
        heads = model.full_layers.num_kv_heads
        if heads is not None and model.num_heads % heads:
            raise ValueError(
                f"model.full_layers.num_kv_heads is {heads} but must divide model.num_heads = {model.num_heads}"
            )


def _check_products(model: ModelConfig) -> None:
    """Widths that are products of two keys: what no int32 holds is no width."""
    heads = model.full_layers
    products = {
        "num_heads x head width": model.num_heads * model.head_width,
        "num_shared_experts x d_ff": model.shared_width,
        "num_heads x v_head_dim": model.num_heads * model.v_head_dim,
        "full_layers.head_dim x num_heads": model.num_heads * (heads.head_dim or 0) if heads else 0,
        "indexer.heads x head_dim": model.indexer.heads * model.indexer.head_dim if model.indexer else 0,
        "linear.key_heads x key_head_dim": model.linear.keys if model.linear else 0,
        "linear.value_heads x value_head_dim": model.linear.values if model.linear else 0,
        "mamba's input projection": model.mamba.projected if model.mamba else 0,
    }
    states = {
        "values of the state of a linear layer": model.linear.state_values if model.linear else 0,
        "values of the state of a mamba layer": model.mamba.state_values if model.mamba else 0,
        "values that a linear layer's convolution multiplies": model.linear.convolved * model.linear.conv_kernel if model.linear else 0,
        "values that a mamba layer's convolution multiplies": model.mamba.convolved * model.mamba.conv_kernel if model.mamba else 0,
    }  # fmt: skip
    for name, count in states.items():
        if count > MAX_STATE:
            raise ValueError(f"model: {name} are {count:,}; at most {MAX_STATE:,} are accepted")
    for name, width in products.items():
        if width > MAX_WIDTH:
            raise ValueError(f"model: {name} is a width of {width:,} values; at most {MAX_WIDTH:,} are accepted")


def _check_layers(model: ModelConfig) -> None:
    if model.first_dense_layers > model.num_layers:
        raise ValueError(
            f"model.first_dense_layers is {model.first_dense_layers} but there are only {model.num_layers} layers"
        )
    if model.moe_offset >= model.moe_frequency:
        raise ValueError(
            f"model.moe_offset is {model.moe_offset}; it must be below model.moe_frequency = {model.moe_frequency}"
        )
    for key, layers in (
        ("moe_layers", model.moe_layers),
        ("indexer.reusing_layers", model.indexer.reusing_layers if model.indexer else None),
    ):
        if layers and (min(layers) < 0 or max(layers) >= model.num_layers or len(set(layers)) < len(layers)):
            raise ValueError(
                f"model.{key} must name layers from 0 to {model.num_layers - 1}, each once; "
                f"it has {len(layers)} entries from {min(layers)} to {max(layers)}"
            )
    kinds = model.layer_types
    if kinds is None:
        return
    if not 1 <= len(kinds) <= model.num_layers:
        raise ValueError(
            f"model.layer_types has {len(kinds)} entries; give one for each of the {model.num_layers} layers, or a "
            "shorter pattern that repeats"
        )
    for kind, key in _NEEDS.items():
        if kind in kinds and not getattr(model, key):
            raise ValueError(f"model.layer_types has {kind!r} ({PLAIN_NAMES[kind]} layers), which needs model.{key}")
    if "sparse" in kinds and (model.attention != "mla" or not model.q_lora_rank):
        raise ValueError(
            "model.layer_types has 'sparse' (sparse attention with an indexer), which needs model.attention 'mla' and "
            "model.q_lora_rank above 0: the indexer reads the compressed queries"
        )
    if "none" in kinds and not model.single_block_layers:
        raise ValueError(
            "model.layer_types has 'none' (attention-free feed-forward layers), which needs model.single_block_layers true"
        )


def _check_router(model: ModelConfig) -> None:
    if model.num_experts and model.num_experts % model.router_groups:
        raise ValueError(
            f"model.router_groups is {model.router_groups} but must divide model.num_experts = {model.num_experts}"
        )
    if model.router_groups_kept > model.router_groups:
        raise ValueError(
            f"model.router_groups_kept is {model.router_groups_kept} but there are only {model.router_groups} groups"
        )
