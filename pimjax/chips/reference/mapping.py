"""Which tile holds which block of which weight matrix: the authors' greedy mapping, in the order of its visits."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np

from pimjax.chips.reference.costs import Blocks, count_blocks
from pimjax.chips.reference.parameters import ReferenceParameters
from pimjax.errors import CapacityError

HostArray = np.ndarray[Any, Any]


@dataclass(frozen=True)
class LayerTiles:
    """Tile of every block of a layer's matrices; the last two axes are row and column blocks.

    Attributes:
        qkv: int64 [3, d_rows, d_cols].
        out: int64 [d_rows, d_cols].
        router: int64 [d_rows, router_cols] | None where the layer has no experts.
        up: int64 [experts or 1, d_rows, f_cols].
        down: int64 [experts or 1, f_rows, d_cols].
    """

    qkv: HostArray
    out: HostArray
    router: HostArray | None
    up: HostArray
    down: HostArray


@dataclass(frozen=True)
class Mapping:
    """Tiles of a whole model.

    Attributes:
        tiles: number of tiles of the chip.
        embedding: int64 [1, d_cols], tiles of the one table row that is ever read.
        layers: tiles of each layer.
        head: int64 [d_rows, vocab_cols].
        own_tiles: True where every block has a tile of its own, so that experts differ only by name.
    """

    tiles: int
    embedding: HostArray
    layers: tuple[LayerTiles, ...]
    head: HostArray
    own_tiles: bool


def blocks_needed(p: ReferenceParameters) -> int:
    """Blocks of all weight matrices and both embedding tables.

    >>> blocks_needed(ReferenceParameters())
    6592
    """
    b = count_blocks(p)
    positions = -(-(p.start_len + p.new_length) // p.tier_rows)
    tables = (-(-p.vocab // p.tier_rows) + positions) * b.d_cols
    moe = p.num_moe_layers
    networks = moe * p.experts + p.layers - moe
    per_network = b.d_rows * b.f_cols + b.f_rows * b.d_cols
    attention = p.layers * 4 * b.d_rows * b.d_cols + moe * b.d_rows * b.router_cols
    return tables + attention + networks * per_network + b.d_rows * b.vocab_cols


def tiles_needed(p: ReferenceParameters) -> int:
    """Fewest tiles that hold the model: blocks over tiers, rounded up."""
    return -(-blocks_needed(p) // p.tiers)


def map_model(p: ReferenceParameters) -> Mapping:
    """Place every block; `CapacityError` where `tiles` are too few.

    Blocks are visited row-major, in this order: token embedding, position embedding, q, k, v of layer 0, then per
    layer q, k, v of the next layer, out-projection, router, the experts' two matrices; last the vocabulary head. Each
    goes to the tile with the fewest occupied tiers, the lowest index among equals. A table's blocks cycle over the
    tiles that its first strip would take, as long as these have free tiers.

    >>> tiles = map_model(ReferenceParameters())
    >>> tiles.tiles, tiles.head.shape, bool(tiles.own_tiles)
    (6592, (16, 125), True)
    """
    needed = blocks_needed(p)
    tiles = -(-needed // p.tiers) if p.tiles is None else p.tiles
    if tiles * p.tiers < needed:
        raise CapacityError(
            f"tiles is {tiles} with {p.tiers} tiers each: the model needs {needed} blocks, so give at least "
            f"{-(-needed // p.tiers)} tiles, or none to get as many as it needs"
        )
    b = count_blocks(p)
    place = _sequential() if p.tiers == 1 else _fewest_tiers_first(tiles, p.tiers)
    embedding = place(-(-p.vocab // p.tier_rows), b.d_cols, table=True)[:1]
    place(-(-(p.start_len + p.new_length) // p.tier_rows), b.d_cols, table=True)
    layers = _place_layers(p, b, place)
    head = place(b.d_rows, b.vocab_cols)
    return Mapping(tiles, embedding, layers, head, own_tiles=p.tiers == 1)


def _place_layers(p: ReferenceParameters, b: Blocks, place: Any) -> tuple[LayerTiles, ...]:
    layers = []
    qkv = np.stack([place(b.d_rows, b.d_cols) for _ in range(3)])
    for layer in range(p.layers):
        last = layer + 1 == p.layers
        following = qkv if last else np.stack([place(b.d_rows, b.d_cols) for _ in range(3)])
        out = place(b.d_rows, b.d_cols)
        router = place(b.d_rows, b.router_cols) if p.is_moe(layer) else None
        pairs = [
            (place(b.d_rows, b.f_cols), place(b.f_rows, b.d_cols)) for _ in range(p.experts if p.is_moe(layer) else 1)
        ]
        up, down = (np.stack(matrices) for matrices in zip(*pairs, strict=True))
        layers.append(LayerTiles(qkv, out, router, up, down))
        qkv = following
    return tuple(layers)


def _sequential() -> Any:
    """Placement with one tier: the next free tile, whatever the matrix; a table's strip is the next tiles too."""
    taken = 0

    def place(rows: int, cols: int, table: bool = False) -> HostArray:
        nonlocal taken
        first = taken
        taken += rows * cols
        return np.arange(first, taken).reshape(rows, cols)

    return place


def _fewest_tiers_first(tiles: int, tiers: int) -> Any:
    """Placement with several tiers: a heap of (occupied tiers, tile), with entries that have gone stale skipped."""
    occupied = [0] * tiles
    heap = [(0, tile) for tile in range(tiles)]
    heapify(heap)

    def take_fewest() -> int:
        while True:
            used, tile = heappop(heap)
            if used == occupied[tile]:
                return tile

    def occupy(tile: int) -> None:
        occupied[tile] += 1
        heappush(heap, (occupied[tile], tile))

    def strip(cols: int) -> list[int]:
        """Tiles that one row of blocks would take, without placing it."""
        before = occupied.copy()
        chosen = []
        for _ in range(cols):
            tile = take_fewest()
            occupy(tile)
            chosen.append(tile)
        occupied[:] = before
        heap[:] = [(used, tile) for tile, used in enumerate(occupied)]
        heapify(heap)
        return chosen

    def place(rows: int, cols: int, table: bool = False) -> HostArray:
        cycle = strip(cols) if table else []
        chosen = []
        for block in range(rows * cols):
            tile = cycle[block % cols] if table else -1
            if tile < 0 or occupied[tile] >= tiers:
                tile = take_fewest()
            occupy(tile)
            chosen.append(tile)
        return np.array(chosen, np.int64).reshape(rows, cols)

    return place
