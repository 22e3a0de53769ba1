"""Recording the routers of a language model as routing traces: of the exact model, or of one on crossbars."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import Array, HostArray
from pimjax.nn.analog_parts import AnalogParts, mixed_linear
from pimjax.nn.convert import ModelRanges, crossbar_model, program_model
from pimjax.nn.decoder_block import Parameters
from pimjax.nn.language_model import ForwardResult, LanguageModelConfig, forward
from pimjax.numerics.settings import Crossbar, as_arrays
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
    run = jax.jit(lambda tokens, count: forward(parameters, tokens, config, num_tokens=count))
    return _record(lambda tokens, count, index: run(tokens, count), config, requests, keep_scores, metadata)


def record_crossbar_traces(
    parameters: dict[str, Array],
    config: LanguageModelConfig,
    requests: Sequence[HostArray],
    ranges: ModelRanges,
    crossbar: Crossbar,
    *,
    chip_key: Array | None = None,
    read_key: Array | None = None,
    parts: AnalogParts | None = None,
    router: str = "crossbar",
    keep_scores: str = "chosen",
    metadata: Mapping[str, Any] | None = None,
) -> RoutingTrace:
    """What the routers do on one chip: :func:`record_traces` with every product on crossbars.

    Args:
      parameters, config, requests, keep_scores, metadata: as for :func:`record_traces`.
      ranges, crossbar, chip_key, read_key, parts, router: as for :func:`~pimjax.nn.convert.model_loss`. Every request has
        read noise of its own. Settings and levels are data: one compilation for any of them.
    """
    settings = as_arrays(crossbar, jnp.float32)

    def run(tokens: Array, count: int, index: int) -> ForwardResult:
        key = None if read_key is None else jax.random.fold_in(read_key, index)
        return _on_crossbars(
            dict(parameters), tokens, count, ranges, settings, chip_key, key, parts, config=config, router=router
        )

    return _record(run, config, requests, keep_scores, metadata)


@functools.partial(jax.jit, static_argnames=("config", "router"))
def _on_crossbars(
    parameters: dict[str, Array],
    tokens: Array,
    count: Array,
    ranges: ModelRanges,
    crossbar: Crossbar,
    chip_key: Array | None,
    read_key: Array | None,
    parts: AnalogParts | None,
    *,
    config: LanguageModelConfig,
    router: str,
) -> ForwardResult:
    chip = program_model(parameters, crossbar, chip_key=chip_key)
    linear = crossbar_model(chip, ranges, crossbar, router=router, read_key=read_key)
    if parts is not None:
        linear = mixed_linear(linear, parts)
    return forward(parameters, tokens, config, num_tokens=count, linear=linear)


def _record(
    run: Callable[[Array, int, int], ForwardResult],
    config: LanguageModelConfig,
    requests: Sequence[HostArray],
    keep_scores: str,
    metadata: Mapping[str, Any] | None,
) -> RoutingTrace:
    if keep_scores not in ("all", "chosen", "none"):
        raise ValueError(f"keep_scores is {keep_scores!r}: it must be all, chosen or none")
    longest = max(len(request) for request in requests)
    traces = []
    for index, request in enumerate(requests):
        count = len(request)
        padded = np.zeros(longest, np.int32)
        padded[:count] = request
        result = run(jnp.asarray(padded), count, index)
        scores = np.asarray(result.gate_scores)[:, :count]
        choices = np.asarray(result.choices)[:, :count]
        kept = {"all": scores, "chosen": np.where(choices, scores, 0), "none": None}[keep_scores]
        if config.router == "token_choice":
            order = jax.vmap(lambda layer: token_choice(layer, config.top_k).expert_order)(jnp.asarray(scores))
            traces.append(RoutingTrace.from_expert_ids(np.asarray(order), config.num_experts, gate_scores=kept))
        else:
            traces.append(RoutingTrace.from_choices(choices, gate_scores=kept))
    return stack_traces(traces).with_metadata(metadata or {})
