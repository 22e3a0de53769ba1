"""The expert phase of one layer on the links, from counts: `closed` and `fluid`. Kernels, NumPy or JAX, unbatched.

`closed`: all messages at once, busiest link there plus busiest link back, and the longest way filled once per hop. `fluid`:
streams of messages with a first and a last one move from link to link; a link ends when its last message is there or when
its work since the first one is done, whichever is later. Against the exact simulation: benchmarks/results/link_error.json.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax import checks
from pimjax.array_typing import AnyArray, ArrayLike
from pimjax.arrays import larger, namespace, smaller, where
from pimjax.errors import ConfigError
from pimjax.system.links import LINKS, NO_LINK, Links, route

_NEVER, _SHORT = 1e30, 1e-9
_NUMBER = checks.numbers(0, dims=0)
_RULES: dict[str, checks.Rule] = {
    "visits": checks.numbers(0, dims=1),
    "links": LINKS,
    "home": checks.numbers(0, dims=0, integer=True),
    "expert_ns": checks.numbers(0, dims=(0, 1)),
    "token_bytes": _NUMBER,
    "result_bytes": _NUMBER,
    "first_ns": _NUMBER,
    "last_ns": _NUMBER,
}


class LinkTimes(NamedTuple):
    """Fast times of one expert phase on the links [ns].

    Attributes:
        end: last sum back at home, after :class:`~pimjax.system.phase_event.PhaseTimes` `end`.
        busy_ns: `[K]`, of each link.
    """

    end: AnyArray
    busy_ns: AnyArray


class _Streams(NamedTuple):
    """Messages between home and every die `[D]`: how many, their first and last time, their way `[D, H]`."""

    count: Any
    first: Any
    last: Any
    path: Any
    uses: Any  # [D, K]


@checks.checked(ConfigError, **_RULES)
def closed_phase(
    visits: ArrayLike,
    links: Links,
    *,
    home: ArrayLike,
    expert_ns: ArrayLike,
    token_bytes: ArrayLike,
    result_bytes: ArrayLike,
    first_ns: ArrayLike = 0.0,
    last_ns: ArrayLike = 0.0,
) -> LinkTimes:
    """Busiest link and one fill per hop.

    `end = max(last release + fill, first release + busiest link + fill)`, where the fill is the longest way there, the
    experts and the way back, and the busiest link's own message is in its work already.

    Args:
        visits: `[D]`, tokens that visit each die (home's does not matter).
        links: of the system.
        home: die on which tokens start and results meet.
        expert_ns: `[D]` or `[]`, from a token's arrival to the die's sum.
        token_bytes, result_bytes: of the messages.
        first_ns, last_ns: release of the first and the last token.

    >>> from pimjax.config.system import SystemSection
    >>> from pimjax.system.links import make_links
    >>> import numpy as np
    >>> links = make_links(2, SystemSection(die_link_bandwidth_gb_per_s_per_mm=0.1, die_edge_share=1.0))
    >>> sizes = {"expert_ns": 300.0, "token_bytes": 293, "result_bytes": 293}
    >>> round(float(closed_phase(np.array([1.0, 2.0]), links, home=0, **sizes).end))
    602
    """
    xp = namespace(visits, links.bandwidth_gb_per_s)
    _check_dies(visits, links)
    if not links.num_links:
        return _at_home(visits, links, expert_ns, last_ns)
    there, back = _both_ways(visits, links, home, first_ns, last_ns)
    dies = xp.arange(links.num_dies)
    used = there.count > 0
    times = []
    for stream, size in ((there, token_bytes), (back, result_bytes)):
        each = size / links.bandwidth_gb_per_s  # [K] of one message
        times.append(((stream.count @ stream.uses) * each, stream.uses @ (each + links.latency_ns), each))
    (work_there, way_there, each_there), (work_back, way_back, each_back) = times
    work = work_there + work_back
    fill = xp.max(where(used, way_there + expert_ns + way_back, 0.0))
    # the busiest link serves all but one of its messages beside the fill
    rest = work - where(work_there > work_back, each_there, each_back) * (work > 0)
    end = larger(last_ns + fill, first_ns + fill + xp.max(rest))
    at_home = xp.max(where(dies == home, expert_ns + 0.0 * fill, 0.0)) + last_ns
    return LinkTimes(larger(end, where(xp.asarray(visits)[home] > 0, at_home, 0.0 * at_home)), work)


@checks.checked(ConfigError, **_RULES)
def fluid_phase(
    visits: ArrayLike,
    links: Links,
    *,
    home: ArrayLike,
    expert_ns: ArrayLike,
    token_bytes: ArrayLike,
    result_bytes: ArrayLike,
    first_ns: ArrayLike = 0.0,
    last_ns: ArrayLike = 0.0,
) -> LinkTimes:
    """Streams from link to link; arguments as :func:`closed_phase`.

    >>> from pimjax.config.system import SystemSection
    >>> from pimjax.system.links import make_links
    >>> import numpy as np
    >>> links = make_links(2, SystemSection(die_link_bandwidth_gb_per_s_per_mm=0.1, die_edge_share=1.0))
    >>> sizes = {"expert_ns": 300.0, "token_bytes": 293, "result_bytes": 293}
    >>> round(float(fluid_phase(np.array([1.0, 2.0]), links, home=0, **sizes).end))
    602
    """
    xp = namespace(visits, links.bandwidth_gb_per_s)
    _check_dies(visits, links)
    if not links.num_links:
        return _at_home(visits, links, expert_ns, last_ns)
    there, back = _both_ways(visits, links, home, first_ns, last_ns)
    there, busy = _carried(there, links, token_bytes)
    back = back._replace(first=there.first + expert_ns, last=there.last + expert_ns)
    back, more = _carried(back, links, result_bytes)
    end = xp.max(where(there.count > 0, back.last, 0.0))
    at_home = xp.max(where(xp.arange(links.num_dies) == home, expert_ns + 0.0 * end, 0.0)) + last_ns
    return LinkTimes(larger(end, where(xp.asarray(visits)[home] > 0, at_home, 0.0 * at_home)), busy + more)


def _check_dies(visits: Any, links: Links) -> None:
    if np.shape(visits) != (links.num_dies,):
        raise ConfigError(
            f"visits has {np.shape(visits)[0]} dies, but the links join {links.num_dies}: give tokens of every die"
        )


def _at_home(visits: Any, links: Links, expert_ns: Any, last_ns: Any) -> LinkTimes:
    """One die: nothing crosses."""
    xp = namespace(visits, links.bandwidth_gb_per_s)
    experts = xp.max(xp.asarray(expert_ns) + 0.0 * xp.asarray(visits))
    return LinkTimes(last_ns + where(xp.max(xp.asarray(visits)) > 0, experts, 0.0 * experts), links.bandwidth_gb_per_s)


def _both_ways(visits: Any, links: Links, home: Any, first_ns: Any, last_ns: Any) -> tuple[_Streams, _Streams]:
    xp = namespace(visits, links.bandwidth_gb_per_s)
    away = xp.arange(links.num_dies) != home
    count = where(away, xp.asarray(visits), 0.0) * 1.0
    paths, uses = xp.asarray(links.path), route(links)
    start, stop = first_ns + 0.0 * count, last_ns + 0.0 * count
    return (
        _Streams(count, start, stop, paths[home], uses[home]),
        _Streams(count, start, stop, paths[:, home], uses[:, home]),
    )


def _carried(streams: _Streams, links: Links, size: Any) -> tuple[_Streams, Any]:
    """The streams after their ways, and the work of every link [ns].

    When a message reaches a link depends on the links before it, and those may be what others use later on their ways:
    the times of all hops are found together, as many rounds as the longest way has hops.
    """
    xp = namespace(streams.count, links.bandwidth_gb_per_s)
    each = size / links.bandwidth_gb_per_s
    work = streams.count @ streams.uses * each
    link, sent = streams.path, streams.count > 0
    here = (link != NO_LINK) & sent[:, None]  # [D, H]
    at = xp.where(link == NO_LINK, 0, link)
    on = here[..., None] & (link[..., None] == xp.arange(links.num_links)[None, None])  # [D, H, K]
    own = where(here, each[at], 0.0)
    stay = where(here, links.latency_ns[at], 0.0)
    # without any queue: what is there after each hop; the first message never meets more
    free = xp.cumsum(own + stay, axis=1)
    first = streams.first[:, None] + (free - (own + stay))
    last = streams.last[:, None] + (free - (own + stay))
    begins = xp.min(where(on, first[..., None], _NEVER), axis=(0, 1))  # [K]
    leaves = last + own
    for _ in range(link.shape[1]):
        ends = xp.max(where(on, last[..., None], 0.0), axis=(0, 1))
        span = ends - begins
        # work that stands before a stream's last message where work comes evenly, never more than all of it
        place = smaller(larger((last - begins[at]) / larger(span, _SHORT)[at], 0.0), 1.0)
        served = begins[at] + where(span[at] > _SHORT, place, 1.0) * work[at]
        leaves = where(here, larger(last + own, served), last)
        last = xp.concatenate([last[:, :1], (leaves + stay)[:, :-1]], axis=1)
    gone = leaves + stay
    return streams._replace(first=streams.first + free[:, -1], last=gone[:, -1]), work


__all__ = ["LinkTimes", "closed_phase", "fluid_phase"]
