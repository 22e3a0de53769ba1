"""Every flow of an expert pass, priced once: who sends how many bits how far, what it costs, which resource it takes.

The energy of the network is the sum over the table; there is nothing beside it. NumPy or JAX.

* token to its groups: d x b_a bits per load, one tree over the area of the layer, 0.76 sqrt(m A);
* row blocks to crossbars, up and down: d x b_a and hidden x b_a per pass, inside the group, 0.76 sqrt(crossbars of a row
  block x A_group);
* partial sums, up and down: (crossbars - strips) x C x accumulator_bits per pass, one core pitch; with digital accumulation
  those of every crossbar go to the units, 2/3 sqrt(A);
* gate to up (SwiGLU): hidden x accumulator_bits per pass, one core pitch: their strips are neighbours;
* results to the combine point: d x result_bits per pass, 2/3 sqrt(A); or up a combining tree, where partial results meet on
  the way: d x result_bits per token, 0.76 sqrt(m A);
* token to another die, and the sum of that die back: d x b_a and d x result_bits per crossing, over a link between dies or
  packages;
* token to the next layer's die: d x result_bits per move, over the same links.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax import checks
from pimjax.array_typing import AnyArray, ArrayLike
from pimjax.arrays import larger, where
from pimjax.errors import ConfigError
from pimjax.system.wires import Wire, along, farthest, multicast_length_mm, wire_energy_nj, wire_latency_ns

RESOURCES = ("die network", "group wires", "die link", "package link")
NUMBERS = checks.having("accumulator_bits", "result_bits", meaning="numbers from SystemSection.arrays")


class PassShape(NamedTuple):
    """What the flows of an expert pass depend on beside the system's numbers; floats or arrays that broadcast.

    Attributes:
        width: d, values of a token.
        hidden: values between the expert's two steps.
        strip_columns: C, columns of one strip.
        up_row_blocks, up_strips, up_crossbars: of the first step (gate included).
        down_row_blocks, down_strips, down_crossbars: of the second.
        gated: 1 where a gate multiplies the first step's results, else 0.
        activation_bits: of a value on its way to crossbars.
        targets: m, groups that one load reaches; where loads differ, the square of the mean root.
        groups_per_token: groups whose results meet in a combining tree.
        area_mm2: A, over which the groups of a layer are spread on one die.
        group_area_mm2: of one group.
        pitch_mm: of the cores.
    """

    width: Any
    hidden: Any
    strip_columns: Any
    up_row_blocks: Any
    up_strips: Any
    up_crossbars: Any
    down_row_blocks: Any
    down_strips: Any
    down_crossbars: Any
    gated: Any
    activation_bits: Any
    targets: Any
    groups_per_token: Any
    area_mm2: Any
    group_area_mm2: Any
    pitch_mm: Any


SHAPE = checks.instance(PassShape, "a PassShape")


class FlowCounts(NamedTuple):
    """How often each event happens in a run.

    Attributes:
        loads: a token is sent to the groups that use it in one slot.
        passes: one token through one expert.
        tokens: tokens with at least one pass, over all layers.
        die_crossings, package_crossings: a token goes to another die of its package, to another package, and a sum comes back.
        die_moves, package_moves: a token goes on to a layer on another die of the package, in another package.
    """

    loads: ArrayLike
    passes: ArrayLike
    tokens: ArrayLike
    die_crossings: ArrayLike = 0.0
    package_crossings: ArrayLike = 0.0
    die_moves: ArrayLike = 0.0
    package_moves: ArrayLike = 0.0


class Flow(NamedTuple):
    """One row of the table; what it says is of one event.

    Attributes:
        name: what is sent where.
        per: the event, a field of :class:`FlowCounts`.
        bits: that are sent.
        length_mm: of wire they drive (0: a link).
        hops: routers they pass.
        energy_nj: of all of it.
        resource: one of :data:`RESOURCES`.
    """

    name: str
    per: str
    bits: Any
    length_mm: Any
    hops: Any
    energy_nj: Any
    resource: str


@checks.checked(ConfigError, shape=SHAPE, numbers=NUMBERS, local_sums=checks.flags(dims=0), inline=checks.flags(dims=0))
def pass_flows(
    shape: PassShape, numbers: Any, *, local_sums: ArrayLike = True, inline: ArrayLike = False
) -> tuple[Flow, ...]:
    """The table of flows. Kernel: pure, unbatched, differentiable.

    Args:
        shape: of the pass.
        numbers: of the system.
        local_sums: partial sums are added beside the crossbars (else: on the digital units).
        inline: results meet in a combining tree (else: each goes to the combine point).

    >>> from pimjax.config.system import SystemSection
    >>> shape = PassShape(2880, 2880, 256, 12, 24, 288, 12, 12, 144, 1, 8, 4, 4, 858, 345, 0.7962)
    >>> table = pass_flows(shape, SystemSection().arrays())
    >>> table[0].name, table[0].per, int(table[0].bits), round(float(table[0].energy_nj))
    ('token to its groups', 'loads', 23040, 186)
    """
    local, tree = local_sums, inline
    pitch = shape.pitch_mm
    over = along(multicast_length_mm(shape.targets, shape.area_mm2), pitch)
    back = along(multicast_length_mm(1.0, shape.area_mm2), pitch)
    step = along(pitch, pitch)
    met = along(multicast_length_mm(shape.groups_per_token, shape.area_mm2), pitch)

    def inside(crossbars: Any, row_blocks: Any) -> Wire:
        each = crossbars / larger(row_blocks, 1.0)
        return along(multicast_length_mm(each, shape.group_area_mm2), pitch)

    def sums(crossbars: Any, strips: Any) -> Any:
        moved = where(local, crossbars - strips, crossbars)
        return moved * shape.strip_columns * numbers.accumulator_bits

    sum_way = Wire(*(where(local, near, far) for near, far in zip(step, back, strict=True)))
    token, result = shape.width * shape.activation_bits, shape.width * numbers.result_bits
    hidden = shape.hidden * shape.activation_bits
    rows: tuple[tuple[str, str, Any, Wire, str], ...] = (
        ("token to its groups", "loads", token, over, "die network"),
        ("row blocks to crossbars, up", "passes", token, inside(shape.up_crossbars, shape.up_row_blocks), "group wires"),
        ("partial sums, up", "passes", sums(shape.up_crossbars, shape.up_strips), sum_way, "group wires"),
        ("gate to up", "passes", shape.gated * shape.hidden * numbers.accumulator_bits, step, "group wires"),
        ("row blocks to crossbars, down", "passes", hidden, inside(shape.down_crossbars, shape.down_row_blocks), "group wires"),
        ("partial sums, down", "passes", sums(shape.down_crossbars, shape.down_strips), sum_way, "group wires"),
        ("results to the combine point", "passes", where(tree, 0.0, result), back, "die network"),
        ("results up a combining tree", "tokens", where(tree, result, 0.0), met, "die network"),
    )  # fmt: skip
    on_die = tuple(
        Flow(name, per, bits, way.length_mm, way.hops, wire_energy_nj(bits, way, numbers), resource)
        for name, per, bits, way, resource in rows
    )
    die, package = numbers.die_link_energy_pj_per_bit, numbers.package_link_energy_pj_per_bit
    links = (
        ("token to another die", "die_crossings", token, die, "die link"),
        ("sum of a die back", "die_crossings", result, die, "die link"),
        ("token to another package", "package_crossings", token, package, "package link"),
        ("sum of a die back from another package", "package_crossings", result, package, "package link"),
        ("token to the next layer's die", "die_moves", result, die, "die link"),
        ("token to the next layer's package", "package_moves", result, package, "package link"),
    )
    return on_die + tuple(
        Flow(name, per, bits, 0.0, 0.0, bits * per_bit * 1e-3, resource) for name, per, bits, per_bit, resource in links
    )


@checks.checked(
    ConfigError,
    flows=checks.each(checks.instance(Flow, "a Flow"), "the table of pass_flows", least=1),
    counts=checks.instance(FlowCounts, "FlowCounts"),
)
def network_energy_nj(flows: tuple[Flow, ...], counts: FlowCounts) -> AnyArray:
    """Energy of the network in a run: the table's rows, each as often as its event happens [nJ].

    >>> from pimjax.config.system import SystemSection
    >>> shape = PassShape(2880, 2880, 256, 12, 24, 288, 12, 12, 144, 1, 8, 4, 4, 858, 345, 0.7962)
    >>> table = pass_flows(shape, SystemSection().arrays())
    >>> round(float(network_energy_nj(table, FlowCounts(loads=1.0, passes=4.0, tokens=1.0))))  # of 4 x 5,400 nJ in crossbars
    4266
    """
    return sum(flow.energy_nj * getattr(counts, flow.per) for flow in flows)  # type: ignore[return-value]


@checks.checked(ConfigError, shape=SHAPE, numbers=NUMBERS)
def pass_fill_ns(shape: PassShape, numbers: Any) -> AnyArray:
    """What the network adds to the latency of one pass (not to its slot) [ns].

    The token to the farthest group, its parts and those of the hidden values to the farthest crossbar of the group, the
    results back: all first bits; what follows them is :func:`load_ns`.

    >>> from pimjax.config.system import SystemSection
    >>> shape = PassShape(2880, 2880, 256, 12, 24, 288, 12, 12, 144, 1, 8, 4, 4, 858, 345, 0.7962)
    >>> round(float(pass_fill_ns(shape, SystemSection().arrays())), 1)
    134.6
    """
    over = wire_latency_ns(farthest(shape.area_mm2, shape.pitch_mm), numbers)
    inside = wire_latency_ns(farthest(shape.group_area_mm2, shape.pitch_mm), numbers)
    return 2 * over + 2 * inside


@checks.checked(
    ConfigError,
    shape=SHAPE,
    numbers=checks.having("injection_bandwidth_gb_per_s", meaning="numbers from SystemSection.arrays"),
)
def load_ns(shape: PassShape, numbers: Any) -> AnyArray:
    """Time that one load takes to enter the die's network; the larger of this and t_load counts [ns].

    >>> from pimjax.config.system import SystemSection
    >>> shape = PassShape(2880, 2880, 256, 12, 24, 288, 12, 12, 144, 1, 8, 4, 4, 858, 345, 0.7962)
    >>> float(load_ns(shape, SystemSection().arrays()))
    11.25
    """
    return shape.width * shape.activation_bits / 8 / numbers.injection_bandwidth_gb_per_s


__all__ = [
    "RESOURCES",
    "Flow",
    "FlowCounts",
    "PassShape",
    "load_ns",
    "network_energy_nj",
    "pass_fill_ns",
    "pass_flows",
]
