"""What a trace looks like in numbers: loads, imbalance, stickiness, co-activation. Host functions, NumPy."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import TraceError, shown
from pimjax.trace.arguments import check_whole
from pimjax.trace.checks import check_trace_argument
from pimjax.trace.routing import RoutingTrace

#: Distances in tokens at which :func:`trace_statistics` compares the experts of two tokens of a request.
LAGS = (1, 2, 4, 16, 64)


def expert_loads(trace: RoutingTrace) -> HostArray:
    """Tokens per expert: int64 ``[L, E]``, or ``[R, L, E]`` of stacked requests.

    >>> expert_loads(RoutingTrace.from_expert_ids([[0], [2], [2]], 3)).tolist()
    [[1, 0, 2]]
    """
    check_trace_argument(trace)
    return np.asarray(trace.choices).sum(axis=-2, dtype=np.int64)


def load_imbalance(loads: HostArray) -> HostArray:
    """Largest load over mean load along the last axis; 1 is perfect balance, ``E`` is everything on one expert.

    >>> load_imbalance(np.array([[1, 0, 2]])).tolist()
    [2.0]
    """
    try:
        loads = np.asarray(loads, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise TraceError(f"loads is {shown(loads)}: it must hold numbers of tokens [..., experts]") from error
    if not loads.ndim or not loads.shape[-1] or not (np.isfinite(loads) & (loads >= 0)).all():
        raise TraceError(f"loads of shape {list(loads.shape)} must hold numbers of tokens [..., experts], 0 or more")
    return loads.max(axis=-1) / np.maximum(loads.mean(axis=-1), np.finfo(np.float64).tiny)


def shared_experts(trace: RoutingTrace, lag: int = 1) -> HostArray:
    """Mean number of experts that a token shares with the token `lag` earlier in its request: float64 ``[L]``.

    All pairs of all requests count alike; NaN where no request is longer than `lag`.

    >>> shared_experts(RoutingTrace.from_expert_ids([[0, 1], [1, 2], [1, 2]], 3)).tolist()
    [1.5]
    """
    check_whole("lag", lag, 1)
    choices, lengths = _stacked(trace)
    common = (choices[:, :, lag:] & choices[:, :, :-lag]).sum(axis=(0, 2, 3), dtype=np.float64)
    pairs = np.maximum(lengths - lag, 0).sum()
    return common / pairs if pairs else np.full(choices.shape[1], np.nan)


def coactivation(trace: RoutingTrace) -> HostArray:
    """Tokens that visit both of two experts, over all requests: int64 ``[L, E, E]``; the diagonal holds the loads.

    >>> coactivation(RoutingTrace.from_expert_ids([[0, 1], [1, 2]], 3))[0].tolist()
    [[1, 1, 0], [1, 2, 1], [0, 1, 1]]
    """
    choices, _ = _stacked(trace)
    rows = np.moveaxis(choices, 1, 0).reshape(choices.shape[1], -1, choices.shape[3]).astype(np.float32)
    return np.rint(np.swapaxes(rows, 1, 2) @ rows).astype(np.int64)


def coactivation_excess(trace: RoutingTrace) -> HostArray:
    """How far pairs of experts are from meeting by chance: float64 ``[L]``, 0 (independent) to 1.

    Total variation distance between the measured distribution over pairs and the one proportional to the product of
    the two loads. Finite traces give a little more than 0 also under independence.
    """
    pairs = coactivation(trace).astype(np.float64)
    loads = np.diagonal(pairs, axis1=1, axis2=2)
    off = 1.0 - np.eye(pairs.shape[1])
    pairs = pairs * off
    chance = loads[:, :, None] * loads[:, None, :] * off
    total = pairs.sum(axis=(1, 2), keepdims=True)
    chance = chance / np.maximum(chance.sum(axis=(1, 2), keepdims=True), 1e-300)
    return np.where(total[:, 0, 0] > 0, 0.5 * np.abs(pairs / np.maximum(total, 1) - chance).sum(axis=(1, 2)), 0.0)


@dataclasses.dataclass(frozen=True)
class TraceStatistics:
    """Summary of a trace; arrays are per layer ``[L]``.

    Attributes:
      requests, layers, experts, tokens: sizes; tokens of all requests together.
      shortest, longest: tokens of the shortest and longest request.
      experts_per_token: mean number of experts a token visits.
      min_experts_per_token, max_experts_per_token: extremes over tokens and layers.
      imbalance: largest over mean load, all requests summed.
      imbalance_per_request: the same within one request, mean over requests.
      unused_experts: experts that no token of any request visits.
      shared: lag -> mean number of experts shared with the token `lag` earlier.
      shared_by_chance: the same if tokens drew independently with the measured loads.
      coactivation_excess: see :func:`coactivation_excess`.
    """

    requests: int
    layers: int
    experts: int
    tokens: int
    shortest: int
    longest: int
    experts_per_token: HostArray
    min_experts_per_token: int
    max_experts_per_token: int
    imbalance: HostArray
    imbalance_per_request: HostArray
    unused_experts: HostArray
    shared: dict[int, HostArray]
    shared_by_chance: HostArray
    coactivation_excess: HostArray

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists for JSON."""
        document = dataclasses.asdict(self)
        document["shared"] = {str(lag): value for lag, value in self.shared.items()}
        return _plain(document)


def trace_statistics(trace: RoutingTrace) -> TraceStatistics:
    """Measure a trace, one request or stacked ones.

    >>> trace_statistics(RoutingTrace.from_expert_ids([[0, 1], [1, 2]], 3)).imbalance.tolist()
    [1.5]
    """
    choices, lengths = _stacked(trace)
    loads = choices.sum(axis=2, dtype=np.int64)
    tokens = int(lengths.sum())
    per_token = choices.sum(axis=3)
    real = np.arange(choices.shape[2])[None, None, :] < lengths[:, None, None]
    counts = per_token[np.broadcast_to(real, per_token.shape)]
    total = loads.sum(axis=0)
    return TraceStatistics(
        requests=choices.shape[0],
        layers=choices.shape[1],
        experts=choices.shape[3],
        tokens=tokens,
        shortest=int(lengths.min()),
        longest=int(lengths.max()),
        experts_per_token=total.sum(axis=-1) / tokens,
        min_experts_per_token=int(counts.min()),
        max_experts_per_token=int(counts.max()),
        imbalance=load_imbalance(total),
        imbalance_per_request=load_imbalance(loads).mean(axis=0),
        unused_experts=(total == 0).sum(axis=-1),
        shared={lag: shared_experts(trace, lag) for lag in LAGS if lag < lengths.max()},
        shared_by_chance=((total / tokens) ** 2).sum(axis=-1),
        coactivation_excess=coactivation_excess(trace),
    )


def _stacked(trace: RoutingTrace) -> tuple[HostArray, HostArray]:
    check_trace_argument(trace)
    choices = np.asarray(trace.choices)
    return (choices if trace.is_stacked else choices[None]), np.atleast_1d(np.asarray(trace.num_tokens))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return [None if isinstance(item, float) and np.isnan(item) else item for item in value.tolist()]
    return value
