"""Choosing ADC ranges from data: the largest signal, a percentile, or the range of least squared error."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import Array, ArrayLike
from pimjax.errors import NumericsError
from pimjax.numerics.adc import quantise
from pimjax.numerics.encode import code_of, cut, piece_weights, to_integers
from pimjax.numerics.mvm import of_sign, one_sided, signs_of_phases
from pimjax.numerics.programming import Programmed, into_blocks, program, weight_code
from pimjax.numerics.settings import Crossbar, as_arrays, check_crossbar, is_concrete

METHODS = ("max", "percentile", "mse")
SCOPES = ("slice", "column", "column_and_block")


def analog_sums(stored: Programmed, inputs: Array, crossbar: Crossbar) -> Array:
    """Signals [slices, cycles, blocks, out, batch] before the ADC, in units of `adc_range`, without read noise.

    Of several phases the signals of each stand behind those of the one before, along the cycles.
    """
    x_code = code_of(crossbar.input_bits, crossbar.cycle_bits, crossbar.input_offset)
    integers = to_integers(inputs.astype(stored.cells.dtype), x_code)
    cycles = into_blocks(cut(integers, x_code, crossbar.max_cycles), crossbar.rows, axis=1)
    phases = [
        jnp.einsum("sbor,cbrn->scbon", of_sign(stored.cells, cell), of_sign(cycles, drive), precision="highest")
        for cell, drive in signs_of_phases(crossbar)
    ]
    sums = jnp.concatenate(phases, axis=1) if len(phases) > 1 else phases[0]
    return sums / (weight_code(crossbar).full * x_code.full)


def calibrate_adc_range(
    weights: Array,
    inputs: Array,
    crossbar: Crossbar,
    *,
    method: str = "percentile",
    percentile: ArrayLike = 99.99,
    scope: str = "slice",
    key: Array | None = None,
    candidates: int = 48,
) -> Crossbar:
    """The same crossbar with `adc_range` fitted to `weights` [out, in] driven by sample `inputs` [in, batch].

    Methods: "max" covers every signal seen; "percentile" this share of their magnitudes; "mse" the least squared
    difference between signal and conversion, cycles weighted by their place value squared, among `candidates` ranges
    in equal ratios from the largest signal down to 1/64 of it. Scope: one range per "slice" [slices], per "column"
    [slices, out], or "column_and_block" [slices, blocks, out]. All of `inputs` x slices x cycles is held in memory: a
    few hundred vectors are enough. A `key` (consumed) calibrates on cells with programming noise.
    Raises NumericsError for unknown names.

    >>> crossbar = Crossbar.create(rows=4)
    >>> weights, inputs = jnp.full((2, 4), 1.0), jnp.full((4, 1), 0.5)
    >>> calibrated = calibrate_adc_range(weights, inputs, crossbar, method="max")
    >>> [round(float(value), 3) for value in calibrated.adc_range]  # 4 x 64 / 127
    [2.016]
    """
    if method not in METHODS:
        raise NumericsError(f"method is {method!r}; it must be one of {', '.join(METHODS)}")
    if scope not in SCOPES:
        raise NumericsError(f"scope is {scope!r}; it must be one of {', '.join(SCOPES)}")
    if is_concrete(percentile) and not 0 < float(np.asarray(percentile)) <= 100:
        raise NumericsError(f"percentile is {percentile}; it must be above 0 and at most 100")
    if is_concrete(crossbar):
        check_crossbar(crossbar)
    weights, inputs = jnp.asarray(weights), jnp.asarray(inputs)
    settings = as_arrays(crossbar, weights.dtype)
    limit = _fit(weights, inputs, settings, percentile, key, method=method, scope=scope, candidates=candidates)
    return dataclasses.replace(settings, adc_range=limit)


@functools.partial(jax.jit, static_argnames=("method", "scope", "candidates"))
def _fit(
    weights: Array,
    inputs: Array,
    settings: Crossbar,
    percentile: ArrayLike,
    key: Array | None,
    *,
    method: str,
    scope: str,
    candidates: int,
) -> Array:
    sums = analog_sums(program(weights, settings, key=key), inputs, settings)
    grouped = _samples_last(sums, scope)
    top = jnp.max(jnp.abs(grouped), axis=-1)
    if method == "max":
        limit = top
    elif method == "percentile":
        limit = jnp.percentile(jnp.abs(grouped), percentile, axis=-1)
    else:
        x_code = code_of(settings.input_bits, settings.cycle_bits, settings.input_offset)
        places = jnp.tile(piece_weights(x_code, settings.max_cycles), len(signs_of_phases(settings)))
        weight = jnp.broadcast_to(((places / places.max()) ** 2)[None, :, None, None, None], sums.shape)
        limit = _least_squares(grouped, _samples_last(weight, scope), top, settings, candidates)
    # A slice that nothing drives still needs a range: one cell.
    return jnp.where(limit > 0, limit, 1)


def _samples_last(sums: Array, scope: str) -> Array:
    """[slices, cycles, blocks, out, batch] as [slices, .. axes of the scope .., samples]."""
    slices, _, blocks, out, _ = sums.shape
    if scope == "slice":
        return sums.reshape(slices, -1)
    if scope == "column":
        return jnp.moveaxis(sums, 3, 1).reshape(slices, out, -1)
    return jnp.moveaxis(sums, 1, 3).reshape(slices, blocks, out, -1)


def _least_squares(signal: Array, weight: Array, top: Array, crossbar: Crossbar, candidates: int) -> Array:
    ratios = jnp.exp2(-6 * jnp.arange(candidates, dtype=signal.dtype) / max(candidates - 1, 1))

    def error(ratio: Array) -> Array:
        limit = jnp.maximum(top * ratio, jnp.finfo(signal.dtype).tiny)[..., None]
        converted = quantise(signal, limit, crossbar.adc_bits, one_sided=one_sided(crossbar), ideal=crossbar.adc_ideal)
        return jnp.sum(weight * (converted - signal) ** 2, axis=-1)

    return top * ratios[jnp.argmin(jax.lax.map(error, ratios), axis=0)]
