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
    """Recompute the authors' 25 published runs and the paper's four claims, and which assumption carries each.

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
    from pimjax.reproduction.claims import claim_rows

    stdout.print()
    rows = claim_rows(claims)
    columns = ("claim", "published", "authors' method", "multiplexed")
    stdout.print(table("The paper's claims", columns, [row[:4] for row in rows]))
    for name, *_, meaning in rows:
        stdout.print(f"  {name}: {meaning}", style="dim")
    by_name = {claim["name"]: claim for claim in claims}
    area, speed, saving, efficiency = (by_name[name] for name in _ABLATIONS)
    _show_ablation(area)
    low, high = area["range"]["gain"]
    alone = area["range"]["sharing_alone"]
    stdout.print(
        f"{low:.2f}x to {high:.2f}x over these runs and chips; sharing alone {alone[0]:.2f}x to {alone[1]:.2f}x. "
        "Schedule alone: groups of 1, packed; sharing alone: groups of 4, packed, over that.",
    )
    _show_ablation(speed)
    forgotten = speed["terms"]["authors_forgotten_traffic"]
    stdout.print(
        f"The authors' runs leave out {with_unit(forgotten['go_traffic_ns'], 'ns')} of gate-output traffic, "
        f"{forgotten['share_of_kv_go_run']:.1%} of the KV+GO run; counted, their speed-up is "
        f"{forgotten['speedup_if_counted']:.2f}x.",
    )
    _show_ablation(saving)
    _show_ablation(efficiency)
    reading = efficiency["reading_without_area"]
    stdout.print(
        f"The paper's {shown(efficiency['published'])} GOPS/W/mm2 names no area, and no row above is it. One reading that has its "
        f"digits: {reading['tops_per_w']:.2f} TOPS/W, {reading['mflop']:.2f} MFLOP of one expert pass over "
        f"{with_unit(reading['energy_nj'], 'nJ')} at energy factor 0.6, without area. Nothing is claimed by it.",
    )
    if terms:
        for claim in claims:
            stdout.print(f"\n{claim['name']}", style="bold")
            _show_terms(claim["terms"], 1)


#: Claim -> how its ablation is headed, and its columns: heading, key of a line.
_ABLATIONS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "area_efficiency": (
        "what carries area_efficiency (multiplexed chip, event)",
        (("lowest", "lowest"), ("best", "value"), ("schedule alone", "schedule_alone"), ("sharing alone", "sharing_alone")),
    ),
    "generation_speedup": (
        "what carries generation_speedup (from paper_crossbars, closed)",
        (("speed-up", "value"),),
    ),
    "generation_energy_saving": (
        "what carries generation_energy_saving (from paper_crossbars, closed)",
        (("saving", "value"),),
    ),
    "gops_per_w_per_mm2": (
        "what carries gops_per_w_per_mm2 (groups of 4, event)",
        (
            ("chip / chip", "chip_gops_per_w_per_mm2_of_chip"),
            ("experts / experts", "expert_gops_per_w_per_mm2_of_experts"),
            ("chip / experts", "chip_gops_per_w_per_mm2_of_experts"),
        ),
    ),
}  # fmt: skip


def _show_ablation(claim: dict[str, Any]) -> None:
    """One line per assumption: the claim's value with it changed."""
    title, columns = _ABLATIONS[claim["name"]]
    rows = [(line["assumption"], *(line[key] for _, key in columns)) for line in claim["ablation"]]
    stdout.print()
    stdout.print(table(title[:1].upper() + title[1:], ("assumption", *(head for head, _ in columns)), rows))


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
    """Write `lines.csv`, `claims.csv`, `ablations.csv`, `results.json` and, with matplotlib, `claims.png`; each file atomically."""
    import json

    from pimjax.reproduction.claims import claim_rows

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
    for row in claim_rows(results["claims"]):
        writer.writerow(["" if cell is None else cell for cell in row])
    ablations = io.StringIO()
    writer = csv.writer(ablations)
    writer.writerow(["claim", "assumption", "preset", "set", "quantity", "value"])
    for claim in results["claims"]:
        for line in claim["ablation"]:
            told = [line["assumption"], line["preset"], json.dumps(line["set"])]
            numbers = {key: value for key, value in line.items() if isinstance(value, float)}
            writer.writerows([claim["name"], *told, key, value] for key, value in numbers.items())
    texts = {
        "lines.csv": lines.getvalue(),
        "claims.csv": claims.getvalue(),
        "ablations.csv": ablations.getvalue(),
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
