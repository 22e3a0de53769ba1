"""Packed order: slots are filled one after another with tokens that can be served whole. This project's policy.

In a prefill all tokens are there, so a group may visit them in any order. A token needs at least
`m(t) = max_j l(t, j)` loads and reaches that number if every one of its loads is *whole*: all groups that still have
to see it most often are free in that slot. The loads of any schedule are at least
`max(sum_t m(t), makespan)`; this policy keeps the compact makespan and comes within a fraction of a percent of that
bound on real traces.

For slot `s`, with `r_j` the passes that group `j` still owes and `left` the slots that remain of the makespan:

1. Among the tokens that some free group still has to see, take one that can be served whole, with the largest sum
   of `r_j` over the groups it would occupy. A token already begun counts `left / 2` more (half as much as a group
   that may not rest any more), so that few tokens stay open. Ties: the earlier token.
2. If no token can be served whole, one is split, but only for a group that may not rest (`r_j >= left`).
3. If neither exists the slot is complete.

A group that may not rest always finds a token: one that needs it is either unserved in this slot, or has been given
it. So the makespan equals the compact one. With `max_open_tokens` no new token is begun at the limit, and when at
most four more (or half the limit) may be begun, tokens already begun come first; the makespan may then exceed the
compact one, never the token-wise one.

On balanced groups of four, where the bound itself is often out of reach, the loads are about half a percent above the
optimum of a relaxed problem that no schedule can beat (`benchmarks/studies/packing_optimum.py`); a bonus of `left` instead of
`left / 2` keeps fewer tokens open and loads more.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from pimjax.array_typing import Array
from pimjax.schedule.load_matrix import longest_queue, one_after_another
from pimjax.schedule.placement import IDLE, Placement
from pimjax.schedule.policies.packed_host import RESERVE, host_ns, host_place_packed
from pimjax.schedule.policies.policy import Policy

_WORD_BITS = 32
_INT32_MAX = 2**31 - 1
_INT8_MAX = 2**7 - 1


class PackedState(NamedTuple):
    """Loop state: everything about the slots filled so far. W words of B bits hold one bit per group."""

    owed: Array  # int8 or int32 [T, W, B] passes still to do
    needs: Array  # int32 [W, T] bit j: group j still has to see the token
    forced: Array  # int32 [W, T] bit j: group j has to see it as often as any: a whole load includes it
    rest: Array  # int32 [W, B] passes that each group still owes
    busy: Array  # int32 [W] bit j: group j has a token in the current slot
    first: Array  # int32 [T] slot of a token's first pass
    stop: Array  # int32 [T] slot after its latest pass, 0 before the first
    open_tokens: Array  # int32 [] tokens that were open before the current slot, plus those begun in it
    closed: Array  # int32 [] tokens whose last pass is in the current slot
    loads: Array  # int32 [] loads so far
    slot: Array  # int32 [] current slot
    table: Array | None  # int32 [S, W, B] token or IDLE


def first_argmax(score: Array, limit: int) -> tuple[Array, Array]:
    """Largest score and the lowest index that has it; one pass where score and index fit into one integer.

    Args:
        score: int32 `[T]`, -1 or more.
        limit: static, above any score.

    Returns:
        int32 `[]` score and index.

    >>> best, index = first_argmax(jnp.array([3, 7, 7]), 10)
    >>> int(best), int(index)
    (7, 1)
    """
    tokens = score.shape[0]
    index = jnp.arange(tokens, dtype=jnp.int32)
    if (limit + 1) * tokens <= _INT32_MAX:
        key = _fold_max(score * tokens + (tokens - 1 - index), -tokens)
        return key // tokens, tokens - 1 - key % tokens
    best = _fold_max(score, -1)
    return best, -_fold_max(jnp.where(score == best, -index, -tokens), -tokens)


def _fold_max(values: Array, lowest: int) -> Array:
    """Maximum in two steps, rows first: whole-vector operations on a CPU."""
    rows = -(-values.shape[0] // _WORD_BITS)
    padded = jnp.pad(values, (0, rows * _WORD_BITS - values.shape[0]), constant_values=lowest)
    return padded.reshape(rows, _WORD_BITS).max(axis=0).max()


def pack(loads: Array, max_open_tokens: Array | None, num_slots: int | None, bound: int) -> PackedState:
    """Run the packed policy to its end: one token placed or one slot closed (or both) per turn of a `while_loop`.

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
    words = -(-groups // _WORD_BITS)
    bits = min(groups, _WORD_BITS)
    padded = jnp.pad(loads.astype(jnp.int32), ((0, words * bits - groups), (0, 0)))
    owed = padded.reshape(words, bits, tokens)
    bit = jnp.arange(bits, dtype=jnp.int32)
    rest = owed.sum(axis=2, dtype=jnp.int32)
    target = rest.max()

    def as_bits(flags: Array, axis: int) -> Array:
        shape = [1] * flags.ndim
        shape[axis] = bits
        return (flags.astype(jnp.int32) << bit.reshape(shape)).sum(axis=axis, dtype=jnp.int32)

    def place_token(state: PackedState) -> PackedState:
        left = jnp.maximum(target - state.slot, 1)
        idle = ((state.busy[:, None] >> bit[None, :]) & 1) == 0
        weight = jnp.where(idle, state.rest, 0)
        urgent = as_bits(idle & (state.rest >= left), 1)
        flags = (state.needs[:, None, :] >> bit[None, :, None]) & 1
        value = (flags * weight[:, :, None]).sum(axis=(0, 1), dtype=jnp.int32)
        whole = ((state.forced & state.busy[:, None]) == 0).all(axis=0)
        useful = whole | ((state.needs & urgent[:, None]) != 0).any(axis=0)
        begun = state.stop > 0
        eligible = (value > 0) & useful
        if max_open_tokens is None:
            value = value + jnp.where(begun, left // 2, 0)
        else:
            reserve = jnp.minimum(max_open_tokens // 2, RESERVE)
            crowded = state.open_tokens >= max_open_tokens - reserve
            value = value + jnp.where(begun, jnp.where(crowded, 2 * bound + 1, left // 2), 0)
            eligible = eligible & (begun | (state.open_tokens < max_open_tokens))
        score = jnp.where(eligible, value + jnp.where(whole, 4 * bound + 2, 0), -1)
        best, token = first_argmax(score, 8 * bound + 4)
        found = best >= 0
        before = lax.dynamic_index_in_dim(state.owed, token, 0, keepdims=False)
        given = idle & (before > 0) & found
        # The barrier makes XLA compute these few values once instead of copying `owed` to recompute them later.
        token, found, given, after = lax.optimization_barrier(
            (token, found, given, before - given.astype(before.dtype))
        )
        most = after.max()
        is_new = state.stop[token] == 0
        is_done = most == 0
        table = state.table
        if table is not None:
            row = lax.dynamic_index_in_dim(table, state.slot, 0, keepdims=False)
            row = jnp.where(given & (state.slot < table.shape[0]), token, row)
            table = lax.dynamic_update_index_in_dim(table, row, state.slot, 0)

        rest = state.rest - given
        open_tokens = state.open_tokens + (found & is_new)
        closed = state.closed + (found & is_done)
        closes = ~found | ~(idle & ~given & (rest > 0)).any()  # nothing more fits, or nobody waits

        def put(array: Array, value: Array, axis: int) -> Array:
            return lax.dynamic_update_index_in_dim(array, value, token, axis)

        return PackedState(
            owed=put(state.owed, after, 0),
            needs=put(state.needs, as_bits(after > 0, 1), 1),
            forced=put(state.forced, as_bits((after > 0) & (after == most), 1), 1),
            rest=rest,
            busy=jnp.where(closes, 0, state.busy | as_bits(given, 1)),
            first=put(state.first, jnp.where(found & is_new, state.slot, state.first[token]), 0),
            stop=put(state.stop, jnp.where(found, state.slot + 1, state.stop[token]), 0),
            open_tokens=jnp.where(closes, open_tokens - closed, open_tokens),
            closed=jnp.where(closes, 0, closed),
            loads=state.loads + found,
            slot=state.slot + closes,
            table=table,
        )

    none = jnp.zeros((tokens,), jnp.int32)
    zero = jnp.int32(0)
    most = owed.max(axis=(0, 1), keepdims=True)
    state = PackedState(
        owed=jnp.transpose(owed, (2, 0, 1)).astype(jnp.int8 if bound // tokens <= _INT8_MAX else jnp.int32),
        needs=as_bits(owed > 0, 1),
        forced=as_bits((owed > 0) & (owed == most), 1),
        rest=rest,
        busy=jnp.zeros((words,), jnp.int32),
        first=none,
        stop=none,
        open_tokens=zero,
        closed=zero,
        loads=zero,
        slot=zero,
        table=None if num_slots is None else jnp.full((num_slots, words, bits), IDLE, jnp.int32),
    )
    state = lax.while_loop(lambda state: (state.rest > 0).any(), place_token, state)
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
    table = state.table.reshape(num_slots, -1)[:, : loads.shape[0]]
    return Placement(table.T, state.first, state.stop, state.slot)


def _cost(loads: Array, max_open_tokens: Array | None, bound: int) -> tuple[Array, Array]:
    state = pack(loads, max_open_tokens, None, bound)
    return state.slot, state.loads


def _makespan_bound(loads: Array, max_open_tokens: Array | None = None) -> Array:
    """A limit of open tokens may make a schedule longer than its longest queue."""
    return longest_queue(loads) if max_open_tokens is None else one_after_another(loads)


PACKED = Policy(
    "packed",
    makespan_bound=_makespan_bound,
    place=place_packed,
    cost=_cost,
    host_place=host_place_packed,
    host_ns=host_ns,
    limits_open_tokens=True,
)

__all__ = ["PACKED", "PackedState", "pack", "place_packed"]
