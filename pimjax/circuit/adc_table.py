"""Published stand-alone ADCs as a table: exact at their own operating point, nothing interpolated or scaled."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from pimjax.circuit.component import Component, component
from pimjax.circuit.constants import Real


@dataclasses.dataclass(frozen=True)
class PublishedAdc:
    """One converter at its published operating point: um2, mW, GS/s; energy per conversion is power over rate."""

    name: str
    bits: float
    node_nm: float
    area_um2: float
    energy_pj: float
    rate_gsps: float
    source: str


_MNSIM = "MNSIM 2.0 Hardware_Model/ADC.py"

PUBLISHED_ADCS: tuple[PublishedAdc, ...] = (
    PublishedAdc("mnsim_10b_14nm", 10.0, 14.0, 1600.0, 6.92 / 1.5, 1.5, _MNSIM),
    PublishedAdc("isaac_8b_32nm", 8.0, 32.0, 1200.0, 2.0 / 1.28, 1.28, _MNSIM + " (ISAAC)"),
    PublishedAdc("mnsim_8b", 8.0, 32.0, 1650.0, 4.0 / 1.1, 1.1, _MNSIM + "; node not given there"),
    PublishedAdc("mnsim_6b", 6.0, 32.0, 580.0, 1.26 / 1.0, 1.0, _MNSIM + "; node not given there"),
    PublishedAdc("forms_4b_32nm", 4.0, 32.0, 284.0, 0.226, 1.28, "Accelergy library forms; rate as ISAAC's [U]"),
    PublishedAdc("newton_9b_32nm", 9.0, 32.0, 1500.0, 2.58, 1.28, "Accelergy library newton; rate as ISAAC's [U]"),
)


@component(
    "adc_table",
    action="one conversion",
    node="each converter's own",
    validity="only the listed converters at their own bits, node and rate",
    source="MNSIM 2.0 ADC.py; Accelergy library (isaac, forms, newton)",
    analog=True,
)
def adc_table(index: Real, dtype: jax.typing.DTypeLike = float) -> Component:
    """The published converter number `index` (rounded, clipped to the table); latency is (bits + 2) sample periods.

    >>> unit = adc_table(1.0)  # ISAAC's 8-bit converter
    >>> round(float(unit.energy_nj) * 1e3, 4), round(float(unit.area_mm2) * 1e6)
    (1.5625, 1200)
    """
    row = jnp.clip(jnp.round(jnp.asarray(index)), 0, len(PUBLISHED_ADCS) - 1).astype(jnp.int32)
    columns = (
        [adc.area_um2 * 1e-6 for adc in PUBLISHED_ADCS],
        [adc.energy_pj * 1e-3 for adc in PUBLISHED_ADCS],
        [(adc.bits + 2.0) / adc.rate_gsps for adc in PUBLISHED_ADCS],
    )
    area, energy, latency = (jnp.asarray(column, dtype)[row] for column in columns)
    return Component(area, energy, latency)
