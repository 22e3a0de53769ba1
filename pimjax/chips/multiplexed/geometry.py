"""Where weights lie: crossbar blocks of every linear layer, and crossbars of the whole chip.

A linear layer of `rows -> cols` values is cut into `ceil(rows/R) x ceil(cols/C)` blocks; each block has
`weight_slices` crossbars. A *strip* is one column of blocks: its partial sums are added to one result.
Fractions of a block count as a block; the gradient of that rounding is straight-through (:mod:`.smooth`).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.chips.multiplexed.smooth import as_real, blocks
from pimjax.config.build import Design
from pimjax.config.model import ACTIVATIONS, ATTENTION_KINDS
from pimjax.config.plan import EMBEDDING_KINDS, ROUTER_KINDS


class Linear(NamedTuple):
    """One linear layer (or several that share their input) on crossbars; float scalars."""

    rows: Array  # row blocks that one result sums over (the most, where parts differ)
    strips: Array  # column blocks, all parts together
    tiles: Array  # crossbars, slices included
    adds: Array  # additions of one strip's width per token: sum over strips of (row blocks - 1)
    weights: Array  # weights in use

    def __add__(self, other: Linear) -> Linear:  # type: ignore[override]  # not the concatenation of tuples
        """Both layers side by side on the same input."""
        return Linear(
            jnp.maximum(self.rows, other.rows),
            self.strips + other.strips,
            self.tiles + other.tiles,
            self.adds + other.adds,
            self.weights + other.weights,
        )

    def times(self, count: Array) -> Linear:
        """`count` such layers side by side (0: none)."""
        return Linear(jnp.where(count > 0, self.rows, 0), *(count * field for field in self[1:]))


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
    embedding_tiles: Array  # crossbars of the embedding tables, 0 if looked up in DRAM
    embedding_strips: Array  # crossbars one token reads
    expert_tiles: Array  # B: crossbars of one expert
    moe_tiles: Array  # crossbars of all routed experts and copies, all layers
    dense_tiles: Array  # every other crossbar


def geometry(design: Design) -> Geometry:
    """Blocks and crossbars of a design. Kernel: pure, unbatched.

    >>> import jax
    >>> from pimjax.config.build import build
    >>> from pimjax.config.config import Config
    >>> design, _ = build(Config())
    >>> made = jax.jit(geometry)(design)
    >>> float(made.expert_tiles), float(made.expert_up.tiles)
    (96.0, 48.0)
    """
    hardware, plan, ints = design.hardware, design.plan, design.model
    model = as_real(ints, hardware.crossbar_rows)
    workload = as_real(design.workload, hardware.crossbar_rows)
    rows, cols, slices = hardware.crossbar_rows, hardware.crossbar_cols, hardware.weight_slices

    def linear(inputs: Array, *outputs: Array) -> Linear:
        down = blocks(inputs, rows)
        strips = sum(blocks(width, cols) for width in outputs)
        # pyrefly: ignore[bad-argument-type]
        return Linear(down, strips, down * strips * slices, (down - 1) * strips, inputs * sum(outputs))

    def either(condition: Array, first: Linear, second: Linear) -> Linear:
        return Linear(*(jnp.where(condition, a, b) for a, b in zip(first, second, strict=True)))

    width, heads, head = model.d_model, model.num_heads, model.head_dim
    nothing = Linear(*(jnp.zeros_like(width),) * 5)

    # attention: grouped queries, or compressed (MLA) with a second, expanding step
    grouped = linear(width, heads * head, model.num_kv_heads * head, model.num_kv_heads * head)
    full_query, query_rank = heads * (model.nope_head_dim + model.rope_head_dim), model.q_lora_rank
    compresses_query = ints.q_lora_rank > 0
    compressed = linear(
        width, jnp.where(compresses_query, query_rank, full_query), model.kv_lora_rank + model.rope_head_dim
    )
    expand_kv = linear(model.kv_lora_rank, heads * (model.nope_head_dim + model.v_head_dim))
    expanded = expand_kv + either(compresses_query, linear(query_rank, full_query), nothing)
    is_mla = ints.attention == ATTENTION_KINDS.index("mla")

    inputs = jnp.where(ints.activation == ACTIVATIONS.index("swiglu"), 2.0, 1.0).astype(width.dtype)
    expert_up, expert_down = linear(width, model.d_ff).times(inputs), linear(model.d_ff, width)
    dense_up, dense_down = linear(width, model.dense_d_ff).times(inputs), linear(model.dense_d_ff, width)
    router = either(plan.router == ROUTER_KINDS.index("crossbar"), linear(width, model.num_experts), nothing)
    qkv = either(is_mla, compressed, grouped)
    expand = either(is_mla, expanded, nothing)
    output = linear(jnp.where(is_mla, heads * model.v_head_dim, heads * head), width)
    head_layer = linear(width, model.vocab_size)

    strips = blocks(width, cols)
    positions = workload.prompt_tokens + workload.generated_tokens
    table = (blocks(model.vocab_size, rows) + blocks(positions, rows)) * strips * slices
    table = jnp.where(plan.embedding == EMBEDDING_KINDS.index("crossbar"), table, 0)

    expert = expert_up.tiles + expert_down.tiles
    members = model.num_experts + as_real(plan.copies, width)
    dense_layers = model.num_layers - model.num_moe_layers
    shared = model.num_shared_experts
    dense = (
        model.num_layers * (qkv.tiles + expand.tiles + output.tiles)
        + model.num_moe_layers * (router.tiles + shared * expert)
        + dense_layers * (dense_up.tiles + dense_down.tiles)
        + head_layer.tiles
        + table
    )
    return Geometry(
        qkv=qkv,
        expand=expand,
        output=output,
        router=router,
        expert_up=expert_up,
        expert_down=expert_down,
        dense_up=dense_up,
        dense_down=dense_down,
        shared_up=expert_up.times(shared),
        shared_down=expert_down.times(shared),
        head=head_layer,
        embedding_tiles=table,
        embedding_strips=strips * slices,
        expert_tiles=expert,
        moe_tiles=model.num_moe_layers * members * expert,
        dense_tiles=dense,
    )
