"""Cells that cannot hold what is written: the finite conductance window and stuck cells."""

from __future__ import annotations

import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.numerics.device import Device


def in_window(fraction: Array, device: Device) -> Array:
    """Conductance relative to g_max of cells asked for `fraction` (0..1) of the window; any shape.

    r = r_off + (1 - r_off) fraction, r_off = 1 / on_off_ratio.

    >>> float(in_window(jnp.float32(0.0), Device(on_off_ratio=10.0))), float(in_window(jnp.float32(1.0), Device()))
    (0.10000000149011612, 1.0)
    """
    off = jnp.asarray(device.off_conductance, fraction.dtype)
    return off + (1 - off) * fraction


def stuck(conductance: Array, device: Device, *, draw: Array | None) -> Array:
    """Conductances with a random `stuck_on` fraction at g_max and `stuck_off` at g_min; any shape.

    One uniform `draw` per cell decides, so raising a fraction only adds faults. Without it nothing is stuck.
    Gradient: stuck cells get none.
    """
    if draw is None:
        return conductance
    off = jnp.asarray(device.off_conductance, conductance.dtype)
    faulty = jnp.where(draw < device.stuck_on, jnp.ones_like(conductance), conductance)
    return jnp.where(draw >= 1 - jnp.asarray(device.stuck_off, conductance.dtype), off, faulty)
