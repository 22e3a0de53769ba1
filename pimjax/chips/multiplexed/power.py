"""Power states of peripherals: leakage of those that work, wait, or are switched off; and the largest power at once.

A set of peripherals (converters, drivers: the part of a core that a group shares) is in one of three states. *Active*: it
converts. *Idle*: powered, waiting. *Gated*: switched off; waking up takes `wake_latency_ns` at idle power, and
`wake_energy_nj_per_mm2` to charge its rails. The schedule is known, so that whoever pauses for longer than the break-even

    shortest = wake-up time + wake-up energy / (idle - gated power)

is gated at once and woken in time. A pause of x then costs idle power for min(x, shortest) and gated power for the rest,
whatever of the first part is waiting and what is waking up; with gated = idle power nothing is ever gated. A run is taken to
follow itself: the pause after its last use and the one before its first are one, so that parts of a run add up.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax import arrays
from pimjax.array_typing import AnyArray
from pimjax.arrays import larger, smaller, where
from pimjax.chips.multiplexed.core import Core
from pimjax.chips.multiplexed.durations import ACTIVATION_COMPONENTS
from pimjax.chips.multiplexed.geometry import Geometry, Sums
from pimjax.chips.multiplexed.network import INSTANT_NS, Network, Sizes
from pimjax.chips.multiplexed.work import Run
from pimjax.chips.run_cost import COMPONENTS
from pimjax.runs.mixers import over_blocks
from pimjax.runs.point import Point
from pimjax.runs.run_counts import RunCounts
from pimjax.system.flows import FlowCounts

#: Peak power is the largest mean over this time [ns].
PEAK_WINDOW_NS = 1000.0
#: What a fast model knows of pauses within forward passes, summed over the run: rows of `[3, K]`.
PAUSES = ("up to the break-even, ns", "whole, ns", "how many")
#: Last columns; before them are the bins of pauses of groups between two of their passes, all groups. One crossbar of these
#: linears between two tokens, summed over the layers.
TOKEN_PAUSES = ("first linears", "behind attention", "attention's output")
STATIC = ("passive", "leakage_idle", "leakage_gated")
ON_UNITS = ("digital_add", "layer_norm", "router", *ACTIVATION_COMPONENTS)
IN_MEMORY = ("dram_kv", "dram_go", "embedding")
OWN = ("digital_add", "layer_norm", "router", *IN_MEMORY, "mha_comp", "d2d", "expert_swap")


class States(NamedTuple):
    """One set of peripherals in each of its states; float scalars."""

    active_w: AnyArray  # per mm2
    idle_w: AnyArray
    gated_w: AnyArray
    shortest_ns: AnyArray  # pauses up to this are spent idle; without a meaning where nothing is ever gated
    gates: AnyArray  # bool, switching off saves power
    product_ns: AnyArray  # a set is active for so long per product
    pass_ns: AnyArray  # and so long per pass of its group


def states(point: Point, shape: Geometry, tile: Core) -> States:
    """The states of one set of peripherals.

    >>> from pimjax.chips.multiplexed.core import core
    >>> from pimjax.chips.multiplexed.geometry import geometry
    >>> from pimjax.config import build, load_config
    >>> own = {"hardware.idle_power_w_per_mm2": 8e-4, "hardware.gated_power_w_per_mm2": 4e-5}
    >>> point = Point(build(load_config("paper_crossbars", own))[0])
    >>> made = states(point, geometry(point), core(point))
    >>> round(float(made.shortest_ns), 1), bool(made.gates)
    (1325.8, True)
    """
    hardware = point.hardware
    saved = hardware.idle_power_w_per_mm2 - hardware.gated_power_w_per_mm2
    gates = saved > 0
    up, down, both = shape.expert_up.tiles, shape.expert_down.tiles, shape.expert_tiles
    return States(
        active_w=hardware.active_power_w_per_mm2,
        idle_w=hardware.idle_power_w_per_mm2,
        gated_w=hardware.gated_power_w_per_mm2,
        shortest_ns=hardware.wake_latency_ns + hardware.wake_energy_nj_per_mm2 / where(gates, saved, 1.0),
        gates=gates,
        product_ns=arrays.as_real(tile.mvm_latency_ns, point.dtype, device=point.device),
        pass_ns=tile.mvm_latency_ns * both / where(point.pairs, larger(up, down), both),
    )


def waiting_ns(
    point: Point, shape: Geometry, state: States, pauses: Any, *, tiles: Sums, group_sets: Any, uses: Any, idle_ns: Any
) -> Any:
    """Time that sets of peripherals spend powered and idle, summed over all sets, from what a fast model knows [ns].

    What is left of their idle time beside the known pauses lies between forward passes: one pause for every use that no known
    pause follows.

    Args:
        point, shape, state: of one design.
        pauses: `[3, K]`, see :data:`PAUSES`.
        tiles: crossbars of `shape`, by what goes through them.
        group_sets: sets of one group.
        uses: of all sets together.
        idle_ns: time in which they do not convert.
    """
    queries = over_blocks(point, shape.qkv.tiles + shape.expand.tiles)
    outputs = over_blocks(point, shape.output.tiles)
    feeds = point.model.num_moe_layers * tiles.moe + point.model.num_dense_layers * tiles.dense
    dense = arrays.stack([queries, feeds, outputs]) / point.model.num_blocks
    bins = np.shape(pauses)[1] - len(TOKEN_PAUSES)
    known, whole, followed = pauses @ arrays.join([arrays.spread(group_sets, (bins,)), dense])
    return known + smaller(larger(idle_ns - whole, 0.0), (uses - followed) * state.shortest_ns)


def leakage_nj(state: States, area_mm2: Any, *, active_ns: Any, idle_ns: Any, waiting_ns: Any) -> tuple[Any, Any]:
    """Energy of powered and of gated peripherals.

    Args:
        state: of one set.
        area_mm2: of one set.
        active_ns, idle_ns: time in which they convert, and in which they do not, summed over the sets.
        waiting_ns: the part of the latter in which they would stay powered.

    >>> state = States(0.0, 2.0, 1.0, 5.0, True, 1.0, 1.0)
    >>> [float(energy) for energy in leakage_nj(state, 1.0, active_ns=3.0, idle_ns=17.0, waiting_ns=7.0)]
    [14.0, 10.0]
    """
    waiting = where(state.gates, smaller(waiting_ns, idle_ns), idle_ns)
    powered = state.active_w * active_ns + state.idle_w * waiting
    return area_mm2 * powered, area_mm2 * state.gated_w * (idle_ns - waiting)


class Draw(NamedTuple):
    """What operations draw while they run."""

    power_w: AnyArray  # [C] of one operation on a unit, a channel, the attention units, links between dies; 0: not such a component
    product_nj: AnyArray  # [] of a product with all that goes with it: wires, sums, loads, caches on the die, activations beside converters


def _along(names: tuple[str, ...]) -> np.ndarray:
    """float64 [C], 1 at these components."""
    return np.isin(COMPONENTS, names).astype(np.float64)


def draw_of(point: Point, energy_nj: Any, busy_ns: Any, products: Any, apart_nj: Any = 0.0) -> Draw:
    """Powers of operations, so that all of a run together draw its dynamic energy.

    Args:
        point: the design.
        energy_nj, busy_ns: `[C]` of the run.
        products: on crossbars.
        apart_nj: of the energy, what is drawn while everything else stands still (experts on their way over a die).
    """
    mine = _along(OWN) > 0
    acts = _along(ACTIVATION_COMPONENTS) > 0  # units' work, or beside the converters
    runs = (busy_ns > 0) & (mine | (acts & ~point.local))
    own = where(runs, energy_nj, 0.0)
    power = own / where(runs, busy_ns, 1.0)
    dynamic = energy_nj * (1.0 - _along(STATIC)).astype(point.dtype)
    return Draw(power, ((dynamic - own).sum() - apart_nj) / products)


def busy_at_once_w(
    point: Point,
    shape: Geometry,
    schedule: RunCounts,
    run: Run,
    draw: Draw,
    state: States,
    *,
    tiles: Sums,
    groups: AnyArray,
    network: Network | None = None,
    links_nj: Any = 0.0,
) -> tuple[Any, Any]:
    """Dynamic power if everything works that can work at once [W], and how many crossbars that are: one layer's with its
    links, beside them all units, attention, memory.

    Sequences that decode together may be in different layers where no layer's experts wait for all of them.
    `groups` `[L]`, `tiles` as for :func:`waiting_ns`; `links_nj`: of links between dies in the run, no window has more.
    """
    passes = schedule.prompt.passes
    staggered: Any = False
    if not isinstance(run.steps, int):
        chosen = where(point.design.model.routing == 0, run.batch * point.model.top_k, point.model.num_experts)
        passes = passes + chosen + schedule.recomputed.passes.max(0)
        staggered = (run.steps > 0) & (run.batch > 1) & ~point.dense_all
    works = smaller(groups, passes).max() * shape.expert_tiles
    layer = largest(shape.qkv.tiles + shape.expand.tiles + shape.output.tiles)
    layer = layer + where(point.looks_up, 0.0, shape.embedding_strips)
    layer = layer + larger(tiles.moe + works, tiles.dense)
    cores, layers = larger(layer, tiles.head), 1.0
    if staggered is not False:
        waits = point.design.plan.barrier & (run.dense_layers <= 0)
        layers = where(staggered & ~waits, smaller(run.batch, run.blocks), 1.0)
        cores = where(staggered, tiles.head + layer * layers, cores)
    on_units = (draw.power_w * _along(ON_UNITS).astype(point.dtype)).max()
    others = draw.power_w @ _along((*IN_MEMORY, "mha_comp")).astype(point.dtype)
    watts = cores * draw.product_nj / state.product_ns + point.hardware.num_digital_units * on_units + others
    if network is not None:
        watts = watts + smaller(layers * links_of_layer_w(network), links_nj / PEAK_WINDOW_NS)
    return watts, cores


def links_of_layer_w(network: Network) -> Any:
    """Power of all links that one layer can keep busy at once [W]: to each of its other dies and back, out of its package
    and into every other one and back, and on the way to the next layer."""
    layers, size = network.layers, arrays.fixed(network.numbers.dies_per_package)
    die, package = link_powers_w(network)
    used = (layers.past > layers.first).astype(layers.row.dtype)
    hops = abs(layers.row) + abs(layers.column)
    near, gone = (used * (1.0 - layers.away) * hops).sum(-1), (used * layers.away).sum(-1)
    packages = smaller(gone, 1.0 + gone / size)
    return ((2.0 * near + layers.move_hops) * die + (2.0 * packages + layers.move_away) * package).max()


def link_powers_w(network: Network) -> tuple[Any, Any]:
    """What a busy link between dies draws, and the two links of a busy way between packages together [W]."""
    numbers = network.numbers
    die = network.port_gb_per_s * numbers.die_link_energy_pj_per_bit
    package = numbers.package_link_bandwidth_gb_per_s * numbers.package_link_energy_pj_per_bit
    return 8e-3 * die, 8e-3 * package


def instant_messages_nj(network: Network, counts: FlowCounts, sizes: Sizes) -> float:
    """Energy of messages that take no time worth counting (:data:`INSTANT_NS`). Host."""
    numbers, found = network.numbers, 0.0
    for bandwidth, per_bit, sent, moved in (
        (network.port_gb_per_s, numbers.die_link_energy_pj_per_bit, counts.die_crossings, counts.die_moves),
        (
            numbers.package_link_bandwidth_gb_per_s,
            numbers.package_link_energy_pj_per_bit,
            counts.package_crossings,
            counts.package_moves,
        ),
    ):
        for size, count in ((sizes.token, sent), (sizes.result, sent + moved)):
            if size <= INSTANT_NS * bandwidth:
                found += 8e-3 * float(per_bit * size * count)
    return found


def largest(values: Any) -> Any:
    """The largest of an array, or the number itself."""
    return values.max() if np.ndim(values) else values
