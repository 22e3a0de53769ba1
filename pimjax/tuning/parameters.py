"""The box of numeric parameters: unit coordinates <-> values <-> hardware leaves, with rounding to legal hardware.

Every numeric parameter has a coordinate in [0, 1]. A continuous one moves on a linear or log scale between its
bounds. A discrete one has rising levels; between levels its relaxed value is interpolated on the same scale, and
`hardness` moves the value from there (0) to the nearest level (1) while the gradient stays that of the interpolation
(straight-through). Coordinates are padded with parameters that drive nothing, so that runs share compiled programs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from pimjax.array_typing import Array, HostArray
from pimjax.errors import ConfigError
from pimjax.tuning.tune_config import ParameterConfig, level_values

_PADDING = 16


@struct.dataclass
class Box:
    """Numeric parameters as arrays. `P` parameters (padded), `K` levels (padded), `F` hardware leaves."""

    low: Any  # [P] on the parameter's scale (log or linear)
    high: Any  # [P]
    is_log: Any  # [P] bool
    is_discrete: Any  # [P] bool
    levels: Any  # [P, K] on the parameter's scale, padded with the last
    legal: Any  # [P, K] the levels as values, exact
    level_count: Any  # [P] at least 2
    reference: Any  # [P] value at which driven leaves have their base value
    exponents: Any  # [P, F] of the power laws
    direct: Any  # [P, F] 1 where the leaf is the value itself

    @property
    def num_padded(self) -> int:
        """P."""
        return self.low.shape[-1]


def make_box(parameters: Mapping[str, ParameterConfig], base: Any) -> Box:
    """Box of the numeric `parameters` (categorical ones are left out) around `base` (float scalars). NumPy leaves.

    Raises:
        ConfigError: a driven leaf is zero or infinite in the base, or two parameters drive one leaf.
    """
    numeric = {key: item for key, item in parameters.items() if item.kind != "categorical"}
    leaves = leaf_names(base)
    padded = max(_PADDING, -(-len(numeric) // _PADDING) * _PADDING)
    tables = [level_values(item) for item in numeric.values()]
    count = max([2, *(len(table) for table in tables if table)])
    count = 1 << (count - 1).bit_length()
    shape = (padded,)
    box: dict[str, Any] = {
        "low": np.zeros(shape),
        "high": np.ones(shape),
        "is_log": np.zeros(shape, bool),
        "is_discrete": np.zeros(shape, bool),
        "levels": np.broadcast_to(np.where(np.arange(count) > 0, 1.0, 0.0), (padded, count)).copy(),
        "legal": np.ones((padded, count)),
        "level_count": np.full(shape, 2, np.int32),
        "reference": np.ones(shape),
        "exponents": np.zeros((padded, len(leaves))),
        "direct": np.zeros((padded, len(leaves))),
    }
    owner: dict[str, str] = {}
    for index, ((key, item), table) in enumerate(zip(numeric.items(), tables, strict=True)):
        scale = np.log if item.scale == "log" else np.asarray
        bounds = (table[0], table[-1]) if table else (item.low, item.high)
        box["low"][index], box["high"][index] = scale(np.array(bounds, np.float64))
        box["is_log"][index] = item.scale == "log"
        if table:
            box["is_discrete"][index] = True
            box["level_count"][index] = len(table)
            box["legal"][index] = np.pad(table, (0, count - len(table)), mode="edge")
            box["levels"][index] = scale(box["legal"][index])
        for leaf in item.drives or {key: 1.0}:
            name = leaf.partition(".")[2]
            if name in owner and not (item.drives and owner[name].startswith("*")):
                raise ConfigError(
                    f"parameters: hardware.{name} is set by both {owner[name].strip('*')} and {key}; keep one"
                )
            owner[name] = ("*" if item.drives else "") + key
            if name not in leaves:
                raise ConfigError(
                    f"parameters: {key} drives hardware.{name}, which this chip does not have; drive a number of its own, "
                    "or leave the key out"
                )
            column = leaves.index(name)
            if not item.drives:
                box["direct"][index, column] = 1.0
                continue
            value = float(np.asarray(getattr(base, name)))
            if not np.isfinite(value) or value <= 0:
                raise ConfigError(
                    f"parameters: {key} drives hardware.{name}, whose base value is {value:g}; a power law needs one above 0"
                )
            box["exponents"][index, column] = item.drives[leaf]
        box["reference"][index] = item.start if item.start is not None else 1.0
    return Box(**box)


def relaxed(box: Box, unit: Array, hardness: Array) -> Array:
    """Values `[P]` at unit coordinates `[P]`; `hardness` 0 (interpolated) to 1 (legal). Straight-through."""
    unit = jnp.clip(unit, 0.0, 1.0)
    smooth = box.low + unit * (box.high - box.low)
    place = unit * (box.level_count - 1)
    below = jnp.clip(jax.lax.stop_gradient(jnp.floor(place)), 0, box.level_count - 2).astype(jnp.int32)
    nearest = jnp.round(jax.lax.stop_gradient(place)).astype(jnp.int32)

    def at(table: Array, index: Array) -> Array:
        return jnp.take_along_axis(table, index[:, None], axis=1)[:, 0]

    low, high = at(box.levels, below), at(box.levels, below + 1)
    on_scale = jnp.where(box.is_discrete, low + (place - below) * (high - low), smooth)
    value = jnp.where(box.is_log, jnp.exp(jnp.where(box.is_log, on_scale, 0.0)), on_scale)
    fixed = jax.lax.stop_gradient(value)
    legal = at(box.legal, nearest).astype(value.dtype)
    # exactly the legal number at hardness 1: crossbar counts are ceilings of it
    target = jnp.where(hardness >= 1.0, legal, fixed + hardness * (legal - fixed))
    return jnp.where(box.is_discrete, target, fixed) + (value - fixed)


def apply(box: Box, values: Array, base: Any) -> Any:
    """Hardware with the values `[P]` put in: leaves scalars, in the dtype of `values`."""
    leaves = jnp.stack([jnp.asarray(getattr(base, name), values.dtype) for name in leaf_names(base)])
    growth = jnp.log(jnp.maximum(values / box.reference, 1e-30))
    driven = jnp.any(box.exponents != 0, axis=0)
    factors = jnp.where(driven, jnp.exp(growth @ box.exponents), 1.0)
    is_direct = jnp.any(box.direct != 0, axis=0)
    finite = jnp.where(jnp.isfinite(leaves), leaves, 0.0)
    scaled = jnp.where(driven, finite * factors, leaves)
    chosen = jnp.where(is_direct, values @ box.direct, scaled)
    return hardware_of(chosen, base)


def leaf_names(hardware: Any) -> tuple[str, ...]:
    """Names of the leaves of a chip's hardware, in the order of the `[F]` axis."""
    return tuple(field.name for field in dataclasses.fields(hardware))


def hardware_of(leaves: Array, like: Any) -> Any:
    """Hardware of the kind of `like` from its leaves `[F]`.

    One split, whose transpose is one concatenation: with an index per leaf a gradient adds F arrays of F numbers, which
    was more than half of its cost.
    """
    names = leaf_names(like)
    parts = jax.lax.split(leaves, (1,) * len(names))
    return type(like)(**{name: part.reshape(()) for name, part in zip(names, parts, strict=True)})


def snap(box: Box, unit: HostArray) -> HostArray:
    """Unit coordinates `[..., P]` of the nearest legal hardware. Host."""
    unit = np.clip(np.asarray(unit, np.float64), 0.0, 1.0)
    steps = np.asarray(box.level_count) - 1
    return np.where(np.asarray(box.is_discrete), np.round(unit * steps) / steps, unit)


def values_at(box: Box, unit: HostArray) -> HostArray:
    """Legal values `[..., P]` at unit coordinates. Host, float64."""
    unit = snap(box, unit)
    place = np.round(unit * (np.asarray(box.level_count) - 1)).astype(int)
    table = np.broadcast_to(np.asarray(box.legal), (*unit.shape, box.legal.shape[-1]))
    discrete = np.take_along_axis(table, place[..., None], -1)[..., 0]
    on_scale = np.asarray(box.low) + unit * (np.asarray(box.high) - np.asarray(box.low))
    smooth = np.where(box.is_log, np.exp(np.where(box.is_log, on_scale, 0.0)), on_scale)
    return np.where(box.is_discrete, discrete, smooth)


def unit_at(box: Box, values: HostArray) -> HostArray:
    """Unit coordinates `[P]` of values `[P]`, clipped to the box; the inverse of :func:`values_at`. Host."""
    values = np.asarray(values, np.float64)
    is_log = np.asarray(box.is_log)
    on_scale = np.where(is_log, np.log(np.where(is_log, np.maximum(values, 1e-300), 1.0)), values)
    smooth = (on_scale - np.asarray(box.low)) / (np.asarray(box.high) - np.asarray(box.low))
    out = np.clip(smooth, 0.0, 1.0)
    for index in np.flatnonzero(np.asarray(box.is_discrete)):
        count = int(np.asarray(box.level_count)[index])
        out[index] = np.interp(on_scale[index], np.asarray(box.levels)[index, :count], np.linspace(0, 1, count))
    return out
