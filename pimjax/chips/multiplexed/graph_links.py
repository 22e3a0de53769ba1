"""Links between dies in the event graph: every link one resource, messages first come, first served. Host, NumPy.

A token goes from its layer's home to every other die that holds a group it visits, once its window's schedule is known (no
barrier: once its gate is); a slot waits for its tokens on their dies. A die's sum comes back when the token's last pass there
is done; results before it are added where they are made, so that the chain of additions stays that of a single die. What a
token carries to the next layer's home leaves after its norm. A transfer of no length has no job: a system that costs
nothing is the chip alone.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.chips.multiplexed.cost import Chip
from pimjax.chips.multiplexed.graph_parts import Bench
from pimjax.chips.multiplexed.network import INSTANT_NS, sizes_of
from pimjax.chips.multiplexed.power import link_powers_w
from pimjax.config.system import SystemSection
from pimjax.errors import ConfigError
from pimjax.system.links import NO_LINK, make_links


class SystemLinks(NamedTuple):
    """The links of a system; times in ns, bandwidths in GB/s."""

    path: HostArray  # int [D, D, H] links of the way from one die to another; NO_LINK pads
    bandwidth: HostArray  # [K]
    latency: HostArray  # [K]
    power_w: HostArray  # [K] while a message is on it; a way between packages takes two links
    token_bytes: float
    result_bytes: float
    home: HostArray  # int [L] of every layer
    holds: list[HostArray]  # per layer bool [G, dies from the home on]: where a group has crossbars

    @property
    def num_links(self) -> int:
        """K."""
        return len(self.bandwidth)

    def layer(self, index: int) -> LayerLinks:
        """What one layer's expert phase uses."""
        home, holds = int(self.home[index]), self.holds[index]
        dies = home + np.arange(holds.shape[1])
        return LayerLinks(self, holds, self.path[home, dies], self.path[dies, home])


class LayerLinks(NamedTuple):
    """Ways of one layer: `[dies from the home on, H]`."""

    of: SystemLinks
    holds: HostArray  # bool [G, dies]
    there: HostArray
    back: HostArray


def system_links(chip: Chip, place: HostArray, is_moe: HostArray) -> SystemLinks | None:
    """The links of a chip; None where nothing leaves a die.

    Args:
        chip: with its network.
        place: int `[layers with experts, G]`, see :func:`.placed.spread_of_layers`.
        is_moe: bool `[blocks]`.
    """
    network = chip.network
    if network is None or float(network.dies) <= 1:
        return None
    numbers = network.numbers
    if bool(network.full):
        raise ConfigError(
            f"system.die_area_mm2 is {float(numbers.die_area_mm2):g}: the links to a die's neighbours take all of it; use "
            "larger dies, a smaller system.die_edge_share or system.bond_area_mm2, or system.dies_per_package: 1"
        )
    first, past = np.asarray(network.layers.first), np.asarray(network.layers.past)
    holds, moe = [], 0
    for index, has_experts in enumerate(is_moe):
        if not has_experts:
            holds.append(np.zeros((0, 1), bool))
            continue
        spot = place[moe][:, None]
        held = (spot >= first[index]) & (spot < past[index])
        holds.append(held[:, : 1 + int(np.flatnonzero(held.any(axis=0)).max(initial=0))])
        moe += 1
    home = np.asarray(network.layers.home, np.int64)[: len(is_moe)]
    last = max(int(at) + one.shape[1] for at, one in zip(home, holds, strict=True))
    size = int(numbers.dies_per_package)
    path, between = _ways(-(-last // size) * size, size)
    sizes, (die_w, package_w) = sizes_of(chip.point, network), link_powers_w(network)
    leaves = np.cumsum(between) % 2 == 1  # of each package the link out, then the link in
    return SystemLinks(
        path=path,
        bandwidth=np.where(between, float(numbers.package_link_bandwidth_gb_per_s), float(network.port_gb_per_s)),
        # the whole of a way between packages is booked where it leaves
        latency=np.where(
            between, np.where(leaves, float(numbers.package_link_latency_ns), 0.0), float(numbers.die_link_latency_ns)
        ),
        power_w=np.where(between, 0.5 * float(package_w), float(die_w)),
        token_bytes=float(sizes.token),
        result_bytes=float(sizes.result),
        home=home,
        holds=holds,
    )


@functools.lru_cache(maxsize=8)
def _ways(dies: int, size: int) -> tuple[HostArray, HostArray]:
    """Ways between so many dies, and which links join packages."""
    links = make_links(dies, SystemSection(dies_per_package=size))
    return np.asarray(links.path), np.asarray(links.between_packages)


def travel(bench: Bench, links: SystemLinks, source: HostArray, way: HostArray, size: float) -> HostArray:
    """Messages of `size` bytes after the jobs `source` (`[n]`, or rows `[n, k]` with -1 for none) along `way` `[n, H]`.

    Returns rows of jobs `[n, k]` after which each message has arrived.
    """
    rows = source[:, None] if source.ndim == 1 else source.copy()
    rows = rows.astype(np.int64)

    def behind(index: HostArray, jobs: HostArray) -> None:
        bench.after(rows[index], jobs)
        rows[index], rows[index, 0] = -1, jobs

    for hop in range(way.shape[1]):
        on = np.flatnonzero(way[:, hop] != NO_LINK)
        if not len(on):
            break
        link = way[on, hop]
        duration, latency = size / links.bandwidth[link], links.latency[link]
        sent = np.flatnonzero(duration > INSTANT_NS)
        if len(sent):
            place = bench.build.resource("link", link[sent])
            behind(on[sent], bench.build.add("message", duration[sent], place))
        flown = np.flatnonzero(latency > INSTANT_NS)
        if len(flown):
            behind(on[flown], bench.wires("flight", latency[flown]))
    return rows


class Sent(NamedTuple):
    """Where the tokens of one layer's expert phase go."""

    token: HostArray  # int [messages] token of the window table
    die: HostArray  # int [messages] from the home on
    arrived: HostArray  # [messages, k] jobs


def send(
    bench: Bench, links: LayerLinks, table: HostArray, release: HostArray, num_tokens: int
) -> tuple[Sent, HostArray, HostArray]:
    """Messages of a layer's tokens to other dies.

    Args:
        bench: graph under construction.
        links: of the layer.
        table: int `[passes, 2]`, token and group of every pass.
        release: `[num_tokens]`, jobs after which each token leaves.
        num_tokens: of the windows.

    Returns:
        The messages, and for every (pass, message that it needs) the two indices.
    """
    token, group = table.T
    remote = links.holds[group][:, 1:]  # [passes, dies - 1]
    wanted = np.zeros((num_tokens, remote.shape[1]), bool)
    one, die = np.nonzero(remote)
    wanted[token[one], die] = True
    number = np.full(wanted.shape, -1, np.int64)
    to, at = np.nonzero(wanted)
    number[to, at] = np.arange(len(to))
    arrived = travel(bench, links.of, release[to], links.there[1 + at], links.of.token_bytes)
    return Sent(to, 1 + at, arrived), one, number[token[one], die]


def bring_back(
    bench: Bench, links: LayerLinks, sent: Sent, one: HostArray, message: HostArray, slot: HostArray, passes: HostArray
) -> tuple[HostArray, HostArray]:
    """Results as the home sees them: of every (token, die) the last one is there with the die's sum; rows `[passes, k]`, and
    which results came so.

    Args:
        bench, links: as :func:`send`.
        sent, one, message: what it returned.
        slot: int `[passes]`.
        passes: jobs `[passes]` or `[passes, k]` after which each pass is done.
    """
    rows = (passes[:, None] if passes.ndim == 1 else passes).astype(np.int64)
    is_sent = np.zeros(len(rows), bool)
    if not len(one):
        return rows, is_sent
    # passes of one message, one after the other
    order = np.lexsort((slot[one], message))
    one, message = one[order], message[order]
    starts = np.flatnonzero(np.append(True, message[1:] != message[:-1]))
    count = np.diff(np.append(starts, len(message)))
    wide = int(count.max()) * rows.shape[1]
    source = np.full((len(starts), wide), -1, np.int64)
    place = np.arange(len(message)) - np.repeat(starts, count)
    for column in range(rows.shape[1]):
        source[np.repeat(np.arange(len(starts)), count), place * rows.shape[1] + column] = rows[one, column]
    die = sent.die[message[starts]]
    there = travel(bench, links.of, source, links.back[die], links.of.result_bytes)
    if np.array_equal(there, source):  # links that cost nothing
        return rows, is_sent
    last = one[np.append(starts[1:], len(message)) - 1]
    there = there[:, :1] if (there[:, 1:] < 0).all() else there
    most = int(np.bincount(last).max())
    found = np.full((len(rows), rows.shape[1] + most * there.shape[1]), -1, np.int64)
    found[:, : rows.shape[1]] = rows
    found[last, : rows.shape[1]] = -1
    nth = np.zeros(len(rows), np.int64)
    for index, job in zip(last, there, strict=True):
        begin = rows.shape[1] + nth[index] * there.shape[1]
        found[index, begin : begin + there.shape[1]] = job
        nth[index] += 1
    is_sent[last] = True
    return found, is_sent
