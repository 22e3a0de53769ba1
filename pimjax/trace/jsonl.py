"""Router logs as JSON Lines: one token in one layer per line, so that any framework can write them.

    {"num_experts": 16, "model": "tiny"}
    {"request": "a", "layer": 0, "token": 0, "experts": [3, 7], "scores": [0.6, 0.2]}
    {"request": "a", "layer": 1, "token": 0, "experts": [0, 2], "scores": [0.5, 0.4]}

- The first line may be a header: ``num_experts`` (else give it to the reader) and any notes. It has no ``experts``.
- ``layer``, ``token``: whole numbers from 0. MoE layers 1, 3, 5 are three layers, and the
  trace keeps their numbers (``layer_ids``). The tokens of a request are consecutive; a log of decoding may begin later than 0. Lines come in any order.
- ``experts``: distinct ids, best first; an empty list is a token that no expert takes.
- ``scores``: optional. As many as ``experts`` (the chosen ones) or ``num_experts`` many (all, by expert id).
- ``request``: optional name (string or number); lines without it form one request.
- Other programs' names of these keys are understood (:data:`ALIASES`). ``experts`` may hold the lists of several tokens;
  without ``token`` the tokens of a layer are counted in the order of the lines.

Every request has the same layers and, in each, every one of its tokens exactly once. Other keys of a line are ignored.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import TraceError, shown
from pimjax.trace.checks import (
    check_allow,
    check_max_bytes,
    check_num_experts,
    check_path,
    check_trace_argument,
)
from pimjax.trace.metadata import PER_REQUEST_KEYS, TraceMetadata
from pimjax.trace.npz import MAX_FILE_BYTES
from pimjax.trace.routing import RoutingTrace, stack_traces

#: Longest line that is read [characters].
MAX_LINE = 1 << 20

#: Key -> what other programs call it; of several in one line the first of these counts.
ALIASES: dict[str, tuple[str, ...]] = {
    "layer": ("layer", "layer_id", "layer_idx", "layer_index", "moe_layer"),
    "token": ("token", "token_idx", "token_index", "token_pos", "position", "pos"),
    "experts": ("experts", "topk_ids", "top_k_ids", "topk_idx", "topk_indices", "expert_ids", "selected_experts"),
    "scores": ("scores", "topk_weights", "top_k_weights", "routing_weights", "expert_weights", "weights"),
    "request": ("request", "request_id", "req_id", "rid", "sequence", "seq_id"),
    "num_experts": ("num_experts", "n_experts", "num_local_experts", "n_routed_experts"),
}

_LARGEST_SCORE = float(np.finfo(np.float32).max)

_Row = tuple[list[int], list[float] | None, int]  # experts, scores, line number


def read_router_log(
    path: str | os.PathLike[str], num_experts: int | None = None, *, max_bytes: int = MAX_FILE_BYTES
) -> RoutingTrace:
    """Stacked requests ``[R, ...]`` of a JSON Lines router log, in the order in which their names first appear.

    Args:
      path: the file (the layout is in the module's docstring).
      num_experts: ``E``, where the file has no header; must agree with it otherwise.
      max_bytes: largest file that is read.

    Raises:
      TraceError: names the line: malformed JSON, missing or wrong values, repeated or missing tokens; or the file is
        missing, empty or too large.
    """
    check_max_bytes(max_bytes)
    file = check_path(path, "a JSON Lines router log")
    if not file.is_file():
        raise TraceError(f"{shown(file)} is not a file: give the path of a JSON Lines router log")
    size = file.stat().st_size
    if size > max_bytes:
        raise TraceError(
            f"{shown(file)} has {size:,} bytes, more than the {max_bytes:,} allowed: split it, or pass a larger max_bytes"
        )
    header: dict[str, Any] = {}
    requests: dict[str, dict[tuple[int, int], _Row]] = {}
    counted: dict[tuple[str, int], int] = {}
    for number, line in _lines(file):
        entry = _renamed(line)
        if "experts" not in entry:
            if header or requests:
                raise TraceError(
                    f"{shown(file)}, line {number}: the key 'experts' is missing (only line 1 may be a header)"
                )
            header = entry
            continue
        layer = _whole(entry, "layer", file, number)
        name = str(entry.get("request", "0"))
        begin = _whole(entry, "token", file, number) if "token" in entry else counted.get((name, layer), 0)
        rows = requests.setdefault(name, {})
        tokens = _tokens(entry, file, number)
        for token, (chosen, scores) in enumerate(tokens, begin):
            if (layer, token) in rows:
                raise TraceError(
                    f"{shown(file)}, line {number}: layer {layer}, token {token} appeared before in this request"
                )
            rows[layer, token] = (*_experts_and_scores(chosen, scores, file, number), number)
        counted[name, layer] = begin + len(tokens)
    if not requests:
        raise TraceError(f"{shown(file)} holds no tokens: every line needs layer, token and experts")
    experts = _resolve_experts(header.get("num_experts"), num_experts, file)
    layers = sorted({layer for layer, _ in next(iter(requests.values()))})
    traces, first = [], []
    for name, rows in requests.items():
        trace, begin = _request(name, rows, layers, experts, file, max_bytes)
        traces.append(trace)
        first.append(begin)
    notes: dict[str, Any] = {key: value for key, value in header.items() if key != "num_experts"}
    for key in set(PER_REQUEST_KEYS) & set(notes):
        notes[key] = np.asarray(notes[key])
        if notes[key].shape != (len(requests),):
            raise TraceError(
                f"{shown(file)}, line 1: {key} must have one entry for each of the {len(requests)} requests"
            )
    notes["request_names"] = np.array(list(requests))
    if any(first):
        notes["first_token"] = np.array(first, np.int32)
    in_order = layers == list(range(len(layers)))
    allow = check_allow(notes.pop("allow", ()))
    numbers = None if in_order else tuple(layers)
    return dataclasses.replace(stack_traces(traces), metadata=TraceMetadata(notes), layer_ids=numbers, allow=allow)


def write_router_log(trace: RoutingTrace, path: str | os.PathLike[str]) -> None:
    """Write one request or stacked requests as a JSON Lines router log, with a header.

    Scores of all experts are written where they are known, otherwise those of the chosen ones. Notes that JSON cannot
    hold are left out.

    Raises:
      TraceError: the file cannot be written.
    """
    check_trace_argument(trace)
    rows = [trace.request(r) for r in range(trace.num_requests)] if trace.is_stacked else [trace]
    names = [str(name) for name in trace.metadata.get("request_names", range(len(rows)))]
    begins = np.broadcast_to(np.asarray(trace.metadata.get("first_token", 0)), (len(rows),))
    numbers = trace.layer_ids or range(trace.num_layers)
    special = ("request_names", "first_token", "num_experts", "experts", "allow")
    notes = {key: _json_value(value) for key, value in trace.metadata.items() if key not in special}
    target = check_path(path, "a file to write")
    partial = target.with_name(target.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            kept = {"allow": list(trace.allow)} if trace.allow else {}
            header = {"num_experts": trace.num_experts, **kept, **{k: v for k, v in notes.items() if v is not None}}
            stream.write(json.dumps(header) + "\n")
            for name, begin, row in zip(names, begins, rows, strict=True):
                for line in _request_lines(row, name, int(begin), list(numbers)):
                    stream.write(json.dumps(line) + "\n")
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise TraceError(
            f"{shown(target)} cannot be written ({error.strerror}): choose a folder that exists"
        ) from error


def _request_lines(row: RoutingTrace, name: str, begin: int, layers: list[int]) -> Iterator[dict[str, Any]]:
    choices = np.asarray(row.choices)
    order = None if row.expert_order is None else np.asarray(row.expert_order)
    scores = None if row.gate_scores is None else np.asarray(row.gate_scores, np.float64)
    for token in range(int(row.num_tokens)):
        for layer, number in enumerate(layers):
            chosen = np.flatnonzero(choices[layer, token]) if order is None else order[layer, token]
            line: dict[str, Any] = {"request": name, "layer": number, "token": begin + token}
            line["experts"] = [int(expert) for expert in chosen]
            if scores is not None:
                given = scores[layer, token]
                partly = not np.any(given[~choices[layer, token]]) and len(chosen) < len(given)
                line["scores"] = (given[chosen] if partly else _by_convention(given, chosen)).tolist()
            yield line


def _by_convention(given: HostArray, chosen: Any) -> HostArray:
    """All scores by expert id, unless every expert is chosen: then the reader expects the order of `chosen`."""
    return given[chosen] if len(chosen) == len(given) else given


def _lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with file.open(encoding="utf-8") as stream:
            number = 0
            while line := stream.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise TraceError(
                        f"{shown(file)}, line {number} is longer than {MAX_LINE:,} characters: no token needs that"
                    )
                if not line.strip():
                    continue
                try:
                    entry = json.loads(line)
                except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
                    deep = isinstance(error, RecursionError)
                    reason = "nested too deeply" if deep else getattr(error, "msg", "a number is too long")
                    raise TraceError(f"{shown(file)}, line {number} is not JSON ({reason}): is it cut off?") from error
                if not isinstance(entry, dict):
                    raise TraceError(f"{shown(file)}, line {number} is not a JSON object with layer, token and experts")
                yield number, entry
    except UnicodeDecodeError as error:
        raise TraceError(f"{shown(file)} is not UTF-8 text: is it a JSON Lines router log?") from error


def has_router_lines(file: Path) -> bool:
    """Whether the file begins as a router log does: a line with a layer and its experts, perhaps after a header.

    Raises:
      TraceError: it cannot be read.
    """
    if not file.is_file():
        raise TraceError(f"{shown(file)} is not a file: give the path of a JSON Lines router log")
    with file.open("rb") as stream:
        if len(stream.readline(MAX_LINE + 1)) > MAX_LINE:
            return False  # a whole request in a line: another program's
    for number, (_, line) in enumerate(_lines(file)):
        entry = _renamed(line)
        if "experts" in entry and "layer" in entry:
            return True
        if number == 1:
            break
    return False


def _renamed(line: dict[str, Any]) -> dict[str, Any]:
    """A line with this module's keys, whatever its writer called them."""
    entry = dict(line)
    for key, names in ALIASES.items():
        found = next((name for name in names if name in entry), None)
        if found is not None and found != key:
            entry[key] = entry.pop(found)
    return entry


def _tokens(entry: dict[str, Any], file: Path, number: int) -> list[tuple[Any, Any]]:
    """(experts, scores) of each token of a line: one, or as many as there are lists."""
    experts, scores = entry["experts"], entry.get("scores")
    if not isinstance(experts, list) or not experts or not all(isinstance(row, list) for row in experts):
        return [(experts, scores)]
    if scores is None:
        return [(row, None) for row in experts]
    if not isinstance(scores, list) or len(scores) != len(experts):
        raise TraceError(f"{shown(file)}, line {number}: 'scores' must hold one list for each of {len(experts)} tokens")
    return list(zip(experts, scores, strict=True))


def _whole(entry: dict[str, Any], key: str, file: Path, number: int) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise TraceError(
            f"{shown(file)}, line {number}: {key!r} is {shown(value)}, but must be a whole number from 0 to {2**31 - 1}"
        )
    return value


def _experts_and_scores(experts: Any, scores: Any, file: Path, number: int) -> tuple[list[int], list[float] | None]:
    if not isinstance(experts, list) or any(isinstance(e, bool) or not isinstance(e, int) for e in experts):
        raise TraceError(
            f"{shown(file)}, line {number}: 'experts' is {shown(experts)}, but must be a list of whole numbers"
        )
    if len(set(experts)) < len(experts):
        raise TraceError(
            f"{shown(file)}, line {number}: an expert appears twice in {shown(experts)}, but a token visits it once"
        )
    if scores is not None and (
        not isinstance(scores, list) or any(isinstance(s, bool) or not isinstance(s, (int, float)) for s in scores)
    ):
        raise TraceError(f"{shown(file)}, line {number}: 'scores' is {shown(scores)}, but must be a list of numbers")
    if scores is not None and not all(abs(s) <= _LARGEST_SCORE for s in scores):  # False for NaN
        raise TraceError(
            f"{shown(file)}, line {number}: 'scores' holds NaN, infinity or a number beyond float32, which cannot be compared"
        )
    return experts, scores


def _resolve_experts(in_header: Any, given: int | None, file: Path) -> int:
    if in_header is None and given is None:
        raise TraceError(
            f'{shown(file)} does not say how many experts there are: begin it with a line like {{"num_experts": 16}}, '
            "or pass num_experts"
        )
    experts = check_num_experts(in_header if in_header is not None else given or 0)
    if given is not None and given != experts:
        raise TraceError(f"{shown(file)} says num_experts = {experts}, but {given} was asked for")
    return experts


def _request(
    name: str, rows: dict[tuple[int, int], _Row], layers: list[int], experts: int, file: Path, max_bytes: int
) -> tuple[RoutingTrace, int]:
    tokens = sorted({token for _, token in rows})
    begin, count = tokens[0], len(tokens)
    if 5 * len(layers) * count * experts > max_bytes:  # choices and scores
        raise TraceError(
            f"{shown(file)}: request {shown(name)} would take more than {max_bytes:,} bytes: num_experts is {experts}"
        )
    if {layer for layer, _ in rows} - set(layers):
        raise TraceError(f"{shown(file)}: request {shown(name)} has layers that the first request lacks")
    if tokens[-1] - begin + 1 != count or len(rows) != count * len(layers):
        missing = next(
            (layer, token) for token in range(begin, tokens[-1] + 1) for layer in layers if (layer, token) not in rows
        )
        raise TraceError(
            f"{shown(file)}: request {shown(name)} lacks layer {missing[0]}, token {missing[1]}: "
            "every token from its first to its last must have a line in each layer"
        )
    choices = np.zeros((len(layers), count, experts), np.bool_)
    scores = np.zeros(choices.shape, np.float32)
    widths = {len(chosen) for chosen, _, _ in rows.values()}
    order = np.zeros((len(layers), count, max(widths)), np.int32) if len(widths) == 1 and max(widths) else None
    scored = {given is not None for _, given, _ in rows.values()}
    position = {layer: index for index, layer in enumerate(layers)}
    for (layer, token), (chosen, given, number) in rows.items():
        outside = [expert for expert in chosen if not 0 <= expert < experts]
        if outside:
            raise TraceError(f"{shown(file)}, line {number}: expert {outside[0]} lies outside 0 to {experts - 1}")
        place = (position[layer], token - begin)
        choices[place][chosen] = True
        if order is not None:
            order[place] = chosen
        if given is not None:
            if len(given) not in (len(chosen), experts):
                raise TraceError(
                    f"{shown(file)}, line {number}: there are {len(given)} scores, but must be {len(chosen)} (as many as "
                    f"experts) or {experts} (num_experts)"
                )
            scores[place][chosen if len(given) == len(chosen) else slice(None)] = given
    if len(scored) > 1:
        raise TraceError(
            f"{shown(file)}: request {shown(name)} has scores in some lines only: give them in all or none"
        )
    kept = scores if True in scored else None
    if order is not None:
        return RoutingTrace.from_expert_ids(order, experts, gate_scores=kept), begin
    return RoutingTrace.from_choices(choices, gate_scores=kept), begin


def _json_value(value: Any) -> Any:
    plain = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    try:
        json.dumps(plain)
    except (TypeError, ValueError):
        return None
    return plain
