"""The compiled program of a tile: lanes (hardware points) by columns (requests), one place where `vmap` happens.

`product`: every lane with every column. What depends on the lane alone (geometry, durations, dense phases, area) is
computed once per lane, what depends on the column alone once per column: `vmap` inside `vmap` leaves those parts
without the other axis. `zip`: lane i with column i.

Lanes are divided over the mesh axis "H" by `shard_map`: every device runs the same program on its own lanes, nothing
is exchanged, and the bits of a result do not depend on the number of devices.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pimjax import checks
from pimjax.batch.columns import Columns
from pimjax.chips import CHIPS
from pimjax.config.build import Capacity, Design
from pimjax.config.config import Config
from pimjax.config.digital_map import has_digital_parts
from pimjax.errors import ConfigError
from pimjax.estimation.result import NOT_COMPUTED, Estimate, from_run_cost

PAIRINGS = ("product", "zip")
FIELDS = tuple(field.name for field in dataclasses.fields(Estimate) if field.name not in NOT_COMPUTED)
AXIS = "H"

_traces = 0


def compile_count() -> int:
    """Tile programs traced by this process so far (each is compiled once)."""
    return _traces


class Lanes(Protocol):
    """Static, hashable: makes one design point from replicated parameters and one lane's own data."""

    def __call__(self, parameters: Any, lane: Any) -> Design: ...


@dataclasses.dataclass(frozen=True)
class GivenLanes:
    """Every lane is a design itself."""

    def __call__(self, parameters: Any, lane: Design) -> Design:
        """The lane."""
        return lane


@dataclasses.dataclass(frozen=True)
class Program:
    """Everything static of a tile: one compile for each distinct value and tile shape."""

    chip_model: str
    fidelity: Any  # "closed" or "fluid"
    capacity: Capacity
    fields: tuple[str, ...] = FIELDS
    pairing: str = "product"
    shared_variant: bool = True  # product: all lanes of a tile have the same variant of the columns
    common: tuple[bool, ...] = ()  # product: leaves of the columns without a request axis: equal for all requests
    prefill_only: bool = False  # no lane generates beyond the prefill's token: decode steps are not compiled
    lanes: Any = GivenLanes()


def program_key(config: Config) -> tuple[str, str, bool]:
    """What decides which program a configuration runs in, beside shapes: its chip, its kind of tile, and whether parts lie
    on digital macros beside it.

    >>> program_key(Config())
    ('multiplexed', 'calibrated', False)
    """
    return config.chip_model, config.plan.tile, has_digital_parts(config)


def evaluate(program: Program, design: Design, column: Columns) -> dict[str, jax.Array]:
    """The asked fields of one point. Kernel: pure, unbatched."""
    design = column.applied_to(design)
    if program.prefill_only:
        one = jnp.ones((), design.workload.generated_tokens.dtype)  # a constant: XLA drops what multiplies nothing
        design = dataclasses.replace(design, workload=dataclasses.replace(design.workload, generated_tokens=one))
    shares = "critical_ns" in program.fields  # the breakdown takes derivatives: several times the cost of the rest
    chip = CHIPS[program.chip_model]
    cost = chip.cost(design, column.schedule, capacity=program.capacity, fidelity=program.fidelity, critical=shares)
    result = from_run_cost(cost, design.hardware, chip)
    return {name: getattr(result, name) for name in program.fields}


def tile_function(program: Program) -> Callable[..., dict[str, jax.Array]]:
    """`(parameters, lanes, variants, columns) -> {field: [lanes, columns, ...]}`; not compiled.

    `lanes` leaves `[n, ...]`; `variants` int32 `[n]`; `columns` leaves `[R, ...]` (shared variant) or `[V, R, ...]`,
    common ones without R; `[n, ...]` with zip.
    """

    def point(parameters: Any, lane: Any, column: Columns) -> dict[str, jax.Array]:
        return evaluate(program, program.lanes(parameters, lane), column)

    def zipped(parameters, lanes, variants, columns):
        return jax.vmap(point, in_axes=(None, 0, 0))(parameters, lanes, columns)

    def row(parameters, lane, variant, columns):
        mine = columns if program.shared_variant else jax.tree.map(lambda leaf: leaf[variant], columns)
        design = program.lanes(parameters, lane)

        axes = jax.tree.unflatten(jax.tree.structure(mine), [None if same else 0 for same in program.common])
        return jax.vmap(lambda column: evaluate(program, design, column), in_axes=(axes,))(mine)

    def product(parameters, lanes, variants, columns):
        return jax.vmap(row, in_axes=(None, 0, 0, None))(parameters, lanes, variants, columns)

    return zipped if program.pairing == "zip" else product


@functools.lru_cache(maxsize=128)
def tile_program(program: Program, mesh: Mesh) -> Any:
    """The jitted, sharded tile of a program on a mesh."""
    function = tile_function(program)
    split, whole = PartitionSpec(AXIS), PartitionSpec()

    def tile(parameters, lanes, variants, columns):
        global _traces
        _traces += 1
        return function(parameters, lanes, variants, columns)

    specs = (whole, split, split, split if program.pairing == "zip" else whole)
    mapped = jax.shard_map(tile, mesh=mesh, in_specs=specs, out_specs=split, check_vma=False)
    return jax.jit(mapped)


@checks.checked(
    ConfigError,
    devices=checks.each(
        checks.having("platform", "id", meaning="a device"), "a list of devices (jax.devices())", least=1
    ),
)
def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of one axis "H" over this process's devices (or the given ones).

    >>> make_mesh().axis_names
    ('H',)
    """
    chosen = list(jax.local_devices() if devices is None else devices)
    return jax.make_mesh((len(chosen),), (AXIS,), devices=chosen, axis_types=(AxisType.Auto,))


def check_mesh(mesh: Mesh | None) -> Mesh:
    """The mesh, or the default one.

    Raises:
        ConfigError: it has no axis "H", or that axis is Explicit.
    """
    if mesh is None:
        return make_mesh()
    if not isinstance(mesh, Mesh) or mesh.axis_names != (AXIS,):
        names = getattr(mesh, "axis_names", type(mesh).__name__)
        raise ConfigError(f"mesh has axes {names}: it needs the one axis 'H'; make it with pimjax.batch.make_mesh")
    if mesh.axis_types != (AxisType.Auto,):
        raise ConfigError(
            "mesh axis 'H' is not of type Auto, which scans need: pass axis_types=(jax.sharding.AxisType.Auto,)"
        )
    return mesh


def put(tree: Any, mesh: Mesh, *, split: bool, dtype: np.dtype) -> Any:
    """A host tree on the devices of `mesh`; floats become `dtype`."""
    sharding = NamedSharding(mesh, PartitionSpec(AXIS) if split else PartitionSpec())

    def converted(leaf: Any) -> Any:
        array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
        if jnp.issubdtype(array.dtype, jnp.floating) and array.dtype != dtype:
            array = array.astype(dtype)
        return array

    return jax.device_put(jax.tree.map(converted, tree), sharding)  # one transfer for all leaves
