"""What every chip's `hardware` section is: physical numbers with unit, source and range; and its traced twin.

A section is a class of the chip's own (`pimjax/chips/<chip>/hardware.py`); the arrays that kernels see are made from it,
so that a number is declared once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from flax import struct

from pimjax.array_typing import HostArray
from pimjax.config.base import Section, number
from pimjax.config.numerics import NumericsConfig


class HardwareSection(Section):
    """Host description of a chip. Every number may be overridden, swept or tuned.

    Class attributes of a chip's section:
        absent: what `None` becomes as an array leaf, by field (infinity where null means no limit).
        derived: further leaves, computed from the numerics section.
    """

    absent: ClassVar[dict[str, float]] = {}
    derived: ClassVar[dict[str, Callable[[NumericsConfig], float]]] = {}

    reticle_area_mm2: float = number(
        858, chosen=True, unit="mm2", about="Largest die", source="26 mm x 33 mm exposure field", gt=0
    )
    ambient_c: float = number(
        35, chosen=True, unit="C", about="Temperature of the air, or of the liquid that cools", spread=(20, 45),
        source="choice", ge=0,
    )  # fmt: skip
    cooling_k_mm2_per_w: float = number(
        80, chosen=True, unit="K mm2/W", about="Rise of a die's temperature per W/mm2: 80 in air, 30 with a cold plate", spread=(30, 80),
        source="assumption without a published source", assumed=True, ge=0,
    )  # fmt: skip
    max_junction_c: float = number(
        85, chosen=True, unit="C", about="Hottest that the devices may get; phase-change memory drifts faster above it",
        spread=(85, 105), source="choice", ge=0,
    )  # fmt: skip

    def arrays(self, numerics: NumericsConfig) -> Any:
        """The traced twin: float64 scalars (NumPy), one leaf per field and derived number.

        >>> float(HardwareSection().arrays(NumericsConfig()).reticle_area_mm2)
        858.0
        """
        leaves: dict[str, HostArray] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            leaves[name] = np.asarray(self.absent[name] if value is None else value, np.float64)
        for name, rule in self.derived.items():
            leaves[name] = np.asarray(rule(numerics), np.float64)
        return traced_twin(type(self))(**leaves)


@functools.cache
def traced_twin(section: type[HardwareSection]) -> type:
    """The pytree class of a section's arrays: field names, order and units are the section's, derived numbers last.

    Every leaf is a floating-point scalar (counts too), so that `jax.grad` works over it.

    >>> traced_twin(HardwareSection).__name__
    'Hardware'
    """
    names = (*section.model_fields, *section.derived)
    body = {"__annotations__": dict.fromkeys(names, Any), "__module__": section.__module__, "__doc__": section.__doc__}
    return struct.dataclass(type(section.__name__.replace("Section", ""), (), body))


def leaf_names(section: type[HardwareSection]) -> tuple[str, ...]:
    """Names of the leaves of a section's traced twin, in order.

    >>> leaf_names(HardwareSection)
    ('reticle_area_mm2', 'ambient_c', 'cooling_k_mm2_per_w', 'max_junction_c')
    """
    return (*section.model_fields, *section.derived)
