"""Programming noise, drift and read noise of conductances relative to g_max (r = g / g_max, 0..1).

Formulas: IBM AIHWKit, `PCMLikeNoiseModel` (Nandakumar et al., ICECS 2020); coefficients in :mod:`.device`.
Random numbers come from outside, one standard normal draw per cell; without one the random part is left out and what is
deterministic stays (the mean drift).
"""

from __future__ import annotations

import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.numerics.device import Device
from pimjax.numerics.relax import safe_sqrt

_SMALLEST = 1e-7  # conductance below which ln r and powers of r are taken at this value


def _polynomial(coefficients: object, conductance: Array) -> Array:
    """c0 + c1 r + c2 r^2 + .. of coefficients in ascending powers."""
    powers = jnp.asarray(coefficients, conductance.dtype)
    value = powers[-1]
    for power in range(powers.shape[0] - 2, -1, -1):
        value = value * conductance + powers[power]
    return value


def _line(coefficients: object, logarithm: Array) -> Array:
    """slope x ln r + intercept, between two limits."""
    slope, intercept, low, high = jnp.asarray(coefficients, logarithm.dtype)
    return jnp.clip(slope * logarithm + intercept, low, high)


def programming_deviation(conductance: Array, device: Device) -> Array:
    """Standard deviation [relative to g_max] of a cell programmed to `conductance`; any shape.

    sigma [uS] = c0 + c1 r + c2 r^2 + c3 r^3, times `programming_scale`; with other coefficients above `programming_split`.

    >>> from pimjax.numerics.device import pcm_device
    >>> round(float(programming_deviation(jnp.float32(1.0), pcm_device())) * 25, 5)  # uS
    1.05538
    """

    above = conductance > jnp.asarray(device.programming_split, conductance.dtype)
    sigma_us = jnp.where(
        above,
        _polynomial(device.programming_polynomial_above, conductance),
        _polynomial(device.programming_polynomial, conductance),
    )
    return jnp.maximum(sigma_us, 0) * device.programming_scale / device.g_max_us


def programmed(conductance: Array, device: Device, *, draw: Array | None) -> Array:
    """Conductances after writing: target plus Gaussian noise; `draw` standard normal, same shape.

    Never below 0, unless `programming_signed`: then it is the noise of a weight, whose sign it may turn. Targets below
    `programming_floor` are left at 0.
    """
    if draw is None:
        return _above_floor(conductance, conductance, device)
    noisy = conductance + programming_deviation(conductance, device) * draw
    signed = jnp.asarray(device.programming_signed, conductance.dtype) > 0
    return _above_floor(jnp.where(signed, noisy, jnp.maximum(noisy, 0)), conductance, device)


def _above_floor(written: Array, target: Array, device: Device) -> Array:
    return jnp.where(target < jnp.asarray(device.programming_floor, target.dtype), 0, written)


def drift_exponent(conductance: Array, device: Device, *, draw: Array | None) -> Array:
    """Exponent nu of g(t) = g (t / t0)^-nu; any shape; random per cell with a standard normal draw, else its mean.

    Mean clip(-0.0155 ln r + 0.0244, 0.049, 0.1), deviation clip(-0.0125 ln r - 0.0059, 0.008, 0.045), never below 0; of
    the HERMES presets likewise below a conductance, polynomials from it.
    """
    logarithm = jnp.log(jnp.maximum(conductance, _SMALLEST))

    def curve(line: object, split: object, above: object) -> Array:
        high = conductance >= jnp.asarray(split, conductance.dtype)
        return jnp.where(high, _polynomial(above, conductance), _line(line, logarithm))

    exponent = curve(device.drift_mean, device.drift_mean_split, device.drift_mean_above)
    if draw is not None:
        deviation = curve(device.drift_deviation, device.drift_deviation_split, device.drift_deviation_above)
        exponent = jnp.maximum(exponent + deviation * draw, 0)
    return exponent * device.drift_scale


def drifted(conductance: Array, device: Device, *, target: Array, draw: Array | None) -> Array:
    """Conductances `drift_time_s` after programming; nothing moves before `drift_start_s`; any shape.

    The exponent follows the `target` conductance, as in AIHWKit.

    >>> from pimjax.numerics.device import pcm_device
    >>> full = jnp.float32(1.0)
    >>> round(float(drifted(full, pcm_device(drift_time_s=20e4), target=full, draw=None)), 4)  # (1e4)^-0.049
    0.6368
    """
    age = jnp.maximum(jnp.asarray(device.drift_time_s, conductance.dtype) / device.drift_start_s, 1)
    return conductance * jnp.exp(-drift_exponent(target, device, draw=draw) * jnp.log(age))


def read_deviation(conductance: Array, device: Device, *, target: Array) -> Array:
    """Standard deviation [relative to g_max] of one read; any shape.

    sigma = g Q sqrt(ln((t + t_read) / (2 t_read))), Q = min(coefficient / r^exponent, limit), t the time since
    programming (at least `t_read`), t_read the length of a read; of the HERMES presets Q is a line in ln r and, from
    `read_split`, a polynomial.
    """
    logarithm = jnp.log(jnp.maximum(target, _SMALLEST))
    quality = jnp.minimum(device.read_coefficient * jnp.exp(-device.read_exponent * logarithm), device.read_limit)
    split = jnp.asarray(device.read_split, target.dtype)
    curve = jnp.where(target < split, _line(device.read_line, logarithm), _polynomial(device.read_polynomial, target))
    quality = jnp.where(split > 0, curve, quality)
    pulse = jnp.asarray(device.read_pulse_s, conductance.dtype)
    time = jnp.maximum(jnp.asarray(device.drift_time_s, conductance.dtype), pulse)
    return conductance * quality * safe_sqrt(jnp.log((time + pulse) / (2 * pulse))) * device.read_scale
