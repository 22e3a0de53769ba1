"""Where would the next improvement go, and a few steps along the gradient.

python examples/tune_by_gradient.py
"""

import functools

import jax
import jax.numpy as jnp

import pimjax

config = pimjax.reference_config()
design, capacity = pimjax.build(config)
names = ("mvm_latency_ns", "num_digital_units", "add_latency_ns_per_256", "link_latency_ns_per_256")


def log_delay_energy(log_scale: jax.Array) -> jax.Array:
    """log(energy x delay) when each named number is multiplied by exp(log_scale)."""
    values = {name: jnp.asarray(getattr(design.hardware, name)) * jnp.exp(log_scale[i]) for i, name in enumerate(names)}
    point = design.replace(hardware=design.hardware.replace(**values))
    kernel = functools.partial(pimjax.estimate_kernel, capacity=capacity, chip_model="reference", fidelity="closed")
    return jnp.log(kernel(point, None).edp_nj_ns)


gradient = jax.jit(jax.grad(log_delay_energy))
scale = jnp.zeros(len(names))
for name, value in zip(names, gradient(scale), strict=True):
    print(f"d log EDP / d log {name:<26} {value:+.3f}")

for _ in range(5):
    scale = jnp.clip(scale - 0.3 * gradient(scale), -0.7, 0.7)
print(
    "scales after five steps within a factor of two:",
    {n: round(float(s), 2) for n, s in zip(names, jnp.exp(scale), strict=True)},
)
