"""SGLang's expert distribution recorder, mode ``per_token``: int32 ``[layers, tokens, k or more]`` per forward pass.

The file is a dictionary with ``records`` (one per forward pass: ``topk_ids_of_layer``, ``positions``,
``extend_seq_lens``, ...) and ``last_physical_to_logical_map`` ``[layers, physical experts]``. Layers without experts,
columns beyond k and padded tokens are -1. Ids are those of *physical* experts: where experts are replicated, the map says
which logical expert each copy is. A shared expert that is fused into the routed ones has an id of its own, beyond them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import TraceError
from pimjax.trace.logs.containers import as_array
from pimjax.trace.logs.model import Converted, LogModel, first_bad, need
from pimjax.trace.routing import RoutingTrace

IDS_KEY = "topk_ids_of_layer"
MAP_KEYS = ("physical_to_logical_map", "last_physical_to_logical_map")


def is_sglang(entry: Any) -> bool:
    """Whether a dictionary holds what the recorder writes per token."""
    if not isinstance(entry, dict):
        return False
    records = entry.get("records")
    first = records[0] if isinstance(records, list) and records else entry
    return isinstance(first, dict) and IDS_KEY in first


def convert(content: Any, model: LogModel, physical_to_logical: Any = None) -> Converted:
    """Requests of a recording, in the order in which they begin.

    Args:
      content: the recorder's dictionary, one record of it, a list of records, or one array.
      model: E and k, and which layers have experts.
      physical_to_logical: the map, where it is not in the file: ``[layers, physical]`` or ``[physical]``.

    Raises:
      TraceError: layers, experts or k are not those of the model; ids beyond the experts without a map.
    """
    records, beside = _records(content)
    mapping = _map(physical_to_logical if physical_to_logical is not None else beside)
    found = Converted()
    parts: list[tuple[int, list[HostArray]]] = []  # first position, passes
    opened: list[tuple[int, int]] = []  # (index in parts, next position) of requests that may go on
    left_out = 0
    numbers = None
    for number, record in enumerate(records):
        where = f"{IDS_KEY} of record {number}" if len(records) > 1 else IDS_KEY
        ids, numbers, real = _ids(record.get(IDS_KEY), model, mapping, where)
        left_out += int((~real).sum())
        opened = _assign(ids, real, record, parts, opened, where)
    experts = need(model.num_experts, "the number of experts", "--num-experts")
    for index, (first, passes) in enumerate(parts):
        ids = np.concatenate(passes, axis=1)
        trace = RoutingTrace.from_expert_ids(ids, experts, layer_ids=numbers)
        found.add(str(index), trace, first_token=first, left_out=left_out if index == 0 else 0)
    return found


def _records(content: Any) -> tuple[list[dict[str, Any]], Any]:
    """The records, and the map beside them."""
    if isinstance(content, np.ndarray):
        return [{IDS_KEY: content}], None
    if isinstance(content, list) and content and not isinstance(content[0], dict):
        return [{IDS_KEY: content}], None
    if isinstance(content, dict):
        beside = next((content[key] for key in MAP_KEYS if content.get(key) is not None), None)
        records = content.get("records", [content])
        if not is_sglang(content) and len(content) == 1:  # one array under another name
            records = [{IDS_KEY: next(iter(content.values()))}]
    else:
        records, beside = content, None
    if not isinstance(records, list) or not all(isinstance(record, dict) and IDS_KEY in record for record in records):
        raise TraceError(
            f"it holds no {IDS_KEY}: SGLang writes the experts of each token with --expert-distribution-recorder-mode "
            "per_token (its other modes write counts)"
        )
    return records, beside


def _map(mapping: Any) -> HostArray | None:
    if mapping is None:
        return None
    array = as_array(mapping, "the physical-to-logical map")
    if array.ndim not in (1, 2) or 0 in array.shape or not np.issubdtype(array.dtype, np.integer):
        raise TraceError(
            f"the physical-to-logical map is {array.dtype} of shape {list(array.shape)}: it must hold whole numbers "
            "[layers, physical experts]"
        )
    return np.atleast_2d(array)


def _ids(
    values: Any, model: LogModel, mapping: HostArray | None, where: str
) -> tuple[HostArray, tuple[int, ...] | None, HostArray]:
    """Logical ids ``[MoE layers, T, k]``, the layers' numbers, and which tokens have any routing ``[T]``."""
    array = as_array(values, where)
    if array.ndim != 3 or 0 in array.shape or not np.issubdtype(array.dtype, np.integer):
        raise TraceError(
            f"{where} is {array.dtype} of shape {list(array.shape)}: SGLang writes whole numbers [layers, tokens, k]"
        )
    layers, tokens, _ = array.shape
    if model.moe_layers is not None and not model.fits_layers(layers) and model.fits_layers(tokens):
        raise TraceError(
            f"{where} has shape {list(array.shape)}: SGLang's recorder writes [layers, tokens, k], but here the tokens "
            "come first; say --format vllm, or transpose it"
        )
    array = array.astype(np.int64)
    used = (array >= 0).any(axis=(1, 2))
    rows = model.pick(layers, where)
    if rows is None:
        rows = np.flatnonzero(used).tolist()
        numbers = tuple(rows) if len(rows) < layers else None
    else:
        numbers = model.moe_layers
        wrong = np.setdiff1d(np.flatnonzero(used), rows)
        if len(wrong):
            raise TraceError(f"{where} has experts in layer {wrong[0]}, which has none in the model: is it its log?")
    if not rows:
        raise TraceError(f"{where} holds -1 only: no token was recorded")
    ids = array[rows]
    real = np.asarray((ids >= 0).any(axis=(0, 2)))
    experts = need(model.num_experts, "the number of experts", "--num-experts")
    if mapping is not None:
        ids = _logical(ids, mapping, rows, layers, where)
    return _columns(ids, real, experts, model.top_k, rows, mapping is None, where), numbers, real


def _logical(ids: HostArray, mapping: HostArray, rows: list[int], layers: int, where: str) -> HostArray:
    if len(mapping) == layers:
        mapping = mapping[rows]
    elif len(mapping) not in (1, len(rows)):
        raise TraceError(f"the physical-to-logical map has {len(mapping)} layers, but {where} has {layers}")
    if (ids >= mapping.shape[1]).any():
        raise TraceError(
            f"{where} holds id {int(ids.max())}, but the physical-to-logical map has only {mapping.shape[1]} experts"
        )
    table = np.broadcast_to(mapping, (len(rows), mapping.shape[1]))
    return np.where(ids < 0, -1, np.take_along_axis(table[:, None, :], np.maximum(ids, 0), axis=2))


def _columns(
    ids: HostArray, real: HostArray, experts: int, top_k: int | None, rows: list[int], unmapped: bool, where: str
) -> HostArray:
    """The k routed ids of every token, from rows with -1 and fused shared experts among them."""
    counts = (ids >= 0).sum(axis=2)[:, real]
    k = int(counts.max()) if top_k is None else top_k
    if top_k is not None and counts.size and (counts == top_k + 1).all() and (ids[..., top_k] >= experts).any():
        # one fused shared expert: every token has one id more, beyond the routed experts
        ids = np.where(ids >= experts, -1, ids)
        counts = (ids >= 0).sum(axis=2)[:, real]
    if (ids >= experts).any():
        layer, token, _ = first_bad(ids >= experts)
        advice = (
            "these are ids of physical experts: give the physical-to-logical map (--physical-to-logical FILE)"
            if unmapped
            else "does the map belong to this model?"
        )
        raise TraceError(
            f"{where} holds expert {int(ids[layer, token].max())} (layer {rows[layer]}, token {token}), but the model has "
            f"{experts} experts, 0 to {experts - 1}: {advice}"
        )
    if (counts != k).any():
        layer, token = first_bad(counts != k)
        raise TraceError(
            f"{where} has {int(counts[layer, token])} experts for token {int(np.flatnonzero(real)[token])} in layer "
            f"{rows[layer]}, but a token of this model visits {k}: is it a log of this model (--model)?"
        )
    order = np.argsort(ids < 0, axis=2, kind="stable")[..., :k]
    return np.take_along_axis(ids, order, axis=2)


def _assign(
    ids: HostArray,
    real: HostArray,
    record: dict[str, Any],
    parts: list[tuple[int, list[HostArray]]],
    opened: list[tuple[int, int]],
    where: str,
) -> list[tuple[int, int]]:
    """Give the tokens of one pass to requests: by the lengths of prompts and by positions, in the order of the batch."""
    tokens = ids.shape[1]
    positions = record.get("positions")
    if positions is None:
        pieces = [(0, tokens, None)]
    else:
        places = as_array(positions, f"positions of {where}")
        if places.shape != (tokens,):
            raise TraceError(f"positions of {where} has shape {list(places.shape)}: it must have one for each token")
        lengths = record.get("extend_seq_lens")
        if lengths is None:
            pieces = [(t, t + 1, int(places[t])) for t in range(tokens)]
        else:
            ends = np.cumsum(as_array(lengths, f"extend_seq_lens of {where}").astype(np.int64)).ravel()
            if not len(ends) or ends[-1] > tokens or (np.diff(ends, prepend=0) < 0).any():
                raise TraceError(f"extend_seq_lens of {where} does not cut its {tokens} tokens")
            starts = np.concatenate([[0], ends[:-1]])
            pieces = [(int(a), int(b), int(places[a])) for a, b in zip(starts, ends, strict=True) if b > a]
    waiting, going = list(opened), []
    for start, stop, position in pieces:
        keep = real[start:stop]
        if not keep.any():
            continue
        part = ids[:, start:stop][:, keep]
        match = next((pair for pair in waiting if pair[1] == position), None) if position else None
        if match is None and position is None and parts:
            match = (0, 0)  # no positions in the file: all passes are one sequence
        if match is None:
            parts.append((position or 0, [part]))
            index = len(parts) - 1
        else:
            index = match[0]
            parts[index][1].append(part)
            waiting = [pair for pair in waiting if pair is not match]
        going.append((index, (position or 0) + stop - start))
    return going + waiting
