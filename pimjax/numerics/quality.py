"""How good a crossbar product is, as one number beside energy, area and latency."""

from __future__ import annotations

import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.numerics.mvm import crossbar_mvm
from pimjax.numerics.settings import Crossbar


def signal_to_noise_db(exact: Array, measured: Array) -> Array:
    """10 log10 of the power of `exact` over the power of the difference [dB]; any equal shapes.

    >>> round(float(signal_to_noise_db(jnp.array([1.0, -1.0]), jnp.array([1.1, -1.1]))), 2)
    20.0
    """
    tiny = jnp.finfo(exact.dtype).tiny
    power, error = jnp.sum(exact**2), jnp.sum((measured - exact) ** 2)
    return 10 * jnp.log10(jnp.maximum(power, tiny) / jnp.maximum(error, tiny))


def product_quality_db(weights: Array, inputs: Array, crossbar: Crossbar, key: Array | None = None) -> Array:
    """Signal-to-noise ratio [dB] of a crossbar product of `weights` [out, in] and `inputs` [in, batch].

    Counts everything between the exact product and the result: encoding, conversion and, with a `key` (consumed), the
    devices. Kernel: jit, vmap, grad; NumericsError as :func:`crossbar_mvm`.

    >>> import jax
    >>> weights, inputs = jax.random.uniform(jax.random.key(0), (2, 8, 8), minval=-1.0)
    >>> bool(product_quality_db(weights, inputs, Crossbar.create(rows=8, adc_bits=8)) > 25)
    True
    """
    return signal_to_noise_db(weights @ inputs, crossbar_mvm(weights, inputs, crossbar, key))
