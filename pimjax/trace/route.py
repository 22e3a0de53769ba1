"""Host entry to the routers: gate scores in, a checked routing trace out."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.errors import TraceError
from pimjax.trace.checks import LAYER_TOKEN_EXPERT, as_layers, check_gate_scores, check_num_tokens
from pimjax.trace.rounding import round_to_float16
from pimjax.trace.routers import CAPACITY_RULES, causal_expert_choice, token_choice
from pimjax.trace.routing import RoutingTrace
from pimjax.trace.synthetic import check_sizes

ROUTERS = ("token_choice", "expert_choice")


def route(
    gate_scores: Any,
    top_k: int,
    *,
    router: str = "token_choice",
    num_tokens: int | None = None,
    prompt_tokens: int | None = None,
    capacity_rule: str = "growing",
) -> RoutingTrace:
    """The trace that a router makes of recorded gate scores.

    Args:
      gate_scores: floats ``[T, E]`` or ``[L, T, E]``, softmax over experts; rounded to float16 first.
      top_k: experts per token, a mean under expert choice.
      router: "token_choice", or "expert_choice" with the admissions of decoding after a prompt.
      num_tokens: real tokens, default all.
      prompt_tokens: expert choice only: tokens that are chosen together, default all.
      capacity_rule: expert choice only: "growing", "frozen" or "fixed".

    Raises:
      TraceError: wrong shape, NaN, k > E, unknown router or rule, sizes out of range.

    >>> route([[0.7, 0.2, 0.1]], 2).expert_order.tolist()
    [[[0, 1]]]
    """
    if router not in ROUTERS:
        raise TraceError(f"router is {router!r}: it must be one of {', '.join(ROUTERS)}")
    if capacity_rule not in CAPACITY_RULES:
        raise TraceError(f"capacity_rule is {capacity_rule!r}: it must be one of {', '.join(CAPACITY_RULES)}")
    layers = as_layers(gate_scores, "gate_scores", LAYER_TOKEN_EXPERT)
    check_sizes(num_experts=layers.shape[2], top_k=top_k)
    count = check_num_tokens(num_tokens, layers.shape[1])
    scores = check_gate_scores(layers, layers.shape, count)
    if prompt_tokens is not None:
        check_sizes(prompt_tokens=prompt_tokens)
        if prompt_tokens > count:
            raise TraceError(f"prompt_tokens is {prompt_tokens}, but the request has only {count} tokens")
    prompt = count if prompt_tokens is None else prompt_tokens
    choices, order, rounded = _route(scores, count, prompt, router=router, top_k=top_k, rule=capacity_rule)
    return RoutingTrace(
        np.asarray(choices),
        np.asarray(count, np.int32),
        np.asarray(rounded),
        None if order is None else np.asarray(order),
    )


@partial(jax.jit, static_argnames=("router", "top_k", "rule"))
def _route(scores: Any, count: Any, prompt: Any, *, router: str, top_k: int, rule: Any) -> Any:
    rounded = jnp.where(jnp.arange(scores.shape[1])[None, :, None] < count, round_to_float16(scores), -jnp.inf)
    if router == "token_choice":
        choices, order = jax.vmap(lambda layer: token_choice(layer, top_k, num_tokens=count))(rounded)
        return choices, order, rounded
    choices = jax.vmap(
        lambda layer: causal_expert_choice(
            layer, top_k, prompt_tokens=prompt, num_tokens=count, rule=rule, max_tokens=count
        )
    )(rounded)
    return choices, None, rounded
