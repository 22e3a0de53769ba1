"""Plain NumPy schedules, written as the authors describe them: queues with idle entries, slot by slot."""

from __future__ import annotations

import numpy as np

IDLE = -1


def load_table(choices, groups, num_groups, num_tokens):
    """`[T, G]` passes of each of the first `num_tokens` tokens in each group."""
    table = np.zeros((num_tokens, num_groups), int)
    for t in range(num_tokens):
        for e, chosen in enumerate(choices[t]):
            if chosen:
                table[t, groups[e]] += 1
    return table


def token_wise_queues(table):
    """One queue of token ids (or IDLE) per group, one token at a time."""
    queues = [[] for _ in range(table.shape[1])]
    for t, row in enumerate(table):
        length = row.max(initial=0)
        for j, load in enumerate(row):
            queues[j] += [t] * load + [IDLE] * (length - load)
    return queues


def compact_queues(table):
    """Every group runs its own queue back to back."""
    return [[t for t, load in enumerate(column) for _ in range(load)] for column in table.T]


def reschedule_queues(table):
    """The authors' algorithm: idle entries inserted into the shorter queues."""
    queues = compact_queues(table)
    cumulative = np.cumsum(table, axis=0)
    if not len(table):
        return queues
    longest = int(np.argmax([len(queue) for queue in queues]))
    for j, queue in enumerate(queues):
        rel = cumulative[:, longest] - cumulative[:, j]
        for t in range(len(table)):
            if rel[-1] == 0:
                break
            rest = rel[t:]
            if rel[t] > 0 and 2 * int((rest > 0).sum()) > len(rest):
                amount = int(rest[rest > 0].min())
                at = next((i for i, token in enumerate(queue) if token >= t), len(queue))
                queue[at:at] = [IDLE] * amount
                rel[t:] -= amount
    return queues


QUEUES = {"token_wise": token_wise_queues, "compact": compact_queues, "reschedule": reschedule_queues}


def slots_of(queues):
    """`[S, G]` slot table of queues, padded with IDLE; trailing idle slots do not count."""
    busy = [max((i + 1 for i, t in enumerate(q) if t != IDLE), default=0) for q in queues]
    slots = np.full((max(busy, default=0), len(queues)), IDLE)
    for j, queue in enumerate(queues):
        slots[: busy[j], j] = queue[: busy[j]]
    return slots


def schedule_slots(choices, groups, policy, num_groups, num_tokens, limit=None):
    """Slot table of a policy."""
    if policy == "packed":
        return packed_slots(load_table(choices, groups, num_groups, num_tokens), limit)
    return slots_of(QUEUES[policy](load_table(choices, groups, num_groups, num_tokens)))


def summary_of(slots, num_groups):
    """makespan, loads, first_loads, load_hist, open_max, loads and returns per slot of any slot table."""
    loads = [len(set(row[row != IDLE].tolist())) for row in slots]
    returns = [int((row != IDLE).sum()) for row in slots]
    first, last = {}, {}
    for s, row in enumerate(slots):
        for t in row[row != IDLE].tolist():
            first.setdefault(t, s)
            last[t] = s
    open_tokens = [sum(first[t] <= s <= last[t] for t in first) for s in range(len(slots))]
    return {
        "makespan": len(slots),
        "loads": sum(loads),
        "first_loads": loads[0] if loads else 0,
        "load_hist": np.bincount(loads[1:], minlength=num_groups + 1).tolist(),
        "open_max": max(open_tokens, default=0),
        "slot_loads": loads,
        "slot_returns": returns,
    }


def packed_slots(table, limit=None):
    """The packed policy, token by token and group by group. `limit`: most open tokens."""
    owed = table.copy()
    tokens, groups = table.shape
    target = int(table.sum(axis=0).max(initial=0))
    begun, slots = set(), []
    big = 2 * (tokens * groups * max(1, int(table.max(initial=1)))) + 1
    while owed.any():
        left = max(target - len(slots), 1)
        row = np.full(groups, IDLE)
        opened = sum(bool(owed[t].any()) for t in begun)
        while True:
            rest = owed.sum(axis=0)
            best, choice = -1, None
            for t in range(tokens):
                needs = owed[t] > 0
                gets = needs & (row == IDLE)
                if not gets.any() or (limit is not None and t not in begun and opened >= limit):
                    continue
                whole = not (needs & (owed[t] == owed[t].max()) & (row != IDLE)).any()
                urgent = (gets & (rest >= left)).any()
                if not whole and not urgent:
                    continue
                value = int(rest[gets].sum()) + 2 * big * whole
                if t in begun:
                    value += big if limit is not None and opened >= limit - min(limit // 2, 4) else left // 2
                if value > best:
                    best, choice = value, (t, gets)
            if choice is None:
                break
            t, gets = choice
            opened += t not in begun
            begun.add(t)
            row[gets] = t
            owed[t, gets] -= 1
        slots.append(row)
    return np.array(slots, int).reshape(len(slots), groups)
