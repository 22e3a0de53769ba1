"""DRAM transfers of cached keys and values in the event graph: one channel, in order of issue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.chips.multiplexed.graph_parts import Bench

if TYPE_CHECKING:
    from pimjax.chips.multiplexed.graph import PassWork


def kv_stream(bench: Bench, work: PassWork, ready: list[HostArray]) -> list[HostArray]:
    """KV reads of every layer and sequence; returns, per layer, the jobs that attention waits for.

    Without prefetch a read is issued when the sequence's queries, keys and values are there. With prefetch the
    channel reads layer after layer from the start of the pass, but never more than `prefetch_ns` beyond the end of
    what the attention that has begun may consume.
    """
    place = bench.build.resource("DRAM")
    if work.prefetch_ns is None:
        done = []
        for layer, marks in zip(work.layers, ready, strict=True):
            last = marks.copy()
            used = np.flatnonzero(layer.kv_read > 0)
            if len(used):
                read = bench.build.add("kv read", layer.kv_read[used], place)
                bench.follow(marks[used], read)
                last[used] = read
            done.append(last)
        return done

    sequences = len(ready[0]) if ready else 0
    sizes = np.concatenate([layer.kv_read for layer in work.layers])
    marks = np.concatenate(ready)
    ends = np.cumsum(sizes)
    limits = np.append(0.0, ends) + work.prefetch_ns  # limits[m]: may be read once items before m have begun
    waits = marks.copy()
    before = -1
    position = 0.0
    for item, size in enumerate(sizes):
        if size <= 0:
            continue
        # chunk borders inside this item: the limits that fall into it
        borders = limits[(limits > position) & (limits < ends[item])]
        chunks = np.diff(np.concatenate([[position], borders, [ends[item]]]))
        for start, length in zip(np.concatenate([[position], borders]), chunks, strict=True):
            job = bench.build.add("kv read", length, place)
            if before >= 0:
                bench.follow(before, job)
            begun = min(int(np.searchsorted(limits, start, side="right")) - 1, item)  # must have begun before
            if begun >= 0:
                bench.follow(marks[begun], job)
            before = int(job[0])
        mark = bench.wires("wait", 0.0)
        bench.follow([before, marks[item]], mark)
        waits[item] = int(mark[0])
        position = ends[item]
    return [waits[index * sequences : (index + 1) * sequences] for index in range(len(work.layers))]
