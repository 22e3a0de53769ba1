"""Which parts of a language model suffer most on crossbars: what a chip should keep digital.

Scores of parts and experts, and orders made of them. A part is one of `pimjax.nn.analog_parts.part_names`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pimjax import checks
from pimjax.array_typing import Array, ArrayLike, HostArray
from pimjax.errors import ConfigError
from pimjax.nn.analog_parts import AnalogParts, all_parts, mixed_linear, part_names, part_weights, to_vector
from pimjax.nn.convert import ModelRanges, check_ranges, crossbar_model, model_loss, program_model
from pimjax.nn.decoder_block import Parameters
from pimjax.nn.language_model import LanguageModelConfig, check_parameters, cross_entropy, forward
from pimjax.numerics.settings import Crossbar, as_arrays

_CROSSBAR = checks.instance(Crossbar, "a Crossbar from Crossbar.create")
_MODEL = checks.instance(LanguageModelConfig, "a LanguageModelConfig")
_WINDOWS = checks.numbers(0, dims=2, integer=True, filled=True)
_CHUNK = 8  # maps that one compiled call of a greedy step evaluates


def _keys(value: Any) -> str | None:
    if checks.is_key(value, 1):
        return None
    return "must be a row of keys, one for each chip: jax.random.split(jax.random.key(seed), chips)"


@checks.checked(
    ConfigError,
    parameters=checks.mapping,
    windows=_WINDOWS,
    parts=checks.instance(AnalogParts, "AnalogParts with a leading axis"),
    ranges=checks.mapping,
    crossbar=_CROSSBAR,
    config=_MODEL,
    chip_keys=_keys,
    router=checks.text,
)
@functools.partial(jax.jit, static_argnames=("config", "router"))
def part_losses(
    parameters: dict[str, Array],
    windows: Array,
    parts: AnalogParts,
    ranges: ModelRanges,
    crossbar: Crossbar,
    *,
    config: LanguageModelConfig,
    chip_keys: Array,
    router: str = "crossbar",
) -> Array:
    """Cross entropy [nat per token] `[N]` of int `windows` [W, T] for many maps of digital parts. Kernel.

    Args:
      parameters, windows, ranges, crossbar, config, router: as for `model_loss`.
      parts: levels with a leading axis `[N]`.
      chip_keys: `[C]` keys, one chip each, the same for every map; the result is their mean. Consumed.

    Every chip is programmed once. Noise of a read belongs to (chip, window, matrix, token), so maps differ in nothing else.
    """
    check_parameters(parameters, config, windows)
    check_ranges(ranges, parameters)
    settings = as_arrays(crossbar, jnp.float32)

    def on_chip(key: Array) -> Array:
        chip = program_model(parameters, settings, chip_key=key)
        read_key = jax.random.fold_in(key, 1)

        def of_map(one: AnalogParts) -> Array:
            def of_window(tokens: Array, index: Array) -> Array:
                keyed = jax.random.fold_in(read_key, index)
                linear = mixed_linear(crossbar_model(chip, ranges, settings, router=router, read_key=keyed), one)
                return cross_entropy(forward(parameters, tokens[:-1], config, linear=linear).logits, tokens[1:])

            return jnp.mean(jax.vmap(of_window)(windows, jnp.arange(windows.shape[0])))

        return jax.lax.map(of_map, parts)

    return jnp.mean(jax.lax.map(on_chip, chip_keys), axis=0)


@checks.checked(
    ConfigError,
    parameters=checks.mapping,
    windows=_WINDOWS,
    ranges=checks.mapping,
    crossbar=_CROSSBAR,
    config=_MODEL,
    chip_keys=_keys,
    router=checks.text,
    levels=checks.whole(1, 64),
)
def noise_sensitivity(
    parameters: dict[str, Array],
    windows: Array,
    ranges: ModelRanges,
    crossbar: Crossbar,
    *,
    config: LanguageModelConfig,
    chip_keys: Array,
    router: str = "crossbar",
    levels: int = 1,
) -> HostArray:
    """What every part adds to the loss of the analog model: [nat per token] `[P]`, by one backward pass. Host.

    The loss grows from the digital to the analog model along one line, on which every part has the same level; a part's
    share is the integral of its partial derivative (integrated gradients, arXiv 1703.01365), so that the shares sum to
    the whole growth. One level, the default, takes the derivative half way, which is exact where the loss is quadratic in
    the noise; more levels are Gauss-Legendre points. Derivatives see rounding as straight-through and choices of the
    router as given: what the noise does by moving a choice is not in them.

    Args:
      parameters, windows, ranges, crossbar, config, router: as for `model_loss`.
      chip_keys: `[C]` keys, one drawn chip each, over which the shares are averaged. Consumed.
      levels: points of the integral, each one backward pass.

    Raises:
      ConfigError: levels below 1, keys that are not one row of keys.
    """
    points, weights = np.polynomial.legendre.leggauss(levels)
    total = np.zeros(len(part_names(config)))
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        gradient = _gradient(
            parameters, windows, ranges, crossbar, chip_keys, np.float32(point), config=config, router=router
        )
        total += weight * to_vector(gradient)
    return total


@functools.partial(jax.jit, static_argnames=("config", "router"))
def _gradient(
    parameters: dict[str, Array],
    windows: Array,
    ranges: ModelRanges,
    crossbar: Crossbar,
    chip_keys: Array,
    level: Array,
    *,
    config: LanguageModelConfig,
    router: str,
) -> AnalogParts:
    def on_chip(key: Array) -> AnalogParts:
        def loss(parts: AnalogParts) -> Array:
            return model_loss(
                parameters,
                windows,
                ranges,
                crossbar,
                config=config,
                router=router,
                chip_key=key,
                read_key=jax.random.fold_in(key, 1),
                parts=parts,
            )

        return jax.grad(loss)(jax.tree.map(lambda leaf: level * leaf, all_parts(config)))

    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), jax.lax.map(on_chip, chip_keys))


def _require_experts(name: str, value: Any) -> None:
    """Raise ConfigError unless a parameter is the matrices of all experts, `[L, E, out, in]`."""
    checks.require(ConfigError, f"parameters: {name}", value, checks.numbers(dims=4, filled=True))


@checks.checked(ConfigError, parameters=checks.mapping)
def neuron_norm_scores(parameters: Parameters) -> HostArray:
    """Maximum-neuron-norm score of every expert, float64 `[L, E]`. Host.

    The product over an expert's matrices of the largest Euclidean norm of one neuron's weights, a row of the matrix
    [out, in] (arXiv 2603.02633: experts with large norms are the ones that programming noise hurts most).

    >>> up, down = jnp.array([[[[3.0, 4.0], [0.0, 1.0]]]]), jnp.array([[[[2.0, 0.0], [0.0, 1.0]]]])
    >>> neuron_norm_scores({"up": up, "down": down}).tolist()
    [[10.0]]
    """
    names = [name for name in ("up", "gate", "down") if name in parameters]
    for name in dict.fromkeys(("up", "down", *names)):
        _require_experts(name, parameters.get(name))
    score = np.ones(np.shape(parameters["up"])[:2])
    for name in names:
        score *= np.linalg.norm(np.asarray(parameters[name], np.float64), axis=-1).max(axis=-1)
    return score


@checks.checked(ConfigError, parameters=checks.mapping, windows=_WINDOWS, config=_MODEL)
def activation_frequency(parameters: dict[str, Array], windows: Any, config: LanguageModelConfig) -> HostArray:
    """Share of the tokens of int `windows` [W, T] that visit an expert in the exact model, float64 `[L, E]`. Host.

    The mean over the experts is top_k / E under token choice.

    >>> from flax import nnx
    >>> from pimjax.nn.language_model import LanguageModel
    >>> config = LanguageModelConfig(num_layers=1, num_experts=4, top_k=2)
    >>> model = LanguageModel(config, rngs=nnx.Rngs(0))
    >>> float(activation_frequency(model.parameters(), jnp.arange(8)[None], config).mean())
    0.5
    """
    check_parameters(parameters, config, windows)
    run = jax.jit(jax.vmap(lambda tokens: forward(parameters, tokens, config).choices))
    return np.asarray(run(jnp.asarray(windows)), np.float64).mean(axis=(0, 2))


@checks.checked(ConfigError, config=_MODEL, scores=checks.numbers(dims=(1, 2), filled=True), dense_first=checks.flag)
def digital_order(
    config: LanguageModelConfig,
    scores: ArrayLike,
    *,
    dense_first: bool = True,
) -> HostArray:
    """Parts in the order in which they become digital, int `[P]`: the largest score first. Host.

    Args:
      config: the model.
      scores: of every expert `[L, E]`, or of every part `[P]`.
      dense_first: attention, routers and the output head before all experts (as arXiv 2603.02633 does); needed for
        scores of experts only.

    Equal scores keep the order of `part_names`. Raises ConfigError for scores of another shape.

    >>> config = LanguageModelConfig(num_layers=1, num_experts=2, top_k=1)
    >>> [part_names(config)[part] for part in digital_order(config, [[0.2, 0.7]])]
    ['attention 0', 'router 0', 'output', 'expert 0.1', 'expert 0.0']
    """
    values = np.asarray(scores, np.float64)
    dense = 2 * config.num_layers + 1
    count = dense + config.num_layers * config.num_experts
    if values.shape == (config.num_layers, config.num_experts) and dense_first:
        values = np.concatenate([np.zeros(dense), values.reshape(-1)])
    if values.shape != (count,):
        raise ConfigError(
            f"scores have shape {list(values.shape)}; they must be [{config.num_layers}, {config.num_experts}], one of "
            f"each expert (with dense_first), or [{count}], one of each part"
        )
    order = np.argsort(-values, kind="stable")
    return np.concatenate([order[order < dense], order[order >= dense]]) if dense_first else order


@checks.checked(ConfigError, losses=checks.function, config=_MODEL, report=checks.optional(checks.function))
def greedy_order(
    losses: Callable[[HostArray], Any],
    config: LanguageModelConfig,
    *,
    report: Callable[[int, float], None] | None = None,
) -> HostArray:
    """The order that makes, step by step, the part digital that lowers the loss most for its weights, int `[P]`. Host.

    Lazily (Minoux 1978): what a part saved when it was last looked at counts as the most that it can save now, so that a
    step measures few of them, in chunks of 8. That is plain greedy wherever savings only shrink.

    Args:
      losses: of levels `[8, P]`, see :func:`part_losses` and `from_vector`.
      config: the model.
      report: called with (parts that are digital, loss then).

    >>> config = LanguageModelConfig(num_layers=1, num_experts=2, top_k=1)
    >>> hurts = np.array([5.0, 1.0, 0.0, 2.0, 4.0])  # each part by itself, for the same number of weights
    >>> greedy_order(lambda maps: maps @ (hurts * part_weights(config)), config).tolist()
    [0, 4, 3, 1, 2]
    """
    size = part_weights(config)
    count = len(size)
    current = np.ones(count)
    loss = float(np.asarray(losses(np.tile(current, (_CHUNK, 1))))[0])
    most, then = np.full(count, np.inf), np.zeros(count)
    order: list[int] = []
    while len(order) < count:
        left = np.flatnonzero(current)
        fresh = np.zeros(count, bool)
        while True:
            ranked = left[np.argsort(-most[left], kind="stable")]
            if fresh[ranked[0]]:
                break
            asked = ranked[~fresh[ranked]][:_CHUNK]
            maps = np.tile(current, (_CHUNK, 1))
            maps[np.arange(len(asked)), asked] = 0
            then[asked] = np.asarray(losses(maps), np.float64)[: len(asked)]
            most[asked] = (loss - then[asked]) / size[asked]
            fresh[asked] = True
        best = int(ranked[0])
        order.append(best)
        current[best], loss = 0, float(then[best])
        if report is not None:
            report(len(order), loss)
    return np.array(order)
