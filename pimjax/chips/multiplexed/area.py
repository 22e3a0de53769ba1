"""Area of the chip [mm2] and bytes of its buffers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax.array_typing import AnyArray, ArrayLike
from pimjax.arrays import larger, namespace, smaller, where
from pimjax.chips.multiplexed.core import Core
from pimjax.chips.multiplexed.geometry import Geometry
from pimjax.chips.multiplexed.tiers import stacks_of
from pimjax.chips.multiplexed.work import Run
from pimjax.chips.parts.memory import memory_of
from pimjax.runs.point import Point
from pimjax.runs.run_counts import RunCounts


class Areas(NamedTuple):
    """Areas by component, and what follows from the same counts. Footprints: what stacked tiers cover of the die."""

    parts: dict[str, AnyArray]  # mm2, keys of COMPONENTS
    moe: AnyArray  # mm2, experts' crossbars with their peripherals, multiplexers and accumulators
    peripheral_sets: AnyArray  # of the experts: what draws idle power
    peak_bytes: AnyArray  # buffers of the busiest layer


def areas(
    point: Point, schedule: RunCounts, shape: Geometry, tile: Core, run: Run, waiting_results: ArrayLike
) -> Areas:
    """Every area. `waiting_results`: most results that wait for their addition (for the peak of the buffers)."""
    hardware, model = point.hardware, point.model
    sizes = schedule.group_sizes  # [L, G]
    there = point.real((sizes > 0).astype(point.dtype)).sum(-1)  # [L] groups
    groups = there.sum()
    cells = stacks_of(sizes, hardware.tiers, hardware.tier_area_overhead).footprints.sum()
    multiplexed = where(sizes > 1, sizes, 0.0).sum()
    up, down, crossbars = shape.expert_up, shape.expert_down, shape.expert_tiles
    # a group of one shares nothing among experts; with `pair` its two stages still share
    sets = groups * where(point.pairs, larger(up.tiles, down.tiles), crossbars)
    shareable = tile.shareable_fraction
    peripherals = tile.area_mm2 * ((1 - shareable) * crossbars * cells + shareable * sets)
    mux = (hardware.crossbar_rows + hardware.crossbar_cols) * (hardware.mux_area_um2_per_line * 1e-6)
    strips = where(point.local, up.strips + down.strips, 0.0)
    strips = strips + where(point.inline, down.strips, 0.0)  # in the return links, wherever sums are made
    adders = hardware.accumulator_lanes * hardware.accumulator_adder_area_um2 * 1e-6
    moe = peripherals + mux * crossbars * multiplexed + adders * strips * groups

    row = model.d_model * point.workload.activation_bytes
    open_tokens, window, longest = _peaks(point, schedule, run)
    used = smaller(hardware.out_buffer_slots, longest)
    # a chip has its Q buffers whatever it runs; without a limit, what the longest schedule can fill
    limited = hardware.out_buffer_slots < np.inf
    slots = where(limited, hardware.out_buffer_slots, used)
    central = open_tokens * model.d_model * 2 + window * row
    buffers = groups * (2 + slots) * row + central + hardware.sram_cache_bytes
    per_layer = there.max()
    waiting = smaller(waiting_results, per_layer * used)
    parts = {
        "moe_crossbars": moe,
        "dense_crossbars": tile.area_mm2 * shape.dense_tiles,
        "digital_units": hardware.num_digital_units * hardware.digital_unit_area_mm2,
        "attention_units": hardware.num_attention_units * hardware.attention_unit_area_mm2,
        "buffers": hardware.buffer_area_mm2_per_mb * (buffers * 1e-6),
        "memory_interface": memory_of(point).area_mm2,
    }
    return Areas(parts, moe, sets, (2 * per_layer + waiting) * row + central)


def _peaks(point: Point, schedule: RunCounts, run: Run) -> tuple[Any, Any, Any]:
    """Most tokens begun and not finished, most tokens of a window, slots of the longest schedule."""
    prompt = schedule.prompt
    prefill = point.design.workload.prefill
    open_tokens = where(prefill, prompt.open_max.max(), 0.0)
    tokens = where(prefill, run.prompt, 0.0)
    longest = namespace(prompt.makespan).max(prompt.makespan)
    longest = larger(longest, schedule.step.makespan.max())
    if not isinstance(run.steps, int):
        decodes = run.steps > 0
        recomputed = schedule.recomputed
        opened = where(point.experts_all, recomputed.open_max.max(), schedule.step.open_max.max())
        open_tokens = larger(open_tokens, where(decodes, opened, 0.0))
        each = where(point.dense_all, run.prompt + run.steps, run.batch)
        tokens = larger(tokens, where(decodes, each, 0.0))
        longest = larger(longest, recomputed.makespan.max())
    limit = point.plan.window_tokens
    return open_tokens, where(limit > 0, smaller(limit, tokens), tokens), longest
