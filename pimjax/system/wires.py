"""Wires of one die: how long they are, what a bit costs on them, how long it takes. NumPy or JAX.

A network of routers, one per crossbar core, joined by wires of one core pitch. A token goes to its expert groups along one
tree: a rectilinear Steiner tree of m random points in a square of area A is 0.76 sqrt(m A) long (simulated: 0.75 at m = 4,
0.78 at 8); one target is 2/3 sqrt(A) away, the mean Manhattan distance of two random points.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax import checks
from pimjax.array_typing import AnyArray, ArrayLike
from pimjax.arrays import larger, namespace, real_dtype, where
from pimjax.errors import ConfigError

#: Length of the tree over that of sqrt(targets x area), and of a way between two random points over sqrt(area).
TREE, WAY = 0.76, 2 / 3
#: Way to the farthest leaf of a tree over sqrt(area).
FARTHEST = 1.0

_NONE_MM2 = 1e-30
_SIZE, _POSITIVE = checks.numbers(0), checks.numbers(0, above=True)


class Wire(NamedTuple):
    """A way through the network of a die.

    Attributes:
        length_mm: wire that a bit drives, branches of a tree included.
        hops: routers that it passes.
    """

    length_mm: AnyArray
    hops: AnyArray


@checks.checked(ConfigError, core_area_mm2=_POSITIVE)
def core_pitch_mm(core_area_mm2: ArrayLike) -> AnyArray:
    """Distance of neighbouring cores, the side of a square core [mm].

    >>> round(float(core_pitch_mm(0.634)), 4)
    0.7962
    """
    xp, area = _real(core_area_mm2)
    return xp.sqrt(area)


@checks.checked(ConfigError, targets=_SIZE, area_mm2=_SIZE)
def multicast_length_mm(targets: ArrayLike, area_mm2: ArrayLike) -> AnyArray:
    """Wire from one point to `targets` points spread over an area [mm].

    `0.76 sqrt(m A)` for m > 1, `2/3 sqrt(A)` for one target, nothing for none (in between: in proportion).

    Args:
        targets: m, points that are reached.
        area_mm2: A, over which they are spread.

    >>> round(float(multicast_length_mm(4, 858)), 1), round(float(multicast_length_mm(1, 858)), 1)
    (44.5, 19.5)
    """
    if isinstance(targets, float) and targets == 1:
        xp, area = _real(area_mm2)
        return WAY * xp.sqrt(area)
    xp, targets, area = _real(targets, area_mm2)
    side = _root(xp, area)
    many = TREE * xp.sqrt(larger(targets, 1.0)) * side
    return where(targets > 1, many, WAY * larger(0.0, targets) * side)


@checks.checked(ConfigError, length_mm=_SIZE, pitch_mm=_POSITIVE)
def along(length_mm: ArrayLike, pitch_mm: ArrayLike) -> Wire:
    """A wire with its routers: one per core pitch, fractions included.

    >>> round(float(along(44.5, 0.7962).hops))
    56
    """
    _, length, pitch = _real(length_mm, pitch_mm)
    return Wire(length, length / pitch)


@checks.checked(
    ConfigError,
    bits=_SIZE,
    wire=checks.instance(Wire, "a Wire from along"),
    numbers=checks.having(
        "wire_energy_pj_per_bit_mm", "router_energy_pj_per_bit", meaning="numbers from SystemSection.arrays"
    ),
)
def wire_energy_nj(bits: ArrayLike, wire: Wire, numbers: Any) -> AnyArray:
    """Energy of sending `bits` along a way: bits x (wire x length + router x hops) [nJ].

    >>> from pimjax.config.system import SystemSection
    >>> round(float(wire_energy_nj(23_040, along(44.5, 0.7962), SystemSection().arrays())))  # 82 of wire, 104 of routers
    186
    """
    per_bit = numbers.wire_energy_pj_per_bit_mm * wire.length_mm + numbers.router_energy_pj_per_bit * wire.hops
    return bits * per_bit * 1e-3


@checks.checked(
    ConfigError,
    wire=checks.instance(Wire, "a Wire from along"),
    numbers=checks.having("wire_latency_ns_per_mm", "router_latency_ns", meaning="numbers from SystemSection.arrays"),
)
def wire_latency_ns(wire: Wire, numbers: Any) -> AnyArray:
    """Time of the first bit along a way that has no branches [ns].

    >>> from pimjax.config.system import SystemSection
    >>> round(float(wire_latency_ns(along(29.29, 0.7962), SystemSection().arrays())), 1)  # across one reticle
    41.2
    """
    return numbers.wire_latency_ns_per_mm * wire.length_mm + numbers.router_latency_ns * wire.hops


@checks.checked(ConfigError, area_mm2=_SIZE, pitch_mm=_POSITIVE)
def farthest(area_mm2: ArrayLike, pitch_mm: ArrayLike) -> Wire:
    """The way to the farthest leaf of a multicast over an area: about `1.0 sqrt(A)`.

    >>> round(float(farthest(858, 0.7962).length_mm), 2)
    29.29
    """
    xp, area = _real(area_mm2)
    return along(FARTHEST * _root(xp, area), pitch_mm)


def _root(xp: Any, area: AnyArray) -> AnyArray:
    """The side of an area; of none the derivative is 0, where that of the root is infinite."""
    return xp.sqrt(larger(area, _NONE_MM2))


def _real(*values: ArrayLike) -> Any:
    """The namespace of values and the values as real numbers of one kind."""
    xp, dtype = namespace(*values), real_dtype(*values)
    return xp, *(xp.asarray(value, dtype)[()] for value in values)


__all__ = [
    "FARTHEST",
    "TREE",
    "WAY",
    "Wire",
    "along",
    "core_pitch_mm",
    "farthest",
    "multicast_length_mm",
    "wire_energy_nj",
    "wire_latency_ns",
]
