"""The packed order in NumPy, for the few layers of one estimate: sooner than compiling the kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.schedule.placement import IDLE

RESERVE = 4  # tokens that may still be begun when those already begun start to come first


_PASS_NS, _TOKEN_NS = 12_000, 6  # a dozen calls per pass, and a few operations per token in each


def host_ns(passes: int, tokens: int) -> float:
    """About how long :func:`host_place_packed` takes [ns]. Only time is at stake: the compiled kernel does the same.

    >>> round(host_ns(2044, 511) / 1e6)
    31
    """
    return passes * (_PASS_NS + _TOKEN_NS * tokens)


def host_place_packed(loads: HostArray, max_open_tokens: Any = None) -> HostArray:
    """Slot table of the packed policy, slot for slot that of :func:`pimjax.schedule.policies.packed.place_packed`.

    Args:
        loads: int32 `[G, T]`, passes per group and token.
        max_open_tokens: limit of tokens begun and not ended, or None.

    Returns:
        int32 `[G, S]` token or `IDLE`, S the makespan.

    >>> host_place_packed(np.array([[1, 1, 0], [1, 0, 1]])).tolist()
    [[0, 1], [0, 2]]
    """
    groups, tokens = loads.shape
    owed = loads.T.astype(np.int64)
    rest = owed.sum(axis=0)
    total, target = int(rest.sum()), int(rest.max())
    needs = (owed > 0).astype(float)  # floats: products with [T, G] are then one call
    forced = needs * (owed == owed.max(axis=1, keepdims=True))
    begun = np.zeros(tokens, bool)
    whole_bonus, crowded_bonus = 4 * total + 2, 2 * total + 1
    limit = None if max_open_tokens is None else int(max_open_tokens)
    rows: list[HostArray] = []
    open_tokens = closed = done = 0
    row, idle = np.full(groups, IDLE, np.int32), np.ones(groups, bool)
    while done < total:
        left = max(target - len(rows), 1)
        value, pressing = (needs @ np.stack([np.where(idle, rest, 0), idle & (rest >= left)], axis=1)).T
        whole = forced @ ~idle == 0
        eligible = (value > 0) & (whole | (pressing > 0))
        bonus = left // 2
        if limit is not None:
            if open_tokens >= limit - min(limit // 2, RESERVE):
                bonus = crowded_bonus
            if open_tokens >= limit:
                eligible &= begun
        score = np.where(eligible, value + bonus * begun + whole_bonus * whole, -1)
        token = int(score.argmax())
        if score[token] >= 0:
            given = idle & (owed[token] > 0)
            row[given] = token
            idle &= ~given
            owed[token] -= given
            rest -= given
            done += int(given.sum())
            open_tokens += not begun[token]
            begun[token] = True
            after = owed[token]
            needs[token] = after > 0
            forced[token] = (after > 0) & (after == after.max())
            closed += not after.any()
            if (idle & (rest > 0)).any():
                continue
        rows.append(row)
        row, idle = np.full(groups, IDLE, np.int32), np.ones(groups, bool)
        open_tokens, closed = open_tokens - closed, 0
    return np.array(rows, np.int32).reshape(-1, groups).T


__all__ = ["RESERVE", "host_ns", "host_place_packed"]
