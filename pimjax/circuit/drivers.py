"""Row and column drivers: the logic buffer of each line, and what turns a multi-bit input into a voltage or a pulse."""

from __future__ import annotations

import jax.numpy as jnp

from pimjax.circuit.adc_zigzag import dac_zigzag
from pimjax.circuit.cell_array import select_kind
from pimjax.circuit.component import Component, component
from pimjax.circuit.constants import Constants, Real, sourced, value
from pimjax.circuit.gates import NAND2_AREA, NAND2_CAPACITANCE, NAND2_DELAY
from pimjax.circuit.scaling import analog_area_factor, digital_area_factor, digital_delay_factor

DRIVER_GATES = sourced(
    "drivers.gates_per_line",
    8.0,
    "NAND2",
    low=4.0,
    high=30.0,
    quality="U",
    source="assumed: enable, level stage and a tapered buffer per line; CiMLoop scales driver area by 5 to 10",
)
DAC_AREA_PER_BIT = sourced(
    "drivers.dac_area_um2_per_bit",
    55.0,
    "um2",
    low=15.0,
    high=80.0,
    quality="M",
    source="438 um2 for 8 bits at 40 nm (Accelergy library brahms, Chen VLSI 2018); TIMELY DTC 240 um2 at 65 nm",
)
_TIMELY = "8-bit digital-to-time converter of TIMELY at 65 nm, Accelergy library timely"
PULSE_ENERGY = sourced("drivers.pulse_energy_pj", 0.0375, "pJ", low=0.01, high=0.15, quality="M", source=_TIMELY)
PULSE_AREA = sourced("drivers.pulse_area_um2", 240.0, "um2", low=100.0, high=480.0, quality="M", source=_TIMELY)
PULSE_NODE_NM = 65.0

INPUT_KINDS = ("voltage", "pulse", "serial")
"""Index = the `input_kind` of a tile: a DAC per row, a pulse generator per row, or bits one after another without either."""


@component(
    "pulse_generator",
    action="one pulse whose length or count is the row's input",
    node="65 nm; area by the explicit analog rule, energy unscaled (the source names no supply)",
    validity="2 to 8 bits; the published 8-bit figure at any of them, an upper bound",
    source=_TIMELY,
    analog=True,
    constants=(PULSE_ENERGY, PULSE_AREA),
    ranges={"bits": (1.0, 8.0)},
)
def pulse_generator(bits: Real, *, node_nm: Real, constants: Constants | None = None) -> Component:
    """Turns one row's input into a pulse; a one-bit input needs none (smooth step ``1 - b^-5``). Its time is the read's.

    >>> round(float(pulse_generator(8.0, node_nm=65.0).energy_nj) * 1e3, 4)  # pJ
    0.0375
    """
    present = 1.0 - jnp.asarray(bits) ** -5.0
    area = value(PULSE_AREA, constants) * analog_area_factor(node_nm, PULSE_NODE_NM, constants)
    energy = present * value(PULSE_ENERGY, constants) * 1e-3
    return Component(present * area * 1e-6, energy, jnp.zeros_like(energy))


@component(
    "row_driver",
    action="one input cycle of one row",
    node="logic 28 nm scaled by Stillmaker and Baas; DAC 40 nm, area by the explicit analog rule, energy unscaled",
    validity="1 to 8 bits per cycle",
    source="ZigZag-IMC DAC energy; Accelergy library brahms DAC area; driver gate count assumed",
    analog=True,
    constants=(DRIVER_GATES, DAC_AREA_PER_BIT),
    ranges={"bits": (1.0, 8.0)},
)
def row_driver(
    cycle_bits: Real,
    *,
    node_nm: Real,
    vdd_v: Real,
    activity: Real = 0.5,
    input_kind: Real = 0.0,
    constants: Constants | None = None,
) -> Component:
    """Driver of one row that applies `cycle_bits` per cycle in the way of `input_kind`; one bit needs no converter.

    >>> one_bit = row_driver(1.0, node_nm=28.0, vdd_v=0.9)
    >>> round(float(one_bit.area_mm2) * 1e6, 3)  # um2: 8 gates
    4.912
    """
    cycle_bits = jnp.asarray(cycle_bits)
    gates = value(DRIVER_GATES, constants)
    logic_um2 = gates * value(NAND2_AREA, constants) * digital_area_factor(node_nm, 28.0)
    # The same smooth step as the DAC's energy: nothing at one bit, b from two bits on.
    dac_um2 = value(DAC_AREA_PER_BIT, constants) * (cycle_bits - cycle_bits**-4.0)
    dac_um2 = dac_um2 * analog_area_factor(node_nm, 40.0, constants)
    pulse = pulse_generator(cycle_bits, node_nm=node_nm, constants=constants)
    logic_fj = gates * value(NAND2_CAPACITANCE, constants) * (node_nm / 28.0) * vdd_v**2 * activity
    dac = dac_zigzag(cycle_bits, vdd_v=vdd_v, constants=constants)
    delay = 4.0 * value(NAND2_DELAY, constants) * digital_delay_factor(node_nm, 28.0)
    input_area = select_kind(input_kind, [dac_um2 * 1e-6, pulse.area_mm2, 0.0])
    input_energy = select_kind(input_kind, [dac.energy_nj, pulse.energy_nj, 0.0])
    return Component(logic_um2 * 1e-6 + input_area, logic_fj * 1e-6 + input_energy, delay)
