"""Slot tables of one MoE layer of one pass: which group works on which token, and what each slot loads. Host, NumPy.

A pass of n tokens is cut into windows of `window_tokens`; each window has its own schedule, and windows follow each
other. Two groups that use one token in one slot share its load; with `input_hold` a group whose last pass was the
same token needs none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.schedule import IDLE, schedule_slots
from pimjax.schedule.reschedule_host import reschedule_slots


class Windows(NamedTuple):
    """The slots of all windows of one layer and pass, end to end."""

    token: HostArray  # int32 [S, G] token (index within the pass) or IDLE
    window: HostArray  # int32 [S] window of each slot
    loads: HostArray  # int32 [S] token loads for the slot
    first_token: HostArray  # int32 [W + 1] window w covers tokens first_token[w] .. first_token[w + 1] - 1

    @property
    def busy(self) -> HostArray:
        """int32 [S], groups that start a pass."""
        return (self.token != IDLE).sum(axis=1).astype(np.int32)

    @property
    def num_tokens(self) -> int:
        """Tokens of the pass."""
        return int(self.first_token[-1])


def layer_windows(
    choices: HostArray,
    group_of_expert: HostArray,
    *,
    policy: str,
    num_groups: int,
    window_tokens: int | None = None,
    max_open_tokens: int | None = None,
    input_hold: bool = False,
) -> Windows:
    """Schedule every window of one layer.

    Args:
        choices: bool `[T, E]`, one row per token of the pass.
        group_of_expert: int `[E]`.
        policy: schedule policy.
        num_groups: G.
        window_tokens: tokens scheduled together; None: all.
        max_open_tokens: `packed` only.
        input_hold: groups keep their last token's activations.

    >>> table = layer_windows(np.array([[1, 1, 0, 0], [1, 0, 1, 0]], bool), np.array([0, 0, 1, 1]),
    ...                       policy="compact", num_groups=2)
    >>> table.token.tolist(), table.loads.tolist()
    ([[0, 1], [0, -1], [1, -1]], [2, 1, 1])
    """
    tokens = len(choices)
    size = tokens if window_tokens is None else min(window_tokens, tokens)
    bucket = _bucket(size)
    starts = np.arange(0, tokens, size)
    tables, owner = [], []
    for index, start in enumerate(starts):
        part = choices[start : start + size]
        rows = len(part)
        if policy == "reschedule":
            table = reschedule_slots(part, group_of_expert, num_groups)
        else:
            padded = np.pad(part, ((0, bucket - rows), (0, 0)))
            table = schedule_slots(
                padded,
                group_of_expert,
                policy=policy,
                num_tokens=rows,
                num_groups=num_groups,
                max_open_tokens=max_open_tokens,
            )
        tables.append(np.where(table == IDLE, IDLE, table + start))
        owner.append(np.full(len(table), index, np.int32))
    token = np.concatenate(tables).astype(np.int32)
    return Windows(
        token=token,
        window=np.concatenate(owner),
        loads=slot_loads(token, input_hold=input_hold),
        first_token=np.append(starts, tokens).astype(np.int32),
    )


def _bucket(size: int) -> int:
    """Rows that a window is padded to, so that windows of many sizes share compiled schedules: a power of two or
    three quarters of one.

    >>> [_bucket(size) for size in (1, 5, 7, 33, 511)]
    [8, 8, 8, 48, 512]
    """
    power = max(8, 1 << (size - 1).bit_length())
    return power * 3 // 4 if power > 8 and size <= power * 3 // 4 else power


def slot_loads(token: HostArray, *, input_hold: bool) -> HostArray:
    """Tokens loaded for each slot, int32 `[S]`: distinct tokens among the groups that do not hold theirs.

    >>> slot_loads(np.array([[0, 0], [0, -1], [1, 0]]), input_hold=True).tolist()
    [1, 0, 1]
    """
    if not len(token):
        return np.zeros(0, np.int32)
    needs = token != IDLE
    if input_hold:
        last = np.where(needs, np.arange(len(token))[:, None], -1)
        before = np.concatenate([np.full((1, token.shape[1]), -1), np.maximum.accumulate(last)[:-1]])
        held = np.where(before >= 0, np.take_along_axis(token, np.maximum(before, 0), axis=0), IDLE)
        needs = needs & (held != token)
    keys = np.sort(np.where(needs, token, IDLE), axis=1)
    fresh = keys[:, 1:] != keys[:, :-1]
    return ((keys[:, :1] != IDLE).sum(axis=1) + (fresh & (keys[:, 1:] != IDLE)).sum(axis=1)).astype(np.int32)


class TokenSpan(NamedTuple):
    """First and last slot of every token of a pass; -1 where a token has no pass."""

    first: HostArray  # int32 [T]
    last: HostArray  # int32 [T]
    passes: HostArray  # int32 [T]


def token_span(windows: Windows) -> TokenSpan:
    """When every token is open, and how many passes it has.

    >>> table = Windows(np.array([[0, 1], [0, -1]]), np.zeros(2, int), np.array([2, 1]), np.array([0, 3]))
    >>> token_span(table).last.tolist()
    [1, 0, -1]
    """
    slot, group = np.nonzero(windows.token != IDLE)
    token = windows.token[slot, group]
    first = np.full(windows.num_tokens, -1, np.int32)
    last = first.copy()
    last[token] = slot  # slots ascend: the last assignment stays
    first[token[::-1]] = slot[::-1]
    return TokenSpan(first, last, np.bincount(token, minlength=windows.num_tokens).astype(np.int32))


def open_peak(span: TokenSpan, num_slots: int) -> int:
    """Most tokens whose first pass has begun and whose last has not ended.

    >>> open_peak(TokenSpan(np.array([0, 0, -1]), np.array([1, 0, -1]), np.array([2, 1, 0])), 2)
    2
    """
    used = span.passes > 0
    begun = np.bincount(span.first[used], minlength=num_slots + 1)
    ended = np.bincount(span.last[used] + 1, minlength=num_slots + 1)
    return int((np.cumsum(begun) - np.cumsum(ended[: len(begun)])).max(initial=0))
