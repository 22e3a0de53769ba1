"""What is counted of a schedule, whatever the hardware: one definition for the host (NumPy) and for kernels (JAX).

A slot table may hold several windows end to end, each with a schedule of its own; the first slot of a later window
loads nothing that could stretch it (its tokens are there), so it counts as a slot without loads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.arrays import add_at, bit_length, namespace, running_max
from pimjax.schedule.placement import (
    IDLE,
    Placement,
    chains_per_slot,
    loads_per_slot,
    open_per_slot,
    returns_per_slot,
    without_held,
)

TAIL_SLOTS = 8
GAP_BINS = 7  # idle slots between two passes of a group: 0, 1, 2-3, 4-7, .., from 32 on
PROFILE_ROWS = ("loads", "returns", "adds", "chains", "ends", "opens")


def count_slots(
    placed: Placement,
    passes: Any,
    num_tokens: Any,
    *,
    num_groups: int,
    opens: Any = None,
    hold: bool = False,
    joint: bool = True,
    profile: bool = False,
) -> dict[str, Any]:
    """Counts of one layer of one pass. Kernel under JAX; compiles nothing under NumPy.

    Args:
        placed: the slots; at least one (idle beyond the makespan).
        passes: int32 `[T]`, passes of every token.
        num_tokens: int `[]`, tokens in use.
        num_groups: static G of the histograms.
        opens: bool `[S]`, first slot of a window; default: slot 0 alone.
        hold: static, groups keep their last token's activations.
        joint: static, also `busy_hist`.
        profile: static, also `profile`.

    Returns:
        int32 arrays by name:

        - `passes`, `makespan`, `loads`, `first_loads` (of slot 0), `open_max` (most tokens begun and not finished),
          `unrouted` (tokens without passes), `last_token_slots` (from the last token's first to its last pass);
        - `load_hist` `[G+1]`: slots from 1 on by their loads; `busy_hist` `[G+1, G+1]`: by (loads, busy groups);
        - `tail_adds` `[W]`: most additions that one token's results of the last 1, 2, .. W slots cause;
          `tail_loads`, `tail_busy` `[W]`: loads and busy groups of the last, last but one, .. slot;
        - `gap_hist` `[B]`: pauses of groups between two of their passes, by the bit length of their idle slots;
          `gap_slots` `[B]`: idle slots of those pauses;
        - `profile` `[6, S]`: `PROFILE_ROWS` slot by slot.

    >>> from pimjax.schedule.placement import place_intervals
    >>> placed = place_intervals(np.array([[0, 2], [0, 0]]), np.array([[2, 3], [0, 1]]), 3)
    >>> counts = count_slots(placed, np.array([2, 2]), 2, num_groups=2)
    >>> int(counts["loads"]), counts["load_hist"].tolist(), int(counts["open_max"])
    (4, [0, 2, 0], 2)
    """
    xp, (slots, tokens) = namespace(placed.tokens), (placed.tokens.shape[1], passes.shape[0])
    slot, makespan = xp.arange(slots, dtype=np.int32), placed.makespan
    opens = slot == 0 if opens is None else opens
    later = (slot >= 1) & (slot < makespan)
    slot_loads = loads_per_slot(without_held(placed) if hold else placed)
    busy = returns_per_slot(placed)
    counted = xp.where(opens, 0, slot_loads)
    level = xp.arange(num_groups + 1, dtype=np.int32)[:, None]
    at = makespan - 1 - xp.arange(TAIL_SLOTS, dtype=np.int32)
    inside, near = at >= 0, xp.maximum(at, 0)
    real = xp.arange(tokens, dtype=np.int32) < num_tokens
    final = xp.maximum(num_tokens - 1, 0)
    out = {
        "passes": passes.sum(dtype=np.int32),
        "makespan": makespan,
        "loads": slot_loads.sum(dtype=np.int32),
        "first_loads": slot_loads[0],
        "load_hist": ((counted[None] == level) & later[None]).sum(axis=1, dtype=np.int32),
        "open_max": open_per_slot(placed).max(),
        "tail_adds": _tail_adds(placed, passes, at, near, inside),
        "tail_loads": xp.where(inside, counted[near], 0),
        "tail_busy": xp.where(inside, busy[near], 0),
        **_gaps(placed.tokens, slot),
        "unrouted": (real & (passes == 0)).sum(dtype=np.int32),
        "last_token_slots": xp.where(passes[final] > 0, placed.stop[final] - placed.first[final], 0),
    }
    if joint:
        empty = xp.zeros((num_groups + 1, num_groups + 1), np.int32)
        out["busy_hist"] = add_at(empty, (counted, busy), later.astype(np.int32))
    if profile:
        out["profile"] = _profile(placed, passes, slot_loads, busy, opens & (slot < makespan))
    return out


def _gaps(tokens: Any, slot: Any) -> dict[str, Any]:
    """Pauses of every group between two of its passes."""
    xp = namespace(tokens)
    works = tokens != IDLE
    latest = running_max(xp.where(works, slot[None], -1))  # [G, S] last slot with a pass, this one included
    before = xp.concatenate([xp.full_like(latest[:, :1], -1), latest[:, :-1]], axis=1)
    idle = xp.where(works & (before >= 0), slot[None] - before - 1, -1)
    bins = xp.where(idle >= 0, xp.minimum(bit_length(xp.maximum(idle, 0)), GAP_BINS - 1), -1)
    mine = bins[None] == xp.arange(GAP_BINS, dtype=np.int32)[:, None, None]
    return {
        "gap_hist": mine.sum(axis=(1, 2), dtype=np.int32),
        "gap_slots": (mine * idle[None]).sum(axis=(1, 2), dtype=np.int32),
    }


def _tail_adds(placed: Placement, passes: Any, at: Any, near: Any, inside: Any) -> Any:
    """int32 [W]: the first result of a token is free."""
    xp = namespace(passes)
    rows = xp.where(inside[None], placed.tokens[:, near], IDLE)  # [G, W]
    token = xp.arange(passes.shape[0], dtype=np.int32)
    results, found = xp.zeros_like(passes), []
    for place in range(TAIL_SLOTS):
        results = results + (rows[:, place][:, None] == token[None]).sum(axis=0, dtype=np.int32)
        is_first = (placed.first >= at[place]) & (results > 0)
        found.append((results - is_first).max())
    return xp.stack(found)


def _profile(placed: Placement, passes: Any, slot_loads: Any, busy: Any, opens: Any) -> Any:
    """int32 [6, S]"""
    xp, used = namespace(passes), (passes > 0).astype(np.int32)
    begins = add_at(xp.zeros_like(busy), (placed.first,), used)
    ends = add_at(xp.zeros_like(busy), (xp.maximum(placed.stop - 1, 0),), used)
    rows = (slot_loads, busy, busy - begins, chains_per_slot(placed), ends, opens.astype(np.int32))
    assert len(rows) == len(PROFILE_ROWS)
    return xp.stack(rows)


__all__ = ["GAP_BINS", "PROFILE_ROWS", "TAIL_SLOTS", "count_slots"]
