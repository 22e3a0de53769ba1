"""The routing traces that come with the package: routers of two small language models that the project trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pimjax.errors import TraceError, shown
from pimjax.resources import data_folder
from pimjax.trace.files import load_traces
from pimjax.trace.routing import RoutingTrace

RecordedRouter = Literal["token_choice", "expert_choice"]
RECORDED_ROUTERS: tuple[RecordedRouter, ...] = ("token_choice", "expert_choice")


def default_trace_path(router: str = "token_choice") -> Path:
    """The shipped ``.npz`` file of one router kind.

    Raises:
      TraceError: no such kind.
    """
    if not isinstance(router, str) or router not in RECORDED_ROUTERS:
        raise TraceError(f"no recorded traces of router {shown(router)}: there are {', '.join(RECORDED_ROUTERS)}")
    return data_folder() / f"traces_{router}.npz"


def default_traces(
    router: str = "token_choice", requests: int | str | Sequence[int | str] | None = None, max_tokens: int | None = None
) -> RoutingTrace:
    """Recorded requests, stacked ``[R, ...]``: 12 requests of 128 to 256 tokens, 3 layers, 16 experts, k = 4.

    Made by ``benchmarks/studies/train_language_models.py`` from held-out help topics of Python; seeds and hashes are in
    ``metadata``. Under "token_choice" only the scores of chosen experts are kept (others 0); "expert_choice" was
    recorded with the causal rule at every position and keeps all scores. Their layers serve models of any depth
    (`allow` says so): MoE layer i uses layer i modulo 3.

    Args:
      router: "token_choice" or "expert_choice".
      requests, max_tokens: as in :func:`~pimjax.trace.load_traces`.

    >>> default_traces("expert_choice").choices.shape
    (12, 3, 256, 16)
    """
    recorded = load_traces(default_trace_path(router), requests, max_tokens)
    return dataclasses.replace(recorded, allow=("repeat_layers",))


def default_trace(router: str = "token_choice") -> RoutingTrace:
    """The first recorded request of a router kind, not stacked: the input where a user names none.

    >>> default_trace().choices.shape
    (3, 128, 16)
    """
    return default_traces(router, 0).request(0).trim()
