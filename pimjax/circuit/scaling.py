"""Technology scaling of digital logic after Stillmaker and Baas, explicit and never applied to analog blocks.

Source: A. Stillmaker, B. Baas, "Scaling equations for the accurate prediction of CMOS device performance from 180 nm
to 7 nm", Integration 58 (2017), doi 10.1016/j.vlsi.2017.02.002; coefficients as tabulated by the Accelergy library
plug-in (``scaling.py``). Between table nodes both laws are interpolated linearly in log(node) against log(factor):
continuous, with a kink at each table node (the derivative there is one of the two one-sided slopes).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.arrays import namespace, on_device, subroutine
from pimjax.circuit.constants import Constants, Real, sourced, value

NODES_NM = (7.0, 10.0, 14.0, 16.0, 20.0, 32.0, 45.0, 65.0, 90.0, 130.0)
"""Nodes of the two tables [nm]; outside them the end value holds (extrapolation is refused, not invented)."""

_AREA_TO_10NM = (1.7, 1.0, 0.59, 0.54, 0.48, 0.22, 0.10, 0.068, 0.036, 0.016)
"""Multiply an area at each node by this to get its area at 10 nm (the table's row for the target 10 nm)."""

_ENERGY_POLYNOMIAL = (
    (0.1776, -0.09097, 0.02447),
    (0.2068, -0.09311, 0.02375),
    (0.2363, -0.09675, 0.02239),
    (0.2958, -0.1241, 0.03024),
    (0.373, -0.1582, 0.04104),
    (0.9559, -0.7823, 0.471),
    (1.103, -0.362, 0.2767),
    (3.755, -4.398, 1.975),
    (4.762, -4.781, 2.092),
    (7.171, -6.709, 2.904),
)
"""Energy factor e(V) = a V^2 + b V + c per node; V in volts."""

ANALOG_AREA_EXPONENT = sourced(
    "scaling.analog_area_exponent",
    1.0,
    "1",
    low=0.0,
    high=1.3,
    quality="F",
    source="ADC area ~ node^0.993 in the Accelergy regression on the Murmann survey; ZigZag-IMC shrinks linearly",
)


def _interpolate(node_nm: Real, factors: jax.typing.ArrayLike, dtype: jax.typing.DTypeLike) -> Real:
    grid = np.log(np.asarray(NODES_NM))
    logs = jnp.log(jnp.asarray(factors, dtype)) if on_device(factors) else np.log(np.asarray(factors))
    if np.ndim(node_nm) == 0 and not on_device(node_nm, logs):  # the same at every call: no part of a compiled program
        return float(np.exp(np.interp(np.log(node_nm), grid, logs)))
    return _between_nodes(*(jnp.asarray(values, dtype) for values in (node_nm, grid, logs)))


@subroutine
def _between_nodes(node_nm: jax.Array, grid: jax.Array, logs: jax.Array) -> jax.Array:
    return jnp.exp(jnp.interp(jnp.log(node_nm), grid, logs))


def digital_area_factor(node_nm: Real, from_nm: Real) -> Real:
    """Factor on the area of digital logic from `from_nm` to `node_nm` [both nm].

    >>> float(digital_area_factor(14.0, 45.0))  # table: 0.17
    0.169...
    """
    to_reference = np.asarray(_AREA_TO_10NM)
    dtype = jnp.result_type(node_nm, from_nm, 0.0)
    return _interpolate(from_nm, to_reference, dtype) / _interpolate(node_nm, to_reference, dtype)


def energy_polynomial(node_nm: Real, vdd_v: Real) -> Real:
    """Relative switching energy e(V) of logic at `node_nm` [nm] and `vdd_v` [V]; only ratios have a meaning."""
    dtype = jnp.result_type(node_nm, vdd_v, 0.0)
    whole = namespace(vdd_v)
    vdd = whole.asarray(vdd_v, dtype if on_device(vdd_v) else float)
    a, b, c = (whole.asarray(column, vdd.dtype) for column in zip(*_ENERGY_POLYNOMIAL, strict=True))
    return _interpolate(node_nm, a * vdd**2 + b * vdd + c, dtype)


def digital_energy_factor(node_nm: Real, vdd_v: Real, *, from_nm: Real, from_vdd_v: Real) -> Real:
    """Factor on the energy of digital logic from (`from_nm`, `from_vdd_v`) to (`node_nm`, `vdd_v`).

    >>> float(digital_energy_factor(14.0, 0.8, from_nm=45.0, from_vdd_v=1.0)) < 0.15
    True
    """
    return energy_polynomial(node_nm, vdd_v) / energy_polynomial(from_nm, from_vdd_v)


def digital_delay_factor(node_nm: Real, from_nm: Real) -> Real:
    """Factor on gate delay: linear in the node (constant-field scaling) [U]; supply dependence is not modelled."""
    return node_nm / from_nm


def analog_area_factor(node_nm: Real, from_nm: Real, constants: Constants | None = None) -> jax.Array:
    """Factor on analog area, (node/from)^x with x the constant ``scaling.analog_area_exponent``.

    Called by name wherever an analog block is moved to another node; set the constant to 0 to leave it unscaled.
    Analog energy is never scaled with the node (ZigZag-IMC's rule).
    """
    return jnp.exp(value(ANALOG_AREA_EXPONENT, constants) * jnp.log(node_nm / from_nm))


_NOMINAL_VDD_NODES = (7.0, 10.0, 14.0, 22.0, 32.0, 45.0, 65.0, 90.0, 130.0)
_NOMINAL_VDD_V = (0.7, 0.75, 0.8, 0.85, 0.9, 1.0, 1.1, 1.2, 1.3)


def nominal_vdd_v(node_nm: Real) -> Real:
    """Nominal logic supply of a node [V], NeuroSim's table, linear in log(node) between entries.

    >>> round(float(nominal_vdd_v(14.0)), 3)
    0.8
    """
    node = jnp.asarray(node_nm, jnp.result_type(node_nm, 0.0))
    grid = jnp.asarray(np.log(np.asarray(_NOMINAL_VDD_NODES)), node.dtype)
    return jnp.interp(jnp.log(node), grid, jnp.asarray(_NOMINAL_VDD_V, node.dtype))
