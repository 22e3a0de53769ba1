"""ADC regression on the Murmann survey (Accelergy ADC plug-in): energy and area from bits, rate and node.

Formulas as read in ``adc_data/model.yaml`` and ``model.py`` (ln natural, f in Hz per converter, node in nm, b bits):
FOMS = min(213.7807 - 2.871903 ln f, FOMSmax(ceil b)) dB, FOMSmax = 128.3068 + 3.220512 k dB; SNDR = 6.0206 b +
10 log10 1.5 dB; e0 = 0.5 x 10^((SNDR - FOMS)/10) J; E [pJ] = e0 exp(26.04962 + 1.880037 ln node - 2.829126 ln b -
1.470202); A [um2] = exp(1.346192 + 0.993279 ln node + 0.180715 ln f + 0.299124 ln E). Optimistic by design: 80th
percentile figure of merit, 10th percentile area of the survey's 215 converters, 1997-2023. b is the effective number
of bits there; a resolution in its place is an upper bound.

The plug-in refuses b < 4, where the formula's energy would rise again as bits fall. Here such a converter costs what
one of 4 bits does, which is enough to build it; :mod:`pimjax.circuit.validity` says so.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from pimjax.circuit.component import Component, component, soft_maximum, soft_minimum
from pimjax.circuit.constants import Constants, Real, sourced, value
from pimjax.circuit.scaling import nominal_vdd_v

_PLUGIN = "Accelergy ADC plug-in adc_data/model.yaml, regression on the Murmann ADC survey 1997-2023"
ENERGY_SPREAD = sourced(
    "adc_survey.energy_factor",
    1.0,
    "1",
    low=0.3,
    high=4.0,
    quality="M",
    source=_PLUGIN + "; per-design scales 0.275 to 3.5 in CiMLoop's validated macros",
)
AREA_SPREAD = sourced(
    "adc_survey.area_factor",
    1.0,
    "1",
    low=0.3,
    high=4.0,
    quality="M",
    source=_PLUGIN + "; regression residual of the survey, 10th percentile to typical",
)

FOM_RATE_INTERCEPT_DB, FOM_RATE_SLOPE_DB = 213.7807, 2.871903
FOM_MAX_INTERCEPT_DB, FOM_MAX_SLOPE_DB = 128.3068, 3.220512
ENERGY_INTERCEPT, ENERGY_NODE, ENERGY_BITS, ENERGY_OFFSET = 26.04962, 1.880037, 2.829126, 1.470202
AREA_INTERCEPT, AREA_NODE, AREA_RATE, AREA_ENERGY = 1.346192, 0.993279, 0.180715, 0.299124
MINIMUM_BITS = 4.0
"""Fewest effective bits of the regression [bit]."""
SOFT_MAXIMUM_BITS = 0.05
"""Temperature of the soft maximum with the fewest bits [bit]; at 4 bits the energy is 0.2 % below the exact one."""
SOFT_MINIMUM_DB = 0.25
"""Temperature of the soft minimum [dB]: at the corner the figure of merit is 0.17 dB (4 %) below the exact one."""


@component(
    "adc_survey",
    action="one conversion",
    node="regression variable, 7 (one converter) to 1000 nm in the survey",
    validity="4 to 17 effective bits (fewer cost as much as 4), 4 kS/s to 90 GS/s; optimistic by design",
    source=_PLUGIN,
    analog=True,
    constants=(ENERGY_SPREAD, AREA_SPREAD),
    ranges={"bits": (MINIMUM_BITS, 17.0), "rate_gsps": (4e-6, 90.0), "node_nm": (7.0, 1000.0)},
)
def adc_survey(
    bits: Real,
    *,
    rate_gsps: Real,
    node_nm: Real,
    vdd_v: Real | None = None,
    exact: bool = False,
    constants: Constants | None = None,
) -> Component:
    """One converter of `bits` at `rate_gsps` [GS/s] in `node_nm` [nm]; fewer than 4 bits cost as much as 4.

    Smooth by default: a linear ceiling on the figure of merit (no ``ceil`` of the bits) and a soft minimum;
    ``exact=True`` is the plug-in's piecewise form, whose bits stop at 4 by a hard maximum. Latency is one sample
    period. The regression has no supply voltage: with `vdd_v` given its energy is multiplied by
    ``(vdd / nominal vdd of the node)^2``, else left alone.

    >>> unit = adc_survey(8.0, rate_gsps=7.7e-3, node_nm=14.0, exact=True)
    >>> round(float(unit.energy_nj) * 1e3, 3), round(float(unit.area_mm2) * 1e6)  # pJ, um2
    (0.362, 685)
    """
    bits, rate_gsps, node_nm = jnp.asarray(bits), jnp.asarray(rate_gsps), jnp.asarray(node_nm)
    bits = jnp.maximum(bits, MINIMUM_BITS) if exact else soft_maximum(bits, MINIMUM_BITS, SOFT_MAXIMUM_BITS)
    log_rate = jnp.log(rate_gsps) + math.log(1e9)
    by_rate = FOM_RATE_INTERCEPT_DB - FOM_RATE_SLOPE_DB * log_rate
    if exact:
        figure_of_merit = jnp.minimum(by_rate, FOM_MAX_INTERCEPT_DB + FOM_MAX_SLOPE_DB * jnp.ceil(bits))
    else:
        ceiling = FOM_MAX_INTERCEPT_DB + FOM_MAX_SLOPE_DB * bits
        figure_of_merit = soft_minimum(by_rate, ceiling, SOFT_MINIMUM_DB)
    sndr = 6.0206 * bits + 10.0 * math.log10(1.5)
    log_energy_pj = (
        math.log(0.5)
        + (sndr - figure_of_merit) * (math.log(10.0) / 10.0)
        + (ENERGY_INTERCEPT - ENERGY_OFFSET)
        + ENERGY_NODE * jnp.log(node_nm)
        - ENERGY_BITS * jnp.log(bits)
    )
    log_area_um2 = AREA_INTERCEPT + AREA_NODE * jnp.log(node_nm) + AREA_RATE * log_rate + AREA_ENERGY * log_energy_pj
    energy_nj = 1e-3 * jnp.exp(log_energy_pj) * value(ENERGY_SPREAD, constants)
    if vdd_v is not None:
        energy_nj = energy_nj * (vdd_v / nominal_vdd_v(node_nm)) ** 2
    area_mm2 = 1e-6 * jnp.exp(log_area_um2) * value(AREA_SPREAD, constants)
    return Component(area_mm2, energy_nj, 1.0 / rate_gsps)
