"""`pimjax tune`: find a better chip by gradient descent, or show where the next mm2 or nJ should go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pimjax.cli.header import head_rows, resolved
from pimjax.cli.metrics import metric_name, metric_value, ratio
from pimjax.cli.notes import show_notes
from pimjax.cli.options import JsonOption, RequestOption, TraceOption, again
from pimjax.cli.output import emit_json, next_step, shown, stderr, stdout, table
from pimjax.cli.progress import Progress

_BAR = 14
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
        stderr.note(note)
    options = options.model_copy(update=changes)
    routing = None
    if trace is not None:
        from pimjax.trace import open_traces

        routing = open_traces(trace).request(request)
    moved = [leaf for key, item in options.parameters.items() for leaf in (item.drives or {key: 1.0})]
    show_notes(*base_configs(options), keys=moved)
    if sensitivity:
        _sensitivity(options, config, routing, rows, as_json)
        return
    kind = f"tune {options.base_name} {options.starts} {options.optimiser.steps} {sorted(options.parameters)}"
    with Progress("compiling the costs of all starts", key=kind, keep=True) as progress:
        result = run(options, trace=routing, checkpoint=checkpoint, history=history, progress=progress.say)
    if output is not None:
        from pimjax.config.template import render_yaml

        partial = output.with_name(output.name + ".partial")
        partial.write_text(render_yaml(result.config.model_copy(update={"name": output.stem})), encoding="utf-8")
        partial.replace(output)
    if as_json:
        emit_json(result.to_dict())
        return
    _show_problem(options, config, trace, request, routing)
    _show(result)
    if output is not None:
        next_step(f"pimjax estimate {again(str(output))} --explain")
    else:
        next_step(f"pimjax tune --config {again(config)} --output best.yaml")


def _show_problem(options: Any, config: str, trace: str | None, request: int, routing: Any) -> None:
    """What is tuned, on which run, towards what."""
    from pimjax.tuning.problem import base_configs

    ran, tokens = resolved(base_configs(options)[0], routing)
    stdout.heading(config, f"around {ran.name}")
    rows = head_rows(ran, f"{options.fidelity}, rechecked by event", trace=trace, request=request, tokens=tokens)
    limits = ", ".join(map(_limit, options.limits))
    rows += [("minimise", _goal(options)), *([("limits", limits)] if limits else [])]
    stdout.print(table(None, ("", ""), rows, text=2))
    stdout.print()


def _goal(options: Any) -> str:
    powers = options.objective.items()
    return " x ".join(f"{metric_name(name)}{'' if power == 1 else f' ^ {power:g}'}" for name, power in powers)


def _limit(limit: Any) -> str:
    sign, bound = ("<=", limit.at_most) if limit.at_most is not None else (">=", limit.at_least)
    value = f"{shown(bound)} x the base's" if limit.of_base else metric_value(limit.measure, bound)
    return f"{metric_name(limit.measure)} {sign} {value}"


def _show(result: Any) -> None:
    rows = [(key, value, result.settings[key]) for key, value in result.base_settings.items()]
    stdout.print(table("Parameters", ("", "base", "tuned"), rows))
    stdout.print()
    heads = ("", "base", "tuned", "tuned / base")
    rows = [_row(key, value, result.measures[key]) for key, value in result.base_measures.items()]
    stdout.print(table("Measures, as tuned", heads, rows))
    if result.event is not None:
        names = ("latency_ns", "energy_nj", "area_mm2", "gops_per_w_per_mm2")
        base = {name: None if result.event_base is None else float(getattr(result.event_base, name)) for name in names}
        rows = [_row(name, base[name], float(getattr(result.event, name))) for name in names]
        stdout.print()
        stdout.print(table("Measures, by the event engine", heads, rows))
    stdout.print(
        f"\nobjective, tuned / base: {shown(1 / result.improvement) if result.improvement else '-'}; "
        f"{result.evaluations:,} evaluations ({result.gradients:,} gradients, each counted as 4)"
    )
    if result.verdict:
        stderr.note(f"{result.verdict}; loosen the limit or widen a bound", "infeasible:")
    elif not result.feasible:
        stderr.note(
            "infeasible: no chip that was found keeps every limit; the closest is shown: loosen a limit or a bound"
        )
    if result.unfinished:
        stderr.note(f"not finished within the budget: {list(result.unfinished)}")
    for name, excess in result.event_excess.items():
        stderr.note(f"the event engine finds {metric_name(name)} {excess:.2%} over its limit")


def _row(key: str, base: float | None, new: float) -> tuple[str, str, str, str]:
    return metric_name(key), metric_value(key, base), metric_value(key, new), ratio(new, base)


def _sensitivity(options: Any, config: str, routing: Any, rows: int | None, as_json: bool) -> None:
    from pimjax.tuning.parameters import leaf_names
    from pimjax.tuning.problem import base_configs, make_problem
    from pimjax.tuning.sensitivity import sensitivities

    with Progress("gradients of the base chip", key=f"sensitivity {options.base_name}"):
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
    ran, tokens = resolved(base_configs(options)[0], routing)
    stdout.heading(config, f"sensitivities at {options.base_name}")
    head = [*head_rows(ran, options.fidelity, tokens=tokens), ("objective", _goal(options))]
    stdout.print(table(None, ("", ""), head, text=2))
    stdout.print("\nd log / d log parameter: - makes it smaller as the parameter grows, + larger\n", style="dim")
    bars = [(row.name, _bar(row.objective / largest), f"{row.objective:+.4f}", shown(row.value)) for row in shown_rows]
    stdout.print(table("Objective", ("parameter", "", "objective", "value"), bars, text=2))
    stdout.print()
    rest = [(row.name, *(f"{value:+.4f}" for value in (row.latency, row.energy, row.area))) for row in shown_rows]
    stdout.print(table("What it consists of", ("parameter", "latency", "energy", "area"), rest))
    stdout.print()
    gains = [
        (row.name, *("-" if v is None else f"{v:+.2e}" for v in (row.objective_per_mm2, row.objective_per_nj)))
        for row in shown_rows
        if row.objective_per_mm2 is not None or row.objective_per_nj is not None
    ]
    heads = ("parameter", "per mm2", "per nJ")
    stdout.print(table("Objective per unit that the parameter adds", heads, gains))
    driven = {leaf for key, item in options.parameters.items() for leaf in (item.drives or {key: 1.0})}
    felt = {row.name for row in felt_rows}
    idle = [
        name
        for name in (*options.parameters, *(f"hardware.{leaf}" for leaf in leaf_names(problem.arrays.designs.hardware)))
        if name not in felt
    ]
    idle = [name for name in dict.fromkeys(idle) if name in options.parameters or name not in driven]
    choices = [name for name in idle if name in options.parameters and options.parameters[name].kind == "categorical"]
    stdout.print(f"\nno effect here: {', '.join(n for n in idle if n not in choices)}")
    if choices:
        stdout.print(f"choices, without a derivative: {', '.join(choices)}")
    next_step(f"pimjax tune --config {again(config)} --output best.yaml")


def _bar(share: float) -> str:
    """A bar from the middle: left improves the objective when the parameter grows, right worsens it.

    >>> _bar(-0.5).rstrip()
    '   ####|'
    """
    half = _BAR // 2
    length = min(half, max(1, round(abs(share) * half))) if abs(share) > 1e-9 else 0
    left, right = ("#" * length, "") if share < 0 else ("", "#" * length)
    return f"{left:>{half}}|{right:<{half}}"
