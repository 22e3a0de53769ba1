"""Checks of arguments that kernels and generators share: whole numbers, real numbers, keys, arrays that may be traced."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import Array
from pimjax.checks import is_key, is_traced
from pimjax.errors import TraceError, shown


def check_sizes(**sizes: Any) -> None:
    """Positive whole numbers below 2^31, and ``top_k`` at most ``num_experts``.

    Raises:
      TraceError: names the first size that does not fit.
    """
    for name, value in sizes.items():
        check_whole(name, value, 1)
    if "top_k" in sizes and "num_experts" in sizes and sizes["top_k"] > sizes["num_experts"]:
        raise TraceError(f"top_k is {sizes['top_k']}, but there are only num_experts = {sizes['num_experts']}")


def check_whole(name: str, value: Any, least: int, most: int = 2**31 - 1) -> int:
    """One whole number from `least` to `most`.

    >>> check_whole("seed", 3, 0)
    3
    """
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not least <= value <= most:
        limit = f"from {least} to {most}" if whole and value > most else f"of at least {least}"
        raise TraceError(f"{name} is {shown(value)}: it must be a whole number {limit}")
    return int(value)


def check_seed(seed: Any) -> int:
    """A seed: a whole number from 0, as long as JAX takes it."""
    return check_whole("seed", seed, 0, 2**63 - 1)


def check_reals(
    name: str, value: Any, shape: tuple[int, ...], meaning: str, *, least: float, most: float
) -> np.ndarray:
    """Finite numbers between `least` and `most` (not these themselves where infinite), spread to `shape`; float32."""
    try:
        array = np.broadcast_to(np.asarray(value, np.float32), shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise TraceError(f"{name} is {shown(value)}: it must be {meaning}") from error
    if isinstance(value, (str, bytes, bool)) or not (np.isfinite(array) & (array >= least) & (array <= most)).all():
        raise TraceError(f"{name} is {shown(value)}: it must be {meaning}")
    return array


def check_numbers(name: str, value: Any, dims: int | None, meaning: str) -> Array:
    """A floating-point array of `dims` axes (None: any), on the host, on a device or traced.

    >>> check_numbers("scores", [[0.5, 0.5]], 2, "floats [tokens, experts]").shape
    (1, 2)
    """
    if not isinstance(value, (jax.Array, np.ndarray)):
        try:
            value = np.asarray(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise TraceError(f"{name} is {shown(value)}: it must be {meaning}") from error
    if not jnp.issubdtype(value.dtype, np.floating) or (dims is not None and value.ndim != dims):
        raise TraceError(f"{name} is {value.dtype} of shape {list(value.shape)}: it must be {meaning}")
    return jnp.asarray(value)


def check_count(name: str, value: Any, least: int = 0) -> Any:
    """Whole numbers of at least `least`, of any shape, that may be traced; others pass unchanged."""
    if is_traced(value):
        ok = jnp.issubdtype(value.dtype, np.integer)
    else:
        try:
            array = np.asarray(value)
            ok = np.issubdtype(array.dtype, np.integer) and ((array >= least) & (array < 2**31)).all()
        except (ValueError, TypeError, OverflowError):
            ok = False
    if not ok:
        raise TraceError(f"{name} is {shown(value)}: it must hold whole numbers from {least} to 2^31 - 1")
    return value


def check_key(key: Any, dims: int = 0) -> None:
    """A key of ``jax.random.key``, or an array of them."""
    if not is_key(key, dims):
        what = (
            "one key: jax.random.key(seed)"
            if dims == 0
            else "keys [requests]: jax.random.split(jax.random.key(seed), n)"
        )
        raise TraceError(f"{'key' if dims == 0 else 'keys'} is {shown(key)}: give {what}")
