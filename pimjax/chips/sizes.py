"""What a designer chooses of a chip when it is sized for a model: counts of units with their levels, and choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sized:
    """One key that `pimjax size` may set.

    Attributes:
        key: dotted key of the configuration (`memory`: the named memory).
        family: of :data:`pimjax.chips.ledger.FAMILIES`: the units that it buys; advice names the key where they are short.
        levels: legal numbers, rising; empty for a choice.
        choices: values of a choice, every one of which is tried; empty for a number.
    """

    key: str
    family: str
    levels: tuple[float, ...] = ()
    choices: tuple[Any, ...] = ()


def doublings(first: float, last: float, *, halves: bool = False) -> tuple[float, ...]:
    """Whole levels from `first` on, each twice the one before; `halves`: with one and a half times it between them.

    >>> doublings(2, 16), doublings(4, 16, halves=True)
    ((2.0, 4.0, 8.0, 16.0), (4.0, 6.0, 8.0, 12.0, 16.0))
    """
    found, value = [], float(first)
    while value <= last:
        found.append(value)
        if halves and value * 1.5 <= last and (value * 1.5).is_integer():
            found.append(value * 1.5)
        value *= 2
    return tuple(found)
