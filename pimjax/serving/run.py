"""`ServingRun`: when every request was scheduled, answered and finished, and what the server did meanwhile. Host."""

from __future__ import annotations

from dataclasses import dataclass

from pimjax.array_typing import HostArray
from pimjax.serving.requests import Requests
from pimjax.serving.server import Server

#: Columns of the log of steps.
LOG_COLUMNS = (
    "start_ns",
    "duration_ns",
    "energy_nj",
    "group",  # the rank, or 0 for all ranks in lockstep
    "decodes",
    "prefill_tokens",
    "running",
    "waiting",
    "kv_blocks",
    "context_tokens",  # cached tokens of all decoding sequences
)


@dataclass(frozen=True)
class ServingRun:
    """One simulated run; `R` requests, `S` steps.

    Attributes:
        requests, server: what was served, and how.
        scheduled_ns: float64 `[R]`, start of the first step that a request took part in.
        first_token_ns, finish_ns: float64 `[R]`, end of the steps that emit its first and its last token.
        preemptions: int64 `[R]`, how often it lost its memory and was computed again.
        energy_nj: float64 `[R]`, its share of the steps' energy, by scheduled tokens.
        rank: int64 `[R]`.
        step_ns: durations of all steps together.
        steps: float64 `[S, len(LOG_COLUMNS)]`, empty where an engine keeps no log.
    """

    requests: Requests
    server: Server
    scheduled_ns: HostArray
    first_token_ns: HostArray
    finish_ns: HostArray
    preemptions: HostArray
    energy_nj: HostArray
    rank: HostArray
    step_ns: float
    steps: HostArray

    def column(self, name: str) -> HostArray:
        """One column of the log of steps, `[S]`."""
        return self.steps[:, LOG_COLUMNS.index(name)]
