"""From the number of a point to its values, on the device: nothing is stored per point, however many there are.

Axes over hardware numbers are *device axes*: a lane's number is split into digits (mixed radix, last axis fastest) and
every digit looks its values up in a small table, or draws them from a counter-based generator. All other axes are
*host axes*: each combination is a validated configuration of its own (a variant), with its own schedules.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from pimjax.array_typing import HostArray
from pimjax.batch.axes import Axis, Interval, spread
from pimjax.batch.sweep_config import SweepConfig
from pimjax.chips import Chip
from pimjax.config.build import Design
from pimjax.config.config import Config
from pimjax.config.loader import load_config
from pimjax.config.memory import hardware_key
from pimjax.errors import ConfigError
from pimjax.registry import CHIPS

MAX_VARIANTS = 65_536
MAX_LANES = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class DeviceAxis:
    """Static part of a device axis."""

    size: int
    fields: tuple[str, ...]
    random: tuple[tuple[float, float, str], ...] = ()  # (low, high, scale) of every field; else values are a table


@dataclasses.dataclass(frozen=True)
class DecodedLanes:
    """Design of a lane from its number. Static and hashable: part of the compiled program."""

    axes: tuple[DeviceAxis, ...]

    def values(self, parameters: dict[str, Any], lane: jax.Array) -> dict[str, jax.Array]:
        """Values of all device axes for one lane number (int32 `[]`)."""
        found: dict[str, jax.Array] = {}
        rest = lane
        for place in reversed(range(len(self.axes))):
            axis = self.axes[place]
            digit, rest = rest % axis.size, rest // axis.size
            if axis.random:
                key = jax.random.fold_in(jax.random.fold_in(parameters["key"], place), digit)
                dtype = parameters["design"].hardware.reticle_area_mm2.dtype
                unit = jax.random.uniform(key, (len(axis.fields),), jax.numpy.float32).astype(dtype)  # at any precision
                for i, (low, high, scale) in enumerate(axis.random):
                    interval = Interval(low=low, high=high, scale=scale)  # type: ignore[arg-type]
                    found[axis.fields[i]] = spread(unit[i], interval)
            else:
                row = jax.numpy.asarray(parameters["tables"][str(place)])[digit]
                for i, name in enumerate(axis.fields):
                    found[name] = row[i]
        return found

    def __call__(self, parameters: dict[str, Any], lane: jax.Array) -> Design:
        """One design point."""
        return parameters["design"].set(self.values(parameters, lane))


class Space(NamedTuple):
    """The points of a sweep without its traces: variants by lanes."""

    variants: list[Config]
    settings: list[dict[str, Any]]  # of every variant: values of the host axes
    lanes: DecodedLanes
    tables: dict[str, HostArray]  # float64 [size, fields] of every device axis that is no random one
    num_lanes: int

    @property
    def fields(self) -> tuple[str, ...]:
        """Dotted keys of the device axes."""
        return tuple(name for axis in self.lanes.axes for name in axis.fields)

    def table_values(self, lanes: HostArray) -> dict[str, HostArray]:
        """float64 values of the listed device axes for lane numbers (host)."""
        found, rest = {}, np.asarray(lanes, np.int64)
        for place in reversed(range(len(self.lanes.axes))):
            axis = self.lanes.axes[place]
            digit, rest = rest % axis.size, rest // axis.size
            if not axis.random:
                for i, name in enumerate(axis.fields):
                    found[name] = self.tables[str(place)][digit, i]
        return found


def space_of(sweep: SweepConfig) -> Space:
    """Split a sweep's axes and check every value.

    Raises:
        ConfigError: an unknown key, a value out of bounds, too many points or variants.

    >>> from pimjax.batch.sweep_config import load_sweep
    >>> sweep = load_sweep({"axes": [
    ...     {"field": "plan.policy", "values": ["compact", "reschedule"]},
    ...     {"field": "hardware.mvm_latency_ns", "values": [100, 130, 160]}]})
    >>> space = space_of(sweep)
    >>> len(space.variants), space.num_lanes
    (2, 3)
    """
    chips = _chips(sweep)
    device = [axis for axis in sweep.axes if all(_on_device(name, chips) for name in axis.fields)]
    host = [axis for axis in sweep.axes if axis not in device]
    for axis in host:
        if axis.sample is not None:
            name = next(name for name in axis.fields if not _on_device(name, chips))
            raise ConfigError(f"axes: {name} cannot be sampled; only hardware numbers can: list its values instead")
    for axis in device:
        for name, values in axis.extremes().items():
            for value in values:
                load_config(sweep.base, {**sweep.set, name: value})  # raises with key, value and what is allowed
    number = math.prod(axis.size for axis in host)
    if number > MAX_VARIANTS:
        raise ConfigError(
            f"axes: {number:,} combinations of model, workload and plan values; at most {MAX_VARIANTS:,} are possible "
            "(each is a configuration with its own schedules): split the sweep"
        )
    lanes = math.prod(axis.size for axis in device)
    if lanes > MAX_LANES:
        raise ConfigError(f"axes: {lanes:,} hardware points; at most {MAX_LANES:,} are possible: split the sweep")
    settings = [_merged(choice) for choice in itertools.product(*map(_rows, host))]
    variants = [load_config(sweep.base, {**sweep.set, **setting}) for setting in settings]
    specs, tables = [], {}
    for place, axis in enumerate(device):
        if axis.sample == "random":
            bounds = tuple((i.low, i.high, i.scale) for i in (axis.ranges or {}).values())
            specs.append(DeviceAxis(axis.size, axis.fields, bounds))
            continue
        specs.append(DeviceAxis(axis.size, axis.fields))
        tables[str(place)] = axis.sobol_table(sweep.seed + place) if axis.sample else _table(axis, chips)
    return Space(variants, settings, DecodedLanes(tuple(specs)), tables, lanes)


def _chips(sweep: SweepConfig) -> list[Chip]:
    """Every chip of a sweep: the base's, or those of an axis over `chip_model`."""
    named = [name for axis in sweep.axes if "chip_model" in axis.fields for name in axis.listed()["chip_model"]]
    return [CHIPS[str(name)] for name in named or [load_config(sweep.base, sweep.set).chip_model]]


def _on_device(name: str, chips: Sequence[Chip]) -> bool:
    """Whether a key is a number of every chip that no input of their kernels depends on."""
    section, _, number = hardware_key(name).partition(".")
    return section == "hardware" and all(
        number in chip.hardware.model_fields and number not in chip.input_fields for chip in chips
    )


def _rows(axis: Axis) -> list[dict[str, Any]]:
    listed = axis.listed()
    return [dict(zip(listed, row, strict=True)) for row in zip(*listed.values(), strict=True)]


def _merged(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: _whole(value) for part in parts for name, value in part.items()}


def _whole(value: Any) -> Any:
    """Whole numbers of a grid as integers: the schema is strict about counts."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _table(axis: Axis, chips: Sequence[Chip]) -> HostArray:
    columns = []
    for name, values in axis.listed().items():
        absent = chips[0].hardware.absent.get(hardware_key(name).removeprefix("hardware."))
        columns.append([absent if value is None else float(value) for value in values])  # type: ignore[arg-type]
    return np.array(columns, np.float64).T
