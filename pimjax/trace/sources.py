"""Traces as a user names them: a file, a file of the trace folder, or one of the shipped recordings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pimjax.errors import TraceError
from pimjax.trace.defaults import RECORDED_ROUTERS, default_trace_path, default_traces
from pimjax.trace.files import load_traces
from pimjax.trace.jsonl import read_router_log
from pimjax.trace.routing import RoutingTrace, select_requests

TRACE_FORMATS = (".npz", ".jsonl")


def trace_folder() -> Path:
    """Folder of real models' traces: environment variable ``PIMJAX_TRACES``, default ``../shared/traces``."""
    return Path(os.environ.get("PIMJAX_TRACES", "../shared/traces"))


def find_trace(source: str | os.PathLike[str]) -> Path:
    """The file that a name means: a shipped recording, a path, or a plain file name in the trace folder.

    Raises:
      TraceError: there is no such file, or its ending is not that of a trace.

    >>> find_trace("token_choice").name
    'traces_token_choice.npz'
    """
    if str(source) in RECORDED_ROUTERS:
        return default_trace_path(str(source))
    path = Path(source)
    check_trace_format(path)
    if path.is_file():
        return path
    shelved = in_trace_folder(path)
    if shelved is not None:
        return shelved
    raise TraceError(
        f"{path} is not a file here"
        + (f", nor in the trace folder {trace_folder()} (set by PIMJAX_TRACES)" if len(path.parts) == 1 else "")
        + f": give a path to an .npz or .jsonl trace, or a shipped one ({', '.join(RECORDED_ROUTERS)})"
    )


def in_trace_folder(name: str | os.PathLike[str]) -> Path | None:
    """The file of the trace folder that a plain file name means, if there is one.

    >>> in_trace_folder("folder/of/mine.npz")
    """
    shelved = trace_folder() / name
    return shelved if len(Path(name).parts) == 1 and shelved.is_file() else None


def check_trace_format(path: Path) -> None:
    """Raise TraceError unless the name ends as a trace file does."""
    if path.suffix not in TRACE_FORMATS:
        raise TraceError(
            f"{path} ends in {path.suffix or 'nothing'}: a trace file ends in {' or '.join(TRACE_FORMATS)}"
        )


def open_traces(
    source: str | os.PathLike[str],
    requests: Sequence[int | str] | None = None,
    max_tokens: int | None = None,
    *,
    num_experts: int | None = None,
) -> RoutingTrace:
    """Stacked requests ``[R, ...]`` of whatever :func:`find_trace` finds.

    Args:
      source: a path, a file name of the trace folder, or "token_choice" / "expert_choice".
      requests: which ones, by index or name, in this order; default all.
      max_tokens: keep at most the first `max_tokens` tokens of each request.
      num_experts: ``E``, for a ``.jsonl`` file without header.

    Raises:
      TraceError: as :func:`find_trace`, :func:`~pimjax.trace.load_traces`, :func:`~pimjax.trace.read_router_log`.

    >>> open_traces("expert_choice", [0, 2], 32).choices.shape
    (2, 3, 32, 16)
    """
    if str(source) in RECORDED_ROUTERS:
        return default_traces(str(source), None if requests is None else list(requests), max_tokens)
    path = find_trace(source)
    if path.suffix == ".npz":
        return load_traces(path, requests, max_tokens)
    trace = read_router_log(path, num_experts)
    return (trace if requests is None else select_requests(trace, list(requests))).trim(max_tokens)


__all__ = ["TRACE_FORMATS", "check_trace_format", "find_trace", "in_trace_folder", "open_traces", "trace_folder"]
