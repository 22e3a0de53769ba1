"""Which token each group works on in each slot, and what one slot loads and returns."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import Array
from pimjax.schedule.load_matrix import running_sum
from pimjax.schedule.sorting import sort_rows

IDLE = -1
_NO_TOKEN = np.iinfo(np.int32).max


class Placement(NamedTuple):
    """A schedule on a slot axis of static length S."""

    tokens: Array  # int32 [G, S] token or IDLE
    first: Array  # int32 [T] slot of the first pass of a token
    stop: Array  # int32 [T] slot after its last pass; equal to `first` for a token without passes
    makespan: Array  # int32 [] slots until the last group is done; may exceed S (then `tokens` is cut off)


def place_intervals(start: Array, stop: Array, num_slots: int) -> Placement:
    """Slot table of a schedule that is given by one interval per token and group.

    Along a group intervals follow each other, so the token of slot `s` is the number of intervals that have ended by
    `s`, and the group is busy when one more has begun: two histograms and their running sums.

    Args:
        start: int32 `[G, T]`.
        stop: int32 `[G, T]`.
        num_slots: static S.

    Returns:
        The placement.

    >>> place_intervals(jnp.array([[0, 2]]), jnp.array([[1, 3]]), 4).tokens.tolist()
    [[0, -1, 1, -1]]
    """
    tokens = start.shape[1]
    begun = running_sum(_histogram(start, num_slots), tokens)
    ended = running_sum(_histogram(stop, num_slots), tokens)
    used = stop > start
    first = jnp.where(used, start, _NO_TOKEN).min(axis=0)
    last = jnp.where(used, stop, 0).max(axis=0)
    first = jnp.where(used.any(axis=0), first, last)
    return Placement(jnp.where(begun > ended, ended, IDLE), first, last, last.max())


def loads_per_slot(placement: Placement) -> Array:
    """Distinct tokens of every slot: int32 `[S]`.

    >>> loads_per_slot(place_intervals(jnp.array([[0, 1], [0, 0]]), jnp.array([[1, 2], [0, 1]]), 2)).tolist()
    [2, 1]
    """
    keys = sort_rows(jnp.where(placement.tokens == IDLE, _NO_TOKEN, placement.tokens))
    loads = (keys[0] != _NO_TOKEN).astype(jnp.int32)
    for before, key in itertools.pairwise(keys):
        loads = loads + ((key != before) & (key != _NO_TOKEN))
    return loads


def returns_per_slot(placement: Placement) -> Array:
    """Passes of every slot, one per busy group: int32 `[S]`.

    >>> returns_per_slot(place_intervals(jnp.array([[0, 1], [0, 0]]), jnp.array([[1, 2], [0, 1]]), 2)).tolist()
    [2, 1]
    """
    return (placement.tokens != IDLE).sum(axis=0, dtype=jnp.int32)


def open_per_slot(placement: Placement) -> Array:
    """Tokens whose first pass has begun and whose last has not ended, in every slot: int32 `[S]`.

    >>> open_per_slot(place_intervals(jnp.array([[0, 1], [0, 0]]), jnp.array([[1, 2], [0, 1]]), 2)).tolist()
    [2, 1]
    """
    slots = placement.tokens.shape[1]
    edges = jnp.stack([placement.first, placement.stop])
    begun, ended = running_sum(_histogram(edges, slots), placement.first.shape[0])
    return begun - ended


def _histogram(positions: Array, num_slots: int) -> Array:
    """How many entries of each row lie at each slot: int32 `[rows, S]`; entries beyond S are dropped."""
    rows = positions.shape[0]
    row = jnp.broadcast_to(jnp.arange(rows, dtype=jnp.int32)[:, None], positions.shape)
    return jnp.zeros((rows, num_slots), jnp.int32).at[row, positions].add(1, mode="drop")


__all__ = ["IDLE", "Placement", "loads_per_slot", "open_per_slot", "place_intervals", "returns_per_slot"]
