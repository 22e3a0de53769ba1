"""Checks of routing arrays on the host: each fault is one :class:`~pimjax.errors.TraceError` sentence."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.checks import path_problem
from pimjax.errors import TraceError, shown

LAYER_TOKEN_EXPERT = "[tokens, experts] or [layers, tokens, experts]"
LAYER_TOKEN_CHOICE = "[tokens, k] or [layers, tokens, k]"
#: What may differ between a trace and a model if it is named, and what is then done.
ALLOWANCES: dict[str, str] = {
    "repeat_layers": "MoE layer i of the model takes layer i, modulo the trace's layers, whatever their number",
    "any_top_k": "tokens may visit another number of experts than the model's top_k",
}
#: Most entries of a choice matrix.
MAX_ELEMENTS = 2**31 - 1
#: Most experts of a layer; no model comes near.
MAX_EXPERTS = 2**20


def as_layers(values: Any, name: str, meaning: str) -> HostArray:
    """`values` as a non-empty array of rank 3; rank 2 is one layer."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, OverflowError) as error:
        raise TraceError(f"{name} is ragged: its rows have different lengths, but it must be {meaning}") from error
    if array.dtype == object:
        raise TraceError(f"{name} is ragged or holds objects: it must be a rectangular array of numbers, {meaning}")
    if array.ndim not in (2, 3):
        raise TraceError(f"{name} has shape {list(array.shape)}: it must be {meaning}")
    if 0 in array.shape:
        raise TraceError(
            f"{name} is empty (shape {list(array.shape)}): a trace needs at least one layer, token and expert"
        )
    return array[None] if array.ndim == 2 else array


def check_choice(name: str, value: Any, allowed: Collection[str]) -> str:
    """One of the words `allowed`.

    >>> check_choice("router", "token_choice", ("token_choice", "expert_choice"))
    'token_choice'
    """
    if not isinstance(value, str) or value not in allowed:
        raise TraceError(f"{name} is {shown(value)}: it must be one of {', '.join(allowed)}")
    return value


def check_num_tokens(num_tokens: int | None, rows: int) -> int:
    """Number of real tokens; None means that every row is one."""
    if num_tokens is None:
        return rows
    count = _whole(num_tokens)
    if count is None or not 1 <= count <= rows:
        raise TraceError(
            f"num_tokens is {shown(num_tokens)}: it must be a whole number from 1 to the {rows} rows given"
        )
    return count


def check_max_tokens(max_tokens: int) -> int:
    """A positive whole number of tokens to keep of each request."""
    count = _whole(max_tokens)
    if count is None or count < 1:
        raise TraceError(f"max_tokens is {shown(max_tokens)}: it must be a whole number of at least 1")
    return count


def check_max_bytes(max_bytes: Any) -> int:
    """A positive whole number of bytes."""
    count = _whole(max_bytes)
    if count is None or isinstance(max_bytes, bool) or count < 1:
        raise TraceError(f"max_bytes is {shown(max_bytes)}: it must be a whole number of at least 1")
    return count


def _whole(value: Any) -> int | None:
    """`value` as an integer; None where it is not one whole number."""
    if isinstance(value, (bool, np.bool_, str, bytes)):
        return None
    try:
        count = int(value)
        return count if count == value else None
    except (TypeError, ValueError, OverflowError):
        return None


def check_choices(values: Any, num_tokens: int | None = None) -> tuple[HostArray, int]:
    """Bool [L, T, E] from zeros and ones, rows after `num_tokens` cleared; and the number of tokens."""
    array = as_layers(values, "choices", LAYER_TOKEN_EXPERT)
    if array.dtype != np.bool_:
        if not np.issubdtype(array.dtype, np.number) or not np.isin(array, (0, 1)).all():
            raise TraceError(f"choices must hold only 0 and 1 (or booleans), but holds {_first_not_binary(array)}")
        array = array.astype(np.bool_)
    count = check_num_tokens(num_tokens, array.shape[1])
    cleared = array.copy()
    cleared[:, count:] = False
    return cleared, count


def check_elements(what: str, *sizes: int) -> None:
    """Raise TraceError where an array of these sizes is more than memory and 32-bit indices hold."""
    if math.prod(sizes) > MAX_ELEMENTS:
        raise TraceError(
            f"{what} of {' x '.join(map(str, sizes))} has {math.prod(sizes):,} entries, more than the {MAX_ELEMENTS:,} that "
            "are held at once: take fewer requests, tokens, layers or experts"
        )


def check_expert_ids(values: Any, num_experts: int, num_tokens: int | None = None) -> tuple[HostArray, int]:
    """Int32 [L, T, k] with distinct ids below `num_experts`; rows after `num_tokens` become -1."""
    array = as_layers(values, "expert_ids", LAYER_TOKEN_CHOICE)
    if not np.issubdtype(array.dtype, np.integer):
        raise TraceError(f"expert_ids must be integers, but its dtype is {array.dtype}")
    experts = check_num_experts(num_experts)
    top_k = array.shape[2]
    if top_k > experts:
        raise TraceError(f"expert_ids gives k = {top_k} experts per token, but there are only num_experts = {experts}")
    count = check_num_tokens(num_tokens, array.shape[1])
    check_elements("a choice matrix [layers, tokens, experts]", *array.shape[:2], experts)
    used = array[:, :count]
    outside = (used < 0) | (used >= experts)
    if outside.any():
        layer, token, rank = (int(i) for i in np.argwhere(outside)[0])
        raise TraceError(
            f"expert_ids[{layer}, {token}, {rank}] is {int(used[layer, token, rank])}: "
            f"ids must lie between 0 and num_experts - 1 = {experts - 1}"
        )
    ordered = np.sort(used, axis=-1)
    repeated = (ordered[..., 1:] == ordered[..., :-1]).any(axis=-1)
    if repeated.any():
        layer, token = (int(i) for i in np.argwhere(repeated)[0])
        raise TraceError(
            f"expert_ids[{layer}, {token}] is {used[layer, token].tolist()}: an expert appears twice "
            "in one row, but a token visits an expert once"
        )
    ids = array.astype(np.int32)
    ids[:, count:] = -1
    return ids, count


def check_num_experts(num_experts: int) -> int:
    """A positive whole number of experts."""
    whole = isinstance(num_experts, (int, np.integer)) and not isinstance(num_experts, bool)
    array = num_experts if isinstance(num_experts, np.ndarray) else np.asarray(num_experts if whole else -1)
    if array.size != 1 or not np.issubdtype(array.dtype, np.integer) or not 1 <= int(array.reshape(())) <= MAX_EXPERTS:
        raise TraceError(
            f"num_experts is {shown(num_experts)}: it must be one positive whole number, at most {MAX_EXPERTS}"
        )
    return int(array.reshape(()))


def check_gate_scores(values: Any, shape: tuple[int, ...], num_tokens: int) -> HostArray:
    """Float32 [L, T, E], finite for real tokens; rows after `num_tokens` become -inf."""
    array = as_layers(values, "gate_scores", LAYER_TOKEN_EXPERT)
    if not np.issubdtype(array.dtype, np.floating):
        raise TraceError(f"gate_scores must be floating-point numbers, but its dtype is {array.dtype}")
    if array.shape != shape:
        raise TraceError(
            f"gate_scores has shape {list(array.shape)}, but choices has {list(shape)}: they must be equal"
        )
    with np.errstate(over="ignore"):  # beyond float32 becomes infinity, which is refused below
        scores = array.astype(np.float32)
    bad = ~np.isfinite(scores[:, :num_tokens])
    if bad.any():
        layer, token, expert = (int(i) for i in np.argwhere(bad)[0])
        raise TraceError(
            f"gate_scores[{layer}, {token}, {expert}] is {scores[layer, token, expert]}: "
            "scores of real tokens must be finite, because NaN cannot be compared"
        )
    scores[:, num_tokens:] = -np.inf
    return scores


def _first_not_binary(array: HostArray) -> str:
    wrong = array[~np.isin(array, (0, 1))] if np.issubdtype(array.dtype, np.number) else array.ravel()
    return repr(wrong.ravel()[0].item())


def check_layer_ids(layer_ids: Any, layers: int) -> tuple[int, ...] | None:
    """Numbers of the model's layers that a trace's layers are: whole, rising, one per layer; None: not known.

    >>> check_layer_ids([1, 3], 2)
    (1, 3)
    """
    if layer_ids is None:
        return None
    try:
        array = np.asarray(layer_ids)
    except ValueError as error:
        raise TraceError("layer_ids is ragged: it must hold one number per layer") from error
    if array.shape != (layers,) or not np.issubdtype(array.dtype, np.integer):
        raise TraceError(f"layer_ids is {shown(layer_ids)}: it must hold {layers} whole numbers, one per layer")
    numbers = tuple(int(number) for number in array)
    if numbers[0] < 0 or any(after <= before for before, after in itertools.pairwise(numbers)):
        raise TraceError(f"layer_ids is {shown(layer_ids)}: the numbers must rise from 0 or more, as the layers do")
    return numbers


def check_allow(allow: Any) -> tuple[str, ...]:
    """Names of :data:`ALLOWANCES`, sorted.

    >>> check_allow(["repeat_layers"])
    ('repeat_layers',)
    """
    if isinstance(allow, (str, bytes)) or not isinstance(allow, Collection):
        raise TraceError(f"allow is {shown(allow)}: give a list of {', '.join(ALLOWANCES)}, or an empty one")
    for name in allow:
        if not isinstance(name, str) or name not in ALLOWANCES:
            raise TraceError(f"allow holds {shown(name)}: what can be allowed is {', '.join(ALLOWANCES)}")
    return tuple(sorted({str(name) for name in allow}))


def check_trace_argument(trace: Any) -> None:
    """Raise TraceError unless `trace` is a RoutingTrace whose arrays have the shapes of one."""
    from pimjax.trace.routing import RoutingTrace

    if not isinstance(trace, RoutingTrace):
        raise TraceError(
            f"trace is {shown(trace)}: give a RoutingTrace (RoutingTrace.from_expert_ids, load_traces, generate_traces)"
        )
    shape = np.shape(trace.choices)
    if len(shape) not in (3, 4) or 0 in shape or np.shape(trace.num_tokens) != shape[:-3]:
        raise TraceError(
            f"trace.choices has shape {list(shape)} and num_tokens {list(np.shape(trace.num_tokens))}: they must be [layers, "
            "tokens, experts] and [], or [requests, layers, tokens, experts] and [requests]; from_choices makes such a trace"
        )


def check_path(path: object, what: str) -> Path:
    """A path as pathlib's, one that the system accepts, or TraceError.

    >>> check_path("a.npz", "an .npz trace").suffix
    '.npz'
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TraceError(f"{shown(path)} is no path: give the path of {what}")
    text = os.fspath(path)
    if isinstance(text, bytes):
        raise TraceError(f"{shown(path)} is a path of bytes: give the path of {what} as text")
    reason = path_problem(text)
    if reason is not None:
        raise TraceError(f"{shown(path)} is no usable path ({reason}): give the path of {what}")
    return Path(text)
