"""Slot tables of one MoE layer of one pass: which group works on which token, and what each slot loads. Host, NumPy.

A pass of n tokens is cut into windows of `window_tokens`; each window has its own schedule, and windows follow each
other. Two groups that use one token in one slot share its load; with `input_hold` a group whose last pass was the
same token needs none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.schedule.load_matrix import host_loads
from pimjax.schedule.placement import IDLE, Placement, loads_per_slot, place_table, without_held
from pimjax.schedule.policies import policy_of
from pimjax.schedule.slots import place_on_host


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

    @property
    def opens(self) -> HostArray:
        """bool [S], first slot of a window."""
        return np.append(True, self.window[1:] != self.window[:-1])[: len(self.window)]

    @property
    def placement(self) -> Placement:
        """The slots of all windows as one schedule."""
        return place_table(self.token.T, self.num_tokens)


def layer_windows(
    choices: HostArray,
    group_of_expert: HostArray,
    *,
    policy: str,
    num_groups: int,
    window_tokens: int | None = None,
    max_open_tokens: int | None = None,
    input_hold: bool = False,
    passes: int | None = None,
) -> Windows:
    """Schedule every window of one layer.

    Args:
        choices: bool `[T, E]`, one row per token of the pass.
        group_of_expert: int `[E]`.
        policy: schedule policy.
        num_groups: G.
        window_tokens: tokens scheduled together; None: all.
        max_open_tokens: for a policy that limits open tokens.
        input_hold: groups keep their last token's activations.
        passes: passes that will be scheduled in all, see :func:`pimjax.schedule.slots.place_on_host`.

    >>> table = layer_windows(np.array([[1, 1, 0, 0], [1, 0, 1, 0]], bool), np.array([0, 0, 1, 1]),
    ...                       policy="compact", num_groups=2)
    >>> table.token.tolist(), table.loads.tolist()
    ([[0, 1], [0, -1], [1, -1]], [2, 1, 1])
    """
    tokens, rule = len(choices), policy_of(policy)
    loads = host_loads(choices, group_of_expert, num_groups)
    passes = int(loads.sum()) if passes is None else passes
    size = tokens if window_tokens is None else min(window_tokens, tokens)
    starts = np.arange(0, tokens, size)
    parts = [
        place_on_host(rule, loads[:, start : start + size], max_open_tokens, passes=passes).tokens for start in starts
    ]
    moved = [np.where(part == IDLE, IDLE, part + start) for part, start in zip(parts, starts, strict=True)]
    token = np.concatenate(moved, axis=1).astype(np.int32)
    return Windows(
        token=token.T,
        window=np.repeat(np.arange(len(starts), dtype=np.int32), [part.shape[1] for part in parts]),
        loads=slot_loads(token.T, input_hold=input_hold),
        first_token=np.append(starts, tokens).astype(np.int32),
    )


def slot_loads(token: HostArray, *, input_hold: bool) -> HostArray:
    """Tokens loaded for each slot of a table `[S, G]`, int32 `[S]`: distinct ones among groups that do not hold theirs.

    >>> slot_loads(np.array([[0, 0], [0, -1], [1, 0]]), input_hold=True).tolist()
    [1, 0, 1]
    """
    none = np.zeros(0, np.int32)
    if not len(token):
        return none
    placed = Placement(token.T, none, none, np.int32(len(token)))
    return loads_per_slot(without_held(placed) if input_hold else placed)
