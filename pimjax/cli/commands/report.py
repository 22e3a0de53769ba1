"""`pimjax report`: one HTML page about a configuration, a sweep or a tuning run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pimjax.cli.header import show_head
from pimjax.cli.options import (
    JsonOption,
    RequestOption,
    SetOption,
    TraceOption,
    again,
    complete_preset,
    parse_overrides,
)
from pimjax.cli.output import emit_json, next_step, stdout
from pimjax.cli.program_cache import use_compilation_cache
from pimjax.cli.progress import Progress


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_CONFIG",
            help="Preset or YAML file; folder of a sweep; history file of a tuning run, or its folder.",
            autocompletion=complete_preset,
        ),
    ] = "paper_multiplexed",
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("report.html"),
    trace: TraceOption = None,
    request: RequestOption = 0,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="Use only the first tokens.")] = None,
    fidelity: Annotated[Literal["event", "fluid", "closed"], typer.Option(help="Of the headline numbers.")] = "fluid",
    caches: Annotated[bool, typer.Option(help="Also show cost over generated tokens.")] = True,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write one self-contained page that works offline: numbers, breakdowns, schedules, caches, Pareto explorer, tuning path.

    [dim]Examples:[/dim]  pimjax report --out report.html   |   pimjax report results/load_time --out sweep.html
    |   pimjax tune --history tune/history.parquet --json > tune/result.json; pimjax report tune --out tune.html
    """
    from pimjax.report.report import make_report

    use_compilation_cache()
    routing = None
    if trace is not None:
        from pimjax.trace import open_traces

        routing = open_traces(trace, max_tokens=max_tokens).request(request)
    overrides = parse_overrides(settings)
    with Progress(f"report on {source}", key=f"report {source} {fidelity} {caches} {overrides}") as progress:
        path = make_report(
            source,
            out,
            overrides=overrides,
            trace=routing,
            fidelity=fidelity,
            caches=caches,
            progress=progress.say,
        )
    if as_json:
        emit_json({"page": str(path), "bytes": path.stat().st_size})
        return
    _show_head(source, overrides, routing, fidelity, trace, request)
    stdout.print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
    next_step(f"open {again(str(path))} in a browser; it needs no network")


def _show_head(
    source: str, overrides: dict[str, Any], routing: Any, fidelity: str, trace: str | None, request: int
) -> None:
    """What the page is about: the run of a configuration, or a folder of results."""
    if Path(source).is_dir() or source.endswith(".parquet"):
        stdout.heading(source, "results of a sweep or a tuning run")
        return
    from pimjax.config import load_config

    show_head(load_config(source, overrides), fidelity, routing=routing, trace=trace, request=request)
    stdout.print()
