"""Line accesses of a decode: what the SRAM in front of the DRAM is asked for, step by step (host, NumPy).

Three kinds of data, each in its own range of lines: one row per token (keys and values, or summed MoE outputs), the
table of gate scores, and the expert outputs of the full gate-output cache. Layers follow each other inside a step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import ConfigError


class AccessStream(NamedTuple):
    """Accesses in order: `lines` int32 ``[A]`` and `is_write` bool ``[A]``, for :mod:`pimjax.cache.hierarchy`.

    `num_lines`: lines that the data covers, the capacity at which nothing is evicted.
    """

    lines: HostArray
    is_write: HostArray
    num_lines: int


def _lines_of(first_byte: int, num_bytes: int, line_bytes: int) -> HostArray:
    if num_bytes <= 0:
        return np.zeros(0, np.int64)
    return np.arange(first_byte // line_bytes, (first_byte + num_bytes - 1) // line_bytes + 1)


def token_row_stream(
    prompt_tokens: int, steps: int, row_bytes: int, *, line_bytes: int, num_layers: int = 1, window: int = 0
) -> AccessStream:
    """One row per token and layer: each step writes the new row, then reads the visible ones, oldest first.

    Keys and values (`row_bytes` = bytes per token and layer), or the summed outputs that a gate-output cache without KV
    cache reads. Every row starts on a line of its own.

    Args:
      prompt_tokens: ``P``, rows there before the first step.
      steps: ``N``; step ``i`` brings the sequence to ``P + 1 + i`` tokens.
      row_bytes: bytes of one row.
      line_bytes: bytes of one SRAM line.
      num_layers: ``L``.
      window: rows a step reads at most; 0: all.

    Raises:
      ConfigError: a size is below 1, or the stream covers 2**31 lines or more.

    >>> stream = token_row_stream(1, 1, 16, line_bytes=16)
    >>> stream.lines.tolist(), stream.is_write.tolist()
    ([1, 0, 1], [True, False, False])
    """
    _check(prompt_tokens=prompt_tokens, steps=steps, row_bytes=row_bytes, line_bytes=line_bytes, num_layers=num_layers)
    per_row = -(-row_bytes // line_bytes)
    rows = prompt_tokens + steps
    _check_lines(num_layers * rows * per_row)
    parts = []
    for length in range(prompt_tokens + 1, rows + 1):
        first = max(0, length - window) if window else 0
        for layer in range(num_layers):
            base = layer * rows * per_row
            new = base + np.arange((length - 1) * per_row, length * per_row)
            seen = base + np.arange(first * per_row, length * per_row)
            parts += [(new, True), (seen, False)]
    return _join(parts, num_layers * rows * per_row)


def score_table_stream(
    prompt_tokens: int, steps: int, row_bytes: int, *, line_bytes: int, num_layers: int = 1
) -> AccessStream:
    """The gate-score table of the full gate-output cache: each step reads all old scores, then writes the new row.

    Rows (``E b_s`` bytes) are packed, so a line holds several tokens' scores; the line being written has just been read
    unless it is new. Arguments and errors as :func:`token_row_stream`.

    >>> score_table_stream(3, 1, 8, line_bytes=16).lines.tolist()
    [0, 1, 1]
    """
    _check(prompt_tokens=prompt_tokens, steps=steps, row_bytes=row_bytes, line_bytes=line_bytes, num_layers=num_layers)
    per_layer = -(-(prompt_tokens + steps) * row_bytes // line_bytes)
    _check_lines(num_layers * per_layer)
    parts = []
    for length in range(prompt_tokens + 1, prompt_tokens + steps + 1):
        for layer in range(num_layers):
            base = layer * per_layer
            parts += [
                (base + _lines_of(0, (length - 1) * row_bytes, line_bytes), False),
                (base + _lines_of((length - 1) * row_bytes, row_bytes, line_bytes), True),
            ]
    return _join(parts, num_layers * per_layer)


def expert_output_stream(
    members: Any, admitted: Any, evicted_token: Any, row_bytes: int, *, line_bytes: int
) -> AccessStream:
    """Writes of one layer's expert outputs in the full gate-output cache: an admitted token takes a free place.

    Args:
      members: bool ``[P, E]``, members whose outputs are stored before the first step.
      admitted: bool ``[N, E]``, see :class:`~pimjax.cache.step.GateOutputStep`; step ``i`` brings token ``P + i``.
      evicted_token: int ``[N, E]``, see :class:`~pimjax.cache.full.FullStep`; its place becomes free.
      row_bytes: bytes of one output, ``d b_a``.
      line_bytes: bytes of one line.

    >>> stream = expert_output_stream([[True]], [[True]], [[0]], 8, line_bytes=8)
    >>> stream.lines.tolist()
    [0]
    """
    _check(row_bytes=row_bytes, line_bytes=line_bytes)
    held, admitted, left = np.asarray(members, bool), np.asarray(admitted, bool), np.asarray(evicted_token)
    per_row = -(-row_bytes // line_bytes)
    prompt, experts = held.shape
    places = [{int(token): i for i, token in enumerate(np.flatnonzero(held[:, e]))} for e in range(experts)]
    free: list[list[int]] = [[] for _ in range(experts)]
    used = [len(place) for place in places]
    chosen = []
    for step in range(len(admitted)):
        for e in range(experts):
            if left[step, e] in places[e]:
                free[e].append(places[e].pop(int(left[step, e])))
            if admitted[step, e]:
                if not free[e]:
                    free[e].append(used[e])
                    used[e] += 1
                places[e][prompt + step] = free[e].pop()
                chosen.append((e, places[e][prompt + step]))
    start = np.concatenate([[0], np.cumsum(used)])
    _check_lines(int(start[-1]) * per_row)
    parts = [((start[e] + place) * per_row + np.arange(per_row), True) for e, place in chosen]
    return _join(parts, int(start[-1]) * per_row)


def _check(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1")


def _check_lines(num_lines: int) -> None:
    if num_lines >= 2**31:
        raise ConfigError(f"the stream covers {num_lines} lines; use longer lines: at most 2**31 - 1 are allowed")


def _join(parts: list[tuple[HostArray, bool]], num_lines: int) -> AccessStream:
    if not parts:
        return AccessStream(np.zeros(0, np.int32), np.zeros(0, bool), num_lines)
    lines = np.concatenate([part for part, _ in parts]).astype(np.int32)
    return AccessStream(lines, np.concatenate([np.full(len(part), write) for part, write in parts]), num_lines)


__all__ = ["AccessStream", "expert_output_stream", "score_table_stream", "token_row_stream"]
