"""The expert phase of one layer on the links, exactly: every message on every link of its way, first come first served.

A token is released at its home die, goes link by link to each other die that holds one of its experts, waits there for its
experts, and comes back as one sum. A link carries one message at a time; its latency delays a message and blocks nothing.
Where two messages are ready at one instant the lower token goes first, then the lower die.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.errors import ConfigError
from pimjax.event import EventLog, JobGraphBuilder, exclusive, run, unlimited
from pimjax.system.links import LINKS, NO_LINK, Links


class PhaseTimes(NamedTuple):
    """Times of one expert phase on the links [ns].

    Attributes:
        end: last sum back at home (the last release and its experts where nothing crosses).
        arrived: `[T, D]`, token at the die; NaN where it does not go (home: its release).
        back: `[T, D]`, sum back at home.
        busy_ns: `[K]`, of each link.
        log: of the event engine.
    """

    end: float
    arrived: HostArray
    back: HostArray
    busy_ns: HostArray
    log: EventLog


@checks.checked(
    ConfigError,
    visits=checks.flags(dims=2, meaning="booleans or 0 and 1 of [tokens, dies]"),
    links=LINKS,
    home=checks.whole(0, 4095),
    release_ns=checks.numbers(0, dims=(0, 1)),
    expert_ns=checks.numbers(0, dims=(0, 1)),
    token_bytes=checks.numbers(0, dims=0),
    result_bytes=checks.numbers(0, dims=0),
)
def simulate_phase(
    visits: Any,
    links: Links,
    *,
    home: int,
    release_ns: Any,
    expert_ns: Any,
    token_bytes: float,
    result_bytes: float,
) -> PhaseTimes:
    """Run one expert phase on the links. Host, float64.

    Args:
        visits: bool `[T, D]`, dies of each token.
        links: of the system.
        home: die on which tokens start and results meet.
        release_ns: `[T]` or `[]`, when each token leaves.
        expert_ns: `[D]` or `[]`, from a token's arrival at a die to that die's sum of results.
        token_bytes, result_bytes: of the messages.

    >>> from pimjax.config.system import SystemSection
    >>> from pimjax.system.links import make_links
    >>> links = make_links(2, SystemSection(die_link_bandwidth_gb_per_s_per_mm=0.1, die_edge_share=1.0))  # 2.93 GB/s
    >>> done = simulate_phase([[1, 1], [0, 1]], links, home=0, release_ns=0.0, expert_ns=300.0, token_bytes=293, result_bytes=293)
    >>> done.back[:, 1].round().tolist()  # 100 + 1 + 300 + 100 + 1, and 100 more
    [502.0, 602.0]
    """
    used = np.asarray(visits, bool)
    tokens, dies = used.shape
    if dies != links.num_dies or home >= dies:
        raise ConfigError(f"visits has {dies} dies and home is {home}, but the links join {links.num_dies} dies")
    release, experts = _one_each("release_ns", release_ns, tokens), _one_each("expert_ns", expert_ns, dies)
    bandwidth, latency = np.asarray(links.bandwidth_gb_per_s, np.float64), np.asarray(links.latency_ns, np.float64)
    build = JobGraphBuilder(
        ("release", "message", "flight", "experts"), [unlimited("wires"), exclusive("link", links.num_links)]
    )
    wires = build.resource("wires")
    token, die = np.nonzero(used)
    released = build.add("release", release, wires)
    at_die = released[token].copy()

    def travel(jobs: HostArray, start: HostArray, stop: HostArray, size: float) -> HostArray:
        """Jobs after which each message has arrived."""
        jobs = jobs.copy()
        path = np.asarray(links.path)[start, stop]  # [M, H]
        for hop in range(path.shape[1]):
            on = np.flatnonzero(path[:, hop] != NO_LINK)
            if not len(on):
                break
            link = path[on, hop]
            sent = build.add("message", size / bandwidth[link], build.resource("link", link))
            flown = build.add("flight", latency[link], wires)
            build.connect(jobs[on], sent)
            build.connect(sent, flown)
            jobs[on] = flown
        return jobs

    homes = np.full(len(die), home)
    at_die = travel(at_die, homes, die, token_bytes)
    ready = build.add("experts", experts[die], wires) if len(die) else np.zeros(0, np.int64)
    if len(die):
        build.connect(at_die, ready)
    at_home = travel(ready, die, homes, result_bytes)
    graph = build.build()
    log = run(graph)
    arrived, back = np.full((tokens, dies), np.nan), np.full((tokens, dies), np.nan)
    arrived[token, die], back[token, die] = log.finish_ns[at_die], log.finish_ns[at_home]
    is_message = graph.kind == graph.kinds.index("message")
    busy = np.bincount(graph.resource[is_message] - 1, graph.duration[is_message], links.num_links)
    end = float(log.finish_ns.max()) if graph.num_jobs else 0.0
    return PhaseTimes(end, arrived, back, busy, log)


def _one_each(name: str, value: Any, count: int) -> HostArray:
    given = np.asarray(value, np.float64)
    if given.shape not in ((), (1,), (count,)):
        raise ConfigError(f"{name} has shape {list(given.shape)}: give one number, or {count} of them")
    return np.broadcast_to(given, (count,))


__all__ = ["PhaseTimes", "simulate_phase"]
