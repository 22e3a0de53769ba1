"""A tile (crossbar with its periphery) from its parts.

:func:`parametric_tile` adds up counted components from rows, columns, bits, columns per converter, node and supply: an
analog array with converters (:data:`PARTS`), or a digital SRAM macro (:mod:`pimjax.circuit.digital_sram`). The measured tile and the scales that tie both together are in :mod:`pimjax.circuit.hermes`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from pimjax import checks
from pimjax.circuit.accumulators import shift_add
from pimjax.circuit.adc import ADC_KINDS, adc, bitline_settling_ns, read_time_ns
from pimjax.circuit.analog_mux import analog_mux
from pimjax.circuit.cell_array import CELL_KINDS, cell
from pimjax.circuit.component import CONSTANTS_RULE, Component
from pimjax.circuit.constants import Constants, Real, sourced, value
from pimjax.circuit.digital_sram import DIGITAL_PARTS, digital_rows
from pimjax.circuit.drivers import row_driver
from pimjax.circuit.registers import register
from pimjax.circuit.sample_hold import sample_hold
from pimjax.errors import ConfigError

PARTS = (
    "cells",
    "row_drivers",
    "sample_hold",
    "column_mux",
    "adc",
    "shift_add",
    "registers",
    "wiring_control",
)
"""Entries of the `part_*` arrays of an analog tile's :class:`TileCost`; letter P."""
COMPUTE_KINDS = {"analog": PARTS, "digital": DIGITAL_PARTS}
"""Ways to multiply, and the parts of a tile that does."""

WIRING_AREA = sourced(
    "tile.wiring_area_factor",
    1.44,
    "1",
    low=1.2,
    high=2.0,
    quality="U",
    source="NeuroSim Param.cpp alpha, validated on a 40 nm RRAM macro for the wiring of level shifters; assumed for all "
    "counted logic, not for cells (their F2 counts and shares contain the lines)",
)
CONTROL_ENERGY = sourced(
    "tile.control_energy_factor",
    1.2,
    "1",
    low=1.05,
    high=1.6,
    quality="U",
    source="assumed: clock and control on top of the counted parts (converters contain theirs); NeuroSim Param.cpp "
    "zeta 1.22, energy added by layout",
)


@struct.dataclass
class TileParameters:
    """What a tile is made of; every leaf is a float, so that all of it can be swept and differentiated.

    Attributes:
      rows, cols: crossbar positions (a position holds `cell_bits` bits).
      active_rows: rows driven at once; ``rows / active_rows`` row groups follow each other.
      input_bits, cycle_bits: bits of one input, and of them per input cycle.
      input_kind: index into ``INPUT_KINDS``: how a row applies an input of several bits.
      cell_bits: bits per position; SRAM needs one binary cell each, resistive cells store them in one.
      cell_kind: index into ``CELL_KINDS``.
      cell_group: stored positions behind each computing one, of which one is connected at a time (weights of several
        matrices in one array); they cost area and nothing per product.
      product_bits: digital tiles: bits of a cycle that one product takes: 1, or 2 with radix-4 Booth recoding.
      adc_bits, columns_per_adc, adc_rate_gsps: converter resolution [bit], columns that take turns at one
        converter, and its rate [GS/s] (only the survey model uses the rate).
      adc_kind: index into ``ADC_KINDS``.
      node_nm, vdd_v: technology [nm] and supply [V].
      input_activity: mean driven fraction of the rows, 0 to 1.
      group_size: crossbars that share one peripheral set (g).
      cell_area_scale ... latency_scale: calibration factors; 1 is the uncalibrated model,
        :func:`pimjax.circuit.hermes.hermes_tile` returns those of the HERMES core.
      compute: static, one of ``COMPUTE_KINDS``. "digital": `cell_bits` are the bits of a weight, `active_rows` rows
        compute at once, and nothing of converters is read.
    """

    rows: Real = 256.0
    cols: Real = 256.0
    active_rows: Real = 256.0
    input_bits: Real = 8.0
    cycle_bits: Real = 8.0
    input_kind: Real = 0.0
    cell_bits: Real = 1.0
    cell_kind: Real = float(CELL_KINDS.index("pcm_8t4r"))
    cell_group: Real = 1.0
    product_bits: Real = 1.0
    adc_bits: Real = 8.0
    columns_per_adc: Real = 1.0
    adc_rate_gsps: Real = 7.7e-3
    adc_kind: Real = float(ADC_KINDS.index("hermes_cco"))
    node_nm: Real = 14.0
    vdd_v: Real = 0.8
    input_activity: Real = 0.5
    group_size: Real = 1.0
    cell_area_scale: Real = 1.0
    adc_area_scale: Real = 1.0
    other_area_scale: Real = 1.0
    cell_energy_scale: Real = 1.0
    adc_energy_scale: Real = 1.0
    other_energy_scale: Real = 1.0
    latency_scale: Real = 1.0
    compute: str = struct.field(pytree_node=False, default="analog")


@struct.dataclass
class TileCost:
    """Cost of one tile and of one full-precision MVM on it.

    Attributes:
      mvm_latency_ns, mvm_energy_nj: one MVM of `rows` inputs by `cols` columns, without the group mux.
      core_area_mm2: one crossbar with its own periphery (g = 1).
      shareable_fraction: s, the part of `core_area_mm2` that a group shares: everything but the cells.
      mux_latency_ns, mux_area_mm2, mux_energy_nj: added per MVM, per crossbar and per MVM when g > 1; 0 at g = 1.
      crossbar_area_mm2: area per crossbar at the given g: ``core ((1 - s) + s / g) + mux``.
      part_count, part_area_mm2, part_energy_nj, part_latency_ns [P]: by ``COMPUTE_KINDS[compute]``, after scales; the last three sum
        to the totals.
    """

    mvm_latency_ns: Real
    mvm_energy_nj: Real
    core_area_mm2: Real
    shareable_fraction: Real
    mux_latency_ns: Real
    mux_area_mm2: Real
    mux_energy_nj: Real
    crossbar_area_mm2: Real
    part_count: jax.Array
    part_area_mm2: jax.Array
    part_energy_nj: jax.Array
    part_latency_ns: jax.Array


def _common_dtype(parameters: TileParameters) -> TileParameters:
    dtype = jnp.result_type(*jax.tree.leaves(parameters))
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    made = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), parameters)
    # a kind that is known before tracing stays as it is: a program then has its formulas alone
    kinds = {name: getattr(parameters, name) for name in ("cell_kind", "input_kind")}
    return made.replace(**{name: kind for name, kind in kinds.items() if isinstance(kind, float)})


def _group_mux(p: TileParameters, constants: Constants | None) -> Component:
    """Mux of one crossbar in a group: every row and column line has one switch; one settling per MVM, of a digital
    line to a level."""
    bits = p.adc_bits if p.compute == "analog" else jnp.zeros_like(p.adc_bits)
    one = analog_mux(p.group_size, adc_bits=bits, vdd_v=p.vdd_v, constants=constants)
    lines = p.rows + p.cols
    return Component(lines * one.area_mm2 / p.group_size, lines * one.energy_nj, one.latency_ns)


@checks.checked(
    ConfigError,
    parameters=checks.instance(TileParameters, "TileParameters"),
    exact=checks.flag,
    constants=CONSTANTS_RULE,
)
def parametric_tile(parameters: TileParameters, *, exact: bool = False, constants: Constants | None = None) -> TileCost:
    """Cost of a tile from its parts. Kernel: pure, unbatched, jit/vmap/grad, in the dtype of `parameters`.

    Args:
      parameters: float leaves; see :class:`TileParameters`.
      exact: static; whole input cycles, row groups and converters (``ceil``) and the piecewise ADC laws. The default is smooth in
        every continuous parameter; both agree where the quotients and bits are whole.
      constants: overrides of sourced constants by name.

    Returns:
      :class:`TileCost`. Differentiable in everything but the kinds (gradient 0); presence steps at
      ``columns_per_adc``, ``group_size`` and reads = 1 have zero gradient across the step.

    >>> wide, narrow = (parametric_tile(TileParameters(columns_per_adc=n)) for n in (1.0, 8.0))
    >>> bool(narrow.core_area_mm2 < wide.core_area_mm2), bool(narrow.mvm_latency_ns > wide.mvm_latency_ns)
    (True, True)
    """
    p = _common_dtype(parameters)
    if p.compute not in COMPUTE_KINDS:
        raise ConfigError(f"compute is {p.compute!r}; it must be one of {', '.join(COMPUTE_KINDS)}")
    make = _analog_rows if p.compute == "analog" else digital_rows
    return _assembled(p, make(p, exact=exact, constants=constants), constants)


def _analog_rows(p: TileParameters, *, exact: bool, constants: Constants | None) -> dict[str, tuple[Any, ...]]:
    """Count, unit area [mm2], energy [nJ] and critical-path time [ns] per product of each part but the wiring."""
    quotient = jnp.ceil if exact else jnp.asarray
    cycles = quotient(p.input_bits / p.cycle_bits)
    row_groups = quotient(p.rows / p.active_rows)
    reads = jnp.asarray(cycles * row_groups)
    shared = jnp.minimum(p.columns_per_adc, p.cols)  # a converter reads no more columns than there are
    adcs = quotient(p.cols / shared)
    turns = jnp.where(p.columns_per_adc > 1.0, 1.0, 0.0)
    serial = jnp.where(reads > 1.0, 1.0, 0.0)
    digital = {"node_nm": p.node_nm, "vdd_v": p.vdd_v, "constants": constants}

    settling = bitline_settling_ns(p.rows, adc_bits=p.adc_bits, node_nm=p.node_nm, constants=constants)
    read_ns = read_time_ns(p.adc_kind, cycle_bits=p.cycle_bits, settling_ns=settling, constants=constants)
    unit_cell = cell(
        p.cell_kind,
        cell_bits=p.cell_bits,
        node_nm=p.node_nm,
        vdd_v=p.vdd_v,
        read_ns=read_ns,
        activity=p.input_activity,
        constants=constants,
    )
    driver = row_driver(p.cycle_bits, activity=p.input_activity, input_kind=p.input_kind, **digital)
    hold = sample_hold(p.adc_bits, vdd_v=p.vdd_v, exact=exact, constants=constants)
    mux = analog_mux(p.columns_per_adc, adc_bits=p.adc_bits, vdd_v=p.vdd_v, constants=constants)
    converter = adc(
        p.adc_kind,
        p.adc_bits,
        rows=p.active_rows,
        cycle_bits=p.cycle_bits,
        rate_gsps=p.adc_rate_gsps,
        node_nm=p.node_nm,
        vdd_v=p.vdd_v,
        settling_ns=settling,
        exact=exact,
        constants=constants,
    )
    result_bits = p.adc_bits + p.input_bits
    adder = shift_add(result_bits, **digital)
    input_word = register(p.input_bits, **digital)
    output_word = register(result_bits, **digital)

    conversions = reads * p.cols
    zero = jnp.zeros_like(p.rows)
    # part: count, area, energy and critical-path time per MVM
    rows = {
        "cells": (
            p.rows * p.cols * p.cell_group,
            unit_cell.area_mm2,
            cycles * p.rows * p.cols * unit_cell.energy_nj,
            zero,
        ),
        "row_drivers": (
            p.rows,
            driver.area_mm2,
            cycles * p.rows * driver.energy_nj,
            reads * driver.latency_ns,
        ),
        "sample_hold": (
            turns * p.cols,
            hold.area_mm2,
            turns * conversions * hold.energy_nj,
            turns * reads * hold.latency_ns,
        ),
        "column_mux": (
            turns * adcs,
            mux.area_mm2,
            turns * conversions * mux.energy_nj,
            reads * shared * mux.latency_ns,
        ),
        "adc": (
            adcs,
            converter.area_mm2,
            conversions * converter.energy_nj,
            reads * shared * converter.latency_ns,
        ),
        "shift_add": (
            serial * adcs,
            adder.area_mm2,
            serial * conversions * adder.energy_nj,
            serial * adder.latency_ns,
        ),
    }
    register_bits = 2.0 * p.rows * p.input_bits + p.cols * result_bits
    register_area = 2.0 * p.rows * input_word.area_mm2 + p.cols * output_word.area_mm2
    register_energy = p.rows * input_word.energy_nj + p.cols * output_word.energy_nj
    rows["registers"] = (register_bits, register_area / register_bits, jnp.asarray(register_energy), zero)
    return rows


def _assembled(p: TileParameters, rows: dict[str, tuple[Any, ...]], constants: Constants | None) -> TileCost:
    """The tile of counted parts: scales, wiring and control, and what a group shares."""
    groups = {"cells": "cell", "adc": "adc"}
    counts, areas, energies, times = [], [], [], []
    for part, (count, area, energy, time) in rows.items():
        group = groups.get(part, "other")
        counts.append(count)
        areas.append(count * area * getattr(p, f"{group}_area_scale"))
        energies.append(energy * getattr(p, f"{group}_energy_scale"))
        times.append(time * p.latency_scale)
    # Converter figures come from silicon that contains its wiring, clocks and references; the counted parts do not.
    # The area of a cell is that of its place in an array: its word and bit lines run over it.
    wiring = value(WIRING_AREA, constants)
    control = value(CONTROL_ENERGY, constants)
    cells = list(rows).index("cells")
    bare_area = sum(areas) - areas[cells]
    bare_energy = sum(energies)
    if "adc" in rows:
        converters = list(rows).index("adc")
        bare_area, bare_energy = sum(areas) - areas[converters] - areas[cells], bare_energy - energies[converters]
    counts.append(jnp.ones_like(p.rows))
    areas.append((wiring - 1.0) * bare_area)
    energies.append((control - 1.0) * bare_energy)
    times.append(jnp.zeros_like(p.rows))

    part_area = jnp.stack(areas)
    core_area = jnp.sum(part_area)
    shareable = 1.0 - areas[cells] / core_area
    group_mux = _group_mux(p, constants)
    return TileCost(
        mvm_latency_ns=sum(times),
        mvm_energy_nj=sum(energies),
        core_area_mm2=core_area,
        shareable_fraction=shareable,
        mux_latency_ns=group_mux.latency_ns,
        mux_area_mm2=group_mux.area_mm2,
        mux_energy_nj=group_mux.energy_nj,
        crossbar_area_mm2=core_area * (1.0 - shareable + shareable / p.group_size) + group_mux.area_mm2,
        part_count=jnp.stack(counts),
        part_area_mm2=part_area,
        part_energy_nj=jnp.stack(energies),
        part_latency_ns=jnp.stack(times),
    )


compiled_tile = jax.jit(parametric_tile, static_argnames="exact")
"""The kernel compiled once per dtype, for host callers that evaluate single designs."""
