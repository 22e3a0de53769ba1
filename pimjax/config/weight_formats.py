"""How many bytes a checkpoint's weights take: GPUs and memories hold them as they are stored."""

from __future__ import annotations

from typing import NamedTuple

from pimjax.config.model import ModelConfig
from pimjax.config.parameters import parameter_table

#: bits per weight with its share of a scale. fp8: one float32 per block of 128 x 128 (DeepSeek-V3, arXiv 2412.19437);
#: mxfp8 and mxfp4: 8 bits per 32 weights (OCP Microscaling 1.0); nvfp4: 8 bits per 16 weights (NVIDIA); int4 and nf4:
#: 16 bits per 128 and per 64 weights (GPTQ's and bitsandbytes' defaults); int8: one scale per row, not counted.
WEIGHT_BITS = {
    "fp32": 32.0,
    "bf16": 16.0,
    "fp16": 16.0,
    "fp8": 8 + 32 / 128**2,
    "int8": 8.0,
    "mxfp8": 8 + 8 / 32,
    "mxfp4": 4 + 8 / 32,
    "nvfp4": 4 + 8 / 16,
    "int4": 4 + 16 / 128,
    "nf4": 4 + 16 / 64,
}
_LINEAR = ("attention", "dense feed-forward", "shared experts")


class StoredFormats(NamedTuple):
    """Formats of embeddings, norms and routers; of linear layers; of routed experts."""

    plain: str
    linear: str
    expert: str


def stored_formats(model: ModelConfig) -> StoredFormats:
    """The formats a model's weights are stored in.

    >>> stored_formats(ModelConfig(expert_format="mxfp4"))
    StoredFormats(plain='bf16', linear='bf16', expert='mxfp4')
    """
    linear = model.linear_format or model.weight_format
    return StoredFormats(model.weight_format, linear, model.expert_format or linear)


def checkpoint_bytes(model: ModelConfig) -> float:
    """Bytes of all weights as they are stored, scales included (biases and inner norms in their matrices' format).

    >>> checkpoint_bytes(ModelConfig(d_model=8, d_ff=4, vocab_size=10, num_experts=2, top_k=1, num_heads=2))
    1168.0
    """
    formats = stored_formats(model)
    total = 0.0
    for name, part in parameter_table(model).items():
        kind = formats.expert if name == "routed experts" else formats.linear if name in _LINEAR else formats.plain
        total += part.total * WEIGHT_BITS[kind] / 8
    return total
