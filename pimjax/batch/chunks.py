"""How a sweep is cut into chunks: the unit of a result file, of resuming, and of division among processes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pimjax.array_typing import HostArray

STORED_POINTS = 1 << 18
SELECTED_POINTS = 1 << 22
BLOCK_REQUESTS = 1024


class Chunk(NamedTuple):
    """A rectangle of points: one variant, some lanes, some requests."""

    index: int
    variant: int
    lane: int
    num_lanes: int
    request: int
    num_requests: int

    @property
    def points(self) -> int:
        """Points of the chunk."""
        return self.num_lanes * self.num_requests


class Grid(NamedTuple):
    """All chunks of a sweep. It depends on the sweep alone, not on memory, devices or processes.

    Points are numbered variant, lane, request, the request fastest.
    """

    variants: int
    lanes: int
    requests: int
    chunk_lanes: int
    chunk_requests: int

    @property
    def blocks(self) -> int:
        """Blocks of requests."""
        return -(-self.requests // self.chunk_requests)

    @property
    def stripes(self) -> int:
        """Blocks of lanes."""
        return -(-self.lanes // self.chunk_lanes)

    @property
    def num_chunks(self) -> int:
        """Number of chunks."""
        return self.variants * self.blocks * self.stripes

    @property
    def points(self) -> int:
        """Number of points of the sweep."""
        return self.variants * self.lanes * self.requests

    def chunk(self, index: int) -> Chunk:
        """Chunk `index`: variants slowest, then blocks of requests (whose schedules are made once), then lanes.

        >>> make_grid(1, 5, 3, 6).chunk(1)
        Chunk(index=1, variant=0, lane=2, num_lanes=2, request=0, num_requests=3)
        """
        rest, stripe = divmod(index, self.stripes)
        variant, block = divmod(rest, self.blocks)
        lane, request = stripe * self.chunk_lanes, block * self.chunk_requests
        return Chunk(
            index,
            variant,
            lane,
            min(self.chunk_lanes, self.lanes - lane),
            request,
            min(self.chunk_requests, self.requests - request),
        )

    def number(self, chunk: Chunk, local: HostArray) -> HostArray:
        """int64, global numbers of a chunk's points; local numbers run over lanes, then requests."""
        lane, request = np.divmod(np.asarray(local, np.int64), chunk.num_requests)
        return ((chunk.variant * self.lanes) + chunk.lane + lane) * self.requests + chunk.request + request

    def place(self, points: HostArray) -> tuple[HostArray, HostArray, HostArray]:
        """(variant, lane, request) of global numbers."""
        rest, request = np.divmod(np.asarray(points, np.int64), self.requests)
        variant, lane = np.divmod(rest, self.lanes)
        return variant, lane, request


def make_grid(variants: int, lanes: int, requests: int, chunk_points: int) -> Grid:
    """Chunks of about `chunk_points` points."""
    block = min(requests, BLOCK_REQUESTS, chunk_points)
    return Grid(variants, lanes, requests, min(lanes, max(1, chunk_points // block)), block)


def share_of(count: int, process: int, processes: int) -> range:
    """The chunks of one of several processes: contiguous, so that it makes few blocks of schedules.

    >>> [list(share_of(5, p, 2)) for p in range(2)]
    [[0, 1], [2, 3, 4]]
    """
    return range(count * process // processes, count * (process + 1) // processes)
