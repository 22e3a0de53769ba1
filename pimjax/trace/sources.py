"""Traces as a user names them: a file, a file of the trace folder, or one of the shipped recordings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pimjax.errors import TraceError, shown
from pimjax.trace.belonging import fit_trace
from pimjax.trace.checks import check_path
from pimjax.trace.defaults import RECORDED_ROUTERS, default_trace_path, default_traces
from pimjax.trace.files import load_traces
from pimjax.trace.logs.containers import LOG_FORMATS
from pimjax.trace.logs.model import model_section
from pimjax.trace.routing import RoutingTrace

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
    if isinstance(source, str) and source in RECORDED_ROUTERS:
        return default_trace_path(source)
    path = check_path(source, "an .npz or .jsonl trace")
    check_trace_format(path, LOG_FORMATS)
    if path.is_file():
        return path
    shelved = in_trace_folder(path)
    if shelved is not None:
        return shelved
    raise TraceError(
        f"{shown(path)} is not a file here"
        + (f", nor in the trace folder {trace_folder()} (set by PIMJAX_TRACES)" if len(path.parts) == 1 else "")
        + f": give a path to an .npz or .jsonl trace, or a shipped one ({', '.join(RECORDED_ROUTERS)})"
    )


def in_trace_folder(name: str | os.PathLike[str]) -> Path | None:
    """The file of the trace folder that a plain file name means, if there is one.

    >>> in_trace_folder("folder/of/mine.npz")
    """
    shelved = trace_folder() / check_path(name, "a trace")
    return shelved if len(Path(name).parts) == 1 and shelved.is_file() else None


def check_trace_format(path: Path, formats: Sequence[str] = TRACE_FORMATS) -> None:
    """Raise TraceError unless the name ends as a trace file does; pimjax writes two formats and reads more."""
    if path.suffix not in formats:
        ending = shown(path.suffix)[1:-1] or "nothing"
        raise TraceError(
            f"{shown(path)} ends in {ending}: a trace file ends in {', '.join(formats[:-1])} or {formats[-1]}"
        )


def open_traces(
    source: str | os.PathLike[str],
    requests: Sequence[int | str] | None = None,
    max_tokens: int | None = None,
    *,
    num_experts: int | None = None,
    **reading: Any,
) -> RoutingTrace:
    """Stacked requests ``[R, ...]`` of whatever :func:`find_trace` finds.

    Args:
      source: a path, a file name of the trace folder, or "token_choice" / "expert_choice".
      requests: which ones, by index or name, in this order; default all.
      max_tokens: keep at most the first `max_tokens` tokens of each request.
      num_experts: ``E``, for a ``.jsonl`` file without header.
      reading: `format`, `model` and other options of :func:`~pimjax.trace.load_traces`, for logs of other programs.

    Raises:
      TraceError: as :func:`find_trace` and :func:`~pimjax.trace.load_traces`.

    >>> open_traces("expert_choice", [0, 2], 32).choices.shape
    (2, 3, 32, 16)
    """
    if isinstance(source, str) and source in RECORDED_ROUTERS:
        model, allow = reading.get("model"), reading.get("allow", ())
        recorded = default_traces(source, requests, max_tokens)
        return recorded if model is None else fit_trace(recorded, model_section(model), allow=allow)
    path = find_trace(source)
    return load_traces(path, requests, max_tokens, num_experts=num_experts, **reading)


__all__ = ["TRACE_FORMATS", "check_trace_format", "find_trace", "in_trace_folder", "open_traces", "trace_folder"]
