"""Shift-add behind a converter, the row-block accumulator strip, and its latency."""

from __future__ import annotations

from pimjax import checks
from pimjax.circuit.component import Component, component
from pimjax.circuit.constants import Constants, Real, sourced, value
from pimjax.circuit.gates import flip_flop, full_adder
from pimjax.circuit.scaling import digital_area_factor, digital_energy_factor
from pimjax.errors import ConfigError

ADDER32_AREA = sourced(
    "accumulators.adder32_area_um2",
    278.0,
    "um2",
    low=200.0,
    high=400.0,
    quality="M",
    source="32-bit adder at 45 nm (booked at 40-45 nm), Accelergy library aladdin",
)
ADDER32_ENERGY = sourced(
    "accumulators.adder32_energy_pj",
    0.21,
    "pJ",
    low=0.1,
    high=0.4,
    quality="M",
    source="32-bit adder at 40 nm, Accelergy library aladdin",
)
ACCUMULATOR_CLOCK = sourced(
    "accumulators.clock_ghz",
    1.0,
    "GHz",
    low=0.5,
    high=2.0,
    quality="U",
    source="assumed, as the HERMES clock",
)


@component(
    "shift_add",
    action="one shift-add of a conversion result",
    node="28 nm gates, scaled",
    validity="4 to 48 bits; ripple-carry",
    source="gate count: one full adder and one flip-flop per bit (ZigZag-IMC accumulator)",
    analog=False,
    ranges={"bits": (4.0, 48.0)},
)
def shift_add(bits: Real, *, node_nm: Real, vdd_v: Real, constants: Constants | None = None) -> Component:
    """Adder plus register of `bits` bits: result width of a converter after all input cycles.

    Differentiable in `bits` (no rounding; the exact form takes whole bits and is the same).

    >>> unit = shift_add(16.0, node_nm=28.0, vdd_v=0.9)
    >>> round(float(unit.area_mm2) * 1e6, 1)  # um2
    135.6
    """
    adder = full_adder(node_nm=node_nm, vdd_v=vdd_v, constants=constants)
    register = flip_flop(node_nm=node_nm, vdd_v=vdd_v, constants=constants)
    return Component(
        bits * (adder.area_mm2 + register.area_mm2),
        bits * (adder.energy_nj + register.energy_nj),
        bits * adder.latency_ns + register.latency_ns,
    )


@component(
    "accumulator_strip",
    action="one 32-bit addition",
    node="40-45 nm, moved to 14 nm by Stillmaker and Baas (explicit)",
    validity="7 to 130 nm",
    source="Accelergy library aladdin; lanes 64 at 1 GHz assumed",
    analog=False,
    constants=(ADDER32_AREA, ADDER32_ENERGY, ACCUMULATOR_CLOCK),
)
def accumulator_strip(
    lanes: Real = 64.0,
    *,
    node_nm: Real = 14.0,
    vdd_v: Real = 0.8,
    constants: Constants | None = None,
) -> Component:
    """Accumulator of one column strip: `lanes` 32-bit adders that add row blocks.

    >>> round(float(accumulator_strip().area_mm2), 4)
    0.003
    """
    area = value(ADDER32_AREA, constants) * 1e-6 * digital_area_factor(node_nm, 45.0)
    energy = value(ADDER32_ENERGY, constants) * 1e-3
    energy = energy * digital_energy_factor(node_nm, vdd_v, from_nm=40.0, from_vdd_v=1.0)
    return Component(lanes * area, energy, 1.0 / value(ACCUMULATOR_CLOCK, constants))


@checks.checked(
    ConfigError,
    row_blocks=checks.numbers(0),
    columns=checks.numbers(0),
    lanes=checks.numbers(0, above=True),
    clock_ghz=checks.numbers(0, above=True),
    fill_ns=checks.numbers(0),
)
def column_accumulation_ns(
    row_blocks: Real,
    columns: Real,
    *,
    lanes: Real = 64.0,
    clock_ghz: Real = 1.0,
    fill_ns: Real = 4.0,
) -> Real:
    """Time to add `row_blocks` partial results of `columns` columns [ns]: ``4 + (n-1) C/(lanes f)``.

    >>> float(column_accumulation_ns(16.0, 256.0))
    64.0
    """
    return fill_ns + (row_blocks - 1.0) * columns / (lanes * clock_ghz)
