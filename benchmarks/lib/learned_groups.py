"""Learned grouping: a relaxed assignment of experts to groups, trained on traces through a soft makespan, rounded.

The assignment is a matrix with one row per expert and one column per group; Sinkhorn's iteration makes rows sum to 1
and columns to the group's places. The soft makespan of a request is a p-norm of its group loads. Adam lowers the mean
over the training requests while the temperature falls; several restarts run side by side (vmap), and so do several
problems of one shape (layers, folds). Rounding is the linear assignment with the largest relaxed weight.

Judged on the folds of the contention study (benchmarks/studies/learned_grouping.py, results/learned_grouping.json) it does NOT
beat the combinatorial strategies: on unseen requests its makespan is longer than that of `balanced` at every group size
that could be told apart. It is therefore no strategy of `group_experts` and no part of the package; it stays here as the measured comparison.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import Array, HostArray
from pimjax.errors import MissingExtraError
from pimjax.schedule.grouping.search import canonical
from pimjax.tuning.descent import optax_module

SINKHORN_STEPS = 12
NORM = 16.0
FIRST_TEMPERATURE, LAST_TEMPERATURE = 1.0, 0.5


def sinkhorn(logits: Array, places: Array, temperature: Array) -> Array:
    """Relaxed assignment `[E, G]`: positive, rows sum to 1, columns nearly to `places` `[G]`. Kernel.

    >>> relaxed = sinkhorn(jnp.zeros((4, 2)), jnp.array([2.0, 2.0]), jnp.float32(1.0))
    >>> [round(float(x), 3) for x in relaxed.sum(axis=0)]
    [2.0, 2.0]
    """
    scores = logits / temperature

    def step(scores: Array, _: None) -> tuple[Array, None]:
        scores = scores - jax.nn.logsumexp(scores, axis=0, keepdims=True) + jnp.log(places)[None, :]
        return scores - jax.nn.logsumexp(scores, axis=1, keepdims=True), None

    return jnp.exp(jax.lax.scan(step, scores, None, length=SINKHORN_STEPS)[0])


def soft_makespan(assignment: Array, loads: Array) -> Array:
    """Mean over requests of the `NORM`-norm of group loads, in mean group loads. Kernel. `loads` `[R, E]`.

    Differentiable; a request without load counts 0.
    """
    total = jnp.sum(loads, axis=1, keepdims=True)
    relative = loads * assignment.shape[1] / jnp.where(total > 0, total, 1.0)
    groups = relative @ assignment  # [R, G]
    top = jax.lax.stop_gradient(jnp.maximum(groups.max(axis=1, keepdims=True), 1e-9))
    power = jnp.mean((groups / top) ** NORM, axis=1)  # at least 1/G where there is load
    norm = top[:, 0] * jnp.where(total[:, 0] > 0, power, 1.0) ** (1 / NORM)
    weight = total[:, 0] / jnp.maximum(jnp.mean(total), 1e-9)
    return jnp.mean(jnp.where(total[:, 0] > 0, weight * norm, 0.0))


def learn_groups(loads: HostArray, num_groups: int, *, steps: int = 300, restarts: int = 4, seed: int = 0) -> HostArray:
    """Groups of nearly equal size fitted by gradient descent. Host, deterministic.

    Args:
        loads: `[R, E]`, or `[N, R, E]` for N problems at once (rows of zeros do not count).
        num_groups: G, at most E.
        steps: Adam steps.
        restarts: random starts per problem; the best after rounding wins.
        seed: of the starts.

    Returns:
        int32 `[E]` or `[N, E]`.

    >>> learn_groups(np.array([[8.0, 0, 1, 7], [0, 8, 7, 1]]), 2, steps=60).tolist()
    [0, 0, 1, 1]
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise MissingExtraError("scipy", "tune", "learned grouping") from None
    several = np.asarray(loads, np.float32)
    several = several[None] if several.ndim == 2 else several
    problems, _, experts = several.shape
    places = np.full(num_groups, experts // num_groups)
    places[: experts % num_groups] += 1
    starts = np.random.default_rng(seed).normal(size=(problems, restarts, experts, num_groups)).astype(np.float32)
    relaxed = np.asarray(_train(steps)(several, 0.5 * starts, places.astype(np.float32)))
    column = np.repeat(np.arange(num_groups), places)
    out = np.empty((problems, experts), np.int32)
    for problem in range(problems):
        best = np.inf
        for weight in relaxed[problem]:
            rows, picked = linear_sum_assignment(-weight[:, column])
            groups = np.empty(experts, np.int32)
            groups[rows] = column[picked]
            value = (several[problem] @ np.eye(num_groups)[groups]).max(axis=1).mean()
            if value < best:
                best, out[problem] = value, canonical(groups)
    return out if np.ndim(loads) == 3 else out[0]


@functools.cache
def _train(steps: int) -> Any:
    optax = optax_module()
    rule = optax.adam(optax.cosine_decay_schedule(0.1, steps, alpha=0.1))
    ratio = LAST_TEMPERATURE / FIRST_TEMPERATURE

    def one(loads: Array, logits: Array, places: Array) -> Array:
        def temperature(step: Array) -> Array:
            return FIRST_TEMPERATURE * ratio ** (step / max(1, steps - 1))

        def body(carry: Any, step: Array) -> tuple[Any, None]:
            logits, state = carry
            slope = jax.grad(lambda x: soft_makespan(sinkhorn(x, places, temperature(step)), loads))(logits)
            update, state = rule.update(slope, state, logits)
            return (logits + update, state), None

        (logits, _), _ = jax.lax.scan(body, (logits, rule.init(logits)), jnp.arange(steps, dtype=jnp.float32))
        return sinkhorn(logits, places, jnp.float32(LAST_TEMPERATURE))

    return jax.jit(jax.vmap(jax.vmap(one, in_axes=(None, 0, None)), in_axes=(0, 0, None)))
