"""The columns that say which point a row is: its number, its request, its value on every axis. Host."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from pimjax.array_typing import HostArray
from pimjax.batch.chunks import Grid
from pimjax.batch.points import Space
from pimjax.batch.tables import Column, coded
from pimjax.config.build import Capacity, build, padded_to


class RowMaker:
    """Makes those columns for any points of a sweep."""

    def __init__(self, space: Space, grid: Grid, names: list[str], seed: int, dtype: np.dtype) -> None:
        self.space, self.grid, self.seed, self.dtype = space, grid, seed, dtype
        self._trace = coded(np.array(names))
        drawn = [axis.fields for axis in space.lanes.axes if axis.random]
        self._drawn = [name for fields in drawn for name in fields]
        self._draw: Any = None

    def columns(self, points: HostArray) -> dict[str, Column]:
        """`point`, `trace`, and every axis's field; one entry per point."""
        variant, lane, request = self.grid.place(points)
        found: dict[str, Column] = {
            "point": np.asarray(points, np.int64),
            "trace": self._trace.at(request),
        }
        for name in self.space.settings[0] if self.space.settings else ():
            values = _uniform([setting[name] for setting in self.space.settings])
            found[name] = coded(values).at(variant) if values.dtype.kind == "U" else values[variant]
        values = self.space.table_values(lane)
        if self._drawn:
            values |= self._drawn_values(lane)
        for name in self.space.fields:
            found[name] = values[name]
        return found

    def _drawn_values(self, lanes: HostArray) -> dict[str, HostArray]:
        if self._draw is None:
            chosen = tuple(self._drawn)
            space = self.space
            parameters = lane_parameters(space, Capacity(), self.seed, self.dtype, space.variants[0])

            def one(lane):
                values = space.lanes.values(parameters, lane)
                return {name: values[name] for name in chosen}

            self._draw = jax.jit(jax.vmap(one))
        size = 1 << max(0, len(lanes) - 1).bit_length()  # few compiles
        padded = np.zeros(size, np.int32)
        padded[: len(lanes)] = lanes
        return {name: np.asarray(values)[: len(lanes)] for name, values in self._draw(padded).items()}


def lane_parameters(space: Space, capacity: Capacity, seed: int, dtype: np.dtype, variant: Any) -> dict[str, Any]:
    """What a lane's design is made from: the variant's design, tables of the axes, and the key of random ones."""
    design = padded_to(build(variant)[0], capacity)
    design = dataclasses.replace(design, hardware=jax.tree.map(lambda leaf: np.asarray(leaf, dtype), design.hardware))
    return {
        "design": jax.tree.map(np.asarray, design),
        "tables": {place: np.asarray(table, dtype) for place, table in space.tables.items()},
        "key": jax.random.key(seed),
    }


def _uniform(values: list[Any]) -> HostArray:
    """One dtype for a column: numbers, flags, or text."""
    if all(isinstance(value, bool) for value in values):
        return np.array(values, bool)
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return np.array(values, np.int64)
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return np.array(values, np.float64)
    return np.array(["" if value is None else str(value) for value in values])
