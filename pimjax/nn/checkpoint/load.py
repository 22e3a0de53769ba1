"""`load_checkpoint`: a folder of Hugging Face files as a Flax module; `open_checkpoint`: one layer at a time."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from pimjax import checks
from pimjax.array_typing import Array
from pimjax.cache.key_value import KeyValueCache
from pimjax.errors import CheckpointError, ConfigError
from pimjax.nn.checkpoint.folder import CheckpointFolder
from pimjax.nn.checkpoint.tensors import check_complete, layer_arrays, outside_arrays
from pimjax.nn.decoder.architecture import Architecture, LayerNumbers, LayerShape, architecture_of
from pimjax.nn.decoder.forward import DecoderResult, decoder_caches, decoder_forward, decoder_prefill, decoder_step
from pimjax.nn.decoder.weights import DecoderWeights, LayerWeights
from pimjax.nn.decoder_block import LinearFunction, exact_linear


class NumbersOfLayer(nnx.Variable):
    """Numbers of a layer: data that training does not touch."""


class DecoderLayerModule(nnx.Module):
    """Weights of one layer as parameters by name, see :class:`~pimjax.nn.decoder.weights.LayerWeights`."""

    def __init__(self, weights: LayerWeights) -> None:
        self.shape: LayerShape = weights.shape
        self.arrays = nnx.Dict({name: nnx.Param(array) for name, array in weights.arrays.items()})
        self.numbers = NumbersOfLayer(weights.numbers)

    def weights(self) -> LayerWeights:
        """The layer as the functions of `pimjax.nn.decoder` take it."""
        numbers: LayerNumbers = self.numbers.get_value()
        return LayerWeights({name: array[...] for name, array in self.arrays.items()}, numbers, self.shape)


class Decoder(nnx.Module):
    """A decoder with the weights of a checkpoint; :func:`load_checkpoint` makes it.

    Attributes:
      family: `model_type` of its config.json.
      outside: parameters outside the layers.
      layers: its layers.
    """

    def __init__(self, architecture: Architecture, weights: DecoderWeights) -> None:
        self.family, self.model = architecture.family, architecture.model
        self.outside = nnx.Dict({name: nnx.Param(array) for name, array in weights.outside.items()})
        self.layers = nnx.List([DecoderLayerModule(layer) for layer in weights.layers])

    def weights(self) -> DecoderWeights:
        """All weights as one pytree, for the functions of `pimjax.nn.decoder.forward`."""
        outside = {name: array[...] for name, array in self.outside.items()}
        return DecoderWeights(outside, tuple(layer.weights() for layer in self.layers))

    def __call__(self, tokens: Array, *, linear: LinearFunction = exact_linear) -> DecoderResult:
        """One causal pass over int `tokens` ``[T]``; `linear` replaces every product with weights."""
        return _forward(self.weights(), self._checked(tokens), linear=linear)

    def prefill(self, tokens: Array, *, max_tokens: int) -> tuple[tuple[KeyValueCache, ...], DecoderResult]:
        """Run a prompt ``[T]``; caches of at most `max_tokens`, and the prompt's result."""
        checks.require(ConfigError, "max_tokens", max_tokens, checks.whole(1, 2**24))
        tokens = self._checked(tokens)
        if len(tokens) > max_tokens:
            raise ConfigError(f"tokens has {len(tokens)} entries, but max_tokens is {max_tokens}")
        weights = self.weights()
        return _prefill(weights, decoder_caches(weights, max_tokens), tokens)

    def step(self, caches: tuple[KeyValueCache, ...], token: Array) -> tuple[tuple[KeyValueCache, ...], DecoderResult]:
        """Decode one position int ``[]`` behind the caches' tokens."""
        return _step(self.weights(), caches, self._checked(jnp.atleast_1d(jnp.asarray(token)))[0])

    def _checked(self, tokens: Array) -> Array:
        rule = checks.numbers(0, self.model.vocab_size - 1, dims=1, integer=True, filled=True)
        checks.require(ConfigError, "tokens", tokens, rule)
        return jnp.asarray(tokens)


@jax.jit
def _prefill(
    weights: DecoderWeights, caches: tuple[KeyValueCache, ...], tokens: Array
) -> tuple[tuple[KeyValueCache, ...], DecoderResult]:
    with jax.default_matmul_precision("highest"):
        return decoder_prefill(weights, caches, tokens)


@jax.jit
def _step(
    weights: DecoderWeights, caches: tuple[KeyValueCache, ...], token: Array
) -> tuple[tuple[KeyValueCache, ...], DecoderResult]:
    with jax.default_matmul_precision("highest"):
        return decoder_step(weights, caches, token)


def _forward(weights: DecoderWeights, tokens: Array, *, linear: LinearFunction) -> DecoderResult:
    # On a GPU the default would round float32 operands to TF32, and choices would differ from the model's own.
    with jax.default_matmul_precision("highest"):
        return _compiled(weights, tokens) if linear is exact_linear else decoder_forward(weights, tokens, linear=linear)


_compiled = jax.jit(decoder_forward)


class Checkpoint:
    """A checkpoint folder whose layers are read when asked for; :func:`open_checkpoint` makes it.

    Attributes:
      folder: its files.
      architecture: what its config.json says.
    """

    def __init__(self, folder: CheckpointFolder, architecture: Architecture) -> None:
        self.folder, self.architecture = folder, architecture

    @property
    def num_layers(self) -> int:
        """Layers of the text model."""
        return self.architecture.model.num_layers

    def outside(self) -> dict[str, Array]:
        """Embedding, last norm and output embedding, float32."""
        return {name: jnp.asarray(array) for name, array in outside_arrays(self.folder, self.architecture).items()}

    def layer(self, number: int) -> LayerWeights:
        """The weights of one layer, float32; nothing of it is kept here.

        Raises:
          ConfigError: no such layer. CheckpointError: a tensor is not what config.json says.
        """
        checks.require(ConfigError, "layer", number, checks.whole(0, self.num_layers - 1))
        arrays = {
            name: jnp.asarray(array) for name, array in layer_arrays(self.folder, self.architecture, number).items()
        }
        self.folder.close()
        return LayerWeights(arrays, self.architecture.numbers[number], self.architecture.shapes[number])


@checks.checked(CheckpointError, folder=checks.path)
def open_checkpoint(folder: str | Path) -> Checkpoint:
    """Open a checkpoint whose layers are then read one by one: models larger than memory.

    Args:
        folder: as for :func:`load_checkpoint`.

    Raises:
        CheckpointError, ConfigError: as for :func:`load_checkpoint`, but for wrong shapes, which the layer says.
    """
    files = CheckpointFolder(folder)
    architecture = architecture_of(files.config, str(Path(folder) / "config.json"))
    check_complete(files, architecture)
    return Checkpoint(files, architecture)


@checks.checked(CheckpointError, folder=checks.path)
def load_checkpoint(folder: str | Path) -> Decoder:
    """Load a checkpoint into a Flax NNX module, float32.

    Args:
        folder: of a Hugging Face checkpoint: `config.json` and safetensors files, one or shards with their index;
            float32, float16, bfloat16, MXFP4 experts (gpt-oss), float8 with block scales (DeepSeek-V3).
            Families: `pimjax.nn.decoder.architecture.FAMILIES`.

    Returns:
        A module that is called with tokens int ``[T]``; `prefill` and `step` decode with a key-value cache.

    Raises:
        CheckpointError: no such folder, pickled weights (never opened), a damaged file, tensors that are missing, left
            over, or of another shape; one sentence. ConfigError: a model that is not computed.

    The float32 weights take 4 bytes each; :func:`open_checkpoint` reads a layer at a time.

    >>> model = load_checkpoint("/data/Mixtral-8x7B-v0.1")  # doctest: +SKIP
    >>> model(jax.numpy.array([1, 2, 3])).logits.shape  # doctest: +SKIP
    (3, 32000)
    """
    opened = open_checkpoint(folder)
    layers = tuple(opened.layer(number) for number in range(opened.num_layers))
    return Decoder(opened.architecture, DecoderWeights(opened.outside(), layers))
