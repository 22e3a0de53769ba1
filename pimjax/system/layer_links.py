"""Messages of every layer's experts on the links of a system, and how long they take: counts, then times. NumPy or JAX.

From the tokens that stretches of groups serve (`pimjax.runs.reach`) and the dies of each layer (:mod:`.layer_dies`): exact
messages on every link, of which times need the busiest. Dies of one package are a grid, messages go along the row first;
a package has one link out and one in. `closed` and `fluid` use the same numbers: the busiest link of a phase, one fill per
hop of the farthest way (docs/system.md; against the exact simulation: benchmarks/results/system_error.json).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax.array_typing import AnyArray
from pimjax.arrays import larger, namespace, smaller, spread, where
from pimjax.system.layer_dies import LayerDies

#: Columns, and rows, of a package: it has at most their product of dies.
MOST_ACROSS = 8


class Messages(NamedTuple):
    """Messages from home to the other dies of each layer, in one pass; as many sums come back. `[..., L]`.

    Attributes:
        crossings: tokens sent to other dies.
        die_hops: links between dies that they take, one for each hop.
        package_messages: those of them that go to other packages.
        busiest: `[..., L, 2]`, on the busiest link between dies: there, back.
        on_move: `[..., L, 2]`, on the first link of the way to the next layer's home, if it leads to a die, to a package.
        farthest: hops of the farthest way on the home's package.
        used: 1 where a message goes, at most; of the mean of several passes the part of them in which one does.
        used_away: the same of messages to other packages.
    """

    crossings: AnyArray
    die_hops: AnyArray
    package_messages: AnyArray
    busiest: AnyArray
    on_move: AnyArray
    farthest: AnyArray
    used: AnyArray
    used_away: AnyArray


def messages(reach: Any, dies: LayerDies, tokens: Any = None) -> Messages:
    """Count the messages of one pass. Kernel.

    Args:
        reach: `[..., L, G + 1, G + 1]`, tokens that groups a to b - 1 serve, see :func:`pimjax.runs.reach.reach_of`.
        dies: of every layer.
        tokens: `[]`, of a pass where `reach` is the mean over several, of tokens that choose alone: a message then goes in
            `1 - (1 - visits / tokens)^tokens` of them. None: of one pass.

    >>> from pimjax.system.layer_dies import layer_dies
    >>> dies = layer_dies(np.array([2.0]), np.array([True]), dense_mm2=0.0, group_mm2=100.0, usable_mm2=100.0,
    ...                   dies_per_package=2.0, most_dies=2)
    >>> reach = np.array([[[0.0, 5.0, 8.0], [0.0, 0.0, 4.0], [0.0, 0.0, 0.0]]])
    >>> made = messages(reach, dies)
    >>> made.crossings.tolist(), made.busiest.tolist(), made.package_messages.tolist()
    ([4.0], [[4.0, 4.0]], [0.0])
    """
    xp = namespace(reach, dies.first)
    groups = np.shape(reach)[-1]
    shape = np.shape(reach)[:-2]
    ends = xp.concatenate([dies.past, 0 * dies.home[:, None] + (groups - 1)], axis=1)
    begins = xp.concatenate([dies.first, dies.first_away[:, None]], axis=1)
    index = (begins * groups + ends).astype(np.int32)
    table = reach.reshape(*shape, groups * groups)
    found = xp.take_along_axis(table, xp.broadcast_to(index, (*shape, index.shape[-1])), axis=-1)
    visits, beyond = found[..., 1:-1], found[..., -1]  # of the dies but the home; of other packages
    row, column = dies.row[:, 1:], dies.column[:, 1:]
    near = 1 - dies.away[:, 1:]
    away, is_near, hops = (
        xp.broadcast_to(each, np.shape(visits)) for each in (1 - near, near, (xp.abs(row) + xp.abs(column)) * near)
    )
    here = visits * is_near

    def part(count: Any) -> Any:
        if tokens is None:
            return smaller(count, 1.0)
        return 1.0 - larger(1.0 - count / tokens, 0.0) ** tokens

    used = part(visits)
    busiest, on_move = _on_links(xp, here, dies)
    package_messages = (visits * away).sum(-1)
    return Messages(
        crossings=visits.sum(-1),
        die_hops=(visits * hops).sum(-1),
        package_messages=package_messages,
        busiest=busiest,
        on_move=xp.stack([on_move, where(dies.move_away > 0, package_messages, 0.0)], axis=-1),
        farthest=_most(xp, used * hops),
        used=_most(xp, used),
        used_away=part(beyond),
    )


def _most(xp: Any, values: Any) -> Any:
    return xp.max(values, axis=-1, initial=0.0)


def _on_links(xp: Any, here: Any, dies: LayerDies) -> tuple[Any, Any]:
    """Messages on the busiest link of the home's package, there and back `[..., L, 2]`; there on the first link of the way to
    the next layer's home `[..., L]`. `here`: messages to the dies of the home's package but the home, `[..., L, K]`.

    There, along the home's row and then a column: the first link of a row carries all that lie on its side, the first of a
    column all in it on one side. Back, along each row and then the home's column, likewise. Summed by place, as a package is
    a few dies wide: of all pairs of dies the sums would take most of the memory of a batch.
    """
    sides, places = np.array([[-1.0, 1.0]]), np.arange(1.0 - MOST_ACROSS, MOST_ACROSS)[None, None]
    count = min(np.shape(here)[-1], MOST_ACROSS**2 - 1)  # those that follow are on other packages
    here, row, column, away = (
        here[..., :count],
        *(each[:, 1 : 1 + count] for each in (dies.row, dies.column, dies.away)),
    )

    def masked(values: Any, mask: Any) -> Any:
        return values * spread(mask.astype(values.dtype), np.broadcast_shapes(np.shape(values), np.shape(mask)))

    def by_side(steps: Any) -> Any:
        return masked(here[..., None, :], xp.sign(steps)[:, None] == sides[..., None])  # [..., L, 2, K]

    def by_place(then: Any, steps: Any) -> Any:
        return xp.einsum("...lsk,lkp->...lsp", then, (steps[..., None] == places).astype(here.dtype))

    beside, along = by_side(column), by_side(row)
    first_beside, first_along = beside.sum(-1), along.sum(-1)
    in_column, in_row = by_place(along, column), by_place(beside, row)
    there = larger(first_beside.max(-1), in_column.max((-2, -1)))
    back = larger(first_along.max(-1), in_row.max((-2, -1)))
    # of a next layer at home on the same die none is the next one's
    next_home = xp.concatenate([dies.home[1:], dies.home[-1:]])
    is_next = ((next_home - dies.home)[:, None] == np.arange(1.0, 1 + count)[None]) & (away == 0)
    to_side, to_level = (xp.sign(where(is_next, steps, 0.0).sum(-1))[:, None] for steps in (column, row))
    on_move = masked(first_beside, to_side == sides)
    on_move = on_move + masked(in_column[..., MOST_ACROSS - 1], (to_side == 0) & (to_level == sides))
    return xp.stack([there, back], axis=-1), on_move.sum(-1)


class LinkTimes(NamedTuple):
    """Times of the messages of one pass and layer, `[..., L]` [ns].

    Attributes:
        there_fill, back_fill: of the message that takes longest, alone.
        there_work, back_work: of the busiest link, all but one message.
        busy_back: from where the first token leaves to where the busiest link back has carried its last sum, if it never
            waits and experts take no time.
        before_move: of the messages on the first link of the way to the next layer's home.
    """

    there_fill: AnyArray
    back_fill: AnyArray
    there_work: AnyArray
    back_work: AnyArray
    busy_back: AnyArray
    before_move: AnyArray


def link_times(sent: Messages, numbers: Any, port_gb_per_s: Any, token_bytes: Any, result_bytes: Any) -> LinkTimes:
    """Times of messages. Kernel.

    Args:
        sent: of :func:`messages`.
        numbers: of the system.
        port_gb_per_s: of a link between dies, :func:`~pimjax.system.dies.die_port`.
        token_bytes, result_bytes: of a message there and back.
    """
    neighbour = smaller(sent.farthest, 1.0)  # the busiest link begins with the sums of a neighbour
    fills, works, first_on_dies, first_between = [], [], 0.0, 0.0
    for way, size in enumerate((token_bytes, result_bytes)):
        die, package = size / port_gb_per_s, size / numbers.package_link_bandwidth_gb_per_s
        hop, far = die + numbers.die_link_latency_ns, 2.0 * package + numbers.package_link_latency_ns
        # of passes in which a message leaves the package it takes longest
        fills.append(sent.used_away * far + (1.0 - sent.used_away) * (sent.farthest * hop))
        on_dies = larger(sent.busiest[..., way] - sent.used, 0.0) * die
        between = larger(sent.package_messages - sent.used_away, 0.0) * package
        works.append((on_dies, between))
        first_on_dies, first_between = first_on_dies + neighbour * hop, first_between + sent.used_away * far
    busy_back = larger(first_on_dies + works[1][0], first_between + works[1][1])
    die, package = token_bytes / port_gb_per_s, token_bytes / numbers.package_link_bandwidth_gb_per_s
    before_move = larger(sent.on_move[..., 0] * die, sent.on_move[..., 1] * package)
    return LinkTimes(fills[0], fills[1], larger(*works[0]), larger(*works[1]), busy_back, before_move)


def move_times(dies: LayerDies, numbers: Any, port_gb_per_s: Any, result_bytes: Any) -> tuple[AnyArray, AnyArray]:
    """A token from each layer's home to the next one's: time from one to the next token, and of one alone, `[L]` [ns]."""
    die, package = result_bytes / port_gb_per_s, result_bytes / numbers.package_link_bandwidth_gb_per_s
    issue = larger(smaller(dies.move_hops, 1.0) * die, dies.move_away * package)
    near = dies.move_hops * (die + numbers.die_link_latency_ns)
    return issue, near + dies.move_away * (2.0 * package + numbers.package_link_latency_ns)


__all__ = ["LinkTimes", "Messages", "link_times", "messages", "move_times"]
