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

#: Time of a token's messages over that of a slot for which the hardest slot is kept.
LEAD_RATIOS = 2.0 ** np.arange(-6, 6)


def leads_of(table: Windows) -> HostArray:
    """The slots that wait longest where tokens arrive one after the other; float64 `[2, R]`: tokens before, slots before.

    A slot waits for the latest of its tokens: with x ns per token and y ns per slot the wait is the largest
    `tokens x - slots y` of all slots, a convex function of x / y whose lines are kept at R ratios.

    >>> from pimjax.runs.windows import layer_windows
    >>> table = layer_windows(np.array([[1, 0], [1, 0], [0, 1]], bool), np.array([0, 1]), policy="compact", num_groups=2)
    >>> leads_of(table)[:, 0].tolist()  # the third token's group wants it in the first slot
    [2.0, 0.0]
    """
    if not len(table.token):
        return np.zeros((2, len(LEAD_RATIOS)))
    first = table.first_token[table.window][:, None]
    latest = np.where(table.token == IDLE, 0, table.token - first).max(axis=1).astype(np.float64)
    begins = np.flatnonzero(table.opens)
    slot = (np.arange(len(latest)) - begins[table.window - table.window[0]]).astype(np.float64)
    hardest = np.argmax(LEAD_RATIOS[:, None] * latest[None] - slot[None], axis=1)
    return np.stack([latest[hardest], slot[hardest]])


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


__all__ = ["LEAD_RATIOS", "leads_of", "reach_of"]
