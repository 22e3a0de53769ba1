"""Event graph of the expert phase of one layer: slots, passes, combination, back-pressure.

A slot start `u(s)` is a mark of length zero. It waits for the previous start plus the slot's interval, for the
routing of its tokens where there is no barrier, and, as back-pressure, for all additions that the results of slot
`s - D - Q` caused. Windows share one slot count: buffers still hold the last window's results.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.chips.multiplexed.graph_links import LayerLinks, bring_back, send
from pimjax.chips.multiplexed.graph_parts import Bench
from pimjax.runs.windows import Windows
from pimjax.schedule import IDLE


class MoeRules(NamedTuple):
    """Options of the expert phase."""

    barrier: bool
    local: bool  # accumulate = local
    inline: bool  # combine = inline
    num_groups: int


class MoeJobs(NamedTuple):
    """Jobs of one layer's expert phase that results are read from."""

    ready: HostArray  # t_ready of every window
    slots: HostArray  # start of every slot
    begins: HostArray  # [passes] job that begins each pass, on the resource of its group
    passes: HostArray  # [passes, k] jobs after which a pass is done, in order of (slot, group)
    residual: HostArray  # [n] jobs of the residual stream after the layer, by token; inline: [n, k], -1: none
    result_token: HostArray  # token of every result, shared experts and stored outputs first
    result_slot: HostArray  # slot of every result; -1 for those that no slot made
    result_jobs: HostArray  # [results, k] jobs that make it, -1: none
    order: HostArray  # of results: each token's chain of additions
    additions: HostArray  # jobs that add a result, and which result
    added_result: HostArray


def expert_phase(
    bench: Bench,
    rules: MoeRules,
    windows: Windows,
    gates: HostArray,
    tokens: HostArray,
    extra: list[tuple[HostArray, HostArray]],
    num_tokens: int,
    order: HostArray | None = None,
    norms: int = 0,
    links: LayerLinks | None = None,
) -> MoeJobs:
    """Add the expert phase of one layer.

    Args:
        bench: graph under construction.
        rules: options.
        windows: slot table; its token indices point into `tokens`.
        gates: `[m]` gate jobs of the tokens that are offered to the experts.
        tokens: `[m]` index in the pass of those tokens (their priority).
        extra: further results (shared experts, stored outputs): tokens of the pass and their jobs `[n]` or `[n, k]`.
        num_tokens: n, tokens of the pass; each gets a residual.
        order: permutation of results that gives each token's chain of additions; default (slot, group).
        norms: of the experts' sum, before it is added to the residual; not with additions in the links.
        links: between the dies of the layer; None: it is on one.
    """
    times = bench.times
    ready = _ready_marks(bench, rules, windows, gates)
    slot, group = np.nonzero(windows.token != IDLE)
    slots = _slot_marks(bench, rules, windows, gates, ready)
    own = windows.token[slot, group]
    token = tokens[own]
    sent = None
    if links is not None and len(slot):
        window = np.repeat(np.arange(len(ready)), np.diff(windows.first_token))
        release = ready[window] if rules.barrier else gates
        sent = send(bench, links, np.column_stack([own, group]), release, windows.num_tokens)
        _, one, message = sent
        for column in sent[0].arrived.T:
            there = column[message] >= 0
            bench.follow(column[message[there]], slots[slot[one[there]]])
    if rules.local:
        place = bench.build.resource("group", group)
        begins = passes = bench.build.add("pass", np.full(len(slot), times.a + times.d), place, token=token)
        bench.follow(slots[slot], passes)
        work, work_slot = [], []
    else:
        begins, passes, work, work_slot = _digital_passes(bench, slots, slot, group, token)

    results, held = passes, slot
    if links is not None and sent is not None:
        results, is_sent = bring_back(bench, links, *sent, slot, passes)
        held = np.where(is_sent, -1, slot)  # what is sent has left its group's buffers
    parts = [*extra, (token, results)]
    result_token = np.concatenate([part[0] for part in parts]).astype(np.int64)
    result_slot = np.concatenate([np.full(len(result_token) - len(slot), -1), slot]).astype(np.int64)
    result_jobs = _rows([part[1] for part in parts])
    if order is None:
        order = np.lexsort((np.arange(len(result_token)), result_slot, result_token))
    unrouted = np.setdiff1d(np.arange(num_tokens), result_token)
    source = _unrouted_sources(bench, rules, windows, gates, tokens, ready, unrouted)
    residual, adds, added = _combine(
        bench, rules, result_token, result_jobs, order, num_tokens, unrouted, source, norms
    )
    if len(adds):
        work.append(adds)
        buffered = np.concatenate([np.full(len(result_token) - len(slot), -1), held])
        work_slot.append(buffered[added])
    if len(slots) and np.isfinite(times.buffer_slots) and work:
        _back_pressure(bench, slots, np.concatenate(work), np.concatenate(work_slot))
    return MoeJobs(
        ready, slots, begins, _rows([passes]), residual, result_token, result_slot, result_jobs, order, adds, added
    )


def _rows(parts: list[HostArray]) -> HostArray:
    """Rows of jobs one below the other, padded with -1: `[sum n, k]`."""
    columns = [part[:, None] if part.ndim == 1 else part for part in parts]
    width = max(part.shape[1] for part in columns)
    padded = [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1) for part in columns]
    return np.concatenate(padded).astype(np.int64)


def _rows_of_tokens(
    num_tokens: int, result_token: HostArray, result_jobs: HostArray, unrouted: HostArray, source: list[HostArray]
) -> HostArray:
    """Every job that a token's residual waits for where no unit adds it: `[num_tokens, k]`, -1: none.

    The jobs themselves and no mark of length zero, see :meth:`.Bench.after`.
    """
    row, column = np.nonzero(result_jobs >= 0)
    owner = np.concatenate([result_token[row], np.repeat(unrouted, [len(jobs) for jobs in source])])
    jobs = np.concatenate([result_jobs[row, column], *source])
    order = np.argsort(owner, kind="stable")
    count = np.bincount(owner, minlength=num_tokens)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    rows = np.full((num_tokens, int(count.max(initial=1))), -1, np.int64)
    rows[owner[order], place] = jobs[order]
    return rows


def _unrouted_sources(
    bench: Bench,
    rules: MoeRules,
    windows: Windows,
    gates: HostArray,
    tokens: HostArray,
    ready: HostArray,
    unrouted: HostArray,
) -> list[HostArray]:
    """What the residual of a token that no expert takes waits for: its window's routing, or its own gate."""
    own = np.searchsorted(tokens, unrouted)
    if not rules.barrier:
        return [gates[[index]] for index in own]
    window = np.searchsorted(windows.first_token, own, side="right") - 1
    if bench.times.scheduler > 0:
        return [ready[[index]] for index in window]
    return [gates[windows.first_token[index] : windows.first_token[index + 1]] for index in window]


def _ready_marks(bench: Bench, rules: MoeRules, windows: Windows, gates: HostArray) -> HostArray:
    """t_ready per window: after all its gates and the time to compute its schedule; no barrier: after the gates of
    the tokens of its first slot (of all tokens, where no expert takes any)."""
    size = np.diff(windows.first_token)
    window = np.repeat(np.arange(len(size)), size)
    if rules.barrier:
        ready = bench.wires("scheduler", bench.times.scheduler * size)
        bench.follow(gates, ready[window])
        return ready
    ready = bench.wires("wait", np.zeros(len(size)))
    opens = _opening(windows)
    slot, group = np.nonzero((windows.token != IDLE) & opens[:, None])
    bench.follow(gates[windows.token[slot, group]], ready[windows.window[slot]])
    idle = ~np.isin(window, windows.window)
    bench.follow(gates[idle], ready[window[idle]])
    return ready


def _opening(windows: Windows) -> HostArray:
    """bool [S], first slot of a window."""
    return np.append(True, windows.window[1:] != windows.window[:-1])[: len(windows.window)]


def _slot_marks(bench: Bench, rules: MoeRules, windows: Windows, gates: HostArray, ready: HostArray) -> HostArray:
    times, count = bench.times, len(windows.token)
    if not count:
        return np.zeros(0, np.int64)
    slots = bench.wires("wait", np.zeros(count))
    opens = _opening(windows)
    stage = np.full(count, times.stage)
    loads = np.where(opens, 0.0, windows.loads * times.load)
    links = windows.busy * times.out
    candidates = np.stack([stage, loads, links])[:, 1:]
    which = np.argmax(candidates, axis=0)
    for index, kind in enumerate(("slot by stage", "slot by loads", "slot by links")):
        chosen = np.flatnonzero(which == index)
        if len(chosen):
            interval = bench.wires(kind, candidates[index, chosen])
            bench.follow(slots[chosen], interval)
            bench.follow(interval, slots[chosen + 1])
    heads = np.flatnonzero(opens)
    loading = windows.loads[heads] * times.load
    loading[0] = max(loading[0], times.wake)  # groups wake up meanwhile
    load = bench.wires("first load", loading)
    bench.follow(load, slots[heads])
    bench.follow(ready[windows.window[heads]], load)
    if not rules.barrier:
        slot, group = np.nonzero((windows.token != IDLE) & ~opens[:, None])
        bench.follow(gates[windows.token[slot, group]], slots[slot])
    return slots


def _digital_passes(
    bench: Bench, slots: HostArray, slot: HostArray, group: HostArray, token: HostArray
) -> tuple[HostArray, HostArray, list[HostArray], list[HostArray]]:
    """Passes whose partial sums and activation run on the digital units: first jobs, last jobs, work on units."""
    times, build = bench.times, bench.build
    work: list[HostArray] = []
    work_slot: list[HostArray] = []
    if not len(slot):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), work, work_slot
    up = build.add("stage A", np.full(len(slot), times.up_link), build.resource("group", group), token=token)
    bench.follow(slots[slot], up)
    act = bench.units("expert activation", np.full(len(slot), times.act_job), token)
    work.append(act)
    work_slot.append(slot)
    # pyrefly: ignore[bad-argument-type]
    sums = bench.chains(up, times.up_chain, times.up_strips, token)
    bench.after(sums, act)
    if times.up_chain > 0:
        work.append(sums.ravel())
        work_slot.append(np.repeat(slot, sums.shape[1]))
    link = bench.wires("down link", np.full(len(slot), times.down_link_in), token)
    down = build.add(
        "down product", np.full(len(slot), times.down_mvm), build.resource("down positions of group", group)
    )
    back = build.add(
        "return link", np.full(len(slot), times.down_link_out), build.resource("group", group), token=token
    )
    bench.follow(act, link)
    bench.follow(link, down)
    bench.follow(down, back)
    # pyrefly: ignore[bad-argument-type]
    sums = bench.chains(back, times.down_chain, times.down_strips, token)
    if times.down_chain > 0:
        work.append(sums.ravel())
        work_slot.append(np.repeat(slot, sums.shape[1]))
    return up, sums, work, work_slot


def _combine(
    bench: Bench,
    rules: MoeRules,
    result_token: HostArray,
    result_jobs: HostArray,
    order: HostArray,
    num_tokens: int,
    unrouted: HostArray,
    source: list[HostArray],
    norms: int,
) -> tuple[HostArray, HostArray, HostArray]:
    """Chains of additions per token, norms of their sum and the residual; returns (residual [n], additions, the result each adds)."""
    times = bench.times
    none = np.zeros(0, np.int64)
    tokens = np.arange(num_tokens)
    if rules.inline:  # added on the way: done with the last result
        return _rows_of_tokens(num_tokens, result_token, result_jobs, unrouted, source), none, none
    residual = bench.units("residual", np.full(num_tokens, times.add), tokens)
    entry = residual
    if norms:
        entry = bench.units("norm", np.full(num_tokens, times.norm), tokens)
        bench.follow(bench.norms(entry, tokens, norms - 1), residual)
    for token, jobs in zip(unrouted, source, strict=True):
        bench.follow(jobs, entry[token])
    if not len(result_token):
        return residual, none, none
    token, jobs = result_token[order], result_jobs[order]
    is_first = np.append(True, token[1:] != token[:-1])
    is_last = np.append(is_first[1:], True)
    where = np.flatnonzero(~is_first)  # each token's first result is stored free
    adds = bench.units("combine", np.full(len(where), times.combine_add), token[where])
    add_of = np.full(len(token), -1, np.int64)
    add_of[where] = adds
    bench.after(jobs[where], adds)
    second = where[is_first[where - 1]]
    bench.after(jobs[second - 1], add_of[second])
    later = where[~is_first[where - 1]]
    bench.follow(add_of[later - 1], add_of[later])
    ends = np.flatnonzero(is_last & ~is_first)
    bench.follow(add_of[ends], entry[token[ends]])
    alone = np.flatnonzero(is_last & is_first)
    bench.after(jobs[alone], entry[token[alone]])
    return residual, adds, order[where]


def _back_pressure(bench: Bench, slots: HostArray, work: HostArray, work_slot: HostArray) -> None:
    target = work_slot + int(bench.times.depth) + int(bench.times.buffer_slots)
    used = (work_slot >= 0) & (target < len(slots))
    bench.follow(work[used], slots[target[used]])
