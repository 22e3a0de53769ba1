"""Area of the chip [mm2] and bytes of its buffers."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.chips.multiplexed.core import Core
from pimjax.chips.multiplexed.geometry import Geometry
from pimjax.chips.multiplexed.schedule import MultiplexedSchedule
from pimjax.chips.multiplexed.smooth import as_real
from pimjax.chips.multiplexed.traffic import cache_use
from pimjax.config.build import Design
from pimjax.config.plan import ACCUMULATE_KINDS, COMBINE_KINDS, SHARE_KINDS


class Areas(NamedTuple):
    """Areas by component, and what follows from the same counts."""

    parts: dict[str, Array]  # mm2, keys of COMPONENTS
    moe: Array  # mm2, experts' crossbars with their peripherals, multiplexers and accumulators
    peripheral_sets: Array  # of the experts: what draws idle power
    peak_bytes: Array  # buffers of the busiest layer


def units_area(hardware: Any) -> Array:
    """Area of digital and attention units [mm2]."""
    return (
        hardware.num_digital_units * hardware.digital_unit_area_mm2
        + hardware.num_attention_units * hardware.attention_unit_area_mm2
    )


def areas(design: Design, schedule: MultiplexedSchedule, shape: Geometry, tile: Core, waiting_results: Array) -> Areas:
    """Every area. `waiting_results`: most results that wait for their addition (for the peak of the buffers)."""
    hardware, plan = design.hardware, design.plan
    like = hardware.mvm_latency_ns
    model, workload = as_real(design.model, like), as_real(design.workload, like)
    one = tile
    sizes = schedule.group_sizes.astype(like.dtype)  # [L, G]
    members, groups = jnp.sum(sizes), jnp.sum(sizes > 0).astype(like.dtype)
    multiplexed = jnp.sum(jnp.where(sizes > 1, sizes, 0))
    is_pair = plan.share == SHARE_KINDS.index("pair")
    crossbars = shape.expert_tiles
    per_group = jnp.where(is_pair, jnp.maximum(shape.expert_up.tiles, shape.expert_down.tiles), crossbars)
    # a group of one shares nothing among experts; with `pair` its two stages still share
    sets = groups * per_group
    shareable = one.shareable_fraction
    peripherals = one.area_mm2 * ((1 - shareable) * crossbars * members + shareable * sets)
    mux = (hardware.crossbar_rows + hardware.crossbar_cols) * hardware.mux_area_um2_per_line * 1e-6
    is_local = plan.accumulate == ACCUMULATE_KINDS.index("local")
    is_inline = plan.combine == COMBINE_KINDS.index("inline")
    strips = jnp.where(is_local, shape.expert_up.strips + shape.expert_down.strips, 0.0)
    strips = strips + jnp.where(is_inline, shape.expert_down.strips, 0.0)  # in the return links, wherever sums are made
    adders = hardware.accumulator_lanes * hardware.accumulator_adder_area_um2 * 1e-6
    moe = peripherals + mux * crossbars * multiplexed + adders * strips * groups

    use = cache_use(design)
    width = model.d_model * workload.activation_bytes
    decodes = workload.generated_tokens > 1
    recomputes = decodes & use.experts_all
    open_tokens = jnp.maximum(
        jnp.where(design.workload.prefill, jnp.max(schedule.prompt.open_max), 0.0),
        jnp.where(
            recomputes,
            jnp.max(schedule.recomputed.open_max, initial=0),
            jnp.where(decodes, jnp.max(schedule.step.open_max), 0.0),
        ),
    ).astype(like.dtype)
    pass_tokens = jnp.maximum(
        jnp.where(design.workload.prefill, workload.prompt_tokens, 0.0),
        jnp.where(
            decodes,
            jnp.where(use.dense_all, workload.prompt_tokens + workload.generated_tokens - 1, workload.batch_size),
            0.0,
        ),
    )
    limit = as_real(plan.window_tokens, like)
    window = jnp.where(limit > 0, jnp.minimum(limit, pass_tokens), pass_tokens)
    longest = jnp.maximum(jnp.max(schedule.prompt.makespan), jnp.max(schedule.recomputed.makespan, initial=0))
    longest = jnp.maximum(longest, jnp.max(schedule.step.makespan)).astype(like.dtype)
    used = jnp.minimum(hardware.out_buffer_slots, longest)
    # a chip has its Q buffers whatever it runs; without a limit, what the longest schedule can fill
    slots = jnp.where(jnp.isfinite(hardware.out_buffer_slots), hardware.out_buffer_slots, used)
    central = open_tokens * model.d_model * 2 + window * width
    buffers = groups * (2 + slots) * width + central + hardware.sram_cache_bytes
    per_layer = jnp.max(jnp.sum(sizes > 0, axis=1)).astype(like.dtype)
    waiting = jnp.minimum(waiting_results, per_layer * used)
    parts = {
        "moe_crossbars": moe,
        "dense_crossbars": one.area_mm2 * shape.dense_tiles,
        "digital_units": hardware.num_digital_units * hardware.digital_unit_area_mm2,
        "attention_units": hardware.num_attention_units * hardware.attention_unit_area_mm2,
        "buffers": hardware.buffer_area_mm2_per_mb * buffers * 1e-6,
    }
    return Areas(parts, moe, sets, (2 * per_layer + waiting) * width + central)
