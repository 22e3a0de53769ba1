"""Gemma 4: full layers with other heads than the windowed ones, a dense block beside the experts."""

from __future__ import annotations

from pimjax.imports.common import Keys, dense, routed, shared, windows
from pimjax.imports.fields import Fields
from pimjax.imports.registry import family


@family("gemma4_text")
def gemma4(fields: Fields) -> Keys:
    """Gemma4ForCausalLM without per-layer embeddings and shared keys and values (the 26B-A4B and 31B models).

    The dense block stands beside the experts and sees every token: it is the shared block. Its own three norms come
    with the experts. The factor of each layer is a buffer, not a parameter.
    """
    keys = dense(fields, tied=True, activation=("hidden_activation",), act="gelu_pytorch_tanh", head_dim=256)
    if fields.count("hidden_size_per_layer_input", default=256, least=0):
        raise fields.wrong("hidden_size_per_layer_input", "above 0", "per-layer embeddings are not modelled")
    if fields.count("num_kv_shared_layers", default=0, least=0):
        raise fields.wrong("num_kv_shared_layers", "above 0", "layers that share keys and values are not modelled")
    if fields.word("use_bidirectional_attention", default="vision") == "all":
        raise fields.wrong("use_bidirectional_attention", "all", "only causal attention is modelled")
    layers = keys["num_layers"]
    kinds = windows(
        fields, layers, lambda layer: "sliding" if (layer + 1) % 6 and layer < layers - 1 else "full", 512
    )  # fmt: skip
    equal = fields.flag("attention_k_eq_v", False)
    full = {
        "head_dim": fields.count("global_head_dim", default=512),
        "num_kv_heads": fields.count("num_global_key_value_heads", default=None) if equal else None,
        "keys_are_values": equal,
    }
    keys |= {**kinds, "full_layers": full, "norms_per_layer": 4, "qk_norm": "head"}
    keys["attention_bias"] = fields.flag("attention_bias", False)
    if not fields.flag("enable_moe_block", False):
        return keys
    width = keys["d_ff"]
    experts = routed(
        fields, fields.count("moe_intermediate_size"), fields.count("num_experts"), fields.count("top_k_experts")
    )
    return {**keys, **experts, **shared(fields, 1, width), "moe_norms": 3, "router_scale": True}
