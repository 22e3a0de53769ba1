"""Experts that are fetched and written while a run needs them, where the chip holds a part of them.

Which tokens find their experts is exact on the run's trace (:mod:`pimjax.runs.residency`). Decisions where the model leaves
room:

- *Time*: one expert after the other, fetched and written at once (the longer of both counts), and nothing else goes on
  meanwhile: an upper bound, and the same at every fidelity.
- *Writing*: all crossbars of an expert at the same time; analog ones row by row with program and verify passes, digital macros
  a row per `system.sram_row_write_ns`.
- *Memory*: it holds all experts of the model (they are never written back), and draws its idle power.
- *Wear*: of the place that the run writes most; digital macros do not wear.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from pimjax import arrays
from pimjax.array_typing import AnyArray, HostArray
from pimjax.arrays import where
from pimjax.chips.multiplexed.digital_parts import DigitalParts
from pimjax.chips.multiplexed.geometry import Geometry
from pimjax.chips.multiplexed.network import Network
from pimjax.chips.multiplexed.work import Run
from pimjax.chips.parts.memory import memory_of
from pimjax.chips.run_cost import COMPONENT_INDEX, COMPONENTS
from pimjax.circuit.programming import PULSE_ENERGY, PULSE_TIME_RATIO, PULSES, crossbar_write
from pimjax.config.plan import TILE_KINDS
from pimjax.config.system import numbers_of
from pimjax.runs.point import Point
from pimjax.runs.routing import RunRouting
from pimjax.runs.run_counts import RunCounts
from pimjax.system.linear_flows import memory_flow
from pimjax.system.residency import SECONDS_PER_YEAR, SwapCost, swap_cost


class Swapping(NamedTuple):
    """Experts that a run writes; float scalars but where axes are given."""

    each: SwapCost  # of one of them
    by_layer: AnyArray  # [L] how many
    fetched_bytes: AnyArray
    held_bytes: AnyArray  # of all experts, in the memory; 0 where every expert has its place
    spills: Any  # bool, some expert has no place
    wear_cycles: AnyArray  # of the devices that are written most

    @property
    def writes(self) -> AnyArray:
        """Experts written."""
        return self.by_layer.sum()

    @property
    def layers_ns(self) -> AnyArray:
        """[L] time in which everything else stands still."""
        return self.by_layer * self.each.time_ns

    @property
    def power_w(self) -> AnyArray:
        """While an expert is written."""
        return where(self.writes > 0, self.each.energy_nj / self.each.time_ns, 0.0)

    def critical_ns(self, time: AnyArray) -> AnyArray:
        """[C] `time` as a part of a latency."""
        before = COMPONENT_INDEX["expert_swap"]
        return arrays.placed(time[None], before, len(COMPONENTS) - 1 - before)

    def way_nj(self, network: Network) -> AnyArray:
        """Energy of the wires from the memory's interface to an expert's place."""
        return memory_flow(
            8 * self.fetched_bytes, network.linears.area_mm2, network.passes.pitch_mm, network.numbers
        ).energy_nj

    def lifetime_years(self, point: Point, latency_ns: AnyArray) -> AnyArray:
        """Until devices have seen `pcm_endurance_cycles`, if runs follow each other; infinite where nothing wears."""
        wears = self.wear_cycles > 0
        runs = point.hardware.system_pcm_endurance_cycles / where(wears, self.wear_cycles, 1.0)
        return where(wears, runs * (latency_ns / (SECONDS_PER_YEAR * 1e9)), np.inf)


def pass_stalls_ns(swaps: Swapping | None, routing: RunRouting, is_moe: HostArray, index: int) -> HostArray | None:
    """Time for which pass `index` of a run stands still in each layer while experts are written, float64 `[L]` [ns]; None:
    they are all there. Host.

    Passes are prompts, then decode steps: of all sequences together, or, where they recompute anything, one by one.
    """
    writes = routing.writes
    if writes is None or swaps is None:
        return None
    workload = routing.config.workload
    batch, prefills = writes.batch, writes.batch if workload.prefill else 0
    turn, turns = batch + index - prefills, 1
    if index >= prefills and workload.kv_cache:
        turn, turns = batch * (1 + index - prefills), batch
    found = np.zeros(len(is_moe))
    found[is_moe] = writes.of_turns(turn, turn + turns) * float(swaps.each.time_ns)
    return found


def standing_still(result: Any, stalls_ns: HostArray) -> Any:
    """An exact pass (:class:`.event.PassResult`) with the time `[L]` for which it stands still in each layer. Host."""
    whole = float(stalls_ns.sum())
    return dataclasses.replace(
        result,
        latency_ns=result.latency_ns + whole,
        sampled_ns=result.sampled_ns + whole,
        layer_ns=result.layer_ns + stalls_ns,
        moe_ns=result.moe_ns + stalls_ns,
        critical_ns=result.critical_ns + np.where(np.array(COMPONENTS) == "expert_swap", whole, 0.0),
    )


def swapping(
    point: Point, schedule: RunCounts, shape: Geometry, run: Run, beside: DigitalParts | None
) -> Swapping | None:
    """What writing experts takes; None where no run of the program does. `beside`: what lies on digital macros."""
    counts = schedule.swaps
    if counts is None:
        return None
    hardware, model = point.hardware, point.model
    weights = shape.expert_up.weights + shape.expert_down.weights
    size, memory = weights * hardware.weight_bits / 8, memory_of(point)
    constants = {
        PULSE_TIME_RATIO.name: hardware.program_pulse_mvms,
        PULSES.name: hardware.program_verify_passes,
        PULSE_ENERGY.name: hardware.program_pulse_energy_pj,
    }
    rows, mvm = hardware.crossbar_rows, hardware.mvm_latency_ns
    write = crossbar_write(rows=rows, cols=hardware.crossbar_cols, mvm_latency_ns=mvm, constants=constants)
    expert = {"expert_bytes": size, "crossbars": shape.expert_tiles, "rows": rows, "numbers": numbers_of(hardware)}
    source = {"bandwidth_gb_per_s": memory.bandwidth, "energy_pj_per_bit": hardware.memory_energy_pj_per_bit}
    analog = swap_cost("pcm", **expert, **source, pcm_write=write, verify_passes=hardware.program_verify_passes)
    digital = swap_cost("sram", **expert, **source)
    is_digital = point.design.plan.tile == TILE_KINDS.index("digital_sram")
    if beside is not None:
        is_digital = is_digital | beside.only
    each = SwapCost(*(where(is_digital, b, a) for a, b in zip(analog, digital, strict=True)))
    by_layer = run.prefills * counts.prompt
    if not isinstance(run.steps, int):
        by_layer = by_layer + run.steps * counts.step
    spills = counts.left_out > 0
    return Swapping(
        each=each,
        by_layer=by_layer,
        fetched_bytes=by_layer.sum() * size,
        held_bytes=where(spills, model.num_moe_layers * model.num_experts * size, 0.0),
        spills=spills,
        wear_cycles=counts.most * each.cycles,
    )
