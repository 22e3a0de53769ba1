"""Standard-cell logic: the 28 nm gate set that every digital component counts in.

Source of the set: ZigZag-IMC ``imc_unit.py`` (28 nm, 0.9 V): NAND2 0.614 um2, 0.7 fF, 0.0478 ns; XOR2 2.4 x area and
delay, 1.5 x capacitance; flip-flop 6 x area, 3 x capacitance; a full adder is 3 NAND2 and 2 XOR2. Other nodes by
:mod:`pimjax.circuit.scaling` (area: Stillmaker and Baas; capacitance: linear in the node; energy C V^2).
"""

from __future__ import annotations

from pimjax.circuit.component import Component, component
from pimjax.circuit.constants import Constants, Real, sourced, value
from pimjax.circuit.scaling import digital_area_factor, digital_delay_factor

GATE_NODE_NM = 28.0
XOR2_AREA_AND_DELAY = 2.4
XOR2_CAPACITANCE = 1.5
FLIP_FLOP_AREA = 6.0
FLIP_FLOP_CAPACITANCE = 3.0
NANDS_PER_ADDER, XORS_PER_ADDER = 3.0, 2.0
LOGIC_RANGES = {"node_nm": (7.0, 130.0), "vdd_v": (0.5, 1.3)}

_ZIGZAG = "ZigZag-IMC imc_unit.py, 28 nm gate set"
NAND2_AREA = sourced("digital.nand2_area_um2", 0.614, "um2", low=0.4, high=0.9, quality="F", source=_ZIGZAG)
NAND2_CAPACITANCE = sourced("digital.nand2_capacitance_ff", 0.7, "fF", low=0.45, high=1.1, quality="F", source=_ZIGZAG)
NAND2_DELAY = sourced("digital.nand2_delay_ns", 0.0478, "ns", low=0.02, high=0.08, quality="F", source=_ZIGZAG)
ADDER_ACTIVITY = sourced(
    "digital.adder_activity",
    0.15,
    "1",
    low=0.1,
    high=0.5,
    quality="M",
    source="NeuroSim Param.cpp (validated on a 40 nm RRAM macro); ZigZag-IMC counts 0.5",
)
FLIP_FLOP_ACTIVITY = sourced(
    "digital.flip_flop_activity",
    0.5,
    "1",
    low=0.25,
    high=1.0,
    quality="M",
    source="NeuroSim Param.cpp (validated on a 40 nm RRAM macro)",
)


def _capacitance_pj(vdd_v: Real, node_nm: Real, constants: Constants | None) -> Real:
    """Energy C V^2 of one NAND2 [pJ]."""
    femtofarad = value(NAND2_CAPACITANCE, constants) * (node_nm / GATE_NODE_NM)
    return femtofarad * 1e-3 * vdd_v**2


@component(
    "full_adder",
    action="one 1-bit addition",
    node="28 nm, scaled by Stillmaker and Baas (area), linearly (capacitance, delay)",
    validity="7 to 130 nm, 0.5 to 1.3 V",
    source=_ZIGZAG,
    analog=False,
    constants=(NAND2_AREA, NAND2_CAPACITANCE, NAND2_DELAY, ADDER_ACTIVITY),
    ranges=LOGIC_RANGES,
)
def full_adder(*, node_nm: Real, vdd_v: Real, constants: Constants | None = None) -> Component:
    """One-bit full adder.

    >>> round(float(full_adder(node_nm=28.0, vdd_v=0.9).area_mm2) * 1e6, 4)  # um2
    4.7892
    """
    cells = NANDS_PER_ADDER + XORS_PER_ADDER * XOR2_AREA_AND_DELAY
    load = NANDS_PER_ADDER + XORS_PER_ADDER * XOR2_CAPACITANCE
    area = cells * value(NAND2_AREA, constants) * 1e-6 * digital_area_factor(node_nm, GATE_NODE_NM)
    energy = load * value(ADDER_ACTIVITY, constants) * _capacitance_pj(vdd_v, node_nm, constants) * 1e-3
    delay = 2.0 * value(NAND2_DELAY, constants) * digital_delay_factor(node_nm, GATE_NODE_NM)
    return Component(area, energy, delay)


@component(
    "flip_flop",
    action="one clock edge",
    node="28 nm, scaled by Stillmaker and Baas (area), linearly (capacitance, delay)",
    validity="7 to 130 nm, 0.5 to 1.3 V",
    source=_ZIGZAG,
    analog=False,
    constants=(NAND2_AREA, NAND2_CAPACITANCE, NAND2_DELAY, FLIP_FLOP_ACTIVITY),
    ranges=LOGIC_RANGES,
)
def flip_flop(*, node_nm: Real, vdd_v: Real, constants: Constants | None = None) -> Component:
    """One-bit register.

    >>> round(float(flip_flop(node_nm=28.0, vdd_v=0.9).area_mm2) * 1e6, 3)  # um2
    3.684
    """
    area = FLIP_FLOP_AREA * value(NAND2_AREA, constants) * 1e-6 * digital_area_factor(node_nm, GATE_NODE_NM)
    switching = value(FLIP_FLOP_ACTIVITY, constants) * _capacitance_pj(vdd_v, node_nm, constants)
    delay = 2.0 * value(NAND2_DELAY, constants) * digital_delay_factor(node_nm, GATE_NODE_NM)
    return Component(area, FLIP_FLOP_CAPACITANCE * switching * 1e-3, delay)
