"""From a trained digital model to one whose every matrix product runs on crossbars, with ranges calibrated on data."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from pimjax import checks
from pimjax.array_typing import Array, ArrayLike
from pimjax.errors import ConfigError, NumericsError
from pimjax.nn.analog_parts import AnalogParts, mixed_linear
from pimjax.nn.crossbar_linear import ProgrammedMatrix, Ranges, fit_ranges, program_linear, read_linear
from pimjax.nn.crossbar_moe import ROUTERS
from pimjax.nn.decoder_block import LinearFunction, Parameters, Site, exact_linear
from pimjax.nn.language_model import LanguageModelConfig, check_parameters, cross_entropy, forward, layer_weights
from pimjax.numerics.settings import Crossbar, as_arrays, check_crossbar, is_concrete
from pimjax.numerics.sharing import draw_shared_converters

#: Every matrix of a language model; the place in this list is part of its noise's key.
SITES = ("query", "key", "value", "attention_output", "router", "up", "gate", "down", "output")
_EXPERT_SITES = ("up", "gate", "down")
_LAYERS, _EXPERTS = 1 << 10, 1 << 12  # room in a site's number

#: Calibrated ranges by site; leaves lead with [L], with [L, E] for experts, with nothing for the output head.
ModelRanges = dict[str, Ranges]


def sample_activations(parameters: Parameters, tokens: Array, config: LanguageModelConfig) -> dict[str, Array]:
    """What every matrix of the exact model is multiplied with on int `tokens` [T], by site.

    [L, T, in]; [L, E, T, d_expert] for down; [T, d] for output. up and gate see what the router sees.
    """
    seen: dict[str, dict[int, Array]] = {}

    def remember(weights: Array, inputs: Array, site: Site) -> Array:
        if site.expert is None:
            seen.setdefault(site.name, {})[site.layer] = inputs
        return exact_linear(weights, inputs, site)

    forward(parameters, tokens, config, linear=remember)
    layers = range(config.num_layers)
    activations = {
        name: jnp.stack([by_layer[layer] for layer in layers]) for name, by_layer in seen.items() if name != "output"
    }
    activations["output"] = seen["output"][-1]
    activations["up"] = activations["router"]
    hidden = []
    for layer in layers:
        weights = layer_weights(parameters, layer)
        raised = jnp.einsum("efd,td->etf", weights["up"], activations["up"][layer])
        if config.activation == "swiglu":
            raised = jax.nn.silu(jnp.einsum("efd,td->etf", weights["gate"], activations["up"][layer])) * raised
        else:
            raised = jax.nn.relu(raised)
        hidden.append(raised)
    activations["down"] = jnp.stack(hidden)
    if config.activation == "swiglu":
        activations["gate"] = activations["up"]
    return activations


def calibrate_model(
    parameters: Parameters,
    windows: Array,
    config: LanguageModelConfig,
    crossbar: Crossbar,
    *,
    method: str = "percentile",
    percentile: float = 99.99,
    input_percentile: float = 99.9,
    samples: int = 256,
) -> ModelRanges:
    """Input and ADC ranges of every matrix from the exact model's activations on int `windows` [N, T].

    Every matrix sees `samples` activations, evenly taken from all windows. Options as for `fit_ranges`. The ranges are
    static: evaluation on other text uses them as they are. Raises NumericsError for settings out of range.
    """
    if is_concrete(crossbar):
        check_crossbar(crossbar)
    settings = as_arrays(crossbar, jnp.float32)
    return _calibrate(
        dict(parameters), windows, settings, percentile, input_percentile, config=config, method=method, samples=samples
    )


@functools.partial(jax.jit, static_argnames=("config", "method", "samples"))
def _calibrate(
    parameters: dict[str, Array],
    windows: Array,
    crossbar: Crossbar,
    percentile: ArrayLike,
    input_percentile: ArrayLike,
    *,
    config: LanguageModelConfig,
    method: str,
    samples: int,
) -> ModelRanges:
    activations = jax.vmap(lambda tokens: sample_activations(parameters, tokens, config))(windows)

    def fit(pair: tuple[Array, Array]) -> Ranges:
        weights, inputs = pair
        stride = max(inputs.shape[0] // samples, 1)
        return fit_ranges(
            weights,
            inputs[::stride][:samples],
            crossbar,
            method=method,
            percentile=percentile,
            input_percentile=input_percentile,
        )

    ranges = {}
    for name, inputs in activations.items():
        if name == "output":
            ranges[name] = fit((parameters["embedding"], inputs.reshape(-1, inputs.shape[-1])))
            continue
        weights = parameters[name]
        merged = jnp.moveaxis(inputs, 0, -3)  # windows beside tokens
        merged = merged.reshape(*merged.shape[:-3], -1, merged.shape[-1])
        if name in ("up", "gate"):
            merged = jnp.broadcast_to(merged[:, None], (*weights.shape[:2], *merged.shape[1:]))
        lead = weights.shape[:-2]
        flat = jax.lax.map(fit, (weights.reshape(-1, *weights.shape[-2:]), merged.reshape(-1, *merged.shape[-2:])))
        ranges[name] = jax.tree.map(lambda leaf, lead=lead: leaf.reshape(*lead, *leaf.shape[1:]), flat)
    return ranges


def program_model(
    parameters: Parameters,
    crossbar: Crossbar,
    *,
    chip_key: Array | None = None,
    group_of_expert: Array | None = None,
) -> dict[str, ProgrammedMatrix]:
    """Program every matrix of a language model; leaves lead as in :data:`ModelRanges`. `crossbar` as arrays.

    One `chip_key` (consumed) is one chip; None draws nothing. `group_of_expert` int [E]: the experts of a group share
    their converters position by position, in every layer. Matrices of one shape are programmed by one mapped call.
    """
    weights = {name: parameters[name] for name in SITES if name in parameters}
    weights["output"] = parameters["embedding"]
    by_shape: dict[tuple[bool, tuple[int, ...]], list[str]] = {}
    for name, value in weights.items():
        by_shape.setdefault((name in _EXPERT_SITES, value.shape[-2:]), []).append(name)
    chip: dict[str, ProgrammedMatrix] = {}
    for group, ((is_expert, shape), names) in enumerate(by_shape.items()):
        flat = jnp.concatenate([weights[name].reshape(-1, *shape) for name in names])
        keys = None if chip_key is None else jax.random.split(jax.random.fold_in(chip_key, group), flat.shape[0] + 1)
        converters = None
        if is_expert and group_of_expert is not None and keys is not None:
            experts = weights[names[0]].shape[-3]
            copies = jnp.arange(flat.shape[0]) // experts  # the same experts once per matrix name and layer
            owner = copies * experts + jnp.tile(group_of_expert, flat.shape[0] // experts)
            blocks = -(-shape[1] // crossbar.rows)
            converters = draw_shared_converters(
                crossbar, (crossbar.max_slices, blocks, shape[0]), owner, num_groups=flat.shape[0], key=keys[-1]
            )
        axes = (0, None if keys is None else 0, None if converters is None else 0)
        matrices = jax.vmap(
            lambda matrix, key, shared: program_linear(matrix, crossbar, chip_key=key, converters=shared), in_axes=axes
        )(flat, None if keys is None else keys[:-1], converters)
        begin = 0
        for name in names:
            lead = weights[name].shape[:-2]
            count = math.prod(lead)
            chip[name] = jax.tree.map(
                lambda leaf, begin=begin, count=count, lead=lead: leaf[begin : begin + count].reshape(
                    *lead, *leaf.shape[1:]
                ),
                matrices,
            )
            begin += count
    return chip


def check_ranges(ranges: Mapping[str, Ranges], parameters: Parameters) -> None:
    """Raise NumericsError unless every matrix of a model has ranges."""
    for name in SITES:
        if (name in parameters or name == "output") and name not in ranges:
            raise NumericsError(f"ranges lack {name!r}: calibrate_model makes the ranges of every matrix")


def crossbar_model(
    chip: Mapping[str, ProgrammedMatrix],
    ranges: Mapping[str, Ranges],
    crossbar: Crossbar,
    *,
    router: str = "crossbar",
    read_key: Array | None = None,
    token_ids: Array | None = None,
) -> LinearFunction:
    """The `linear` argument of `forward` that runs a programmed model; `crossbar` as arrays.

    `router` is the configuration's key: "crossbar" or "digital". Read noise belongs to (read_key, matrix, layer,
    expert, token): `token_ids` int [T] (default 0, 1, ..) numbers the tokens, so that a cached step and a pass over the
    whole sequence see the same noise. Raises NumericsError for another router.

    >>> from pimjax.nn.language_model import LanguageModel
    >>> from flax import nnx
    >>> model = LanguageModel(LanguageModelConfig(num_layers=1, num_experts=2, top_k=1), rngs=nnx.Rngs(0))
    >>> tokens, crossbar = jnp.arange(8), Crossbar.create(rows=64)
    >>> ranges = calibrate_model(model.parameters(), tokens[None], model.config, crossbar)
    >>> chip = program_model(model.parameters(), crossbar)
    >>> model(tokens, linear=crossbar_model(chip, ranges, crossbar)).logits.shape
    (8, 128)
    """
    if router not in ROUTERS:
        raise NumericsError(f"router is {router!r}; it must be one of {', '.join(ROUTERS)}")

    def linear(weights: Array, inputs: Array, site: Site) -> Array:
        if site.name == "router" and router == "digital":
            return exact_linear(weights, inputs, site)
        if site.name not in ranges:
            raise NumericsError(f"ranges lack {site.name!r}: calibrate_model makes the ranges of every matrix")
        own = (chip[site.name], ranges[site.name])
        for index in (site.layer if site.layer >= 0 else None, site.expert):
            if index is not None:
                own = jax.tree.map(lambda leaf, index=index: leaf[index], own)
        key = None
        if read_key is not None:
            number = (SITES.index(site.name) * _LAYERS + site.layer + 1) * _EXPERTS
            key = jax.random.fold_in(read_key, number + (0 if site.expert is None else site.expert))
        # Many small products: the second, packed program would only cost compile time.
        return read_linear(own[0], inputs, own[1], crossbar, read_key=key, vector_ids=token_ids, packing=False)

    return linear


@checks.checked(
    ConfigError,
    parameters=checks.mapping,
    windows=checks.numbers(0, dims=2, integer=True, filled=True),
    ranges=checks.mapping,
    crossbar=checks.instance(Crossbar, "a Crossbar from Crossbar.create"),
    config=checks.instance(LanguageModelConfig, "a LanguageModelConfig"),
    router=checks.text,
    chip_key=checks.key,
    read_key=checks.key,
    group_of_expert=checks.numbers(0, integer=True),
    parts=checks.instance(AnalogParts, "AnalogParts"),
    macro=checks.instance(Crossbar, "a Crossbar from Crossbar.create"),
)
@functools.partial(jax.jit, static_argnames=("config", "router"))
def model_loss(
    parameters: dict[str, Array],
    windows: Array,
    ranges: ModelRanges,
    crossbar: Crossbar,
    *,
    config: LanguageModelConfig,
    router: str = "crossbar",
    chip_key: Array | None = None,
    read_key: Array | None = None,
    group_of_expert: Array | None = None,
    parts: AnalogParts | None = None,
    macro: Crossbar | None = None,
) -> Array:
    """Mean cross entropy [nat per token] of int `windows` [N, T] on one chip; its exponential is the perplexity.

    Expert choice routes by the causal rule, so no token sees a later one. Keys and `group_of_expert`: see
    `program_model` and `crossbar_model`. `parts` says which parts are digital (None: none); their
    products are those of `macro` (of real numbers if None). Settings are data: one
    compilation for any bits, noise, drift time, map of digital parts. Differentiable in: parameters, ranges, settings,
    levels of the parts.
    """
    check_parameters(parameters, config, windows)
    check_ranges(ranges, parameters)
    settings = as_arrays(crossbar, jnp.float32)
    chip = program_model(parameters, settings, chip_key=chip_key, group_of_expert=group_of_expert)
    macros = None if macro is None else program_model(parameters, as_arrays(macro, jnp.float32))

    def one(tokens: Array, index: Array) -> Array:
        window_key = None if read_key is None else jax.random.fold_in(read_key, index)
        linear = crossbar_model(chip, ranges, settings, router=router, read_key=window_key)
        if parts is not None:
            digital = exact_linear
            if macro is not None and macros is not None:
                digital = crossbar_model(macros, ranges, as_arrays(macro, jnp.float32), router=router)
            linear = mixed_linear(linear, parts, digital)
        return cross_entropy(forward(parameters, tokens[:-1], config, linear=linear).logits, tokens[1:])

    return jnp.mean(jax.vmap(one)(windows, jnp.arange(windows.shape[0])))
