"""Runs tiles: sizes them by device memory, overlaps device work with what the host does, halves when memory runs out."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from pimjax.batch.memory import TileTooLarge, device_budget_bytes, is_out_of_memory, program_bytes
from pimjax.batch.tile import Program, tile_program
from pimjax.errors import CapacityError
from pimjax.estimation import stored_programs

#: Points of a tile on one device, before memory is looked at: a CPU wants its caches, a GPU all its lanes.
_TILE_POINTS = {"cpu": 1 << 14, "gpu": 1 << 20, "tpu": 1 << 20}
#: The same where a scan carries its state from step to step: on a CPU the state of all lanes should stay in cache.
_SCAN_TILE_POINTS = _TILE_POINTS | {"cpu": 1 << 8}
_WHOLE = 8  # lanes of a device are a multiple of it where there are many: whole vectors
_IN_FLIGHT = 2


class TileShape(NamedTuple):
    """Lanes (over all devices) by columns of one tile; static."""

    lanes: int
    columns: int

    def halved(self, devices: int) -> TileShape:
        """Half the points: fewer columns first (lanes carry the shared work), then fewer lanes.

        Raises:
            CapacityError: it is one point per device already.
        """
        if self.columns > 1 and self.columns >= self.lanes // devices:
            return TileShape(self.lanes, -(-self.columns // 2))
        if self.lanes > devices:
            return TileShape(max(devices, -(-self.lanes // (2 * devices)) * devices), self.columns)
        if self.columns > 1:
            return TileShape(self.lanes, -(-self.columns // 2))
        raise CapacityError(
            "a single design point does not fit into device memory: use a smaller Capacity (fewer tokens or layers), "
            "fewer fields, or another device"
        )


class Tile(NamedTuple):
    """A part of the table of lanes by columns."""

    lane: int
    num_lanes: int
    column: int
    num_columns: int


def tiles(num_lanes: int, num_columns: int, shape: TileShape) -> Iterator[Tile]:
    """Cut a table into tiles, lanes outermost.

    >>> [tuple(tile) for tile in tiles(3, 2, TileShape(2, 2))]
    [(0, 2, 0, 2), (2, 1, 0, 2)]
    """
    for lane in range(0, num_lanes, shape.lanes):
        for column in range(0, num_columns, shape.columns):
            yield Tile(lane, min(shape.lanes, num_lanes - lane), column, min(shape.columns, num_columns - column))


def first_shape(
    num_lanes: int, num_columns: int, mesh: Mesh, points: int | None = None, *, scans: bool = False
) -> TileShape:
    """A tile of at most about `points` points per device (default by platform and kernel), no larger than the table.

    The table is divided evenly: its last tile holds about as many points as the others, not a few among padding.

    Args:
        num_lanes: of the table.
        num_columns: of the table.
        mesh: devices.
        points: of a tile on one device.
        scans: the kernel is a scan (fluid).

    >>> mesh = jax.make_mesh((1,), ("H",), devices=jax.devices()[:1])
    >>> tuple(first_shape(1100, 1, mesh, 1000))
    (552, 1)
    """
    devices = mesh.devices.size
    limit = points or (_SCAN_TILE_POINTS if scans else _TILE_POINTS).get(mesh.devices.flat[0].platform, 1 << 18)
    columns = _even(num_columns, limit)
    most = limit // columns
    lanes = _even(-(-num_lanes // devices), most)
    rounded = -(-lanes // _WHOLE) * _WHOLE
    return TileShape((rounded if lanes >= 8 * _WHOLE and rounded <= most else lanes) * devices, columns)


def _even(count: int, most: int) -> int:
    """Size of equal parts of `count`, each at most `most`: as few parts as possible."""
    return -(-count // -(-count // most))


def padded(tree: Any, size: int, axis: int = 0) -> Any:
    """Host leaves grown to `size` along `axis` by repeating their last entry: harmless numbers that nobody reads."""

    def grow(leaf: Any) -> np.ndarray:
        array = np.asarray(leaf)
        missing = size - array.shape[axis]
        if missing == 0:
            return array
        last = np.take(array, [-1], axis=axis)
        return np.concatenate([array, np.repeat(last, missing, axis=axis)], axis=axis)

    return jax.tree.map(grow, tree)


@dataclasses.dataclass
class Timings:
    """Seconds and counts of a batch, for progress and benchmarks."""

    compile_s: float = 0.0
    compiles: int = 0
    schedules_s: float = 0.0  # making schedules from routing
    waiting_s: float = 0.0  # host blocked on a device: what is left is host work that was not hidden
    halvings: int = 0


class Compiled:
    """Compiles tile programs ahead of their first run and keeps them; memory is probed here."""

    def __init__(self, mesh: Mesh, timings: Timings | None = None, budget_bytes: int | None = None) -> None:
        self.mesh, self.timings = mesh, timings or Timings()
        self.budget_bytes = budget_bytes
        self._programs: dict[Any, Any] = {}

    def get(self, program: Program, arguments: tuple[Any, ...]) -> Any:
        """The executable for `arguments` (arrays on the mesh), compiled once per program and shapes.

        Raises:
            MemoryError: it would need more than the device has.
        """
        kept = (("tile", program), dict.fromkeys(program.fields, 0))
        return self.of(tile_program(program, self.mesh), arguments, kept)

    def of(self, function: Any, arguments: tuple[Any, ...], kept: tuple[tuple[Any, ...], Any]) -> Any:
        """The executable of a jitted function for `arguments`, compiled once per shapes.

        `kept`: what decides the program, and a tree like its results, to keep it between runs
        (:mod:`.stored_programs`).

        Raises:
            MemoryError: it would need more than the device has.
        """
        leaves, structure = jax.tree.flatten(arguments)
        key = (function, structure, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves))
        if key not in self._programs:
            begin = time.perf_counter()
            compiled = stored_programs.compiled(
                function, arguments, key=kept[0], results=kept[1], devices=list(self.mesh.devices.flat)
            )
            self.timings.compile_s += time.perf_counter() - begin
            self.timings.compiles += 1
            budget = self.budget_bytes or device_budget_bytes(list(self.mesh.devices.flat))
            needed = program_bytes(compiled)
            if needed > budget:
                raise TileTooLarge(needed, budget)
            self._programs[key] = compiled
        return self._programs[key]


def pipelined(
    work: Iterable[Any],
    launch: Callable[[Any], Any],
    collect: Callable[[Any, Any], None] | None,
    timings: Timings,
) -> None:
    """Launch every item and collect its result, the next item's device work running meanwhile.

    `launch(item)` returns device arrays without waiting for them; `collect(item, host arrays)` takes NumPy. Without
    `collect` results stay on the device and are only waited for.
    """
    pending: deque[tuple[Any, Any]] = deque()

    def take() -> None:
        item, result = pending.popleft()
        begin = time.perf_counter()
        host = jax.block_until_ready(result) if collect is None else jax.tree.map(np.asarray, result)
        timings.waiting_s += time.perf_counter() - begin
        if collect is not None:
            collect(item, host)

    for item in work:
        result = launch(item)
        for leaf in jax.tree.leaves(result) if collect is not None else ():
            leaf.copy_to_host_async()
        pending.append((item, result))
        if len(pending) >= _IN_FLIGHT:
            take()
    while pending:
        take()


def with_halving(
    shape: TileShape, devices: int, attempt: Callable[[TileShape], Any], timings: Timings
) -> tuple[Any, TileShape]:
    """`attempt(shape)`, with half the tile each time memory runs out (as often at once as a compiled tile is known to be too
    large); returns its result and the shape that worked.

    Raises:
        CapacityError: not even one point per device fits.
    """
    while True:
        try:
            return attempt(shape), shape
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            for taken in range(error.halvings if isinstance(error, TileTooLarge) else 1):
                try:
                    shape = shape.halved(devices)
                except CapacityError:
                    if taken == 0:
                        raise
                    break  # a single point per device is still to be tried
                timings.halvings += 1
