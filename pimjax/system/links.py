"""Links between dies and packages, and the way of a message over them.

Dies stand in order in a near-square grid on each package and are joined to their neighbours, one link each way; messages go
along the row first, then along the column. A package has one link out and one link in that all its dies share.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pimjax import checks
from pimjax.array_typing import AnyArray, ArrayLike, HostArray
from pimjax.arrays import namespace
from pimjax.config.system import SystemSection
from pimjax.errors import ConfigError
from pimjax.system.dies import die_port

NO_LINK = -1


class Links(NamedTuple):
    """All links of a system and the ways between dies; a pytree of arrays, K links, H the longest way.

    Attributes:
        path: int32 `[D, D, H]`, links of the way from one die to another in order; ``NO_LINK`` pads.
        bandwidth_gb_per_s: float `[K]`.
        latency_ns: float `[K]`, what a message takes beside its own length.
        energy_pj_per_bit: float `[K]`.
        between_packages: bool `[K]`.
    """

    path: AnyArray
    bandwidth_gb_per_s: AnyArray
    latency_ns: AnyArray
    energy_pj_per_bit: AnyArray
    between_packages: AnyArray

    @property
    def num_dies(self) -> int:
        """D."""
        return self.path.shape[-2]

    @property
    def num_links(self) -> int:
        """K."""
        return self.bandwidth_gb_per_s.shape[-1]


LINKS = checks.having("path", "bandwidth_gb_per_s", "latency_ns", meaning="Links from make_links")


@checks.checked(ConfigError, dies=checks.whole(1, 4096), system=checks.instance(SystemSection, "a SystemSection"))
def make_links(dies: int, system: SystemSection) -> Links:
    """The links of so many dies. Host.

    Args:
        dies: D of the whole system.
        system: `dies_per_package` and the kinds of links.

    >>> made = make_links(6, SystemSection())
    >>> made.num_links, made.path[0, 3].tolist(), made.path[0, 5].tolist()  # 2 x 2 dies, then a package of two
    (14, [0, 4], [10, 13])
    """
    size = int(system.dies_per_package)
    columns = math.ceil(math.sqrt(min(size, dies)))
    packages = -(-dies // size)
    number: dict[tuple[int, int], int] = {}
    for die in range(dies):
        for other in range(die + 1, min(dies, (die // size + 1) * size)):
            if _distance(die % size, other % size, columns) == 1:
                number[die, other] = len(number)
                number[other, die] = len(number)
    inner = len(number)
    ways = [[_way(a, b, size, columns, dies, number, inner) for b in range(dies)] for a in range(dies)]
    longest = max(1, max(len(way) for row in ways for way in row))
    path = np.array([[way + [NO_LINK] * (longest - len(way)) for way in row] for row in ways], np.int32)
    outer = 2 * packages if packages > 1 else 0
    port, numbers = die_port(system.arrays()), system.arrays()

    def both(die: Any, package: Any) -> HostArray:
        return np.concatenate([np.full(inner, float(die)), np.full(outer, float(package))])

    energy, latency = both(numbers.die_link_energy_pj_per_bit, 0.0), both(numbers.die_link_latency_ns, 0.0)
    # the whole of a way between packages is booked where it leaves
    energy[inner::2] = float(numbers.package_link_energy_pj_per_bit)
    latency[inner::2] = float(numbers.package_link_latency_ns)
    bandwidth = both(port.bandwidth_gb_per_s, numbers.package_link_bandwidth_gb_per_s)
    return Links(path, bandwidth, latency, energy, np.arange(inner + outer) >= inner)


def _distance(a: int, b: int, columns: int) -> int:
    return abs(a // columns - b // columns) + abs(a % columns - b % columns)


def _way(
    a: int, b: int, size: int, columns: int, dies: int, number: dict[tuple[int, int], int], inner: int
) -> list[int]:
    if a == b:
        return []
    if a // size != b // size:
        return [inner + 2 * (a // size), inner + 2 * (b // size) + 1]
    base, here, there, way = a // size * size, a % size, b % size, []
    while here != there:
        row, column = divmod(here, columns)
        to_row, to_column = divmod(there, columns)
        along_row = row * columns + column + (1 if to_column > column else -1)
        # the last row may be short: then the column first
        if column != to_column and base + along_row < min(dies, base + size):
            step = along_row
        else:
            step = here + columns * (1 if to_row > row else -1)
        way.append(number[base + here, base + step])
        here = step
    return way


@checks.checked(ConfigError, links=LINKS)
def route(links: Links) -> AnyArray:
    """Whether the way from one die to another uses a link: 0 or 1, `[D, D, K]`. Kernel.

    >>> route(make_links(2, SystemSection())).tolist()
    [[[0.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]]
    """
    xp = namespace(links.bandwidth_gb_per_s, links.path)
    number = xp.arange(links.num_links)
    uses = (xp.asarray(links.path)[..., None] == number[None, None, None]).any(axis=-2)
    return uses.astype(links.bandwidth_gb_per_s.dtype)


@checks.checked(ConfigError, pair_bytes=checks.numbers(0, dims=2), links=LINKS)
def link_bytes(pair_bytes: ArrayLike, links: Links) -> AnyArray:
    """Bytes on each link `[K]` of bytes between every two dies `[D, D]`. Kernel.

    >>> link_bytes(np.array([[0.0, 5.0], [7.0, 0.0]]), make_links(2, SystemSection())).tolist()
    [5.0, 7.0]
    """
    xp = namespace(pair_bytes, links.bandwidth_gb_per_s)
    if np.shape(pair_bytes) != (links.num_dies,) * 2:
        raise ConfigError(
            f"pair_bytes has shape {list(np.shape(pair_bytes))}, but the links join {links.num_dies} dies: give bytes "
            "between every two of them"
        )
    return xp.einsum("ab,abk->k", xp.asarray(pair_bytes), route(links))


@checks.checked(ConfigError, pair_bytes=checks.numbers(0, dims=2), links=LINKS)
def link_energy_nj(pair_bytes: ArrayLike, links: Links) -> AnyArray:
    """Energy on each link `[K]` [nJ]. Kernel.

    >>> link_energy_nj(np.array([[0.0, 1000.0], [0.0, 0.0]]), make_links(2, SystemSection())).tolist()
    [2.2, 0.0]
    """
    return link_bytes(pair_bytes, links) * 8e-3 * links.energy_pj_per_bit


__all__ = ["NO_LINK", "Links", "link_bytes", "link_energy_nj", "make_links", "route"]
