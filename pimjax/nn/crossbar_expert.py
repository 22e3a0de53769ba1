"""One expert on crossbars: up, optionally gate, and down projections with the activation between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from pimjax.array_typing import Array
from pimjax.errors import NumericsError
from pimjax.nn.crossbar_linear import CrossbarLinear
from pimjax.numerics.settings import Crossbar
from pimjax.numerics.sharing import Converters

ACTIVATIONS = ("relu", "swiglu")


def split_optional(key: Array | None, count: int) -> list[Array | None]:
    """`count` keys from one, or as many times None."""
    return [None] * count if key is None else list(jax.random.split(key, count))


class CrossbarExpertMLP(nnx.Module):
    """relu: down(relu(up x)); swiglu: down(silu(gate x) * up x). Shapes: [..., d_model] -> [..., d_model].

    Activation and product are digital. Raises NumericsError for another activation.

    >>> import jax.numpy as jnp
    >>> expert = CrossbarExpertMLP(8, 16, Crossbar.create(rows=8), activation="swiglu", rngs=nnx.Rngs(0))
    >>> expert.calibrate(jnp.ones((3, 8)))
    >>> expert(jnp.ones((3, 8))).shape
    (3, 8)
    """

    def __init__(
        self, d_model: int, d_expert: int, crossbar: Crossbar, *, activation: str = "relu", rngs: nnx.Rngs
    ) -> None:
        if activation not in ACTIVATIONS:
            raise NumericsError(f"activation is {activation!r}; it must be one of {', '.join(ACTIVATIONS)}")
        self.activation = activation
        self.up = CrossbarLinear(d_model, d_expert, crossbar, rngs=rngs)
        self.gate = CrossbarLinear(d_model, d_expert, crossbar, rngs=rngs) if activation == "swiglu" else None
        self.down = CrossbarLinear(d_expert, d_model, crossbar, rngs=rngs)

    def layers(self) -> dict[str, CrossbarLinear]:
        """The projections by name, in the order of their keys."""
        layers = {"up": self.up, "gate": self.gate, "down": self.down}
        return {name: layer for name, layer in layers.items() if layer is not None}

    def calibrate(self, inputs: Array, **options: Any) -> None:
        """Set all ranges from sample `inputs` [..., d_model]; the exact hidden layer calibrates `down`."""
        self.up.calibrate(inputs, **options)
        raised = inputs @ self.up.weight[...].T
        if self.gate is None:
            hidden = jax.nn.relu(raised)
        else:
            self.gate.calibrate(inputs, **options)
            hidden = jax.nn.silu(inputs @ self.gate.weight[...].T) * raised
        self.down.calibrate(hidden, **options)

    def __call__(
        self,
        inputs: Array,
        *,
        chip_key: Array | None = None,
        read_key: Array | None = None,
        vector_ids: Array | None = None,
        converters: Mapping[str, Converters] | None = None,
    ) -> Array:
        """Keys and `vector_ids` as for `CrossbarLinear`; `converters` by projection name."""
        names = list(self.layers())
        chip_keys = dict(zip(names, split_optional(chip_key, len(names)), strict=True))
        read_keys = dict(zip(names, split_optional(read_key, len(names)), strict=True))

        def project(name: str, vectors: Array) -> Array:
            return self.layers()[name](
                vectors,
                chip_key=chip_keys[name],
                read_key=read_keys[name],
                vector_ids=vector_ids,
                converters=None if converters is None else converters[name],
            )

        raised = project("up", inputs)
        hidden = jax.nn.relu(raised) if self.gate is None else jax.nn.silu(project("gate", inputs)) * raised
        return project("down", hidden)


def stack_of_experts(
    count: int, d_model: int, d_expert: int, crossbar: Crossbar, *, activation: str, rngs: nnx.Rngs
) -> CrossbarExpertMLP:
    """`count` experts as one module whose every leaf leads with the expert axis.

    >>> stack_of_experts(4, 8, 16, Crossbar.create(), activation="relu", rngs=nnx.Rngs(0)).up.weight.shape
    (4, 16, 8)
    """

    @nnx.split_rngs(splits=count)
    @nnx.vmap(in_axes=(0,))
    def make(rngs: nnx.Rngs) -> CrossbarExpertMLP:
        return CrossbarExpertMLP(d_model, d_expert, crossbar, activation=activation, rngs=rngs)

    return make(rngs)
