"""Synthetic routing: one keyed random process whose parameters give every kind of trace.

The logit of expert ``e`` for token ``t`` in layer ``l`` of request ``r`` is

    z = popularity[l, e] + request_spread[l] * u[r, l, e] + n[r, l, t, e]

with ``u`` normal and ``n`` of Gumbel distribution, so that the top ``k`` of ``z`` draw experts without replacement with
odds ``exp(popularity)`` (Plackett-Luce; Gumbel top-k, arXiv 1903.06059). ``n`` is the Gumbel quantile of
``mixing[l] @ a[t]``, where every ``a[., e]`` is a normal AR(1) sequence over tokens with correlation
``persistence[l]``: tokens resemble their predecessors, and experts meet more or less often than by chance.
"""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import Array, ArrayLike
from pimjax.checks import is_traced
from pimjax.errors import TraceError, shown
from pimjax.trace.arguments import check_count, check_key, check_reals, check_sizes
from pimjax.trace.checks import check_choice, check_elements
from pimjax.trace.rounding import gate_scores
from pimjax.trace.routers import CAPACITY_RULES, CapacityRule, causal_expert_choice, token_choice
from pimjax.trace.routing import RoutingTrace

#: AR(1) correlation at which equally popular experts, 4 of 32, share 1.88 of 4 with the previous token.
STICKY_PERSISTENCE = 0.685
_LARGEST_SPREAD = 1e6
_BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


@flax.struct.dataclass
class GeneratorParameters:
    """What a synthetic router is made of; a pytree.

    Attributes:
      popularity: ``[L, E]`` log odds of the experts; only differences count.
      request_spread: ``[L]`` standard deviation of a request's own preferences, in log odds.
      persistence: ``[L]`` correlation of consecutive tokens, in (-1, 1); 0: independent tokens.
      mixing: ``[L, E, E]`` with rows of norm 1; the identity: experts meet by chance only.
      top_k: static ``k``.
    """

    popularity: Array
    request_spread: Array
    persistence: Array
    mixing: Array
    top_k: int = flax.struct.field(pytree_node=False)

    @property
    def num_layers(self) -> int:
        """``L``."""
        return self.popularity.shape[0]

    @property
    def num_experts(self) -> int:
        """``E``."""
        return self.popularity.shape[1]


def check_parameters(parameters: Any) -> None:
    """Raise TraceError unless these are generator parameters whose shapes belong together."""
    if not isinstance(parameters, GeneratorParameters):
        raise TraceError(
            f"parameters is {shown(parameters)}: give GeneratorParameters (generator_parameters, load_generator, "
            "fit_generator)"
        )
    shape = np.shape(parameters.popularity)
    expected = {"request_spread": shape[:1], "persistence": shape[:1], "mixing": (*shape, *shape[1:])}
    if len(shape) != 2 or 0 in shape or any(np.shape(getattr(parameters, k)) != v for k, v in expected.items()):
        raise TraceError(
            "parameters do not belong together: popularity is [layers, experts], mixing [layers, experts, experts]"
        )
    check_sizes(num_experts=shape[1], top_k=parameters.top_k)


def generator_parameters(
    popularity: ArrayLike, top_k: int, *, request_spread: ArrayLike = 0.0, persistence: ArrayLike = 0.0
) -> GeneratorParameters:
    """Parameters from log odds ``[L, E]``; scalars hold for every layer, experts meet by chance.

    Raises:
      TraceError: k > E, persistence outside (-1, 1), negative spread, or numbers that are not finite.

    >>> generator_parameters(jnp.zeros((2, 8)), 2).mixing.shape
    (2, 8, 8)
    """
    try:
        odds = np.asarray(popularity, np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise TraceError(f"popularity is {shown(popularity)}: it must be finite numbers [layers, experts]") from error
    if odds.ndim != 2 or 0 in odds.shape or not np.isfinite(odds).all():
        raise TraceError(f"popularity of shape {list(odds.shape)} must be finite numbers [layers, experts]")
    layers, experts = odds.shape
    check_sizes(num_experts=experts, top_k=top_k)
    check_elements("mixing of experts [layers, experts, experts]", layers, experts, experts)
    spread = check_reals(
        "request_spread", request_spread, (layers,), "a standard deviation, 0 or more", least=0, most=_LARGEST_SPREAD
    )
    correlation = check_reals(
        "persistence", persistence, (layers,), "a correlation, between -1 and 1", least=_BELOW_ONE * -1, most=_BELOW_ONE
    )
    mixing = np.broadcast_to(np.eye(experts, dtype=np.float32), (layers, experts, experts))
    return GeneratorParameters(
        jnp.asarray(odds), jnp.asarray(spread), jnp.asarray(correlation), jnp.asarray(mixing), top_k
    )


def zipf_popularity(key: Array, num_layers: int, num_experts: int, exponent: ArrayLike) -> Array:
    """Log odds ``[L, E]`` proportional to rank to the power ``-exponent``; ranks are shuffled in each layer.

    `key` is consumed.

    >>> zipf_popularity(jax.random.key(0), 1, 4, 1.0).shape
    (1, 4)
    """
    check_key(key)
    check_sizes(num_layers=num_layers, num_experts=num_experts)
    check_elements("popularity [layers, experts]", num_layers, num_experts)
    if not is_traced(exponent):
        check_reals("exponent", exponent, (), "a number from 0 to a million", least=0, most=1e6)
    ranks = jnp.arange(1, num_experts + 1, dtype=jnp.float32)
    keys = jax.random.split(key, num_layers)
    return -jnp.asarray(exponent, jnp.float32) * jax.vmap(lambda k: jnp.log(jax.random.permutation(k, ranks)))(keys)


def dirichlet_popularity(key: Array, num_layers: int, num_experts: int, concentration: ArrayLike) -> Array:
    """Log odds ``[L, E]`` drawn from a symmetric Dirichlet distribution; small `concentration`: few hot experts.

    `key` is consumed.

    >>> odds = dirichlet_popularity(jax.random.key(0), 1, 4, 0.5)
    >>> round(float(jnp.exp(odds).sum()), 4)
    1.0
    """
    check_key(key)
    check_sizes(num_layers=num_layers, num_experts=num_experts)
    check_elements("popularity [layers, experts]", num_layers, num_experts)
    if not is_traced(concentration):
        check_reals("concentration", concentration, (), "a number from 0.001 to a million", least=9e-4, most=1e6)
    shape = jnp.broadcast_to(jnp.float32(concentration), (num_layers, num_experts))
    gamma = jax.random.loggamma(key, shape, dtype=jnp.float32)
    return jax.nn.log_softmax(gamma, axis=-1)


def synthetic_logits(key: Array, parameters: GeneratorParameters, num_tokens: int) -> Array:
    """Router logits ``[L, T, E]`` of one request; `key` is consumed, `num_tokens` static.

    >>> synthetic_logits(jax.random.key(0), generator_parameters(jnp.zeros((2, 8)), 2), 5).shape
    (2, 5, 8)
    """
    check_key(key)
    check_parameters(parameters)
    check_sizes(num_tokens=num_tokens)
    layers, experts = parameters.popularity.shape
    check_elements("logits [layers, tokens, experts]", layers, num_tokens, experts)
    key_request, key_start, key_tokens = jax.random.split(key, 3)
    own = jax.random.normal(key_request, (layers, experts), jnp.float32) * parameters.request_spread[:, None]
    correlation = parameters.persistence[:, None]
    innovation = jnp.sqrt(1 - correlation * correlation)

    def step(state: Array, noise: Array) -> tuple[Array, Array]:
        state = correlation * state + innovation * noise
        return state, state

    start = jax.random.normal(key_start, (layers, experts), jnp.float32)
    noise = jax.random.normal(key_tokens, (num_tokens, layers, experts), jnp.float32)
    _, states = jax.lax.scan(step, start, noise)
    mixed = jnp.einsum("lef,tlf->lte", parameters.mixing, states)
    gumbel = -jnp.log(-jax.scipy.special.log_ndtr(mixed))
    return (parameters.popularity + own)[:, None, :] + gumbel


def synthesize_token_choice(key: Array, parameters: GeneratorParameters, num_tokens: int) -> RoutingTrace:
    """One request ``[L, T, E]`` of a token-choice router, with its gate scores and expert order.

    A kernel: under ``jax.vmap`` over keys it gives stacked requests. `key` is consumed, `num_tokens` static.

    >>> synthesize_token_choice(jax.random.key(0), generator_parameters(jnp.zeros((1, 8)), 2), 5).expert_order.shape
    (1, 5, 2)
    """
    scores = gate_scores(synthetic_logits(key, parameters, num_tokens))
    chosen = jax.vmap(lambda layer: token_choice(layer, parameters.top_k))(scores)
    return RoutingTrace(chosen.choices, jnp.int32(num_tokens), scores, chosen.expert_order)


def synthesize_expert_choice(
    key: Array,
    parameters: GeneratorParameters,
    num_tokens: int,
    *,
    prompt_tokens: ArrayLike,
    rule: CapacityRule = "growing",
) -> RoutingTrace:
    """One request ``[L, T, E]`` of an expert-choice router with its gate scores; ``top_k`` is the mean per token.

    The first `prompt_tokens` are chosen together (each expert has exactly its capacity of them), later ones as they
    arrive; see :func:`~pimjax.trace.causal_expert_choice`. A kernel; `key` is consumed, `num_tokens` and `rule` static.

    >>> parameters = generator_parameters(jnp.zeros((1, 8)), 2)
    >>> trace = synthesize_expert_choice(jax.random.key(0), parameters, 8, prompt_tokens=8)
    >>> trace.choices.sum(axis=1).tolist()
    [[2, 2, 2, 2, 2, 2, 2, 2]]
    """
    check_choice("rule", rule, CAPACITY_RULES)
    check_count("prompt_tokens", prompt_tokens, 1)
    scores = gate_scores(synthetic_logits(key, parameters, num_tokens))
    choices = jax.vmap(
        lambda layer: causal_expert_choice(layer, parameters.top_k, prompt_tokens=prompt_tokens, rule=rule)
    )(scores)
    return RoutingTrace(choices, jnp.int32(num_tokens), scores, None)
