"""The first lines of every command: what ran."""

from __future__ import annotations

from pimjax.cli.output import stdout
from pimjax.config.config import Config


def show_run(config: Config, fidelity: str, *, trace: str | None = None, request: int = 0) -> list[tuple[str, str]]:
    """Print name, chip and fidelity; return rows of the run, the model, the plan and the routing for the first table."""
    from pimjax.estimation.describe import what_ran

    stdout.print(config.name, markup=False, style="bold", end="")
    stdout.print(f"  {config.chip_model} chip, {fidelity}, {config.digest()}", markup=False, style="dim")
    return list(what_ran(config, trace=trace, request=request).items())
