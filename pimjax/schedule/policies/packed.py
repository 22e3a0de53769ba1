"""Packed order: slots are filled one after another with tokens that can be served whole. This project's policy.

In a prefill all tokens are there, so a group may visit them in any order. A token needs at least
`m(t) = max_j l(t, j)` loads and reaches that number if every one of its loads is *whole*: all groups that still have
to see it most often are free in that slot. The loads of any schedule are at least
`max(sum_t m(t), makespan)`; this policy keeps the compact makespan and comes within a fraction of a percent of that
bound on real traces.

For slot `s`, with `r_j` the passes that group `j` still owes and `left` the slots that remain of the makespan:

1. Among the tokens that some free group still has to see, take one that can be served whole, with the largest sum
   of `r_j` over the groups it would occupy. A token already begun counts `left` more (as much as one group that may
   not rest any more), so that few tokens stay open. Ties: the earlier token.
2. If no token can be served whole, one is split, but only for a group that may not rest (`r_j >= left`).
3. If neither exists the slot is complete.

A group that may not rest always finds a token: one that needs it is either unserved in this slot, or has been given
it. So the makespan equals the compact one. With `max_open_tokens` no new token is begun at the limit, and tokens
already begun always come first; the makespan may then exceed the compact one, never the token-wise one.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from pimjax.array_typing import Array
from pimjax.schedule.placement import IDLE, Placement


class PackedState(NamedTuple):
    """Loop state: everything about the slots filled so far."""

    owed: Array  # int32 [G, T] passes still to do
    free: Array  # bool [G] groups without a token in the current slot
    first: Array  # int32 [T] slot of a token's first pass
    stop: Array  # int32 [T] slot after its latest pass, 0 before the first
    open_tokens: Array  # int32 [] tokens begun and not ended before the current slot, plus those begun in it
    loads: Array  # int32 [] loads so far
    slot: Array  # int32 [] current slot
    table: Array | None  # int32 [S, G] token or IDLE


def pack(loads: Array, max_open_tokens: Array | None, num_slots: int | None, bound: int) -> PackedState:
    """Run the packed policy to its end.

    Args:
        loads: int32 `[G, T]`, passes per group and token (padding rows zero).
        max_open_tokens: int32 `[]` or None, limit of tokens begun and not ended.
        num_slots: static S of the slot table, None to keep no table (cheaper).
        bound: static upper limit of the number of passes (tokens x experts).

    Returns:
        The final state; its `slot` is the makespan.

    >>> state = pack(jnp.array([[1, 1, 0], [1, 0, 1]]), None, None, 6)
    >>> int(state.slot), int(state.loads)
    (2, 3)
    """
    groups, tokens = loads.shape
    index = jnp.arange(tokens, dtype=jnp.int32)
    target = loads.sum(axis=1).max()
    whole_bonus = jnp.int32(2 * (2 * bound + 1))
    open_bonus = jnp.int32(2 * bound + 1)

    def visit(state: PackedState) -> PackedState:
        owed, free = state.owed, state.free
        rest = owed.sum(axis=1)
        left = jnp.maximum(target - state.slot, 1)
        needs = owed > 0
        gets = needs & free[:, None]
        value = jnp.where(gets, rest[:, None], 0).sum(axis=0)
        whole = ~((owed == owed.max(axis=0)) & needs & ~free[:, None]).any(axis=0)
        urgent = (gets & (rest >= left)[:, None]).any(axis=0)
        begun = state.stop > 0
        eligible = (value > 0) & (whole | urgent)
        if max_open_tokens is None:
            value = value + jnp.where(begun, left, 0)
        else:
            value = value + jnp.where(begun, open_bonus, 0)
            eligible = eligible & (begun | (state.open_tokens < max_open_tokens))
        score = jnp.where(eligible, value + jnp.where(whole, whole_bonus, 0), -1)
        best = score.max()
        token = jnp.where(score == best, index, tokens).min()
        found = best >= 0
        chosen = (index == token) & found
        given = gets & chosen[None, :]
        taken = given.any(axis=1)
        stop = jnp.where(chosen, state.slot + 1, state.stop)
        owed = owed - given
        table = state.table
        if table is not None:
            row = lax.dynamic_index_in_dim(table, state.slot, 0, keepdims=False)
            row = jnp.where(taken & (state.slot < table.shape[0]), token, row)
            table = lax.dynamic_update_index_in_dim(table, row, state.slot, 0)
        still_open = ((stop > 0) & (owed > 0).any(axis=0)).sum(dtype=jnp.int32)
        newly = (chosen & ~begun).any().astype(jnp.int32)
        return PackedState(
            owed=owed,
            free=(free & ~taken) | ~found,
            first=jnp.where(chosen & ~begun, state.slot, state.first),
            stop=stop,
            open_tokens=jnp.where(found, state.open_tokens + newly, still_open),
            loads=state.loads + found.astype(jnp.int32),
            slot=state.slot + (~found).astype(jnp.int32),
            table=table,
        )

    none = jnp.zeros((tokens,), jnp.int32)
    zero = jnp.int32(0)
    state = PackedState(
        owed=loads.astype(jnp.int32),
        free=jnp.ones((groups,), bool),
        first=none,
        stop=none,
        open_tokens=zero,
        loads=zero,
        slot=zero,
        table=None if num_slots is None else jnp.full((num_slots, groups), IDLE, jnp.int32),
    )
    state = lax.while_loop(lambda state: (state.owed > 0).any(), visit, state)
    return state._replace(slot=state.stop.max())


def place_packed(loads: Array, max_open_tokens: Array | None, num_slots: int, bound: int) -> Placement:
    """Slot table of the packed policy.

    Args:
        loads: int32 `[G, T]`, passes per group and token (padding rows zero).
        max_open_tokens: int32 `[]` or None, limit of tokens begun and not ended.
        num_slots: static S of the table.
        bound: static upper limit of the number of passes (tokens x experts).

    Returns:
        The placement.

    >>> place_packed(jnp.array([[1, 1, 0], [1, 0, 1]]), None, 2, 6).tokens.tolist()
    [[0, 1], [0, 2]]
    """
    state = pack(loads, max_open_tokens, num_slots, bound)
    assert state.table is not None
    return Placement(state.table.T, state.first, state.stop, state.slot)


__all__ = ["PackedState", "pack", "place_packed"]
