"""The digital unit: normalisation, activations, additions, router and softmax outside the crossbars."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from pimjax.circuit.component import Component, component
from pimjax.circuit.constants import Constants, Real, sourced, value

_PAPER = "MoEwithPIM/src/threedsim/accelerator.py, per token of d elements"
AREA = sourced(
    "digital_unit.area_mm2",
    1.25,
    "mm2",
    low=0.5,
    high=2.0,
    quality="M",
    source="3D-SiM paper assumption, doi 10.1038/s43588-024-00753-x",
)
TIME_SPREAD = sourced("digital_unit.time_factor", 1.0, "1", low=0.5, high=2.0, quality="F", source=_PAPER)
ENERGY_SPREAD = sourced("digital_unit.energy_factor", 1.0, "1", low=0.3, high=3.0, quality="F", source=_PAPER)


@dataclasses.dataclass(frozen=True)
class OperatorLaw:
    """Time `slope_ns` d/256 + `offset_ns` and energy `energy_pj` d/256."""

    slope_ns: float
    offset_ns: float
    energy_pj: float


OPERATORS = {
    "norm": OperatorLaw(50.0, 0.0, 20.96),
    "gelu": OperatorLaw(16.0, 6.0, 9.63),
    "add": OperatorLaw(8.0, 4.0, 9.43),
    "relu": OperatorLaw(0.0, 1.0, 0.02),
    "swiglu": OperatorLaw(24.0, 10.0, 9.63 + 9.43),
}
"""Laws by operator; swiglu is derived as gelu and one more product of the cost of an addition."""


@component(
    "digital_unit",
    action="one operator on one token of `elements`",
    node="14 nm, as the reference simulator",
    validity="128 to 4096 elements (linear laws)",
    source=_PAPER,
    analog=False,
    constants=(AREA, TIME_SPREAD, ENERGY_SPREAD),
)
def digital_operator(
    operator: str, elements: Real, *, exact: bool = False, constants: Constants | None = None
) -> Component:
    """One operator (static name from :data:`OPERATORS`) on `elements`; ``exact=True`` rounds up to whole ns.

    >>> round(float(digital_operator("norm", 256.0).latency_ns), 3)
    50.0
    """
    law = OPERATORS[operator]
    blocks = elements / 256.0
    time = (law.slope_ns * blocks + law.offset_ns) * value(TIME_SPREAD, constants)
    energy = law.energy_pj * 1e-3 * blocks * value(ENERGY_SPREAD, constants)
    return Component(value(AREA, constants), energy, jnp.ceil(time) if exact else time)


SOFTMAX_ENERGY = sourced(
    "digital_unit.softmax_nj_per_512",
    5.6,
    "nJ",
    low=2.0,
    high=10.0,
    quality="F",
    source="3D-CIMlet SoftmaxUnit: 8 mW x 0.7 us for 512 values, 45 nm",
)


@component(
    "softmax_unit",
    action="one softmax of `elements`",
    node="45 nm, not scaled",
    validity="up to 512 values per pass",
    source="3D-CIMlet SoftmaxUnit: 8 mW, 0.7 us, 0.30 mm2 for 512 values",
    analog=False,
    constants=(SOFTMAX_ENERGY,),
)
def softmax_unit(elements: Real, *, constants: Constants | None = None) -> Component:
    """One softmax over `elements` values, linear in their number.

    >>> float(softmax_unit(512.0).latency_ns)
    700.0
    """
    return Component(0.30, value(SOFTMAX_ENERGY, constants) * elements / 512.0, 700.0 * elements / 512.0)
