"""The crossbar core: the measured one, one computed from circuit parameters, or a digital SRAM macro (`plan.tile`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pimjax import arrays
from pimjax.array_typing import AnyArray, ArrayLike
from pimjax.circuit.cell_array import CELL_KINDS
from pimjax.circuit.hermes import hermes_tile
from pimjax.circuit.sanity import least_cost, tile_violations
from pimjax.circuit.tile import TileParameters, compiled_tile, parametric_tile
from pimjax.circuit.uncertainty import used_constants
from pimjax.config.build import Design
from pimjax.config.plan import TILE_KINDS
from pimjax.runs.point import Point, point_of

#: `plan.adc` (survey, zigzag, hermes, table) -> index into `pimjax.circuit.adc.ADC_KINDS` (table: its first entry).
_CIRCUIT_ADC = (0, 1, 2, 3)


class Core(NamedTuple):
    """One crossbar with its own peripherals; float scalars."""

    mvm_latency_ns: ArrayLike
    mvm_energy_nj: ArrayLike
    area_mm2: ArrayLike
    shareable_fraction: ArrayLike
    settled_bits: ArrayLike  # to whose precision a line of the sharing multiplexer settles; 0: to a level
    impossible: ArrayLike  # bool: beyond a physical limit (:mod:`pimjax.circuit.sanity`)


def core(design: Design | Point, tile_kinds: tuple[str, ...] | None = None) -> Core:
    """Cost of one crossbar and of one matrix-vector product on it, all input cycles included.

    `calibrated`: the numbers of the hardware section. `parametric`: :func:`pimjax.circuit.tile.parametric_tile`
    with the scales that put it on the HERMES core, at the design's rows, columns, ADC, node and supply. Serial input
    bits (`input_cycles`) and the phases of a read (`read_phases`) multiply latency and energy of both. `digital_sram`:
    the digital macro of the same function at the design's rows, columns, bits, node and supply.

    Args:
        design: leaves scalars.
        tile_kinds: static, `Capacity.tile_kinds`: what `plan.tile` may be; of several the design's own is chosen. None:
            the design's own where its numbers are known now, else any.

    >>> from pimjax.config.build import build
    >>> from pimjax.config.config import Config
    >>> round(float(core(build(Config())[0]).mvm_latency_ns), 3)
    130.0
    """
    point = point_of(design)
    kinds = tile_kinds or _known_kind(point) or TILE_KINDS
    made = {"calibrated": _measured, "parametric": _computed, "digital_sram": digital_core}
    chosen = made[kinds[0]](point)
    for kind in kinds[1:]:
        mine = point.design.plan.tile == TILE_KINDS.index(kind)
        chosen = Core(*(arrays.where(mine, a, b) for a, b in zip(made[kind](point), chosen, strict=True)))
    return chosen


def other_tile(point: Point, tile_kinds: tuple[str, ...]) -> AnyArray | bool:
    """Whether `plan.tile` is none of `tile_kinds`: then :func:`core` is not this design's."""
    if set(tile_kinds) == set(TILE_KINDS):
        return False
    mine = [point.design.plan.tile == TILE_KINDS.index(kind) for kind in tile_kinds]
    return ~(mine[0] if len(mine) == 1 else arrays.stack(mine).any(0))


def _known_kind(point: Point) -> tuple[str, ...] | None:
    kind = point.design.plan.tile
    return None if isinstance(kind, jax.core.Tracer) else (TILE_KINDS[int(np.asarray(kind))],)


def _measured(point: Point) -> Core:
    hardware = point.hardware
    figures = (hardware.mvm_latency_ns, hardware.mvm_energy_nj, hardware.core_area_mm2)
    least = least_cost(hardware.crossbar_rows, hardware.crossbar_cols, hardware.node_nm)
    latency, energy, area = (figure < limit for figure, limit in zip(figures, least, strict=True))
    return _every_cycle(point, Core(*figures, hardware.shareable_fraction, hardware.adc_bits, latency | energy | area))


def _computed(point: Point) -> Core:
    return _every_cycle(point, _of_parts(point, _parameters(point), point.hardware.adc_bits))


def _every_cycle(point: Point, core: Core) -> Core:
    """A core that repeats a product for each input cycle and phase."""
    cycles = point.hardware.input_cycles * point.hardware.read_phases
    return core._replace(mvm_latency_ns=cycles * core.mvm_latency_ns, mvm_energy_nj=cycles * core.mvm_energy_nj)


def digital_core(point: Point) -> Core:
    """A digital SRAM macro as large as a crossbar: all bits of its weights, all cycles of its inputs."""
    return _of_parts(point, _digital_parameters(point), 0.0 * point.hardware.adc_bits)


def _of_parts(point: Point, parameters: TileParameters, settled_bits: ArrayLike) -> Core:
    if point.device:
        parts = parametric_tile(parameters, constants=point.constants)
        impossible = tile_violations(parameters, parts).any()
    else:
        with jax.enable_x64(True):
            parts = jax.tree.map(np.asarray, compiled_tile(parameters, constants=point.constants))
            impossible = np.asarray(tile_violations(parameters, parts)).any()
    figures = (parts.mvm_latency_ns, parts.mvm_energy_nj, parts.core_area_mm2, parts.shareable_fraction)
    return Core(*figures, settled_bits, impossible)


def tile_parameters(design: Design | Point, *, digital: bool = False) -> TileParameters:
    """The parametric tile at the design's rows, columns, ADC, node and supply, with the scales of the HERMES core; or its
    digital macro.

    >>> from pimjax.config.build import build
    >>> from pimjax.config.config import Config
    >>> float(tile_parameters(build(Config())[0]).rows)
    256.0
    """
    point = point_of(design)
    return _digital_parameters(point) if digital else _parameters(point)


def constants_read(design: Design | Point, *, macros: bool = False) -> tuple[str, ...]:
    """Constants of circuits that a design's core follows from, and its digital macros if it has `macros`. Host.

    >>> from pimjax.config.build import build
    >>> from pimjax.config.config import Config
    >>> constants_read(build(Config())[0])
    ()
    """
    point = point_of(design)
    kind = TILE_KINDS[int(np.asarray(point.design.plan.tile))]
    made = [] if kind == "calibrated" else [tile_parameters(point, digital=kind == "digital_sram")]
    if macros:
        made.append(tile_parameters(point, digital=True))

    def energies(constants: Mapping[str, Any]) -> dict[str, Any]:
        parts = [parametric_tile(parameters, constants=constants) for parameters in made]
        return {str(index): part.mvm_energy_nj for index, part in enumerate(parts)}

    return used_constants(energies)


def _digital_parameters(point: Point) -> TileParameters:
    hardware = point.hardware
    parameters = TileParameters(
        rows=hardware.crossbar_rows,
        cols=hardware.crossbar_cols,
        active_rows=arrays.smaller(hardware.digital_active_rows, hardware.crossbar_rows),
        input_bits=hardware.input_bits,
        cycle_bits=arrays.smaller(hardware.digital_cycle_bits, hardware.input_bits),
        cell_bits=hardware.weight_bits,
        cell_kind=float(CELL_KINDS.index("sram_6t")),
        node_nm=hardware.node_nm,
        vdd_v=hardware.supply_v,
        compute="digital",
    )
    return _numbers(point, parameters)


def _numbers(point: Point, parameters: TileParameters) -> TileParameters:
    """The parameters in the design's numbers; the kinds of cell and input are known and stay as they are."""
    return point.real(parameters).replace(cell_kind=parameters.cell_kind, input_kind=parameters.input_kind)


def _parameters(point: Point) -> TileParameters:
    hardware = point.hardware
    with jax.ensure_compile_time_eval():
        reference = hermes_tile()
    kinds = np.asarray(_CIRCUIT_ADC, float)
    parameters = dataclasses.replace(
        reference,
        rows=hardware.crossbar_rows,
        cols=hardware.crossbar_cols,
        active_rows=hardware.crossbar_rows,
        adc_bits=hardware.adc_bits,
        columns_per_adc=hardware.columns_per_adc,
        adc_kind=(jnp.asarray(kinds, point.dtype) if point.device else kinds)[point.design.plan.adc],
        node_nm=hardware.node_nm,
        vdd_v=hardware.supply_v,
    )
    return _numbers(point, parameters)
