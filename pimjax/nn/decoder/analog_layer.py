"""One layer of a decoder through crossbars: ranges from its exact activations, cells, and a batch of device settings.

One compiled program takes all settings: they are data, and run one after the other inside it, so that only one setting's
cells are in memory. All settings see the same draws of the same chip, scaled by their own levels.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array, ArrayLike
from pimjax.nn.analog_selection import MATRICES
from pimjax.nn.crossbar_linear import ProgrammedMatrix, Ranges, fit_ranges, program_linear, read_linear
from pimjax.nn.decoder.attention import root_mean_square_norm
from pimjax.nn.decoder.experts import gated_unit
from pimjax.nn.decoder.forward import LayerResult, causal_attention, decoder_layer
from pimjax.nn.decoder.weights import LayerWeights
from pimjax.nn.decoder_block import LinearFunction, Site, exact_linear
from pimjax.numerics.quality import signal_to_noise_db
from pimjax.numerics.settings import Crossbar

_EXPERT_MATRICES = ("gate", "up", "down")
_EXPERTS = 1 << 16  # room for experts in a matrix's number


class AnalogOptions(NamedTuple):
    """How ranges are set; static.

    method: "max", "percentile", "mse", or "fixed" (the setting's own range). samples: activations that a matrix's
    ranges are fitted on. outputs: at most this many of its outputs, evenly taken (a range is one for all of them).
    random: whether anything is drawn.
    """

    method: str = "percentile"
    samples: int = 64
    outputs: int = 256
    random: bool = True


class AnalogLayerResult(NamedTuple):
    """`exact` ``[M, d]`` and `analog` ``[S, M, d]``: the residual stream behind the layer. ``[S]`` each:

    layer_sqnr_db: what the layer adds to the exact stream of the first sequence, against the error of that.
    stream_sqnr_db: the exact stream against the error of the analog one. moved: share of visits to experts that
    differ from the exact ones.
    """

    exact: Array
    analog: Array
    layer_sqnr_db: Array
    stream_sqnr_db: Array
    moved: Array


def run_layer(own: LayerWeights, hidden: Array, sequences: int, linear: LinearFunction = exact_linear) -> LayerResult:
    """One layer over `sequences` (static) of equal length, one behind the other in `hidden` ``[M, d]``."""
    tokens = jnp.arange(hidden.shape[0])
    attention = causal_attention(own, sequences=sequences, linear=linear, tokens=tokens)
    positions = tokens % (hidden.shape[0] // sequences)
    return decoder_layer(own, hidden, positions, attention, linear=linear, tokens=tokens)


@functools.partial(jax.jit, static_argnames=("sequences",))
def exact_layer(own: LayerWeights, hidden: Array, *, sequences: int) -> Array:
    """The residual stream ``[M, d]`` behind an exact layer."""
    return run_layer(own, hidden, sequences).hidden


@functools.partial(jax.jit, static_argnames=("sequences", "options"))
def analog_layer(
    own: LayerWeights,
    exact: Array,
    analog: Array,
    settings: Crossbar,
    masks: dict[str, Array],
    key: Array,
    percentiles: tuple[ArrayLike, ArrayLike],
    *,
    sequences: int,
    options: AnalogOptions,
) -> AnalogLayerResult:
    """Run one layer exactly, and through the crossbars of every setting.

    Args:
      own: the layer's weights.
      exact: ``[M, d]`` residual stream before the layer, `sequences` of equal length.
      analog: ``[S, M, d]`` the same behind the crossbars of the layers before, for each setting.
      settings: leaves lead with ``S``.
      masks: for each matrix on crossbars ``[]``, for those of experts ``[E]``: whether it is analog.
      key: of the chip and its reads; consumed.
      percentiles: of signals inside the ADC's range and of activations inside the DAC's [%].
      sequences, options: static.
    """
    inputs: dict[str, Array] = {}

    def remember(weights: Array, vectors: Array, site: Site) -> Array:
        if site.expert is None:
            inputs[site.name] = vectors
        return exact_linear(weights, vectors, site)

    result = run_layer(own, exact, sequences, remember)
    samples = _samples(own, inputs, result, masks, options.samples)
    length = exact.shape[0] // sequences
    added = (result.hidden - exact)[:length]

    def one(pair: tuple[Crossbar, Array]) -> tuple[Array, Array, Array, Array]:
        crossbar, stream = pair
        linear = _through(own.arrays, samples, crossbar, masks, key, percentiles, options)
        both = run_layer(own, jnp.concatenate([stream, exact[:length]]), sequences + 1, linear)
        behind = both.hidden[:-length]
        alone = both.hidden[-length:] - exact[:length]
        moved = jnp.zeros(())
        if result.choice is not None and both.choice is not None:
            kept = (both.choice.experts[:-length, :, None] == result.choice.experts[:, None, :]).any(axis=-1)
            moved = jnp.mean((~kept).astype(exact.dtype))
        return behind, signal_to_noise_db(added, alone), signal_to_noise_db(result.hidden, behind), moved

    return AnalogLayerResult(result.hidden, *jax.lax.map(one, (settings, analog)))


@functools.partial(jax.jit, static_argnames=("sequences", "options", "digital"))
def output_losses(
    outside: dict[str, Array],
    epsilon: Array,
    exact: Array,
    analog: Array,
    targets: Array,
    settings: Crossbar,
    key: Array,
    percentiles: tuple[ArrayLike, ArrayLike],
    *,
    sequences: int,
    options: AnalogOptions,
    digital: bool,
) -> tuple[Array, Array]:
    """Mean cross entropy [nat per token] of the exact model ``[]`` and of every setting ``[S]``.

    Args:
      outside: `final_norm`, `embedding` or `output`.
      epsilon: of the last norm.
      exact, analog: ``[M, d]``, ``[S, M, d]`` residual streams behind the last layer.
      targets: int ``[M]``, the next tokens.
      settings, key, percentiles, sequences, options: as for :func:`analog_layer`.
      digital: static; whether the output embedding is not on crossbars.
    """
    weights = outside.get("output", outside["embedding"])
    tokens = jnp.arange(exact.shape[0])

    def normed(hidden: Array) -> Array:
        return root_mean_square_norm(hidden, outside["final_norm"], epsilon)

    def loss(hidden: Array, linear: LinearFunction) -> Array:
        # One sequence's logits at a time: they are the widest arrays of the model.
        def of_sequence(part: tuple[Array, Array, Array]) -> Array:
            vectors, wanted, numbers = part
            logits = linear(weights, vectors, Site("output", -1, None, numbers))
            chosen = jnp.take_along_axis(jax.nn.log_softmax(logits, axis=-1), wanted[:, None], axis=-1)
            return -chosen.mean()

        parts = (one.reshape(sequences, -1, *one.shape[1:]) for one in (normed(hidden), targets, tokens))
        return jnp.mean(jax.lax.map(of_sequence, tuple(parts)))

    sampled = {"output": _evenly(normed(exact), options.samples)}

    def one(pair: tuple[Crossbar, Array]) -> Array:
        crossbar, stream = pair
        masks = {} if digital else {"output": jnp.ones((), bool)}
        return loss(stream, _through({"output": weights}, sampled, crossbar, masks, key, percentiles, options))

    return loss(exact, exact_linear), jax.lax.map(one, (settings, analog))


def _evenly(rows: Array, count: int) -> Array:
    """At most `count` rows, evenly taken."""
    return rows[:: -(-rows.shape[0] // count)]


def _samples(
    own: LayerWeights, inputs: Mapping[str, Array], result: LayerResult, masks: Mapping[str, Array], count: int
) -> dict[str, Array]:
    """Sample activations of every analog matrix: ``[n, in]``, of experts' `down` ``[E, n, f]``.

    Every expert is calibrated on tokens of the whole text, as a chip is before it is known which tokens it will see.
    """
    samples = {name: _evenly(inputs[name], count) for name in masks if name in inputs}
    if result.choice is None or not set(masks) & set(_EXPERT_MATRICES):
        return samples
    seen = _evenly(inputs["router"], count)
    samples |= {name: seen for name in ("gate", "up") if name in masks}
    if "down" in masks:
        bias = {name: own.arrays.get(f"{name}_bias") for name in ("gate", "up")}

        def hidden(matrices: dict[str, Array]) -> Array:
            products = {}
            for name in ("gate", "up"):
                products[name] = seen @ matrices[name].T
                if bias[name] is not None:
                    products[name] = products[name] + jnp.broadcast_to(matrices[f"{name}_bias"], products[name].shape)
            return gated_unit(products["gate"], products["up"], own.shape, own.numbers)

        of_experts = ("gate", "up", "gate_bias", "up_bias")
        samples["down"] = jax.lax.map(hidden, {name: own.arrays[name] for name in of_experts if name in own.arrays})
    return samples


def _through(
    arrays: Mapping[str, Array],
    samples: Mapping[str, Array],
    crossbar: Crossbar,
    masks: Mapping[str, Array],
    key: Array,
    percentiles: tuple[ArrayLike, ArrayLike],
    options: AnalogOptions,
) -> LinearFunction:
    """Products of which those with a mask run on crossbars, programmed here; biases and everything else stay exact."""
    chip: dict[str, ProgrammedMatrix] = {}
    ranges: dict[str, Ranges] = {}
    for name in masks:
        own_key = jax.random.fold_in(key, MATRICES.index(name)) if options.random else None
        if name in _EXPERT_MATRICES:
            chip[name], ranges[name] = _of_experts(arrays[name], samples[name], crossbar, own_key, percentiles, options)
        else:
            chip[name] = program_linear(arrays[name], crossbar, chip_key=own_key)
            ranges[name] = _ranges(arrays[name], samples[name], crossbar, percentiles, options)
    read_key = jax.random.fold_in(key, len(MATRICES))

    def linear(weights: Array, vectors: Array, site: Site) -> Array:
        if site.name not in masks:
            return exact_linear(weights, vectors, site)
        own, mask = (chip[site.name], ranges[site.name]), masks[site.name]
        if site.expert is not None:
            own, mask = jax.tree.map(lambda leaf: leaf[site.expert], (own, mask))
        drawn = None
        if options.random:
            number = MATRICES.index(site.name) * _EXPERTS + (0 if site.expert is None else site.expert)
            drawn = jax.random.fold_in(read_key, number)
        product = read_linear(own[0], vectors, own[1], crossbar, read_key=drawn, vector_ids=site.tokens, packing=False)
        return product if site.expert is None else jnp.where(mask, product, exact_linear(weights, vectors, site))

    return linear


def _of_experts(
    weights: Array,
    samples: Array,
    crossbar: Crossbar,
    key: Array | None,
    percentiles: tuple[ArrayLike, ArrayLike],
    options: AnalogOptions,
) -> tuple[ProgrammedMatrix, Ranges]:
    """All experts' cells and ranges of one matrix, one expert after the other."""
    numbers = jnp.arange(weights.shape[0])
    alike = samples.ndim == 2  # all experts see the same tokens

    def one(part: tuple[Array, Array, Array | None]) -> tuple[ProgrammedMatrix, Ranges]:
        matrix, number, own = part
        chip_key = None if key is None else jax.random.fold_in(key, number)
        fitted = _ranges(matrix, samples if own is None else own, crossbar, percentiles, options)
        return program_linear(matrix, crossbar, chip_key=chip_key), fitted

    return jax.lax.map(one, (weights, numbers, None if alike else samples))


def _ranges(
    weights: Array,
    samples: Array,
    crossbar: Crossbar,
    percentiles: tuple[ArrayLike, ArrayLike],
    options: AnalogOptions,
) -> Ranges:
    """Ranges of one matrix from sample activations ``[n, in]`` and some of its outputs."""
    fixed = options.method == "fixed"
    fitted = fit_ranges(
        _evenly(weights, options.outputs),
        samples,
        crossbar,
        method="max" if fixed else options.method,
        percentile=percentiles[0],
        input_percentile=percentiles[1],
    )
    return Ranges(fitted.input_scale, crossbar.adc_range) if fixed else fitted
