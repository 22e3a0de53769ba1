"""The first lines of every command: what ran."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pimjax.cli.output import stdout, table
from pimjax.config.config import Config


def head_rows(
    config: Config, fidelity: str, *, trace: str | None = None, request: int = 0, tokens: Sequence[int] = ()
) -> list[tuple[str, str]]:
    """Rows of the chip, the run, the model, the plan and the routing, for a table.

    Args:
        config: with its prompt length filled in.
        fidelity: how it was estimated.
        trace: what the user named as the routing.
        request: which request of the trace.
        tokens: of the requests that ran.
    """
    from pimjax.estimation.describe import what_ran

    chip = f"{config.chip_model}, fidelity {fidelity}" if fidelity else config.chip_model
    return [("chip", chip), *what_ran(config, trace=trace, request=request, tokens=tokens).items()]


def resolved(config: Config, trace: Any = None) -> tuple[Config, list[int]]:
    """The configuration with its prompt length filled in, and the tokens of the requests it runs."""
    from pimjax.chips import CHIPS
    from pimjax.runs.requests import resolve

    if not CHIPS[config.chip_model].takes_routing or not config.model.num_experts:
        return config, []
    ran, requests = resolve(config, trace)
    return ran, requests.num_tokens.tolist()


def show_head(
    config: Config, fidelity: str, *, routing: Any = None, trace: str | None = None, request: int = 0
) -> None:
    """Print name, digest and what ran: a configuration on a given routing (None: what its workload describes)."""
    ran, tokens = resolved(config, routing)
    stdout.heading(config.name, config.digest())
    rows = head_rows(ran, fidelity, trace=trace, request=request, tokens=tokens)
    stdout.print(table(None, ("", ""), rows, text=2))
