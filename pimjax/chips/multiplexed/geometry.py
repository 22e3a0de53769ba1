"""Where weights lie: crossbar blocks of every linear layer, and crossbars of the whole chip.

A linear layer of `rows -> cols` values is cut into `ceil(rows/R) x ceil(cols/C)` blocks; each block has
`weight_slices` crossbars. A *strip* is one column of blocks: its partial sums are added to one result.
Fractions of a block count as a block; the gradient of that rounding is straight-through (:mod:`pimjax.arrays`).
All linear layers are computed at once, as arrays over :data:`LINEARS`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax import arrays
from pimjax.array_typing import Array
from pimjax.arrays import blocks, pick, where
from pimjax.chips.multiplexed.point import Point, point_of
from pimjax.config.build import Design

#: Linear layers of the model; the last axis of every array over them.
LINEARS = (
    "qkv",  # first linears after the norm: q, k, v; MLA: compressed queries, keys and values
    "expand",  # MLA only: from the compressed to the full width (zeros otherwise)
    "output",  # attention output
    "router",
    "head",  # output embedding
    "dense_up",  # feed-forward block of layers without experts
    "dense_down",
    "shared_up",  # shared experts, all together
    "shared_down",
    "expert_up",  # up, and gate where there is one
    "expert_down",
)
LINEAR_INDEX = {name: index for index, name in enumerate(LINEARS)}


class Linear(NamedTuple):
    """One linear layer (or several that share their input) on crossbars: scalars; or all of them: `[LINEARS]`."""

    rows: Array  # row blocks that one result sums over (the most, where parts differ)
    strips: Array  # column blocks, all parts together
    tiles: Array  # crossbars, slices included
    adds: Array  # additions of one strip's width per token: sum over strips of (row blocks - 1)
    weights: Array  # weights in use


class Geometry(NamedTuple):
    """Blocks of every linear layer of the model; each is also there by its name: `shape.expert_up.tiles`."""

    linears: Linear  # [LINEARS]
    embedding_tiles: Array  # crossbars of the embedding tables, 0 if looked up in DRAM
    embedding_strips: Array  # crossbars one token reads
    moe_tiles: Array  # crossbars of all routed experts and copies, all layers
    dense_tiles: Array  # every other crossbar

    def __getattr__(self, name: str) -> Any:
        if name not in LINEAR_INDEX:
            raise AttributeError(name)
        return Linear(*(pick(values, LINEAR_INDEX[name]) for values in self.linears))

    @property
    def expert_tiles(self) -> Array:
        """B: crossbars of one expert."""
        return pick(self.linears.tiles, LINEAR_INDEX["expert_up"]) + pick(
            self.linears.tiles, LINEAR_INDEX["expert_down"]
        )


def geometry(design: Design | Point) -> Geometry:
    """Blocks and crossbars of a design. Kernel: pure, unbatched.

    >>> from pimjax.config.build import build
    >>> from pimjax.config.config import Config
    >>> made = geometry(build(Config())[0])
    >>> float(made.expert_tiles), float(made.expert_up.tiles)
    (96.0, 48.0)
    """
    point = point_of(design)
    hardware, model, workload = point.hardware, point.model, point.workload
    rows, cols, slices = hardware.crossbar_rows, hardware.crossbar_cols, hardware.weight_slices
    linears = _linears(point)

    across = blocks(model.d_model, cols) * slices
    positions = workload.prompt_tokens + workload.generated_tokens
    table = (blocks(model.vocab_size, rows) + blocks(positions, rows)) * across
    table = where(point.looks_up, 0.0, table)
    members = model.num_experts + point.plan.copies
    moe_layers, layers = model.num_moe_layers, model.num_layers
    one = point.real(1.0)
    per_expert = moe_layers * members
    counts = {
        **dict.fromkeys(("qkv", "expand", "output"), layers),
        **dict.fromkeys(("router", "shared_up", "shared_down"), moe_layers),
        **dict.fromkeys(("dense_up", "dense_down"), layers - moe_layers),
        "head": one,
        "expert_up": per_expert,
        "expert_down": per_expert,
    }
    tiles = linears.tiles * arrays.stack([counts[name] for name in LINEARS])
    experts = LINEAR_INDEX["expert_up"]
    return Geometry(
        linears=linears,
        embedding_tiles=table,
        embedding_strips=across,
        moe_tiles=tiles[experts:].sum(0),
        dense_tiles=tiles[:experts].sum(0) + table,
    )


def _linears(point: Point) -> Linear:
    """Every linear layer. The second part of some lies beside the first on the same input."""
    hardware, model = point.hardware, point.model
    width, heads, hidden = model.d_model, model.num_heads, model.d_ff
    full_query, rank = heads * (model.nope_head_dim + model.rope_head_dim), model.q_lora_rank
    compresses_query = rank > 0
    swiglu = point.activation_is[-1]
    one = point.real(1.0)
    zero = point.real(0.0)
    inputs = where(swiglu, 2.0 * one, one)
    key_value = model.num_kv_heads * model.head_dim
    shared = model.num_shared_experts

    # name: input width, output width, how many of them
    first = {
        "qkv": (width, where(point.is_mla, where(compresses_query, rank, full_query), heads * model.head_dim), one),
        "expand": (
            model.kv_lora_rank,
            heads * (model.nope_head_dim + model.v_head_dim),
            where(point.is_mla, one, zero),
        ),
        "output": (heads * where(point.is_mla, model.v_head_dim, model.head_dim), width, one),
        "router": (width, model.num_experts, where(point.routes_on_units, zero, one)),
        "head": (width, model.vocab_size, one),
        "dense_up": (width, model.dense_d_ff, inputs),
        "dense_down": (model.dense_d_ff, width, one),
        "shared_up": (width, hidden, inputs * shared),
        "shared_down": (hidden, width, shared),
        "expert_up": (width, hidden, inputs),
        "expert_down": (hidden, width, one),
    }
    second = {
        "qkv": (
            width,
            where(point.is_mla, model.kv_lora_rank + model.rope_head_dim, key_value),
            where(point.is_mla, one, 2.0 * one),
        ),
        "expand": (rank, full_query, where(point.is_mla & compresses_query, one, zero)),
    }

    def placed(parts: dict[str, tuple[Any, Any, Any]]) -> Linear:
        ins, outs, count = (arrays.stack(list(values)) for values in zip(*parts.values(), strict=True))
        down, across = blocks(ins, hardware.crossbar_rows), blocks(outs, hardware.crossbar_cols) * count
        return Linear(
            rows=where(count > 0, down, 0.0),
            strips=across,
            tiles=down * across * hardware.weight_slices,
            adds=(down - 1) * across,
            weights=ins * outs * count,
        )

    base = placed(first)
    beside = Linear(*(arrays.placed(values, 0, len(first) - len(second)) for values in placed(second)))
    return Linear(arrays.larger(base.rows, beside.rows), *(a + b for a, b in zip(base[1:], beside[1:], strict=True)))
