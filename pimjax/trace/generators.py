"""Synthetic traces by name: checks the options, draws the parameters, generates stacked requests."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.errors import TraceError, shown
from pimjax.trace.arguments import check_key, check_seed, check_sizes
from pimjax.trace.checks import check_choice, check_elements
from pimjax.trace.metadata import TraceMetadata
from pimjax.trace.paper import NUM_EXPERTS, TOP_K, synthesize_paper
from pimjax.trace.routers import CAPACITY_RULES
from pimjax.trace.routing import RoutingTrace
from pimjax.trace.synthetic import (
    STICKY_PERSISTENCE,
    GeneratorParameters,
    check_parameters,
    dirichlet_popularity,
    generator_parameters,
    synthesize_expert_choice,
    synthesize_token_choice,
    zipf_popularity,
)

#: Kinds of synthetic traces and the options that each takes beside the sizes, with their defaults.
GENERATORS: dict[str, dict[str, Any]] = {
    "uniform": {},
    "zipf": {"exponent": 1.0, "persistence": 0.0, "request_spread": 0.0},
    "dirichlet": {"concentration": 1.0, "persistence": 0.0, "request_spread": 0.0},
    "sticky": {"persistence": STICKY_PERSISTENCE, "request_spread": 0.0},
    "expert_choice": {"prompt_tokens": None, "capacity_rule": "growing", "persistence": 0.0, "request_spread": 0.0},
    "paper": {},
}
_MAX_PAIRS = 2**35


def generate_traces(
    kind: str,
    *,
    requests: int = 1,
    layers: int = 1,
    tokens: int = 128,
    experts: int = 16,
    top_k: int = 4,
    seed: int = 0,
    **options: Any,
) -> RoutingTrace:
    """Stacked synthetic requests ``[R, L, T, E]``; all requests share the popularity of the experts.

    Args:
      kind: a key of :data:`GENERATORS`. "uniform": every expert alike. "zipf": popularity falls with rank to the power
        `exponent`. "dirichlet": popularity drawn with `concentration`. "sticky": tokens resemble their predecessors,
        correlation `persistence`. "expert_choice": experts pick tokens, the first `prompt_tokens` (default all)
        together.
        "paper": the statistics of the paper's trace; 16 experts, k = 4.
      requests, layers, tokens, experts, top_k: sizes.
      seed: the same seed gives the same traces.
      options: see :data:`GENERATORS`; `request_spread` is the standard deviation of a request's own preferences.

    Raises:
      TraceError: unknown kind or option, sizes or values out of range.

    >>> generate_traces("sticky", requests=2, tokens=8).choices.shape
    (2, 1, 8, 16)
    """
    if not isinstance(kind, str) or kind not in GENERATORS:
        raise TraceError(f"generator {shown(kind)} does not exist: choose one of {', '.join(GENERATORS)}")
    allowed = GENERATORS[kind]
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise TraceError(
            f"generator {kind!r} has no option {shown(unknown[0])}: it takes {', '.join(allowed) or 'no options'}"
        )
    check_sizes(requests=requests, layers=layers, tokens=tokens, num_experts=experts, top_k=top_k)
    check_seed(seed)
    check_elements("a trace [requests, layers, tokens, experts]", requests, layers, tokens, experts)
    chosen = {**allowed, **options}
    key_popularity, key_requests = jax.random.split(jax.random.key(seed))
    keys = jax.random.split(key_requests, requests)
    notes = {"generator": kind, "seed": seed, **{k: v for k, v in chosen.items() if v is not None}}
    if kind == "paper":
        if (experts, top_k) != (NUM_EXPERTS, TOP_K):
            raise TraceError(
                f"generator 'paper' is fitted to {NUM_EXPERTS} experts and k = {TOP_K}, not to {experts} and {top_k}"
            )
        return _to_host(_paper(keys, tokens, layers), notes)
    parameters = _parameters(kind, chosen, key_popularity, layers, experts, top_k)
    if kind != "expert_choice":
        return generate_from_parameters(parameters, keys, tokens, notes)
    prompt = tokens if chosen["prompt_tokens"] is None else chosen["prompt_tokens"]
    check_sizes(prompt_tokens=prompt)
    check_choice("capacity_rule", chosen["capacity_rule"], CAPACITY_RULES)
    if tokens * tokens * experts > _MAX_PAIRS:
        raise TraceError(
            f"tokens is {tokens}: expert choice compares every pair of tokens for each of {experts} experts, more than the "
            f"{_MAX_PAIRS:,} comparisons that are made at once; generate shorter requests"
        )
    if prompt > tokens:
        raise TraceError(f"prompt_tokens is {prompt}, but the requests have only {tokens} tokens")
    notes["prompt_tokens"] = np.full(requests, prompt, np.int32)
    return _to_host(_expert_choice(keys, parameters, prompt, tokens=tokens, rule=chosen["capacity_rule"]), notes)


def generate_from_parameters(
    parameters: GeneratorParameters, keys: Any, tokens: int, notes: dict[str, Any] | None = None
) -> RoutingTrace:
    """Stacked token-choice requests from fitted parameters, one per key of `keys` ``[R]``; host arrays.

    >>> parameters = generator_parameters(np.zeros((1, 8)), 2)
    >>> generate_from_parameters(parameters, jax.random.split(jax.random.key(0), 3), 5).choices.shape
    (3, 1, 5, 8)
    """
    check_parameters(parameters)
    check_key(keys, 1)
    check_sizes(tokens=tokens)
    sizes = (len(keys), parameters.num_layers, tokens, parameters.num_experts)
    check_elements("a trace [requests, layers, tokens, experts]", *sizes)
    return _to_host(_token_choice(keys, parameters, tokens=tokens), notes or {})


def _parameters(
    kind: str, options: dict[str, Any], key: Any, layers: int, experts: int, top_k: int
) -> GeneratorParameters:
    popularity = jnp.zeros((layers, experts))
    if kind == "zipf":
        popularity = zipf_popularity(key, layers, experts, _number("exponent", options, 0.0))
    if kind == "dirichlet":
        popularity = dirichlet_popularity(key, layers, experts, _number("concentration", options, 1e-3))
    return generator_parameters(
        popularity,
        top_k,
        persistence=options.get("persistence", 0.0),
        request_spread=options.get("request_spread", 0.0),
    )


def _number(name: str, options: dict[str, Any], least: float) -> float:
    value = options[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < 1e6:
        raise TraceError(f"{name} is {shown(value)}: it must be a number of at least {least:g}")
    return float(value)


@partial(jax.jit, static_argnames="tokens")
def _token_choice(keys: Any, parameters: GeneratorParameters, *, tokens: int) -> RoutingTrace:
    return jax.vmap(lambda key: synthesize_token_choice(key, parameters, tokens))(keys)


@partial(jax.jit, static_argnames=("tokens", "rule"))
def _expert_choice(keys: Any, parameters: GeneratorParameters, prompt: Any, *, tokens: int, rule: Any) -> RoutingTrace:
    def one(key: Any) -> RoutingTrace:
        return synthesize_expert_choice(key, parameters, tokens, prompt_tokens=prompt, rule=rule)

    return jax.vmap(one)(keys)


@partial(jax.jit, static_argnums=(1, 2))
def _paper(keys: Any, tokens: int, layers: int) -> RoutingTrace:
    return jax.vmap(lambda key: synthesize_paper(key, tokens, num_layers=layers))(keys)


def _to_host(trace: RoutingTrace, notes: dict[str, Any]) -> RoutingTrace:
    return jax.tree.map(np.asarray, trace).with_metadata(TraceMetadata(notes))
