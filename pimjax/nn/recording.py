"""Recording the routers of a language model as routing traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import HostArray
from pimjax.nn.decoder_block import Parameters
from pimjax.nn.language_model import LanguageModelConfig, forward
from pimjax.trace.routers import token_choice
from pimjax.trace.routing import RoutingTrace, stack_traces


def record_traces(
    parameters: Parameters,
    config: LanguageModelConfig,
    requests: Sequence[HostArray],
    *,
    keep_scores: str = "all",
    metadata: Mapping[str, Any] | None = None,
) -> RoutingTrace:
    """Run requests through a model and keep what its routers did: one stacked trace ``[R, ...]``.

    Args:
      parameters: weights, see :func:`~pimjax.nn.language_model.forward`.
      config: the model.
      requests: integer token ids, one array per request, of any lengths.
      keep_scores: gate scores of "all" experts, of the "chosen" ones only (others 0, much smaller files), or "none".
      metadata: notes for the trace file; per-request notes have one entry per request.

    Returns:
      choices, scores and, under token choice, the expert order.
    """
    if keep_scores not in ("all", "chosen", "none"):
        raise ValueError(f"keep_scores is {keep_scores!r}: it must be all, chosen or none")
    longest = max(len(request) for request in requests)
    run = jax.jit(lambda tokens, count: forward(parameters, tokens, config, num_tokens=count))
    traces = []
    for request in requests:
        count = len(request)
        padded = np.zeros(longest, np.int32)
        padded[:count] = request
        result = run(jnp.asarray(padded), count)
        scores = np.asarray(result.gate_scores)[:, :count]
        choices = np.asarray(result.choices)[:, :count]
        kept = {"all": scores, "chosen": np.where(choices, scores, 0), "none": None}[keep_scores]
        if config.router == "token_choice":
            order = jax.vmap(lambda layer: token_choice(layer, config.top_k).expert_order)(jnp.asarray(scores))
            traces.append(RoutingTrace.from_expert_ids(np.asarray(order), config.num_experts, gate_scores=kept))
        else:
            traces.append(RoutingTrace.from_choices(choices, gate_scores=kept))
    return stack_traces(traces).with_metadata(metadata or {})
