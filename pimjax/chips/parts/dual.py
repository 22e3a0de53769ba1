"""Values with their derivatives along fixed directions, carried forward: the components' shares of a latency.

A latency is homogeneous in the durations: scale them all and it scales. Its derivatives by one factor per component
are therefore the components' shares, and every operation between durations and latency is an addition, a product with
a plain number, a maximum or a choice. A :class:`Dual` carries exactly these through, on NumPy and JAX arrays alike;
two duals are never multiplied. The functions of this module take plain values as well, and leave them plain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from pimjax import arrays


@jax.tree_util.register_pytree_node_class
class Dual:
    """`value` of any shape and `tangent` `[D, ...]`: as many dimensions as the value and one more in front, each of the
    value's size or 1.

    >>> one = Dual(np.float64(3.0), np.array([1.0, 0.0]))
    >>> two = Dual(np.float64(3.0), np.array([0.0, 1.0]))
    >>> larger(2.0 * one, one + two).tangent.tolist()  # equal: half of each
    [1.5, 0.5]
    """

    __array_ufunc__ = None  # NumPy leaves operators to this class
    __slots__ = ("tangent", "value")

    def __init__(self, value: Any, tangent: Any) -> None:
        self.value, self.tangent = value, tangent

    def tree_flatten(self) -> tuple[tuple[Any, Any], None]:
        """Children of the pytree node."""
        return (self.value, self.tangent), None

    @classmethod
    def tree_unflatten(cls, _: None, children: Sequence[Any]) -> Dual:
        """The node of `children`."""
        return cls(*children)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return np.shape(self.value)

    def __add__(self, other: Any) -> Dual:
        value = self.value + value_of(other)
        rank = np.ndim(value)
        tangent = _raised(self.tangent, rank)
        return Dual(value, tangent + _raised(other.tangent, rank) if isinstance(other, Dual) else tangent)

    def __sub__(self, other: Any) -> Dual:
        value = self.value - value_of(other)
        rank = np.ndim(value)
        tangent = _raised(self.tangent, rank)
        return Dual(value, tangent - _raised(other.tangent, rank) if isinstance(other, Dual) else tangent)

    def __rsub__(self, other: Any) -> Dual:
        return -self + other

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.tangent)

    def __mul__(self, factor: Any) -> Dual:
        if isinstance(factor, Dual):
            raise TypeError("two durations are never multiplied: latency is homogeneous in the durations")
        value = self.value * factor
        return Dual(value, _times(self.tangent, value, factor))

    def __truediv__(self, factor: Any) -> Dual:
        value = self.value / factor
        return Dual(value, _times(self.tangent, value, 1.0 / factor))

    __radd__, __rmul__ = __add__, __mul__

    def __gt__(self, other: Any) -> Any:
        return self.value > value_of(other)

    def __le__(self, other: Any) -> Any:
        return self.value <= value_of(other)

    def __getitem__(self, index: int | slice | None) -> Dual:
        """Along the first axis; None: a new one."""
        return Dual(self.value[index], _spread_tangent(self)[:, index])


def value_of(value: Any) -> Any:
    """The value without its derivatives."""
    return value.value if isinstance(value, Dual) else value


def _times(tangent: Any, value: Any, factor: Any) -> Any:
    """The tangent of `value`, a product with the plain `factor`."""
    rank = np.ndim(value)
    if not arrays.on_device(tangent, factor) or np.ndim(factor) == 0:
        return _raised(tangent, rank) * factor
    shape = (tangent.shape[0], *np.shape(value))
    behind = range(1 + rank - np.ndim(factor), 1 + rank)
    return _raised(tangent, rank) * lax.broadcast_in_dim(factor, shape, tuple(behind))


def _raised(tangent: Any, rank: int) -> Any:
    """A tangent of a value with fewer dimensions, as of one with `rank`."""
    missing = rank + 1 - np.ndim(tangent)
    return tangent if missing <= 0 else tangent.reshape(tangent.shape[:1] + (1,) * missing + tangent.shape[1:])


def _spread_tangent(dual: Dual, shape: tuple[int, ...] | None = None) -> Any:
    shape = dual.shape if shape is None else shape
    tangent = dual.tangent
    full = (tangent.shape[0], *shape)
    if tangent.shape == full:
        return tangent
    if not arrays.on_device(tangent):
        return np.broadcast_to(_raised(tangent, len(shape)), full)
    return lax.broadcast_in_dim(tangent, full, (0, *range(1 + len(full) - tangent.ndim, len(full))))


def _tangents(first: Any, second: Any, rank: int) -> list[Any]:
    """Tangents of two values of which one at least is a dual; a plain value's is 0."""
    return [_raised(one.tangent, rank) if isinstance(one, Dual) else 0.0 for one in (first, second)]


def _either(condition: Any, first: Any, second: Any) -> Any:
    """`where` over tangents that may have sizes of 1, or be 0."""
    if arrays.on_device(condition, first, second):
        shape = np.broadcast_shapes(np.shape(condition), np.shape(first), np.shape(second))
        return arrays.where(arrays.spread(condition, shape) if np.ndim(condition) else condition, first, second)
    return np.where(condition, first, second)


def where(condition: Any, first: Any, second: Any) -> Any:
    """`first` where `condition` (plain), else `second`."""
    if not (isinstance(first, Dual) or isinstance(second, Dual)):
        return arrays.where(condition, first, second)
    if isinstance(condition, bool):
        return first if condition else second
    value = arrays.where(condition, value_of(first), value_of(second))
    return Dual(value, _either(condition, *_tangents(first, second, np.ndim(value))))


def larger(first: Any, second: Any) -> Any:
    """`max(first, second)`; where they are equal each gets half the derivative."""
    if not (isinstance(first, Dual) or isinstance(second, Dual)):
        return arrays.larger(first, second)
    one, other = value_of(first), value_of(second)
    return _between(first, second, arrays.larger(one, other), one > other, one >= other)


def smaller(first: Any, second: Any) -> Any:
    """`min(first, second)`; see :func:`larger`."""
    if not (isinstance(first, Dual) or isinstance(second, Dual)):
        return arrays.smaller(first, second)
    one, other = value_of(first), value_of(second)
    return _between(first, second, arrays.smaller(one, other), one < other, one <= other)


def _between(first: Any, second: Any, value: Any, better: Any, no_worse: Any) -> Dual:
    """`value`, whose derivatives are those of `first` where it is better, and half of each where they are alike."""
    # one small factor for all directions: in compiled programs shorter than choices among tangents
    weight = (better.astype(value.dtype) + no_worse.astype(value.dtype)) * 0.5
    if not isinstance(second, Dual):
        return Dual(value, _times(first.tangent, value, weight))
    if not isinstance(first, Dual):
        return Dual(value, _times(second.tangent, value, 1 - weight))
    mine, others = _raised(first.tangent, np.ndim(value)), _raised(second.tangent, np.ndim(value))
    return Dual(value, others + _times(mine - others, value, weight))


def apart(value: Any, one: Any) -> Any:
    """:func:`pimjax.arrays.apart` of a value; shares are left as they are."""
    if isinstance(value, Dual):
        return Dual(arrays.apart(value.value, one), value.tangent)
    return arrays.apart(value, one)


def spread(value: Any, shape: tuple[int, ...]) -> Any:
    """`value` broadcast to `shape`."""
    if isinstance(value, Dual):
        return Dual(arrays.spread(value.value, shape), _spread_tangent(value, shape))
    return arrays.spread(value, shape)


def total(values: Any, axis: int) -> Any:
    """Sum over one axis, counted from the end (negative)."""
    if isinstance(values, Dual):
        return Dual(values.value.sum(axis), _spread_tangent(values).sum(axis))
    return values.sum(axis)


def largest(values: Any, axis: int) -> Any:
    """Maximum over one axis, counted from the end (negative); equal largest ones share the derivative."""
    if not isinstance(values, Dual):
        return values.max(axis)
    value = values.value.max(axis)
    namespace = arrays.namespace(value)
    best = (values.value == namespace.expand_dims(value, axis)).astype(value.dtype)
    weight = best / best.sum(axis, keepdims=True)
    return Dual(value, _times(values.tangent, values.value, weight).sum(axis))


def pick(values: Any, index: int, axis: int = -1) -> Any:
    """The entry `index` (static) of an axis counted from the end (negative)."""
    if isinstance(values, Dual):
        return Dual(arrays.pick(values.value, index, axis), arrays.pick(_spread_tangent(values), index, axis))
    return arrays.pick(values, index, axis)


def chosen(values: Any, index: Any) -> Any:
    """Entries of the last axis at whole numbers, see :func:`pimjax.arrays.chosen`; scalars stay as they are."""
    if not isinstance(values, Dual):
        return arrays.chosen(values, index)
    if not np.ndim(values.value):
        return values
    return Dual(arrays.chosen(values.value, index), arrays.chosen(_spread_tangent(values), index))


def join(values: Sequence[Any], axis: int = 0) -> Any:
    """One after the other along an axis counted from the start; duals all of them, or none."""
    if not isinstance(values[0], Dual):
        return arrays.join(values, axis)
    tangents = [_spread_tangent(value) for value in values]
    return Dual(arrays.join([value.value for value in values], axis), arrays.join(tangents, axis + 1))


def swapped(values: Any) -> Any:
    """A table with its two axes exchanged."""
    if isinstance(values, Dual):
        return Dual(values.value.T, _spread_tangent(values).swapaxes(1, 2))
    return values.T


def taken(values: Any, index: Any) -> Any:
    """The entry `index` (data) of the value's first axis."""
    if isinstance(values, Dual):
        swapped = values.tangent.swapaxes(0, 1)
        return Dual(taken(values.value, index), taken(swapped, index))
    return lax.dynamic_index_in_dim(values, index, keepdims=False) if arrays.on_device(values) else values[index]


def pushed(newest: Any, values: Any) -> Any:
    """`newest` before the values of the first axis, of which the last falls out."""
    if isinstance(newest, Dual):
        tangents = arrays.join([_spread_tangent(newest)[:, None], values.tangent[:, :-1]], 1)
        return Dual(pushed(newest.value, values.value), tangents)
    return arrays.join([newest[None], values[:-1]])


def scan(step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, rows: Any) -> tuple[Any, Any]:
    """:func:`pimjax.arrays.scan`; duals among the rows are cut along the value's first axis."""

    def each(change: Callable[[Dual], Dual], tree: Any) -> Any:
        return jax.tree.map(
            lambda leaf: change(leaf) if isinstance(leaf, Dual) else leaf,
            tree,
            is_leaf=lambda leaf: isinstance(leaf, Dual),
        )

    def full(dual: Dual) -> Dual:
        return Dual(dual.value, _spread_tangent(dual))

    def swapped(dual: Dual) -> Dual:
        return Dual(dual.value, dual.tangent.swapaxes(0, 1))

    def body(carry: Any, row: Any) -> tuple[Any, Any]:
        return each(full, step(carry, row))

    end, out = arrays.scan(body, each(full, carry), each(lambda dual: swapped(full(dual)), rows))
    return end, each(swapped, out)
