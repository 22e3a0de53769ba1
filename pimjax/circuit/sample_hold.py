"""Sample-and-hold in front of a shared converter: the capacitor is set by thermal noise or by a practical minimum."""

from __future__ import annotations

import math

import jax.numpy as jnp

from pimjax.circuit.component import Component, component, soft_maximum
from pimjax.circuit.constants import Constants, Real, sourced, value

BOLTZMANN_J_PER_K = 1.380649e-23
TEMPERATURE = sourced(
    "sample_hold.temperature_k", 300.0, "K", low=273.0, high=358.0, quality="D", source="operating temperature"
)
MINIMUM_CAPACITANCE = sourced(
    "sample_hold.minimum_capacitance_ff",
    10.0,
    "fF",
    low=2.0,
    high=50.0,
    quality="U",
    source="assumed: smallest capacitor that parasitics allow",
)
CAPACITANCE_DENSITY = sourced(
    "sample_hold.capacitance_density_ff_per_um2",
    2.0,
    "fF/um2",
    low=1.0,
    high=10.0,
    quality="U",
    source="assumed: metal-oxide-metal capacitor over the array",
)
SWITCH_RESISTANCE = sourced(
    "sample_hold.switch_resistance_kohm", 1.0, "kOhm", low=0.3, high=5.0, quality="U", source="assumed"
)


@component(
    "sample_hold",
    action="one sampled value",
    node="none: set by thermal noise, not by the node",
    validity="2 to 14 bits",
    source="kT/C noise a quarter LSB rms below full scale: C = 12 kT 4^b / V^2; minimum and density assumed",
    analog=True,
    constants=(TEMPERATURE, MINIMUM_CAPACITANCE, CAPACITANCE_DENSITY, SWITCH_RESISTANCE),
    ranges={"bits": (2.0, 14.0)},
)
def sample_hold(adc_bits: Real, *, vdd_v: Real, exact: bool = False, constants: Constants | None = None) -> Component:
    """Sampling capacitor whose thermal noise power equals the quantisation noise of `adc_bits` at `vdd_v`.

    kT/C = (V / 2^b)^2 / 12. ``exact=True`` takes the hard maximum with the minimum capacitor, else a soft one (1 fF).

    >>> round(float(sample_hold(8.0, vdd_v=0.8, exact=True).energy_nj) * 1e6, 3)  # fJ
    6.4
    """
    bits = jnp.asarray(adc_bits)
    thermal_j = BOLTZMANN_J_PER_K * 1e15 * value(TEMPERATURE, constants)  # kT in fJ, and fF V^2 = fJ
    noise_ff = 12.0 * thermal_j * jnp.exp2(2.0 * bits) / vdd_v**2
    minimum_ff = value(MINIMUM_CAPACITANCE, constants)
    capacitance_ff = jnp.maximum(noise_ff, minimum_ff) if exact else soft_maximum(noise_ff, minimum_ff, 1.0)
    area_um2 = capacitance_ff / value(CAPACITANCE_DENSITY, constants)
    settle_ns = math.log(2.0) * (bits + 1.0) * value(SWITCH_RESISTANCE, constants) * capacitance_ff * 1e-3
    return Component(area_um2 * 1e-6, capacitance_ff * vdd_v**2 * 1e-6, settle_ns)
