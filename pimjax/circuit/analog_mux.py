"""Analog multiplexers: columns that take turns at one converter, and crossbars that share a peripheral set."""

from __future__ import annotations

import math

import jax.numpy as jnp

from pimjax.circuit.component import Component, component
from pimjax.circuit.constants import Constants, Real, sourced, value

MUX_AREA = sourced(
    "analog_mux.switch_area_um2",
    2.0,
    "um2",
    low=0.5,
    high=8.0,
    quality="U",
    source="assumed: transmission gate with its driver, per line, 14 nm",
)
ON_RESISTANCE = sourced("analog_mux.on_resistance_kohm", 1.0, "kOhm", low=0.3, high=5.0, quality="U", source="assumed")
LINE_CAPACITANCE = sourced(
    "analog_mux.line_capacitance_pf", 0.25, "pF", low=0.05, high=1.0, quality="U", source="assumed shared line"
)
SWITCH_CAPACITANCE = sourced(
    "analog_mux.switch_capacitance_ff", 5.0, "fF", low=1.0, high=20.0, quality="U", source="assumed, per open switch"
)


@component(
    "analog_mux",
    action="one change of the connected line, settled to half an LSB",
    node="14 nm assumption, not scaled",
    validity="2 to 64 ways",
    source="RC settling; all element values assumed",
    analog=True,
    constants=(MUX_AREA, ON_RESISTANCE, LINE_CAPACITANCE, SWITCH_CAPACITANCE),
    ranges={"ways": (2.0, 64.0)},
)
def analog_mux(
    ways: Real,
    *,
    adc_bits: Real,
    vdd_v: Real = 0.8,
    constants: Constants | None = None,
) -> Component:
    """One `ways`-way multiplexer; one way means a wire: no area, no energy, no time (a step at `ways` = 1).

    Latency ``ln 2 (b + 1) R_on (C_line + ways C_switch)``, area `ways` switches, energy C V^2 of the switches.

    >>> round(float(analog_mux(2.0, adc_bits=8.0).latency_ns), 3)
    1.622
    """
    ways = jnp.asarray(ways)
    present = jnp.where(ways > 1.0, 1.0, 0.0)
    capacitance_ff = value(LINE_CAPACITANCE, constants) * 1e3 + ways * value(SWITCH_CAPACITANCE, constants)
    settle = math.log(2.0) * (adc_bits + 1.0) * value(ON_RESISTANCE, constants) * capacitance_ff * 1e-3
    area = ways * value(MUX_AREA, constants) * 1e-6
    energy = 2.0 * value(SWITCH_CAPACITANCE, constants) * vdd_v**2 * 1e-6
    return Component(present * area, present * energy, present * settle)
