"""`run_sweep`: every chunk of a sweep that is not on disk yet, computed, selected from, and written."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.batch.chunks import SELECTED_POINTS, STORED_POINTS, Chunk, Grid, make_grid, share_of
from pimjax.batch.distributed import Processes, meet
from pimjax.batch.engine import Timings
from pimjax.batch.folder_lock import only_writer
from pimjax.batch.manifest import make_manifest
from pimjax.batch.points import Space, space_of
from pimjax.batch.progress import SweepProgress
from pimjax.batch.rows import RowMaker
from pimjax.batch.selection import Rules, Selected, merge, rules_of
from pimjax.batch.store import MAX_SMALL_ROWS, Store, write_bytes
from pimjax.batch.sweep_config import SweepConfig, base_config, sweep_digest
from pimjax.batch.tables import Column, plain
from pimjax.batch.tile import check_mesh
from pimjax.batch.trace_source import TraceSource, describe
from pimjax.batch.worker import Worker
from pimjax.errors import CapacityError, ConfigError


@dataclasses.dataclass
class SweepOutcome:
    """What one run of a sweep did."""

    folder: Path
    points: int  # of the whole sweep
    computed: int  # by this run and process
    resumed: int  # found on disk when it began
    complete: bool
    interrupted: bool
    rate: float  # points per second of this run, compiling left out
    timings: Timings
    schedules_s: float  # making schedules from traces
    writing_s: float  # host waiting for files: what the device did not hide
    skipped: list[str]  # unreadable trace files
    selection: dict[str, Any] | None  # summary of the whole sweep, once complete
    repaired: list[str] = dataclasses.field(default_factory=list)  # damaged parts that were computed again
    selected: dict[str, HostArray] | None = None  # the selected rows, once complete: kind, point, trace, axes, metrics
    selected_file: Path | None = None  # the same rows on disk


@checks.checked(
    ConfigError,
    folder=checks.path,
    mesh=checks.instance(Mesh, "a mesh from pimjax.batch.make_mesh"),
    processes=checks.instance(Processes, "Processes"),
    progress=checks.function,
)
def run_sweep(
    sweep: SweepConfig,
    folder: str | Path | None = None,
    *,
    mesh: Mesh | None = None,
    processes: Processes = Processes(),  # noqa: B008  # immutable
    tile_points: int | None = None,
    progress: type[SweepProgress] = SweepProgress,
) -> SweepOutcome:
    """Run a sweep, or what is left of it. Host function.

    Parts on disk are held against their records first; those that are damaged are computed again. Another run in the same
    folder is waited for.

    Args:
        sweep: from :func:`load_sweep`.
        folder: where results go; default `sweep.output`.
        mesh: devices of this process; default all.
        processes: this process among those that share the work (:mod:`.distributed`).
        tile_points: points computed at once on one device; default by platform and memory.
        progress: shows progress and catches Ctrl-C.

    Raises:
        ConfigError: a value is not acceptable, or the folder holds another sweep.
        TraceError: a trace file cannot be read (unless such files are skipped).
        StorageError: disk full, or the folder cannot be written; what is complete stays.
        LostProcessError: another process ended; run again to complete.
    """
    if not isinstance(sweep, SweepConfig):
        raise ConfigError(
            f"sweep: {str(sweep)[:200]!r} is not a SweepConfig; make one with load_sweep(file or mapping)"
        )
    if tile_points is not None and (type(tile_points) is not int or tile_points < 1):
        raise ConfigError(f"tile_points: {str(tile_points)[:40]} is not a whole number of at least 1; None: chosen")
    where = folder or sweep.output
    if where is None:
        raise ConfigError("output: no folder for the results; give --output DIR or the key output")
    base = base_config(sweep)
    space, source = space_of(sweep), TraceSource(sweep.traces)
    default = STORED_POINTS if sweep.store == "all" else SELECTED_POINTS
    grid = make_grid(len(space.variants), space.num_lanes, len(source), sweep.chunk_points or default)
    _check_size(sweep, grid)
    digest = hashlib.sha256(f"{sweep_digest(sweep, base)} {source.digest}".encode()).hexdigest()[:16]
    store = Store(Path(where), sweep.format)
    manifest = make_manifest(sweep, base, digest, grid, describe(source), source.names)
    alone = only_writer(store.folder, progress.say) if processes.index == 0 else contextlib.nullcontext()
    with alone:
        if processes.index == 0:
            store.open(manifest)
            store.clean(grid.num_chunks)
        meet(processes, "start")
        store.open(manifest)
        return _compute(sweep, store, digest, grid, space, source, mesh, processes, tile_points, progress)


def _compute(
    sweep: SweepConfig,
    store: Store,
    digest: str,
    grid: Grid,
    space: Space,
    source: TraceSource,
    mesh: Mesh | None,
    processes: Processes,
    tile_points: int | None,
    progress: type[SweepProgress],
) -> SweepOutcome:
    """Compute what the open folder lacks."""
    metrics = tuple(dict.fromkeys([*sweep.columns, *sorted(sweep.select.metrics())]))
    rules = rules_of(sweep.select, metrics)
    selects = bool(rules.objectives or rules.tops or rules.histograms)
    dtype = np.dtype(sweep.precision)
    timings = Timings()
    with jax.enable_x64(True) if sweep.precision == "float64" else contextlib.nullcontext():
        rows = RowMaker(space, grid, source.names, sweep.seed, dtype)
        worker = Worker(
            sweep,
            space,
            source,
            grid,
            rules if selects else None,
            metrics,
            check_mesh(mesh),
            dtype,
            timings,
            tile_points,
        )
        run = _Run(sweep, store, digest, grid, rows, rules, selects, worker)
        outcome = run.all(processes, progress)
        outcome.skipped = source.skipped
        meet(processes, "end")
        outcome.complete = len(store.done("done")) == grid.num_chunks
        if outcome.complete and processes.index == 0:
            outcome.selection, outcome.selected = run.finish()
            outcome.selected_file = store.selection(sweep.store) if selects else None
    return outcome


def _check_size(sweep: SweepConfig, grid: Grid) -> None:
    if sweep.store == "all" and grid.points > 2_000_000_000:
        raise CapacityError(
            f"the sweep has {grid.points:,} points; storing all would fill the disk: use store: selected, or split it"
        )
    if sweep.store == "all" and sweep.format != "parquet" and grid.points > MAX_SMALL_ROWS:
        raise CapacityError(
            f"format: {sweep.format} is for at most {MAX_SMALL_ROWS:,} rows, the sweep has {grid.points:,}: use format "
            "parquet, or store: selected"
        )


class _Run:
    """One process's part of a sweep."""

    def __init__(
        self,
        sweep: SweepConfig,
        store: Store,
        digest: str,
        grid: Grid,
        rows: RowMaker,
        rules: Rules,
        selects: bool,
        worker: Worker,
    ) -> None:
        self.sweep, self.store, self.digest, self.grid, self.rows, self.rules = sweep, store, digest, grid, rows, rules
        self.selects, self.worker = selects, worker
        self.kinds = [kind for kind, kept in (("selected", selects), ("points", sweep.store == "all")) if kept]

    def all(self, processes: Processes, progress: type[SweepProgress]) -> SweepOutcome:
        """Compute this process's missing chunks."""
        grid = self.grid
        mine = share_of(grid.num_chunks, processes.index, processes.count)
        done, repaired = self.store.sound(mine, self.digest, self.kinds)
        missing = [index for index in mine if index not in done]
        if missing:
            self.store.reopen(missing)
        total = sum(grid.chunk(index).points for index in mine)
        left = sum(grid.chunk(index).points for index in missing)
        device = self.worker.mesh.devices.flat[0]
        label = f"{self.sweep.name} on {self.worker.mesh.devices.size} x {device.device_kind}"
        outcome = SweepOutcome(
            self.store.folder, grid.points, 0, total - left, False, False, 0.0, self.worker.timings, 0.0, 0.0, [], None,
            repaired,
        )  # fmt: skip
        with progress(total, total - left, label) as shown, ThreadPoolExecutor(1) as writer:
            waiting: list[Future[None]] = []
            for index in missing:
                if shown.stopping.is_set():
                    outcome.interrupted = True
                    break
                chunk = grid.chunk(index)
                fields, selected = self.worker.compute(chunk)
                while len(waiting) >= 2:  # files are written while the device works, two chunks behind at most
                    self._finished(waiting.pop(0), outcome)
                waiting.append(writer.submit(self._write, chunk, fields, selected))
                outcome.computed += chunk.points
                shown.compile_s = self.worker.timings.compile_s
                shown.advance(chunk.points)
            for future in waiting:
                self._finished(future, outcome)
            outcome.rate = shown.rate
        outcome.schedules_s = self.worker.timings.schedules_s
        return outcome

    @staticmethod
    def _finished(future: Future[None], outcome: SweepOutcome) -> None:
        """Wait for a file; the wait counts as writing."""
        begin = time.perf_counter()
        future.result()
        outcome.writing_s += time.perf_counter() - begin

    def _write(self, chunk: Chunk, fields: dict[str, HostArray] | None, selected: list[Selected] | None) -> None:
        written: dict[str, dict[str, int]] = {}

        def write(kind: str, columns: dict[str, Column], metadata: dict[str, Any]) -> None:
            whose = {"sweep": self.digest, "chunk": chunk.index}
            written[kind] = self.store.write(self.store.part(kind, chunk.index), columns, whose | metadata)

        with jax.enable_x64(True) if self.sweep.precision == "float64" else contextlib.nullcontext():
            if selected is not None:
                parts = [part._replace(**self._numbered(chunk, part)) for part in selected]
                write("selected", *self._selection_table(merge(self.rules, parts)))
            if fields is not None:
                points = self.grid.number(chunk, np.arange(chunk.points))
                columns = self.rows.columns(points) | {name: array.reshape(-1) for name, array in fields.items()}
                write("points", columns, {})
        self.store.commit(chunk.index, self.digest, written)

    def _numbered(self, chunk: Chunk, part: Selected) -> dict[str, Any]:
        return {
            "front_point": self.grid.number(chunk, part.front_point),
            "top_points": tuple(self.grid.number(chunk, ids) for ids in part.top_points),
        }

    def _selection_table(self, kept: Selected) -> tuple[dict[str, Column], dict[str, Any]]:
        groups = [("pareto", kept.front, kept.front_point)] if self.rules.objectives else []
        groups += [
            (f"top {i}", values, ids) for i, (values, ids) in enumerate(zip(kept.tops, kept.top_points, strict=True))
        ]
        kind = np.array([name for name, _, ids in groups for _ in ids], dtype=str)
        points = np.concatenate([ids for _, _, ids in groups] or [np.zeros(0, np.int64)])
        width = len(self.rules.metrics)
        values = np.concatenate([rows for _, rows, _ in groups] or [np.zeros((0, width))])
        columns: dict[str, Column] = {"kind": kind} | self.rows.columns(points)
        columns |= {name: values[:, i] for i, name in enumerate(self.rules.metrics)}
        metadata = {
            "counts": kept.counts.tolist(),
            "overflow": bool(kept.overflow),
            "histograms": [counts.tolist() for counts in kept.histograms],
        }
        return columns, metadata

    def _selected_of(self, columns: dict[str, HostArray], metadata: dict[str, Any]) -> Selected:
        width = len(self.rules.metrics)
        kind = np.asarray(columns["kind"], dtype=str)
        points = np.asarray(columns["point"], np.int64)
        values = np.stack([np.asarray(columns[name], float) for name in self.rules.metrics], axis=1)
        values = values.reshape(-1, width).astype(self.sweep.precision)
        tops = [kind == f"top {i}" for i in range(len(self.rules.tops))]
        return Selected(
            values[kind == "pareto"],
            points[kind == "pareto"],
            metadata["overflow"],
            tuple(values[chosen] for chosen in tops),
            tuple(points[chosen] for chosen in tops),
            tuple(np.array(counts, np.int64) for counts in metadata["histograms"]),
            np.array(metadata["counts"], np.int64),
        )

    def finish(self) -> tuple[dict[str, Any], dict[str, HostArray] | None]:
        """Merge the chunks' selections and write `selection` and `summary.json`; returns the summary and the rows."""
        summary: dict[str, Any] = {"points": self.grid.points, "complete": True}
        rows = None
        if self.selects:
            kept: Selected | None = None
            for index in range(self.grid.num_chunks):
                part = self._selected_of(*self.store.read(self.store.part("selected", index)))
                kept = part if kept is None else merge(self.rules, [kept, part])
            assert kept is not None
            kept = merge(self.rules, [kept])
            columns, metadata = self._selection_table(kept)
            self.store.write(self.store.selection(self.sweep.store), columns, {"sweep": self.digest, **metadata})
            rows = {name: plain(column) for name, column in columns.items()}
            summary |= {
                "counts": dict(zip(("points", "unusable", "selected_from"), kept.counts.tolist(), strict=True)),
                "pareto": {"points": len(kept.front_point), "overflow": bool(kept.overflow)},
                "histograms": [
                    {**spec.model_dump(), "below": int(c[0]), "bins": c[1:-1].tolist(), "above": int(c[-1])}
                    for spec, c in zip(self.sweep.select.histograms, kept.histograms, strict=True)
                ],
            }
        if self.sweep.store == "all":
            self.store.export()
        write_bytes(self.store.folder / "summary.json", json.dumps(summary, indent=1).encode())
        return summary, rows


@checks.checked(ConfigError, sweep=checks.instance(SweepConfig, "a SweepConfig from load_sweep(file or mapping)"))
def plan_of(sweep: SweepConfig) -> dict[str, Any]:
    """What a sweep would do, without doing it: points, variants, chunks, traces."""
    space: Space = space_of(sweep)
    source = TraceSource(sweep.traces)
    default = STORED_POINTS if sweep.store == "all" else SELECTED_POINTS
    grid = make_grid(len(space.variants), space.num_lanes, len(source), sweep.chunk_points or default)
    return {
        "name": sweep.name,
        "points": grid.points,
        "variants": grid.variants,
        "hardware_points": grid.lanes,
        "requests": grid.requests,
        "chunks": grid.num_chunks,
        "axes": {name: axis.size for axis in sweep.axes for name in axis.fields},
        "skipped_traces": source.skipped,
    }
