"""Files of requests: Azure's CSV, and JSON Lines as vLLM's benchmarks and Mooncake's traces write them. Host.

A line of each format, and the unit of its time:

- `azure`: `TIMESTAMP,ContextTokens,GeneratedTokens` after a header of these names; date and time of day
- `vllm`: `{"arrival_time": 12.5, "input_toks": 80, "output_toks": 12}`; seconds
- `mooncake`: `{"timestamp": 27482, "input_length": 6955, "output_length": 52}`; milliseconds

Other names that the same programs use are understood (:data:`KEYS`); other keys are ignored (`hash_ids`: prefix caching
is not simulated). Lines may come in any order; arrivals count from the first one.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from pimjax import checks
from pimjax.errors import ServingError, shown
from pimjax.serving.requests import LAST_ARRIVAL_NS, MAX_REQUESTS, MAX_TOKENS, Requests, make_requests

FORMATS = ("azure", "vllm", "mooncake")
MAX_FILE_BYTES = 1 << 30
MAX_LINE = 1 << 20
"""Longest line that is read [characters]."""

#: Format -> (time, prompt, answer), each by the names in use, and ns per unit of time.
KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], float]] = {
    "vllm": (
        ("arrival_time", "arrival_s"),
        ("input_toks", "input_tokens", "prompt_tokens", "prompt_len"),
        ("output_toks", "output_tokens", "completion_tokens", "output_len"),
        1e9,
    ),
    "mooncake": (("timestamp",), ("input_length",), ("output_length",), 1e6),
}
_AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)?")


@checks.checked(ServingError, path=checks.path, format=checks.word("auto", *FORMATS), drop_empty=checks.flag)
def load_requests(path: str | os.PathLike[str], format: str = "auto", *, drop_empty: bool = False) -> Requests:
    """Requests from a file.

    Args:
        path: the file.
        format: one of :data:`FORMATS`; "auto" goes by the first line.
        drop_empty: leave out requests without a prompt or without an answer, which are refused otherwise.

    Raises:
        ServingError: names the line: malformed, a key missing, lengths of zero, times that are no times; or the file is
            missing, empty, or too large.

    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder) / "requests.jsonl"
    ...     _ = file.write_text('{"timestamp": 500, "input_length": 9, "output_length": 2}\\n')
    ...     load_requests(file).prompt_tokens.tolist()
    [9]
    """
    file = Path(path)
    text = _read(file)
    if format == "auto":
        format = _format_of(text, file)
    rows = _azure(text, file) if format == "azure" else _json_lines(text, file, format)
    kept = [row for row in rows if not (drop_empty and (row[1] == 0 or row[2] == 0))]
    for _, prompt, answer, number in kept:
        for what, value in (("prompt", prompt), ("answer", answer)):
            if not 1 <= value <= MAX_TOKENS:
                raise ServingError(
                    f"{shown(file)} line {number}: the {what} has {shown(value)} tokens; it must have from 1 to {MAX_TOKENS:,}"
                    + ("; drop_empty leaves such requests out" if value == 0 else "")
                )
    if not kept:
        raise ServingError(f"{shown(file)} has no request: give at least one line of format {format!r}")
    times = np.array([row[0] for row in kept], np.int64)
    order = np.argsort(times, kind="stable")
    arrivals = (times[order] - times[order[0]]).astype(np.float64)
    if arrivals[-1] > LAST_ARRIVAL_NS:
        raise ServingError(
            f"{shown(file)}: arrivals span {arrivals[-1] / 1e9:.3g} s, more than the {LAST_ARRIVAL_NS / 1e9:.3g} s that are "
            "simulated: are the times in the format's unit?"
        )
    lengths = np.array([(row[1], row[2]) for row in kept], np.int64)[order]
    return make_requests(arrivals, lengths[:, 0], lengths[:, 1])


_Row = tuple[int, int, int, int]  # ns, prompt, answer, line number


def _read(file: Path) -> str:
    try:
        if not file.is_file():
            raise ServingError(f"{shown(file)} is not a file: give a CSV of Azure's or JSON Lines of requests")
        size = file.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ServingError(f"{shown(file)} has {size:,} bytes; at most {MAX_FILE_BYTES:,} are read: split it")
        return file.read_bytes()[: MAX_FILE_BYTES + 1].decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ServingError(
            f"{shown(file)} is not UTF-8 text: give a CSV of Azure's or JSON Lines of requests"
        ) from None
    except OSError as error:
        raise ServingError(f"{shown(file)} cannot be read ({error.strerror})") from None


def _format_of(text: str, file: Path) -> str:
    first = next((line for line in text.splitlines() if line.strip()), "")
    if all(name in first for name in _AZURE):
        return "azure"
    if first.lstrip().startswith("{"):
        for name, (times, *_rest) in KEYS.items():
            if any(f'"{key}"' in first[:MAX_LINE] for key in times):
                return name
    raise ServingError(
        f"{shown(file)}: its first line {shown(first)} is of no known format: give format= {' or '.join(map(repr, FORMATS))}"
    )


def _azure(text: str, file: Path) -> list[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""))
    rows: list[_Row] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in _AZURE if name not in header]
        if missing:
            raise ServingError(f"{shown(file)}: the header {shown(','.join(header))} has no {' or '.join(missing)}")
        places = [header.index(name) for name in _AZURE]
        for cells in reader:
            if not cells:
                continue
            where = f"{shown(file)} line {reader.line_num}"
            if len(cells) < len(header):
                raise ServingError(f"{where} has {len(cells)} cells; the header has {len(header)}")
            time, prompt, answer = (cells[place].strip() for place in places)
            rows.append((_clock_ns(time, where), _whole(prompt, where), _whole(answer, where), reader.line_num))
            _few(rows, file)
    except csv.Error as error:
        raise ServingError(f"{shown(file)} line {reader.line_num} is no CSV ({error})") from None
    return rows


def _clock_ns(text: str, where: str) -> int:
    match = _TIME.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        moment = datetime.datetime.fromisoformat(f"{match[1]}T{match[2]}+00:00")
    except ValueError:
        raise ServingError(
            f"{where}: TIMESTAMP is {shown(text)}; it must be a date and a time such as 2023-11-16 18:17:03.9799600"
        ) from None
    return int(moment.timestamp()) * 10**9 + int((match[3] or "0").ljust(9, "0"))


def _whole(text: str, where: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 12):
        raise ServingError(f"{where}: {shown(text)} is no number of tokens; it must be a whole number from 0")
    return int(text)


def _few(rows: list[_Row], file: Path) -> None:
    if len(rows) > MAX_REQUESTS:
        raise ServingError(f"{shown(file)} has more than {MAX_REQUESTS:,} requests: split it")


def _json_lines(text: str, file: Path, format: str) -> list[_Row]:
    *names, unit_ns = KEYS[format]
    rows: list[_Row] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{shown(file)} line {number}"
        if len(line) > MAX_LINE:
            raise ServingError(f"{where} has {len(line):,} characters; at most {MAX_LINE:,} are read")
        try:
            entry = json.loads(line)
        except RecursionError:
            raise ServingError(f"{where} is nested too deeply to be a request") from None
        except ValueError as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "a number has too many digits"
            raise ServingError(f"{where} is no JSON ({reason})") from None
        if not isinstance(entry, dict):
            raise ServingError(f"{where} is a {type(entry).__name__}; it must be a JSON object, one request")
        time, prompt, answer = (_value(entry, keys, where) for keys in names)
        if isinstance(time, bool) or not isinstance(time, (int, float)) or not math.isfinite(_as_float(time)):
            raise ServingError(f"{where}: the time is {shown(time)}; it must be a finite number of {_UNITS[format]}")
        if _as_float(time) < 0 or _as_float(time) * unit_ns > 9e18:
            raise ServingError(
                f"{where}: the time is {shown(time)}; it must be from 0 to {9e18 / unit_ns:g} {_UNITS[format]}"
            )
        for what in (prompt, answer):
            if isinstance(what, bool) or not isinstance(what, int) or what < 0:
                raise ServingError(f"{where}: {shown(what)} is no number of tokens; it must be a whole number from 0")
        whole = math.floor(time)  # seconds since 1970 in ns are more than a float64 holds; whole and rest are not
        rows.append((whole * int(unit_ns) + round((time - whole) * unit_ns), prompt, answer, number))
        _few(rows, file)
    return rows


_UNITS = {"vllm": "seconds", "mooncake": "milliseconds"}


def _as_float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _value(entry: dict[str, Any], keys: tuple[str, ...], where: str) -> Any:
    for key in keys:
        if key in entry:
            return entry[key]
    raise ServingError(f"{where} has no {' or '.join(map(repr, keys))}")
