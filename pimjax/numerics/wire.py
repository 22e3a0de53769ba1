"""Wire resistance: what the rows and columns of a crossbar leave of its conductances.

The circuit (that of CrossSim's parasitic solver and of badcrossbar): input i drives the left end of row wire i, every
column wire j ends in virtual ground at the bottom, a segment of wire lies between neighbouring cells and one more
before the first and behind the last. With device currents I, conductances G and drive V, Kirchhoff's laws are

    I = G * (V - r_row (I shared row segments) - r_col (I shared column segments)),

linear with matrix 1 + G K, K symmetric positive definite. Conjugate gradients on 1 + sqrt(G) K sqrt(G) need about ten
steps where the fixed-point iteration diverges (256 x 256, 2 ohm against 10 kohm). The response to the inputs is linear,
so a tile is solved once, when it is programmed, and `effective_conductance` then stands in for its cells.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array, ArrayLike
from pimjax.numerics.relax import safe_sqrt


def device_currents(
    conductance: Array,
    voltages: Array,
    *,
    wire_row: ArrayLike,
    wire_col: ArrayLike,
    max_iterations: int = 200,
) -> Array:
    """Currents [cols, rows, batch] through the cells of one crossbar.

    `conductance` [cols, rows] relative to g_max, `voltages` [rows, batch], `wire_row` and `wire_col` resistance of one
    segment times g_max. Column outputs are the sum over rows. Solved to 20 units in the last place of the dtype;
    a lane not solved after `max_iterations` is NaN. Differentiable in: conductance, voltages, wire resistances
    (implicitly; the iterations are not unrolled).

    >>> currents = device_currents(jnp.ones((1, 1)), jnp.ones((1, 1)), wire_row=0.5, wire_col=0.5)
    >>> float(currents[0, 0, 0])  # one cell and two segments in series
    0.5
    """
    dtype = jnp.result_type(conductance, voltages)
    wire_row, wire_col = jnp.asarray(wire_row, dtype), jnp.asarray(wire_col, dtype)
    cells = conductance[:, :, None].astype(dtype)
    # The iteration is not differentiated; the solution is, through the linear system itself.
    root = safe_sqrt(jax.lax.stop_gradient(cells))

    def drop(currents: Array) -> Array:
        return wire_row * _along_rows(currents) + wire_col * _along_columns(currents)

    def symmetric(right: Array) -> Array:
        return _conjugate_gradients(lambda u: u + root * drop(root * u), right, max_iterations)

    return jax.lax.custom_linear_solve(
        lambda currents: currents + cells * drop(currents),
        cells * voltages[None].astype(dtype),
        solve=lambda _, b: b - root * symmetric(root * drop(b)),
        transpose_solve=lambda _, c: c - drop(root * symmetric(root * c)),
    )


def effective_conductance(
    conductance: Array,
    *,
    wire_row: ArrayLike,
    wire_col: ArrayLike,
    max_iterations: int = 200,
    chunk: int = 8,
) -> Array:
    """Conductances [cols, rows] that, without wires, give the output currents this crossbar has with them.

    The columns of the result are the responses to each input alone, solved `chunk` at a time.
    Same units, gradients and NaN rule as :func:`device_currents`.

    >>> effective_conductance(jnp.ones((1, 2)), wire_row=0.0, wire_col=0.0).tolist()
    [[1.0, 1.0]]
    """

    rows = conductance.shape[1]
    chunk = min(chunk, rows)
    chunks = -(-rows // chunk)

    def responses(first: Array) -> Array:
        inputs = first + jnp.arange(chunk)
        drive = (jnp.arange(rows)[:, None] == inputs[None, :]).astype(conductance.dtype)
        currents = device_currents(
            conductance, drive, wire_row=wire_row, wire_col=wire_col, max_iterations=max_iterations
        )
        return jnp.sum(currents, axis=1)

    solved = jax.lax.map(responses, chunk * jnp.arange(chunks))  # [chunks, cols, chunk]
    return jnp.moveaxis(solved, 0, 1).reshape(conductance.shape[0], -1)[:, :rows]


def _sum_from(values: Array, axis: int, *, reverse: bool) -> Array:
    """Running sum along an axis as a scan: on a CPU ten times faster than `cumsum` of a middle axis."""

    def add(total: Array, value: Array) -> tuple[Array, Array]:
        total = total + value
        return total, total

    moved = jnp.moveaxis(values, axis, 0)
    summed = jax.lax.scan(add, jnp.zeros_like(moved[0]), moved, reverse=reverse, unroll=4)[1]
    return jnp.moveaxis(summed, 0, axis)


def _along_rows(currents: Array) -> Array:
    """Voltage lost on the row wires, per unit of segment resistance: driver before column 0."""
    return _sum_from(_sum_from(currents, 0, reverse=True), 0, reverse=False)


def _along_columns(currents: Array) -> Array:
    """Voltage lost on the column wires, per unit of segment resistance: ground behind the last row."""
    return _sum_from(_sum_from(currents, 1, reverse=False), 1, reverse=True)


def _conjugate_gradients(apply: Callable[[Array], Array], right: Array, max_iterations: int) -> Array:
    """Solve the positive definite system per lane (last axis); NaN where `max_iterations` did not suffice."""
    tolerance = (20 * jnp.finfo(right.dtype).eps) ** 2

    def dot(a: Array, b: Array) -> Array:
        return jnp.sum(a * b, axis=(0, 1), keepdims=True)

    target = tolerance * dot(right, right)

    def unsolved(state: tuple[Array, ...]) -> Array:
        count, _, _, _, size = state
        return (count < max_iterations) & jnp.any(size > target)

    def improve(state: tuple[Array, ...]) -> tuple[Array, ...]:
        count, solution, residual, direction, size = state
        moved = apply(direction)
        curvature = dot(direction, moved)
        length = jnp.where(curvature > 0, size / jnp.where(curvature > 0, curvature, 1), 0)
        solution = solution + length * direction
        residual = residual - length * moved
        new_size = dot(residual, residual)
        ratio = jnp.where(size > 0, new_size / jnp.where(size > 0, size, 1), 0)
        return count + 1, solution, residual, residual + ratio * direction, new_size

    size = dot(right, right)
    state = (jnp.zeros((), jnp.int32), jnp.zeros_like(right), right, right, size)
    _, solution, _, _, size = jax.lax.while_loop(unsolved, improve, state)
    return jnp.where(size <= target, solution, jnp.nan)
