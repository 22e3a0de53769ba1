"""The converter of a tile chosen by data: one float index over every ADC model, so that a sweep can mix them."""

from __future__ import annotations

import math

import jax.numpy as jnp

from pimjax import checks
from pimjax.circuit.adc_hermes import PULSE_CLOCK, adc_hermes_cco
from pimjax.circuit.adc_survey import adc_survey
from pimjax.circuit.adc_table import PUBLISHED_ADCS, adc_table
from pimjax.circuit.adc_zigzag import adc_zigzag
from pimjax.circuit.analog_mux import ON_RESISTANCE
from pimjax.circuit.cell_array import LINE_CAPACITANCE, select_kind
from pimjax.circuit.component import RULES, Component
from pimjax.circuit.constants import Constants, Real, value
from pimjax.errors import ConfigError

ADC_KINDS = ("survey", "zigzag", "hermes_cco", *(adc.name for adc in PUBLISHED_ADCS))
"""Index = the `adc_kind` of a tile: survey regression, ZigZag-IMC closed form, HERMES oscillator, published ADCs."""


def bitline_settling_ns(rows: Real, *, adc_bits: Real, node_nm: Real, constants: Constants | None = None) -> Real:
    """Settling of a bit line of `rows` cells to half an LSB [ns]: ``ln 2 (b + 1) R C_cell rows``."""
    line_pf = rows * value(LINE_CAPACITANCE, constants) * (node_nm / 28.0) * 1e-3
    return math.log(2.0) * (adc_bits + 1.0) * value(ON_RESISTANCE, constants) * line_pf


def read_time_ns(kind: Real, *, cycle_bits: Real, settling_ns: Real, constants: Constants | None = None) -> Real:
    """Time that cell current flows per input cycle [ns]: the pulse for the HERMES kind, else the settling."""
    pulse = jnp.exp2(cycle_bits - 1.0) / value(PULSE_CLOCK, constants)
    return jnp.where(jnp.abs(kind - ADC_KINDS.index("hermes_cco")) < 0.5, pulse, settling_ns)


@checks.checked(
    ConfigError,
    **{
        name: RULES[name]
        for name in (
            "kind",
            "bits",
            "rows",
            "cycle_bits",
            "rate_gsps",
            "node_nm",
            "vdd_v",
            "settling_ns",
            "exact",
            "constants",
        )
    },
)
def adc(
    kind: Real,
    bits: Real,
    *,
    rows: Real,
    cycle_bits: Real,
    rate_gsps: Real,
    node_nm: Real,
    vdd_v: Real,
    settling_ns: Real,
    exact: bool = False,
    constants: Constants | None = None,
) -> Component:
    """One converter of the `kind` with index into :data:`ADC_KINDS`; latency includes the bit line's settling.

    The ZigZag and HERMES models contain the bit line already; the survey and the table get `settling_ns` added.
    A kind outside the list gives NaN.

    >>> unit = adc(2.0, 8.0, rows=256.0, cycle_bits=8.0, rate_gsps=0.01, node_nm=14.0, vdd_v=0.8, settling_ns=0.0)
    >>> round(float(unit.latency_ns), 3)
    130.0
    """
    survey = adc_survey(bits, rate_gsps=rate_gsps, node_nm=node_nm, vdd_v=vdd_v, exact=exact, constants=constants)
    zigzag = adc_zigzag(bits, rows=rows, vdd_v=vdd_v, constants=constants)
    hermes = adc_hermes_cco(bits, input_bits=cycle_bits, vdd_v=vdd_v, node_nm=node_nm, exact=exact, constants=constants)
    dtype = jnp.result_type(kind, bits, rows, node_nm, vdd_v)
    published = [adc_table(index, dtype) for index in range(len(PUBLISHED_ADCS))]
    units = [survey, zigzag, hermes, *published]
    waits = [settling_ns, 0.0, 0.0] + [settling_ns] * len(published)
    return Component(
        select_kind(kind, [unit.area_mm2 for unit in units]),
        select_kind(kind, [unit.energy_nj for unit in units]),
        select_kind(kind, [unit.latency_ns + wait for unit, wait in zip(units, waits, strict=True)]),
    )
