"""Routers as kernels: from gate scores to the 0/1 choice matrix, unbatched, under jit and vmap.

Tokens are numbered from 1 in the formulas, from 0 in the arrays. ``C(L)`` is the capacity: how many of ``L`` tokens an
expert takes. NaN scores are undefined here; :func:`pimjax.trace.route` refuses them on the host.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import AnyArray, Array, ArrayLike
from pimjax.arrays import namespace, on_device, subroutine
from pimjax.errors import TraceError
from pimjax.trace.arguments import check_count, check_numbers, check_sizes
from pimjax.trace.checks import check_choice
from pimjax.trace.rounding import round_to_float16

CapacityRule = Literal["growing", "frozen", "fixed"]
CAPACITY_RULES: tuple[CapacityRule, ...] = ("growing", "frozen", "fixed")


class TokenChoice(NamedTuple):
    """Choices bool ``[T, E]`` and expert order int32 ``[T, k]``, best first, -1 in padding."""

    choices: Array
    expert_order: Array


def token_choice(scores: Array, top_k: int, *, num_tokens: ArrayLike | None = None) -> TokenChoice:
    """Each token picks its `top_k` experts with the highest scores; of equal scores the lower id wins.

    Scores are compared as given: pass them through :func:`~pimjax.trace.gate_scores` if the router rounds.

    Args:
      scores: ``[T, E]``, logits or gate scores.
      top_k: static, at most ``E``.
      num_tokens: int, real tokens; later rows choose nothing.

    >>> token_choice(jnp.array([[0.2, 0.5, 0.3]]), 2).expert_order.tolist()
    [[1, 2]]
    """
    scores = _scores(scores, num_tokens)
    tokens, experts = scores.shape
    check_sizes(num_experts=experts, top_k=top_k)
    real = jnp.arange(tokens)[:, None] < (tokens if num_tokens is None else num_tokens)
    _, order = jax.lax.top_k(scores, top_k)
    choices = (order[:, :, None] == jnp.arange(experts)[None, None, :]).any(axis=1)
    return TokenChoice(choices & real, jnp.where(real, order, -1).astype(jnp.int32))


def expert_capacity(
    num_tokens: ArrayLike,
    num_experts: ArrayLike,
    top_k: ArrayLike,
    *,
    rule: CapacityRule = "growing",
    prompt_tokens: ArrayLike = 1,
    max_tokens: ArrayLike | None = None,
) -> AnyArray:
    """Capacity: how many of ``L`` tokens one expert takes. NumPy unless an argument is a JAX array.

    growing: ``C(L) = min(L, ceil(k L / E))``; frozen: ``C(P)`` of the prompt; fixed: ``min(L, C(L_max))``.

    Args:
      num_tokens: ints of any shape, ``L``.
      num_experts: ``E``.
      top_k: ``k``, mean experts per token.
      rule: static.
      prompt_tokens: ``P``, for "frozen".
      max_tokens: ``L_max``, needed for "fixed".

    Raises:
      TraceError: unknown rule, or "fixed" without `max_tokens`.

    Returns:
      int32 of the shape of `num_tokens`. Integers up to ``k L + E < 2**31`` are exact.

    >>> expert_capacity(jnp.array([1, 4, 5, 9]), 16, 4).tolist()
    [1, 1, 2, 3]
    """
    check_choice("capacity rule", rule, CAPACITY_RULES)
    check_count("num_tokens", num_tokens)
    for name, value in (("num_experts", num_experts), ("top_k", top_k)):
        check_count(name, value, 1)
    check_count("prompt_tokens", prompt_tokens)
    if max_tokens is not None:
        check_count("max_tokens", max_tokens, 1)
    xp = namespace(num_tokens, num_experts, top_k, prompt_tokens, max_tokens)
    length = xp.asarray(num_tokens, np.int32)
    if rule == "growing":
        return mean_capacity(length, num_experts, top_k)
    if rule == "frozen":
        return xp.broadcast_to(mean_capacity(xp.asarray(prompt_tokens, np.int32), num_experts, top_k), length.shape)
    if max_tokens is None:
        raise TraceError('capacity rule "fixed" needs max_tokens, the longest sequence')
    return xp.minimum(length, mean_capacity(xp.asarray(max_tokens, np.int32), num_experts, top_k))


def mean_capacity(tokens: ArrayLike, num_experts: ArrayLike, top_k: ArrayLike) -> AnyArray:
    """``min(L, ceil(k L / E))``, int32; 0 experts count as one. NumPy unless an argument is a JAX array.

    >>> mean_capacity(np.array([1, 5]), 16, 4).tolist()
    [1, 2]
    """
    if not on_device(tokens, num_experts, top_k):
        experts = np.maximum(np.asarray(num_experts, np.int64), 1)
        return np.minimum(tokens, (np.asarray(top_k, np.int64) * tokens + experts - 1) // experts).astype(np.int32)
    return _mean_capacity(*(jnp.asarray(count, jnp.int32) for count in (tokens, num_experts, top_k)))


@subroutine
def _mean_capacity(whole: Array, experts: Array, share: Array) -> Array:
    experts = jnp.maximum(experts, 1)
    above = share * whole + experts - 1
    # no negative numbers: the quotient that rounds towards 0 is the floor
    return jnp.minimum(whole, jax.lax.div(above, jnp.broadcast_to(experts, above.shape)))


def _scores(scores: Array, num_tokens: ArrayLike | None) -> Array:
    """Scores ``[T, E]``, and a number of real tokens that is one."""
    if num_tokens is not None:
        check_count("num_tokens", num_tokens)
    numbers = check_numbers("scores", scores, 2, "floating-point numbers [tokens, experts]")
    if 0 in numbers.shape:
        raise TraceError(f"scores has shape {list(numbers.shape)}: it needs at least one token and expert")
    return numbers


def expert_choice(scores: Array, capacity: ArrayLike, *, num_tokens: ArrayLike | None = None) -> Array:
    """Each expert picks its `capacity` best tokens of the whole sequence, ``M_e(L)``.

    Of equal scores the older token wins. Looks ahead, so it is for prompts (all tokens there) only; see
    :func:`causal_expert_choice`.

    Args:
      scores: ``[T, E]`` gate scores, rounded to float16 before any comparison.
      capacity: int, tokens per expert, see :func:`expert_capacity`.
      num_tokens: int, real tokens ``L``; later rows are never chosen.

    Returns:
      bool ``[T, E]``; every expert has ``min(capacity, L)`` tokens.

    >>> expert_choice(jnp.array([[0.9, 0.1], [0.8, 0.2], [0.9, 0.1]]), 1).astype(int).tolist()
    [[1, 0], [0, 1], [0, 0]]
    """
    scores = _scores(scores, num_tokens)
    check_count("capacity", capacity)
    tokens = scores.shape[0]
    real = jnp.arange(tokens)[:, None] < (tokens if num_tokens is None else num_tokens)
    keys = jnp.where(real, -round_to_float16(jax.lax.stop_gradient(scores)), jnp.inf)
    by_score = jnp.argsort(keys, axis=0, stable=True)
    rank = jnp.argsort(by_score, axis=0, stable=True)
    return (rank < capacity) & real


def causal_expert_choice(
    scores: Array,
    top_k: ArrayLike,
    *,
    prompt_tokens: ArrayLike = 1,
    num_tokens: ArrayLike | None = None,
    rule: CapacityRule = "growing",
    max_tokens: ArrayLike | None = None,
) -> Array:
    """Admissions ``A*`` of expert choice when tokens arrive one by one after a prompt of ``P`` tokens.

    ``A*(t, e) = [t in M_e(P)]`` for ``t <= P``; later tokens are admitted on arrival iff fewer than
    ``C(t)`` older tokens have at least their score (all old tokens compete, admitted or not). One forward
    pass with ``A*`` equals decoding with caches at any depth. With ``P = 1`` (default) nothing looks
    ahead: the rule for training and evaluating language models.

    Args:
      scores: ``[T, E]`` gate scores, rounded to float16 before any comparison.
      top_k: ``k``, mean experts per token.
      prompt_tokens: ``P``, at least 1.
      num_tokens: int, real tokens; later rows are never admitted.
      rule: static capacity rule, see :func:`expert_capacity`.
      max_tokens: ``L_max`` for the rule "fixed"; default ``T``.

    Returns:
      bool ``[T, E]``. The first token is admitted by every expert when ``P = 1``.

    >>> scores = jnp.array([[0.5, 0.5], [0.6, 0.4], [0.5, 0.5]])
    >>> causal_expert_choice(scores, 1).astype(int).tolist()
    [[1, 1], [1, 0], [0, 1]]
    """
    scores = _scores(scores, num_tokens)
    check_count("top_k", top_k, 1)
    check_count("prompt_tokens", prompt_tokens)
    check_choice("rule", rule, CAPACITY_RULES)
    tokens, experts = scores.shape
    real = jnp.arange(tokens)[:, None] < (tokens if num_tokens is None else num_tokens)
    rounded = jnp.where(real, round_to_float16(jax.lax.stop_gradient(scores)), -jnp.inf)
    positions = jnp.arange(tokens)
    capacity = expert_capacity(
        positions + 1,
        experts,
        top_k,
        rule=rule,
        prompt_tokens=prompt_tokens,
        max_tokens=tokens if max_tokens is None else max_tokens,
    )
    older = (positions[:, None] > positions[None, :])[:, :, None]
    rivals = ((rounded[None, :, :] >= rounded[:, None, :]) & older).sum(axis=1, dtype=jnp.int32)
    arriving = rivals < capacity[:, None]
    prompt = jnp.minimum(prompt_tokens, tokens if num_tokens is None else num_tokens)
    prompt_capacity = expert_capacity(
        prompt,
        experts,
        top_k,
        rule=rule,
        prompt_tokens=prompt_tokens,
        max_tokens=tokens if max_tokens is None else max_tokens,
    )
    in_prompt = expert_choice(scores, prompt_capacity, num_tokens=prompt)
    return jnp.where(positions[:, None] < prompt, in_prompt, arriving) & real
