"""Registers of a tile: double-buffered inputs and the output register behind each shift-add."""

from __future__ import annotations

from pimjax.circuit.component import Component, component
from pimjax.circuit.constants import Constants, Real
from pimjax.circuit.gates import flip_flop


@component(
    "register",
    action="one word written",
    node="28 nm gates, scaled",
    validity="any width",
    source="flip-flop count (ZigZag-IMC gate set); Accelergy library aladdin has 0.009 pJ, 5.98 um2 per bit at 40 nm",
    analog=False,
)
def register(bits: Real, *, node_nm: Real, vdd_v: Real, constants: Constants | None = None) -> Component:
    """A register of `bits` flip-flops.

    >>> round(float(register(8.0, node_nm=28.0, vdd_v=0.9).area_mm2) * 1e6, 2)  # um2
    29.47
    """
    unit = flip_flop(node_nm=node_nm, vdd_v=vdd_v, constants=constants)
    return Component(bits * unit.area_mm2, bits * unit.energy_nj, unit.latency_ns)
