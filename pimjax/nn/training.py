"""Training of the small language models: next-token loss, Adam, one compiled scan per reporting interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from pimjax.array_typing import Array, HostArray
from pimjax.nn.language_model import LanguageModel, LanguageModelConfig, cross_entropy, forward


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How long and how fast; static.

    Attributes:
      steps, batch, length: updates, windows per update, tokens per window.
      learning_rate: peak of a cosine schedule with a linear start over a twentieth of the steps.
      weight_decay: of AdamW.
      balance: weight of the load-balancing loss of token choice (expert choice is balanced by construction).
      seed: of the initial weights and of the order of the text.
    """

    steps: int = 1500
    batch: int = 8
    length: int = 256
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    balance: float = 0.01
    seed: int = 0


class TrainingResult(NamedTuple):
    """Trained parameters and, for each report, (step, mean training loss [nat per token])."""

    parameters: dict[str, Array]
    history: list[tuple[int, float]]


def balance_loss(gate_scores: Array, choices: Array) -> Array:
    """Load-balancing loss of Switch Transformers (arXiv 2101.03961, eq. 4), averaged over layers; 1 at perfect balance.

    Args:
      gate_scores: ``[L, T, E]``.
      choices: bool ``[L, T, E]``.

    >>> scores = jnp.full((1, 2, 2), 0.5)
    >>> float(balance_loss(scores, jnp.array([[[True, False], [False, True]]])))
    1.0
    """
    counts = choices.sum(axis=1)
    share = counts / jnp.maximum(counts.sum(axis=-1, keepdims=True), 1)
    return choices.shape[-1] * jnp.mean(jnp.sum(share * gate_scores.mean(axis=1), axis=-1))


def loss(parameters: Any, tokens: Array, config: LanguageModelConfig, balance: float) -> tuple[Array, Array]:
    """Loss of a batch ``[B, T]`` of windows: (cross entropy + balance term, cross entropy [nat per token])."""

    def one(window: Array) -> tuple[Array, Array]:
        result = forward(parameters, window[:-1], config)
        return cross_entropy(result.logits, window[1:]), balance_loss(result.gate_scores, result.choices)

    entropy, imbalance = jax.vmap(one)(tokens)
    weight = balance if config.router == "token_choice" else 0.0
    return entropy.mean() + weight * imbalance.mean(), entropy.mean()


def train(
    config: LanguageModelConfig,
    documents: list[HostArray],
    training: TrainingConfig,
    *,
    report_every: int = 100,
    progress: Callable[[int, float], None] | None = None,
) -> TrainingResult:
    """Train a model on random windows of documents, weighted by their length.

    Args:
      config: the model.
      documents: integer arrays of token ids; those shorter than a window are not used.
      training: length and speed.
      report_every: steps per compiled chunk.
      progress: called with (step, mean loss of the chunk).

    Returns:
      float32 parameters and the loss history. The same inputs on the same machine give the same bits.
    """
    model = LanguageModel(config, rngs=nnx.Rngs(training.seed))
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, training.learning_rate, max(training.steps // 20, 1), training.steps
    )
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.98, weight_decay=training.weight_decay)
    )
    draw = _window_sampler(documents, training.length + 1, training.seed)
    parameters = model.parameters()
    state = optimizer.init(parameters)
    run = jax.jit(partial(_run_steps, config=config, optimizer=optimizer, balance=training.balance))
    history = []
    for begin in range(0, training.steps, report_every):
        count = min(report_every, training.steps - begin)
        batches = draw(count * training.batch).reshape(count, training.batch, -1)
        parameters, state, losses = run(parameters, state, batches)
        history.append((begin + count, float(losses.mean())))
        if progress is not None:
            progress(*history[-1])
    return TrainingResult(parameters, history)


def evaluate(parameters: Any, config: LanguageModelConfig, tokens: HostArray) -> float:
    """Mean cross entropy [nat per token] over windows int ``[N, T]``, one window at a time."""
    score = jax.jit(lambda weights, window: cross_entropy(forward(weights, window[:-1], config).logits, window[1:]))
    return float(np.mean([score(parameters, jnp.asarray(window)) for window in tokens]))


def _run_steps(
    parameters: Any, state: Any, batches: Array, *, config: LanguageModelConfig, optimizer: Any, balance: float
) -> tuple[Any, Any, Array]:
    def step(carry: tuple[Any, Any], tokens: Array) -> tuple[tuple[Any, Any], Array]:
        weights, moments = carry
        (_, entropy), gradient = jax.value_and_grad(loss, has_aux=True)(weights, tokens, config, balance)
        updates, moments = optimizer.update(gradient, moments, weights)
        return (optax.apply_updates(weights, updates), moments), entropy

    (parameters, state), losses = jax.lax.scan(step, (parameters, state), batches)
    return parameters, state, losses


def _window_sampler(documents: list[HostArray], length: int, seed: int) -> Callable[[int], HostArray]:
    usable = [np.asarray(document, np.int32) for document in documents if len(document) >= length]
    if not usable:
        raise ValueError(f"no document has {length} tokens: give longer documents or train with a smaller length")
    starts = np.concatenate([[0], np.cumsum([len(document) - length + 1 for document in usable])])
    generator = np.random.default_rng(seed)

    def draw(count: int) -> HostArray:
        places = generator.integers(0, starts[-1], size=count)
        which = np.searchsorted(starts, places, side="right") - 1
        return np.stack([usable[w][p - starts[w] : p - starts[w] + length] for w, p in zip(which, places, strict=True)])

    return draw
