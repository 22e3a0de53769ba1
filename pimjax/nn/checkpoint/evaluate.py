"""A checkpoint on text, a layer at a time: perplexity, exactly and through crossbars, in the memory of one layer."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pimjax import checks
from pimjax.array_typing import Array, HostArray
from pimjax.errors import CheckpointError, NumericsError
from pimjax.nn.analog_selection import MATRICES, AnalogMap, analog_map
from pimjax.nn.checkpoint.load import Checkpoint
from pimjax.nn.decoder.analog_layer import AnalogOptions, analog_layer, exact_layer, output_losses
from pimjax.nn.decoder.forward import embed
from pimjax.nn.decoder.weights import LayerWeights
from pimjax.numerics.settings import Crossbar, as_arrays, check_crossbar

_EXPERTS = ("gate", "up", "down")


class CheckpointAccuracy(NamedTuple):
    """What crossbars do to a checkpoint; ``S`` settings, ``L`` layers.

    exact_perplexity; perplexity ``[S]``; layer_sqnr_db and stream_sqnr_db ``[S, L]`` (what each layer adds alone, and
    the residual stream behind it); moved ``[S, L]``: share of visits to experts that differ from the exact ones;
    analog_weights: weights on crossbars; num_tokens: tokens predicted; seconds: of reading, compiling, running.
    """

    exact_perplexity: float
    perplexity: HostArray
    layer_sqnr_db: HostArray
    stream_sqnr_db: HostArray
    moved: HostArray
    analog_weights: int
    num_tokens: int
    seconds: dict[str, float]

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second of running: those of the exact pass and of every setting."""
        return self.num_tokens * (1 + len(self.perplexity)) / max(self.seconds["running"], 1e-9)


def stack_crossbars(crossbars: Sequence[Crossbar]) -> Crossbar:
    """Settings of equal shapes as one pytree whose leaves lead with ``S``; room for the most slices and cycles of all.

    Raises:
        NumericsError: crossbars of another number of rows or columns, which are shapes.
    """
    sizes = {(one.rows, one.cols) for one in crossbars}
    if len(sizes) != 1:
        raise NumericsError(
            f"crossbars have {len(sizes)} sizes; settings that run in one program must share rows and columns"
        )
    most = {name: max(getattr(one, name) for one in crossbars) for name in ("max_slices", "max_cycles", "wire_sweeps")}
    made = []
    for one in crossbars:
        check_crossbar(one)
        scalar = jnp.ravel(jnp.asarray(one.adc_range))[0]
        made.append(as_arrays(dataclasses.replace(one, **most, adc_range=scalar), jnp.float32))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)


class _Programs:
    """Programs compiled ahead of time, so that running is timed apart from compiling."""

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}
        self.seconds = {"reading": 0.0, "compiling": 0.0, "running": 0.0}

    def timed(self, name: str, function: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        found = jax.block_until_ready(function())
        self.seconds[name] += time.perf_counter() - begin
        return found

    def run(self, function: Any, *arguments: Any, **static: Any) -> Any:
        leaves, tree = jax.tree.flatten(arguments)
        key = (
            function,
            tree,
            tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves),
            tuple(static.items()),
        )

        def compiled() -> Any:
            # On a GPU the default would round float32 operands to TF32, and choices would differ from the model's own.
            with jax.default_matmul_precision("highest"):
                return function.lower(*arguments, **static).compile()

        if key not in self._made:
            self._made[key] = self.timed("compiling", compiled)
        return self.timed("running", lambda: self._made[key](*arguments))


@checks.checked(
    CheckpointError,
    checkpoint=checks.instance(Checkpoint, "a Checkpoint from open_checkpoint"),
    windows=checks.numbers(0, dims=2, integer=True, filled=True),
    crossbars=checks.each(checks.instance(Crossbar, "a Crossbar"), "a list of Crossbars from Crossbar.create"),
    analog=checks.instance(AnalogMap, "an AnalogMap from analog_map"),
    method=checks.word("max", "percentile", "mse", "fixed"),
    percentile=checks.numbers(0, 100, dims=0),
    input_percentile=checks.numbers(0, 100, dims=0),
    samples=checks.whole(1, 2**20),
    outputs=checks.whole(1, 2**24),
    seed=checks.whole(0, 2**31 - 1),
    random=checks.flag,
    progress=checks.function,
)
def evaluate_checkpoint(
    checkpoint: Checkpoint,
    windows: HostArray,
    crossbars: Sequence[Crossbar] = (),
    *,
    analog: AnalogMap | None = None,
    method: str = "percentile",
    percentile: float = 99.99,
    input_percentile: float = 99.9,
    samples: int = 64,
    outputs: int = 256,
    seed: int = 0,
    random: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> CheckpointAccuracy:
    """Perplexity of a checkpoint on text, exactly and through crossbars of several settings, one layer at a time.

    Only one layer's weights are in memory, as float32, and the residual streams of all tokens.

    Args:
        checkpoint: from :func:`~pimjax.nn.open_checkpoint`.
        windows: token ids int ``[N, T + 1]``; each window is read alone, its tokens from the second on are predicted.
        crossbars: settings that run in one program for each kind of layer; none: the exact model only.
        analog: which matrices are on crossbars; default all.
        method: how ADC ranges are set from the exact model's activations: "max", "percentile", "mse", or "fixed" (as the
            crossbar says).
        percentile, input_percentile: of signals inside the ADC's range, of activations inside the DAC's [%].
        samples, outputs: activations, and at most outputs of a matrix, that ranges are fitted on.
        seed: of the chip and its reads.
        random: False draws nothing (mean drift and wires still apply), and is faster.
        progress: called with (layers done, layers).

    Raises:
        CheckpointError: token ids beyond the vocabulary, or a damaged layer. NumericsError: crossbars that differ in size.
    """
    model = checkpoint.architecture.model
    checks.require(CheckpointError, "windows", windows, checks.numbers(0, model.vocab_size - 1, integer=True))
    tokens = np.asarray(windows)
    if tokens.shape[1] < 2:
        raise CheckpointError("windows have one token: at least two are needed, of which the second is predicted")
    chosen = analog_map() if analog is None else analog
    sequences, length = tokens.shape[0], tokens.shape[1] - 1
    settings = stack_crossbars(crossbars) if crossbars else None
    options = AnalogOptions(method, samples, outputs, random)
    programs, key = _Programs(), jax.random.key(seed)
    percentiles = (jnp.float32(percentile), jnp.float32(input_percentile))
    outside = programs.timed("reading", checkpoint.outside)
    exact = embed(outside, jnp.asarray(tokens[:, :-1].reshape(-1)))
    streams = jnp.broadcast_to(exact, (len(crossbars), *exact.shape))
    measured, weights = [], 0
    for layer in range(checkpoint.num_layers):
        own = programs.timed("reading", lambda layer=layer: checkpoint.layer(layer))
        masks = _masks(chosen, own, layer)
        weights += sum(_analog_weights(own.arrays[name], mask) for name, mask in masks.items())
        if settings is None:
            exact = programs.run(exact_layer, own, exact, sequences=sequences)
        else:
            layer_key = jax.random.fold_in(key, layer)
            found = programs.run(
                analog_layer, own, exact, streams, settings, masks, layer_key, percentiles,
                sequences=sequences, options=options,
            )  # fmt: skip
            exact, streams = found.exact, found.analog
            measured.append(tuple(np.asarray(one, np.float64) for one in found[2:]))
        if progress is not None:
            progress(layer + 1, checkpoint.num_layers)
    on_crossbars = bool(chosen.mask("output", -1).all()) and settings is not None
    weights += int(outside.get("output", outside["embedding"]).size) if on_crossbars else 0
    targets = jnp.asarray(tokens[:, 1:].reshape(-1))
    epsilon = checkpoint.architecture.numbers[-1].norm_epsilon
    none = stack_crossbars([Crossbar.create()])
    exact_loss, losses = programs.run(
        output_losses, outside, epsilon, exact, streams,
        targets, jax.tree.map(lambda leaf: leaf[:0], none) if settings is None else settings,
        jax.random.fold_in(key, checkpoint.num_layers), percentiles,
        sequences=sequences, options=options, digital=not on_crossbars,
    )  # fmt: skip
    columns = (
        [np.stack(one, axis=1) for one in zip(*measured, strict=True)]
        if measured
        else [np.zeros((0, checkpoint.num_layers))] * 3
    )
    return CheckpointAccuracy(
        math.exp(min(float(exact_loss), 700.0)),
        np.exp(np.minimum(np.asarray(losses, np.float64), 700.0)),
        *columns,
        analog_weights=weights if settings is not None else 0,
        num_tokens=sequences * length,
        seconds=programs.seconds,
    )


def _masks(analog: AnalogMap, own: LayerWeights, layer: int) -> dict[str, Array]:
    """The analog matrices of a layer, for experts which of them."""
    masks = {}
    for name in MATRICES:
        if name not in own.arrays:
            continue
        mask = analog.mask(name, layer, own.shape.num_experts if name in _EXPERTS else 1)
        if mask.any():
            masks[name] = jnp.asarray(mask if name in _EXPERTS else mask[0])
    return masks


def _analog_weights(matrix: Array, mask: Array) -> int:
    return int(matrix.size) if mask.ndim == 0 else int(mask.sum()) * int(matrix[0].size)
