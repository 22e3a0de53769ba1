"""The cell array: area of a cell, energy of switching its lines and of reading it, settling of its bit line.

Cell kinds are data (a float index into :data:`CELL_KINDS`), so that a sweep can mix them in one program.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from pimjax.arrays import like_host
from pimjax.circuit.component import Component, component
from pimjax.circuit.constants import Constants, Real, sourced, value

CELL_KINDS = ("pcm_8t4r", "rram_1t1r", "sram_6t", "sram_8t", "sram_charge")
"""Index = the `cell_kind` of a tile: HERMES's PCM cell, 1T1R, SRAM read in current, SRAM with a capacitor per cell."""

_NEUROSIM = "NeuroSim Param.cpp (SRAM cell size: 160 F2 above 22 nm, 300 at 14, 400 at 10, 600 at 7)"
SRAM_CELL_F2_NODES = (7.0, 10.0, 14.0, 22.0, 130.0)
SRAM_CELL_F2 = (600.0, 400.0, 300.0, 160.0, 160.0)

SRAM_LAYOUT = sourced(
    "cell_array.compute_layout_factor",
    2.0,
    "1",
    low=1.2,
    high=4.0,
    quality="U",
    source="assumed: compute cells are drawn to logic rules, not to the foundry's pushed memory rules",
)
RRAM_CELL_F2 = sourced(
    "cell_array.rram_1t1r_f2",
    40.0,
    "F2",
    low=16.0,
    high=130.0,
    quality="F",
    source="NeuroSim Param.cpp 1T1R cell 4 x 10 F (4 x 4 F in older versions)",
)
PCM_CELL_AREA = sourced(
    "cell_array.pcm_8t4r_area_um2",
    1.935,
    "um2",
    low=0.9,
    high=5.8,
    quality="D",
    source="HERMES 0.634 mm2 x (1 - s) / 65536 with s = 0.8 (0.4 gives 5.8); no published cell size",
)
LINE_CAPACITANCE = sourced(
    "cell_array.line_capacitance_ff",
    0.35,
    "fF",
    low=0.2,
    high=0.6,
    quality="F",
    source="ZigZag-IMC: word and bit line, per cell, at 28 nm; linear in the node",
)
COMPUTE_CAPACITANCE = sourced(
    "cell_array.compute_capacitance_ff",
    1.2,
    "fF",
    low=0.6,
    high=3.0,
    quality="U",
    source="metal-oxide-metal finger capacitor of a charge-domain cell, about 1 fF; matching-limited, not scaled",
)
CHARGE_ACTIVITY = sourced(
    "cell_array.charge_activity",
    0.25,
    "1",
    low=0.125,
    high=0.5,
    quality="D",
    source="charge redistribution over random bits draws C V^2 p (1 - p), at most 1/4",
)
BITLINE_SWING = sourced(
    "cell_array.bitline_swing",
    0.5,
    "1",
    low=0.2,
    high=1.0,
    quality="U",
    source="assumed: mean discharge of a current-domain SRAM bit line relative to the supply",
)
PCM_CONDUCTANCE = sourced(
    "cell_array.pcm_mean_conductance_us",
    12.5,
    "uS",
    low=3.0,
    high=25.0,
    quality="D",
    source="two conducting devices of a quarter of g_max = 25 uS each (aihwkit PCM model), read through the weight",
)
RRAM_CONDUCTANCE = sourced(
    "cell_array.rram_mean_conductance_us",
    10.0,
    "uS",
    low=2.0,
    high=30.0,
    quality="U",
    source="assumed: a quarter of a 40 uS on-state",
)
READ_VOLTAGE = sourced(
    "cell_array.read_voltage_v", 0.2, "V", low=0.1, high=0.4, quality="U", source="assumed read voltage across a device"
)


def sram_cell_area_um2(node_nm: Real) -> Real:
    """Area of a foundry 6T cell [um2], F^2 counts interpolated linearly in log(node).

    >>> round(float(sram_cell_area_um2(28.0)), 3)
    0.125
    """
    node = jnp.asarray(node_nm, jnp.result_type(node_nm, 0.0))
    count = jnp.interp(
        jnp.log(node),
        jnp.asarray(np.log(np.asarray(SRAM_CELL_F2_NODES)), node.dtype),
        jnp.asarray(SRAM_CELL_F2, node.dtype),
    )
    return count * node**2 * 1e-6


def select_kind(kind: Real, choices: list[Real]) -> Real:
    """The entry of `choices` that the float index `kind` names (nearest integer); NaN when it names none."""
    dtype = jnp.result_type(*choices)  # weak Python floats give way to the arrays they stand beside
    entries = jnp.broadcast_arrays(*[jnp.asarray(choice, dtype) for choice in choices])
    if like_host(kind) and np.ndim(kind) == 0:
        distances = np.abs(np.asarray(kind, np.float64) - np.arange(len(choices)))
        return entries[int(distances.argmin())] if distances.min() < 0.5 else jnp.full_like(entries[0], jnp.nan)
    kind = jnp.asarray(kind)
    conditions = [jnp.abs(kind - index) < 0.5 for index in range(len(choices))]
    return jnp.select(conditions, entries, jnp.nan)


@component(
    "cell",
    action="one cell taking part in one input cycle",
    node="SRAM cells 7 to 130 nm by F2 counts, line capacitance 28 nm linear in the node; PCM and RRAM not scaled",
    validity="32 to 2304 rows; resistive energy at the mean conductance",
    source=_NEUROSIM + "; ZigZag-IMC line capacitance; HERMES area",
    analog=True,
    constants=(
        SRAM_LAYOUT,
        RRAM_CELL_F2,
        PCM_CELL_AREA,
        LINE_CAPACITANCE,
        COMPUTE_CAPACITANCE,
        CHARGE_ACTIVITY,
        BITLINE_SWING,
        PCM_CONDUCTANCE,
        RRAM_CONDUCTANCE,
        READ_VOLTAGE,
    ),
    ranges={"rows": (32.0, 2304.0), "node_nm": (7.0, 130.0)},
)
def cell(
    kind: Real,
    *,
    cell_bits: Real,
    node_nm: Real,
    vdd_v: Real,
    read_ns: Real,
    activity: Real,
    constants: Constants | None = None,
) -> Component:
    """One cell of `kind` that stores `cell_bits`, read for `read_ns` with input `activity` in 0..1.

    An SRAM cell of b bits is b binary cells; a resistive cell stores its bits in one position. Energy: word-line
    C V^2 times activity, plus by kind the bit-line swing (SRAM), the compute capacitor (charge) or V^2 G t (resistive).

    >>> unit = cell(2.0, cell_bits=1.0, node_nm=28.0, vdd_v=0.9, read_ns=1.0, activity=0.5)
    >>> round(float(unit.area_mm2) * 1e6, 3)  # um2
    0.251
    """
    sram_um2 = sram_cell_area_um2(node_nm) * value(SRAM_LAYOUT, constants) * cell_bits
    rram_um2 = value(RRAM_CELL_F2, constants) * node_nm**2 * 1e-6
    pcm_um2 = value(PCM_CELL_AREA, constants)
    area_um2 = select_kind(kind, [pcm_um2, rram_um2, sram_um2, sram_um2 * 8 / 6, sram_um2 * 10 / 6])

    line_fj = value(LINE_CAPACITANCE, constants) * (node_nm / 28.0) * vdd_v**2
    word_line = line_fj * activity
    bit_line = line_fj * value(BITLINE_SWING, constants) * activity
    charge = (value(COMPUTE_CAPACITANCE, constants) * vdd_v**2 + line_fj) * value(CHARGE_ACTIVITY, constants)
    # V^2 [V2] x G [uS] x t [ns] = fJ
    ohmic = value(READ_VOLTAGE, constants) ** 2 * read_ns * activity
    pcm = ohmic * value(PCM_CONDUCTANCE, constants)
    rram = ohmic * value(RRAM_CONDUCTANCE, constants)
    by_kind = select_kind(kind, [pcm, rram, bit_line * cell_bits, bit_line * cell_bits, charge * cell_bits])
    return Component(area_um2 * 1e-6, (word_line + by_kind) * 1e-6, jnp.zeros_like(by_kind))
