"""The traced twin of a model: the numbers that kernels read."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import struct

from pimjax.array_typing import HostArray
from pimjax.config.mixers import mixer_table
from pimjax.config.model import ACTIVATION_LAWS, ACTIVATIONS, ATTENTION_KINDS, ROUTING_KINDS, ModelConfig


@struct.dataclass
class Model:
    """Traced twin of :class:`ModelConfig`: integers; kinds as indices into the tuples of :mod:`pimjax.config.model`."""

    d_model: jax.Array
    d_ff: jax.Array
    vocab_size: jax.Array
    num_layers: jax.Array
    num_blocks: jax.Array  # of a mixer and what feeds forward behind it; the layers, but for single-block layers
    num_moe_layers: jax.Array
    num_dense_layers: jax.Array  # blocks with a feed-forward part without experts
    last_layer_is_moe: jax.Array  # bool
    num_experts: jax.Array
    top_k: jax.Array
    activation: jax.Array  # index into ACTIVATIONS
    activation_steps: jax.Array  # 2 where a ReLU is squared
    routing: jax.Array  # index into ROUTING_KINDS
    attention: jax.Array  # index into ATTENTION_KINDS
    num_heads: jax.Array
    num_kv_heads: jax.Array
    head_dim: jax.Array
    kv_lora_rank: jax.Array
    q_lora_rank: jax.Array
    rope_head_dim: jax.Array
    nope_head_dim: jax.Array
    v_head_dim: jax.Array
    sliding_window: jax.Array
    num_shared_experts: jax.Array
    shared_width: jax.Array  # hidden width of the one shared block; 0: none
    shared_gate: jax.Array  # bool
    dense_d_ff: jax.Array
    post_norms: jax.Array  # norms of what attention adds to the residual, and of what feeds forward: 0 or 1 each
    moe_norms: jax.Array
    tied_embeddings: jax.Array
    mixers: jax.Array  # [M, F] fields of Mixer, and last the blocks that have it


def traced_model(model: ModelConfig, rows: int | None = None) -> Model:
    """The arrays that kernels read: NumPy int32 and bool scalars, and the table of mixers.

    Args:
        model: the model.
        rows: rows of the table of mixers, padded with zeros; None: as many as the model has.

    >>> int(traced_model(ModelConfig(num_shared_experts=2, d_ff=8)).shared_width)
    16
    """
    table = mixer_table(model)
    numbers: dict[str, Any] = {
        "num_blocks": len(table.of_block),
        "num_dense_layers": sum(table.has_feed_forward) - sum(table.is_moe),
        "activation": ACTIVATIONS.index(ACTIVATION_LAWS[model.activation]),
        "activation_steps": 2 if model.activation == "relu2" else 1,
        "routing": ROUTING_KINDS.index(model.routing),
        "attention": ATTENTION_KINDS.index(model.attention),
        "num_kv_heads": model.kv_heads,
        "head_dim": model.head_width,
        "dense_d_ff": model.dense_width,
        "post_norms": int(model.norms_per_layer > 2),
        "mixers": mixer_rows(model, rows),
    }
    flags: dict[str, Any] = {
        "last_layer_is_moe": model.is_moe_layer(model.num_layers - 1),
        "tied_embeddings": model.tied_embeddings,
        "shared_gate": model.shared_gate and model.shared_width > 0,
    }
    # The other leaves hold what the field or property of the same name says.
    others = {name: getattr(model, name) for name in Model.__dataclass_fields__ if name not in numbers | flags}
    whole: dict[str, Any] = {name: np.asarray(value, np.int32) for name, value in (numbers | others).items()}
    flags = {name: np.asarray(value, np.bool_) for name, value in flags.items()}
    return Model(**whole, **flags)


def mixer_rows(model: ModelConfig, rows: int | None = None) -> HostArray:
    """int `[M, F]`: the different mixers of a model with the number of blocks that have each; see :func:`traced_model`.

    >>> made = mixer_rows(ModelConfig(num_layers=3), rows=2)
    >>> made.shape[0], made[:, -1].tolist()
    (2, [3, 0])
    """
    table = mixer_table(model)
    found = np.array([[*row, count] for row, count in zip(table.rows, table.counts(), strict=True)], np.int64)
    return padded_mixers(found, rows or len(found))


def padded_mixers(table: HostArray, rows: int) -> HostArray:
    """A table `[..., M, F]` with rows of zeros up to `rows`."""
    more = max(0, rows - table.shape[-2])
    return np.pad(table, [(0, 0)] * (table.ndim - 2) + [(0, more), (0, 0)])
