"""Families with one feed-forward block in each layer, as Hugging Face transformers 5.24 builds them."""

from __future__ import annotations

from pimjax.imports.common import Keys, dense, every_layer_windowed, windows
from pimjax.imports.fields import Fields
from pimjax.imports.registry import family

FULL = "full"


@family("llama", "granite")
def llama(fields: Fields) -> Keys:
    """LlamaForCausalLM: biases by two flags. Granite differs by constant factors only."""
    return {**dense(fields), **_biases(fields)}


@family("mistral")
def mistral(fields: Fields) -> Keys:
    """MistralForCausalLM: one window for all layers."""
    return {**dense(fields), **every_layer_windowed(fields, window=4096)}


@family("ministral", "ministral3")
def ministral(fields: Fields) -> Keys:
    """MinistralForCausalLM: as Mistral, windows by layer."""
    keys = dense(fields)
    return {**keys, **windows(fields, keys["num_layers"], lambda layer: "sliding", 4096)}


@family("qwen2", "qwen2_vl_text", "qwen2_5_vl_text", "qwen2_vl", "qwen2_5_vl")
def qwen2(fields: Fields) -> Keys:
    """Qwen2ForCausalLM: biases on q, k and v."""
    return {**dense(fields), **_late_windows(fields), "qkv_bias": True}


@family("qwen3", "qwen3_vl_text")
def qwen3(fields: Fields) -> Keys:
    """Qwen3ForCausalLM: norms on queries and keys."""
    bias = fields.flag("attention_bias", False)
    return {**dense(fields, head_dim=128), **_late_windows(fields), "attention_bias": bias, "qk_norm": "head"}


@family("phi3")
def phi3(fields: Fields) -> Keys:
    """Phi3ForCausalLM: q, k, v in one matrix and gate, up in one, which changes no count."""
    return {**dense(fields), **every_layer_windowed(fields)}


@family("phi")
def phi(fields: Fields) -> Keys:
    """PhiForCausalLM: attention and feed-forward side by side under one norm, biases everywhere."""
    keys = dense(fields, gated=False, act="gelu_new")
    if fields.flag("qk_layernorm", False):
        raise fields.wrong("qk_layernorm", True, "Phi with norms on queries and keys is not imported")
    biases = {"attention_bias": True, "dense_bias": True, "output_bias": True}
    return {**keys, **biases, "norms_per_layer": 1, "norm_weights": "scale_and_bias"}


@family("gemma")
def gemma(fields: Fields) -> Keys:
    """GemmaForCausalLM: GeGLU and tied embeddings."""
    keys = dense(fields, tied=True, activation=("hidden_activation", "hidden_act"), act="gelu", head_dim=256)
    return {**keys, "attention_bias": fields.flag("attention_bias", False)}


@family("gemma2")
def gemma2(fields: Fields) -> Keys:
    """Gemma2ForCausalLM: four norms, every other layer windowed."""
    return {**gemma(fields), **_alternating(fields, 2, 4096), "norms_per_layer": 4}


@family("gemma3_text")
def gemma3(fields: Fields) -> Keys:
    """Gemma3ForCausalLM: norms on queries and keys, every sixth layer full."""
    # the multimodal checkpoints leave these out of their text_config
    fields = fields.with_defaults(vocab_size=262_208, num_attention_heads=8, num_key_value_heads=4)
    period = fields.count("sliding_window_pattern", default=6)
    keys = {**gemma(fields), **_alternating(fields, period, 4096), "norms_per_layer": 4, "qk_norm": "head"}
    if fields.flag("use_bidirectional_attention", False):
        raise fields.wrong("use_bidirectional_attention", True, "only causal attention is modelled")
    return keys


@family("cohere")
def cohere(fields: Fields) -> Keys:
    """CohereForCausalLM: attention and feed-forward side by side under one norm."""
    norm = "full" if fields.flag("use_qk_norm", False) else "none"
    bias = fields.flag("attention_bias", False)
    return {**dense(fields, tied=True), "norms_per_layer": 1, "attention_bias": bias, "qk_norm": norm}


@family("cohere2")
def cohere2(fields: Fields) -> Keys:
    """Cohere2ForCausalLM: as Cohere, every fourth layer full."""
    keys = {**cohere(fields), "qk_norm": "none"}  # its class has no norms on queries and keys
    return {**keys, **_alternating(fields, fields.count("sliding_window_pattern", default=4), 4096)}


@family("olmo")
def olmo(fields: Fields) -> Keys:
    """OlmoForCausalLM: norms without weights."""
    return {**dense(fields), "attention_bias": fields.flag("attention_bias", False), "norm_weights": "none"}


@family("olmo2")
def olmo2(fields: Fields) -> Keys:
    """Olmo2ForCausalLM: norms after the blocks, and on all of queries and keys."""
    return {**dense(fields), "attention_bias": fields.flag("attention_bias", False), "qk_norm": "full"}


@family("olmo3")
def olmo3(fields: Fields) -> Keys:
    """Olmo3ForCausalLM: as OLMo 2, every fourth layer full."""
    return {**olmo2(fields), **_alternating(fields, 4, 4096)}


@family("glm")
def glm(fields: Fields) -> Keys:
    """GlmForCausalLM: biases on q, k and v."""
    return {**dense(fields, head_dim=128), "qkv_bias": fields.flag("attention_bias", True)}


@family("glm4")
def glm4(fields: Fields) -> Keys:
    """Glm4ForCausalLM: as GLM with four norms."""
    return {**glm(fields), "norms_per_layer": 4}


@family("smollm3")
def smollm3(fields: Fields) -> Keys:
    """SmolLM3ForCausalLM: windows, if any, in the layers without rotary positions."""
    keys = dense(fields, tied=True)
    layers, period = keys["num_layers"], fields.count("no_rope_layer_interval", default=4)
    rotary = fields.items("no_rope_layers", int, "0 and 1") or [int((i + 1) % period != 0) for i in range(layers)]
    if len(rotary) < layers:
        raise fields.wrong("no_rope_layers", rotary, f"it must have one entry for each of the {layers} layers")
    windowed = fields.flag("use_sliding_window", False)
    kinds = windows(fields, layers, lambda layer: "sliding" if windowed and not rotary[layer] else FULL)
    return {**keys, **_biases(fields), **kinds}


@family("starcoder2")
def starcoder2(fields: Fields) -> Keys:
    """Starcoder2ForCausalLM: plain GELU, biases everywhere, LayerNorm."""
    bias = fields.flag("use_bias", True)
    keys = dense(fields, tied=True, gated=False, act="gelu_pytorch_tanh")
    return {**keys, **every_layer_windowed(fields), "attention_bias": bias, "dense_bias": bias,
            "norm_weights": "scale_and_bias"}  # fmt: skip


@family("stablelm")
def stablelm(fields: Fields) -> Keys:
    """StableLmForCausalLM: LayerNorm, biases on q, k and v by a flag."""
    if fields.flag("qk_layernorm", False):
        raise fields.wrong("qk_layernorm", True, "StableLM with a norm for each head is not imported")
    norms = 1 if fields.flag("use_parallel_residual", False) else 2
    bias = fields.flag("use_qkv_bias", False)
    return {**dense(fields), "qkv_bias": bias, "norms_per_layer": norms, "norm_weights": "scale_and_bias"}


@family("nemotron")
def nemotron(fields: Fields) -> Keys:
    """NemotronForCausalLM: plain squared ReLU, LayerNorm."""
    return {**dense(fields, gated=False, act="relu2"), **_biases(fields), "norm_weights": "scale_and_bias"}


@family("arcee")
def arcee(fields: Fields) -> Keys:
    """ArceeForCausalLM: Llama with a plain squared ReLU."""
    return {**dense(fields, gated=False, act="relu2"), **_biases(fields)}


@family("seed_oss")
def seed_oss(fields: Fields) -> Keys:
    """SeedOssForCausalLM: biases on q, k and v, and by another flag on the output projection."""
    bias, out = fields.flag("attention_bias", True), fields.flag("attention_out_bias", False)
    if out and not bias:
        raise fields.wrong("attention_out_bias", True, "a bias on the output projection alone is not modelled")
    biases = {"attention_bias": out, "qkv_bias": bias, "dense_bias": fields.flag("mlp_bias", False)}
    return {**dense(fields, head_dim=128), **biases}


@family("exaone4")
def exaone4(fields: Fields) -> Keys:
    """Exaone4ForCausalLM: norms after the blocks and on queries and keys; the pattern may be letters."""
    return {**dense(fields), **local_global(fields), "qk_norm": "head"}


@family("ernie4_5")
def ernie(fields: Fields) -> Keys:
    """Ernie4_5ForCausalLM: one flag for all biases."""
    bias = fields.flag("use_bias", False)
    keys = dense(fields, tied=True, head_dim=128)
    return {**keys, "attention_bias": bias, "dense_bias": bias}


@family("hunyuan_v1_dense")
def hunyuan(fields: Fields) -> Keys:
    """HunYuanDenseV1ForCausalLM: norms on queries and keys."""
    return {**dense(fields), "attention_bias": fields.flag("attention_bias", False), "qk_norm": "head"}


def local_global(fields: Fields) -> Keys:
    """EXAONE's windows: every n-th layer full, or letters L and G that repeat, the last layer full."""
    layers = fields.count("num_hidden_layers")
    letters = fields.data.get("sliding_window_pattern", 4)
    if isinstance(letters, str):
        fields.read.add("sliding_window_pattern")
        if not letters or len(letters) > layers or set(letters) - {"L", "G"}:
            raise fields.wrong("sliding_window_pattern", letters, "it must be a whole number or letters L and G")
        chosen = letters
        return windows(
            fields, layers, lambda i: "sliding" if chosen[i % len(chosen)] == "L" and i < layers - 1 else FULL, 4096
        )
    return _alternating(fields, fields.count("sliding_window_pattern", default=4, least=0) or 1, 4096)


def _alternating(fields: Fields, period: int, window: int) -> Keys:
    """Every `period`-th layer full, the others windowed."""
    layers = fields.count("num_hidden_layers")
    return windows(fields, layers, lambda layer: "sliding" if (layer + 1) % period else FULL, window)


def _late_windows(fields: Fields) -> Keys:
    """Qwen's windows: only if switched on, and from layer `max_window_layers`."""
    layers, first = fields.count("num_hidden_layers"), fields.count("max_window_layers", default=28, least=0)
    if not fields.flag("use_sliding_window", False):
        fields.read |= {"sliding_window", "layer_types"}
        return {}
    return windows(fields, layers, lambda layer: "sliding" if layer >= first else FULL, 4096)


def _biases(fields: Fields) -> Keys:
    return {"attention_bias": fields.flag("attention_bias", False), "dense_bias": fields.flag("mlp_bias", False)}
