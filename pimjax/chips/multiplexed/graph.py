"""Event graph of one pass: embedding, attention, experts of every layer, output and sampling. Host, NumPy.

A pass takes n tokens of one sequence (prefill, or a decode step that recomputes its prefix) or one token of each of
n sequences (a decode step with caches). Attention is a barrier per sequence. Times are relative to the pass's start.

Decisions where the model's text leaves room:

- *Passes* do not overlap. A pass of one sequence is sampled when the last layer's expert phase is over for all its
  tokens: phases add, and T_moe of the last layer is free of the output's norm. Sequences that decode together are
  sampled as each is done; the step ends with the last.
- *Attention* of one sequence takes all M units (its heads are dealt to them); sequences follow each other in the
  order in which their queries, keys and values are there.
- *KV read* of a sequence is issued at that instant, the *KV write* of the pass right after it. Attention begins when the
  read is over; with `dram_overlap: stream` it begins at once and ends no earlier than the read (addresses are known, so
  that nothing waits for the memory's latency).
- *Embeddings* are read in the order of the tokens. With `stream` those of known tokens (a prompt's, a recomputed prefix's)
  are there when the pass begins; the newest token of a decode step waits for its own.
- *Gate-output reads* that decide (scores or thresholds; stored outputs where keys and values are recomputed) are
  issued when the router is done and stand before the gate; with prefetch they are issued with the layer's KV read.
  Everything else the gate-output cache moves is posted after the gate.
- *Static SRAM*: the part of the caches that fits is pinned there; it is read beside the memory's part.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.chips.multiplexed.durations import Durations
from pimjax.chips.multiplexed.graph_links import SystemLinks, travel
from pimjax.chips.multiplexed.graph_memory import kv_stream
from pimjax.chips.multiplexed.graph_moe import MoeJobs, MoeRules, expert_phase
from pimjax.chips.multiplexed.graph_parts import KINDS, Bench, resources
from pimjax.event import JobGraph, JobGraphBuilder, ResourceGroup
from pimjax.runs.windows import Windows


@dataclass(frozen=True)
class LayerWork:
    """What one layer does in one pass; times in ns, one entry per sequence."""

    windows: Windows | None  # None: no routed experts
    attention: HostArray
    kv_read: HostArray  # time on the memory's channels
    kv_write: HostArray  # posted
    go_read: HostArray  # before the gate
    go_write: HostArray  # posted after the gate
    sram_read: HostArray  # on-chip part of the KV read
    mixer: int = 0  # row of the model's table of mixers
    feeds: bool = True  # something feeds forward behind the mixer


@dataclass(frozen=True)
class PassWork:
    """One pass: which tokens, which layers, which options."""

    sequence_of_token: HostArray  # int [n]
    expert_tokens: HostArray  # int [m] tokens that are offered to the experts; the others' outputs are stored
    layers: list[LayerWork]
    rules: MoeRules
    num_units: int
    shared: bool  # experts that see every token, in one block
    post_norms: int  # of what attention adds to the residual, and of what feeds forward: 0 or 1 each
    moe_norms: int
    prefetch_ns: float | None  # time on the channels that may be read ahead; None: no prefetch
    leftover_ns: float  # posted writes of the pass before, still on the memory's channels
    lookup: bool  # embeddings from the memory
    known_rows: int = 0  # first tokens whose embeddings are there when the pass begins
    streams: bool = False  # keys and values are read while attention runs
    channels: int = 1
    latency_ns: float = 0.0  # of the memory
    links: SystemLinks | None = None  # between dies
    order: dict[int, HostArray] = field(default_factory=dict)  # layer -> order of results, see expert_phase


@dataclass(frozen=True)
class PassGraph:
    """The graph, and the jobs that results are read from."""

    jobs: JobGraph
    moe: dict[int, MoeJobs]
    layer_end: list[HostArray]  # jobs that end every layer
    start: HostArray  # embedding sums
    sampling: HostArray  # one per sequence
    ready: list[HostArray]  # attention may begin, per layer and sequence
    posted: HostArray  # writes nobody waits for


def pass_graph(work: PassWork, times: Durations) -> PassGraph:
    """Build the graph of one pass."""
    tokens = np.arange(len(work.sequence_of_token))
    build = JobGraphBuilder(KINDS, _resources(work))
    bench = Bench(build, times, np.array([layer.mixer for layer in work.layers]), work.channels)
    posted = _leftover(bench, work.leftover_ns)
    stream = _embedding(bench, work, tokens)
    start = stream
    last_of_sequence = np.flatnonzero(np.append(np.diff(work.sequence_of_token) != 0, True))
    ready_marks = [bench.wires("wait", np.zeros(len(last_of_sequence))) for _ in work.layers]
    kv_done = kv_stream(bench, work, ready_marks)
    moe: dict[int, MoeJobs] = {}
    layer_end: list[HostArray] = []
    for index, layer in enumerate(work.layers):
        attention, go_read = _attention(
            bench, work, layer, index, stream, tokens, ready_marks[index], kv_done[index], posted
        )
        added = _after_attention(bench, work, index, attention, tokens)
        first = min(work.moe_norms, 1) if layer.windows is not None else 0  # the experts' input has its own
        normed = bench.norms(added, tokens, 1 + first) if layer.feeds else added
        if not layer.feeds:
            stream = added
        elif layer.windows is None:
            stream = _dense(bench, work, index, normed, tokens)
        else:
            moe[index] = _experts(bench, work, layer, index, normed, go_read, tokens, posted)
            stream = moe[index].residual
        layer_end.append(stream[stream >= 0])
    sampling = _tail(bench, stream, last_of_sequence)
    return PassGraph(
        build.build(),
        moe,
        layer_end,
        start,
        sampling,
        ready_marks,
        np.concatenate(posted) if posted else np.zeros(0, int),
    )


def _resources(work: PassWork) -> list[ResourceGroup]:
    links = 0 if work.links is None else work.links.num_links
    return resources(len(work.layers), work.rules.num_groups, work.num_units, work.channels, links)


def _leftover(bench: Bench, duration: float) -> list[HostArray]:
    if duration <= 0:
        return []
    return [bench.transfers("kv write", [duration])[0]]


def _embedding(bench: Bench, work: PassWork, tokens: HostArray) -> HostArray:
    """Token embeddings, one after the other, and the addition of the position's."""
    waiting = tokens[work.known_rows :]
    durations = np.full(len(waiting), bench.times.embed)
    # on the memory's channels order of issue decides, so all jobs there have one priority
    if work.lookup:
        read = bench.transfers("embedding", durations)
    else:
        read = bench.build.add("embedding", durations, bench.build.resource("embedding"))
    if bench.times.embed_flight > 0:
        link = bench.wires("embedding link", np.full(len(waiting), bench.times.embed_flight), waiting)
        bench.after(read, link)
        read = link
    added = bench.units("add", np.full(len(tokens), bench.times.add), tokens)
    bench.after(read, added[work.known_rows :])
    return added


def _attention(
    bench: Bench,
    work: PassWork,
    layer: LayerWork,
    index: int,
    stream: HostArray,
    tokens: HostArray,
    ready: HostArray,
    kv_done: HostArray,
    posted: list[HostArray],
) -> tuple[HostArray, HostArray]:
    """Norm, q/k/v, memory and attention; returns the jobs `[sequences, n]` that end attention and early gate-output reads
    `[sequences, channels]` (or empty)."""
    build, sequence = bench.build, work.sequence_of_token
    norm = bench.units("norm", np.full(len(tokens), bench.times.norm), tokens)
    bench.after(stream, norm)
    source = norm
    if work.links is not None and index > 0:
        way = work.links.path[work.links.home[index - 1], work.links.home[index]]
        source = travel(bench, work.links, norm, np.tile(way, (len(tokens), 1)), work.links.result_bytes)
    projected = bench.linear("qkv", index, source, tokens)
    if bench.of("expand", index).flight > 0:
        projected = bench.linear("expand", index, projected, tokens)
    bench.after(projected, ready[sequence])
    attention = build.add("attention", layer.attention, build.resource("attention"))
    read = kv_done
    used = np.flatnonzero(layer.sram_read > 0)
    if len(used):
        sram = build.add("sram read", layer.sram_read[used], build.resource("SRAM"))
        bench.follow(ready[used], sram)
        read = np.column_stack([read, np.full(len(read), -1)])
        read[used, -1] = sram
    if work.streams:  # attention runs beside its reads, and ends with the later of both
        bench.follow(ready, attention)
        ended = np.column_stack([attention, read])
    else:
        bench.after(read, attention)
        ended = attention[:, None]
    early = np.zeros(0, np.int64)
    if work.prefetch_ns is not None and layer.go_read.any():
        early = bench.transfers("go read", layer.go_read)
        bench.follow(ready[:, None], early)
    wrote = np.flatnonzero(layer.kv_write > 0)
    if len(wrote):
        write = bench.transfers("kv write", layer.kv_write[wrote])
        bench.follow(ready[wrote, None], write)
        posted.append(write.ravel())
    return ended, early


def _after_attention(bench: Bench, work: PassWork, index: int, attention: HostArray, tokens: HostArray) -> HostArray:
    """Output projection, its norm where there is one, residual addition."""
    output = bench.linear("output", index, attention[work.sequence_of_token], tokens)
    output = bench.norms(output, tokens, work.post_norms)
    added = bench.units("add", np.full(len(tokens), bench.times.add), tokens)
    bench.after(output, added)
    return added


def _dense(bench: Bench, work: PassWork, index: int, normed: HostArray, tokens: HostArray) -> HostArray:
    out = _feed_forward(bench, index, normed, tokens, "dense")
    out = bench.norms(out, tokens, work.post_norms)
    residual = bench.units("residual", np.full(len(tokens), bench.times.add), tokens)
    bench.after(out, residual)
    return residual


def _feed_forward(bench: Bench, index: int, source: HostArray, tokens: HostArray, name: str) -> HostArray:
    """Up, activation, down of a dense block or of the shared one."""
    times = bench.times
    # pyrefly: ignore[bad-argument-type]
    hidden = bench.linear(f"{name}_up", index, source, tokens, extra=times.dense_act)
    job = times.dense_act_job if name == "dense" else times.shared_act_job
    if job > 0:
        act = bench.units(f"{name} activation", np.full(len(tokens), job), tokens)
        bench.after(hidden, act)
        hidden = act
    return bench.linear(f"{name}_down", index, hidden, tokens)


def _experts(
    bench: Bench,
    work: PassWork,
    layer: LayerWork,
    index: int,
    normed: HostArray,
    go_read: HostArray,
    tokens: HostArray,
    posted: list[HostArray],
) -> MoeJobs:
    """Router, gate, shared experts and the expert phase."""
    times = bench.times
    assert layer.windows is not None
    if times.router_digital > 0:
        routed = bench.units("router on unit", np.full(len(tokens), times.router_digital), tokens)
        bench.follow(normed, routed)
    else:
        routed = bench.linear("router", index, normed, tokens)
    gates = bench.units("gate", np.full(len(tokens), times.gate), tokens)
    bench.after(routed, gates)
    sequence = work.sequence_of_token
    if layer.go_read.any():
        if not len(go_read):
            go_read = bench.transfers("go read", layer.go_read)
            for channel in go_read.T:
                bench.after(routed, channel[sequence])
            if work.latency_ns > 0:
                late = bench.wires("go latency", np.where(layer.go_read > 0, work.latency_ns, 0.0))
                bench.after(go_read, late)
                go_read = late[:, None]
        bench.after(go_read[sequence], gates)
    if layer.go_write.any():
        write = bench.transfers("go write", layer.go_write)
        bench.follow(gates[:, None], write[sequence])
        posted.append(write.ravel())

    extra: list[tuple[HostArray, HostArray]] = []
    if work.shared:
        extra.append((tokens, _feed_forward(bench, index, normed, tokens, "shared")))
    stored = np.setdiff1d(tokens, work.expert_tokens)
    if len(stored):
        extra.append((stored, gates[stored]))  # read from the cache before the gate
    return expert_phase(
        bench,
        work.rules,
        layer.windows,
        gates[work.expert_tokens],
        work.expert_tokens,
        extra,
        len(tokens),
        work.order.get(index),
        work.post_norms + max(work.moe_norms - 1, 0),
        None if work.links is None else work.links.layer(index),
    )


def _tail(bench: Bench, stream: HostArray, tokens: HostArray) -> HostArray:
    """Final norm, output embedding and sampling of each sequence's last token."""
    norm = bench.units("norm", np.full(len(tokens), bench.times.norm), tokens)
    if len(tokens) > 1:
        bench.after(stream, norm)
    else:  # one sequence: after all its tokens
        bench.follow(stream[stream >= 0], norm[0])
    logits = bench.linear("head", 0, norm, tokens)
    link = bench.wires("sampling link", np.full(len(tokens), bench.times.link), tokens)
    bench.after(logits, link)
    sampling = bench.units("sampling", np.full(len(tokens), bench.times.sampling), tokens)
    bench.follow(link, sampling)
    return sampling
