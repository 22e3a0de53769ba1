"""Which token each group works on in each slot, and what one slot loads and returns. NumPy or JAX."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from pimjax.arrays import add_at, namespace, running_max
from pimjax.schedule.load_matrix import running_sum
from pimjax.schedule.sorting import sort_rows

IDLE = -1
_NO_TOKEN = np.iinfo(np.int32).max


class Placement(NamedTuple):
    """A schedule on a slot axis of static length S."""

    tokens: Any  # int32 [G, S] token or IDLE
    first: Any  # int32 [T] slot of the first pass of a token
    stop: Any  # int32 [T] slot after its last pass; equal to `first` for a token without passes
    makespan: Any  # int32 [] slots until the last group is done; may exceed S (then `tokens` is cut off)


def place_intervals(start: Any, stop: Any, num_slots: int) -> Placement:
    """Slot table of a schedule that is given by one interval per token and group.

    Along a group intervals follow each other, so the token of slot `s` is the number of intervals that have ended by
    `s`, and the group is busy when one more has begun: two histograms and their running sums.

    Args:
        start: int32 `[G, T]`.
        stop: int32 `[G, T]`.
        num_slots: static S.

    Returns:
        The placement.

    >>> place_intervals(np.array([[0, 2]]), np.array([[1, 3]]), 4).tokens.tolist()
    [[0, -1, 1, -1]]
    """
    xp, tokens = namespace(start), start.shape[1]
    begun = running_sum(_histogram(start, num_slots), tokens)
    ended = running_sum(_histogram(stop, num_slots), tokens)
    used = stop > start
    first = xp.where(used, start, _NO_TOKEN).min(axis=0)
    last = xp.where(used, stop, 0).max(axis=0)
    first = xp.where(used.any(axis=0), first, last)
    return Placement(xp.where(begun > ended, ended, IDLE), first, last, last.max())


def place_table(tokens: Any, num_tokens: int) -> Placement:
    """The placement of a complete slot table. Host, NumPy.

    Args:
        tokens: int32 `[G, S]` token or IDLE, S the makespan.
        num_tokens: T.

    >>> place_table(np.array([[0, 0], [1, -1]]), 3).stop.tolist()
    [2, 1, 0]
    """
    slot, group = np.nonzero(tokens.T != IDLE)
    token = tokens[group, slot]
    first = np.zeros(num_tokens, np.int32)
    stop = first.copy()
    stop[token] = slot + 1  # slots ascend: the last assignment stays
    first[token[::-1]] = slot[::-1]
    return Placement(tokens, first, stop, np.int32(tokens.shape[1]))


def sorted_tokens(tokens: Any) -> list[Any]:
    """The tokens of every slot in ascending order, those of waiting groups last: G rows `[S]`.

    >>> [row.tolist() for row in sorted_tokens(np.array([[2], [1]]))]
    [[1], [2]]
    """
    return sort_rows(namespace(tokens).where(tokens == IDLE, _NO_TOKEN, tokens))


def loads_per_slot(placement: Placement) -> Any:
    """Distinct tokens of every slot: int32 `[S]`.

    >>> loads_per_slot(place_intervals(np.array([[0, 1], [0, 0]]), np.array([[1, 2], [0, 1]]), 2)).tolist()
    [2, 1]
    """
    keys = sorted_tokens(placement.tokens)
    loads = (keys[0] != _NO_TOKEN).astype(np.int32)
    for before, key in itertools.pairwise(keys):
        loads = loads + ((key != before) & (key != _NO_TOKEN))
    return loads


def returns_per_slot(placement: Placement) -> Any:
    """Passes of every slot, one per busy group: int32 `[S]`.

    >>> returns_per_slot(place_intervals(np.array([[0, 1], [0, 0]]), np.array([[1, 2], [0, 1]]), 2)).tolist()
    [2, 1]
    """
    return (placement.tokens != IDLE).sum(axis=0, dtype=np.int32)


def open_per_slot(placement: Placement) -> Any:
    """Tokens whose first pass has begun and whose last has not ended, in every slot: int32 `[S]`.

    >>> open_per_slot(place_intervals(np.array([[0, 1], [0, 0]]), np.array([[1, 2], [0, 1]]), 2)).tolist()
    [2, 1]
    """
    slots = placement.tokens.shape[1]
    edges = namespace(placement.first).stack([placement.first, placement.stop])
    begun, ended = running_sum(_histogram(edges, slots), placement.first.shape[0])
    return begun - ended


def chains_per_slot(placement: Placement) -> Any:
    """Most additions that one token's results of a slot cause (a token's first result is free): int32 `[S]`.

    >>> chains_per_slot(place_intervals(np.array([[0], [0]]), np.array([[2], [2]]), 2)).tolist()
    [1, 2]
    """
    xp = namespace(placement.tokens)
    keys = sorted_tokens(placement.tokens)
    slot = xp.arange(placement.tokens.shape[1], dtype=np.int32)
    longest = 0 * slot
    results = longest
    for index, key in enumerate(keys):  # results of one token stand next to each other
        results = xp.where(key == keys[index - 1], results + 1, 1) if index else longest + 1
        is_token = key != _NO_TOKEN
        is_first = placement.first[xp.where(is_token, key, 0)] == slot
        longest = xp.maximum(longest, xp.where(is_token, results - is_first, 0))
    return longest


def without_held(placement: Placement) -> Placement:
    """The table without the passes whose group holds the token already, from its last pass.

    >>> place = place_intervals(np.array([[0, 2]]), np.array([[2, 3]]), 3)
    >>> without_held(place).tokens.tolist()
    [[0, -1, 1]]
    """
    tokens = placement.tokens
    xp, (groups, slots) = namespace(tokens), tokens.shape
    index = xp.broadcast_to(xp.arange(slots, dtype=np.int32)[None], (groups, slots))
    last = running_max(xp.where(tokens == IDLE, -1, index))
    before = xp.concatenate([xp.full((groups, 1), -1, np.int32), last[:, :-1]], axis=1)
    held = xp.where(before >= 0, xp.take_along_axis(tokens, xp.maximum(before, 0), axis=1), IDLE)
    return placement._replace(tokens=xp.where(held == tokens, IDLE, tokens))


def _histogram(positions: Any, num_slots: int) -> Any:
    """How many entries of each row lie at each slot: int32 `[rows, S]`; entries beyond S are dropped."""
    xp, rows = namespace(positions), positions.shape[0]
    row = xp.arange(rows, dtype=np.int32)[:, None]
    return add_at(xp.zeros((rows, num_slots), np.int32), (row, positions), 1)


__all__ = [
    "IDLE",
    "Placement",
    "chains_per_slot",
    "loads_per_slot",
    "open_per_slot",
    "place_intervals",
    "place_table",
    "returns_per_slot",
    "sorted_tokens",
    "without_held",
]
