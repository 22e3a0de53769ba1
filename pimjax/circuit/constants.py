"""Sourced constants: every number of the circuit models with its unit, source, quality and range.

A constant is declared once, beside the component that uses it, with :func:`sourced`; that enters it in
:data:`CONSTANTS`. Kernels read it with :func:`value`, which lets a caller override any of them by name: a mapping
``{"adc_survey.sndr_offset_db": x}`` is an ordinary pytree of arrays, so constants can be sampled under ``vmap``
(:mod:`pimjax.circuit.uncertainty`) and differentiated.

Quality letters: ``M`` measured or published, ``F`` formula read in a public tool, ``D`` derived by arithmetic,
``U`` unverified assumption (its range is wide on purpose).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax

Real = float | jax.Array
"""A real scalar argument: a Python float (takes the dtype of what it meets) or an array of any shape."""

QUALITIES = {"M": "measured", "F": "formula", "D": "derived", "U": "unverified"}


@dataclasses.dataclass(frozen=True)
class Sourced:
    """One number with its unit, plausible range, source and quality letter.

    Attributes:
      name: key ``"component.quantity_unit"`` in :data:`CONSTANTS`.
      value: nominal value in `unit`.
      low, high: range that uncertainty studies sample (log-uniform when both are positive, else uniform).
      source: where the number comes from.
      quality: one of ``M``, ``F``, ``D``, ``U``.
    """

    name: str
    value: float
    unit: str
    low: float
    high: float
    source: str
    quality: str

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"{self.name}: value {self.value} lies outside its range {self.low}..{self.high}")
        if self.quality not in QUALITIES:
            raise ValueError(f"{self.name}: quality {self.quality!r} is not one of {sorted(QUALITIES)}")


CONSTANTS: dict[str, Sourced] = {}

Constants = Mapping[str, Real]


def sourced(name: str, nominal: float, unit: str, *, low: float, high: float, source: str, quality: str) -> Sourced:
    """Declare a constant and enter it in :data:`CONSTANTS`; a name is declared once.

    >>> CONSTANTS["digital.nand2_area_um2"].unit
    'um2'
    """
    if name in CONSTANTS:
        raise ValueError(f"constant {name!r} is declared twice")
    entry = Sourced(name, float(nominal), unit, float(low), float(high), source, quality)
    CONSTANTS[name] = entry
    return entry


def value(item: Sourced, constants: Constants | None = None) -> Real:
    """The value of `item`: the caller's override when `constants` names it, else the nominal value."""
    if constants is None:
        return item.value
    return constants.get(item.name, item.value)


def nominal_constants() -> dict[str, float]:
    """All nominal values by name: the pytree that a study perturbs.

    >>> nominal_constants()["digital.nand2_area_um2"]
    0.614
    """
    return {name: entry.value for name, entry in CONSTANTS.items()}
