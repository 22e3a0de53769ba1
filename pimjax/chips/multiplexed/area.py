"""Area of the chip [mm2] and bytes of its buffers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax.array_typing import AnyArray, ArrayLike
from pimjax.arrays import larger, namespace, smaller, where
from pimjax.chips.multiplexed.core import Core
from pimjax.chips.multiplexed.digital_parts import DigitalParts, dense_tiles
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
    expert_peripherals: AnyArray  # mm2 of the experts' sets of peripherals: what draws idle power
    dense_peripherals: AnyArray  # mm2 of all others
    crossbars: AnyArray  # that the mapping needs
    groups: AnyArray  # [L]
    group_sets: AnyArray  # sets of one group of unsliced tiles: one for each position, or for both stages of an expert
    buffers: Buffers  # of the busiest layer


class Buffers(NamedTuple):
    """Buffers of the busiest layer [bytes]."""

    inputs: AnyArray  # rows on their way into groups, open tokens, the window
    row: AnyArray  # one result
    most_waiting: AnyArray  # results that find a place

    def peak_bytes(self, waiting_results: ArrayLike) -> AnyArray:
        """The fullest they get, where at most `waiting_results` wait for their addition."""
        return self.inputs + smaller(waiting_results, self.most_waiting) * self.row


def areas(
    point: Point,
    schedule: RunCounts,
    shape: Geometry,
    tile: Core,
    run: Run,
    beside: DigitalParts | None = None,
) -> Areas:
    """Every area. `beside`: what lies on digital macros."""
    hardware, model = point.hardware, point.model
    sizes = schedule.group_sizes  # [L, G]
    there = point.real((sizes > 0).astype(point.dtype)).sum(-1)  # [L] groups
    groups = there.sum()
    up, down = shape.expert_up, shape.expert_down
    if beside is None:
        experts = _experts(point, shape, tile, sizes, 1.0)
        others = _dense(tile, shape.dense_tiles)
    else:
        unshared, digital = dense_tiles(point, shape, beside), schedule.digital_sizes
        analog = _experts(point, shape, tile, sizes - digital, 1.0)
        experts = analog.plus(_experts(point, shape, beside.core, digital, point.slices))
        others = _dense(tile, unshared.analog).plus(_dense(beside.core, unshared.digital))
    strips = where(point.local, up.strips + down.strips, 0.0)
    strips = strips + where(point.inline, down.strips, 0.0)  # in the return links, wherever sums are made
    adders = hardware.accumulator_lanes * hardware.accumulator_adder_area_um2 * 1e-6
    moe = experts.mm2 + adders * strips * groups

    row = model.d_model * point.workload.activation_bytes
    open_tokens, window, longest = _peaks(point, schedule, run)
    used = smaller(hardware.out_buffer_slots, longest)
    # a chip has its Q buffers whatever it runs; without a limit, what the longest schedule can fill
    limited = hardware.out_buffer_slots < np.inf
    slots = where(limited, hardware.out_buffer_slots, used)
    central = open_tokens * model.d_model * 2 + window * row
    buffers = groups * (2 + slots) * row + central + hardware.sram_cache_bytes
    per_layer = there.max()
    parts = {
        "moe_crossbars": moe,
        "dense_crossbars": others.mm2,
        "digital_units": hardware.num_digital_units * hardware.digital_unit_area_mm2,
        "attention_units": hardware.num_attention_units * hardware.attention_unit_area_mm2,
        "buffers": hardware.buffer_area_mm2_per_mb * (buffers * 1e-6),
        "memory_interface": memory_of(point).area_mm2,
    }
    held = Buffers(2 * per_layer * row + central, row, per_layer * used)
    needed = experts.crossbars + others.crossbars
    group_sets = _sets_of_group(point, shape)
    return Areas(parts, moe, experts.peripherals_mm2, others.peripherals_mm2, needed, there, group_sets, held)


class Tiles(NamedTuple):
    """Crossbars of one kind, or of several."""

    crossbars: AnyArray
    mm2: AnyArray  # with their peripherals and multiplexers
    peripherals_mm2: AnyArray

    def plus(self, other: Tiles) -> Tiles:
        """Both."""
        return Tiles(*(a + b for a, b in zip(self, other, strict=True)))


def _sets_of_group(point: Point, shape: Geometry) -> AnyArray:
    """Sets of peripherals of one group: with `pair` the two stages of an expert share theirs."""
    return where(point.pairs, larger(shape.expert_up.tiles, shape.expert_down.tiles), shape.expert_tiles)


def _experts(point: Point, shape: Geometry, tile: Core, sizes: AnyArray, slices: ArrayLike) -> Tiles:
    """The experts on one kind of tile, `sizes` [L, G] of them in each group."""
    hardware = point.hardware
    one_expert = shape.expert_tiles / slices
    # a group of one shares nothing among experts; with `pair` its two stages still share
    group_sets = _sets_of_group(point, shape) / slices
    sets = point.real((sizes > 0).astype(point.dtype)).sum() * group_sets
    cells = stacks_of(sizes, hardware.tiers, hardware.tier_area_overhead).footprints.sum()
    multiplexed = where(sizes > 1, sizes, 0.0).sum()
    shareable = tile.shareable_fraction
    peripherals = tile.area_mm2 * shareable * sets
    mux = (hardware.crossbar_rows + hardware.crossbar_cols) * (hardware.mux_area_um2_per_line * 1e-6)
    area = tile.area_mm2 * ((1 - shareable) * one_expert * cells) + peripherals
    return Tiles(one_expert * sizes.sum(), area + mux * one_expert * multiplexed, peripherals)


def _dense(tile: Core, tiles: AnyArray) -> Tiles:
    """Unshared crossbars."""
    return Tiles(tiles, tile.area_mm2 * tiles, tile.area_mm2 * tile.shareable_fraction * tiles)


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
