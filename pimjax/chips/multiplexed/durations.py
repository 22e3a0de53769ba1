"""How long everything takes on the multiplexed chip [ns]: smooth, differentiable, every number data.

Source of every formula: the definition of the `multiplexed` model in docs/multiplexed-chip.md; laws of digital units and
links are the authors' simulator's, without its rounding to whole ns. With `shares` every duration carries the part
that each component has in it (:mod:`pimjax.chips.parts.dual`).

Decisions where the model's text leaves room:

- *Unshared linears* start a token every `max(t_mvm, t_x, t_col(row blocks))`.
- `accumulate = digital`: additions of a strip's partial sums are one chain per strip, held by one digital unit
  from its first to its last addition; t_A and t_D (for the pipeline depth D) are then the times without waiting.
- `share = none` makes every expert a group of its own: no multiplexer in the path.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pimjax import arrays
from pimjax.array_typing import AnyArray, ArrayLike
from pimjax.arrays import whole_up
from pimjax.chips.multiplexed.core import Core, core
from pimjax.chips.multiplexed.digital_parts import PART_OF_LINEAR, DigitalParts
from pimjax.chips.multiplexed.geometry import Geometry, Linear, geometry
from pimjax.chips.multiplexed.network import Wires
from pimjax.chips.parts.dual import Dual, apart, larger, value_of, where
from pimjax.chips.parts.memory import memory_of
from pimjax.chips.run_cost import COMPONENT_INDEX, COMPONENTS
from pimjax.config.build import Design
from pimjax.runs.point import Point, point_of

#: Components that a latency can have a share of: those of COMPONENTS from the first of these to the last.
FIRST_TIMED, LAST_TIMED = COMPONENT_INDEX["tier_linear"], COMPONENT_INDEX["d2d"]
TIMED = COMPONENTS[FIRST_TIMED : LAST_TIMED + 1]
ACTIVATION_COMPONENTS = ("digital_relu", "digital_gelu", "digital_swiglu")


class LinearTime(NamedTuple):
    """One unshared linear for one token [ns]."""

    issue: Any  # the next token may follow
    flight: Any  # from the token's arrival to its result, without digital additions
    chain: Any  # one strip's additions on a digital unit (0 if accumulated locally)
    strips: Any  # number of such chains

    def of_either(self, condition: Any, other: LinearTime) -> LinearTime:
        """Times of `other` where `condition`; additions on digital units are the same for both."""
        return self._replace(
            issue=where(condition, other.issue, self.issue), flight=where(condition, other.flight, self.flight)
        )

    def later(self, wires: Any) -> LinearTime:
        """The same with what wires add to a token's way."""
        return self._replace(flight=self.flight + wires)


class Durations(NamedTuple):
    """Times of one design [ns]; scalars, plain or :class:`Dual`."""

    mvm: Any
    mux: Any
    link: Any  # t_x: one block over one hop
    load: Any  # t_load
    wake: Any  # switching on a group's peripherals, beside its first load (0: nothing is ever gated)
    stage: Any  # t_stage
    a: Any  # t_A
    d: Any  # t_D
    out: Any  # one group's results over one shared return link (nh blocks); 0 if links are not shared
    depth: AnyArray  # D: slots a pass is in flight
    buffer_slots: AnyArray  # Q
    up_link: Any  # digital accumulation: u(s) to the arrival of stage A's partial sums
    up_chain: Any
    up_strips: AnyArray
    act_job: Any  # activation of a pass on a digital unit
    down_link_in: Any
    down_mvm: Any
    down_link_out: Any
    down_chain: Any
    down_strips: AnyArray
    add: Any  # ADD(d)
    combine_add: Any  # ADD(d) if combination and residual of MoE layers run on digital units, else 0
    norm: Any  # NORM(d)
    post_norms: Any  # of what attention or a dense block adds to the residual (0: there are none)
    first_norm: Any  # of the experts' input (0: that of the layer is theirs)
    ending: Any  # norms of what the experts add to the residual, and the addition (0 if the links add)
    gate: Any  # NORM(E)
    router_digital: Any  # router on a digital unit (0 if on crossbars)
    router: LinearTime
    qkv: LinearTime
    expand: LinearTime
    output: LinearTime
    head: LinearTime
    dense_up: LinearTime
    dense_down: LinearTime
    shared_up: LinearTime
    shared_down: LinearTime
    dense_act: Any  # activation of a dense block or shared expert: local, part of a flight
    dense_act_job: Any  # the same on a digital unit
    shared_act_job: Any
    embed: Any  # one token's embedding: transfer from the memory, or crossbar read
    embed_flight: Any  # added after it (latency of the memory, links of a crossbar read)
    sampling: Any
    scheduler: Any  # per token of a window


def share_of(component: str, time: Any, *, shares: bool) -> Any:
    """`time` as wholly the component's: a :class:`Dual` over :data:`TIMED` if `shares`, else as it is."""
    if not shares:
        return time
    return _shared(time, np.eye(len(TIMED))[TIMED.index(component)])


def _shared(time: Any, component: Any) -> Dual:
    along = component.astype(getattr(time, "dtype", float)).reshape((-1,) + (1,) * np.ndim(time))
    return Dual(time, along * (time[None] if np.ndim(time) else time))


def durations(
    design: Design | Point,
    largest_group: ArrayLike,
    *,
    shape: Geometry | None = None,
    tile: Core | None = None,
    beside: DigitalParts | None = None,
    wires: Wires | None = None,
    shares: bool = False,
) -> Durations:
    """Every duration of a design. Kernel: pure, unbatched.

    Args:
        design: leaves scalars.
        largest_group: members of the largest group (1: nothing is shared).
        shape, tile: `geometry(design)` and `core(design)` if already there.
        beside: what lies on digital macros, of :func:`.digital_parts.digital_parts`.
        wires: of the dies around the crossbars; None: they take no time.
        shares: static; every time is a :class:`Dual` over :data:`TIMED`.

    >>> from pimjax.config.build import build
    >>> from pimjax.config.config import Config
    >>> times = durations(build(Config())[0], 2)
    >>> [round(float(t), 3) for t in (times.stage, times.a, times.d)]
    [131.622, 208.622, 167.622]
    """
    point = point_of(design)
    hardware, model, workload, local = point.hardware, point.model, point.workload, point.local
    shape = geometry(point) if shape is None else shape
    tile = core(point) if tile is None else tile

    def part(component: str, time: Any) -> Any:
        return share_of(component, time, shares=shares)

    columns = hardware.crossbar_cols
    mvm = dense_mvm = part("tier_linear", tile.mvm_latency_ns)
    members = where(point.unshared, 1.0, point.real(largest_group))
    capacitance = hardware.line_capacitance_pf + members * hardware.mux_capacitance_pf
    settling = math.log(2.0) * hardware.mux_on_resistance_kohm * capacitance

    def switched(bits: Any) -> Any:
        return part("sharing_mux", where(members > 1, (bits + 1) * settling, 0.0))

    mux = switched(tile.settled_bits)
    link = part("communication", hardware.link_latency_ns_per_256 * columns / 256)
    links = where(hardware.input_links > 0, hardware.input_links, shape.expert_up.rows)
    row = model.d_model * workload.activation_bytes
    load_time = row / (links * hardware.link_bandwidth_gb_per_s)
    load = part("input_load", load_time if wires is None else arrays.larger(load_time, wires.load))
    add_rate, norm_rate = hardware.add_latency_ns_per_256 / 256, hardware.norm_latency_ns_per_256 / 256

    def add_of(width: Any) -> Any:
        return part("digital_add", add_rate * width + hardware.add_latency_base_ns)

    activation = _activation(point, shares)
    macro = mvm
    if beside is not None:  # experts of both kinds: the slower one
        macro, macro_mux = part("tier_linear", beside.core.mvm_latency_ns), switched(beside.core.settled_bits)
        slower = value_of(macro + macro_mux) > value_of(mvm + mux)
        digital = beside.some & (beside.only | slower)
        mvm, mux = where(digital, macro, mvm), where(digital, macro_mux, mux)
    rows = _rows(point, dense_mvm, link, add_of(columns), shares)
    up, down = rows(shape.expert_up.rows), rows(shape.expert_down.rows)
    act_local, act_pass = where(local, activation(columns), 0.0), activation(model.d_ff)
    product = mux + mvm
    returned = product + link
    conversion = where(point.pairs, 2.0 * product, product)
    stage = larger(larger(conversion, link), larger(larger(up.sums, down.sums), act_local))
    a = where(local, returned + up.sums + act_local, returned + up.chain + act_pass)
    back = link if wires is None else link + part("noc", wires.fill)  # all of a pass's wires, where its results return
    d = back + returned + where(local, down.sums, down.chain)
    shares_out = hardware.out_links > 0
    per_result = where(shares_out, shape.expert_down.strips / where(shares_out, hardware.out_links, 1.0), 0.0)

    memory = memory_of(point)
    lookup, access = part("embedding", row / memory.bandwidth), part("embedding", memory.latency_ns)
    router_work = part("router", model.d_model * point.router_outputs / hardware.router_values_per_ns)
    add, norm = add_of(model.d_model), part("layer_norm", norm_rate * model.d_model)
    post = norm * model.post_norms
    late = norm * (model.post_norms + arrays.larger(model.moe_norms, 1.0) - 1)
    times = _linears(rows, shape, up)
    read = dense_mvm
    if beside is not None:
        of_macros = _rows(point, macro, link, add_of(columns), shares)
        macros = _linears(of_macros, shape, of_macros(shape.expert_up.rows))
        times = {name: time.of_either(beside.has(PART_OF_LINEAR[name]), macros[name]) for name, time in times.items()}
        read = where(beside.has("embedding"), macro, read)
    if wires is not None:
        times = {name: time.later(part("noc", wires.linears[name])) for name, time in times.items()}
    return Durations(
        mvm=mvm,
        mux=mux,
        link=link,
        load=load,
        wake=part(
            "input_load",
            where(hardware.idle_power_w_per_mm2 > hardware.gated_power_w_per_mm2, hardware.wake_latency_ns, 0.0),
        ),
        stage=stage,
        a=a,
        d=d,
        out=link * per_result,
        depth=whole_up(value_of(a + d) / value_of(stage)),
        buffer_slots=hardware.out_buffer_slots,
        up_link=returned,
        up_chain=up.chain,
        up_strips=shape.expert_up.strips,
        act_job=where(local, 0.0, act_pass),
        down_link_in=link,
        down_mvm=product,
        down_link_out=back,
        down_chain=down.chain,
        down_strips=shape.expert_down.strips,
        add=add,
        combine_add=where(point.inline, 0.0, add),
        norm=norm,
        post_norms=post,
        first_norm=where(model.moe_norms > 0, norm, 0.0),
        ending=where(point.inline, 0.0, add + late),
        gate=part("layer_norm", norm_rate * model.num_experts),
        router_digital=where(point.routes_on_units, router_work, 0.0),
        router=times["router"],
        qkv=times["qkv"],
        expand=times["expand"],
        output=times["output"],
        head=times["head"],
        dense_up=times["dense_up"],
        dense_down=times["dense_down"],
        shared_up=times["shared_up"],
        shared_down=times["shared_down"],
        dense_act=act_local,
        dense_act_job=where(local, 0.0, activation(model.dense_d_ff)),
        shared_act_job=where(local, 0.0, activation(model.shared_width)),
        embed=where(point.looks_up, lookup, read),
        embed_flight=where(point.looks_up, access, link),
        sampling=part("multinomial", hardware.sampling_latency_ns),
        scheduler=part("scheduler", hardware.scheduler_ns_per_token),
    )


def _linears(rows: Callable[[AnyArray], _Row], shape: Geometry, up: _Row) -> dict[str, LinearTime]:
    """The unshared linears, all on tiles of one kind; `up`: that of layers as wide as the model."""
    dense = rows(shape.dense_down.rows)
    return {
        "router": up.unless_none(shape.router),
        "qkv": up.of(shape.qkv),
        "expand": rows(shape.expand.rows).unless_none(shape.expand),
        "output": rows(shape.output.rows).of(shape.output),
        "head": up.of(shape.head),
        "dense_up": up.of(shape.dense_up),
        "dense_down": dense.of(shape.dense_down),
        "shared_up": up.unless_none(shape.shared_up),
        "shared_down": rows(shape.shared_down.rows).unless_none(shape.shared_down),
    }


class _Row(NamedTuple):
    """What linear layers have in common that sum over as many row blocks [ns]."""

    sums: Any  # t_col: local addition of partial sums
    issue: Any
    flight: Any
    chain: Any

    def of(self, linear: Linear) -> LinearTime:
        """The times of a layer."""
        return LinearTime(self.issue, self.flight, self.chain, linear.strips)

    def unless_none(self, linear: Linear) -> LinearTime:
        """The times of a layer that may not be there."""
        used = linear.tiles > 0
        issue, flight, chain = (where(used, time, 0.0) for time in self[1:])
        return LinearTime(issue, flight, chain, linear.strips)


def _rows(point: Point, mvm: Any, link: Any, add: Any, shares: bool) -> Callable[[AnyArray], _Row]:
    """Row blocks -> times. `add`: addition of one strip's width on a digital unit."""
    hardware, local, one = point.hardware, point.local, point.one
    cycle = hardware.crossbar_cols / (hardware.accumulator_lanes * hardware.accumulator_frequency_ghz)
    longest, way = larger(mvm, link), 2.0 * link + mvm

    @arrays.subroutine
    def row(blocks: AnyArray) -> _Row:
        behind = arrays.larger(blocks, 1.0) - 1
        # local additions hide behind the product where they are shorter
        sums = share_of("local_accumulation", arrays.where(local, 4.0 + behind * cycle, 0.0), shares=shares)
        sums = apart(sums, one)
        return _Row(sums, larger(longest, sums), way + sums, where(local, 0.0, add * behind))

    return row


def _activation(point: Point, shares: bool) -> Any:
    """Width -> time of one activation of this model's kind."""
    hardware = point.hardware
    per_value = point.by_activation(0.0, hardware.gelu_latency_ns_per_256, hardware.swiglu_latency_ns_per_256) / 256
    relu = point.model.activation_steps * hardware.relu_latency_ns
    base = point.by_activation(relu, hardware.gelu_latency_base_ns, hardware.swiglu_latency_base_ns)
    if not shares:
        return lambda width: per_value * width + base
    places = np.array([TIMED.index(name) for name in ACTIVATION_COMPONENTS], float)
    place = point.by_activation(*places)
    mine = np.arange(len(TIMED)) == place
    component = mine.astype(point.dtype)
    return lambda width: _shared(arrays.apart(per_value * width + base, point.one), component)
