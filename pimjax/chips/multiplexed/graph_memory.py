"""Transfers to and from the memory in the event graph: striped over its channels, on each in order of issue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.chips.multiplexed.graph_parts import Bench

if TYPE_CHECKING:
    from pimjax.chips.multiplexed.graph import PassWork


def kv_stream(bench: Bench, work: PassWork, ready: list[HostArray]) -> list[HostArray]:
    """KV reads of every layer and sequence; returns, per layer, the jobs `[sequences, n]` (-1: none) that attention
    waits for, or with `work.streams` those that it ends no earlier than.

    Without prefetch a read is issued when the sequence's queries, keys and values are there. With prefetch the
    channels read layer after layer from the start of the pass, but never more than `prefetch_ns` beyond the end of
    what the attention that has begun may consume.
    """
    if work.prefetch_ns is None:
        done = []
        for layer, marks in zip(work.layers, ready, strict=True):
            last = np.full((len(marks), bench.channels), -1)
            last[:, 0] = marks
            used = np.flatnonzero(layer.kv_read > 0)
            if len(used):
                read = bench.transfers("kv read", layer.kv_read[used])
                bench.follow(marks[used, None], read)
                last[used] = read
                if work.latency_ns > 0 and not work.streams:
                    late = bench.wires("kv latency", np.full(len(used), work.latency_ns))
                    bench.after(read, late)
                    last[used], last[used, 0] = -1, late
            done.append(last)
        return done

    sequences = len(ready[0]) if ready else 0
    sizes = np.concatenate([layer.kv_read for layer in work.layers])
    marks = np.concatenate(ready)
    ends = np.cumsum(sizes)
    limits = np.append(0.0, ends) + work.prefetch_ns  # limits[m]: may be read once items before m have begun
    waits = marks.copy()
    before = np.zeros((0, 0), np.int64)
    position = 0.0
    for item, size in enumerate(sizes):
        if size <= 0:
            continue
        # chunk borders inside this item: the limits that fall into it
        borders = limits[(limits > position) & (limits < ends[item])]
        chunks = np.diff(np.concatenate([[position], borders, [ends[item]]]))
        for start, length in zip(np.concatenate([[position], borders]), chunks, strict=True):
            job = bench.transfers("kv read", [length])
            if before.size:
                bench.follow(before, job)
            begun = min(int(np.searchsorted(limits, start, side="right")) - 1, item)  # must have begun before
            if begun >= 0:
                bench.follow(marks[begun], job)
            before = job
        mark = bench.wires("wait", 0.0)
        bench.follow([*before[0], marks[item]], mark)
        waits[item] = int(mark[0])
        position = ends[item]
    return [waits[index * sequences : (index + 1) * sequences, None] for index in range(len(work.layers))]
