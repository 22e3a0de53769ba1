"""Writes linear layers and digital operations of the authors' simulator into a job graph, whole arrays at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pimjax.chips.reference import costs
from pimjax.chips.reference.memory import BufferWriter, consumer_groups
from pimjax.chips.reference.parameters import ReferenceParameters
from pimjax.event import Buffers, JobGraph, JobGraphBuilder, exclusive, pool, unlimited

HostArray = np.ndarray[Any, Any]


class Linear(NamedTuple):
    """Jobs of a written linear layer; leading axes are tokens and expert slots.

    Attributes:
        transfers: int64 [..., rows, cols], transfers into the tiles, None where there are none.
        tiles: int64 [..., rows, cols], the MVMs.
        results: int64 [..., cols], last job of each column block.
        holders: int64 [..., cols], the jobs whose end fills the buffers of the results.
        result_bytes: float64 [cols]; 0 where nothing is held.
    """

    transfers: HostArray | None
    tiles: HostArray
    results: HostArray
    holders: HostArray
    result_bytes: HostArray

    def flat_tiles(self) -> HostArray:
        """int64 [tokens, slots, rows, cols]."""
        return self.tiles.reshape(self.tiles.shape[0], -1, *self.tiles.shape[-2:])


class OperatorWriter:
    """A job graph under construction.

    The successors of a job are visited digital ones first, then transfers into tiles, each in the order of writing:
    edges into transfers are kept back until the graph is built.
    """

    def __init__(self, p: ReferenceParameters, tiles: int, with_memory: bool) -> None:
        self.p = p
        self.buffers = BufferWriter() if with_memory else None
        self._builder = JobGraphBuilder(
            costs.PassCounts._fields,
            (
                unlimited("links"),
                exclusive("tile", tiles),
                pool("digital unit", p.dpus),
                pool("attention unit", p.mhas),
            ),
        )
        self._links = self._builder.resource("links")
        self._digital = self._builder.resource("digital unit")
        self._transfer_edges: list[tuple[Any, Any]] = []
        self._comm_in_ns = float(costs.comm_in_ns(p))
        self._comm_ns = float(costs.comm_ns(p))
        self._column_add_ns = float(costs.add_ns(p, p.tier_cols))
        self.connect = self._builder.connect

    def build(self) -> tuple[JobGraph, Buffers | None]:
        """The graph and its buffers."""
        for producers, consumers in self._transfer_edges:
            self._builder.connect(producers, consumers)
        return self._builder.build(), None if self.buffers is None else self.buffers.build()

    def digital(self, kind: str, duration_ns: Any, token: HostArray) -> HostArray:
        """Jobs on the digital units, one per entry of `token`."""
        return self._builder.add(kind, duration_ns, self._digital, token=token)

    def attention(self, duration_ns: float) -> HostArray:
        """One attention job, int64 [1]."""
        return self._builder.add("mha", duration_ns, self._builder.resource("attention unit"))

    def gather(self, token: HostArray) -> HostArray:
        """The transfer in front of a sampling operation."""
        return self._builder.add("communication_norm", self._comm_ns, self._links, token=token)

    def linear(
        self,
        tiles: HostArray,
        width: int,
        token: HostArray,
        mvm_ns: float,
        *,
        transfers: bool = True,
        sampled: bool = False,
    ) -> Linear:
        """A linear layer for every leading index of `tiles`.

        Args:
            tiles: int64 [tokens, ..., rows, cols], tile of each block.
            width: number of output values; the last column block may be partial.
            token: int [tokens].
            mvm_ns: duration of one MVM.
            transfers: whether each MVM waits for a transfer of its input.
            sampled: its only consumer is a sampling operation: one row block is then sent there without a transfer,
                and not held in the scratchpad.
        """
        p, add, connect = self.p, self._builder.add, self._builder.connect
        token = token.reshape(-1, *(1,) * (tiles.ndim - 1))
        rows, cols = tiles.shape[-2:]
        used = np.full(cols, float(p.tier_cols))
        used[-1] = width - (cols - 1) * p.tier_cols
        moved = None
        if transfers:
            moved = add("communication_in", np.full(tiles.shape, self._comm_in_ns), self._links, token=token)
        products = add("tier_linear", mvm_ns, self._builder.resource("tile", tiles), token=token)
        if moved is not None:
            connect(moved, products)
        top = products[..., 0, :]
        if rows == 1 and sampled:
            return Linear(moved, products, top, top, np.zeros(cols))
        out = add("communication_out", np.full(tiles.shape, self._comm_ns), self._links, token=token)
        connect(products, out)
        if rows == 1:
            return Linear(moved, products, out[..., 0, :], top, used)
        shape = (*tiles.shape[:-2], rows - 1, cols)
        chain = self.digital("add_columns", self._column_add_ns, np.broadcast_to(token, shape))
        connect(out[..., :1, :], chain[..., :1, :])
        connect(out[..., 1:, :], chain)
        connect(chain[..., :-1, :], chain[..., 1:, :])
        if self.buffers is not None:
            reader = np.concatenate([chain[..., :1, :], chain], axis=-2)
            self.buffers.add(used, products, reader[..., None])
            self.buffers.add(p.tier_cols, chain[..., :-1, :], chain[..., 1:, :, None])
        last = chain[..., -1, :]
        return Linear(moved, products, last, last, np.full(cols, float(p.tier_cols)))

    def consume(self, linear: Linear, consumers: HostArray, readers: HostArray | None = None) -> None:
        """All column results [..., cols] of `linear` go to `consumers` [..., m].

        `readers` [..., m] free the buffers where that is not the consumers themselves but jobs behind a transfer.
        """
        self.connect(linear.results[..., :, None], consumers[..., None, :])
        if self.buffers is not None and linear.result_bytes.any():
            held = consumers if readers is None else readers
            self.buffers.add(linear.result_bytes, linear.holders, held[..., None, :])

    def feed(
        self,
        producers: HostArray,
        linears: Sequence[Linear],
        size: int,
        what: str,
        digital_readers: Sequence[HostArray] = (),
    ) -> None:
        """Vectors of `size` values, one per entry of `producers` [n], go to the tiles of `linears` [n, ...].

        `digital_readers` [n] read them too (they are connected elsewhere). `what` names the vectors in an error.
        """
        count = len(producers)
        for linear in linears:
            assert linear.transfers is not None
            self._transfer_edges.append((producers[:, None], linear.transfers.reshape(count, -1)))
        if self.buffers is not None:
            blocks = [block for linear in linears for block in np.moveaxis(linear.flat_tiles(), 1, 0)]
            last = consumer_groups(blocks, -(-size // self.p.tier_rows), what)[:, -1]
            self.buffers.add(size, producers, np.column_stack([last, *digital_readers]))

    def feed_all(self, producer: Any, linear: Linear) -> None:
        """One job feeds all tiles of `linear`, token by token; its buffers are the caller's business."""
        assert linear.transfers is not None
        self._transfer_edges.append((producer, linear.transfers.ravel()))

    def hold(self, size: int, producers: HostArray, *readers: HostArray) -> None:
        """Results [n] of `size` bytes that only the digital jobs `readers` [n] read."""
        if self.buffers is not None:
            self.buffers.add(size, producers, np.stack(readers, axis=-1))
