"""What a run of the `reference` chip occupies: crossbars and areas (exact), peak scratchpad memory (upper bound)."""

from __future__ import annotations

import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.chips.reference.closed_forms import Run, scatter
from pimjax.chips.reference.phases import Blocks, ceil_through
from pimjax.chips.run_cost import COMPONENT_INDEX, COMPONENTS
from pimjax.config.build import Design

SAMPLE_BYTES = 512.0


def crossbars_needed(design: Design, b: Blocks, run: Run) -> tuple[Array, Array]:
    """(crossbars of all matrices and embedding tables, of these those of experts); a tile holds `tiers` of them.

    >>> import pimjax
    >>> from pimjax.chips.reference.closed_forms import run_of
    >>> from pimjax.chips.reference.phases import blocks
    >>> design, _ = pimjax.build(pimjax.reference_config())
    >>> [int(count) for count in crossbars_needed(design, blocks(design), run_of(design))]
    [6592, 1536]
    """
    rows, model = design.hardware.crossbar_rows, design.model
    dtype = run.prompt.dtype
    layers, moe, experts, vocab = (
        jnp.asarray(x, dtype) for x in (model.num_layers, model.num_moe_layers, model.num_experts, model.vocab_size)
    )
    positions = ceil_through((run.prompt + run.decodes + 1) / rows)
    tables = (ceil_through(vocab / rows) + positions) * b.d_cols
    network = b.d_rows * b.f_cols + b.f_rows * b.d_cols
    attention = layers * 4 * b.d_rows * b.d_cols + moe * b.d_rows * b.router_cols
    of_experts = moe * experts * network
    return tables + attention + of_experts + (layers - moe) * network + b.d_rows * b.vocab_cols, of_experts


def areas_mm2(design: Design, crossbars: Array, expert_crossbars: Array) -> Array:
    """Area by `COMPONENTS` `[C]`, mm2; nothing is shared on this chip."""
    hardware = design.hardware
    by_name = {
        "moe_crossbars": expert_crossbars * hardware.core_area_mm2,
        "dense_crossbars": (crossbars - expert_crossbars) * hardware.core_area_mm2,
        "digital_units": hardware.num_digital_units * hardware.digital_unit_area_mm2,
        "attention_units": hardware.num_attention_units * hardware.attention_unit_area_mm2,
    }
    return scatter(by_name, COMPONENT_INDEX, len(COMPONENTS), crossbars)


def peak_memory_bound(design: Design, b: Blocks, run: Run) -> Array:
    """Upper bound of the peak scratchpad, bytes: all tokens of the largest pass hold their fullest stage at once.

    A token holds its residual stream (two vectors at most) and, in one stage: tile outputs of q, k, v with the
    embedding; its attention output, which the authors count once per row block; tile outputs of the out-projection;
    or the normalised vector, router outputs, every expert's larger intermediate and two accumulators. The last
    token's vocabulary head and the sampling come on top. Assumes that passes do not overlap (never seen to).
    """
    hardware, model = design.hardware, design.model
    dtype = run.prompt.dtype
    d, f, k = (jnp.asarray(x, dtype) for x in (model.d_model, model.d_ff, model.top_k))
    cols = hardware.crossbar_cols
    square = b.d_rows * b.d_cols * cols
    attended = b.d_rows * d
    out = jnp.where(hardware.tiers > 1, attended + square, jnp.maximum(attended, square))
    stages = jnp.stack([b.d_rows * b.f_cols * cols, f, b.f_rows * b.d_cols * cols])
    expert = jnp.where(hardware.tiers > 1, jnp.sum(stages), jnp.max(stages))
    networks = jnp.where(model.num_moe_layers > 0, k, 1)
    feed_forward = d + b.d_rows * b.router_cols * cols + networks * expert + 2 * jnp.maximum(f, cols)
    token = 2 * d + jnp.max(jnp.stack([d + 3 * square, out, feed_forward]))
    last_decode = jnp.where(run.decodes > 0, jnp.where(run.go, 1, run.prompt + run.decodes), 0)
    tokens = jnp.maximum(run.prefill * run.prompt, last_decode)
    return tokens * token + d + b.d_rows * b.vocab_cols * cols + 2 * SAMPLE_BYTES
