"""Compiler options for programs that run once: compiling them costs a thousand times their run."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

# Not level 0: together with the older emitters it gave NaN derivatives of the multiplexed chip (jaxlib 0.10.2), where
# either option alone, this pair, and evaluation operation by operation give the right ones.
_ONCE = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 1}


@functools.cache
def quick_compilation() -> dict[str, bool | int] | None:
    """Options of `jax.jit(..., compiler_options=...)` that shorten the compile time of a scalar program on CPUs.

    None on other backends and where this version of the compiler does not know the options.

    >>> import jax
    >>> float(jax.jit(lambda x: x + 1, compiler_options=quick_compilation())(1.0))
    2.0
    """
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda value: value + 1, compiler_options=_ONCE)(jnp.zeros(())).block_until_ready()
    except Exception:  # the compiler names options it does not have by an exception of its own
        return None
    return dict(_ONCE)
