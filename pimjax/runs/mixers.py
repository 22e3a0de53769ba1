"""Mixers of a design point: what each kind of attention, or of recurrent state, asks of a chip and of the caches.

All numbers are scalars where a model has one kind, else one for each kind, `[M]`; :func:`of_layers` gives them to the
layers. Rows come from :mod:`pimjax.config.mixers`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from pimjax import arrays
from pimjax.array_typing import AnyArray
from pimjax.arrays import where
from pimjax.cache.kv_layout import gqa_token_bytes, mla_token_bytes
from pimjax.config.mixers import Mixer
from pimjax.runs.point import Point


class Mixers(NamedTuple):
    """Kinds of mixers; scalars or `[M]`."""

    blocks: AnyArray  # how many have it
    is_state: AnyArray  # bool
    head_dim: AnyArray
    kv_heads: AnyArray
    projections: AnyArray  # key and value matrices: 2, or 1 where keys are values
    further: tuple[AnyArray, AnyArray, AnyArray]  # outputs of further matrices on the layer's input
    expanded: AnyArray  # outputs of a further matrix on the compressed queries
    mixed: AnyArray  # state: what the output projection reads
    is_gated: AnyArray  # 1: a gate as wide as the query
    heads: AnyArray  # dealt to the attention units
    width: AnyArray  # channels of a (query, key) pair
    window: AnyArray  # 0: none
    is_chunked: AnyArray  # bool
    keeps_all: AnyArray  # bool
    index_heads: AnyArray
    index_width: AnyArray  # channels of a pair of the indexer
    products: AnyArray  # multiplications of one token beside those of its pairs
    token_bytes: AnyArray  # cached for every token
    index_bytes: AnyArray  # the same, of the indexer
    read_bytes: AnyArray  # of a state and of the inputs its convolution keeps, read for every token
    written_bytes: AnyArray  # of them written for every token


def mixers(point: Point) -> Mixers:
    """The mixers of a point; computed once for each point by `point.once(mixers)`."""
    model, kv_bytes = point.model, point.workload.kv_bytes
    table = model.mixers
    rows = arrays.pick(table, 0) if np.shape(table)[0] == 1 else table.T
    row: Any = Mixer(*(arrays.pick(rows, index) for index in range(len(Mixer._fields))))
    is_state = row.is_state > 0
    head_dim = where(row.head_dim > 0, row.head_dim, model.head_dim)
    kv_heads = where(row.kv_heads > 0, row.kv_heads, model.num_kv_heads)
    width = where(is_state, 0.0, model.num_heads * head_dim)
    token = where(
        point.is_mla,
        mla_token_bytes(model.kv_lora_rank, model.rope_head_dim, kv_bytes),
        gqa_token_bytes(kv_heads, head_dim, kv_bytes),
    )
    return Mixers(
        blocks=arrays.pick(rows, len(Mixer._fields)),
        is_state=is_state,
        head_dim=head_dim,
        kv_heads=kv_heads,
        projections=2.0 - row.one_projection,
        further=(row.first, row.second, row.third),
        expanded=row.expanded,
        mixed=row.mixed,
        is_gated=row.is_gated,
        heads=where(is_state, row.heads, model.num_heads),
        width=width,
        window=where(row.is_sliding > 0, model.sliding_window, row.window),
        is_chunked=row.is_chunked > 0,
        keeps_all=row.keeps_all > 0,
        index_heads=row.index_heads,
        index_width=row.index_heads * row.index_dim,
        products=row.products + row.is_gated * width,
        token_bytes=where(is_state, 0.0, token),
        index_bytes=row.index_dim * kv_bytes,
        read_bytes=(row.state_values + row.held_values) * kv_bytes,
        written_bytes=(row.state_values + row.new_values) * kv_bytes,
    )


def of_layers(point: Point, mixer: Any) -> Mixers:
    """The mixer of each layer. `mixer`: whole numbers of any shape, rows of the table."""
    return jax.tree.map(lambda values: arrays.chosen(values, mixer), point.once(mixers))


def over_blocks(point: Point, values: Any) -> Any:
    """Sum over the blocks of a model of what each kind of mixer has."""
    blocks = point.once(mixers).blocks
    return blocks * values if np.ndim(blocks) == 0 else (blocks * values).sum()
