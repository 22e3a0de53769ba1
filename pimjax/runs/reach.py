"""How many tokens of a pass a stretch of neighbouring groups serves, and how early slots want them: what a placement needs to
know of a routing. Host, NumPy.

Groups lie along the silicon of their layer one after the other, and where dies end depends on the hardware: so tokens are
counted for every stretch of groups at once, and a die takes the count of its own. Exact for every placement of one order.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.runs.windows import Windows
from pimjax.schedule import IDLE

#: Time of all slots, and of all sums on their way back, over that of all tokens on their way there: the ratios for which the
#: hardest slots are kept.
SLOT_RATIOS = 4.0 ** np.arange(-3, 4)
BACK_RATIOS = np.array([0.0, 0.5, 1.0, 2.0, 4.0])
LEAD_LINES = len(SLOT_RATIOS) * len(BACK_RATIOS)


def leads_of(table: Windows) -> HostArray:
    """The slots that decide when the last sum is back, where tokens arrive one after the other and sums leave likewise; float64
    `[3, R]`: tokens before a slot, slots from there on, and the part of all sums that leaves after the last of these.

    A slot waits for the latest of its tokens, those after it follow at their pace, and what the link back carries from then on
    keeps it busy: with x ns per token, y per slot and z for all sums, the last one is back after the largest

        latest(s') x + (s - s') y + remaining(s) z,    s' <= s,

    a convex function of x, y and z whose lines are kept at R ratios. Sums are counted as passes: which die a group is on
    depends on the hardware.

    >>> from pimjax.runs.windows import layer_windows
    >>> table = layer_windows(np.array([[1, 0], [1, 0], [0, 1]], bool), np.array([0, 1]), policy="compact", num_groups=2)
    >>> leads_of(table)[:, 0].tolist()  # the third token's group wants it in the first slot, one more slot follows
    [2.0, 1.0, 0.0]
    """
    if not len(table.token):
        return np.zeros((3, LEAD_LINES))
    is_pass = table.token != IDLE
    first = table.first_token[table.window][:, None]
    latest = np.where(is_pass, table.token - first, 0).max(axis=1).astype(np.float64)
    index = np.arange(len(latest))
    begins = np.flatnonzero(table.opens)
    slot = (index - begins[table.window - table.window[0]]).astype(np.float64)
    passes = is_pass.sum(axis=1)
    later = passes[::-1].cumsum()[::-1] - 1  # passes from a slot on; the last one of all has no work behind it
    remaining = np.maximum(later, 0) / max(passes.sum() - 1, 1)
    to_arrive = latest / max(table.num_tokens - 1, 1)
    to_start = SLOT_RATIOS[:, None] * (slot / max(len(slot) - 1, 1))
    wait = to_arrive - to_start
    hardest = np.maximum.accumulate(wait, axis=1)
    waits_for = np.maximum.accumulate(np.where(wait == hardest, index, 0), axis=1)  # s' of every s
    back = (hardest + to_start)[:, None] + BACK_RATIOS[:, None] * remaining
    last = back.argmax(axis=-1)
    held_by = np.take_along_axis(waits_for, last, axis=-1)
    return np.stack([latest[held_by], last - held_by, remaining[last]]).reshape(3, LEAD_LINES)


def reach_of(passes: Iterable[HostArray], group_of_expert: HostArray, place: HostArray, groups: int) -> HostArray:
    """Tokens with an expert in groups at the places a to b - 1; float64 `[layers, groups + 1, groups + 1]`, mean over passes.

    Args:
        passes: bool `[layers, T, E]` each, layers with experts alone; of any lengths.
        group_of_expert: int `[layers, E]`.
        place: int `[layers, G]`, where on its layer's silicon a group lies.
        groups: at least G.

    >>> choices = np.array([[[1, 0, 0], [0, 1, 1]]], bool)
    >>> table = reach_of([choices], np.array([[0, 1, 2]]), np.array([[0, 1, 2]]), 3)[0]
    >>> table[0, 3].item(), table[1, 3].item(), table[1, 2].item(), table[2, 2].item()
    (2.0, 1.0, 1.0, 0.0)
    """
    layers = len(group_of_expert)
    total, count = np.zeros((layers, groups + 1, groups + 1)), 0
    spot = np.take_along_axis(place, group_of_expert, axis=1) if layers else group_of_expert
    for choices in passes:
        count += 1
        tokens = choices.shape[1]
        for layer in range(layers):
            visited = np.zeros((tokens, groups + 1), bool)
            token, expert = np.nonzero(choices[layer])
            visited[token, spot[layer, expert]] = True
            # the first place from a on that a token wants; `groups`: none
            following = np.where(visited, np.arange(groups + 1), groups)
            following = np.minimum.accumulate(following[:, ::-1], axis=1)[:, ::-1]
            pairs = np.arange(groups + 1) * (groups + 1) + following
            found = np.bincount(pairs.ravel(), minlength=(groups + 1) ** 2).reshape(groups + 1, groups + 1)
            # tokens whose first wanted place from a on is before b
            total[layer, :, 1:] += np.cumsum(found, axis=1)[:, :-1]
    return total / max(count, 1)


__all__ = ["LEAD_LINES", "leads_of", "reach_of"]
