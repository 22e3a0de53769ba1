"""Families with Mamba-2 layers: Nemotron-H and Nemotron 3, Granite 4 hybrids."""

from __future__ import annotations

from pimjax.imports.common import Keys, decoder, grouped_choice, pattern, routed, shared
from pimjax.imports.families.experts import experts_of_block_width
from pimjax.imports.fields import Fields
from pimjax.imports.registry import family

_LETTERS = {"M": "mamba", "E": "moe", "*": "full", "-": "mlp"}
_WORDS = {"mamba": "mamba", "mamba2": "mamba", "linear_attention": "mamba", "moe": "moe", "mlp": "mlp",
          "attention": "full", "full_attention": "full"}  # fmt: skip


@family("nemotron_h")
def nemotron_h(fields: Fields) -> Keys:
    """NemotronHForCausalLM: each layer is one block under one norm: Mamba-2, attention, experts or dense."""
    blocks = _blocks(fields)
    layers = len(blocks)
    if layers != fields.count("num_hidden_layers", default=layers):
        raise fields.wrong("num_hidden_layers", fields.data["num_hidden_layers"], f"the pattern has {layers} layers")
    data = {**fields.data, "num_hidden_layers": layers}
    inner = Fields(data, fields.where)
    keys = decoder(inner, gated=False, activation=("mlp_hidden_act",), act="relu2", head_dim=128)
    if keys["tied_embeddings"]:
        raise fields.wrong("tie_word_embeddings", True, "Nemotron-H has an output embedding of its own")
    bias, width = fields.flag("mlp_bias", False), fields.count("intermediate_size", default=21504)
    keys |= {
        "layer_types": pattern(["none" if block in ("moe", "mlp") else block for block in blocks]),
        "single_block_layers": True,
        "norms_per_layer": 1,
        "d_ff": width,
        "dense_bias": bias,
    }
    if "mamba" in blocks:
        keys["mamba"] = {
            "heads": fields.count("mamba_num_heads"),
            "head_dim": fields.count("mamba_head_dim"),
            "state": fields.count("ssm_state_size", "mamba_d_state"),
            "groups": fields.count("mamba_n_groups", "n_groups", default=8),
            "conv_kernel": fields.count("mamba_d_conv", "conv_kernel", default=4),
            "conv_bias": fields.flag("use_conv_bias", True),
            "projection_bias": fields.flag("use_bias", False),
        }
    fields.read |= {*inner.read, "ssm_state_size", "mamba_d_state"}
    if "moe" not in blocks:
        fields.read |= {"n_routed_experts", "n_shared_experts", "moe_latent_size"}
        return keys
    if fields.count("n_shared_experts", default=1, least=0) > 1:
        raise fields.wrong("n_shared_experts", fields.data["n_shared_experts"], "Nemotron has one shared expert")
    top_k = fields.count("num_experts_per_tok")
    return {
        **keys,
        **routed(fields, fields.count("moe_intermediate_size"), fields.count("n_routed_experts"), top_k),
        **shared(fields, 1, fields.count("moe_shared_expert_intermediate_size")),
        **grouped_choice(fields),
        "moe_layers": tuple(layer for layer, block in enumerate(blocks) if block == "moe"),
        "dense_d_ff": width,
        "expert_latent_width": fields.count("moe_latent_size", default=None),
    }


@family("granitemoehybrid")
def granite_hybrid(fields: Fields) -> Keys:
    """GraniteMoeHybridForCausalLM (Granite 4): Mamba-2 or attention, then experts beside a shared block.

    Without experts the shared block is all there is.
    """
    words = fields.items("layer_types", str, "'mamba' and 'attention'")
    width = fields.count("shared_intermediate_size", default=1024, least=0)
    if fields.count("num_local_experts", default=0, least=0):
        keys: Keys = {
            **experts_of_block_width(fields),
            **shared(fields, 1, width),
            "router_scoring": "softmax_of_chosen",
        }
    elif width:
        keys = {**decoder(fields), "d_ff": width}
    else:
        raise fields.wrong("shared_intermediate_size", 0, "layers need experts or a shared block")
    layers = keys["num_layers"]
    blocks = ["mamba"] * layers if words is None else [_WORDS.get(word, word) for word in words]
    if len(blocks) != layers or set(blocks) - {"mamba", "full"}:
        raise fields.wrong("layer_types", words, f"it must say 'mamba' or 'attention' for each of the {layers} layers")
    keys["attention_bias"] = fields.flag("attention_bias", False)
    if "mamba" not in blocks:
        fields.read.add("mamba_d_state")
        return keys
    heads, inner = fields.count("mamba_n_heads", default=128), fields.count("mamba_expand", default=2) * keys["d_model"]
    given = fields.data.get("mamba_d_head")
    head = inner // heads if given in (None, "auto") else fields.count("mamba_d_head")
    if head * heads != inner:
        raise fields.wrong("mamba_d_head", head, f"times mamba_n_heads it must make {inner}, the expanded width")
    mamba = {
        "heads": heads,
        "head_dim": head,
        "state": fields.count("mamba_d_state", default=256),
        "groups": fields.count("mamba_n_groups", default=1),
        "conv_kernel": fields.count("mamba_d_conv", default=4),
        "conv_bias": fields.flag("mamba_conv_bias", True),
        "projection_bias": fields.flag("mamba_proj_bias", False),
    }
    return {**keys, "layer_types": pattern(blocks), "mamba": mamba}


def _blocks(fields: Fields) -> list[str]:
    """What each layer is, from letters or words."""
    words = fields.items("layers_block_type", str, ", ".join(_WORDS)) or fields.items(
        "layer_types", str, ", ".join(_WORDS)
    )
    if words is not None:
        fields.read.add("hybrid_override_pattern")
        blocks = [_WORDS.get(word, "") for word in words]
    else:
        letters = fields.word("hybrid_override_pattern")
        if len(letters) > 10_000:
            raise fields.wrong("hybrid_override_pattern", letters, "it may have at most 10,000 letters")
        blocks = [_LETTERS.get(letter, "") for letter in letters]
    if not blocks or "" in blocks:
        raise fields.wrong("hybrid_override_pattern", words or fields.data.get("hybrid_override_pattern"),
                           "layers of Nemotron-H are M, E, * and - (Mamba, experts, attention, dense)")  # fmt: skip
    return blocks
