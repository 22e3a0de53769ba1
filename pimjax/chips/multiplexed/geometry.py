"""Where weights lie: crossbar blocks of every linear layer, and crossbars of the whole chip.

A linear layer of `rows -> cols` values is cut into `ceil(rows/R) x ceil(cols/C)` blocks; each block has
`weight_slices` crossbars. A *strip* is one column of blocks: its partial sums are added to one result.
Fractions of a block count as a block; the gradient of that rounding is straight-through (:mod:`pimjax.arrays`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax import arrays
from pimjax.array_typing import AnyArray
from pimjax.arrays import blocks, where
from pimjax.config.build import Design
from pimjax.runs.point import Point, point_of

#: Linear layers outside the experts, as far as a pass goes through them one by one.
LINEARS = ("qkv", "expand", "output", "router", "head", "dense_up", "dense_down", "shared_up", "shared_down")


class Linear(NamedTuple):
    """One linear layer (or several that share their input) on crossbars; float scalars."""

    rows: AnyArray  # row blocks that one result sums over (the most, where parts differ)
    strips: AnyArray  # column blocks, all parts together
    tiles: AnyArray  # crossbars, slices included
    adds: AnyArray  # additions of one strip's width per token: sum over strips of (row blocks - 1)
    weights: AnyArray  # weights in use

    def times(self, count: AnyArray) -> Linear:
        """`count` such layers side by side (0: none)."""
        return Linear(where(count > 0, self.rows, 0.0), *(count * field for field in self[1:]))


class Geometry(NamedTuple):
    """Blocks of every linear layer of the model."""

    qkv: Linear  # first linears after the norm: q, k, v; MLA: compressed queries, keys and values
    expand: Linear  # MLA only: from the compressed to the full width (zeros otherwise)
    output: Linear  # attention output
    router: Linear
    expert_up: Linear  # up, and gate where there is one
    expert_down: Linear
    dense_up: Linear  # feed-forward block of layers without experts
    dense_down: Linear
    shared_up: Linear  # shared experts, all together
    shared_down: Linear
    head: Linear  # output embedding
    embedding_tiles: AnyArray  # crossbars of the embedding tables, 0 if looked up in DRAM
    embedding_strips: AnyArray  # crossbars one token reads
    expert_tiles: AnyArray  # B: crossbars of one expert
    moe_tiles: AnyArray  # crossbars of all routed experts and copies, all layers
    dense_tiles: AnyArray  # every other crossbar

    def sums(self, field: str) -> Sums:
        """Sums of a field of :class:`Linear` by what goes through the layers."""

        def of(*names: str) -> Any:
            first, *others = (getattr(getattr(self, name), field) for name in names)
            return sum(others, first)

        return Sums(
            of("qkv", "expand", "output"),
            of("router", "shared_up", "shared_down"),
            of("dense_up", "dense_down"),
            of("head"),
            of("expert_up", "expert_down"),
        )


class Sums(NamedTuple):
    """A quantity of linear layers, or how often each kind is used."""

    layer: AnyArray  # every token, every layer
    moe: AnyArray  # layers with experts
    dense: AnyArray  # layers without
    head: AnyArray  # sampled tokens
    expert: AnyArray  # passes

    def times(self, uses: Sums) -> Any:
        """Sum over the kinds."""
        first, *others = (quantity * count for quantity, count in zip(self, uses, strict=True))
        return sum(others, first)


def geometry(design: Design | Point) -> Geometry:
    """Blocks and crossbars of a design. Kernel: pure, unbatched.

    >>> from pimjax.config.build import build
    >>> from pimjax.config.config import Config
    >>> made = geometry(build(Config())[0])
    >>> float(made.expert_tiles), float(made.expert_up.tiles)
    (96.0, 48.0)
    """
    point = point_of(design)
    hardware, model, is_mla = point.hardware, point.model, point.is_mla
    rows, cols, slices = hardware.crossbar_rows, hardware.crossbar_cols, hardware.weight_slices
    width, hidden, heads, head = model.d_model, model.d_ff, model.num_heads, model.head_dim

    def linear(down: AnyArray, across: AnyArray, weights: AnyArray) -> Linear:
        strips = down * across
        return Linear(down, across, strips * slices, strips - across, weights)

    # attention: grouped queries, or compressed (MLA) with a second, expanding step
    full_query = heads * (model.nope_head_dim + model.rope_head_dim)
    rank, latent = model.q_lora_rank, model.kv_lora_rank
    compresses_query = rank > 0
    query = where(is_mla, where(compresses_query, rank, full_query), heads * head)
    keys = where(is_mla, latent + model.rope_head_dim, model.num_kv_heads * head)
    count = where(is_mla, 1.0, 2.0 + 0.0 * width)
    values = heads * (model.nope_head_dim + model.v_head_dim)
    attended = heads * where(is_mla, model.v_head_dim, head)

    down = _blocks_of(
        rows,
        width=width,
        hidden=hidden,
        dense=model.dense_d_ff,
        latent=latent,
        rank=rank,
        attended=attended,
        vocabulary=model.vocab_size,
        positions=point.workload.prompt_tokens + point.workload.generated_tokens,
    )
    across = _blocks_of(
        cols,
        width=width,
        hidden=hidden,
        dense=model.dense_d_ff,
        query=query,
        keys=keys,
        values=values,
        full_query=full_query,
        experts=model.num_experts,
        vocabulary=model.vocab_size,
    )
    qkv = linear(down["width"], across["query"] + count * across["keys"], width * (query + count * keys))
    expand = linear(down["latent"], across["values"], latent * values)
    beside = linear(down["rank"], where(compresses_query, across["full_query"], 0.0), rank * full_query)
    expand = Linear(
        arrays.larger(expand.rows, beside.rows), *(a + b for a, b in zip(expand[1:], beside[1:], strict=True))
    )

    swiglu = point.activation_is[-1]
    up, dense_up = across["hidden"], across["dense"]
    up, dense_up = where(swiglu, 2.0 * up, up), where(swiglu, 2.0 * dense_up, dense_up)
    inputs = where(swiglu, 2.0 * width, width)
    expert_up, expert_down = (
        linear(down["width"], up, inputs * hidden),
        linear(down["hidden"], across["width"], hidden * width),
    )
    router = linear(down["width"], across["experts"], width * model.num_experts)
    shared, nothing = model.num_shared_experts, Linear(*(0.0 * width,) * 5)

    made = {
        "qkv": qkv,
        "expand": Linear(*(where(is_mla, a, b) for a, b in zip(expand, nothing, strict=True))),
        "output": linear(down["attended"], across["width"], attended * width),
        "router": Linear(*(where(point.routes_on_units, b, a) for a, b in zip(router, nothing, strict=True))),
        "expert_up": expert_up,
        "expert_down": expert_down,
        "dense_up": linear(down["width"], dense_up, inputs * model.dense_d_ff),
        "dense_down": linear(down["dense"], across["width"], model.dense_d_ff * width),
        "shared_up": expert_up.times(shared),
        "shared_down": expert_down.times(shared),
        "head": linear(down["width"], across["vocabulary"], width * model.vocab_size),
    }
    strips = across["width"] * slices
    table = (down["vocabulary"] + down["positions"]) * strips
    expert = expert_up.tiles + expert_down.tiles
    shape = Geometry(
        **made,
        embedding_tiles=where(point.looks_up, 0.0, table),
        embedding_strips=strips,
        expert_tiles=expert,
        moe_tiles=model.num_moe_layers * (model.num_experts + point.plan.copies) * expert,
        dense_tiles=table,
    )
    layers, moe_layers = model.num_layers, model.num_moe_layers
    tiles = shape.sums("tiles")
    dense = layers * tiles.layer + moe_layers * tiles.moe + (layers - moe_layers) * tiles.dense + tiles.head
    return shape._replace(dense_tiles=dense + shape.embedding_tiles)


def _blocks_of(size: AnyArray, **widths: AnyArray) -> dict[str, AnyArray]:
    """Blocks of `size` that each width fills, by name; compiled programs compute them in one loop."""
    made = blocks(arrays.stack(list(widths.values())), size)
    return {name: arrays.pick(made, index) for index, name in enumerate(widths)}
