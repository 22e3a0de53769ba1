"""Closed-form ADC and DAC of ZigZag-IMC, fitted there on three fabricated SRAM macros (22 and 28 nm).

ADC: A [mm2] = 1e-6 x 2^b x 10^(1.206 - 0.0369 b) for b >= 2 (0 below); t [ns] = b (0.00653 rows + 0.640);
E [fJ] = (100 b + 0.001 x 4^b) V^2. DAC: E [pJ] = 0.050 b V^2, nothing for one-bit inputs; area and delay neglected.
Source: ZigZag ``zigzag/hardware/architecture/imc_array.py`` (get_adc_cost, get_dac_cost).
"""

from __future__ import annotations

import jax.numpy as jnp

from pimjax.circuit.component import Component, component
from pimjax.circuit.constants import Constants, Real, sourced, value

_ZIGZAG = "ZigZag-IMC imc_array.py, fitted on three SRAM AIMC macros in 22-28 nm"
ENERGY_SPREAD = sourced("adc_zigzag.energy_factor", 1.0, "1", low=0.4, high=2.5, quality="F", source=_ZIGZAG)
AREA_SPREAD = sourced("adc_zigzag.area_factor", 1.0, "1", low=0.5, high=2.0, quality="F", source=_ZIGZAG)
DELAY_PER_ROW = sourced(
    "adc_zigzag.delay_per_row_ns", 0.00653, "ns per bit and row", low=0.003, high=0.012, quality="F", source=_ZIGZAG
)
DELAY_PER_BIT = sourced(
    "adc_zigzag.delay_per_bit_ns", 0.640, "ns per bit", low=0.3, high=1.2, quality="F", source=_ZIGZAG
)
DAC_ENERGY_PER_BIT = sourced(
    "adc_zigzag.dac_energy_pj_per_bit", 0.050, "pJ/V2 per bit", low=0.02, high=0.1, quality="F", source=_ZIGZAG
)

AREA_SLOPE, AREA_INTERCEPT = -0.0369, 1.206
LINEAR_CAPACITANCE_FF, MATCHING_CAPACITANCE_FF = 100.0, 0.001
FIT_NODES_NM = (22.0, 28.0)
"""Nodes of the macros that the constants were fitted on [nm]."""


@component(
    "adc_zigzag",
    action="one conversion",
    node="28 nm (fit on 22 and 28 nm); not scaled here",
    validity="2 to 10 bits, bit lines of 32 to 1024 rows",
    source=_ZIGZAG,
    analog=True,
    constants=(ENERGY_SPREAD, AREA_SPREAD, DELAY_PER_ROW, DELAY_PER_BIT),
    ranges={"bits": (2.0, 10.0), "rows": (32.0, 1024.0), "node_nm": FIT_NODES_NM},
)
def adc_zigzag(bits: Real, *, rows: Real, vdd_v: Real, constants: Constants | None = None) -> Component:
    """One converter of `bits` on a bit line of `rows` cells at `vdd_v` [V]. Smooth in all arguments for bits >= 2.

    >>> unit = adc_zigzag(8.0, rows=256.0, vdd_v=0.9)
    >>> [round(float(x), 3) for x in (unit.area_mm2 * 1e6, unit.energy_nj * 1e3, unit.latency_ns)]
    [2084.683, 0.701, 18.493]
    """
    bits = jnp.asarray(bits)
    area = 1e-6 * jnp.exp2(bits) * 10.0 ** (AREA_SLOPE * bits + AREA_INTERCEPT)
    area = jnp.where(bits >= 2.0, area, 0.0) * value(AREA_SPREAD, constants)
    energy_fj = (LINEAR_CAPACITANCE_FF * bits + MATCHING_CAPACITANCE_FF * 4.0**bits) * vdd_v**2
    delay = bits * (value(DELAY_PER_ROW, constants) * rows + value(DELAY_PER_BIT, constants))
    return Component(area, energy_fj * 1e-6 * value(ENERGY_SPREAD, constants), delay)


@component(
    "dac_zigzag",
    action="one conversion of one row input",
    node="28 nm (fit on 22 and 28 nm); energy not scaled",
    validity="1 to 8 bits; area and delay neglected by the source",
    source=_ZIGZAG,
    analog=True,
    constants=(DAC_ENERGY_PER_BIT,),
    ranges={"bits": (1.0, 8.0), "node_nm": FIT_NODES_NM},
)
def dac_zigzag(bits: Real, *, vdd_v: Real, exact: bool = False, constants: Constants | None = None) -> Component:
    """One row DAC. The source charges nothing for one-bit inputs and ``0.05 b V^2`` pJ above.

    Smooth form: ``b - b^-4`` in place of b (0 at one bit, 3.1 % low at two, under 0.5 % from three on).

    >>> round(float(dac_zigzag(8.0, vdd_v=1.0).energy_nj) * 1e3, 3)  # pJ
    0.4
    """
    bits = jnp.asarray(bits)
    steps = jnp.where(bits > 1.0, bits, 0.0) if exact else bits - bits**-4.0
    energy_nj = value(DAC_ENERGY_PER_BIT, constants) * steps * vdd_v**2 * 1e-3
    return Component(jnp.zeros_like(energy_nj), energy_nj, jnp.zeros_like(energy_nj))
