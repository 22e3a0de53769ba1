"""`estimate_batch`: many configurations x many routing traces, one compiled program."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.batch.columns import (
    Columns,
    build_columns,
    build_row,
    common_capacity,
    deepest,
    factored,
    request_axes,
    requests_of,
    same_counts,
    variant_key,
)
from pimjax.batch.engine import Compiled, Tile, TileShape, Timings, first_shape, padded, pipelined, tiles, with_halving
from pimjax.batch.lanes import configs_of_design
from pimjax.batch.tile import FIELDS, PAIRINGS, Program, check_mesh, program_key, put
from pimjax.chips import CHIPS
from pimjax.config.build import Capacity, Design, build, padded_to
from pimjax.config.config import Config
from pimjax.errors import ConfigError, TraceError, shown
from pimjax.estimation.kernel import KERNEL_FIDELITIES
from pimjax.estimation.result import NAMED, Estimate
from pimjax.runs.reshape import stacked
from pimjax.trace.routing import RoutingTrace

PRECISIONS = ("float32", "float64")
_TRACE = checks.instance(RoutingTrace, "a RoutingTrace")
_TRACES = checks.any_of(_TRACE, checks.each(_TRACE, "a list of them", least=1))
_SHARED_FROM = 16  # lanes per variant from which a tile holds one variant only


@checks.checked(TraceError, traces=_TRACES)
@checks.checked(
    ConfigError,
    fidelity=checks.text,
    pairing=checks.text,
    precision=checks.text,
    fields=checks.each(checks.text, "a list of names of fields of Estimate"),
    config=checks.instance(Config, "a Config from pimjax.load_config"),
    tile_points=checks.whole(1),
    timings=checks.instance(Timings, "Timings"),
)
def estimate_batch(
    configs: Config | Sequence[Config] | Design,
    traces: RoutingTrace | Sequence[RoutingTrace] | None = None,
    fidelity: str = "closed",
    *,
    pairing: str = "product",
    precision: str = "float32",
    mesh: Mesh | None = None,
    fields: Sequence[str] | None = None,
    config: Config | None = None,
    tile_points: int | None = None,
    timings: Timings | None = None,
) -> Estimate:
    """Estimate every configuration with every trace (or pair by pair). Host function: NumPy in and out.

    Point `[h, r]` is `estimate(configs[h], trace r, fidelity)` in the chosen precision. Configurations of one chip
    model share one compiled program, whatever their numbers, flags, lengths and schedules. Work is cut into tiles
    that fit the devices' memory and divided over the mesh.

    Args:
        configs: H configurations; or a :class:`pimjax.Design` whose leaves may carry a leading axis `[H]` (from
            :func:`pimjax.build` and `design.set`), which pydantic never sees point by point.
        traces: R requests: a stacked or single `RoutingTrace`, or a sequence of them; lengths may differ. None: what
            each configuration's `workload.trace` describes (R = 1).
        fidelity: "closed" or "fluid".
        pairing: "product": leaves `[H, R]`. "zip": configuration i with request i, leaves `[N]`; one
            configuration or one request is repeated.
        precision: "float32", or "float64" (inside `jax.enable_x64`).
        mesh: devices, one axis "H" of type Auto; default all of this process.
        fields: names of :class:`pimjax.Estimate` fields to compute; the others are None. Default all. `critical_ns`
            takes derivatives and costs several times the rest: leave it out of large batches.
        config: with a `Design` only: what its lanes are variations of. Default: the configurations that it was built
            from; leaves of model, workload and plan that were set since hold.
        tile_points: points of a tile on one device; default by platform and memory.
        timings: filled with the time of compiling and of making schedules, compiles, halvings.

    Returns:
        :class:`pimjax.Estimate` with NumPy leaves `[H, R, ...]` or `[N, ...]`. Points whose numbers must not be used
        have status bits (`.raise_if_bad()` names the first); they do not disturb others.

    Raises:
        ConfigError: unknown option, field or fidelity, or unequal numbers with "zip".
        TraceError: a trace does not fit a model.
        CapacityError: one point alone does not fit into memory.

    >>> import pimjax
    >>> configs = [pimjax.reference_config(dpus=units) for units in (2, 5, 10)]
    >>> estimate_batch(configs, fields=["latency_ns"]).latency_ns.shape
    (3, 1)
    """
    chosen = _check(fidelity, pairing, precision, fields)
    mesh = check_mesh(mesh)
    timings = timings or Timings()
    requests = requests_of(traces)
    design, listed = _points(configs, config)
    lanes, columns = len(listed), len(requests)
    if pairing == "zip":
        size = max(lanes, columns)
        if lanes not in (1, size) or columns not in (1, size):
            raise ConfigError(
                f"pairing 'zip' needs as many configurations as traces, but there are {lanes} and {columns}: "
                "give equal numbers, or use pairing='product'"
            )
        requests = requests * size if columns == 1 else requests
        listed = listed * size if lanes == 1 else listed
        design = None if design is None or lanes != size else design
        lanes, columns = size, 1
    dtype = np.dtype(precision)
    with jax.enable_x64(True) if precision == "float64" else contextlib.nullcontext():
        parts = []
        members: dict[tuple[str, str, bool], list[int]] = {}
        for lane, one in enumerate(listed):
            members.setdefault(program_key(one), []).append(lane)
        for (chip_model, *_), lanes_of in members.items():
            index = np.array(lanes_of, int)
            bucket = _Bucket(
                [listed[i] for i in index],
                design if len(index) == lanes or design is None else _take_lanes(design, index),
                requests if pairing == "product" else [requests[i] for i in index],
                Program(chip_model, fidelity, Capacity(), chosen, pairing),
                mesh,
                dtype,
                timings,
            )
            parts.append((index, chip_model, bucket.run(tile_points)))
    return _assemble(parts, lanes, chosen, pairing)


def _check(fidelity: str, pairing: str, precision: str, fields: Sequence[str] | None) -> tuple[str, ...]:
    if fidelity not in KERNEL_FIDELITIES:
        raise ConfigError(
            f"fidelity: {shown(fidelity)} cannot run in a batch; allowed: {', '.join(KERNEL_FIDELITIES)} "
            "('event' runs one point at a time: pimjax.estimate)"
        )
    if pairing not in PAIRINGS:
        raise ConfigError(f"pairing: {shown(pairing)} is unknown; allowed: {', '.join(PAIRINGS)}")
    if precision not in PRECISIONS:
        raise ConfigError(f"precision: {shown(precision)} is unknown; allowed: {', '.join(PRECISIONS)}")
    if fields is None:
        return FIELDS
    unknown = [name for name in fields if name not in FIELDS]
    if unknown:
        raise ConfigError(f"fields: {shown(unknown[0])} is no field of Estimate; allowed: {', '.join(FIELDS)}")
    return tuple(name for name in FIELDS if name in {*fields, "status"})


def _points(configs: Any, config: Config | None) -> tuple[Design | None, list[Config]]:
    """The design of all lanes if one was given, and a configuration for each lane."""
    if isinstance(configs, Design):
        return configs_of_design(configs, config)
    if config is not None:
        raise ConfigError("config goes with a Design; configurations already say everything: leave it out")
    listed = [configs] if isinstance(configs, Config) else list(configs) if isinstance(configs, Iterable) else []
    if not listed or not all(isinstance(one, Config) for one in listed):
        raise ConfigError("estimate_batch needs a Config, a non-empty list of them, or a Design")
    return None, listed


def _take(leaf: Any, index: HostArray) -> HostArray:
    return np.asarray(leaf)[index]


def _take_lanes(design: Design, index: HostArray) -> Design:
    return jax.tree.map(functools.partial(_take, index=index), design)


class _Bucket:
    """All lanes that share programs: of one chip model and one kind of tile."""

    def __init__(
        self,
        configs: list[Config],
        design: Design | None,
        requests: list[RoutingTrace | None],
        program: Program,
        mesh: Mesh,
        dtype: np.dtype,
        timings: Timings,
    ) -> None:
        self.mesh, self.dtype, self.timings = mesh, dtype, timings
        self.zipped = program.pairing == "zip"
        variants: dict[str, int] = {}
        distinct = {id(one): one for one in configs}  # lanes of a design share few objects
        keys = {name: variant_key(one) for name, one in distinct.items()}
        self.variant = np.array([variants.setdefault(keys[id(one)], len(variants)) for one in configs], np.int32)
        firsts = [configs[int(np.argmax(self.variant == v))] for v in range(len(variants))]
        if self.zipped:
            pairs = {(id(c), id(r)): (c, r) for c, r in zip(configs, requests, strict=True)}.values()
            needed = (common_capacity([one], [request]) for one, request in pairs)
            capacity = functools.reduce(Capacity.union, needed)
        else:
            capacity = common_capacity(firsts, requests)
        # requests longer than the configurations say do not change experts, unequal buckets may
        self.design = padded_to(build(configs)[0] if design is None else design, capacity)
        common: tuple[bool, ...] = ()
        self.num_layers = deepest(firsts)
        begin = time.perf_counter()
        if self.zipped:
            made: dict[tuple[int, int], Columns] = {}
            for v, first in enumerate(firsts):
                mine = {id(request): request for at, request in zip(self.variant, requests, strict=True) if at == v}
                row = build_row(first, list(mine.values()), program.fidelity, capacity, layers=self.num_layers)
                made.update({(v, key): column for key, column in zip(mine, row, strict=True)})
            parts = [made[int(v), id(request)] for v, request in zip(self.variant, requests, strict=True)]
            self.columns = stacked(same_counts(parts, CHIPS[program.chip_model]))
        else:
            self.columns, common = factored(build_columns(firsts, requests, program.fidelity, capacity))
        timings.schedules_s += time.perf_counter() - begin
        self.num_columns = 1 if self.zipped else len(requests)
        shared = len(variants) == 1 or len(configs) / len(variants) >= _SHARED_FROM
        self.program = dataclasses.replace(
            program,
            capacity=capacity,
            shared_variant=shared and not self.zipped,
            common=common,
            prefill_only=bool((np.asarray(self.design.workload.generated_tokens) == 1).all()),
        )

    def run(self, tile_points: int | None) -> dict[str, HostArray]:
        """All fields, `[lanes, columns, ...]`."""
        groups = [np.arange(len(self.variant))]
        if self.program.shared_variant:
            groups = [np.flatnonzero(self.variant == v) for v in range(int(self.variant.max()) + 1)]
        longest = max(map(len, groups))
        shape = first_shape(longest, self.num_columns, self.mesh, tile_points, scans=self.program.fidelity == "fluid")
        compiled = Compiled(self.mesh, self.timings)

        def attempt(shape: TileShape) -> dict[str, HostArray]:
            out: dict[str, HostArray] = {}
            for group in groups:
                self._run_group(group, shape, compiled, out)
            return out

        found = with_halving(shape, self.mesh.devices.size, attempt, self.timings)[0]
        if "moe_last_pass_ns" in found:
            missing = self.program.capacity.max_layers - found["moe_last_pass_ns"].shape[-1]
            head = [(0, 0)] * (found["moe_last_pass_ns"].ndim - 1)
            found["moe_last_pass_ns"] = np.pad(found["moe_last_pass_ns"], (*head, (0, missing)))
        return found

    def _run_group(self, group: HostArray, shape: TileShape, compiled: Compiled, out: dict[str, HostArray]) -> None:
        shared = self.program.shared_variant
        columns = jax.tree.map(lambda leaf: leaf[self.variant[group[0]]], self.columns) if shared else self.columns
        blocks: dict[int, Columns] = {}
        axes = None if self.zipped else request_axes(columns, self.program.common, 0 if shared else 1)

        def block(tile: Tile) -> Columns:
            if tile.column not in blocks:
                blocks.clear()  # columns change last: one block of them is on the devices at a time
                index = np.minimum(np.arange(tile.column, tile.column + shape.columns), self.num_columns - 1)
                part = jax.tree.map(
                    lambda leaf, axis: leaf if axis < 0 else np.take(leaf, index, axis=axis), columns, axes
                )
                blocks[tile.column] = put(part, self.mesh, split=False, dtype=self.dtype)
            return blocks[tile.column]

        def launch(tile: Tile) -> Any:
            lanes = group[tile.lane : tile.lane + tile.num_lanes]
            design = padded(_take_lanes(self.design, lanes), shape.lanes)
            design = put(design, self.mesh, split=True, dtype=self.dtype)
            variant = put(padded(self.variant[lanes], shape.lanes), self.mesh, split=True, dtype=self.dtype)
            if self.zipped:
                part = padded(jax.tree.map(functools.partial(_take, index=lanes), self.columns), shape.lanes)
                mine = put(part, self.mesh, split=True, dtype=self.dtype)
            else:
                mine = block(tile)
            arguments = ((), design, variant, mine)
            return compiled.get(self.program, arguments)(*arguments)

        def collect(tile: Tile, result: dict[str, HostArray]) -> None:
            lanes = group[tile.lane : tile.lane + tile.num_lanes]
            for name, array in result.items():
                if name not in out:
                    head = (len(self.variant),) if self.zipped else (len(self.variant), self.num_columns)
                    out[name] = np.empty((*head, *array.shape[len(head) :]), array.dtype)
                if self.zipped:
                    out[name][lanes] = array[: tile.num_lanes]
                else:
                    span = slice(tile.column, tile.column + tile.num_columns)
                    out[name][lanes, span] = array[: tile.num_lanes, : tile.num_columns]

        order = sorted(tiles(len(group), self.num_columns, shape), key=lambda tile: tile.column)
        pipelined(order, launch, collect, self.timings)


def _assemble(
    parts: list[tuple[HostArray, str, dict[str, HostArray]]], lanes: int, fields: tuple[str, ...], pairing: str
) -> Estimate:
    """One Estimate from the buckets' fields, in the order of the configurations.

    Chips with other components than the first one's add theirs at the end of the axis.
    """
    if not parts:
        raise TraceError("nothing to estimate")
    chips = [CHIPS[chip_model] for _, chip_model, _ in parts]
    axes = {
        "components": tuple(dict.fromkeys(name for chip in chips for name in chip.component_names)),
        "op_kinds": tuple(dict.fromkeys(name for chip in chips for name in chip.op_kinds)),
    }
    leaves: dict[str, Any] = dict.fromkeys(FIELDS)
    for name in fields:
        if len(parts) == 1:
            leaves[name] = parts[0][2][name]
            continue
        arrays = []
        for chip, (_, _, part) in zip(chips, parts, strict=True):
            array = part[name]
            if name in NAMED:
                own = chip.op_kinds if NAMED[name] == "op_kinds" else chip.component_names
                wide = np.zeros((*array.shape[:-1], len(axes[NAMED[name]])), array.dtype)
                wide[..., [axes[NAMED[name]].index(one) for one in own]] = array
                array = wide
            arrays.append(array)
        shape = np.max([array.shape[1:] for array in arrays], axis=0) if arrays[0].ndim > 1 else ()
        whole = np.zeros((lanes, *map(int, shape)), arrays[0].dtype)
        for (index, _, _), array in zip(parts, arrays, strict=True):
            whole[(index, *(slice(size) for size in array.shape[1:]))] = array
        leaves[name] = whole
    return Estimate(**leaves, **axes)
