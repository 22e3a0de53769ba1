"""The routing trace: which token visits which expert, in every layer."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import flax.struct
import jax
import numpy as np

from pimjax.array_typing import Array, HostArray
from pimjax.errors import TraceError, shown
from pimjax.trace.checks import (
    LAYER_TOKEN_CHOICE,
    as_layers,
    check_choices,
    check_expert_ids,
    check_gate_scores,
    check_layer_ids,
    check_max_tokens,
    check_num_experts,
    check_trace_argument,
)
from pimjax.trace.metadata import EMPTY_METADATA, TraceMetadata


@flax.struct.dataclass
class RoutingTrace:
    """Routing of one request through the MoE layers of a model, in sequence order.

    A pytree. Stacked requests are the same class with a leading axis ``R`` on every leaf (shapes below are
    unbatched). Host constructors return NumPy leaves; kernels and generators return JAX arrays.

    Attributes:
      choices: bool ``[L, T, E]``, token ``t`` visits expert ``e`` in layer ``l``; false in padding.
      num_tokens: int32 ``[]``, real tokens; later rows are padding.
      gate_scores: float32 ``[L, T, E]`` or None. Where a recording kept only the scores of chosen experts,
        the others are 0. Padding is -inf.
      expert_order: int32 ``[L, T, k]`` or None, the chosen ids from best to worst; padding is -1. None where
        the number of experts per token varies (expert choice).
      metadata: static notes (request names, provenance); never part of a computation, see
        :class:`~pimjax.trace.metadata.TraceMetadata`.
      layer_ids: static tuple of ``L`` rising numbers, or None: which layers (from 0) of the model these are, where a
        recording says it; :func:`~pimjax.trace.fit_trace` matches a model by them.
      allow: static; what may differ between this trace and a model it is used with, see
        :data:`~pimjax.trace.ALLOWANCES`; :func:`~pimjax.trace.fit_trace` puts it there.

    >>> trace = RoutingTrace.from_expert_ids([[1, 3], [0, 3]], num_experts=4)
    >>> trace.choices.astype(int).tolist()
    [[[0, 1, 0, 1], [1, 0, 0, 1]]]
    """

    choices: Array | HostArray
    num_tokens: Array | HostArray
    gate_scores: Array | HostArray | None = None
    expert_order: Array | HostArray | None = None
    metadata: TraceMetadata = flax.struct.field(pytree_node=False, default=EMPTY_METADATA)
    layer_ids: tuple[int, ...] | None = flax.struct.field(pytree_node=False, default=None)
    allow: tuple[str, ...] = flax.struct.field(pytree_node=False, default=())

    @property
    def num_layers(self) -> int:
        """``L``."""
        return self.choices.shape[-3]

    @property
    def max_tokens(self) -> int:
        """``T``, rows including padding."""
        return self.choices.shape[-2]

    @property
    def num_experts(self) -> int:
        """``E``."""
        return self.choices.shape[-1]

    @property
    def is_stacked(self) -> bool:
        """Whether the leaves carry a leading request axis ``R``."""
        return self.choices.ndim == 4

    @property
    def num_requests(self) -> int:
        """``R``; 1 for a trace that is not stacked."""
        return self.choices.shape[0] if self.is_stacked else 1

    @classmethod
    def from_choices(
        cls,
        choices: Any,
        *,
        num_tokens: int | None = None,
        gate_scores: Any = None,
        metadata: Any = None,
        layer_ids: Any = None,
    ) -> RoutingTrace:
        """A trace from a 0/1 matrix.

        Args:
          choices: bool or 0/1, ``[T, E]`` (one layer) or ``[L, T, E]``; any number of experts per row.
          num_tokens: real tokens, default all; later rows are cleared.
          gate_scores: optional floats of the shape of `choices`.
          metadata: optional mapping of notes.
          layer_ids: optional rising numbers of the model's layers that these are.

        Raises:
          TraceError: wrong rank, empty, values other than 0 and 1, NaN scores.

        >>> RoutingTrace.from_choices([[0, 1], [1, 1]]).choices.shape
        (1, 2, 2)
        """
        host, count = check_choices(choices, num_tokens)
        scores = None if gate_scores is None else check_gate_scores(gate_scores, host.shape, count)
        numbers = check_layer_ids(layer_ids, host.shape[0])
        return cls(host, np.asarray(count, np.int32), scores, None, TraceMetadata(metadata), numbers)

    @classmethod
    def from_expert_ids(
        cls,
        expert_ids: Any,
        num_experts: int,
        *,
        num_tokens: int | None = None,
        gate_scores: Any = None,
        topk_weights: Any = None,
        metadata: Any = None,
        layer_ids: Any = None,
    ) -> RoutingTrace:
        """A trace from the ids that each token's router chose, best first.

        Args:
          expert_ids: integers ``[T, k]`` (one layer) or ``[L, T, k]``, distinct within a row.
          num_experts: ``E``.
          num_tokens: real tokens, default all; later rows are ignored.
          gate_scores: optional floats ``[L, T, E]``, the full scores.
          topk_weights: optional floats of the shape of `expert_ids`, where only the chosen scores are known;
            they are put at their experts and the others are 0. Not together with `gate_scores`.
          metadata: optional mapping of notes.
          layer_ids: optional rising numbers of the model's layers that these are.

        Raises:
          TraceError: wrong rank, empty, ids out of range, repeated ids in a row, k > E, NaN scores.

        >>> RoutingTrace.from_expert_ids([[2, 0]], 3).expert_order.tolist()
        [[[2, 0]]]
        """
        experts = check_num_experts(num_experts)
        ids, count = check_expert_ids(expert_ids, experts, num_tokens)
        layers, tokens, _ = ids.shape
        choices = np.zeros((layers, tokens, experts), np.bool_)
        np.put_along_axis(choices[:, :count], ids[:, :count], True, axis=-1)
        if gate_scores is not None and topk_weights is not None:
            raise TraceError("give gate_scores (of all experts) or topk_weights (of the chosen ones), not both")
        if topk_weights is not None:
            weights = as_layers(topk_weights, "topk_weights", LAYER_TOKEN_CHOICE)
            if weights.shape != ids.shape:
                raise TraceError(
                    f"topk_weights has shape {list(weights.shape)}, but expert_ids has {list(ids.shape)}: "
                    "they must be equal"
                )
            if not np.issubdtype(weights.dtype, np.floating):
                raise TraceError(f"topk_weights must be floating-point numbers, but its dtype is {weights.dtype}")
            gate_scores = np.zeros(choices.shape, np.float32)
            np.put_along_axis(gate_scores[:, :count], ids[:, :count], weights[:, :count], axis=-1)
        scores = None if gate_scores is None else check_gate_scores(gate_scores, choices.shape, count)
        numbers = check_layer_ids(layer_ids, layers)
        return cls(choices, np.asarray(count, np.int32), scores, ids, TraceMetadata(metadata), numbers)

    def request(self, index: int) -> RoutingTrace:
        """Request `index` of a stacked trace, with its padding and notes; negative counts from the end.

        >>> one = RoutingTrace.from_choices([[1, 0]])
        >>> stack_traces([one, one]).request(-1).choices.shape
        (1, 1, 2)
        """
        if not self.is_stacked:
            raise TraceError("request() selects from stacked requests, but this trace holds one request")
        whole = isinstance(index, (int, np.integer)) and not isinstance(index, bool)
        if not whole or not -self.num_requests <= index < self.num_requests:
            raise TraceError(f"request {shown(index)} does not exist: the trace holds {self.num_requests} requests")
        position = index % self.num_requests
        return jax.tree.map(lambda leaf: leaf[position, ...], self).replace(metadata=self.metadata.select([position]))

    def with_metadata(self, metadata: Mapping[str, Any]) -> RoutingTrace:
        """The same trace with other notes.

        >>> RoutingTrace.from_choices([[1]]).with_metadata({"model": "tiny"}).metadata["model"]
        'tiny'
        """
        return dataclasses.replace(self, metadata=TraceMetadata(metadata))

    def trim(self, max_tokens: int | None = None) -> RoutingTrace:
        """Without padding that no request needs, and with at most `max_tokens` tokens of each request.

        >>> RoutingTrace.from_choices([[1, 0], [0, 1], [0, 0]], num_tokens=2).trim().max_tokens
        2
        """
        longest = int(np.max(self.num_tokens))
        rows = longest if max_tokens is None else min(longest, check_max_tokens(max_tokens))
        cut = jax.tree.map(lambda leaf: leaf if leaf is self.num_tokens else leaf[..., :rows, :], self)
        return cut.replace(num_tokens=np.asarray(np.minimum(self.num_tokens, rows), np.int32))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one request or stacked requests to an ``.npz`` file for :func:`~pimjax.trace.load_traces`."""
        from pimjax.trace.files import save_traces

        save_traces(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RoutingTrace:
        """The one request of an ``.npz`` file.

        Raises:
          TraceError: the file is damaged, unsafe, too large or holds several requests (use ``load_traces``).
        """
        from pimjax.trace.files import load_one_trace

        return load_one_trace(path)


def stack_traces(traces: Sequence[RoutingTrace]) -> RoutingTrace:
    """One stacked trace ``[R, ...]`` from requests of any lengths, padded to the longest.

    Scores or expert order are kept if every request has them. Notes are those of the first trace; per-request
    notes are joined where every trace has them.

    Raises:
      TraceError: no trace, a stacked trace among them, or different numbers of layers, experts or k.

    >>> short = RoutingTrace.from_choices([[1, 0]])
    >>> long = RoutingTrace.from_choices([[1, 0], [0, 1]])
    >>> stack_traces([short, long]).num_tokens.tolist()
    [1, 2]
    """
    from pimjax.trace.metadata import PER_REQUEST_KEYS

    if isinstance(traces, RoutingTrace) or not isinstance(traces, Sequence):
        raise TraceError(f"traces is {shown(traces)}: give a list of single requests")
    for trace in traces:
        check_trace_argument(trace)
    if not traces:
        raise TraceError("no trace to stack: give at least one request")
    if any(trace.is_stacked for trace in traces):
        raise TraceError("stack_traces takes single requests, but one of them is already stacked")
    shapes = {(trace.num_layers, trace.num_experts) for trace in traces}
    if len(shapes) > 1:
        raise TraceError(
            f"requests of different models cannot be stacked: (layers, experts) are {sorted(shapes)}, "
            "they must be equal"
        )
    numbers = {trace.layer_ids for trace in traces}
    if len(numbers) > 1:
        raise TraceError(
            f"requests of different layers cannot be stacked: layer_ids are {shown(sorted(map(str, numbers)))}, "
            "they must be equal"
        )
    rows = max(trace.max_tokens for trace in traces)

    def pad(leaves: list[Any], value: Any) -> Any:
        if any(leaf is None for leaf in leaves):
            return None
        return np.stack(
            [
                np.pad(np.asarray(leaf), ((0, 0), (0, rows - leaf.shape[1]), (0, 0)), constant_values=value)
                for leaf in leaves
            ]
        )

    orders = [trace.expert_order for trace in traces]
    widths = {order.shape[-1] for order in orders if order is not None}
    if len(widths) > 1:
        raise TraceError(f"requests of different top k cannot be stacked: k is {sorted(widths)}, it must be equal")
    notes = dict(traces[0].metadata)
    for key in PER_REQUEST_KEYS:
        if all(key in trace.metadata for trace in traces):
            notes[key] = np.concatenate([np.atleast_1d(trace.metadata[key]) for trace in traces])
        else:
            notes.pop(key, None)
    return RoutingTrace(
        choices=pad([trace.choices for trace in traces], False),
        num_tokens=np.asarray([int(trace.num_tokens) for trace in traces], np.int32),
        gate_scores=pad([trace.gate_scores for trace in traces], -np.inf),
        expert_order=pad(orders, -1),
        metadata=TraceMetadata(notes),
        layer_ids=traces[0].layer_ids,
        allow=tuple(sorted({name for trace in traces for name in trace.allow})),
    )


def select_requests(trace: RoutingTrace, requests: Sequence[int | str]) -> RoutingTrace:
    """The given requests of a stacked trace, by index or name, in that order, with their notes.

    Raises:
      TraceError: no such request, or none asked for.

    >>> one = RoutingTrace.from_choices([[1, 0]])
    >>> select_requests(stack_traces([one, one]), [1]).num_requests
    1
    """
    check_trace_argument(trace)
    chosen = resolve_requests(requests, trace.num_requests, trace.metadata)
    stacked = trace if trace.is_stacked else stack_traces([trace])
    picked = jax.tree.map(lambda leaf: leaf[np.asarray(chosen)], stacked)
    return dataclasses.replace(picked, metadata=stacked.metadata.select(chosen))


def resolve_requests(requests: Any, total: int, metadata: TraceMetadata) -> list[int]:
    """Indices from 0 of requests named by index (negative from the end), name, or several of them; None: all.

    Raises:
      TraceError: no such request, or none asked for.
    """
    if requests is None:
        return list(range(total))
    wanted = list(requests) if np.iterable(requests) and not isinstance(requests, str) else [requests]
    if not isinstance(requests, (str, int, np.integer, Sequence, np.ndarray)):
        raise TraceError(
            f"requests is {shown(requests)}, neither an index nor a name: give one, a list of them, or None for all"
        )
    if not wanted:
        raise TraceError("requests is empty: name at least one request, or pass None for all")
    names = [str(name) for name in metadata.get("request_names", ())]
    chosen = []
    for request in wanted:
        if isinstance(request, str):
            if request not in names:
                raise TraceError(
                    f"request {shown(request)} does not exist: names are {shown(', '.join(names[:6])) if names else 'not stored'}"
                )
            chosen.append(names.index(request))
            continue
        if isinstance(request, (bool, np.bool_)) or not isinstance(request, (int, np.integer)):
            raise TraceError(f"request {shown(request)} is neither an index nor a name")
        if not -total <= request < total:
            raise TraceError(f"request {shown(request)} does not exist: there are {total}, 0 to {total - 1}")
        chosen.append(int(request) % total)
    return chosen
