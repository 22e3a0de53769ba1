"""`quantization_config` and `dtype`: the formats a checkpoint's weights are stored in."""

from __future__ import annotations

import re
from typing import Any

from pimjax.imports.fields import Fields, short

_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "float": "fp32"}
_BY_BITS = {4: "int4", 8: "int8"}


def stored_formats(fields: Fields, outer: Fields) -> tuple[dict[str, Any], list[str]]:
    """Keys for the formats of stored weights, and a note where the file names a method that is not known."""
    word = fields.word("dtype", "torch_dtype", default=None) or outer.word("dtype", "torch_dtype", default=None)
    keys: dict[str, Any] = {"weight_format": _DTYPES.get((word or "bfloat16").removeprefix("torch."), "bf16")}
    notes = []
    if word and word.removeprefix("torch.") not in _DTYPES:
        notes.append(f"dtype {short(word)} is not known: bf16 is taken")
    settings = fields.mapping("quantization_config") or outer.mapping("quantization_config")
    if settings is None:
        return keys, notes
    inner = Fields(settings, f"{fields.where}: quantization_config")
    quantised = _format(inner)
    if quantised is None:
        notes.append(
            f"quantization_config of method {short(settings.get('quant_method'))} is not known: "
            f"{keys['weight_format']} is taken for all weights"
        )
        return keys, notes
    experts_only = quantised == "mxfp4" or _skips(inner, "self_attn", "attention", "attn")
    if not experts_only:
        keys["linear_format"] = quantised
    if not _skips(inner, "experts", but=("shared_expert",)):
        keys["expert_format"] = quantised
    return keys, notes


def _format(settings: Fields) -> str | None:
    method = settings.word("quant_method", default="").lower().replace("-", "_")
    if method in ("fp8", "fbgemm_fp8", "finegrained_fp8"):
        return "fp8"
    if method in ("mxfp4", "mxfp8"):
        return method
    if method in ("gptq", "awq", "autoround", "auto_round", "intel/auto_round"):
        return _BY_BITS.get(settings.count("bits", "w_bit", default=4))
    if method == "bitsandbytes":
        return "nf4" if settings.flag("load_in_4bit", False) else "int8"
    if method == "modelopt":
        word = settings.word("quant_algo", default="").lower()
        return next((kind for kind in ("nvfp4", "mxfp8", "fp8") if kind in word), None)
    if method == "compressed_tensors":
        return _compressed(settings)
    return None


def _compressed(settings: Fields) -> str | None:
    """compressed-tensors: the weights of the first group, which is the only one in the checkpoints known."""
    groups = settings.mapping("config_groups") or {}
    group = next(iter(groups.values()), None)
    weights = Fields(group, settings.where).mapping("weights") if isinstance(group, dict) else None
    if weights is None:
        return None
    inner = Fields(weights, settings.where)
    bits, kind = inner.count("num_bits", default=8), inner.word("type", default="int")
    if kind == "float":
        return {4: "nvfp4", 8: "fp8"}.get(bits)
    return _BY_BITS.get(bits)


def _skips(settings: Fields, *words: str, but: tuple[str, ...] = ()) -> bool:
    """Whether the list of layers left as they were names layers of this kind."""
    for key in ("modules_to_not_convert", "ignore", "ignored_layers"):
        for name in settings.items(key, str, "names of modules") or ():
            plain = re.sub(r"[^a-z0-9_.]", "", name.lower()[:200])
            parts = set(plain.split("."))
            if any(word in parts for word in words) and not any(other in plain for other in but):
                return True
    return False
