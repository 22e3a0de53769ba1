"""Where weights lie: crossbar blocks of every linear layer, and crossbars of the whole chip.

A linear layer of `rows -> cols` values is cut into `ceil(rows/R) x ceil(cols/C)` blocks; each block has
`weight_slices` crossbars. A *strip* is one column of blocks: its partial sums are added to one result.
Fractions of a block count as a block; the gradient of that rounding is straight-through (:mod:`pimjax.arrays`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax import arrays
from pimjax.array_typing import AnyArray
from pimjax.arrays import blocks, where
from pimjax.config.build import Design
from pimjax.runs.mixers import mixers, over_blocks
from pimjax.runs.point import Point, point_of

#: Linear layers outside the experts, as far as a pass goes through them one by one.
LINEARS = ("qkv", "expand", "output", "router", "head", "dense_up", "dense_down", "shared_up", "shared_down")


class Linear(NamedTuple):
    """One linear layer (or several that share their input) on crossbars; float scalars, those of mixers one for each
    kind of mixer where a model has several, `[M]`."""

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

    qkv: Linear  # first linears after the norm: q, k, v; MLA: compressed queries, keys and values; further ones beside
    expand: Linear  # MLA only: from the compressed to the full width (zeros otherwise)
    output: Linear  # of attention or of a state
    router: Linear  # with the gate of the shared block
    expert_up: Linear  # up, and gate where there is one
    expert_down: Linear
    dense_up: Linear  # feed-forward block of layers without experts
    dense_down: Linear
    shared_up: Linear  # shared experts: one block
    shared_down: Linear
    head: Linear  # output embedding
    embedding_tiles: AnyArray  # crossbars of the embedding tables, 0 if looked up in the memory
    embedding_strips: AnyArray  # crossbars one token reads
    expert_tiles: AnyArray  # B: crossbars of one expert
    moe_tiles: AnyArray  # crossbars of all routed experts and copies, all layers
    dense_tiles: AnyArray  # every other crossbar

    def sums(self, point: Point, field: str) -> Sums:
        """Sums of a field of :class:`Linear` by what goes through the layers; of mixers over all blocks."""

        def of(*names: str) -> Any:
            first, *others = (getattr(getattr(self, name), field) for name in names)
            return sum(others, first)

        return Sums(
            over_blocks(point, of("qkv", "expand", "output")),
            of("router", "shared_up", "shared_down"),
            of("dense_up", "dense_down"),
            of("head"),
            of("expert_up", "expert_down"),
        )


class Sums(NamedTuple):
    """A quantity of linear layers, or how often each kind is used."""

    mixers: AnyArray  # every token, all blocks of the model
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
    rows, cols, slices = hardware.crossbar_rows, hardware.crossbar_cols, point.slices
    width, hidden, heads, mixer = model.d_model, model.d_ff, model.num_heads, point.once(mixers)

    def linear(down: AnyArray, across: AnyArray, weights: AnyArray) -> Linear:
        strips = down * across
        return Linear(down, across, strips * slices, strips - across, weights)

    # attention: grouped queries, or compressed (MLA) with a second, expanding step; states have further matrices only
    is_state, further = mixer.is_state, mixer.further
    expands = is_mla & ~is_state
    full_query = heads * (model.nope_head_dim + model.rope_head_dim)
    rank, latent = model.q_lora_rank, model.kv_lora_rank
    compresses_query = rank > 0
    query = where(is_mla, where(compresses_query, rank, full_query), mixer.width)
    keys = where(is_mla, latent + model.rope_head_dim, mixer.kv_heads * mixer.head_dim)
    keys, query = where(is_state, 0.0, keys), where(is_state, 0.0, query)
    count, gate = where(is_mla, 1.0, mixer.projections), mixer.is_gated * mixer.width
    values = heads * (model.nope_head_dim + model.v_head_dim)
    attended = where(is_state, mixer.mixed, where(is_mla, heads * model.v_head_dim, mixer.width))

    down = _blocks_of(
        rows,
        width=width,
        hidden=hidden,
        dense=model.dense_d_ff,
        shared=model.shared_width,
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
        shared=model.shared_width,
        query=query,
        keys=keys,
        gate=gate,
        first=further[0],
        second=further[1],
        third=further[2],
        expanded=mixer.expanded,
        values=values,
        full_query=full_query,
        router=point.router_outputs,
        vocabulary=model.vocab_size,
    )
    own = across["gate"] + across["first"] + across["second"] + across["third"]
    projected = query + count * keys + gate + further[0] + further[1] + further[2]
    strips = arrays.apart(across["query"] + count * across["keys"] + own, point.one)
    qkv = linear(down["width"], strips, width * projected)
    expand = linear(down["latent"], across["values"], latent * values)
    queries = where(compresses_query, across["full_query"] + across["expanded"], 0.0)
    beside = linear(down["rank"], queries, rank * (full_query + mixer.expanded))
    expand = Linear(
        arrays.larger(expand.rows, beside.rows), *(a + b for a, b in zip(expand[1:], beside[1:], strict=True))
    )

    swiglu = point.activation_is[-1]
    up, dense_up, shared_up = (
        where(swiglu, 2.0 * each, each) for each in (across["hidden"], across["dense"], across["shared"])
    )
    inputs = where(swiglu, 2.0 * width, width)
    expert_up, expert_down = (
        linear(down["width"], up, inputs * hidden),
        linear(down["hidden"], across["width"], hidden * width),
    )
    router = linear(down["width"], across["router"], width * point.router_outputs)
    shared, nothing = where(model.shared_width > 0, 1.0, 0.0 * width), Linear(*(0.0 * width,) * 5)

    made = {
        "qkv": qkv,
        "expand": Linear(*(where(expands, a, b) for a, b in zip(expand, nothing, strict=True))),
        "output": linear(down["attended"], across["width"], attended * width),
        "router": Linear(*(where(point.routes_on_units, b, a) for a, b in zip(router, nothing, strict=True))),
        "expert_up": expert_up,
        "expert_down": expert_down,
        "dense_up": linear(down["width"], dense_up, inputs * model.dense_d_ff),
        "dense_down": linear(down["dense"], across["width"], model.dense_d_ff * width),
        "shared_up": linear(down["width"], shared_up, inputs * model.shared_width).times(shared),
        "shared_down": linear(down["shared"], across["width"], model.shared_width * width).times(shared),
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
    tiles = shape.sums(point, "tiles")
    dense = tiles.mixers + model.num_moe_layers * tiles.moe + model.num_dense_layers * tiles.dense + tiles.head
    return shape._replace(dense_tiles=dense + shape.embedding_tiles)


def _blocks_of(size: AnyArray, **widths: AnyArray) -> dict[str, AnyArray]:
    """Blocks of `size` that each width fills, by name; compiled programs compute those of one shape in one loop."""
    found: dict[str, AnyArray] = {}
    for shape in dict.fromkeys(map(np.shape, widths.values())):
        names = [name for name, width in widths.items() if np.shape(width) == shape]
        made = blocks(arrays.stack([widths[name] for name in names]), size)
        found |= {name: arrays.pick(made, index) for index, name in enumerate(names)}
    return found
