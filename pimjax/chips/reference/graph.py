"""Job graph of a chain of passes of the authors' simulator: every MVM, addition and transfer is one job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pimjax.chips.reference import costs
from pimjax.chips.reference.choices import PassChoices
from pimjax.chips.reference.mapping import LayerTiles, Mapping
from pimjax.chips.reference.memory import BufferWriter, consumer_groups
from pimjax.chips.reference.parameters import Pass, ReferenceParameters
from pimjax.event import Buffers, JobGraph, JobGraphBuilder, exclusive, pool, unlimited
from pimjax.event.memory import FROM_THE_START

HostArray = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ReferenceGraph:
    """A chain of passes, ready to run.

    Attributes:
        jobs: the graph; kinds are `costs.OP_KINDS`.
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
        with_memory: also collect the buffers; raises `PimjaxError` where the authors' bookkeeping does.

    >>> from pimjax.chips.reference.choices import draw_choices, shape_choices
    >>> from pimjax.chips.reference.mapping import map_model
    >>> from pimjax.chips.reference.parameters import list_passes
    >>> p = ReferenceParameters(d_model=512, d_ff=300, vocab=1000, k=2, experts=4, start_len=6)
    >>> graph = build_graph(p, map_model(p), list_passes(p), shape_choices(p, draw_choices(p)))
    >>> graph.jobs.num_jobs
    811
    """
    writer = _Writer(p, mapping, with_memory)
    for work, experts in zip(passes, choices, strict=True):
        writer.write_pass(work, experts)
    return ReferenceGraph(
        jobs=writer.build(),
        buffers=writer.buffers.build() if with_memory else None,
        attention=np.array(writer.attention, np.int64).reshape(len(passes), p.layers),
        sampling=np.array(writer.sampling, np.int64),
    )


class _Linear(NamedTuple):
    """A written linear layer: `transfers` and `tiles` [..., rows, cols], `results` [..., cols], their bytes [cols]."""

    transfers: HostArray | None
    tiles: HostArray
    results: HostArray
    result_bytes: HostArray
    has_tiles_only: bool


class _Writer:
    """Writes passes into a builder. A job's successors are visited digital ones first, then transfers into tiles."""

    def __init__(self, p: ReferenceParameters, mapping: Mapping, with_memory: bool) -> None:
        self.p = p
        self.mapping = mapping
        self.with_memory = with_memory
        resources = (
            unlimited("links"),
            exclusive("tile", mapping.tiles),
            pool("digital unit", p.dpus),
            pool("attention unit", p.mhas),
        )
        self.builder = JobGraphBuilder(costs.OP_KINDS, resources)
        self.digital = self.builder.resource("digital unit")
        self.buffers = BufferWriter()
        self.attention: list[int] = []
        self.sampling: list[int] = []
        self.rows = costs.count_blocks(p).d_rows
        self._transfer_edges: list[tuple[Any, Any]] = []

    def build(self) -> JobGraph:
        for producers, consumers in self._transfer_edges:
            self.builder.connect(producers, consumers)
        return self.builder.build()

    # --- small parts -------------------------------------------------------------------------------------------------

    def unit(self, kind: str, duration: float, token: HostArray) -> HostArray:
        """Jobs on the digital units, one per entry of `token`."""
        return self.builder.add(kind, duration, self.digital, token=token)

    def linear(self, tiles: HostArray, width: int, token: HostArray, *, transfers: bool = True, sampled: bool = False):
        """A linear layer for every leading index of `tiles` [..., rows, cols]; `width`: its output values.

        `sampled`: its only consumer is the sampling operation, to which one row block sends without a transfer.
        """
        p, add, connect = self.p, self.builder.add, self.builder.connect
        token = token.reshape(token.shape + (1,) * (tiles.ndim - token.ndim))
        rows, cols = tiles.shape[-2:]
        used = np.full(cols, p.tier_cols)
        used[-1] = width - (cols - 1) * p.tier_cols
        moved = None
        if transfers:
            moved = add("communication_in", np.full(tiles.shape, costs.comm_in_ns(p)), 0, token=token)
        products = add("tier_linear", self.mvm_ns, self.builder.resource("tile", tiles), token=token)
        if moved is not None:
            connect(moved, products)
        if rows == 1 and sampled:
            return _Linear(moved, products, products[..., 0, :], np.zeros(cols), True)
        out = add("communication_out", np.full(tiles.shape, costs.comm_ns(p)), 0, token=token)
        connect(products, out)
        if rows == 1:
            return _Linear(moved, products, out[..., 0, :], used, True)
        chain_shape = (*tiles.shape[:-2], rows - 1, cols)
        chain = self.unit("digital_add", costs.add_ns(p.tier_cols), np.broadcast_to(token, chain_shape))
        connect(out[..., :1, :], chain[..., :1, :])
        connect(out[..., 1:, :], chain)
        connect(chain[..., :-1, :], chain[..., 1:, :])
        if self.with_memory:
            first = np.concatenate([chain[..., :1, :], chain], axis=-2)
            self.buffers.add(used, products, first[..., None])
            self.buffers.add(p.tier_cols, chain[..., :-1, :], chain[..., 1:, :, None])
        return _Linear(moved, products, chain[..., -1, :], np.full(cols, p.tier_cols), False)

    def consume(self, linear: _Linear, consumers: HostArray, readers: HostArray | None = None) -> None:
        """All column results of `linear` [..., cols] go to `consumers` [..., m] (same leading axes, or none).

        `readers`: who frees the buffers, where that is not the consumers (behind a transfer).
        """
        self.builder.connect(linear.results[..., :, None], consumers[..., None, :])
        if self.with_memory and linear.result_bytes.any():
            producers = linear.tiles[..., 0, :] if linear.has_tiles_only else linear.results
            held = consumers if readers is None else readers
            self.buffers.add(linear.result_bytes, producers, held[..., None, :])

    def feed(self, producers: HostArray, linears: list[_Linear], size: int, what: str, digital: Any = ()) -> None:
        """`producers` [n] feed the tiles of `linears` ([n, ..., rows, cols]) and were connected to `digital` [n]."""
        count = len(producers)
        for linear in linears:
            assert linear.transfers is not None
            moved = linear.transfers.reshape(count, -1)
            self._transfer_edges.append((producers[:, None], moved))
        if self.with_memory:
            consumers = [
                block
                for linear in linears
                for block in np.moveaxis(linear.tiles.reshape(count, -1, *linear.tiles.shape[-2:]), 1, 0)
            ]
            groups = -(-size // self.p.tier_rows)
            last = consumer_groups(consumers, groups, what)[:, -1, :]
            self.buffers.add(size, producers, np.concatenate([last, *(one[:, None] for one in digital)], axis=1))

    def hold(self, size: int, producers: HostArray, *readers: HostArray) -> None:
        """Results [n] that only digital jobs read; `readers` are arrays [n]."""
        if self.with_memory:
            self.buffers.add(size, producers, np.stack(np.broadcast_arrays(*readers), axis=-1))

    # --- a pass ------------------------------------------------------------------------------------------------------

    def write_pass(self, work: Pass, choices: PassChoices) -> None:
        """Append one pass."""
        p, d = self.p, self.p.d_model
        self.mvm_ns = float(costs.mvm_ns(p, work.decode_id))
        self.work = work
        self.token = np.arange(work.tokens)
        stream = self.write_embedding()
        norm = stream
        mixtures = iter(choices)
        for layer in range(p.layers):
            tiles = self.mapping.layers[layer]
            if layer:
                norm = self.unit("layer_norm", costs.norm_ns(d), self.token)
                self.builder.connect(stream, norm)
            mixed = self.write_attention(tiles, norm)
            summed = self.unit("digital_add", costs.add_ns(d), self.token)
            self.consume(mixed, summed[:, None])
            self.builder.connect(stream, summed)
            if layer:
                self.hold(d, stream, norm, summed)
                self.feed(norm, self.query_key_value, d, "a normalised vector")
            else:
                self.feed(stream, self.query_key_value, d, "an embedded token", [summed])
            experts = next(mixtures) if p.is_moe(layer) else None
            stream = self.write_feed_forward(tiles, experts, summed)
        self.write_head(stream)

    def write_embedding(self) -> HostArray:
        """Reads of the one table row, [n, 1, cols], and the addition that starts the residual stream [n]."""
        p = self.p
        tiles = np.broadcast_to(self.mapping.embedding, (self.work.tokens, *self.mapping.embedding.shape))
        reads = self.linear(tiles, p.d_model, self.token, transfers=not self.work.first)
        if not self.work.first:
            self.feed_embedding(reads)
        stream = self.unit("digital_add", costs.add_ns(p.d_model), self.token)
        self.consume(reads, stream[:, None])
        return stream

    def feed_embedding(self, reads: _Linear) -> None:
        """The sampling operation of the pass before starts all reads of this one, token by token."""
        size = costs.MULTINOMIAL_SIZE
        assert reads.transfers is not None
        if self.sampling:
            self._transfer_edges.append((self.sampling[-1], reads.transfers.ravel()))
        if self.with_memory:
            groups = -(-size // self.p.tier_rows)
            last = consumer_groups(list(reads.tiles), groups, "the sampled token")[-1]
            producer = self.sampling[-1] if self.sampling else FROM_THE_START
            self.buffers.add(size, np.array([producer]), last[None])

    def write_attention(self, tiles: LayerTiles, norm: HostArray) -> _Linear:
        """q, k, v of every token, the attention barrier, and the out-projection, whose results are returned."""
        p, d, count = self.p, self.p.d_model, self.work.tokens
        self.query_key_value = [
            self.linear(np.broadcast_to(block, (count, *block.shape)), d, self.token) for block in tiles.qkv
        ]
        compute, read = costs.attention_ns(p, self.work.length, self.work.decode and p.kv)
        barrier = self.builder.add("mha", float(read + compute), self.builder.resource("attention unit"))
        self.attention.append(int(barrier[0]))
        for linear in self.query_key_value:
            self.consume(linear, barrier)
        out = self.linear(np.broadcast_to(tiles.out, (count, *tiles.out.shape)), d, self.token)
        assert out.transfers is not None
        self._transfer_edges.append((barrier[0], out.transfers.ravel()))
        if self.with_memory:
            groups = consumer_groups([out.tiles], self.rows, "the attention output")
            self.buffers.add(d, np.broadcast_to(barrier[:, None], groups.shape[:2]), groups)
        return out

    def write_feed_forward(self, tiles: LayerTiles, experts: HostArray | None, summed: HostArray) -> HostArray:
        """Norm, router and experts (or one dense network) and the residual addition [n], which is returned."""
        p, d, f, token = self.p, self.p.d_model, self.p.d_ff, self.token
        count = self.work.tokens
        norm = self.unit("layer_norm", costs.norm_ns(d), token)
        self.builder.connect(summed, norm)
        names = np.zeros((count, 1), np.int64) if experts is None else experts
        slots = names.shape[1]
        router = None
        if tiles.router is not None:
            router = self.linear(np.broadcast_to(tiles.router, (count, *tiles.router.shape)), p.experts, token)
        up = self.linear(tiles.up[names], f, token)
        relu = self.unit("digital_relu", costs.RELU_NS, np.broadcast_to(token[:, None], (count, slots)))
        self.consume(up, relu[..., None])
        down = self.linear(tiles.down[names], d, token)
        self.feed(norm, ([router] if router else []) + [up], d, "a normalised vector")
        flat = down._replace(
            transfers=down.transfers.reshape(-1, *down.transfers.shape[2:]),
            tiles=down.tiles.reshape(-1, *down.tiles.shape[2:]),
        )
        self.feed(relu.ravel(), [flat], f, "an activation")

        residual: HostArray
        if slots == 1:
            residual = self.unit("digital_add", costs.add_ns(d), token)
            self.consume(down, residual[:, None, None])
            if router is not None:
                self.consume(router, residual[:, None])
        else:
            chain = self.unit("digital_add", costs.add_ns(f), np.broadcast_to(token[:, None], (count, slots - 1)))
            into = np.concatenate([chain[:, :1], chain], axis=1)  # slots 0 and 1 meet in the first addition
            self.consume(down, into[..., None])
            assert router is not None
            self.consume(router, chain)
            self.builder.connect(chain[:, :-1], chain[:, 1:])
            residual = self.unit("digital_add", costs.add_ns(d), token)
            self.builder.connect(chain[:, -1], residual)
            self.hold(f, chain[:, :-1], chain[:, 1:])
            self.hold(f, chain[:, -1], residual)
        self.builder.connect(summed, residual)
        self.hold(d, summed, norm, residual)
        return residual

    def write_head(self, stream: HostArray) -> None:
        """Final norm, vocabulary head and sampling, for the last token only."""
        p, d = self.p, self.p.d_model
        token = self.token[-1:]
        norm = self.unit("layer_norm", costs.norm_ns(d), token)
        self.builder.connect(stream[-1:], norm)
        self.hold(d, stream[-1:], norm)
        head = self.linear(self.mapping.head[None], p.vocab, token, sampled=True)
        self.feed(norm, [head], d, "a normalised vector")
        gathered = self.builder.add("communication_norm", costs.comm_ns(p), 0, token=token)
        sampled = self.unit("multinomial", costs.MULTINOMIAL_NS, token)
        self.consume(head, gathered[:, None], sampled[:, None])
        self.builder.connect(gathered, sampled)
        self.sampling.append(int(sampled[0]))
