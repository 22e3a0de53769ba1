"""Dies, wires and links around the crossbars of the multiplexed chip: what `pimjax.system` makes of a design and a routing.

A program has this part where its counts have one (:attr:`RunCounts.reach`); a lane without a system then has wires and links
that cost nothing. Decisions where the model leaves room:

- *Silicon*: everything but the experts lies evenly over the layers; groups are as large as their mean.
- *Where it is spent*: a layer's groups lie over at most one die; digital and attention units are as far away as two random
  points of it, wherever a layer is.
- *Next layer*: its norm follows the residual on the unit that added it; what a token carries to the next layer's home goes
  after that.
- *Loads* reach the mean number of groups.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax import arrays
from pimjax.array_typing import AnyArray
from pimjax.arrays import larger, smaller, where
from pimjax.chips.multiplexed.area import Areas
from pimjax.chips.multiplexed.core import Core
from pimjax.chips.multiplexed.geometry import LINEARS, Geometry, Sums
from pimjax.chips.multiplexed.work import Run, Work
from pimjax.config.system import CHIP_NUMBERS, ChipSystem
from pimjax.runs.mixers import over_blocks
from pimjax.runs.point import Point
from pimjax.runs.run_counts import RunCounts
from pimjax.system.dies import die_port, die_yield
from pimjax.system.flows import FlowCounts, PassShape, load_ns, pass_fill_ns, pass_flows
from pimjax.system.layer_dies import LayerDies, layer_dies
from pimjax.system.layer_links import LinkTimes, Messages, link_times, messages, move_times
from pimjax.system.linear_flows import LinearShape, linear_fill_ns, linear_flows, memory_flow

_OF_MIXERS = LINEARS[:3]
_FREE = 1e30  # GB/s of what costs nothing
INSTANT_NS = 1e-3  # a shorter message takes no time, and must not decide who is first
_BANDWIDTHS = ("injection_bandwidth_gb_per_s", "package_link_bandwidth_gb_per_s")
_COSTS = (
    "wire_energy_pj_per_bit_mm",
    "router_energy_pj_per_bit",
    "wire_latency_ns_per_mm",
    "router_latency_ns",
    "die_link_energy_pj_per_bit",
    "die_link_latency_ns",
    "package_link_energy_pj_per_bit",
    "package_link_latency_ns",
)


class Wires(NamedTuple):
    """What wires add to times [ns]."""

    fill: AnyArray  # of an expert's pass
    load: AnyArray  # a load takes no less
    linears: dict[str, AnyArray]  # of each linear layer outside the experts, 0 where there is none; `[M]` of mixers


class Network(NamedTuple):
    """The system of one design and run; float scalars but where axes are given."""

    is_there: AnyArray  # bool
    numbers: Any  # ChipSystem; costs of 0 and bandwidths without limit where there is no system
    port_gb_per_s: AnyArray  # of a link between dies
    dies: AnyArray
    packages: AnyArray
    phy_mm2: AnyArray  # of all links between dies
    die_yield: AnyArray  # 1 without a system
    passes: PassShape  # an expert's pass whose token reaches one group
    linears: LinearShape  # all linear layers outside the experts in one, `[N]`
    wires: Wires
    layers: LayerDies  # [L], [L, D]
    overflow: AnyArray  # bool, a layer reaches over more dies than the counts were made for
    full: AnyArray  # bool, links to their neighbours take all area of dies
    prompt: Messages  # [L] of one pass
    step: Messages  # [L]
    recomputed: Messages | None  # [K, L]; None: no run recomputes its experts

    @property
    def is_there_real(self) -> AnyArray:
        """1 with a system, else 0."""
        return where(self.is_there, 1.0, 0.0 * self.dies)


def network_of(point: Point, schedule: RunCounts, shape: Geometry, tile: Core, run: Run, area: Areas) -> Network | None:
    """The system around a chip of these areas; None where the counts have none."""
    if schedule.die_places is None or schedule.prompt.reach is None:
        return None
    is_there = schedule.die_places.max() > 0
    given = ChipSystem(*(getattr(point.hardware, name) for name in CHIP_NUMBERS))
    free = {name: where(is_there, getattr(given, name), 0.0) for name in _COSTS}
    free |= {name: where(is_there, getattr(given, name), _FREE) for name in _BANDWIDTHS}
    numbers = given._replace(**free)
    port = die_port(numbers)
    total = sum(area.parts.values())
    # every die is alike: it has a port for each of the most neighbours that a die of a package has
    xp = arrays.namespace(total)
    size = arrays.fixed(numbers.dies_per_package)
    columns = xp.ceil(xp.sqrt(size))
    rows = xp.ceil(size / columns)
    ports = smaller(larger(columns - 1, 0.0), 2.0) + smaller(larger(rows - 1, 0.0), 2.0)
    single = total <= numbers.die_area_mm2
    groups, left = area.groups, numbers.die_area_mm2 - ports * port.phy_area_mm2
    usable = where(single, numbers.die_area_mm2, larger(left, 1e-3))
    count = larger(arrays.whole_up(total / usable), 1.0)
    each = area.moe / larger(groups.sum(), 1.0)
    layers = layer_dies(
        groups,
        run.real,
        dense_mm2=(total - area.moe) / larger(point.model.num_blocks, 1.0),
        group_mm2=each,
        usable_mm2=usable,
        dies_per_package=numbers.dies_per_package,
        most_dies=np.shape(schedule.die_places)[-1],
    )
    step = schedule.step.reach
    if not isinstance(run.steps, int):  # sequences that recompute what is not stored run one after the other
        step = step / where(point.dense_all & ~point.experts_all, larger(run.batch, 1.0), 1.0)
    again = schedule.recomputed.reach
    die = smaller(total, usable)  # silicon between two points of a die
    passes = _pass_shape(
        point,
        shape,
        area_mm2=smaller(groups.max() * each, die),
        group_area_mm2=smaller(each, die),
        pitch_mm=xp.sqrt(tile.area_mm2),
    )
    linears = _linear_shapes(point, shape, tile, die)
    return Network(
        is_there=is_there,
        numbers=numbers,
        port_gb_per_s=where(is_there, port.bandwidth_gb_per_s, _FREE),
        dies=count,
        packages=arrays.whole_up(count / numbers.dies_per_package),
        phy_mm2=where(is_there & ~single, count * ports * port.phy_area_mm2, 0.0),
        die_yield=where(is_there, die_yield(numbers.die_area_mm2, numbers), 1.0),
        passes=passes,
        linears=linears,
        wires=_wires_of(passes, linears, numbers, shape),
        layers=layers,
        overflow=is_there & (layers.reach.max() > np.shape(schedule.die_places)[-1]),
        full=is_there & ~single & (left <= 0),
        prompt=messages(schedule.prompt.reach, layers),
        step=messages(step, layers, larger(where(point.dense_all, 1.0, run.batch), 1.0)),
        recomputed=None if again is None else messages(again, layers),
    )


class Sizes(NamedTuple):
    """What messages carry [bytes]."""

    token: AnyArray
    result: AnyArray


def sizes_of(point: Point, network: Network) -> Sizes:
    """A token's activations, and a die's sum of its results."""
    width = point.model.d_model
    return Sizes(width * point.workload.activation_bytes, width * network.numbers.result_bits / 8)


# --- time -----------------------------------------------------------------------------------------------------------


class PassLinks(NamedTuple):
    """Times of links in every pass, `[points, L]` [ns]."""

    experts: LinkTimes
    lead: AnyArray  # `[3, R, points, L]`, see :func:`pimjax.runs.reach.leads_of`
    move_issue: AnyArray  # to the next layer's home: from one token to the next
    move: AnyArray  # one token alone


def pass_links(point: Point, network: Network, schedule: RunCounts, shape: tuple[int, int]) -> PassLinks:
    """Times of links at every point of a run `[points, L]`: the prompt's, then decode steps'."""
    sizes = sizes_of(point, network)

    def times(sent: Messages) -> LinkTimes:
        return link_times(sent, network.numbers, network.port_gb_per_s, *sizes)

    def over(prompt: Any, step: Any, recomputed: Any) -> Any:
        if shape[0] == 1:
            return prompt[None]
        rest = arrays.spread(step[None], (shape[0] - 1, *np.shape(step)))
        if recomputed is not None:
            rest = where(point.experts_all, recomputed, rest)
        return arrays.join([prompt[None], rest])

    prompt, step = times(network.prompt), times(network.step)
    again = None if network.recomputed is None else times(network.recomputed)
    again = (None,) * len(prompt) if again is None else again
    there = network.is_there_real
    moved = move_times(network.layers, network.numbers, network.port_gb_per_s, sizes.result)
    issue, move = (arrays.spread(there * each, shape) for each in moved)
    lead = over(schedule.prompt.lead, schedule.step.lead, schedule.recomputed.lead)
    lead = arrays.namespace(lead).moveaxis(lead, (2, 3), (0, 1))
    return PassLinks(LinkTimes(*map(over, prompt, step, again)), lead, issue, move)


# --- energy ---------------------------------------------------------------------------------------------------------


class NetworkCost(NamedTuple):
    """What the network costs in a run."""

    noc_nj: AnyArray  # wires of dies
    d2d_nj: AnyArray  # links
    noc_busy_ns: AnyArray
    d2d_busy_ns: AnyArray
    crossings: AnyArray  # tokens sent to other dies
    busiest_ns: AnyArray  # busy time of the busiest link
    counts: FlowCounts  # how often each flow happens


def network_cost(
    point: Point, network: Network, schedule: RunCounts, shape: Geometry, run: Run, work: Work
) -> NetworkCost:
    """Energy, busy times and crossings of a run."""
    numbers, sizes, there = network.numbers, sizes_of(point, network), network.is_there_real

    def over_run(of: str) -> Any:
        """A count of every pass, over the run; `[L]`, or `[L, 2]`."""
        prompt, step = getattr(network.prompt, of), getattr(network.step, of)
        whole = run.prefills * prompt
        if isinstance(run.steps, int):
            return whole
        sequences = where(point.dense_all & ~point.experts_all, run.batch, 1.0)
        rest = run.steps * sequences * step
        if network.recomputed is not None:
            again = arrays.namespace(prompt).einsum("k,k...->...", schedule.weights, getattr(network.recomputed, of))
            rest = where(point.experts_all, run.batch * again, rest)
        return whole + rest

    die_hops, away = over_run("die_hops"), over_run("package_messages")
    moves, moves_away = (there * work.tokens * each for each in (network.layers.move_hops, network.layers.move_away))
    one_each = there * work.tokens * smaller(network.layers.move_hops, 1.0)  # on every link of the way
    unrouted = _unrouted(point, schedule, run)
    tokens = larger(work.gates - unrouted, 0.0)
    counts = FlowCounts(
        loads=work.loads,
        passes=work.passes,
        tokens=tokens,
        die_crossings=die_hops.sum(),
        package_crossings=away.sum(),
        die_moves=moves.sum(),
        package_moves=moves_away.sum(),
    )
    made = network.passes._replace(
        targets=work.passes / larger(work.loads, 1.0), groups_per_token=work.passes / larger(tokens, 1.0)
    )
    flows = pass_flows(made, numbers, local_sums=point.local, inline=point.inline)
    by_resource: dict[str, Any] = {"die network": 0.0, "group wires": 0.0, "die link": 0.0, "package link": 0.0}
    for flow in flows:
        by_resource[flow.resource] = by_resource[flow.resource] + flow.energy_nj * getattr(counts, flow.per)
    linears = _linear_energy(point, network, shape).times(work.uses)
    lookups = where(point.looks_up, work.tokens * sizes.token, 0.0)
    moved = 8 * (work.kv_bytes + work.go_bytes + lookups)
    memory = memory_flow(moved, network.linears.area_mm2, network.passes.pitch_mm, numbers)
    die_ns, package_ns = (
        [size / bandwidth for size in sizes]
        for bandwidth in (network.port_gb_per_s, numbers.package_link_bandwidth_gb_per_s)
    )
    busy = (
        die_hops * sum(die_ns) + away * 2 * sum(package_ns) + moves * die_ns[1] + moves_away * 2 * package_ns[1]
    ).sum()
    return NetworkCost(
        noc_nj=by_resource["die network"] + by_resource["group wires"] + linears + memory.energy_nj,
        d2d_nj=by_resource["die link"] + by_resource["package link"],
        noc_busy_ns=work.passes * network.wires.fill,
        d2d_busy_ns=busy,
        crossings=over_run("crossings").sum(),
        busiest_ns=_busiest_link(network, over_run("busiest"), away, one_each, moves_away, die_ns, package_ns),
        counts=counts,
    )


def _busiest_link(
    network: Network, busiest: Any, away: Any, moves: Any, moves_away: Any, die_ns: Any, package_ns: Any
) -> AnyArray:
    """Busy time of the busiest link: those of layers that are at home on one die, or one package, add up."""
    home = network.layers.home
    size = arrays.fixed(network.numbers.dies_per_package)
    package = arrays.namespace(home).floor((home + 0.5) / size)

    def together(place: Any, *times: Any) -> Any:
        alike = (place[:, None] == place[None, :]).astype(home.dtype)
        return [alike @ time for time in times]

    near = together(home, busiest[:, 0] * die_ns[0] + moves * die_ns[1], busiest[:, 1] * die_ns[1])
    far = together(package, away * package_ns[0] + moves_away * package_ns[1], away * package_ns[1])
    return arrays.stack([time.max() for time in (*near, *far)]).max()


def _unrouted(point: Point, schedule: RunCounts, run: Run) -> AnyArray:
    """Tokens that no expert takes, over all layers and passes."""
    whole = run.prefills * schedule.prompt.unrouted.sum()
    if isinstance(run.steps, int):
        return whole
    again = run.batch * (schedule.weights @ schedule.recomputed.unrouted.sum(-1))
    return whole + where(point.experts_all, again, run.steps * schedule.step.unrouted.sum())


# --- shapes ---------------------------------------------------------------------------------------------------------


def _wires_of(passes: PassShape, linears: LinearShape, numbers: Any, shape: Geometry) -> Wires:
    """Times of the wires of one die."""
    fills = where(linears.crossbars > 0, linear_fill_ns(linears, numbers), 0.0)
    return Wires(pass_fill_ns(passes, numbers), load_ns(passes, numbers), _by_name(shape, fills))


def _pass_shape(point: Point, shape: Geometry, **silicon: AnyArray) -> PassShape:
    """A pass whose token reaches one group; `silicon`: areas and pitch."""
    up, down, model = shape.expert_up, shape.expert_down, point.model
    return PassShape(
        width=model.d_model,
        hidden=model.d_ff,
        strip_columns=point.hardware.crossbar_cols,
        up_row_blocks=up.rows,
        up_strips=up.strips,
        up_crossbars=up.tiles,
        down_row_blocks=down.rows,
        down_strips=down.strips,
        down_crossbars=down.tiles,
        gated=where(point.activation_is[-1], 1.0, 0.0 * model.d_ff),
        activation_bits=8.0 * point.workload.activation_bytes,
        targets=1.0,
        groups_per_token=1.0,
        **silicon,
    )


def _linear_shapes(point: Point, shape: Geometry, tile: Core, die_mm2: AnyArray) -> LinearShape:
    """All linear layers outside the experts in one: `[N]`, those of mixers for each kind of them."""
    hardware = point.hardware

    def joined(field: str) -> Any:
        values = [getattr(getattr(shape, name), field) for name in LINEARS]
        size = np.shape(shape.qkv.tiles)
        if not size:
            return arrays.stack(values)
        others = arrays.stack(values[len(_OF_MIXERS) :])
        return arrays.join([*(arrays.spread(value, size) for value in values[: len(_OF_MIXERS)]), others])

    return LinearShape(
        row_blocks=joined("rows"),
        strips=joined("strips"),
        crossbars=joined("tiles"),
        sums=joined("adds"),
        rows=hardware.crossbar_rows,
        columns=hardware.crossbar_cols,
        activation_bits=8.0 * point.workload.activation_bytes,
        core_area_mm2=tile.area_mm2,
        area_mm2=die_mm2,
    )


def _by_name(shape: Geometry, values: Any) -> dict[str, Any]:
    """What :func:`_linear_shapes` put together, by layer."""
    size = np.shape(shape.qkv.tiles)
    each = size[0] if size else 1
    found, at = {}, 0
    for name in LINEARS:
        many = bool(size) and name in _OF_MIXERS
        found[name] = values[at : at + each] if many else arrays.pick(values, at)
        at += each if many else 1
    return found


def _linear_energy(point: Point, network: Network, shape: Geometry) -> Sums:
    """Energy of one token's flows through each kind of linear layer [nJ]."""
    flows = linear_flows(network.linears, network.numbers, local_sums=point.local)
    each = _by_name(shape, sum(flow.energy_nj for flow in flows))
    return Sums(
        mixers=over_blocks(point, each["qkv"] + each["expand"] + each["output"]),
        moe=each["router"] + each["shared_up"] + each["shared_down"],
        dense=each["dense_up"] + each["dense_down"],
        head=each["head"],
        expert=0.0 * point.model.d_model,
    )
