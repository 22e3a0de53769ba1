"""What the caches move and hold in a pass of the multiplexed chip: bytes, and their split between SRAM and DRAM.

Formulas: :mod:`pimjax.cache.traffic`. Decisions where the definitions leave room:

- *SRAM* in front of the DRAM is pinned: a cyclic scan over more than it holds would thrash any replacement. The
  fraction of all resident bytes that fits is served from it, of every read and write.
- *Keys and values* move only where they save work (`reads_kv`); a KV flag that saves nothing moves nothing.
- *Gate outputs alone* (no KV): scores are recomputed with the hidden states, so a step reads the L summed outputs and
  writes one, and writes what the variant keeps.
- `authors`: bytes are reported, they cost neither time nor energy.
- *Token choice* has no gate-output cache.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from pimjax.array_typing import Array, ArrayLike
from pimjax.cache.capacity import capacity_at, largest_capacity, law_of
from pimjax.cache.kv_layout import kv_token_bytes
from pimjax.cache.traffic import (
    AUTHORS,
    THRESHOLD,
    CacheWidths,
    gate_output_prefill,
    gate_output_step,
    list_update_accesses,
    visible_tokens,
)
from pimjax.config.build import Design
from pimjax.runs.cache_flags import CacheUse, cache_use


class Moved(NamedTuple):
    """Bytes of one layer and sequence in one pass (before the split between SRAM and DRAM)."""

    kv_read: Array
    kv_written: Array
    go_read: Array  # before the gate
    go_posted: Array  # read or written after it


def _widths(design: Design) -> CacheWidths:
    return CacheWidths(design.workload.score_bytes, design.workload.activation_bytes, design.model.d_model)


def prompt_traffic(design: Design, *, is_moe: ArrayLike) -> Moved:
    """Bytes of the prefill pass, per layer and sequence (all posted).

    Args:
        design: leaves scalars.
        is_moe: bool `[L]`.
    """
    use, law = cache_use(design), law_of(design.model, design.workload)
    prompt = jnp.asarray(design.workload.prompt_tokens)
    kv = jnp.where(use.reads_kv, kv_token_bytes(design.model, design.workload) * prompt, 0.0)
    go = gate_output_prefill(
        design.workload.go_cache,
        _widths(design),
        prompt_tokens=prompt,
        num_experts=design.model.num_experts,
        capacity=capacity_at(law, prompt),
        largest_capacity=largest_capacity(law),
    ).written
    rows = 1.0 * prompt * design.model.d_model * design.workload.activation_bytes
    go = go + jnp.where(use.reads_kv, 0.0, rows)  # summed outputs are kept for steps that recompute attention
    zero = jnp.zeros(jnp.shape(is_moe), kv.dtype)
    counted = jnp.asarray(is_moe) & use.go_used & (jnp.asarray(design.workload.go_cache) != AUTHORS)
    return Moved(zero, kv + zero, zero, jnp.where(counted, go, 0.0) + zero)


def step_traffic(
    design: Design,
    length: ArrayLike,
    visible: ArrayLike,
    *,
    is_moe: ArrayLike,
    admitted: ArrayLike,
    taken: ArrayLike,
) -> Moved:
    """Bytes of the decode step that brings a sequence to `length` tokens, per layer. Arguments broadcast.

    Linear in `length`, `visible`, `admitted` and `taken`: their means give the mean over steps.

    Args:
        design: leaves scalars.
        length: L.
        visible: keys that the layer's attention sees.
        is_moe: bool.
        admitted: experts that run.
        taken: threshold lists that store the new score.
    """
    use, law = cache_use(design), law_of(design.model, design.workload)
    length, visible = 1.0 * jnp.asarray(length), 1.0 * jnp.asarray(visible)
    token = kv_token_bytes(design.model, design.workload)
    read = jnp.where(use.reads_kv, token * visible, 0.0)
    wrote = jnp.where(use.reads_kv, token, 0.0)
    most = largest_capacity(law)
    step = gate_output_step(
        design.workload.go_cache,
        _widths(design),
        num_tokens=length,
        num_experts=design.model.num_experts,
        admitted=admitted,
        taken=taken,
        capacity=0,
        largest_capacity=most,
    )
    row = 1.0 * design.model.d_model * design.workload.activation_bytes
    updates = 1.0 * jnp.asarray(taken) * list_update_accesses(most) * design.workload.score_bytes
    late = jnp.where(jnp.asarray(design.workload.go_cache) == THRESHOLD, updates, 0.0)
    counted = jnp.asarray(is_moe) & use.go_used & (jnp.asarray(design.workload.go_cache) != AUTHORS)
    go_read = jnp.where(use.reads_kv, step.read - late, length * row)
    go_posted = step.written + jnp.where(use.reads_kv, late, row)
    return Moved(
        read, wrote + jnp.zeros_like(read), jnp.where(counted, go_read, 0.0), jnp.where(counted, go_posted, 0.0)
    )


def resident_bytes(design: Design, *, windowed: ArrayLike, is_moe: ArrayLike) -> Array:
    """Bytes that all caches of all sequences hold at the longest context; float `[]`.

    Args:
        windowed, is_moe: bool `[L]`; entries from `design.model.num_layers` on are padding.
    """
    use, law = cache_use(design), law_of(design.model, design.workload)
    longest = jnp.asarray(design.workload.max_context_tokens)
    layer = jnp.arange(jnp.shape(is_moe)[0])
    real = layer < design.model.num_layers
    window = jnp.where(jnp.asarray(windowed), design.model.sliding_window, 0)
    kv = jnp.where(use.reads_kv, kv_token_bytes(design.model, design.workload), 0.0) * visible_tokens(longest, window)
    step = gate_output_step(
        design.workload.go_cache,
        _widths(design),
        num_tokens=longest,
        num_experts=design.model.num_experts,
        admitted=0,
        taken=0,
        capacity=capacity_at(law, longest),
        largest_capacity=largest_capacity(law),
    )
    rows = 1.0 * longest * design.model.d_model * design.workload.activation_bytes
    go = step.resident + jnp.where(use.reads_kv, 0.0, rows)
    counted = use.go_used & (jnp.asarray(design.workload.go_cache) != AUTHORS)
    go = jnp.where(jnp.asarray(is_moe) & counted, go, 0.0)
    return design.workload.batch_size * jnp.sum(jnp.where(real, kv + go, 0.0))


def sram_share(design: Design, *, windowed: ArrayLike, is_moe: ArrayLike) -> Array:
    """Fraction of the resident bytes that the SRAM holds, 0 to 1."""
    held = resident_bytes(design, windowed=windowed, is_moe=is_moe)
    size = jnp.asarray(design.hardware.sram_cache_bytes)
    return jnp.where(held > 0, jnp.minimum(1.0, size / jnp.maximum(held, 1.0)), 0.0)


def dram_is_idle(design: Design, share: ArrayLike) -> Array:
    """Whether a cache lives in DRAM, so that its idle power is paid; bool."""
    flagged = jnp.asarray(design.workload.kv_cache, bool) | (jnp.asarray(design.workload.go_cache) > 0)
    return flagged & (jnp.asarray(share) < 1.0)


__all__ = [
    "CacheUse",
    "Moved",
    "cache_use",
    "dram_is_idle",
    "prompt_traffic",
    "resident_bytes",
    "sram_share",
    "step_traffic",
]
