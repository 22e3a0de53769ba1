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

import numpy as np

from pimjax import arrays, status
from pimjax.array_typing import AnyArray, ArrayLike
from pimjax.arrays import larger, namespace, where
from pimjax.chips.multiplexed.area import Areas
from pimjax.chips.multiplexed.core import Core
from pimjax.chips.multiplexed.digital_parts import DigitalParts, products
from pimjax.chips.multiplexed.durations import ACTIVATION_COMPONENTS, Durations
from pimjax.chips.multiplexed.energy import EnergyAndBusy, energy_and_busy
from pimjax.chips.multiplexed.geometry import Geometry
from pimjax.chips.multiplexed.network import (
    Network,
    NetworkCost,
    network_cost,
    sizes_of,
)
from pimjax.chips.multiplexed.power import (
    Draw,
    States,
    busy_at_once_w,
    draw_of,
    instant_messages_nj,
    leakage_nj,
    waiting_ns,
)
from pimjax.chips.multiplexed.swapping import Swapping
from pimjax.chips.multiplexed.work import Run, Work, run_work
from pimjax.chips.parts.memory import memory_of
from pimjax.chips.run_cost import COMPONENTS, OP_KINDS, RunCost, SystemCost
from pimjax.runs.point import Point
from pimjax.runs.run_counts import RunCounts

_JOINED = 8  # values of a table that one loop of a compiled program writes: more, and XLA no longer joins them


class Times(NamedTuple):
    """What a fidelity finds out."""

    latency: AnyArray  # [] ns
    critical: AnyArray  # [C] ns
    moe: AnyArray  # [] ns, expert phases
    last_pass: AnyArray  # [L] ns
    slowest_layer: AnyArray  # [] ns, time the run spends in its slowest layer; [L] of each, before it is known which
    waiting_results: ArrayLike  # [] most results that wait for their addition
    waiting: (
        ArrayLike  # [3, K] pauses that a fast model knows, or [] time that sets of peripherals wait powered, all sets
    )
    peak_w: ArrayLike | None  # [] largest dynamic power; None: of all that can be busy at once
    status: ArrayLike  # [] int32


class Chip(NamedTuple):
    """A design with all that follows from it alone, and the size of its largest group."""

    point: Point
    shape: Geometry
    tile: Core
    time: Durations  # plain
    timed: Durations  # the same with the components' shares, where they were asked for
    largest: AnyArray
    beside: DigitalParts | None  # what lies on digital macros
    area: Areas
    state: States  # of a set of peripherals
    network: Network | None = None  # dies, wires and links around it
    swaps: Swapping | None = None  # experts that are written; None: all are there

    def standing_still(self, times: Times) -> Times:
        """Times of a run that also writes experts, everything else standing still meanwhile; `slowest_layer` [L] becomes
        that of the slowest layer."""
        if self.swaps is None:
            return times._replace(slowest_layer=times.slowest_layer.max())
        stalls = self.swaps.layers_ns
        whole = stalls.sum()
        return times._replace(
            latency=times.latency + whole,
            critical=times.critical + self.swaps.critical_ns(whole),
            moe=times.moe + whole,
            slowest_layer=(times.slowest_layer + stalls).max(),
        )


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
    uses = work.both + work.reads  # as if all lay on one kind of tile
    found, work = _energies(chip, run, work, times.latency)
    area = chip.area
    state, tiles, group_sets = chip.state, shape.sums(point, "tiles"), area.group_sets
    peripherals = area.expert_peripherals + area.dense_peripherals
    sets, active = area.groups.sum() * group_sets + shape.dense_tiles, uses * state.product_ns
    idle_ns = larger(sets * times.latency - active, 0.0)
    waiting = times.waiting
    if np.ndim(waiting):
        every = uses + work.passes * (group_sets - shape.expert_tiles)  # a pass uses every set of its group once
        waiting = waiting_ns(
            point, shape, state, waiting, tiles=tiles, group_sets=group_sets, uses=every, idle_ns=idle_ns
        )
    powered, gated = leakage_nj(state, peripherals / sets, active_ns=active, idle_ns=idle_ns, waiting_ns=waiting)
    parts = {**found.energy, "leakage_idle": powered, "leakage_gated": gated}
    busy, around = found.busy, None
    swaps = chip.swaps
    if swaps is not None:
        parts["expert_swap"] = swaps.writes * swaps.each.energy_nj
        busy = {**busy, "expert_swap": swaps.layers_ns.sum()}
    fetch_nj: Any = 0.0
    if chip.network is not None:
        around = network_cost(point, chip.network, schedule, shape, run, work)
        if swaps is not None:
            fetch_nj = swaps.way_nj(chip.network)
            around = around._replace(noc_nj=around.noc_nj + fetch_nj)
        parts |= {"noc": around.noc_nj, "d2d": around.d2d_nj}
        busy = {**busy, "noc": around.noc_busy_ns, "d2d": around.d2d_busy_ns}
    energy = _vector(COMPONENTS, parts)
    component_area = _vector(COMPONENTS, _all_areas(chip))
    one_die, impossible = hardware.reticle_area_mm2, tile.impossible
    is_alone = component_area.sum() > one_die
    if chip.network is not None:
        is_alone = is_alone & ~chip.network.is_there
        one_die = where(chip.network.is_there, chip.network.numbers.die_area_mm2, one_die)
        impossible = namespace(times.latency).logical_or(impossible, chip.network.full)
    busy_ns = _table(COMPONENTS, busy)
    links_nj = 0.0 if around is None else around.d2d_nj
    draw = draw_of(point, energy, busy_ns, uses, fetch_nj)
    together, cores = busy_at_once_w(
        point,
        shape,
        schedule,
        run,
        draw,
        state,
        tiles=tiles,
        groups=area.groups,
        network=chip.network,
        links_nj=links_nj,
    )
    peak: Any = together if times.peak_w is None else times.peak_w
    held = (1 - run.sram) * run.held
    if swaps is not None:
        peak, held = larger(peak, swaps.power_w), held + swaps.held_bytes
    static = (found.energy["passive"] + powered + gated) / times.latency
    of_set = (area.parts["moe_crossbars"] + area.parts["dense_crossbars"]) / sets
    needed = area.crossbars
    if chip.beside is not None:
        impossible = namespace(times.latency).logical_or(impossible, chip.beside.core.impossible)
    flops, moe_flops = _flops(point, shape, run, work)
    shared = (
        found.units_busy / hardware.num_digital_units,
        work.attention_time,
        found.dram_busy if swaps is None else found.dram_busy + swaps.writes * swaps.each.fetch_ns,
    )
    interval = times.slowest_layer
    for taken in (*shared, *(() if around is None else (around.busiest_ns,))):
        interval = larger(interval, taken)
    tokens = run.batch * run.prompt
    if not isinstance(run.steps, int):
        tokens = where(run.steps > 0, run.batch * workload.generated_tokens, tokens)
    return RunCost(
        latency_ns=times.latency,
        flops=flops,
        peak_memory_bytes=area.buffers.peak_bytes(times.waiting_results),
        crossbars=needed,
        critical_ns=times.critical,
        busy_ns=busy_ns,
        component_energy_nj=energy,
        component_area_mm2=component_area,
        op_counts=_table(OP_KINDS, _counts(point, run, work)),
        moe_latency_ns=times.moe,
        # peripherals are powered during these phases
        moe_energy_nj=found.experts
        + parts.get("expert_swap", 0.0)
        + state.idle_w * area.expert_peripherals * times.moe,
        moe_flops=moe_flops,
        moe_area_mm2=area.moe,
        moe_last_pass_ns=times.last_pass,
        tokens=tokens,
        pipeline_interval_ns=interval,
        utilisation=found.busy["tier_linear"] / (times.latency * needed),
        peak_power_w=peak + static,
        hot_area_mm2=larger(cores * of_set, arrays.smaller(component_area.sum(), one_die)),
        status=status.bits(
            times.status,
            {
                status.DOES_NOT_FIT: (needed > hardware.tiles) | (held > memory_of(point).capacity_bytes),
                status.MULTI_DIE: is_alone,
                status.NON_FINITE: ~namespace(times.latency).isfinite(times.latency),
                status.IMPOSSIBLE: impossible,
                **({} if chip.network is None else {status.CAPACITY_EXCEEDED: chip.network.overflow}),
            },
        ),
        system=None if around is None else _system_cost(chip, work, around, component_area.sum()),
        expert_hit_rate=None if swaps is None else 1 - swaps.writes / larger(work.passes, 1.0),
        lifetime_years=None if swaps is None else swaps.lifetime_years(point, times.latency),
    )


def _all_areas(chip: Chip) -> dict[str, AnyArray]:
    """Areas by component [mm2], with what links between dies take."""
    return chip.area.parts if chip.network is None else {**chip.area.parts, "d2d": chip.network.phy_mm2}


def _system_cost(chip: Chip, work: Work, spent: NetworkCost, area: AnyArray) -> SystemCost:
    network = chip.network
    assert network is not None
    return SystemCost(
        is_there=network.is_there,
        dies=network.dies,
        packages=network.packages,
        silicon_area_mm2=where(network.is_there, network.dies * network.numbers.die_area_mm2 / network.die_yield, area),
        die_crossings=spent.crossings,
        tokens=work.tokens,
        busiest_link_ns=where(network.is_there, spent.busiest_ns, 0.0),
        network_energy_nj=spent.noc_nj + spent.d2d_nj,
    )


def with_mean_products(chip: Chip, schedule: RunCounts, run: Run) -> Chip:
    """The chip with peripherals that are active as long as the mean product of its kinds of tiles takes."""
    if chip.beside is None:
        return chip
    made = products(chip.point, chip.shape, run_work(chip.point, schedule, chip.shape, run), chip.beside)
    on_tiles, on_macros = made.both.analog + made.reads.analog, made.both.digital + made.reads.digital
    state, time = chip.state, on_tiles * chip.tile.mvm_latency_ns + on_macros * chip.beside.core.mvm_latency_ns
    mean = time / (on_tiles + on_macros)
    return chip._replace(state=state._replace(product_ns=mean, pass_ns=state.pass_ns / state.product_ns * mean))


def _energies(chip: Chip, run: Run, work: Work, latency: AnyArray) -> tuple[EnergyAndBusy, Work]:
    """Energy and busy time; the work with the products that its kinds of tiles make."""
    made = None
    if chip.beside is not None:
        made = products(chip.point, chip.shape, work, chip.beside)
        work = work._replace(both=made.both.total, reads=made.reads.total)
    found = energy_and_busy(
        chip.point,
        chip.shape,
        chip.tile,
        chip.time,
        run,
        work,
        latency,
        chip.largest,
        beside=chip.beside,
        made=made,
        holds_weights=False if chip.swaps is None else chip.swaps.spills,
    )
    return found, work


def draw_of_run(chip: Chip, schedule: RunCounts, run: Run) -> Draw:
    """What operations of a run draw while they run, before its times are known."""
    work = run_work(chip.point, schedule, chip.shape, run)
    found, made = _energies(chip, run, work, 0.0 * run.batch)
    energy, busy, uses = found.energy, found.busy, work.both + work.reads
    instant = 0.0
    if chip.network is not None:
        around = network_cost(chip.point, chip.network, schedule, chip.shape, run, made)
        energy = {**energy, "noc": around.noc_nj, "d2d": around.d2d_nj}
        busy = {**busy, "noc": around.noc_busy_ns, "d2d": around.d2d_busy_ns}
        instant = instant_messages_nj(chip.network, around.counts, sizes_of(chip.point, chip.network))
    draw = draw_of(chip.point, _vector(COMPONENTS, energy), _vector(COMPONENTS, busy), uses)
    return draw._replace(product_nj=draw.product_nj + instant / uses)


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
