"""Model families by `model_type` and by class name; kinds of layers that are refused by name; the import itself."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pimjax.errors import ConfigError
from pimjax.imports.common import Keys, no_experts
from pimjax.imports.fields import Fields, short
from pimjax.imports.json_file import read_json
from pimjax.imports.quantisation import stored_formats

#: model_type -> what reads its fields
FAMILIES: dict[str, Callable[[Fields], Keys]] = {}
_MODULES = ("dense", "experts", "deepseek", "qwen", "gemma", "llama4", "hybrid")

#: model_type -> the layers that pimjax does not model
REFUSED = {
    "bailing_hybrid": "lightning attention layers",
    "bamba": "Mamba-2 layers beside Llama's, in Bamba's own form",
    "deepseek_v4": "compressed sparse attention layers and hyper-connections between residual streams",
    "falcon_h1": "layers with Mamba-2 and attention side by side",
    "falcon_mamba": "Mamba-1 layers",
    "gemma3n_text": "layers with alternating updates and per-layer embeddings",
    "gpt2": "learned position embeddings",
    "hy_v4": "sparse attention layers with hyper-connections",
    "jamba": "Mamba-1 layers",
    "jetmoe": "layers with experts inside attention",
    "kimi_linear": "Kimi delta attention layers (linear attention)",
    "lfm2": "short convolution layers",
    "lfm2_moe": "short convolution layers",
    "longcat_flash": "layers with two attentions and zero-computation experts",
    "mamba": "Mamba-1 layers",
    "mamba2": "Mamba-2 layers without attention",
    "mimo_v2_flash": "layers whose values are narrower than their keys",
    "minimax": "lightning attention layers (linear attention)",
    "minimax_m1": "lightning attention layers (linear attention)",
    "minimax_text_01": "lightning attention layers (linear attention)",
    "minimax_m3_vl_text": "block-sparse attention layers",
    "olmo_hybrid": "gated delta layers in OLMo's own form",
    "recurrent_gemma": "RG-LRU recurrent layers",
    "rwkv": "RWKV time-mixing layers",
    "zamba": "Mamba-1 layers with a shared attention block",
    "zamba2": "Mamba-2 layers with a shared attention block",
}

#: fields that change what a layer is: a family that does not read one that is set would import another model
_STRUCTURAL = {
    "attn_layer_period": "attention in some layers only",
    "block_configs": "layers of different shapes",
    "compress_ratios": "compressed attention",
    "cross_attention_layers": "cross-attention layers",
    "hc_mult": "hyper-connections",
    "hidden_size_per_layer_input": "per-layer embeddings",
    "hybrid_override_pattern": "layers of several kinds",
    "index_topk": "sparse attention with an indexer",
    "kv_lora_rank": "multi-head latent attention",
    "layers_block_type": "layers of several kinds",
    "linear_num_value_heads": "linear attention layers",
    "mamba_d_state": "Mamba layers",
    "moe_latent_size": "experts on a projection",
    "n_routed_experts": "routed experts",
    "n_shared_experts": "shared experts",
    "num_experts": "routed experts",
    "num_kv_shared_layers": "layers that share keys and values",
    "num_local_experts": "routed experts",
    "num_shared_expert": "shared experts",
    "num_shared_experts": "shared experts",
    "per_layer_config": "layers of different shapes",
    "shared_expert_intermediate_size": "shared experts",
    "shared_intermediate_size": "shared experts",
    "ssm_state_size": "Mamba layers",
    "zero_expert_num": "zero-computation experts",
}
#: names of classes without what follows "For" that are not spelled as their model_type
_CLASSES = {"hunyuanmoev1": "hunyuan_v1_moe", "hunyuandensev1": "hunyuan_v1_dense"}
_TEXT = ("text_config", "llm_config", "language_config")
_MTP = ("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers", "num_mtp_modules")


class HfModel(NamedTuple):
    """A model read from a config.json: the keys of the section `model`, and what stands beside them."""

    name: str
    family: str
    keys: dict[str, Any]
    left_out: tuple[str, ...]


def family(*model_types: str) -> Callable[[Callable[[Fields], Keys]], Callable[[Fields], Keys]]:
    """Register a function that makes the keys of a model from the fields of a config.json."""

    def register(read: Callable[[Fields], Keys]) -> Callable[[Fields], Keys]:
        for name in model_types:
            FAMILIES[name] = read
        return read

    return register


def family_names() -> list[str]:
    """The `model_type`s that are imported.

    >>> "qwen3_moe" in family_names()
    True
    """
    for module in _MODULES:
        importlib.import_module(f"pimjax.imports.families.{module}")
    return sorted(FAMILIES)


def read_hf(source: str | Path | Mapping[str, Any]) -> HfModel:
    """Read the config.json of a Hugging Face checkpoint into the keys of the section `model`.

    Args:
        source: path of a config.json, the folder that holds one, or its content.

    Raises:
        ConfigError: the file is none, a field is missing or wrong, the family is unknown, or it has layers that are
            not modelled; one sentence that names the field or the kind of layer.

    >>> tiny = {"model_type": "mixtral", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
    ...         "intermediate_size": 16, "vocab_size": 32, "num_local_experts": 4, "num_experts_per_tok": 2}
    >>> read_hf(tiny).keys["num_experts"]
    4
    """
    if isinstance(source, Mapping):
        data, where = source, "config.json"
    else:
        path = Path(source)
        data, where = read_json(path), str(path)
    outer = Fields(data, where)
    inner, parts = _text_model(outer)
    name = _family_of(inner, outer)
    keys = no_experts(FAMILIES[name](inner))
    for field, plain in _STRUCTURAL.items():
        value = inner.data.get(field)
        if value not in (None, False, 0, [], {}, "") and field not in inner.read:
            raise ConfigError(
                f"{where}: {field} is {short(value)}, which stands for {plain}; models of type {name!r} are imported "
                "without it: describe this model in YAML"
            )
    formats, notes = stored_formats(inner, outer)
    keys |= formats
    layers = max((inner.count(field, default=0, least=0) for field in _MTP if field in inner.data), default=0)
    if layers:
        parts.append(f"{layers} multi-token prediction (MTP) layer{'s' if layers > 1 else ''}")
    classes = outer.items("architectures", str, "names of classes") or []
    title = _title(inner, outer)
    keys["source"] = f"config.json of {title}" + (f" ({short(classes[0])[1:-1]})" if classes else "")
    keys["left_out"] = tuple(parts + notes)
    return HfModel(title, name, keys, keys["left_out"])


def _text_model(outer: Fields) -> tuple[Fields, list[str]]:
    """The fields of the text model, and the towers beside it."""
    names = [name for name in _TEXT if isinstance(outer.data.get(name), dict)]
    towers = [
        key.removesuffix("_config")
        for key, value in outer.data.items()
        if isinstance(key, str) and key.endswith("_config") and isinstance(value, dict)
        and key not in (*_TEXT, "quantization_config", "generation_config")
    ]  # fmt: skip
    parts = [f"the {short(tower)[1:-1].replace('_', ' ')} tower" for tower in sorted(towers)[:8] if _is_tower(tower)]
    if not names:
        return outer, parts
    text = dict(outer.data[names[0]])
    if "model_type" not in text and isinstance(outer.data.get("model_type"), str):
        text["model_type"] = outer.data["model_type"] + "_text"
    if text.get("tie_word_embeddings") is None and "tie_word_embeddings" in outer.data:
        text["tie_word_embeddings"] = outer.data["tie_word_embeddings"]
    return Fields(text, f"{outer.where}: {names[0]}"), parts


def _is_tower(name: str) -> bool:
    return any(word in name for word in ("vision", "audio", "speech", "image", "video", "projector", "vq"))


def _family_of(inner: Fields, outer: Fields) -> str:
    """The model_type, or where it is unknown the one that the class's name spells."""
    known = family_names()
    word = inner.word("model_type", default="")
    candidates = [word, word.removesuffix("_text")]
    classes = (
        inner.items("architectures", str, "names of classes")
        or outer.items("architectures", str, "names of classes")
        or []
    )
    spelled = {re.sub("[^a-z0-9]", "", name): name for name in (*REFUSED, *known)} | _CLASSES
    for name in classes[:1]:
        plain = re.sub(r"(ForCausalLM|ForConditionalGeneration|LMHeadModel|Model)$", "", name[:200]).lower()
        candidates.append(spelled.get(re.sub("[^a-z0-9]", "", plain), ""))
    for name in candidates:
        if name in REFUSED:
            raise ConfigError(
                f"{outer.where}: model_type {name!r} has {REFUSED[name]}, which pimjax does not model; it imports the "
                "text models of other families only"
            )
        if name in known:
            return name
    close = difflib.get_close_matches(word[:60], known, 3)
    raise ConfigError(
        f"{outer.where}: model_type {short(word)} is no family that pimjax imports"
        + (f"; the closest are {', '.join(close)}" if close else "")
        + f"; imported are {len(known)} families (pimjax.imports.family_names()); describe this model in YAML"
    )


def _title(inner: Fields, outer: Fields) -> str:
    for fields in (outer, inner):
        name = fields.data.get("_name_or_path")
        if isinstance(name, str) and name and name.isprintable():
            return name[:80]
    word = inner.data.get("model_type")
    return word[:80] if isinstance(word, str) and word.isprintable() else "a model"
