"""Host entry to the routers: recorded scores or logits in, a checked routing trace out. NumPy, as the model computes.

Token choice compares in the precision of the scores (float32 or more), so that it chooses what the model chose; expert
choice rounds its scores to float16 once before it compares them. What the numbers are is said by `kind` and never
guessed: a softmax of sigmoid scores, or a top k of logits across tokens, would look plausible and be wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import TraceError, shown
from pimjax.trace.arguments import check_sizes
from pimjax.trace.checks import LAYER_TOKEN_EXPERT, as_layers, check_choice, check_gate_scores, check_num_tokens
from pimjax.trace.expert_admissions import admissions
from pimjax.trace.routers import CAPACITY_RULES
from pimjax.trace.routing import RoutingTrace

ROUTERS = ("token_choice", "expert_choice")

#: What the numbers given to :func:`route` are -> how the router makes its choice of them.
SCORE_KINDS: dict[str, str] = {
    "scores": "scores after softmax or sigmoid, compared as they are given",
    "softmax": "logits; softmax over all experts, then top k (Switch, OLMoE, Qwen3-MoE, DeepSeek-V2)",
    "softmax_of_chosen": "logits; top k, then softmax over the chosen ones (Mixtral, GPT-OSS)",
    "sigmoid": "logits; sigmoid, then top k (DeepSeek-V3, Kimi-K2, GLM-4.5: with correction_bias and groups)",
    "sigmoid_of_chosen": "logits; top k, then sigmoid of the chosen ones (Llama-4)",
    "sqrt_softplus": "logits; square root of softplus, then top k (DeepSeek-V4)",
}
GROUP_SCORES = ("top_2_sum", "max")


def route(
    gate_scores: Any,
    top_k: int,
    *,
    kind: str = "scores",
    router: str = "token_choice",
    num_tokens: int | None = None,
    prompt_tokens: int | None = None,
    capacity_rule: str = "growing",
    correction_bias: Any = None,
    num_groups: int = 1,
    top_groups: int | None = None,
    group_score: str | None = None,
) -> RoutingTrace:
    """The trace that a router makes of recorded gate scores or logits.

    Args:
      gate_scores: floats ``[T, E]`` or ``[L, T, E]``.
      top_k: experts per token, a mean under expert choice.
      kind: a key of :data:`SCORE_KINDS`: what the numbers are. "scores" are compared as given.
      router: "token_choice" (compared in the precision given, at least float32; of equal scores the lower id wins), or
        "expert_choice" with the admissions of decoding after a prompt (compared as float16; the older token wins).
      num_tokens: real tokens, default all.
      prompt_tokens: expert choice only: tokens that are chosen together, default all.
      capacity_rule: expert choice only: "growing", "frozen" or "fixed".
      correction_bias: token choice only: floats ``[E]`` or ``[L, E]``, added to the scores for the choice and not to
        the scores kept in the trace (DeepSeek-V3, arXiv 2412.19437, equation 16).
      num_groups, top_groups: token choice only: experts lie in `num_groups` groups of neighbours, and only those of the
        `top_groups` best groups can be chosen (DeepSeek-V2 and V3); default no groups.
      group_score: how good a group is: "top_2_sum" of its scores (DeepSeek-V3, default) or "max" (DeepSeek-V2, default
        of kind "softmax").

    Raises:
      TraceError: wrong shape, NaN, k > E, unknown kind, router or rule, sizes out of range, scores of expert choice
        that are no scores.

    >>> route([[0.7, 0.2, 0.1]], 2).expert_order.tolist()
    [[[0, 1]]]
    >>> route([[1.0, 3.0, 2.0]], 2, kind="softmax_of_chosen").gate_scores.round(2).tolist()
    [[[0.0, 0.7300000190734863, 0.27000001072883606]]]
    """
    check_choice("router", router, ROUTERS)
    check_choice("kind", kind, tuple(SCORE_KINDS))
    check_choice("capacity_rule", capacity_rule, CAPACITY_RULES)
    layers = as_layers(gate_scores, "gate_scores", LAYER_TOKEN_EXPERT)
    check_sizes(num_experts=layers.shape[2], top_k=top_k)
    count = check_num_tokens(num_tokens, layers.shape[1])
    check_gate_scores(layers, layers.shape, count)
    grouped = correction_bias is not None or num_groups != 1 or top_groups is not None or group_score is not None
    if router == "expert_choice":
        if grouped or kind.endswith("of_chosen"):
            what = f"kind {kind!r}" if kind.endswith("of_chosen") else "a correction bias or groups of experts"
            raise TraceError(
                f"{what} belongs to routers where tokens choose: it does not go with router 'expert_choice'"
            )
        return _expert_choice(layers, top_k, kind, count, prompt_tokens, capacity_rule)
    if prompt_tokens is not None:
        raise TraceError("prompt_tokens is for router 'expert_choice': under token choice no token waits for others")
    gates = _gates(layers[:, :count], kind)
    bias = _bias(correction_bias, layers.shape, kind)
    rule = _groups(layers.shape[2], top_k, num_groups, top_groups, group_score, kind)
    order = np.full((*layers.shape[:2], top_k), -1, np.int32)
    for layer, values in enumerate(gates):
        selected = values if bias is None else values + bias[layer].astype(values.dtype)
        order[layer, :count] = _top_k(selected if rule is None else _within_groups(selected, *rule), top_k)
    weights = _kept(gates, order[:, :count], kind)
    padded = np.pad(weights, ((0, 0), (0, layers.shape[1] - count), (0, 0)))
    return RoutingTrace.from_expert_ids(order, layers.shape[2], num_tokens=count, gate_scores=padded)


def _gates(logits: HostArray, kind: str) -> HostArray:
    """What is compared, ``[L, T, E]``: in float32, or in the wider type that was given."""
    wide = logits.astype(np.float32) if logits.dtype.itemsize < 4 else logits
    if kind == "softmax":
        return softmax(wide)
    if kind == "sqrt_softplus":
        return np.sqrt(np.logaddexp(wide, 0))
    return sigmoid(wide) if kind == "sigmoid" else wide


def softmax(logits: HostArray) -> HostArray:
    """Softmax over the last axis in the dtype given."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(logits: HostArray) -> HostArray:
    """Logistic function in the dtype given."""
    with np.errstate(over="ignore"):  # exp of a large number is infinity, and one over it is the right 0
        return 1 / (1 + np.exp(-logits))


def _top_k(scores: HostArray, top_k: int) -> HostArray:
    """int [T, k], best first; of equal scores the lower id."""
    return np.argsort(-scores, axis=-1, kind="stable")[:, :top_k]


def _within_groups(scores: HostArray, groups: int, kept: int, group_score: str) -> HostArray:
    """Scores [T, E] with -inf outside the best `kept` groups of each token."""
    split = scores.reshape(len(scores), groups, -1)
    if group_score == "max":
        rank = split.max(axis=-1)
    else:
        rank = np.sort(split, axis=-1)[..., -2:].sum(axis=-1)
    allowed = np.zeros((len(scores), groups), bool)
    np.put_along_axis(allowed, _top_k(rank, kept), True, axis=-1)
    return np.where(allowed[..., None], split, -np.inf).reshape(scores.shape)


def _kept(gates: HostArray, order: HostArray, kind: str) -> HostArray:
    """Scores of the trace, float32 ``[L, T, E]``: of all experts, or of the chosen ones where only they have one."""
    if not kind.endswith("of_chosen"):
        return gates.astype(np.float32)
    chosen = np.take_along_axis(gates, order, axis=-1)
    weights = np.zeros(gates.shape, np.float32)
    values = softmax(chosen) if kind.startswith("softmax") else sigmoid(chosen)
    np.put_along_axis(weights, order, values.astype(np.float32), axis=-1)
    return weights


def _bias(bias: Any, shape: tuple[int, ...], kind: str) -> HostArray | None:
    """Correction bias ``[L, E]``."""
    if bias is None:
        return None
    if kind.endswith("of_chosen"):
        raise TraceError(f"correction_bias does not go with kind {kind!r}, whose logits hold their bias already")
    layers, _, experts = shape
    try:
        array = np.asarray(bias)
    except ValueError as error:
        raise TraceError("correction_bias is ragged: it must be [experts] or [layers, experts]") from error
    if not np.issubdtype(array.dtype, np.floating) or array.shape not in ((experts,), (layers, experts)):
        raise TraceError(
            f"correction_bias is {array.dtype} of shape {list(array.shape)}: it must be floats [{experts}] or "
            f"[{layers}, {experts}]"
        )
    if not np.isfinite(array).all():
        raise TraceError("correction_bias holds NaN or infinity, which cannot be compared: every bias must be finite")
    return np.broadcast_to(array, (layers, experts))


def _groups(
    experts: int, top_k: int, groups: int, kept: int | None, group_score: str | None, kind: str
) -> tuple[int, int, str] | None:
    """Number of groups, how many are kept, how they are ranked; None without groups."""
    check_sizes(num_groups=groups)
    if groups == 1 and kept is None:
        return None
    if experts % groups:
        raise TraceError(
            f"num_groups is {groups}, which does not divide the {experts} experts: groups have equal sizes"
        )
    if kept is None:
        raise TraceError(f"num_groups is {groups} but top_groups is missing: say how many groups a token may use")
    check_sizes(top_groups=kept)
    if kept > groups or kept * (experts // groups) < top_k:
        raise TraceError(
            f"top_groups is {shown(kept)}: it must be at most num_groups = {groups}, and its groups of "
            f"{experts // groups} experts must hold top_k = {top_k} experts"
        )
    rank = group_score if group_score is not None else ("max" if kind == "softmax" else "top_2_sum")
    check_choice("group_score", rank, GROUP_SCORES)
    return groups, kept, rank


def _expert_choice(
    layers: HostArray, top_k: int, kind: str, count: int, prompt_tokens: int | None, rule: str
) -> RoutingTrace:
    if prompt_tokens is not None:
        check_sizes(prompt_tokens=prompt_tokens)
        if prompt_tokens > count:
            raise TraceError(f"prompt_tokens is {prompt_tokens}, but the request has only {count} tokens")
    gates = _gates(layers[:, :count], kind)
    if kind == "scores" and ((gates < 0) | (gates > 1)).any():
        raise TraceError(
            f"gate_scores reach from {gates.min():.6g} to {gates.max():.6g}, but expert choice compares scores between 0 "
            "and 1 across tokens: if these are logits, say kind='softmax' (or 'sigmoid')"
        )
    prompt = count if prompt_tokens is None else prompt_tokens
    half = gates.astype(np.float16)
    choices = np.zeros(layers.shape, bool)
    scores = np.zeros(layers.shape, np.float32)
    scores[:, :count] = half
    for layer, values in enumerate(half):
        choices[layer, :count] = admissions(values, top_k, prompt, rule)
    return RoutingTrace.from_choices(choices, num_tokens=count, gate_scores=scores)
