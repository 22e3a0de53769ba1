"""The linearised current-controlled-oscillator ADC of HERMES: one per column, it integrates while it converts.

Measured: 256 converters on a 4 um pitch, 300 ps per LSB, more than 420 levels, 0.8 V, 14 nm, 130 ns and 12.48 nJ per
256 x 256 MVM (JSSC 57(4) 2022, doi 10.1109/JSSC.2022.3140414). Derived: output encoding takes 60-70 % of tile energy
and ADC with support circuits over 40 % of tile area in such tiles (Nature Electronics 2025,
doi 10.1038/s41928-025-01537-5), hence 31.7 pJ and 990.6 um2 per converter.
"""

from __future__ import annotations

import jax.numpy as jnp

from pimjax.circuit.component import Component, component, soft_maximum
from pimjax.circuit.constants import Constants, Real, sourced, value
from pimjax.circuit.scaling import analog_area_factor

_JSSC = "HERMES core, JSSC 57(4) 2022, doi 10.1109/JSSC.2022.3140414"
_TILE = "share of tile from doi 10.1038/s41928-025-01537-5 times the measured HERMES total"
ENERGY_8_BIT = sourced(
    "adc_hermes.energy_8_bit_pj", 31.7, "pJ", low=29.2, high=34.2, quality="D", source=_TILE + " (60-70 %)"
)
AREA_8_BIT = sourced(
    "adc_hermes.area_8_bit_um2", 990.6, "um2", low=743.0, high=1486.0, quality="D", source=_TILE + " (30-60 %)"
)
TIME_PER_LEVEL = sourced(
    "adc_hermes.time_per_level_ns", 0.3, "ns", low=0.27, high=0.33, quality="M", source=_JSSC + ": 300 ps/LSB"
)
PULSE_CLOCK = sourced("adc_hermes.pulse_clock_ghz", 1.0, "GHz", low=0.8, high=1.0, quality="M", source=_JSSC)
READOUT = sourced(
    "adc_hermes.readout_ns", 2.0, "ns", low=1.0, high=4.0, quality="D", source="130.0 ns per MVM less 128 ns of PWM"
)
COUNTER_SHARE = sourced(
    "adc_hermes.counter_area_share",
    0.4,
    "1",
    low=0.2,
    high=0.6,
    quality="U",
    source="assumed: part of the converter that grows with the number of counter bits",
)
MEASURED_VDD_V, MEASURED_NODE_NM = 0.8, 14.0
SOFT_MAXIMUM_NS = 1.0
"""Temperature of the soft maximum of pulse time and counting time [ns]; below 1e-9 ns in the HERMES setting."""


@component(
    "adc_hermes_cco",
    action="one conversion (integration included)",
    node="14 nm, 0.8 V; area moved to other nodes by the explicit analog rule, energy by V^2 only",
    validity="5 to 9 bits, pulse-width inputs of 2 to 9 bits",
    source=_JSSC,
    analog=True,
    constants=(ENERGY_8_BIT, AREA_8_BIT, TIME_PER_LEVEL, PULSE_CLOCK, READOUT, COUNTER_SHARE),
    ranges={"bits": (5.0, 9.0), "input_bits": (2.0, 9.0)},
)
def adc_hermes_cco(
    bits: Real,
    *,
    input_bits: Real,
    vdd_v: Real = MEASURED_VDD_V,
    node_nm: Real = MEASURED_NODE_NM,
    exact: bool = False,
    constants: Constants | None = None,
) -> Component:
    """One oscillator converter of `bits` behind signed pulse-width inputs of `input_bits`.

    Energy grows with the counted levels (2^bits), time is the longer of the pulse (2^(input_bits-1) clock periods)
    and the count (2^bits x 0.3 ns), plus the read-out; the smooth form takes a soft maximum of the two.

    >>> unit = adc_hermes_cco(8.0, input_bits=8.0)
    >>> [round(float(x), 3) for x in (unit.area_mm2 * 1e6, unit.energy_nj * 1e3, unit.latency_ns)]
    [990.6, 31.7, 130.0]
    """
    bits = jnp.asarray(bits)
    pulse = jnp.exp2(jnp.asarray(input_bits) - 1.0) / value(PULSE_CLOCK, constants)
    count = jnp.exp2(bits) * value(TIME_PER_LEVEL, constants)
    integration = jnp.maximum(pulse, count) if exact else soft_maximum(pulse, count, SOFT_MAXIMUM_NS)
    energy_pj = value(ENERGY_8_BIT, constants) * jnp.exp2(bits - 8.0) * (vdd_v / MEASURED_VDD_V) ** 2
    share = value(COUNTER_SHARE, constants)
    area_um2 = value(AREA_8_BIT, constants) * (1.0 - share + share * bits / 8.0)
    area_um2 = area_um2 * analog_area_factor(node_nm, MEASURED_NODE_NM, constants)
    return Component(area_um2 * 1e-6, energy_pj * 1e-3, integration + value(READOUT, constants))
