"""Llama 4: chunked attention in all but every fourth layer, experts in every n-th layer."""

from __future__ import annotations

from pimjax.imports.common import Keys, decoder, expert_layers, pattern, routed, shared, windows
from pimjax.imports.fields import Fields
from pimjax.imports.registry import family


@family("llama4_text", "llama4")
def llama4(fields: Fields) -> Keys:
    """Llama4ForCausalLM: one expert for each token and one shared expert; norms on queries and keys have no weights."""
    keys = decoder(fields, head_dim=128)
    layers, width = keys["num_layers"], fields.count("intermediate_size")
    listed, step = fields.items("moe_layers", int, "layers"), fields.count("interleave_moe_layer_step", default=1)
    if listed is not None and any(not 0 <= layer < layers for layer in listed):
        raise fields.wrong("moe_layers", listed, f"it must name layers from 0 to {layers - 1}")
    chosen = set(listed) if listed is not None else set(range(step - 1, layers, step))
    fields.flag("use_qk_norm", True)
    experts = routed(fields, width, fields.count("num_local_experts"), fields.count("num_experts_per_tok"))
    return {
        **keys,
        **experts,
        **expert_layers(layers, lambda layer: layer in chosen),
        **shared(fields, 1, width),
        **_chunks(fields, layers),
        "dense_d_ff": fields.count("intermediate_size_mlp"),
        "attention_bias": fields.flag("attention_bias", False),
        "router_scoring": "sigmoid_of_chosen",
        "normalised_top_k": False,
    }


def _chunks(fields: Fields, layers: int) -> Keys:
    period = fields.count("no_rope_layer_interval", default=4)
    rotary = fields.items("no_rope_layers", int, "0 and 1") or [int((i + 1) % period != 0) for i in range(layers)]
    if len(rotary) < layers:
        raise fields.wrong("no_rope_layers", rotary, f"it must have one entry for each of the {layers} layers")
    chunk = fields.count("attention_chunk_size", default=0) if fields.has("attention_chunk_size") else 8192
    kinds = windows(
        fields, layers, lambda layer: "chunked" if rotary[layer] and chunk else "full", known=("full", "chunked")
    )  # fmt: skip
    types = kinds["layer_types"]
    if not types or "chunked" not in types:
        return {}
    if not chunk:  # without a chunk size a chunked layer sees everything
        return {"layer_types": pattern(["full"] * layers)}
    return {**kinds, "chunk_tokens": chunk}
