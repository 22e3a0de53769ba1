"""Hardware-aware fine-tuning: train through the crossbars, on another chip at every step."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pimjax.array_typing import Array
from pimjax.errors import NumericsError
from pimjax.nn.convert import ModelRanges, model_loss
from pimjax.nn.crossbar_linear import Ranges
from pimjax.nn.decoder_block import Parameters
from pimjax.nn.language_model import LanguageModelConfig
from pimjax.numerics.settings import Crossbar, as_arrays


class FineTuned(NamedTuple):
    """Weights and ranges after fine-tuning, and the training loss [steps] in nat per token."""

    parameters: dict[str, Array]
    ranges: ModelRanges
    losses: Array


def finetune(
    parameters: Parameters,
    ranges: ModelRanges,
    batches: Array,
    config: LanguageModelConfig,
    crossbar: Crossbar,
    *,
    key: Array | None,
    router: str = "crossbar",
    learning_rate: float = 3e-4,
    range_learning_rate: float = 1e-3,
) -> FineTuned:
    """Adapt a model to its crossbars on int `batches` [steps, B, T] of text, one update of Adam per step.

    Weights learn through straight-through rounding, ranges as learned step sizes (their logarithms move, so they stay
    positive). With a `key` (consumed) every step draws a new chip and new read noise: the weights become robust, not
    fitted to one chip. Without: only what is deterministic is learned.
    Raises NumericsError for batches of another rank. Needs the extra `tune` (optax).
    """
    if batches.ndim != 3:
        raise NumericsError(f"batches have shape {batches.shape}; they must be [steps, batch, tokens]")
    settings = as_arrays(crossbar, jnp.float32)
    start = (dict(parameters), jax.tree.map(jnp.log, ranges))
    return _run(start, batches, settings, key, learning_rate, range_learning_rate, config=config, router=router)


@functools.partial(jax.jit, static_argnames=("config", "router"))
def _run(
    start: tuple[dict[str, Array], dict[str, Ranges]],
    batches: Array,
    crossbar: Crossbar,
    key: Array | None,
    learning_rate: Array,
    range_learning_rate: Array,
    *,
    config: LanguageModelConfig,
    router: str,
) -> FineTuned:
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(b2=0.98))
    steps = batches.shape[0]

    def loss(trained: tuple[dict[str, Array], dict[str, Ranges]], windows: Array, step: Array) -> Array:
        keys = (None, None) if key is None else tuple(jax.random.split(jax.random.fold_in(key, step)))
        weights, logarithms = trained
        return model_loss(
            weights,
            windows,
            jax.tree.map(jnp.exp, logarithms),
            crossbar,
            config=config,
            router=router,
            chip_key=keys[0],
            read_key=keys[1],
        )

    def update(state: tuple[Any, Any], batch: tuple[Array, Array]) -> tuple[tuple[Any, Any], Array]:
        trained, moments = state
        windows, step = batch
        value, gradient = jax.value_and_grad(loss)(trained, windows, step)
        change, moments = optimizer.update(gradient, moments, trained)
        decay = 0.5 * (1 + jnp.cos(jnp.pi * step / steps))  # cosine to 0
        rates = (
            jax.tree.map(lambda _: learning_rate, trained[0]),
            jax.tree.map(lambda _: range_learning_rate, trained[1]),
        )
        trained = jax.tree.map(lambda old, delta, rate: old - rate * decay * delta, trained, change, rates)
        return (trained, moments), value

    (trained, _), losses = jax.lax.scan(update, (start, optimizer.init(start)), (batches, jnp.arange(steps)))
    return FineTuned(trained[0], jax.tree.map(jnp.exp, trained[1]), losses)
