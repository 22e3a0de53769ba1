"""Job graph of a chain of passes of the authors' simulator: every MVM, addition and transfer is one job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pimjax.chips.reference import costs
from pimjax.chips.reference.choices import PassChoices
from pimjax.chips.reference.mapping import LayerTiles, Mapping
from pimjax.chips.reference.memory import consumer_groups
from pimjax.chips.reference.parameters import Pass, ReferenceParameters
from pimjax.chips.reference.writer import Linear, OperatorWriter
from pimjax.event import FROM_THE_START, Buffers, JobGraph

HostArray = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ReferenceGraph:
    """A chain of passes, ready to run.

    Attributes:
        jobs: the graph; kinds are the fields of `costs.PassCounts`.
        buffers: scratchpad buffers, or None if they were not asked for.
        attention: int64 [passes, layers], the attention jobs.
        sampling: int64 [passes], the last job of each pass.
    """

    jobs: JobGraph
    buffers: Buffers | None
    attention: HostArray
    sampling: HostArray


def build_graph(
    p: ReferenceParameters,
    mapping: Mapping,
    passes: tuple[Pass, ...],
    choices: tuple[PassChoices, ...],
    *,
    with_memory: bool = True,
) -> ReferenceGraph:
    """Build the graph of consecutive passes; each waits for the sampling operation of the one before.

    If the first of `passes` is not the first of the run, its transfers into the embedding start at time 0, as if the
    sampling operation before it had just ended on an idle chip, whose 512 bytes are still held.

    Args:
        p: the run's parameters.
        mapping: tiles of the model.
        passes: the passes, in order.
        choices: experts of each of these passes.
        with_memory: also collect the buffers.

    Raises:
        PimjaxError: the memory of this run cannot be tracked by the authors' rules (see `consumer_groups`).
        CapacityError: more operations than the engine accepts.

    >>> from pimjax.chips.reference.choices import draw_choices, shape_choices
    >>> from pimjax.chips.reference.mapping import map_model
    >>> from pimjax.chips.reference.parameters import list_passes
    >>> p = ReferenceParameters(d_model=512, d_ff=300, vocab=1000, k=2, experts=4, start_len=6)
    >>> graph = build_graph(p, map_model(p), list_passes(p), shape_choices(p, draw_choices(p)))
    >>> graph.jobs.num_jobs
    812
    """
    writer = OperatorWriter(p, mapping.tiles, with_memory)
    written: list[_PassWriter] = []
    for work, experts in zip(passes, choices, strict=True):
        current = _PassWriter(p, mapping, writer, work)
        current.write(experts, written[-1].sampling if written else None)
        written.append(current)
    jobs, buffers = writer.build()
    return ReferenceGraph(
        jobs=jobs,
        buffers=buffers,
        attention=np.array([one.attention for one in written], np.int64),
        sampling=np.array([one.sampling for one in written], np.int64),
    )


class _PassWriter:
    """Writes one pass: embedding, layers, head. Arrays have one entry per token, [n], unless stated."""

    def __init__(self, p: ReferenceParameters, mapping: Mapping, writer: OperatorWriter, work: Pass) -> None:
        self.p = p
        self.mapping = mapping
        self.writer = writer
        self.work = work
        self.token = np.arange(work.tokens)
        self.mvm_ns = float(costs.mvm_ns(p, work.decode_id))
        self.norm_ns = costs.norm_ns(p, p.d_model)
        self.add_ns = costs.add_ns(p, p.d_model)
        self.attention: list[int] = []
        self.sampling = -1

    def write(self, choices: PassChoices, previous_sampling: int | None) -> None:
        """Append the pass; `choices` has one array [n, k] per layer with experts."""
        stream = self._embedding(previous_sampling)
        of_layer = iter(choices)
        for layer in range(self.p.layers):
            tiles = self.mapping.layers[layer]
            experts = next(of_layer) if self.p.is_moe(layer) else None
            summed = self._attention(tiles, stream, normed=layer > 0)
            stream = self._feed_forward(tiles, experts, summed)
        self._head(stream)

    def _linear(self, blocks: HostArray, width: int, **options: Any) -> Linear:
        """A linear layer that every token of the pass visits on the same tiles [rows, cols]."""
        tiles = np.broadcast_to(blocks, (self.work.tokens, *blocks.shape))
        return self.writer.linear(tiles, width, self.token, self.mvm_ns, **options)

    def _embedding(self, previous_sampling: int | None) -> HostArray:
        """Reads of the one table row and the additions that start the residual stream."""
        writer, p = self.writer, self.p
        reads = self._linear(self.mapping.embedding, p.d_model, transfers=not self.work.first)
        if not self.work.first:
            if previous_sampling is not None:
                writer.feed_all(previous_sampling, reads)
            if writer.buffers is not None:
                size = costs.MULTINOMIAL_SIZE
                producer = FROM_THE_START if previous_sampling is None else previous_sampling
                last = consumer_groups(list(reads.tiles), -(-size // p.tier_rows), "the sampled token")[-1]
                writer.buffers.add(size, producer, last)
        stream = writer.digital("add_model", self.add_ns, self.token)
        writer.consume(reads, stream[:, None])
        return stream

    def _attention(self, tiles: LayerTiles, stream: HostArray, *, normed: bool) -> HostArray:
        """Norm (not in layer 0), q, k, v, the barrier, out-projection; returns the residual additions."""
        writer, p, d = self.writer, self.p, self.p.d_model
        source = stream
        if normed:
            source = writer.digital("layer_norm", self.norm_ns, self.token)
            writer.connect(stream, source)
        query_key_value = [self._linear(blocks, d) for blocks in tiles.qkv]
        compute, read = costs.attention_ns(p, self.work.length, self.work.decode and p.kv)
        barrier = writer.attention(float(read + compute))
        self.attention.append(int(barrier[0]))
        for linear in query_key_value:
            writer.consume(linear, barrier)
        out = self._linear(tiles.out, d)
        writer.feed_all(barrier[0], out)
        if writer.buffers is not None:
            rows = tiles.out.shape[0]
            groups = consumer_groups([out.tiles], rows, "the attention output")  # each holds the whole vector
            writer.buffers.add(d, np.broadcast_to(barrier, groups.shape[:2]), groups)
        summed = writer.digital("add_model", self.add_ns, self.token)
        writer.consume(out, summed[:, None])
        writer.connect(stream, summed)
        if normed:
            writer.hold(d, stream, source, summed)
            writer.feed(source, query_key_value, d, "a normalised vector")
        else:
            writer.feed(source, query_key_value, d, "an embedded token", [summed])
        return summed

    def _feed_forward(self, tiles: LayerTiles, experts: HostArray | None, summed: HostArray) -> HostArray:
        """Norm, router and experts (or the one dense network); returns the residual additions."""
        writer, p, d, f, token = self.writer, self.p, self.p.d_model, self.p.d_ff, self.token
        norm = writer.digital("layer_norm", self.norm_ns, token)
        writer.connect(summed, norm)
        router = None if tiles.router is None else self._linear(tiles.router, p.experts)
        networks = np.zeros((len(token), 1), np.int64) if experts is None else experts  # [n, slots]
        up = writer.linear(tiles.up[networks], f, token, self.mvm_ns)
        relu = writer.digital("digital_relu", self.p.units.relu_ns, np.broadcast_to(token[:, None], networks.shape))
        writer.consume(up, relu[..., None])
        down = writer.linear(tiles.down[networks], d, token, self.mvm_ns)
        assert down.transfers is not None
        per_network = down._replace(
            transfers=down.transfers.reshape(-1, *down.transfers.shape[2:]),
            tiles=down.tiles.reshape(-1, *down.tiles.shape[2:]),
        )
        writer.feed(norm, [up] if router is None else [router, up], d, "a normalised vector")
        writer.feed(relu.ravel(), [per_network], f, "an activation")

        if router is not None and networks.shape[1] > 1:
            chain = self._accumulate(down, router)
            residual = writer.digital("add_model", self.add_ns, token)
            writer.connect(chain[:, -1], residual)
            writer.hold(f, chain[:, :-1], chain[:, 1:])
            writer.hold(f, chain[:, -1], residual)
        else:
            residual = writer.digital("add_model", self.add_ns, token)
            writer.consume(down, residual[:, None, None])
            if router is not None:
                writer.consume(router, residual[:, None])
        writer.connect(summed, residual)
        writer.hold(d, summed, norm, residual)
        return residual

    def _accumulate(self, down: Linear, router: Linear) -> HostArray:
        """Chain of additions over the expert slots, [n, slots - 1]: of hidden width, as the authors have it."""
        slots = down.results.shape[1]
        token = np.broadcast_to(self.token[:, None], (len(self.token), slots - 1))
        chain = self.writer.digital("add_hidden", costs.add_ns(self.p, self.p.d_ff), token)
        into = np.concatenate([chain[:, :1], chain], axis=1)  # slots 0 and 1 meet in the first addition
        self.writer.consume(down, into[..., None])
        self.writer.consume(router, chain)
        self.writer.connect(chain[:, :-1], chain[:, 1:])
        return chain

    def _head(self, stream: HostArray) -> None:
        """Final norm, vocabulary head and sampling, for the last token only."""
        writer, p, d = self.writer, self.p, self.p.d_model
        token, stream = self.token[-1:], stream[-1:]
        norm = writer.digital("layer_norm", self.norm_ns, token)
        writer.connect(stream, norm)
        writer.hold(d, stream, norm)
        head = writer.linear(self.mapping.head[None], p.vocab, token, self.mvm_ns, sampled=True)
        writer.feed(norm, [head], d, "a normalised vector")
        gathered = writer.gather(token)
        sampled = writer.digital("multinomial", self.p.units.sampling_ns, token)
        writer.consume(head, gathered[:, None], sampled[:, None])
        writer.connect(gathered, sampled)
        self.sampling = int(sampled[0])
