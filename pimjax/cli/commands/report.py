"""`pimjax report`: one HTML page about a configuration, a sweep or a tuning run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pimjax.cli.options import JsonOption, RequestOption, SetOption, TraceOption, complete_preset, parse_overrides
from pimjax.cli.output import emit_json, stderr, stdout
from pimjax.cli.program_cache import use_compilation_cache


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
    path = make_report(
        source,
        out,
        overrides=parse_overrides(settings),
        trace=routing,
        fidelity=fidelity,
        caches=caches,
        progress=lambda sentence: stderr.print(f"[dim]{sentence}[/dim]"),
    )
    if as_json:
        emit_json({"page": str(path), "bytes": path.stat().st_size})
    else:
        stdout.print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)", markup=False, soft_wrap=True)
