"""Everything of a run but its timing: energy, area, counts, operations. Shared by all fidelities.

Formulas are those of the model's definition (docs/multiplexed-chip.md). Decisions where it leaves room:

- `energy_scale_with_sharing` scales every product of the chip, as the authors do, with g the largest group.
- `combine = inline` puts one more strip of adders per result strip beside every group.
- `accumulate = digital` has no local accumulators, hence no area for them (`inline` keeps its own).
- Central buffers (open tokens, window) are shared by layers, group buffers are not. 1 MB is 1e6 bytes.
- Peak memory: the buffers of the busiest layer; results that wait for addition are exact in `event`, at most Q slots
  otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pimjax import arrays, status
from pimjax.array_typing import AnyArray, ArrayLike
from pimjax.arrays import larger, namespace, where
from pimjax.chips.multiplexed.area import areas
from pimjax.chips.multiplexed.core import Core
from pimjax.chips.multiplexed.digital_parts import DigitalParts, products
from pimjax.chips.multiplexed.durations import ACTIVATION_COMPONENTS, Durations
from pimjax.chips.multiplexed.energy import energy_and_busy
from pimjax.chips.multiplexed.geometry import Geometry
from pimjax.chips.multiplexed.work import Run, Work, run_work
from pimjax.chips.parts.memory import memory_of
from pimjax.chips.run_cost import COMPONENTS, OP_KINDS, RunCost
from pimjax.runs.point import Point
from pimjax.runs.run_counts import RunCounts

_JOINED = 8  # values of a table that one loop of a compiled program writes: more, and XLA no longer joins them


class Times(NamedTuple):
    """What a fidelity finds out."""

    latency: AnyArray  # [] ns
    critical: AnyArray  # [C] ns
    moe: AnyArray  # [] ns, expert phases
    last_pass: AnyArray  # [L] ns
    slowest_layer: AnyArray  # [] ns, time the run spends in its slowest layer
    waiting_results: ArrayLike  # [] most results that wait for their addition
    status: ArrayLike  # [] int32


class Chip(NamedTuple):
    """A design with all that follows from it alone, and the size of its largest group."""

    point: Point
    shape: Geometry
    tile: Core
    time: Durations  # plain
    largest: AnyArray
    beside: DigitalParts | None = None  # what lies on digital macros


def assemble(chip: Chip, schedule: RunCounts, run: Run, times: Times) -> RunCost:
    """Costs of a run whose times are known. Kernel: pure, unbatched.

    Args:
        chip: the design.
        schedule: counts, in the design's numbers.
        run: `run_of(point, schedule)`.
        times: what the fidelity found.
    """
    point, shape, tile = chip.point, chip.shape, chip.tile
    hardware, workload = point.hardware, point.workload
    work = run_work(point, schedule, shape, run)
    made = None
    if chip.beside is not None:
        made = products(point, shape, work, chip.beside)
        work = work._replace(both=made.both.total, reads=made.reads.total)
    found = energy_and_busy(
        point, shape, tile, chip.time, run, work, times.latency, chip.largest, beside=chip.beside, made=made
    )
    area = areas(point, schedule, shape, tile, run, times.waiting_results, beside=chip.beside)
    idle = hardware.idle_power_w_per_mm2
    peripherals = area.expert_peripherals + area.dense_peripherals
    energy = {**found.energy, "crossbar_idle": idle * peripherals * times.latency}
    component_area = _vector(COMPONENTS, area.parts)
    needed, impossible = area.crossbars, tile.impossible
    if chip.beside is not None:
        impossible = namespace(times.latency).logical_or(impossible, chip.beside.core.impossible)
    flops, moe_flops = _flops(point, shape, run, work)
    shared = (
        found.units_busy / hardware.num_digital_units,
        work.attention_time,
        found.dram_busy,
    )
    interval = times.slowest_layer
    for busy in shared:
        interval = larger(interval, busy)
    tokens = run.batch * run.prompt
    if not isinstance(run.steps, int):
        tokens = where(run.steps > 0, run.batch * workload.generated_tokens, tokens)
    return RunCost(
        latency_ns=times.latency,
        flops=flops,
        peak_memory_bytes=area.peak_bytes,
        crossbars=needed,
        critical_ns=times.critical,
        busy_ns=_table(COMPONENTS, found.busy),
        component_energy_nj=_vector(COMPONENTS, energy),
        component_area_mm2=component_area,
        op_counts=_table(OP_KINDS, _counts(point, run, work)),
        moe_latency_ns=times.moe,
        moe_energy_nj=found.experts + idle * area.expert_peripherals * times.moe,
        moe_flops=moe_flops,
        moe_area_mm2=area.moe,
        moe_last_pass_ns=times.last_pass,
        tokens=tokens,
        pipeline_interval_ns=interval,
        status=status.bits(
            times.status,
            {
                status.DOES_NOT_FIT: (needed > hardware.tiles)
                | ((1 - run.sram) * run.held > memory_of(point).capacity_bytes),
                status.MULTI_DIE: component_area.sum() > hardware.reticle_area_mm2,
                status.NON_FINITE: ~namespace(times.latency).isfinite(times.latency),
                status.IMPOSSIBLE: impossible,
            },
        ),
    )


def _vector(names: tuple[str, ...], values: Mapping[str, Any]) -> AnyArray:
    """`values` in the order of `names`, 0 where there is none."""
    return arrays.stack([values.get(name, 0.0) for name in names])


def _table(names: tuple[str, ...], values: Mapping[str, Any]) -> AnyArray:
    """:func:`_vector` of numbers that no kernel sums: in parts that XLA joins in one loop each; of more, every value
    would get a loop of its own."""
    whole = len(names)
    parts = [(begin, names[begin : begin + _JOINED]) for begin in range(0, whole, _JOINED)]
    first, *others = (
        arrays.placed(_vector(part, values), begin, whole - begin - len(part))
        for begin, part in parts
        if not values.keys().isdisjoint(part)
    )
    return sum(others, first)


def _counts(point: Point, run: Run, work: Work) -> dict[str, AnyArray]:
    """Operations by kind."""
    products = work.both + work.reads
    counts = {
        "tier_linear": products,
        "communication_out": products,
        "communication_in": work.both,
        "communication_norm": work.sequences,
        "digital_add": where(point.local, work.wide, work.wide + work.strips),
        "mha": run.blocks * work.sequences,
        "layer_norm": work.norms + work.gates,
        "multinomial": work.sequences,
        "expert_pass": work.passes,
        "input_load": work.loads,
        "router": where(point.routes_on_units, work.gates, 0.0),
    }
    acts = work.passes + work.shared + work.dense
    for name, mine in zip(ACTIVATION_COMPONENTS, point.activation_is, strict=True):
        counts[name] = where(mine, acts, 0.0)
    return counts


def _flops(point: Point, shape: Geometry, run: Run, work: Work) -> tuple[AnyArray, AnyArray]:
    """Useful operations of the run and of its experts; the authors' laws ((2 - 1/C) per weight, 10 per norm value)."""
    model = point.model
    width, experts = model.d_model, model.num_experts
    rate = 2 - 1 / point.hardware.crossbar_cols
    weights = shape.sums(point, "weights").times(work.uses)
    weights = weights + where(point.routes_on_units, work.gates * width * point.router_outputs, 0.0)
    normed = 10 * ((work.norms - work.sequences) * width + work.gates * experts)
    sampled = work.sequences * (10 * width + 512)
    acts = work.passes * model.d_ff
    of_experts = work.passes * rate * (shape.expert_up.weights + shape.expert_down.weights) + acts
    every = rate * weights + normed + work.wide * width + work.attention_flops + sampled + acts
    return every, of_experts + work.combines * width
