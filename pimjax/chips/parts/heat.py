"""How hot a die gets at its peak power: one thermal resistance between the junction and what cools it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Heat(NamedTuple):
    """Of the hottest die; scalars."""

    density_w_per_mm2: Any
    junction_c: Any
    is_too_hot: Any  # bool


def heat(hardware: Any, power_w: Any, area_mm2: Any) -> Heat:
    """Power density and temperature of dies that dissipate `power_w` over `area_mm2`. Kernel: pure, unbatched.

    junction = ambient + resistance x density. Microseconds of peak power do not heat a die, requests that follow each other
    do: this is the temperature of a chip that is kept at its peak.

    Args:
        hardware: the traced twin of a chip's section.
        power_w, area_mm2: scalars.

    >>> from pimjax.config.hardware import HardwareSection
    >>> from pimjax.config.numerics import NumericsConfig
    >>> twin = HardwareSection().arrays(NumericsConfig())
    >>> [round(float(value), 3) for value in heat(twin, 130.0, 858.0)[:2]]
    [0.152, 47.121]
    """
    density = power_w / area_mm2
    junction = hardware.ambient_c + hardware.cooling_k_mm2_per_w * density
    return Heat(density, junction, junction > hardware.max_junction_c)
