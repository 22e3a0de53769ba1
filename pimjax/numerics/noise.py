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


def programming_deviation(conductance: Array, device: Device) -> Array:
    """Standard deviation [relative to g_max] of a cell programmed to `conductance`; any shape.

    sigma [uS] = c0 + c1 r + c2 r^2 + c3 r^3, times `programming_scale`.

    >>> from pimjax.numerics.device import pcm_device
    >>> round(float(programming_deviation(jnp.float32(1.0), pcm_device())) * 25, 5)  # uS
    1.05538
    """
    polynomial = jnp.asarray(device.programming_polynomial, conductance.dtype)
    sigma_us = polynomial[3]
    for power in (2, 1, 0):
        sigma_us = sigma_us * conductance + polynomial[power]
    return jnp.maximum(sigma_us, 0) * device.programming_scale / device.g_max_us


def programmed(conductance: Array, device: Device, *, draw: Array | None) -> Array:
    """Conductances after writing: target plus Gaussian noise, never below 0; `draw` standard normal, same shape."""
    if draw is None:
        return conductance
    return jnp.maximum(conductance + programming_deviation(conductance, device) * draw, 0)


def drift_exponent(conductance: Array, device: Device, *, draw: Array | None) -> Array:
    """Exponent nu of g(t) = g (t / t0)^-nu; any shape; random per cell with a standard normal draw, else its mean.

    Mean clip(-0.0155 ln r + 0.0244, 0.049, 0.1), deviation clip(-0.0125 ln r - 0.0059, 0.008, 0.045), never below 0.
    """
    logarithm = jnp.log(jnp.maximum(conductance, _SMALLEST))

    def line(coefficients: object) -> Array:
        slope, intercept, low, high = jnp.asarray(coefficients, conductance.dtype)
        return jnp.clip(slope * logarithm + intercept, low, high)

    exponent = line(device.drift_mean)
    if draw is not None:
        exponent = jnp.maximum(exponent + line(device.drift_deviation) * draw, 0)
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
    programming (at least `t_read`), t_read the length of a read.
    """
    relative = jnp.maximum(target, _SMALLEST)
    quality = jnp.minimum(
        device.read_coefficient * jnp.exp(-device.read_exponent * jnp.log(relative)), device.read_limit
    )
    pulse = jnp.asarray(device.read_pulse_s, conductance.dtype)
    time = jnp.maximum(jnp.asarray(device.drift_time_s, conductance.dtype), pulse)
    return conductance * quality * safe_sqrt(jnp.log((time + pulse) / (2 * pulse))) * device.read_scale
