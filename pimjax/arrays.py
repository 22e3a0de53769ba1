"""One set of formulas for two libraries: NumPy where all values are NumPy's or plain numbers, JAX otherwise.

Formulas that are read once on the host need no compiler; the same formulas are traced, vmapped and differentiated in
kernels. Operators work on both; what differs between the libraries, or is shorter in a compiled program than the
function of `jax.numpy` by its name, is here. Everything is an ordinary array: no wrapper.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from pimjax.array_typing import Array, ArrayLike, HostArray

_Result = TypeVar("_Result")
_HOST = (float, int, bool, np.ndarray, np.generic)


def on_device(*values: Any) -> bool:
    """Whether any of `values` is a JAX array (or a tracer of one).

    >>> on_device(1.0, np.ones(2)), on_device(1.0, jnp.ones(2))
    (False, True)
    """
    return any(not isinstance(value, _HOST) and isinstance(value, jax.Array) for value in values)


def namespace(*values: Any) -> ModuleType:
    """`jax.numpy` if any of `values` is a JAX array, else `numpy`.

    >>> namespace(np.ones(2)).__name__
    'numpy'
    """
    return jnp if on_device(*values) else np


def real_dtype(*values: Any) -> Any:
    """The floating-point type to compute in: that of the first JAX array with one, float64 on the host."""
    for value in values:
        if on_device(value) and jnp.issubdtype(value.dtype, jnp.floating):
            return value.dtype
    return jnp.result_type(float) if on_device(*values) else np.dtype(np.float64)


def as_real(tree: Any, dtype: Any, *, device: bool) -> Any:
    """Every leaf that is no flag as a floating-point value of `dtype`: JAX arrays, or NumPy scalars and arrays."""

    def convert(leaf: Any) -> Any:
        is_flag = isinstance(leaf, bool) or getattr(getattr(leaf, "dtype", None), "kind", "") == "b"
        if not device and on_device(leaf):  # a loop over lengths of one host design, in a kernel
            return leaf if leaf.dtype.kind in "fb" else leaf.astype(float)
        if device:
            array = jnp.asarray(leaf)
            return array if is_flag or array.dtype == dtype else array.astype(dtype)
        return np.asarray(leaf, None if is_flag else dtype)[()]

    return jax.tree.map(convert, tree)


def where(condition: Any, first: Any, second: Any) -> Any:
    """`first` where `condition`, else `second`. A Python bool decides while tracing: one branch is then all there is.

    >>> float(where(np.array(True), 1.0, 2.0)), where(False, 1.0, 2.0)
    (1.0, 2.0)
    """
    if isinstance(condition, bool):
        return first if condition else second
    if not on_device(condition, first, second):
        return np.where(condition, first, second)[()]
    arrays = [value for value in (first, second) if on_device(value)]
    if not arrays or any(value.dtype != arrays[0].dtype for value in arrays):
        return jnp.where(condition, first, second)
    shape = np.broadcast_shapes(np.shape(condition), np.shape(first), np.shape(second))
    chosen = jnp.asarray(condition)
    if chosen.ndim:
        chosen = spread(chosen, shape)
    return lax.select(chosen, *(_full(value, shape, arrays[0].dtype) for value in (first, second)))


def _full(value: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """`value` as an array of `shape` that JAX computes with."""
    if not on_device(value):
        if np.ndim(value) == 0:
            return _constant(np.asarray(value, dtype).tobytes(), shape, dtype) if shape else lax.full((), value, dtype)
        value = jnp.asarray(value, dtype)
    return value if value.shape == shape else jnp.broadcast_to(value, shape)


@functools.cache
def _constant(value: bytes, shape: tuple[int, ...], dtype: Any) -> HostArray:
    """A constant of `shape`, one object for all who read it: a compiled program then has it once."""
    made = np.full(shape, np.frombuffer(value, dtype)[0], dtype)
    made.setflags(write=False)
    return made


def spread(value: Any, shape: tuple[int, ...]) -> Any:
    """`value` broadcast to `shape`."""
    if on_device(value):
        return value if value.shape == shape else jnp.broadcast_to(value, shape)
    return np.broadcast_to(value, shape)


def larger(first: Any, second: Any) -> Any:
    """`max(first, second)`; where they are equal each gets half the derivative.

    >>> float(jax.grad(larger)(2.0, 2.0)), float(jax.grad(larger)(2.0, 1.0))
    (0.5, 1.0)
    """
    return _larger(*_alike(first, second)) if on_device(first, second) else np.maximum(first, second)


def smaller(first: Any, second: Any) -> Any:
    """`min(first, second)`; see :func:`larger`.

    >>> float(jax.grad(smaller)(2.0, 2.0)), float(jax.grad(smaller)(2.0, 1.0))
    (0.5, 0.0)
    """
    return _smaller(*_alike(first, second)) if on_device(first, second) else np.minimum(first, second)


def _alike(first: Any, second: Any) -> tuple[Array, Array]:
    """Both as JAX arrays of one shape and type."""
    dtype = (first if on_device(first) else second).dtype
    shape = np.broadcast_shapes(np.shape(first), np.shape(second))
    return _full(first, shape, dtype), _full(second, shape, dtype)


@jax.custom_jvp
def _larger(first: Array, second: Array) -> Array:
    return lax.max(first, second)


@jax.custom_jvp
def _smaller(first: Array, second: Array) -> Array:
    return lax.min(first, second)


@_larger.defjvp
def _larger_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    first, second = primals
    return lax.max(first, second), _between(*tangents, first > second, first >= second)


@_smaller.defjvp
def _smaller_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    first, second = primals
    return lax.min(first, second), _between(*tangents, first < second, first <= second)


def _between(first: Array, second: Array, better: Array, no_worse: Array) -> Array:
    """The derivative of the first where it is better, and half of each where they are alike."""
    # shorter than the derivative of jnp.maximum, in both directions: one factor, kept, times a difference
    dtype = first.dtype
    return second + (better.astype(dtype) + no_worse.astype(dtype)) * 0.5 * (first - second)


def whole_up(ratio: Any) -> Any:
    """`ceil(ratio)`; its gradient is that of `ratio` (straight-through).

    >>> float(whole_up(2.2)), float(jax.grad(whole_up)(2.2))
    (3.0, 1.0)
    """
    return _ceil(ratio) if on_device(ratio) else np.ceil(ratio)


@jax.custom_jvp
def _ceil(ratio: Array) -> Array:
    return lax.ceil(ratio)


@_ceil.defjvp
def _ceil_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return lax.ceil(primals[0]), tangents[0]


def whole_down(ratio: Any) -> Any:
    """`floor(ratio)`; its gradient is zero."""
    return lax.floor(fixed(ratio)) if on_device(ratio) else np.floor(ratio)


def fixed(value: Any) -> Any:
    """`value` without a derivative."""
    return lax.stop_gradient(value) if on_device(value) else value


def apart(value: Any, one: Any) -> Any:
    """`value`, computed once in a compiled program: not again in every loop that reads it.

    XLA copies a chain of cheap operations into each of its users, and the derivatives of a latency have seventy. It
    copies no division, so this is one, by a one that it cannot know. On the host there is nothing to do.

    >>> apart(2.0, 1.0)
    2.0
    """
    return value / one if on_device(value) else value


def subroutine(function: Callable[..., _Result]) -> Callable[..., _Result]:
    """`function` of arrays as one function of a compiled program, which calls it wherever it is used.

    What phases have in common is then traced once for each kind of arguments, not once for each use, and the program is
    shorter by that. On the host it is the function itself.

    >>> twice = subroutine(lambda value: value + value)
    >>> twice(2.0), float(twice(jnp.ones(())))
    (4.0, 2.0)
    """
    compiled = jax.jit(function)

    @functools.wraps(function)
    def call(*arguments: Any) -> _Result:
        return (compiled if on_device(*jax.tree.leaves(arguments)) else function)(*arguments)

    return call


def blocks(values: Any, size: Any) -> Any:
    """Crossbar blocks that `values` rows or columns fill: `ceil(values / size)`, straight-through.

    >>> float(blocks(688.0, 256.0))
    3.0
    """
    return whole_up(values / size)


def stack(values: Sequence[Any]) -> Any:
    """`values`, of one shape or plain numbers, along a new first axis."""
    if not on_device(*values):
        return np.stack(values)
    first = next(value for value in values if on_device(value))
    rows: dict[Any, Array] = {}  # one row for each different value
    for value in values:
        key = id(value) if on_device(value) else value
        if key not in rows:
            rows[key] = _full(value, first.shape, first.dtype)[None]
    return lax.concatenate([rows[id(value) if on_device(value) else value] for value in values], 0)


def join(values: Sequence[Any], axis: int = 0) -> Any:
    """`values` one after the other along an axis that they have."""
    return namespace(*values).concatenate(values, axis)


def pick(values: Any, index: int, axis: int = 0) -> Any:
    """The entry `index` (static) of one axis."""
    if on_device(values):
        return lax.index_in_dim(values, index, axis, keepdims=False)
    return values[(slice(None),) * (axis % np.ndim(values)) + (index,)]


def chosen(values: Any, index: Any) -> Any:
    """Entries of the last axis `[..., M]` at whole numbers `[L]`: `[..., L]`; scalars stay as they are.

    >>> chosen(np.array([3.0, 5.0]), np.array([1.0, 1.0, 0.0])).tolist(), chosen(2.0, np.array([0.0]))
    ([5.0, 5.0, 3.0], 2.0)
    """
    if np.ndim(values) == 0:
        return values
    if on_device(values, index):
        place = index.astype(np.int32) if on_device(index) else np.asarray(index, np.int32)
        return jnp.take(values, place, axis=-1, mode="clip")
    return np.take(values, np.asarray(index, np.int64), axis=-1)


def placed(values: Any, before: int, after: int) -> Any:
    """`values` `[n]` with zeros on both sides."""
    if on_device(values):
        return lax.pad(values, jnp.zeros((), values.dtype), [(before, after, 0)])
    return np.pad(values, (before, after))


def scan(step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, rows: Any) -> tuple[Any, Any]:
    """`lax.scan` in kernels, a Python loop on the host and over a single row. `rows`: leaves `[n, ...]`, n >= 1."""
    leaves, structure = jax.tree.flatten(rows)
    length = int(np.shape(leaves[0])[0])
    if length > 1 and on_device(*leaves, *jax.tree.leaves(carry)):
        return lax.scan(step, carry, rows)
    kept = []
    for index in range(length):
        carry, out = step(carry, structure.unflatten([leaf[index] for leaf in leaves]))
        kept.append(out)
    if kept[0] is None:
        return carry, None
    return carry, jax.tree.map(lambda *outs: namespace(*outs).stack(outs), *kept)


def bit_length(count: Any) -> Any:
    """Bits of a whole number of at least 0 that fits 32 bits: `ceil(log2(count + 1))`, exact.

    >>> bit_length(np.array([1, 3, 4, 128])).tolist()
    [1, 2, 3, 8]
    """
    if on_device(count):
        return 32 - lax.clz(count.astype(jnp.int32))
    return np.frexp(np.asarray(count, np.float64))[1]


def like_host(value: ArrayLike) -> bool:
    """Whether a value is known now: NumPy, a plain number, or a JAX array that is no tracer."""
    return not isinstance(value, jax.core.Tracer)


def add_at(array: Any, index: tuple[Any, ...], values: Any) -> Any:
    """`array` with `values` added at `index`: repeated places count every time, places beyond the end do not count.

    Args:
        array: NumPy (changed in place) or JAX.
        index: one integer array per axis, from 0; they and `values` broadcast.
        values: numbers.

    >>> add_at(np.zeros(3, int), (np.array([0, 2, 2, 3]),), 1).tolist()
    [1, 0, 2]
    """
    if on_device(array):
        return array.at[index].add(values, mode="drop")
    *places, values = np.broadcast_arrays(*index, values)
    inside = np.logical_and.reduce([place < size for place, size in zip(places, array.shape, strict=True)])
    np.add.at(array, tuple(place[inside] for place in places), values[inside])
    return array


def running_max(array: Any) -> Any:
    """Largest entry so far along the last axis.

    >>> running_max(np.array([1, 3, 2])).tolist()
    [1, 3, 3]
    """
    if on_device(array):
        return lax.cummax(array, axis=array.ndim - 1)
    return np.maximum.accumulate(array, axis=-1)
