"""A trace belongs to a model: experts, experts per token and layers agree, or one sentence says how to convert it.

MoE layers are matched by layer number where the trace carries numbers (`layer_ids`), else by their count: a trace has one
layer per MoE layer of the model, in order, or one per layer of the model, of which those with experts are taken. What may
differ is named, and the trace keeps it (`RoutingTrace.allow`): the shipped recordings allow their layers to be repeated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from pimjax.errors import TraceError, shown
from pimjax.trace.checks import check_allow, check_trace_argument
from pimjax.trace.routing import RoutingTrace

if TYPE_CHECKING:
    from pimjax.config.config import Config
    from pimjax.config.model import ModelConfig


def check_trace(trace: RoutingTrace, config: Config | ModelConfig, *, allow: Collection[str] = ()) -> None:
    """Raise TraceError where a trace cannot be one of this model.

    Args:
      trace: one request or stacked requests.
      config: a configuration, or its model section.
      allow: keys of :data:`~pimjax.trace.ALLOWANCES`, beside what the trace itself allows; nothing is allowed by default.

    Raises:
      TraceError: other experts, other experts per token, other layers; the sentence says how to convert.

    >>> from pimjax.config.model import ModelConfig
    >>> check_trace(RoutingTrace.from_expert_ids([[0, 1]], 4), ModelConfig(num_experts=4, top_k=2))
    """
    fit_trace(trace, config, allow=allow)


def fit_trace(trace: RoutingTrace, config: Config | ModelConfig, *, allow: Collection[str] = ()) -> RoutingTrace:
    """The trace with one layer for each MoE layer of the model, in order, and their numbers in `layer_ids`.

    What was allowed stays with the trace (`allow`), so that an estimate takes it. Args and errors as :func:`check_trace`.

    >>> from pimjax.config.model import ModelConfig
    >>> model = ModelConfig(num_experts=2, top_k=1, num_layers=3, first_dense_layers=1)
    >>> fit_trace(RoutingTrace.from_expert_ids([[[0]], [[1]], [[0]]], 2), model).layer_ids
    (1, 2)
    """
    check_trace_argument(trace)
    model: Any = getattr(config, "model", config)
    if not hasattr(model, "is_moe_layer"):
        raise TraceError(f"config is {shown(config)}: give a configuration (pimjax.load_config) or its model section")
    if not model.num_moe_layers:  # a dense model routes nothing: only lengths are taken
        return trace
    named = check_allow((*trace.allow, *check_allow(allow)))
    if trace.num_experts != model.num_experts:
        raise TraceError(
            f"the trace has {trace.num_experts} experts but model.num_experts is {model.num_experts}: take a trace of "
            f"this model, or set model.num_experts={trace.num_experts} (and model.top_k) to describe the trace's model"
        )
    numbers = [layer for layer in range(model.num_layers) if model.is_moe_layer(layer)]
    rows = _rows(trace, model, numbers, "repeat_layers" in named)
    chosen = trace if rows == list(range(trace.num_layers)) else _take(trace, rows)
    if model.routing == "token_choice" and "any_top_k" not in named:
        _check_top_k(chosen, model.top_k)
    return dataclasses.replace(chosen, layer_ids=tuple(numbers), allow=named)


def first_choices(trace: RoutingTrace, top_k: int) -> RoutingTrace:
    """The trace of the same router with fewer experts per token: each token keeps its `top_k` best.

    A trace without an order of experts (expert choice) stays as it is.

    Raises:
      TraceError: the trace's tokens visit fewer than `top_k` experts.

    >>> first_choices(RoutingTrace.from_expert_ids([[2, 0]], 4), 1).choices.astype(int).tolist()
    [[[0, 0, 1, 0]]]
    """
    if trace.expert_order is None:
        return trace
    order = np.asarray(trace.expert_order)
    if order.shape[-1] < top_k:
        raise TraceError(
            f"the trace visits {order.shape[-1]} experts per token, but top_k is {top_k}: give a trace of that many "
            "(--trace FILE), or a generator (workload.trace.kind zipf, sticky, ...)"
        )
    if order.shape[-1] == top_k:
        return trace
    order = order[..., :top_k]
    kept = np.zeros(trace.choices.shape, bool)
    np.put_along_axis(kept, np.maximum(order, 0), True, axis=-1)
    kept &= np.asarray(trace.choices, bool)  # padding, whose order is -1, has no choices
    scores = None if trace.gate_scores is None else np.asarray(trace.gate_scores)
    if scores is not None:
        scores = np.where(kept | ~np.asarray(trace.choices, bool), scores, 0).astype(np.float32)
    return dataclasses.replace(trace, choices=kept, expert_order=order, gate_scores=scores)


def _rows(trace: RoutingTrace, model: ModelConfig, numbers: list[int], repeat: bool) -> list[int]:
    """Layer of the trace for each MoE layer of the model."""
    have = trace.num_layers
    if trace.layer_ids is not None and set(numbers) <= set(trace.layer_ids):
        return [trace.layer_ids.index(number) for number in numbers]
    if trace.layer_ids is None and have == len(numbers):
        return list(range(have))
    if trace.layer_ids is None and have == model.num_layers:
        return numbers
    if repeat:
        return [index % have for index in range(len(numbers))]
    raise TraceError(_other_layers(trace, model, numbers))


def _other_layers(trace: RoutingTrace, model: ModelConfig, numbers: list[int]) -> str:
    have, wanted = trace.num_layers, f"{len(numbers)} MoE layers"
    if len(numbers) < model.num_layers:
        wanted += f" of {model.num_layers} layers"
    if trace.layer_ids is None:
        found = f"the trace has {have} layers"
    else:
        lacking = next(number for number in numbers if number not in trace.layer_ids)
        found = f"the trace has {have} layers without number {lacking}"
    if trace.num_requests == 1 and trace.layer_ids is None and trace.max_tokens in (len(numbers), model.num_layers):
        return (
            f"{found} and {trace.max_tokens} tokens, but the model has {wanted}: its axes look like [tokens, layers, k], "
            "as vLLM writes them; convert the file with 'pimjax trace convert FILE OUT.npz --format vllm --model MODEL'"
        )
    return (
        f"{found} but the model has {wanted}: convert the recording with 'pimjax trace convert FILE OUT.npz --model "
        "MODEL', or, to use its layers again and again, add --allow repeat_layers (pimjax.trace.fit_trace(trace, config, "
        "allow=['repeat_layers']))"
    )


def _take(trace: RoutingTrace, rows: list[int]) -> RoutingTrace:
    index = np.asarray(rows, np.intp)

    def layers(leaf: Any) -> Any:
        return None if leaf is None else leaf[..., index, :, :]

    return dataclasses.replace(
        trace,
        choices=layers(trace.choices),
        gate_scores=layers(trace.gate_scores),
        expert_order=layers(trace.expert_order),
    )


def _check_top_k(trace: RoutingTrace, top_k: int) -> None:
    """A trace's k is the model's; a router whose tokens visit different numbers of experts (top-p, a dropped token, own
    choices) has none to compare."""
    if not trace.num_layers:
        return
    counts = np.asarray(trace.choices).sum(axis=-1, dtype=np.int32)
    routed = counts[counts > 0]
    if not routed.size or (trace.expert_order is None and (routed.size < 2 or routed.min() != routed.max())):
        return
    most = int(routed.max())
    if most != top_k:
        raise TraceError(
            f"the trace visits {most} experts per token but model.top_k is {top_k}: take a trace of this model, set "
            f"model.top_k={most}, or allow it (--allow any_top_k, pimjax.trace.fit_trace(trace, config, "
            "allow=['any_top_k']))"
        )
