"""Which parts of a language model are computed on crossbars, as numbers: 0 is digital, 1 analog, between is less noise.

A part is what a chip would keep digital as a whole: the attention of a layer (its four matrices), the router of a layer,
one expert (all its matrices), the output head.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from pimjax.array_typing import Array, HostArray
from pimjax.errors import ConfigError
from pimjax.nn.decoder_block import LinearFunction, Site, exact_linear
from pimjax.nn.language_model import LanguageModelConfig


@struct.dataclass
class AnalogParts:
    """How analog every part is: its products are exact + level x (crossbar - exact). Data; further axes in front."""

    attention: Array  # [L]
    router: Array  # [L]
    experts: Array  # [L, E]
    output: Array  # []


_PART_OF_SITE = {
    "query": "attention",
    "key": "attention",
    "value": "attention",
    "attention_output": "attention",
    "router": "router",
    "up": "experts",
    "gate": "experts",
    "down": "experts",
    "output": "output",
}


def all_parts(config: LanguageModelConfig, level: float = 1.0) -> AnalogParts:
    """Every part at one level.

    >>> all_parts(LanguageModelConfig(num_layers=2, num_experts=4)).experts.shape
    (2, 4)
    """
    layers = config.num_layers
    return AnalogParts(
        attention=jnp.full(layers, level),
        router=jnp.full(layers, level),
        experts=jnp.full((layers, config.num_experts), level),
        output=jnp.full((), level),
    )


def part_names(config: LanguageModelConfig) -> list[str]:
    """Names of the parts, in the order of :func:`to_vector`: experts last, layer by layer.

    >>> part_names(LanguageModelConfig(num_layers=1, num_experts=2, top_k=1))
    ['attention 0', 'router 0', 'output', 'expert 0.0', 'expert 0.1']
    """
    layers = range(config.num_layers)
    dense = [f"{kind} {layer}" for kind in ("attention", "router") for layer in layers]
    experts = [f"expert {layer}.{expert}" for layer in layers for expert in range(config.num_experts)]
    return [*dense, "output", *experts]


def to_vector(parts: AnalogParts) -> HostArray:
    """Levels of all parts as one vector, float64 `[..., P]`. Host."""
    leaves = (parts.attention, parts.router, parts.output, parts.experts)
    lead = np.shape(parts.output)
    return np.concatenate([np.asarray(leaf, np.float64).reshape(*lead, -1) for leaf in leaves], axis=-1)


def from_vector(vector: Any, config: LanguageModelConfig) -> AnalogParts:
    """Levels from a vector `[..., P]` in the order of :func:`part_names`. Raises ConfigError for another length.

    >>> config = LanguageModelConfig(num_layers=2, num_experts=4)
    >>> bool((to_vector(from_vector(np.arange(13.0), config)) == np.arange(13.0)).all())
    True
    """
    values = jnp.asarray(vector, jnp.float32)
    layers, experts = config.num_layers, config.num_experts
    count = 2 * layers + 1 + layers * experts
    if values.ndim < 1 or values.shape[-1] != count:
        raise ConfigError(f"levels have shape {list(values.shape)}; the model has {count} parts: give [..., {count}]")
    return AnalogParts(
        attention=values[..., :layers],
        router=values[..., layers : 2 * layers],
        output=values[..., 2 * layers],
        experts=values[..., 2 * layers + 1 :].reshape(*values.shape[:-1], layers, experts),
    )


def part_weights(config: LanguageModelConfig) -> HostArray:
    """Weights that every part holds, float64 `[P]` in the order of :func:`part_names`. Host.

    >>> part_weights(LanguageModelConfig(num_layers=1, num_experts=2, top_k=1, vocabulary=10)).tolist()
    [16384.0, 128.0, 640.0, 4096.0, 4096.0]
    """
    layers, shapes = config.num_layers, config.shapes()
    size = {name: float(np.prod(shape)) for name, shape in shapes.items()}
    attention = sum(size[name] for name in ("query", "key", "value", "attention_output")) / layers
    expert = sum(size.get(name, 0.0) for name in ("up", "gate", "down")) / (layers * config.num_experts)
    counts = [[attention] * layers, [size["router"] / layers] * layers, [size["embedding"]]]
    return np.concatenate([*counts, [expert] * (layers * config.num_experts)])


def mixed_linear(
    crossbar: LinearFunction, parts: AnalogParts, digital: LinearFunction = exact_linear
) -> LinearFunction:
    """The `linear` argument of `forward` for a model whose parts are `parts`: exact + level x (crossbar - exact).

    `digital` is the exact product: of real numbers, or of a digital macro's bits. A level of 0 is exactly the digital
    product, one of 1 exactly the crossbar's. Differentiable in: levels.
    """

    def linear(weights: Array, inputs: Array, site: Site) -> Array:
        level = getattr(parts, _PART_OF_SITE[site.name])
        if site.layer >= 0:
            level = level[site.layer]
        if site.expert is not None:
            level = level[site.expert]
        exact, analog = digital(weights, inputs, site), crossbar(weights, inputs, site)
        between = exact + level * (analog - exact)
        # The ends without rounding; the gradient is that of the line through them.
        ends = jnp.where(level == 1, analog, exact)
        return jnp.where((level == 0) | (level == 1), between + jax.lax.stop_gradient(ends - between), between)

    return linear
