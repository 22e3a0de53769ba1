"""A linear layer on crossbars: real weights and activations scaled into [-1, 1], multiplied, scaled back."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx, struct

from pimjax import checks
from pimjax.array_typing import Array, ArrayLike
from pimjax.errors import NumericsError
from pimjax.numerics.calibrate import calibrate_adc_range
from pimjax.numerics.mvm import read
from pimjax.numerics.programming import Programmed, program
from pimjax.numerics.settings import Crossbar, as_arrays
from pimjax.numerics.sharing import Converters


@struct.dataclass
class Ranges:
    """What calibration on data sets, and fine-tuning may move: static at run time, as a chip needs it."""

    input_scale: Array  # [] activation that the largest DAC level stands for
    adc_range: Array  # [max_slices] in the units of `Crossbar`


def weight_scales(weights: Array) -> Array:
    """Largest magnitude of every output's weights [..., out, 1]; 1 for a row of zeros. No gradient.

    The digital side multiplies each output by its own scale, so no column wastes levels.

    >>> weight_scales(jnp.array([[0.5, -2.0], [0.0, 0.0]])).tolist()
    [[2.0], [1.0]]
    """
    largest = jnp.max(jnp.abs(jax.lax.stop_gradient(weights)), axis=-1, keepdims=True)
    return jnp.where(largest > 0, largest, 1)


def fit_ranges(
    weights: Array,
    inputs: Array,
    crossbar: Crossbar,
    *,
    method: str = "percentile",
    percentile: ArrayLike = 99.99,
    input_percentile: ArrayLike = 99.9,
) -> Ranges:
    """Ranges for `weights` [out, in] from sample activations `inputs` [samples, in].

    The DAC covers `input_percentile` of the magnitudes, the ADC is set by `calibrate_adc_range`. Raises NumericsError
    for names it does not know.
    """
    scale = jnp.percentile(jnp.abs(inputs), input_percentile)
    scale = jnp.where(scale > 0, scale, 1)
    fitted = calibrate_adc_range(
        weights / weight_scales(weights), (inputs / scale).T, crossbar, method=method, percentile=percentile
    )
    return Ranges(scale, fitted.adc_range)


@struct.dataclass
class ProgrammedMatrix:
    """Real weights in crossbars: their cells and the digital scale of every output."""

    stored: Programmed
    scales: Array  # [out, 1]


def program_linear(
    weights: Array, crossbar: Crossbar, *, chip_key: Array | None = None, converters: Converters | None = None
) -> ProgrammedMatrix:
    """Scale `weights` [out, in] into [-1, 1] and program them; `crossbar` as arrays. `chip_key` is consumed."""
    scales = weight_scales(weights)
    return ProgrammedMatrix(program(weights / scales, crossbar, key=chip_key, converters=converters), scales)


def read_linear(
    matrix: ProgrammedMatrix,
    inputs: Array,
    ranges: Ranges,
    crossbar: Crossbar,
    *,
    read_key: Array | None = None,
    vector_ids: Array | None = None,
    packing: bool = True,
) -> Array:
    """`inputs` [..., in] through a programmed matrix: [..., out]; `crossbar` as arrays. `read_key` is consumed."""
    settings = dataclasses.replace(crossbar, adc_range=ranges.adc_range)
    vectors = inputs.reshape(-1, inputs.shape[-1]).T / ranges.input_scale
    product = read(matrix.stored, vectors, settings, key=read_key, vector_ids=vector_ids, packing=packing)
    return (product * matrix.scales * ranges.input_scale).T.reshape(*inputs.shape[:-1], -1)


@jax.jit
def crossbar_linear(
    weights: Array,
    inputs: Array,
    ranges: Ranges,
    crossbar: Crossbar,
    *,
    chip_key: Array | None = None,
    read_key: Array | None = None,
    vector_ids: Array | None = None,
    converters: Converters | None = None,
) -> Array:
    """`inputs` [..., in] times the transpose of `weights` [out, in], through crossbars: [..., out].

    `chip_key` draws what is fixed when a chip is made and programmed (the same key: the same chip), `read_key` the noise
    of this read; both are consumed, both may be None. `vector_ids` and `converters`: see `read` and `program`.
    Differentiable in: weights, inputs, ranges (straight-through rounding).
    """
    settings = as_arrays(crossbar, weights.dtype)
    matrix = program_linear(weights, settings, chip_key=chip_key, converters=converters)
    return read_linear(matrix, inputs, ranges, settings, read_key=read_key, vector_ids=vector_ids)


class CrossbarRange(nnx.Param):
    """A converter range: trainable, but a type of its own, so that an optimiser can treat it apart."""


class CrossbarSettings(nnx.Variable):
    """Settings of the crossbars: data that training does not touch."""


_WIDTH = checks.whole(1, 2**24)
_CROSSBAR = checks.instance(Crossbar, "a Crossbar from Crossbar.create")
_RNGS = checks.instance(nnx.Rngs, "random streams: nnx.Rngs(seed)")


class CrossbarLinear(nnx.Module):
    """Linear layer computed by crossbars. Shapes: [..., in_features] -> [..., out_features].

    Keys are explicit: `chip_key` one per chip, `read_key` one per call; without keys nothing is random.
    Raises NumericsError for inputs of another width.

    >>> layer = CrossbarLinear(8, 4, Crossbar.create(rows=8), rngs=nnx.Rngs(0))
    >>> layer.calibrate(jnp.ones((3, 8)))
    >>> layer(jnp.ones((3, 8))).shape
    (3, 4)
    """

    @checks.checked(
        NumericsError, in_features=_WIDTH, out_features=_WIDTH, crossbar=_CROSSBAR, use_bias=checks.flag, rngs=_RNGS
    )
    def __init__(
        self, in_features: int, out_features: int, crossbar: Crossbar, *, use_bias: bool = False, rngs: nnx.Rngs
    ) -> None:
        settings = as_arrays(crossbar, jnp.float32)
        self.in_features, self.out_features = in_features, out_features
        weight = jax.random.normal(rngs.params(), (out_features, in_features)) / jnp.sqrt(in_features)
        self.weight = nnx.Param(weight)  # [out, in]
        self.bias = nnx.Param(jnp.zeros(out_features)) if use_bias else None  # [out], added digitally
        self.input_scale = CrossbarRange(jnp.ones(()))  # []
        self.adc_range = CrossbarRange(settings.adc_range)  # [max_slices]
        self.settings = CrossbarSettings(settings)

    @classmethod
    def from_weights(cls, weight: Array, bias: Array | None, crossbar: Crossbar) -> CrossbarLinear:
        """A layer that holds trained `weight` [out, in] and `bias` [out] or None; calibrate it before use."""
        layer = cls(weight.shape[1], weight.shape[0], crossbar, use_bias=bias is not None, rngs=nnx.Rngs(0))
        layer.weight[...] = weight
        if bias is not None:
            layer.bias = nnx.Param(bias)
        return layer

    def calibrate(self, inputs: Array, **options: Any) -> None:
        """Set input and ADC ranges from sample `inputs` [..., in]; options of :func:`fit_ranges`."""
        ranges = fit_ranges(
            self.weight[...], inputs.reshape(-1, inputs.shape[-1]), self.settings.get_value(), **options
        )
        self.input_scale[...] = ranges.input_scale
        self.adc_range[...] = ranges.adc_range

    def __call__(
        self,
        inputs: Array,
        *,
        chip_key: Array | None = None,
        read_key: Array | None = None,
        vector_ids: Array | None = None,
        converters: Converters | None = None,
    ) -> Array:
        """See :func:`crossbar_linear`."""
        checks.require(NumericsError, "inputs", inputs, checks.numbers(valued=False, filled=True))
        inputs = jnp.asarray(inputs)
        if inputs.shape[-1:] != (self.in_features,):
            raise NumericsError(
                f"inputs have shape {inputs.shape}; the last axis must be in_features = {self.in_features}"
            )
        output = crossbar_linear(
            self.weight[...],
            inputs,
            Ranges(self.input_scale[...], self.adc_range[...]),
            self.settings.get_value(),
            chip_key=chip_key,
            read_key=read_key,
            vector_ids=vector_ids,
            converters=converters,
        )
        if self.bias is None:
            return output
        return output + jnp.broadcast_to(self.bias[...], output.shape)
