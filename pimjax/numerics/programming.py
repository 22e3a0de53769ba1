"""Writing weights into crossbars: from real matrices to the cell values that every later read sees."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from pimjax import checks
from pimjax.array_typing import Array
from pimjax.errors import NumericsError
from pimjax.numerics import faults, noise
from pimjax.numerics.device import Device
from pimjax.numerics.draws import standard_normal, uniform
from pimjax.numerics.encode import Code, code_of, cut, to_integers
from pimjax.numerics.settings import Crossbar
from pimjax.numerics.sharing import Converters, draw_converters
from pimjax.numerics.wire import effective_conductance


@struct.dataclass
class Programmed:
    """A weight matrix as it lies in the crossbars; made by :func:`program`, read by :func:`.mvm.read`.

    Cell values are in code units (1 is one level of the cell), blocks are runs of `rows` consecutive inputs; the last
    block is filled up with cells that conduct nothing.
    """

    num_inputs: int = struct.field(pytree_node=False)
    cells: Array  # [slices, blocks, out, rows] positive minus negative device
    read_variance: Array | None  # [slices, blocks, out, rows] code units squared; None without a key
    digital_sum: Array  # [out] sum over the inputs of the stored integers, known exactly to the digital side
    drift_gain: Array  # [] what the digital side multiplies results by to make up for drift
    converters: Converters | None  # gain and offset errors; None: no errors


def weight_code(crossbar: Crossbar) -> Code:
    """How weights are cut into cells."""
    return code_of(crossbar.weight_bits, crossbar.cell_bits, crossbar.weight_offset)


def is_exact(device: Device) -> Array:
    """Whether cells, without random effects, hold exactly the integers written: bool []."""
    drifts = (device.drift_scale != 0) & (device.drift_time_s > device.drift_start_s)
    return (device.off_conductance == 0) & ~drifts & (device.programming_floor == 0)


@checks.checked(
    NumericsError,
    weights=checks.numbers(dims=2, filled=True, valued=False),
    crossbar=checks.instance(Crossbar, "a Crossbar from Crossbar.create"),
    key=checks.key,
    converters=checks.instance(Converters, "Converters"),
)
def program(
    weights: Array, crossbar: Crossbar, *, key: Array | None = None, converters: Converters | None = None
) -> Programmed:
    """Write `weights` [out, in] (values in [-1, 1]) into tiles of `crossbar` (settings as arrays).

    With a `key` (consumed): stuck cells, programming noise, drift and converter errors are drawn once, here.
    Without: only what is deterministic (conductance window, mean drift, wires). `converters` replaces the drawn ones,
    for arrays that share theirs (:func:`.sharing.draw_shared_converters`).
    Differentiable in: weights (straight-through), device levels.
    """
    code = weight_code(crossbar)
    integers = to_integers(weights, code)
    pieces = cut(integers, code, crossbar.max_slices)  # [slices, out, in]
    device = crossbar.device
    if key is None and crossbar.wire_sweeps == 0:
        # Only the branch taken runs: ideal cells cost no logarithms.
        # Two conditionals, one array each: XLA on a CPU needs 6 ms more for one with a pair as its result.
        exact = is_exact(device)
        cells = jax.lax.cond(exact, lambda p: p, lambda p: _difference(p, code, crossbar), pieces)
        gain = jax.lax.cond(
            exact, lambda p: jnp.ones((), p.dtype), lambda p: _planes(p, code, crossbar, None)[2], pieces
        )
        return _programmed(cells, None, integers + code.offset, gain, crossbar, None, converters)

    keys = (None, None) if key is None else tuple(jax.random.split(key))
    planes, targets, gain = _planes(pieces, code, crossbar, keys[0])
    variance = None
    if key is not None:
        deviation = noise.read_deviation(planes, device, target=targets)
        variance = code.full**2 * jnp.sum(deviation**2, axis=0)
        if crossbar.read_phases == 1:
            variance = variance + _polarity_variance(pieces, device)
    if crossbar.wire_sweeps:
        planes = jax.vmap(lambda plane: _behind_wires(plane, crossbar))(planes)
    cells = (planes[0] - planes[1]) * code.full
    return _programmed(cells, variance, integers + code.offset, gain, crossbar, keys[1], converters)


def _polarity_variance(pieces: Array, device: Device) -> Array:
    """Variance [slices, out, in] of cells whose products of one sign are read in the other polarity of the voltage.

    A read of all signs at once drives products above 0 with one polarity and those below with the other, and a cell's
    conductance differs between the two (doi 10.1038/s44335-024-00010-4). The mean of the difference is calibrated
    away; its spread meets half of the products, and counts as noise of the read. Four phases use one polarity.
    """
    return 0.5 * jnp.square(device.polarity_spread * pieces)


def _planes(pieces: Array, code: Code, crossbar: Crossbar, key: Array | None) -> tuple[Array, Array, Array]:
    """Conductances and targets [2, slices, out, in] of the positive and negative devices, and the drift gain []."""
    device = crossbar.device
    signs = jnp.array([1, -1], pieces.dtype)[:, None, None, None]
    target = faults.in_window(jnp.maximum(signs * pieces[None], 0) / code.full, device)
    writing = drift = fault = None
    if key is not None:
        normal_key, uniform_key = jax.random.split(key)
        writing, drift = standard_normal(normal_key, (2, *target.shape), target.dtype)
        fault = uniform(uniform_key, target.shape, target.dtype)
    written = noise.programmed(target, device, draw=writing)
    drifted = noise.drifted(written, device, target=target, draw=drift)
    conductance = faults.stuck(drifted, device, draw=fault)
    # An offset code has no negative devices at all.
    present = jnp.stack([jnp.ones((), pieces.dtype), 1 - crossbar.weight_offset])[:, None, None, None]
    # One reading of the whole array after programming and one now (global drift compensation).
    loss = jnp.sum(drifted * present) / jnp.maximum(jnp.sum(written * present), jnp.finfo(pieces.dtype).tiny)
    gain = jnp.where((device.drift_compensation > 0) & (loss > 0), 1 / jnp.where(loss > 0, loss, 1), 1)
    return conductance * present, target, gain


def _difference(pieces: Array, code: Code, crossbar: Crossbar) -> Array:
    planes, _, _ = _planes(pieces, code, crossbar, None)
    return (planes[0] - planes[1]) * code.full


def _programmed(
    cells: Array,
    variance: Array | None,
    stored: Array,
    drift_gain: Array,
    crossbar: Crossbar,
    key: Array | None,
    converters: Converters | None,
) -> Programmed:
    slices, out, num_inputs = cells.shape
    blocks = -(-num_inputs // crossbar.rows)
    if converters is None and key is not None:
        converters = draw_converters(crossbar, (slices, blocks, out), key=key, dtype=cells.dtype)
    return Programmed(
        num_inputs=num_inputs,
        cells=into_blocks(cells, crossbar.rows, axis=2),
        read_variance=None if variance is None else into_blocks(variance, crossbar.rows, axis=2),
        digital_sum=jnp.sum(stored, axis=1),
        drift_gain=drift_gain,
        converters=converters,
    )


def into_blocks(matrix: Array, rows: int, *, axis: int) -> Array:
    """Cut `axis` (inputs) into blocks of `rows`, zero-filled: [s, out, in] -> [s, blocks, out, rows] (axis 2) or
    [c, in, batch] -> [c, blocks, rows, batch] (axis 1). A single block keeps its own length."""
    length = matrix.shape[axis]
    blocks = -(-length // rows)
    rows = min(rows, length)
    widths = [(0, 0)] * matrix.ndim
    widths[axis] = (0, blocks * rows - length)
    padded = jnp.pad(matrix, widths) if widths[axis][1] else matrix
    shape = (*matrix.shape[:axis], blocks, rows, *matrix.shape[axis + 1 :])
    return jnp.moveaxis(padded.reshape(shape), axis, 1)


def _behind_wires(plane: Array, crossbar: Crossbar) -> Array:
    """Replace every tile's conductances by what its wires leave of them; [slices, out, in]."""
    out = plane.shape[1]
    tiles = into_blocks(plane, crossbar.rows, axis=2)  # [s, blocks, out, rows]
    slices, blocks, _, rows = tiles.shape
    widths = -(-out // crossbar.cols)
    cols = min(crossbar.cols, out)
    tiles = jnp.pad(tiles, ((0, 0), (0, 0), (0, widths * cols - out), (0, 0)))
    tiles = tiles.reshape(slices * blocks * widths, cols, rows)
    solved = jax.lax.map(
        lambda g: effective_conductance(
            g, wire_row=crossbar.wire_row, wire_col=crossbar.wire_col, max_iterations=crossbar.wire_sweeps
        ),
        tiles,
    )
    solved = solved.reshape(slices, blocks, widths * cols, rows)[:, :, :out]
    return jnp.moveaxis(solved, 1, 2).reshape(slices, out, blocks * rows)[:, :, : plane.shape[2]]
