"""Computes chunks on this process's devices: schedules once per block of requests, then tile after tile."""

from __future__ import annotations

import time
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pimjax.array_typing import HostArray
from pimjax.batch.chunks import Chunk, Grid
from pimjax.batch.columns import Columns, build_columns, factored, request_axes, resolved, variant_key
from pimjax.batch.engine import Compiled, Tile, TileShape, Timings, first_shape, pipelined, tiles, with_halving
from pimjax.batch.points import Space
from pimjax.batch.rows import lane_parameters
from pimjax.batch.selection import Rules, Selected, empty_state, select_program, to_host
from pimjax.batch.sweep_config import SweepConfig
from pimjax.batch.tile import AXIS, FIELDS, Program, program_key, put
from pimjax.batch.trace_source import TraceSource
from pimjax.chips import CHIPS
from pimjax.config.build import Capacity, capacity_of
from pimjax.config.config import Config
from pimjax.runs.requests import with_longest


class Worker:
    """Everything that stays from chunk to chunk."""

    def __init__(
        self,
        sweep: SweepConfig,
        space: Space,
        source: TraceSource,
        grid: Grid,
        rules: Rules | None,
        metrics: tuple[str, ...],
        mesh: Mesh,
        dtype: np.dtype,
        timings: Timings,
        tile_points: int | None,
    ) -> None:
        self.sweep, self.space, self.source, self.grid, self.rules = sweep, space, source, grid, rules
        self.mesh, self.dtype, self.timings, self.tile_points = mesh, dtype, timings, tile_points
        self.fields = tuple(name for name in FIELDS if name in {*metrics, "status"})
        self._compiled = Compiled(mesh, timings)
        self._shape: TileShape | None = None
        self._columns: tuple[Any, Columns, tuple[bool, ...]] | None = None
        self._parameters: tuple[int, Any] | None = None
        self._capacity = {
            key: _capacity([one for one in space.variants if program_key(one) == key], source)
            for key in {program_key(one) for one in space.variants}
        }
        generated = {one.workload.generated_tokens for one in space.variants}
        self._prefill_only = generated == {1}

    def compute(self, chunk: Chunk) -> tuple[dict[str, HostArray] | None, list[Selected] | None]:
        """Fields of all points `[lanes, requests]` (store: all), and what each device selected (chunk-local points)."""
        config = self.space.variants[chunk.variant]
        columns, common = self._block(chunk, config)
        program = Program(
            config.chip_model,
            self.sweep.fidelity,
            self._capacity[program_key(config)],
            self.fields,
            common=common,
            prefill_only=self._prefill_only,
            lanes=self.space.lanes,
        )
        # one tile shape for all chunks, also smaller ones at an edge: one compile
        shape = self._shape or first_shape(
            self.grid.chunk_lanes,
            self.grid.chunk_requests,
            self.mesh,
            self.tile_points,
            scans=self.sweep.fidelity == "fluid",
        )
        result, self._shape = with_halving(
            shape,
            self.mesh.devices.size,
            lambda shape: self._attempt(chunk, program, columns, shape),
            self.timings,
        )
        return result

    def _attempt(
        self, chunk: Chunk, program: Program, columns: Columns, shape: TileShape
    ) -> tuple[dict[str, HostArray] | None, list[Selected] | None]:
        parameters = self._lane_parameters(chunk.variant)
        axes = request_axes(columns, program.common, 0)
        held: dict[int, Columns] = {}
        stored: dict[str, HostArray] | None = {} if self.sweep.store == "all" else None
        state: Any = None
        if self.rules is not None:
            devices = self.mesh.devices.size
            empty = empty_state(self.rules, self.dtype)
            state = put(
                jax.tree.map(lambda leaf: np.broadcast_to(leaf, (devices, *np.shape(leaf))), empty),
                self.mesh,
                split=True,
                dtype=self.dtype,
            )
        split = NamedSharding(self.mesh, PartitionSpec(AXIS))

        def launch(tile: Tile) -> Any:
            nonlocal state
            if tile.column not in held:
                held.clear()
                index = np.minimum(np.arange(tile.column, tile.column + shape.columns), chunk.num_requests - 1)
                part = jax.tree.map(lambda leaf, axis: leaf if axis < 0 else np.take(leaf, index, 0), columns, axes)
                held[tile.column] = put(part, self.mesh, split=False, dtype=self.dtype)
            first = chunk.lane + tile.lane
            numbers = first + np.arange(shape.lanes)
            lanes = jax.device_put(np.minimum(numbers, self.space.num_lanes - 1).astype(np.int32), split)
            variant = jax.device_put(np.zeros(shape.lanes, np.int32), split)
            arguments = (parameters, lanes, variant, held[tile.column])
            result = self._compiled.get(program, arguments)(*arguments)
            if self.rules is not None:
                order = jax.device_put(np.minimum(numbers, 2**31 - 1).astype(np.int32), split)
                end = chunk.lane + chunk.num_lanes
                bounds = np.array([chunk.lane, end, tile.column, tile.num_columns, chunk.num_requests], np.int32)
                chosen = (state, result, order, bounds)
                kept = (("select", self.rules), state)
                state = self._compiled.of(select_program(self.rules, self.mesh), chosen, kept)(*chosen)
            return result if stored is not None else result["status"]

        def collect(tile: Tile, result: dict[str, HostArray]) -> None:
            assert stored is not None
            for name, array in result.items():
                if name not in stored:
                    stored[name] = np.empty((chunk.num_lanes, chunk.num_requests), array.dtype)
                lanes = slice(tile.lane, tile.lane + tile.num_lanes)
                span = slice(tile.column, tile.column + tile.num_columns)
                stored[name][lanes, span] = array[: tile.num_lanes, : tile.num_columns]

        order = sorted(tiles(chunk.num_lanes, chunk.num_requests, shape), key=lambda tile: tile.column)
        pipelined(order, launch, collect if stored is not None else None, self.timings)
        return stored, None if state is None else to_host(state, lambda ids: ids.astype(np.int64))

    def _lane_parameters(self, variant: int) -> Any:
        if self._parameters is None or self._parameters[0] != variant:
            config = self.space.variants[variant]
            capacity = self._capacity[program_key(config)]
            made = lane_parameters(self.space, capacity, self.sweep.seed, self.dtype, config)
            self._parameters = (variant, put(made, self.mesh, split=False, dtype=self.dtype))
        return self._parameters[1]

    def _block(self, chunk: Chunk, config: Config) -> tuple[Columns, tuple[bool, ...]]:
        key = (variant_key(config), chunk.request)
        if self._columns is None or self._columns[0] != key:
            begin = time.perf_counter()
            requests = self.source.block(chunk.request, chunk.request + chunk.num_requests)
            capacity = self._capacity[program_key(config)]
            columns, common = factored(build_columns([config], requests, self.sweep.fidelity, capacity))
            self._columns = (key, jax.tree.map(lambda leaf: leaf[0], columns), common)
            self.timings.schedules_s += time.perf_counter() - begin
        return self._columns[1], self._columns[2]


def _capacity(configs: list[Config], source: TraceSource) -> Capacity:
    """What all variants need with the longest request."""
    capacity = None
    for config in configs:
        if CHIPS[config.chip_model].takes_routing and config.workload.prompt_tokens is None:
            if source.requests:
                config = with_longest(config, max(request.num_tokens for request in source.requests))
            else:
                config = resolved(config, None)[0]
        one = capacity_of(config)
        capacity = one if capacity is None else capacity.union(one)
    return capacity or Capacity()
