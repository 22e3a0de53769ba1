"""`pimjax tune`: find a better chip by gradient descent, or show where the next mm2 or nJ should go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pimjax.cli.notes import show_notes
from pimjax.cli.options import JsonOption, RequestOption, TraceOption
from pimjax.cli.output import emit_json, shown, stderr, stdout, table

_BAR = 24
_FELT = 5e-5
"""Smallest elasticity that the chart shows: it prints four decimals."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("tune")(tune)


def tune(
    config: Annotated[
        str, typer.Option("--config", help="YAML file, or a shipped run (configs/experiments).")
    ] = "tune_paper_chip",
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Only show d log objective / d log parameter at the base chip.")
    ] = False,
    rows: Annotated[
        int | None,
        typer.Option("--rows", min=1, help="Most rows of the sensitivity chart; default: every number that matters."),
    ] = None,
    trace: TraceOption = None,
    request: RequestOption = 0,
    starts: Annotated[int | None, typer.Option("--starts", min=1, help="Override the number of starts.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Override the seed of the starts.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Folder for the state; an interrupted run goes on.")
    ] = None,
    history: Annotated[Path | None, typer.Option("--history", help="Parquet file: every start and step.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Write the tuned chip as a YAML configuration.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tune a chip under limits by gradient descent; the result is legal hardware, rechecked by the event engine.

    [dim]Examples:[/dim]  pimjax tune --config tune.yaml --output best.yaml   |   pimjax tune --config tune.yaml --sensitivity
    """
    from pimjax.tuning import load_tune_config
    from pimjax.tuning import tune as run
    from pimjax.tuning.problem import base_configs

    options = load_tune_config(config)
    changes = {name: value for name, value in (("starts", starts), ("seed", seed)) if value is not None}
    for note in options.notes:
        stderr.print(f"note: {note}", markup=False, soft_wrap=True)
    options = options.model_copy(update=changes)
    routing = None
    if trace is not None:
        from pimjax.trace import open_traces

        routing = open_traces(trace).request(request)
    moved = [leaf for key, item in options.parameters.items() for leaf in (item.drives or {key: 1.0})]
    show_notes(*base_configs(options), keys=moved)
    if sensitivity:
        _sensitivity(options, routing, rows, as_json)
        return
    result = run(
        options,
        trace=routing,
        checkpoint=checkpoint,
        history=history,
        progress=lambda sentence: stderr.print(f"[dim]{sentence}[/dim]"),
    )
    if output is not None:
        from pimjax.config.template import render_yaml

        partial = output.with_name(output.name + ".partial")
        partial.write_text(render_yaml(result.config.model_copy(update={"name": output.stem})), encoding="utf-8")
        partial.replace(output)
    if as_json:
        emit_json(result.to_dict())
    else:
        _show(result)


def _show(result: Any) -> None:
    rows = [(key, value, result.settings[key]) for key, value in result.base_settings.items()]
    stdout.print(table("Parameters", ("parameter", "base", "tuned"), rows))
    stdout.print()
    rows = [
        (key, value, result.measures[key], value / result.measures[key]) for key, value in result.base_measures.items()
    ]
    stdout.print(table("Measures", ("measure", "base", "tuned", "base / tuned"), rows))
    stdout.print()
    if result.event is not None:
        names = ("latency_ns", "energy_nj", "area_mm2", "gops_per_w_per_mm2")
        rows = [
            (
                n,
                float(getattr(result.event_base, n)) if result.event_base is not None else None,
                float(getattr(result.event, n)),
            )
            for n in names
        ]
        stdout.print(table("Checked by the event engine", ("measure", "base", "tuned"), rows))
    stdout.print(
        f"objective better by a factor of {shown(result.improvement)}; {result.evaluations:,} evaluations "
        f"({result.gradients:,} gradients, each counted as 4)"
    )
    if result.verdict:
        stderr.print(f"infeasible: {result.verdict}; loosen the limit or widen a bound", markup=False, soft_wrap=True)
    elif not result.feasible:
        stderr.print(
            "[yellow]note[/yellow] infeasible: no chip that was found keeps every limit; the closest is shown: loosen a limit or a bound"
        )
    if result.unfinished:
        stderr.print(f"not finished within the budget: {list(result.unfinished)}", markup=False, soft_wrap=True)
    for name, excess in result.event_excess.items():
        stderr.print(f"[yellow]note[/yellow] the event engine finds {name} {excess:.2%} over its limit")


def _sensitivity(options: Any, routing: Any, rows: int | None, as_json: bool) -> None:
    from pimjax.tuning.parameters import leaf_names
    from pimjax.tuning.problem import make_problem
    from pimjax.tuning.sensitivity import sensitivities

    problem = make_problem(options, trace=routing)
    found = sensitivities(problem)
    if as_json:
        emit_json({"objective": options.objective, "sensitivities": [row._asdict() for row in found]})
        return
    felt_rows = [
        row for row in found if max(map(abs, (row.objective, row.latency, row.energy, row.area, row.quality))) >= _FELT
    ]
    shown_rows = felt_rows[:rows]
    largest = max((abs(row.objective) for row in shown_rows), default=0.0) or 1.0
    width = max((len(row.name) for row in shown_rows), default=9)
    stdout.print(
        f"d log objective / d log parameter at {options.base_name}: - improves the objective as the parameter grows, + worsens it"
        "\nlatency, energy, area: their elasticities; per mm2, per nJ: objective per unit that the parameter adds\n",
        soft_wrap=True,
    )
    heads = ("objective", "latency", "energy", "area", "per mm2", "per nJ", "value")
    stdout.print(f"{'parameter':{width}}  {'':{_BAR + 1}}" + "".join(f"{head:>11}" for head in heads), soft_wrap=True)
    for row in shown_rows:
        cells = [f"{value:+11.4f}" for value in (row.objective, row.latency, row.energy, row.area)]
        cells += [
            f"{'-' if value is None else format(value, '+.2e'):>11}"
            for value in (row.objective_per_mm2, row.objective_per_nj)
        ]
        line = f"{row.name:{width}}  {_bar(row.objective / largest)}{''.join(cells)}{shown(row.value):>11}"
        stdout.print(line, markup=False, soft_wrap=True)
    driven = {leaf for key, item in options.parameters.items() for leaf in (item.drives or {key: 1.0})}
    felt = {row.name for row in felt_rows}
    idle = [
        name
        for name in (*options.parameters, *(f"hardware.{leaf}" for leaf in leaf_names(problem.arrays.designs.hardware)))
        if name not in felt
    ]
    idle = [name for name in dict.fromkeys(idle) if name in options.parameters or name not in driven]
    choices = [name for name in idle if name in options.parameters and options.parameters[name].kind == "categorical"]
    stdout.print(f"\nno effect here: {', '.join(n for n in idle if n not in choices)}", soft_wrap=True)
    if choices:
        stdout.print(f"choices, without a derivative: {', '.join(choices)}", soft_wrap=True)


def _bar(share: float) -> str:
    """A bar from the middle: left improves the objective when the parameter grows, right worsens it.

    >>> _bar(-0.5).rstrip()
    '      ######|'
    """
    half = _BAR // 2
    length = min(half, max(1, round(abs(share) * half))) if abs(share) > 1e-9 else 0
    left, right = ("#" * length, "") if share < 0 else ("", "#" * length)
    return f"{left:>{half}}|{right:<{half}}"
