"""Trace files: ``.npz`` with all requests of a recording end to end, cut at ``request_offsets``.

====================== ============================ =====================================================
key                    array                        meaning
====================== ============================ =====================================================
``expert_ids``         integer ``[L, N, k]``        chosen ids, best first; or ``choices``
``choices``            bool ``[L, N, E]``           the 0/1 matrix (any number of experts per token)
``num_experts``        integer, one number          ``E``; needed with ``expert_ids``
``request_offsets``    integer ``[R + 1]``          first token of each request; absent: one
``topk_weights``       float ``[L, N, k]``          optional scores of the chosen experts
``gate_scores``        float ``[L, N, E]``          optional scores of all experts, in its place
``layer_ids``          integer ``[L]``              optional numbers of the model's layers that these are
``allow``              string ``[...]``             optional: what may differ from a model (``RoutingTrace.allow``)
``request_names``      string ``[R]``               optional
``prompt_tokens``      integer ``[R]``              optional
``schema_version``     integer                      optional, 1
====================== ============================ =====================================================

``N`` counts the tokens of all requests. Any other key is kept in ``metadata`` and written back.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import TraceError, shown
from pimjax.trace.belonging import fit_trace
from pimjax.trace.checks import (
    check_allow,
    check_layer_ids,
    check_max_bytes,
    check_max_tokens,
    check_num_experts,
    check_path,
    check_trace_argument,
)
from pimjax.trace.logs.containers import LOG_FORMATS
from pimjax.trace.logs.model import log_model, model_section
from pimjax.trace.metadata import PER_REQUEST_KEYS, TraceMetadata
from pimjax.trace.npz import MAX_FILE_BYTES, npz_names, read_npz, write_npz
from pimjax.trace.routing import RoutingTrace, resolve_requests, select_requests, stack_traces

SCHEMA_VERSION = 1
_ROUTING_KEYS = frozenset(
    [
        "expert_ids",
        "choices",
        "num_experts",
        "request_offsets",
        "topk_weights",
        "gate_scores",
        "layer_ids",
        "allow",
        "schema_version",
    ]
)


def load_traces(
    path: str | os.PathLike[str],
    requests: int | str | Sequence[int | str] | None = None,
    max_tokens: int | None = None,
    *,
    format: str = "auto",
    model: Any = None,
    num_experts: int | None = None,
    top_k: int | None = None,
    kind: str | None = None,
    physical_to_logical: Any = None,
    allow: Collection[str] = (),
    max_bytes: int = MAX_FILE_BYTES,
) -> RoutingTrace:
    """Requests of a trace file, stacked and padded: leaves ``[R, ...]``, also for one request.

    Reads pimjax's own ``.npz`` (the layout is in the module's docstring) and the routing logs of other programs.

    Args:
      path: the file.
      requests: which ones, by index or name, one or several, in this order; default all.
      max_tokens: keep at most the first `max_tokens` tokens of each request.
      format: who wrote it: "pimjax", "jsonl" (JSON Lines, a token in a layer per line), "vllm" (``routed_experts``),
        "sglang" (expert distribution recorder, per token) or "transformers" (``router_logits``); "auto" takes what the
        contents say beyond doubt and else asks.
      model: the configuration of its model, or a preset or file of it: says which layers have experts, E and k. What
        is read is checked against it and has one layer per MoE layer, as by :func:`~pimjax.trace.fit_trace`.
      num_experts, top_k: E and k, where no model is given and the log does not say them.
      kind: router logits only: what the router makes of them, see :data:`~pimjax.trace.SCORE_KINDS`; default what the
        model says, else "softmax".
      physical_to_logical: SGLang only: the map ``[layers, physical experts]``, or a file of it, if it is not in `path`.
      allow: what may differ from the model, see :data:`~pimjax.trace.ALLOWANCES`; default nothing.
      max_bytes: most bytes of the unpacked file, and of the padded choices.

    Raises:
      TraceError: missing, damaged, unsafe or too large file; missing keys; shapes or ids that do not fit;
        unknown request; a log that several programs could have written, or that holds only counts.
      MissingExtraError: a PyTorch file, without PyTorch.

    >>> import tempfile, os
    >>> trace = RoutingTrace.from_expert_ids([[1], [0]], num_experts=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trace.save(os.path.join(folder, "t.npz"))
    ...     load_traces(os.path.join(folder, "t.npz")).choices.shape
    (1, 1, 2, 2)
    """
    check_max_bytes(max_bytes)
    file = check_path(path, "an .npz trace")
    known = None if model is None else model_section(model)
    if _is_own(file, format):
        arrays = read_npz(file, max_bytes=max_bytes)
        try:
            trace = _from_arrays(arrays, requests, max_tokens, max_bytes)
        except TraceError as error:
            raise TraceError(f"{shown(file)}: {error}") from error
    else:
        from pimjax.trace.logs.formats import read_log

        about = log_model(known, num_experts, top_k)
        log = read_log(file, format, about, kind=kind, physical_to_logical=physical_to_logical, max_bytes=max_bytes)
        chosen = resolve_requests(requests, log.num_requests, log.metadata)
        trace = select_requests(log, chosen).trim(max_tokens)
    return trace if known is None else fit_trace(trace, known, allow=allow)


def _is_own(file: Path, log_format: Any) -> bool:
    """Whether to read with this module; also what no other reader knows, and damaged archives, to be reported as such."""
    if log_format != "auto":
        return log_format == "pimjax"
    names = npz_names(file) if file.suffix == ".npz" else None
    return file.suffix not in LOG_FORMATS or (
        file.suffix == ".npz" and (not names or bool({"expert_ids", "choices"} & names))
    )


def load_one_trace(path: str | os.PathLike[str]) -> RoutingTrace:
    """See :meth:`RoutingTrace.load`."""
    arrays = read_npz(path)
    try:
        count = len(_offsets(arrays, _num_rows(arrays))) - 1
        if count > 1:
            raise TraceError(
                f"the file holds {count} requests, which are not one long sequence: "
                "read it with pimjax.load_traces(path)"
            )
        return _from_arrays(arrays, None, None, MAX_FILE_BYTES).request(0)
    except TraceError as error:
        raise TraceError(f"{shown(Path(path))}: {error}") from error


def save_traces(trace: RoutingTrace, path: str | os.PathLike[str]) -> None:
    """Write one request or stacked requests, padding removed; scores as float16 where that loses nothing.

    Raises:
      TraceError: the target cannot be written, or a note cannot be stored without pickle.
    """
    check_trace_argument(trace)
    rows = [trace.request(r) for r in range(trace.num_requests)] if trace.is_stacked else [trace]
    counts = [int(row.num_tokens) for row in rows]

    def joined(name: str) -> HostArray:
        return np.concatenate(
            [np.asarray(getattr(row, name))[:, :count] for row, count in zip(rows, counts, strict=True)],
            axis=1,
        )

    arrays: dict[str, Any] = {
        "schema_version": np.int32(SCHEMA_VERSION),
        "num_experts": np.int32(trace.num_experts),
        "request_offsets": np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
    }
    if trace.expert_order is not None:
        arrays["expert_ids"] = joined("expert_order").astype(np.min_scalar_type(trace.num_experts - 1))
    else:
        arrays["choices"] = joined("choices")
    if trace.layer_ids is not None:
        arrays["layer_ids"] = np.asarray(trace.layer_ids, np.int32)
    if trace.allow:
        arrays["allow"] = np.array(trace.allow)
    if trace.gate_scores is not None:
        scores = joined("gate_scores")
        with np.errstate(over="ignore"):
            half = scores.astype(np.float16)
        arrays["gate_scores"] = half if (half.astype(np.float32) == scores).all() else scores
    clash = sorted(_ROUTING_KEYS & set(trace.metadata))
    if clash:
        raise TraceError(f"metadata key {shown(clash[0])} is reserved for the routing itself: rename it before saving")
    write_npz(path, {**arrays, **trace.metadata})


def _num_rows(arrays: dict[str, HostArray]) -> int:
    for key in ("expert_ids", "choices"):
        if key in arrays:
            if arrays[key].ndim != 3:
                raise TraceError(
                    f"{key} has shape {list(arrays[key].shape)}: it must have three axes, layers, tokens and "
                    + ("k" if key == "expert_ids" else "experts")
                )
            return arrays[key].shape[1]
    found = ", ".join(sorted(arrays)) or "nothing"
    raise TraceError(f"it holds no routing of tokens: it needs expert_ids or choices, but has {found}")


def _offsets(arrays: dict[str, HostArray], rows: int) -> list[int]:
    if "request_offsets" not in arrays:
        return [0, rows]
    offsets = arrays["request_offsets"]
    if offsets.ndim != 1 or len(offsets) < 2 or not np.issubdtype(offsets.dtype, np.integer):
        raise TraceError(
            f"request_offsets is {offsets.dtype} of shape {list(offsets.shape)}: "
            "it must hold requests + 1 whole numbers"
        )
    wide = offsets.astype(np.int64)
    if wide[0] != 0 or wide[-1] != rows or (np.diff(wide) < 1).any():
        raise TraceError(
            f"request_offsets must rise from 0 to the {rows} tokens of the file with at least one token "
            f"per request, but runs from {wide[0]} to {wide[-1]}"
            + (" and does not rise" if (np.diff(wide) < 1).any() else "")
        )
    return wide.tolist()


def _from_arrays(arrays: dict[str, HostArray], requests: Any, max_tokens: int | None, max_bytes: int) -> RoutingTrace:
    rows = _num_rows(arrays)
    _check_version(arrays)
    if 0 in arrays.get("expert_ids", arrays.get("choices", np.ones(1))).shape:
        raise TraceError("the trace is empty: it needs at least one layer, token and expert")
    offsets = _offsets(arrays, rows)
    num_experts = _experts(arrays)
    per_token = {key: arrays[key] for key in ("expert_ids", "choices", "topk_weights", "gate_scores") if key in arrays}
    for key, array in per_token.items():
        if array.ndim != 3 or array.shape[1] != rows:
            raise TraceError(f"{key} has shape {list(array.shape)}, but the file has {rows} tokens on its second axis")
    metadata = TraceMetadata({key: value for key, value in arrays.items() if key not in _ROUTING_KEYS})
    total = len(offsets) - 1
    for key in PER_REQUEST_KEYS:
        if key in metadata and np.shape(metadata[key]) != (total,):
            raise TraceError(f"{key} has shape {list(np.shape(metadata[key]))}, but the file has {total} requests")
    chosen = resolve_requests(requests, total, metadata)
    limit = None if max_tokens is None else check_max_tokens(max_tokens)
    spans = [(offsets[r], min(offsets[r + 1], offsets[r] + (limit or rows))) for r in chosen]
    longest = max(stop - start for start, stop in spans)
    layers = next(iter(per_token.values())).shape[0]
    padded = len(spans) * layers * longest * num_experts * (5 if len(per_token) > 1 else 1)
    if padded > max_bytes:
        raise TraceError(
            f"{len(spans)} requests padded to {longest} tokens would take {padded:,} bytes, more than the "
            f"{max_bytes:,} allowed: pass requests= or max_tokens=, or a larger max_bytes"
        )
    traces = [_one({key: array[:, a:b] for key, array in per_token.items()}, num_experts, a) for a, b in spans]
    numbers = check_layer_ids(arrays.get("layer_ids"), layers)
    allow = check_allow(np.ravel(arrays.get("allow", ())).tolist())
    return dataclasses.replace(stack_traces(traces), metadata=metadata.select(chosen), layer_ids=numbers, allow=allow)


def _one(part: dict[str, HostArray], num_experts: int, start: int) -> RoutingTrace:
    try:
        if "expert_ids" not in part:
            return RoutingTrace.from_choices(part["choices"], gate_scores=part.get("gate_scores"))
        trace = RoutingTrace.from_expert_ids(
            part["expert_ids"],
            num_experts,
            gate_scores=part.get("gate_scores"),
            topk_weights=None if "gate_scores" in part else part.get("topk_weights"),
        )
    except TraceError as error:
        raise TraceError(f"in the request that begins at token {start}, {error}") from error
    if "choices" in part and not np.array_equal(part["choices"].astype(np.bool_), trace.choices):
        raise TraceError(f"expert_ids and choices disagree in the request that begins at token {start}")
    return trace


def _experts(arrays: dict[str, HostArray]) -> int:
    width = arrays["choices"].shape[2] if "choices" in arrays else None
    if "num_experts" not in arrays:
        if width is None:
            raise TraceError("num_experts is missing: expert_ids alone do not say how many experts there are")
        return width
    experts = check_num_experts(arrays["num_experts"])  # pyrefly: ignore
    if width is not None and width != experts:
        raise TraceError(f"num_experts is {experts}, but choices has {width} experts")
    return experts


def _check_version(arrays: dict[str, HostArray]) -> None:
    version = arrays.get("schema_version")
    if version is not None and (version.size != 1 or version.reshape(()).item() != SCHEMA_VERSION):
        raise TraceError(f"schema_version is {shown(version)}: this pimjax reads version {SCHEMA_VERSION}")
