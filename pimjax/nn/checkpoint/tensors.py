"""Which tensor of a checkpoint is which matrix: the weights of one layer, checked, as float32 arrays.

Names are those that the families' own checkpoints have and that transformers 5.24 saves; experts stored as one tensor
(`experts.gate_up_proj`), as transformers holds them in memory, are read too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.config.model import ModelConfig
from pimjax.errors import CheckpointError, shown
from pimjax.nn.checkpoint.folder import CheckpointFolder
from pimjax.nn.checkpoint.packed import from_block_scaled, from_mxfp4
from pimjax.nn.decoder.architecture import Architecture

#: our name -> tensor of a layer, without "model.layers.N."
_ATTENTION = {
    "attention_norm": "input_layernorm", "feed_forward_norm": "post_attention_layernorm",
    "query": "self_attn.q_proj", "key": "self_attn.k_proj", "value": "self_attn.v_proj",
    "attention_output": "self_attn.o_proj", "query_norm": "self_attn.q_norm", "key_norm": "self_attn.k_norm",
    "query_down": "self_attn.q_a_proj", "query_down_norm": "self_attn.q_a_layernorm", "query_up": "self_attn.q_b_proj",
    "latent_down": "self_attn.kv_a_proj_with_mqa", "latent_norm": "self_attn.kv_a_layernorm",
    "latent_up": "self_attn.kv_b_proj",
}  # fmt: skip
_BLOCK = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}
_ROUTER = {"mixtral": "block_sparse_moe.gate", "gpt_oss": "mlp.router"}
_EXPERTS = {"mixtral": "block_sparse_moe.experts"}
_EXPERT = {"mixtral": {"gate": "w1", "up": "w3", "down": "w2"}}
#: tensors that are not weights of the text model's layers
_IGNORED = re.compile(r"rotary_emb\.inv_freq$")
_LAYER = re.compile(r"model\.layers\.(\d+)\.")


def check_complete(folder: CheckpointFolder, architecture: Architecture) -> None:
    """Raise unless the folder's tensors are exactly those of the decoder: nothing is left out in silence.

    Layers behind the last one (multi-token prediction) are not part of the text model.
    """
    wanted = set()
    for layer in range(architecture.model.num_layers):
        for names in layer_sources(folder, architecture, layer).values():
            wanted.update(names)
    wanted.update(outside_sources(folder, architecture).values())
    lacking = [name for name in sorted(wanted) if name not in folder]
    if lacking:
        raise CheckpointError(f"{folder.path}: lacks the tensor {shown(lacking[0])}, which its config.json asks for")
    for name in folder:
        found = _LAYER.match(name)
        later = found is not None and int(found[1]) >= architecture.model.num_layers
        if name not in wanted and not later and not _IGNORED.search(name) and not _tied(name, architecture):
            raise CheckpointError(
                f"{folder.path}: holds the tensor {shown(name)}, which a model of type {architecture.family!r} with this "
                "config.json does not have; it would be left out of every result"
            )


def _tied(name: str, architecture: Architecture) -> bool:
    return name == "lm_head.weight" and architecture.model.tied_embeddings


def outside_sources(folder: CheckpointFolder, architecture: Architecture) -> dict[str, str]:
    """Our name -> tensor, of what lies outside the layers."""
    sources = {"embedding": "model.embed_tokens.weight", "final_norm": "model.norm.weight"}
    return sources if architecture.model.tied_embeddings else {**sources, "output": "lm_head.weight"}


def layer_sources(folder: CheckpointFolder, architecture: Architecture, layer: int) -> dict[str, tuple[str, ...]]:
    """Our name -> the tensors it is made of (one for each expert, blocks and scales, or one)."""
    shape, model, family = architecture.shapes[layer], architecture.model, architecture.family
    start = f"model.layers.{layer}."
    names = _attention_names(model)
    sources = {name: _scaled(folder, f"{start}{_ATTENTION[name]}.weight") for name in names}
    for name in names:
        if _has_bias(model, name):
            sources[f"{name}_bias"] = (f"{start}{_ATTENTION[name]}.bias",)
    if model.attention_sinks:
        sources["sinks"] = (f"{start}self_attn.sinks",)
    if not shape.num_experts:
        return {**sources, **_block(folder, f"{start}mlp.", "dense", model.dense_bias)}
    router = start + _ROUTER.get(family, "mlp.gate")
    sources["router"] = (f"{router}.weight",)
    if model.router_bias:
        sources["router_bias"] = (f"{router}.bias",)
    if model.router_correction != "none":
        sources["router_correction"] = (f"{router}.e_score_correction_bias",)
    if model.shared_width:
        sources |= _block(folder, f"{start}mlp.shared_experts.", "shared", model.dense_bias)
    return {**sources, **_expert_sources(folder, family, start, shape.num_experts, model.expert_bias)}


def _attention_names(model: ModelConfig) -> list[str]:
    names = ["attention_norm", "feed_forward_norm", "attention_output"]
    if model.attention == "mla":
        names += ["query_down", "query_down_norm", "query_up"] if model.q_lora_rank else ["query"]
        return [*names, "latent_down", "latent_norm", "latent_up"]
    return [*names, "query", "key", "value", *(["query_norm", "key_norm"] if model.qk_norm != "none" else [])]


def _has_bias(model: ModelConfig, name: str) -> bool:
    if not model.attention_bias:
        return False
    latent = ("query_down", "latent_down", "attention_output")
    return name in (latent if model.attention == "mla" else ("query", "key", "value", "attention_output"))


def _scaled(folder: CheckpointFolder, name: str) -> tuple[str, ...]:
    scales = f"{name}_scale_inv"
    return (name, scales) if scales in folder else (name,)


def _block(folder: CheckpointFolder, start: str, prefix: str, bias: bool) -> dict[str, tuple[str, ...]]:
    sources = {f"{prefix}_{name}": _scaled(folder, f"{start}{stored}.weight") for name, stored in _BLOCK.items()}
    return {
        **sources,
        **({f"{prefix}_{name}_bias": (f"{start}{stored}.bias",) for name, stored in _BLOCK.items()} if bias else {}),
    }


def _expert_sources(
    folder: CheckpointFolder, family: str, start: str, experts: int, bias: bool
) -> dict[str, tuple[str, ...]]:
    where = start + _EXPERTS.get(family, "mlp.experts")
    fused = next(
        (
            one
            for one in (where, f"{start}mlp.experts")
            if any(f"{one}.gate_up_proj{end}" in folder for end in ("", "_blocks"))
        ),
        None,
    )
    if fused is not None:
        sources = {}
        for name, stored in (("gate_up", "gate_up_proj"), ("down", "down_proj")):
            packed = f"{fused}.{stored}_blocks" in folder
            sources[name] = (
                tuple(f"{fused}.{stored}_{part}" for part in ("blocks", "scales")) if packed else (f"{fused}.{stored}",)
            )
            if bias:
                sources[f"{name}_bias"] = (f"{fused}.{stored}_bias",)
        return sources
    stored = _EXPERT.get(family, _BLOCK)
    return {
        name: tuple(
            part for expert in range(experts) for part in _scaled(folder, f"{where}.{expert}.{stored[name]}.weight")
        )
        for name in _BLOCK
    }


# --- arrays -----------------------------------------------------------------------------------------------------


def outside_arrays(folder: CheckpointFolder, architecture: Architecture) -> dict[str, HostArray]:
    """Embedding, last norm and output embedding as float32."""
    model = architecture.model
    shapes = {
        "embedding": (model.vocab_size, model.d_model),
        "final_norm": (model.d_model,),
        "output": (model.vocab_size, model.d_model),
    }
    return {
        name: _checked(folder, stored, _plain(folder, (stored,)), shapes[name])
        for name, stored in outside_sources(folder, architecture).items()
    }


def layer_arrays(folder: CheckpointFolder, architecture: Architecture, layer: int) -> dict[str, HostArray]:
    """All weights of one layer as float32 by name (:class:`~pimjax.nn.decoder.weights.LayerWeights`).

    Raises:
        CheckpointError: a tensor is missing, has another shape than config.json says, or is stored in a way that is
            not read.
    """
    sources = layer_sources(folder, architecture, layer)
    shapes = layer_array_shapes(architecture, layer)
    arrays: dict[str, HostArray] = {}
    transposed = architecture.family == "gpt_oss"
    for name, stored in sources.items():
        if name in ("gate_up", "gate_up_bias"):
            gate, up = _apart(_expert_tensor(folder, stored, name, transposed), interleaved=transposed)
            ending = name.removeprefix("gate_up")
            arrays[f"gate{ending}"], arrays[f"up{ending}"] = gate, up
        elif name in ("down", "down_bias") and (len(stored) == 1 or stored[0].endswith("_blocks")):
            arrays[name] = _expert_tensor(folder, stored, name, transposed)
        elif name in ("gate", "up", "down"):
            arrays[name] = _stacked(folder, stored, shapes[name])
        else:
            arrays[name] = _plain(folder, stored)
    for name, array in arrays.items():
        _checked(folder, f"model.layers.{layer} ({name})", array, shapes[name])
    return arrays


def layer_array_shapes(architecture: Architecture, layer: int) -> dict[str, tuple[int, ...]]:
    """The shape that config.json gives every array of a layer (also of those that it may lack)."""
    shape, model = architecture.shapes[layer], architecture.model
    width, heads = model.d_model, shape.num_heads
    query, key = heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    latent = model.attention == "mla"
    per_head = model.qk_norm == "head"
    matrices: dict[str, tuple[int, ...]] = {
        "query": (query, width), "key": (key, width), "value": (key, width),
        "attention_output": (width, heads * shape.value_dim),
        "query_down": (model.q_lora_rank, width), "query_up": (query, model.q_lora_rank),
        "latent_down": (model.kv_lora_rank + shape.rope_dim, width) if latent else (0, 0),
        "latent_up": (heads * (shape.nope_dim + shape.value_dim), model.kv_lora_rank),
        "router": (model.num_experts, width),
    }  # fmt: skip
    for prefix, hidden in (("dense_", model.dense_width), ("shared_", model.shared_width), ("", model.d_ff)):
        lead = () if prefix else (model.num_experts,)
        for name in ("gate", "up", "down"):
            matrices[prefix + name] = (*lead, width, hidden) if name == "down" else (*lead, hidden, width)
    biases = {f"{name}_bias": sizes[:-1] for name, sizes in matrices.items()}
    vectors = {
        "attention_norm": (width,), "feed_forward_norm": (width,), "sinks": (heads,),
        "query_norm": (shape.head_dim if per_head else query,), "key_norm": (shape.head_dim if per_head else key,),
        "query_down_norm": (model.q_lora_rank,), "latent_norm": (model.kv_lora_rank,),
        "router_correction": (model.num_experts,),
    }  # fmt: skip
    return {**matrices, **biases, **vectors}


def _plain(folder: CheckpointFolder, stored: Sequence[str]) -> HostArray:
    array = folder.array(stored[0])
    if len(stored) == 2:
        return from_block_scaled(array, folder.array(stored[1]), _block_size(folder.config), stored[0])
    if array.dtype.kind in "iub" or array.dtype.itemsize == 1:
        raise CheckpointError(
            f"{folder.path}: {shown(stored[0])} is stored as {array.dtype} without scales that are read; save the model in "
            "bfloat16 or float32"
        )
    return array.astype(np.float32)


def _block_size(config: Mapping[str, object]) -> tuple[int, int]:
    settings = config.get("quantization_config")
    size = settings.get("weight_block_size") if isinstance(settings, dict) else None
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(one, int) and one > 0 for one in size):
        raise CheckpointError(
            f"config.json: quantization_config.weight_block_size is {shown(size)}; weights with scales need two whole numbers"
        )
    return size[0], size[1]


def _stacked(folder: CheckpointFolder, stored: Sequence[str], shape: tuple[int, ...]) -> HostArray:
    """The matrices of all experts, read one by one into one array."""
    parts = len(stored) // shape[0]
    made = np.empty(shape, np.float32)
    for expert in range(shape[0]):
        own = stored[expert * parts : (expert + 1) * parts]
        made[expert] = _checked(folder, own[0], _plain(folder, own), shape[1:])
    return made


def _expert_tensor(folder: CheckpointFolder, stored: Sequence[str], name: str, transposed: bool) -> HostArray:
    """All experts in one tensor, as [E, out, in]; gpt-oss stores [E, in, out], its MXFP4 blocks [E, out, blocks of in]."""
    if len(stored) == 2:
        return from_mxfp4(folder.array(stored[0]), folder.array(stored[1]), stored[0])
    array = _plain(folder, stored)
    if transposed and not name.endswith("_bias") and array.ndim == 3:
        return np.swapaxes(array, 1, 2)
    return array


def _apart(both: HostArray, *, interleaved: bool) -> tuple[HostArray, HostArray]:
    """Gate and up from one tensor [E, 2 f, ..]: rows in turn (gpt-oss), or one half behind the other."""
    if interleaved:
        return both[:, ::2], both[:, 1::2]
    half = both.shape[1] // 2
    return both[:, :half], both[:, half:]


def _checked(folder: CheckpointFolder, name: str, array: HostArray, shape: tuple[int, ...]) -> HostArray:
    if array.shape != shape:
        raise CheckpointError(
            f"{folder.path}: {name} has shape {list(array.shape)}, but config.json says {list(shape)}"
        )
    return array
