"""`crossbar_mvm`: the matrix-vector product of analog crossbars, tile by tile, conversion by conversion.

Every tile holds a block of `rows` consecutive inputs. Per block, weight slice and input cycle one analog sum per output
is converted; the codes are shifted, added over cycles, blocks and slices digitally, and scaled back. Codes and cell
values are whole numbers held in floating point, so sums are exact below 2^24 (float32) and equal codes mean equal
results on every machine, as long as the product itself is exact: float32 operands are multiplied at
`Precision.HIGHEST` (on a GPU the default would round them to TF32), bfloat16 and int8 operands hold the pieces exactly.

Source of the method: CrossSim 3.2 (balanced and bit-sliced cores); the numbers are held equal by `tests/golden`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pimjax import checks
from pimjax.array_typing import Array
from pimjax.errors import NumericsError
from pimjax.numerics.adc import Levels, adc_levels, adc_step, to_codes
from pimjax.numerics.encode import Code, code_of, cut, piece_weights, to_integers
from pimjax.numerics.programming import Programmed, into_blocks, is_exact, program, weight_code
from pimjax.numerics.relax import safe_sqrt
from pimjax.numerics.settings import Crossbar, as_arrays, check_crossbar, is_concrete

_LARGEST_PIECE = {"float32": 2**16, "bfloat16": 2**8, "int8": 2**7 - 1}  # whole numbers each type holds exactly
OPERANDS = tuple(_LARGEST_PIECE)
_PACK = 4096.0  # two cycles share one product: first + 4096 * second
_PACK_LIMIT = 2048  # sums below this can be told apart again


@checks.checked(
    NumericsError,
    weights=checks.numbers(valued=False),
    inputs=checks.numbers(valued=False),
    crossbar=checks.instance(Crossbar, "a Crossbar from Crossbar.create"),
    key=checks.key,
    operands=checks.word(*OPERANDS),
    packing=checks.flag,
)
def crossbar_mvm(
    weights: Array,
    inputs: Array,
    crossbar: Crossbar,
    key: Array | None = None,
    *,
    operands: str = "float32",
    packing: bool = True,
) -> Array:
    """Product of `weights` [out, in] and `inputs` [in, batch] as crossbars compute it: [out, batch].

    Values in [-1, 1] (beyond: saturate). The result is in the same units: an ideal crossbar gives weights @ inputs.
    Without a `key` no random effect is applied (the window, the mean drift and wires still are); with one (consumed)
    programming, converters and reads are drawn anew; :func:`.programming.program` and :func:`read` separate the two.

    `operands` (static) is the type that pieces are multiplied in: float32 | bfloat16 | int8 (pieces of at most 8 and 7
    bits; exact; without a key). `packing` (static) lets two input cycles share one float32 product where that is exact.
    Kernel: pure, unbatched, jit, vmap, grad. Settings are data: thousands of them are one compilation under vmap, and
    the product is computed once if only converter settings differ.

    Differentiable in: weights, inputs, adc_range, device and noise levels (straight-through rounding).
    Raises NumericsError for shapes that do not match and, where values can be seen (outside jit), for settings out of
    range and for Inf or NaN. Inside jit settings that do not fit and non-finite values give NaN.

    >>> crossbar = Crossbar.create(rows=2, adc_range=1.0)
    >>> product = crossbar_mvm(jnp.array([[1.0, -0.5, 0.25]]), jnp.array([[1.0], [0.5], [0.5]]), crossbar)
    >>> round(float(product[0, 0]), 3)  # 95 + 16 steps of 1 / 127; exact: 0.875
    0.874
    """
    weights, inputs = _check_shapes(weights, inputs)
    if operands not in OPERANDS:
        raise NumericsError(f"operands is {operands!r}; it must be one of {', '.join(OPERANDS)}")
    if operands != "float32" and key is not None:
        raise NumericsError(f"operands {operands!r} multiplies exact integers; with a key use 'float32'")
    concrete = is_concrete(crossbar)
    if concrete:
        check_crossbar(crossbar)
        _check_adc_range(crossbar, weights)
    settings = as_arrays(crossbar, weights.dtype)
    result = _crossbar_mvm(weights, inputs, settings, key, operands=operands, packing=packing)
    if concrete and is_concrete((weights, inputs, result)) and not bool(jnp.isfinite(result).all()):
        for name, values in (("weights", weights), ("inputs", inputs)):
            if not bool(jnp.isfinite(values).all()):
                raise NumericsError(f"{name} holds Inf or NaN; crossbars can store and drive finite values only")
    return result


@functools.partial(jax.jit, static_argnames=("operands", "packing"))
def _crossbar_mvm(
    weights: Array, inputs: Array, crossbar: Crossbar, key: Array | None, *, operands: str, packing: bool
) -> Array:
    keys = (None, None) if key is None else tuple(jax.random.split(key))
    stored = program(weights, crossbar, key=keys[0])
    return read(stored, inputs, crossbar, key=keys[1], operands=operands, packing=packing)


class _Converter(NamedTuple):
    """The converters of one crossbar, ready for the loops."""

    levels: Levels
    step: Array  # [slices, blocks | 1, out | 1, 1]
    inverse: Array  # 1 / (unit step), same axes: integer sums to levels
    noise: Array  # output noise in levels, same axes
    unit: Array  # integer sum of one full cell driven by one full input


@checks.checked(
    NumericsError,
    stored=checks.instance(Programmed, "Programmed from program"),
    inputs=checks.numbers(dims=2, filled=True, valued=False),
    crossbar=checks.instance(Crossbar, "a Crossbar from Crossbar.create"),
    key=checks.key,
    vector_ids=checks.numbers(dims=1, integer=True),
    operands=checks.word(*OPERANDS),
    packing=checks.flag,
)
def read(
    stored: Programmed,
    inputs: Array,
    crossbar: Crossbar,
    *,
    key: Array | None = None,
    vector_ids: Array | None = None,
    operands: str = "float32",
    packing: bool = True,
) -> Array:
    """Drive `inputs` [in, batch] through crossbars that are already programmed: [out, batch].

    `crossbar` as arrays (`as_arrays`). With a `key` (consumed) every read is noisy: each cell's read noise, summed
    exactly in distribution (Gaussian of variance sum_j sigma_j^2 v_j^2 per conversion), plus `output_noise`. The noise
    of a vector depends on the key and its entry of `vector_ids` (int [batch], default 0, 1, ..), not on its company:
    a token gets the same noise alone and in a sequence.
    """
    inputs = jnp.asarray(inputs)
    if inputs.shape[0] != stored.num_inputs or (vector_ids is not None and len(vector_ids) != inputs.shape[1]):
        raise NumericsError(
            f"inputs have shape {list(inputs.shape)}, but crossbars hold {stored.num_inputs} inputs: give "
            f"[{stored.num_inputs}, batch], and one entry of vector_ids for each vector"
        )
    dtype = stored.cells.dtype
    w_code, x_code = weight_code(crossbar), code_of(crossbar.input_bits, crossbar.cycle_bits, crossbar.input_offset)
    x_integers = to_integers(inputs.astype(dtype), x_code)
    cycles = into_blocks(cut(x_integers, x_code, crossbar.max_cycles), crossbar.rows, axis=1)
    places = piece_weights(x_code, crossbar.max_cycles)
    levels = adc_levels(crossbar.adc_bits, one_sided=one_sided(crossbar), ideal=crossbar.adc_ideal, dtype=dtype)
    adc_range = _range_axes(crossbar.adc_range)
    step = adc_step(adc_range, levels)
    ids = jnp.arange(inputs.shape[1]) if vector_ids is None else vector_ids
    unit = w_code.full * x_code.full
    # The barrier keeps these few numbers out of the large loops, which would compute them anew for every output.
    converter = jax.lax.optimization_barrier(
        _Converter(levels, step, 1 / (unit * step), crossbar.output_noise * adc_range / step, unit)
    )
    levels = converter.levels

    def apart() -> Array:
        def convert(index: Array, block: Array, cycle: Array) -> Array:
            codes = 0.0
            for number, (cell_sign, input_sign) in enumerate(signs_of_phases(crossbar)):
                cells, drive = stored.cells[index, block], cycles[cycle, block]
                cells, drive = of_sign(cells, cell_sign), of_sign(drive, input_sign)
                scaled = _product(cells, drive, operands) * _of_block(converter.inverse, index, block)
                if key is not None:
                    position = (number * cycles.shape[0] + cycle) * stored.cells.shape[1] + block
                    noise_key = jax.random.fold_in(key, position * stored.cells.shape[0] + index)
                    variance = None if stored.read_variance is None else stored.read_variance[index, block]
                    if variance is not None and cell_sign:  # of the cells that this phase connects
                        variance = jnp.where(stored.cells[index, block] * cell_sign > 0, variance, 0)
                    scaled = _disturb(scaled, variance, drive, converter, (index, block), ids, noise_key)
                codes = codes + (cell_sign * input_sign or 1) * _converted(scaled, stored, levels, index, block)
            return codes * places[cycle]

        return _sum_slices(convert, stored, converter, w_code, cycles.shape[0], inputs.shape[1])

    def packed() -> Array:
        seconds, first_places = _second_cycles(cycles), places[::2]
        pairs = cycles[::2] + _PACK * seconds

        def convert(index: Array, block: Array, pair: Array) -> Array:
            first, second = _two_products(
                stored.cells[index, block], pairs[pair, block], cycles[2 * pair, block], seconds[pair, block]
            )
            inverse = _of_block(converter.inverse, index, block)
            codes = to_codes(first * inverse, levels) + x_code.base * to_codes(second * inverse, levels)
            return codes * first_places[pair]

        return _sum_slices(convert, stored, converter, w_code, pairs.shape[0], inputs.shape[1])

    exact = stored.converters is None and crossbar.wire_sweeps == 0 and key is None and crossbar.read_phases == 1
    if packing and exact and operands == "float32" and crossbar.max_cycles > 1:
        tells_apart = (stored.cells.shape[3] * converter.unit < _PACK_LIMIT) & is_exact(crossbar.device)
        total = jax.lax.cond(tells_apart, packed, apart)
    else:
        total = apart()
    return _decode(total, stored, x_integers, crossbar, w_code, x_code, operands)


def _sum_slices(
    convert: Callable[[Array, Array, Array], Array],
    stored: Programmed,
    converter: _Converter,
    code: Code,
    num_cycles: int,
    batch: int,
) -> Array:
    """Sum of the converted signals over slices, blocks and cycles [out, batch], in products of integers.

    Codes times place values are whole numbers; they are added as such before the step scales them, so that the
    order of blocks and cycles does not show (unless every block has its own range).
    """
    slices, blocks, out, _ = stored.cells.shape
    per_block = converter.step.shape[1] > 1
    length = blocks * num_cycles

    def one_slice(index: Array) -> Array:
        def one_conversion(total: Array, position: Array) -> tuple[Array, None]:
            block, cycle = position // num_cycles, position % num_cycles
            codes = convert(index, block, cycle)
            return total + (codes * _of_block(converter.step, index, block) if per_block else codes), None

        zero = jnp.zeros((out, batch), stored.cells.dtype)
        total, _ = jax.lax.scan(one_conversion, zero, jnp.arange(length), unroll=length if length <= 4 else 1)
        return total * (converter.unit if per_block else converter.unit * converter.step[index, 0])

    places = piece_weights(code, slices)
    if slices == 1:
        return one_slice(jnp.int32(0)) * places[0]

    def add_slice(total: Array, index: Array) -> tuple[Array, None]:
        return total + places[index] * one_slice(index), None

    return jax.lax.scan(add_slice, jnp.zeros((out, batch), stored.cells.dtype), jnp.arange(slices))[0]


def one_sided(crossbar: Crossbar) -> Array | float:
    """Whether the converters see signals of one sign only: asked for, or because phases keep the signs apart."""
    return crossbar.adc_one_sided if crossbar.read_phases == 1 else 1.0


def signs_of_phases(crossbar: Crossbar) -> tuple[tuple[int, int], ...]:
    """Signs of cells and inputs that each phase of a read connects; 0: both.

    >>> signs_of_phases(Crossbar())
    ((0, 0),)
    """
    return ((0, 0),) if crossbar.read_phases == 1 else ((1, 1), (1, -1), (-1, 1), (-1, -1))


def of_sign(values: Array, sign: int) -> Array:
    """Magnitudes of the values of one sign, others 0; sign 0: the values."""
    return jnp.maximum(sign * values, 0) if sign else values


def _converted(scaled: Array, stored: Programmed, levels: Levels, index: Array, block: Array) -> Array:
    """Codes of one conversion, gain and offset errors included."""
    if stored.converters is None:
        return to_codes(scaled, levels)
    codes = to_codes(stored.converters.distort(scaled, index, block), levels)
    return stored.converters.correct(codes, index, block)


def _disturb(
    scaled: Array,
    read_variance: Array | None,
    drive: Array,
    converter: _Converter,
    where: tuple[Array, Array],
    vector_ids: Array,
    key: Array,
) -> Array:
    """Add the read noise of the cells and the output noise of one conversion; signals in levels."""
    index, block = where
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, vector_ids)
    draw = jax.vmap(lambda key: jax.random.normal(key, scaled.shape[:1], scaled.dtype), out_axes=1)(keys)
    variance = jnp.square(_of_block(converter.noise, index, block))
    if read_variance is not None:
        spread = _product(read_variance, drive**2, "float32")
        variance = variance + spread * jnp.square(_of_block(converter.inverse, index, block))
    return scaled + draw * safe_sqrt(variance)


def _decode(
    total: Array, stored: Programmed, x_integers: Array, crossbar: Crossbar, w_code: Code, x_code: Code, operands: str
) -> Array:
    """Take off what offsets and leaking cells add, scale integers back to values: all digital, all exact.

    total = sum (leak F + (1 - leak)(w + o_w)) (x + o_x) for an offset code, F the full-scale weight; sum w x is asked.
    """
    leak = crossbar.device.off_conductance
    full_weight = w_code.full * jnp.sum(piece_weights(w_code, crossbar.max_slices))
    input_sum = jnp.sum(x_integers, axis=0)[None, :]
    driven_sum = input_sum + x_code.offset * stored.num_inputs
    total = total * stored.drift_gain
    # Differential pairs leak equally on both sides.
    total = (total - crossbar.weight_offset * leak * full_weight * driven_sum) / (1 - leak)
    total = total - w_code.offset * input_sum - x_code.offset * stored.digital_sum[:, None]
    fits = (w_code.pieces <= crossbar.max_slices) & (x_code.pieces <= crossbar.max_cycles)
    fits &= jnp.maximum(w_code.full, x_code.full) <= _LARGEST_PIECE[operands]
    return total * jnp.where(fits, 1 / (w_code.levels * x_code.levels), jnp.nan)


def _product(cells: Array, drive: Array, operands: str) -> Array:
    """Exact [out, rows] x [rows, batch] product of whole numbers (of reals at full precision)."""
    if operands == "float32":
        return jax.lax.dot(cells, drive, precision=jax.lax.Precision.HIGHEST)
    narrow = jnp.dtype(operands)
    wide = jnp.int32 if operands == "int8" else jnp.float32
    product = jax.lax.dot(cells.astype(narrow), drive.astype(narrow), preferred_element_type=wide)
    return product.astype(cells.dtype)


def _second_cycles(cycles: Array) -> Array:
    """Every second of cycles [c, ...], with zeros behind an odd last one: [ceil(c / 2), ...]."""
    second = cycles[1::2]
    if cycles.shape[0] % 2:
        second = jnp.pad(second, ((0, 1), *((0, 0),) * (cycles.ndim - 1)))
    return second


@jax.custom_jvp
def _two_products(cells: Array, pair: Array, first: Array, second: Array) -> tuple[Array, Array]:
    """(cells @ first, cells @ second) from the one product with pair = first + 4096 second, all whole numbers.

    The gradient is that of the two products.
    """
    del first, second
    sums = _product(cells, pair, "float32")
    upper = jnp.round(sums * (1 / _PACK))
    return sums - upper * _PACK, upper


@_two_products.defjvp
def _two_products_jvp(
    primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    cells, _, first, second = primals
    cells_dot, _, first_dot, second_dot = tangents
    changes = [
        _product(cells_dot, drive, "float32") + _product(cells, drive_dot, "float32")
        for drive, drive_dot in ((first, first_dot), (second, second_dot))
    ]
    return _two_products(*primals), (changes[0], changes[1])


def _range_axes(adc_range: Array) -> Array:
    """adc_range [slices] | [slices, out] | [slices, blocks, out] as [slices, blocks | 1, out | 1, 1]."""
    if adc_range.ndim == 1:
        return adc_range[:, None, None, None]
    return adc_range[:, None, :, None] if adc_range.ndim == 2 else adc_range[..., None]


def _of_block(values: Array, index: Array, block: Array) -> Array:
    return values[index, block if values.shape[1] > 1 else 0]


def _check_shapes(weights: Array, inputs: Array) -> tuple[Array, Array]:
    weights, inputs = jnp.asarray(weights), jnp.asarray(inputs)
    if weights.ndim != 2 or inputs.ndim != 2 or weights.shape[1] != inputs.shape[0] or 0 in weights.shape:
        raise NumericsError(
            f"weights have shape {weights.shape} and inputs {inputs.shape}; they must be [out, in] and "
            "[in, batch] with the same, non-empty `in`"
        )
    dtype = jnp.result_type(weights, inputs)
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    return weights.astype(dtype), inputs.astype(dtype)


def _check_adc_range(crossbar: Crossbar, weights: Array) -> None:
    out, num_inputs = weights.shape
    shape = jnp.shape(jnp.asarray(crossbar.adc_range))
    slices, blocks = crossbar.max_slices, -(-num_inputs // crossbar.rows)
    allowed = ((), (slices,), (slices, out), (slices, blocks, out), (slices, 1, out), (slices, blocks, 1))
    if shape not in allowed:
        raise NumericsError(
            f"adc_range has shape {shape}; for max_slices {slices} and weights {weights.shape} it must be [], "
            f"[{slices}], [{slices}, {out}] (per column) or [{slices}, {blocks}, {out}] (per column and block)"
        )
