"""Signal-to-quantisation-noise ratio of a crossbar against ADC bits, all settings in one compiled call.

python examples/accuracy_against_adc_bits.py
"""

import jax
import jax.numpy as jnp

import pimjax

key_weights, key_inputs = jax.random.split(jax.random.key(0))
weights = jnp.clip(0.3 * jax.random.normal(key_weights, (128, 256)), -1, 1)
inputs = jnp.clip(0.3 * jax.random.normal(key_inputs, (256, 64)), -1, 1)
bits = jnp.arange(3.0, 11.0)


def sqnr_db(adc_bits: jax.Array) -> jax.Array:
    """Signal over error power of the crossbar's product."""
    crossbar = pimjax.Crossbar(adc_bits=adc_bits, adc_range=jnp.array([4.0]))
    exact = weights @ inputs
    error = pimjax.crossbar_mvm(weights, inputs, crossbar) - exact
    return 10 * jnp.log10(jnp.mean(exact**2) / jnp.mean(error**2))


for count, value in zip(bits, jax.jit(jax.vmap(sqnr_db))(bits), strict=True):
    print(f"{int(count):2d} bits: {value:5.1f} dB")
