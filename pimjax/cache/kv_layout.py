"""Bytes per token and layer of a key-value cache: grouped-query and multi-head latent attention."""

from __future__ import annotations

from typing import Any

from pimjax import checks
from pimjax.array_typing import AnyArray, ArrayLike
from pimjax.arrays import where
from pimjax.config.model import ATTENTION_KINDS
from pimjax.errors import ConfigError

_MLA = ATTENTION_KINDS.index("mla")


def gqa_token_bytes(
    num_kv_heads: ArrayLike, head_dim: ArrayLike, kv_bytes: ArrayLike = 1, scale_bytes: ArrayLike = 0
) -> ArrayLike:
    """Grouped-query attention: ``2 kv_heads (head_dim b_kv + scale_bytes)`` bytes; multi-head is kv_heads = heads.

    `scale_bytes` is 2 for :func:`pimjax.cache.quantisation.quantise_rows` (one float16 scale per head and token).

    >>> float(gqa_token_bytes(8, 128))
    2048.0
    """
    return 2.0 * num_kv_heads * (1.0 * head_dim * kv_bytes + scale_bytes)


def mla_token_bytes(
    kv_lora_rank: ArrayLike, rope_head_dim: ArrayLike, kv_bytes: ArrayLike = 1, scale_bytes: ArrayLike = 0
) -> ArrayLike:
    """Multi-head latent attention (arXiv 2405.04434): ``(kv_rank + rope_dim) b_kv`` bytes, shared by all heads.

    `scale_bytes` counts once for the latent vector and once for the rotary key.

    >>> float(mla_token_bytes(512, 64, 2))
    1152.0
    """
    return (1.0 * kv_lora_rank + rope_head_dim) * kv_bytes + 2.0 * scale_bytes


@checks.checked(
    ConfigError,
    model=checks.having(
        "num_kv_heads", "head_dim", "kv_lora_rank", "rope_head_dim", "attention", meaning="the model of a built design"
    ),
    workload=checks.having("kv_bytes", meaning="the workload of a built design"),
)
def kv_token_bytes(model: Any, workload: Any) -> AnyArray:
    """Bytes per token and layer of a built design (``design.model``, ``design.workload``); float, data throughout.

    The authors' ``2 L d`` per step is ``num_kv_heads head_dim = d`` at one byte.
    """
    gqa = gqa_token_bytes(model.num_kv_heads, model.head_dim, workload.kv_bytes)
    mla = mla_token_bytes(model.kv_lora_rank, model.rope_head_dim, workload.kv_bytes)
    return where(model.attention == _MLA, mla, gqa)


__all__ = ["gqa_token_bytes", "kv_token_bytes", "mla_token_bytes"]
