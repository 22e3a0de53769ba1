"""`pimjax reproduce`: the paper's published runs and claims, recomputed next to the authors' numbers."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated, Any

import typer

from pimjax.cli.options import JsonOption
from pimjax.cli.output import emit_json, finite, next_step, shown, stderr, stdout, table, with_unit
from pimjax.cli.progress import Progress


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("reproduce")(reproduce)


def reproduce(
    out: Annotated[Path | None, typer.Option("--out", help="Folder for CSV, JSON and figures.")] = None,
    terms: Annotated[bool, typer.Option("--terms", help="Also print every term of the claims.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Recompute the authors' 25 published runs and the paper's four claims.

    [dim]Examples:[/dim]  pimjax reproduce   |   pimjax reproduce --out results   |   pimjax reproduce --json | python -m json.tool
    """
    from pimjax.reproduction import reproduce as run

    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # a folder that cannot be is known before the work
    with Progress("starting", key="reproduce") as progress:
        results = run(progress=progress.say)
    if out is not None:
        for path in write_results(results, out):
            stderr.print(f"wrote {path}")
    if as_json:
        emit_json(results)
        return
    stdout.heading("The authors' runs and the paper's claims, recomputed")
    head = [
        ("chips", "reference (the authors' simulator), multiplexed (the claims' last column)"),
        ("model", "Llama-MoE 4/16: one layer, 16 experts; routing by the authors' options, no trace"),
        ("fidelity", "event: slot by slot; fluid, closed: in closed form"),
    ]
    stdout.print(table(None, ("", ""), head, text=2))
    stdout.print()
    _show_lines(results["lines"])
    _show_claims(results["claims"], terms)
    next_step(
        "pimjax reproduce --terms" if not terms else "pimjax reproduce --out results", "pimjax estimate paper_reference"
    )


def _show_lines(lines: list[dict[str, Any]]) -> None:
    from pimjax.reproduction import summarise

    rows = []
    for line in lines:
        best = line["event"] or line["fluid"]
        deviation = line["deviation"]
        rows.append(
            (
                line["name"],
                with_unit(best["energy_nj"], "nJ"),
                with_unit(best["latency_ns"], "ns"),
                with_unit(line["reference"]["latency_ns"], "ns") if line["reference"] else None,
                _percent(deviation, "event") if line["reference"] else "-",
                _percent(deviation, "fluid"),
                _percent(deviation, "closed"),
            )
        )
    columns = ("run", "energy", "latency", "authors", "event", "fluid", "closed")
    stdout.print(table("The authors' published runs; latency deviation of each fidelity in %", columns, rows))
    summary = summarise(lines)
    worst = ", ".join(f"{name} {value:.2%}" for name, value in summary.worst.items() if name != "event")
    stdout.print(
        f"\n{summary.exact} of {summary.event} runs with a published latency are equal to the last digit (event); "
        f"largest deviation: {worst}.",
    )


def _percent(deviation: dict[str, Any], fidelity: str) -> str:
    if fidelity not in deviation:
        return "-"
    value = deviation[fidelity]["latency_ns"]
    return "exact" if value == 0 else f"{100 * value:+.3f}"


def _show_claims(claims: list[dict[str, Any]], terms: bool) -> None:
    stdout.print()
    rows = [(c["name"], c["published"], c["authors_method"], c["multiplexed"]) for c in claims]
    stdout.print(table("The paper's claims", ("claim", "published", "authors' method", "multiplexed chip"), rows))
    for claim in claims:
        stdout.print(f"  {claim['name']}: {claim['meaning']}", style="dim")
    by_name = {claim["name"]: claim for claim in claims}
    forgotten = by_name["generation_speedup"]["terms"]["authors_forgotten_traffic"]
    stdout.print(
        f"\nThe authors' runs leave out {with_unit(forgotten['go_traffic_ns'], 'ns')} of gate-output traffic, "
        f"{forgotten['share_of_kv_go_run']:.1%} of the KV+GO run; counted, their speed-up is "
        f"{forgotten['speedup_if_counted']:.2f}x.",
    )
    if terms:
        for claim in claims:
            stdout.print(f"\n{claim['name']}", style="bold")
            _show_terms(claim["terms"], 1)


def _show_terms(values: dict[str, Any], depth: int) -> None:
    for name, value in values.items():
        if isinstance(value, dict) and all(not isinstance(item, dict) for item in value.values()):
            inner = ", ".join(f"{key} {shown(item)}" for key, item in value.items())
            stdout.print(f"{'  ' * depth}{name}: {inner}")
        elif isinstance(value, dict):
            stdout.print(f"{'  ' * depth}{name}")
            _show_terms(value, depth + 1)
        else:
            stdout.print(f"{'  ' * depth}{name}: {shown(value)}")


def write_results(results: dict[str, Any], folder: Path) -> list[Path]:
    """Write `lines.csv`, `claims.csv`, `results.json` and, with matplotlib, `claims.png`; each file atomically."""
    import json

    folder.mkdir(parents=True, exist_ok=True)
    lines = io.StringIO()
    writer = csv.writer(lines)
    values = [
        f"{fidelity}_{key}"
        for fidelity in ("event", "fluid", "closed", "reference")
        for key in ("latency_ns", "energy_nj")
    ]
    writer.writerow(["args", "name", *values])
    for line in results["lines"]:
        cells = [(line[v.split("_", 1)[0]] or {}).get(v.split("_", 1)[1], "") for v in values]
        writer.writerow([line["args"], line["name"], *cells])
    claims = io.StringIO()
    writer = csv.writer(claims)
    writer.writerow(["name", "published", "authors_method", "multiplexed", "meaning"])
    for claim in results["claims"]:
        writer.writerow([claim[key] for key in ("name", "published", "authors_method", "multiplexed", "meaning")])
    texts = {
        "lines.csv": lines.getvalue(),
        "claims.csv": claims.getvalue(),
        "results.json": json.dumps(finite(results), indent=1) + "\n",
    }
    written = []
    for name, text in texts.items():
        partial = folder / f"{name}.partial"
        partial.write_text(text, encoding="utf-8")
        written.append(partial.replace(folder / name))
    try:
        from pimjax.report.reproduction_figure import reproduction_figure
    except ImportError:
        stderr.print("no figure: run pip install 'pimjax[report]' to have one")
        return written
    return [*written, reproduction_figure(results, folder / "reproduction.png")]
