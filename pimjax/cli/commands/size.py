"""`pimjax size`: a balanced chip for a model within a budget."""

from __future__ import annotations

import datetime
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pimjax.cli.header import show_head
from pimjax.cli.metrics import metric_name, metric_value, ratio
from pimjax.cli.options import (
    JsonOption,
    RequestOption,
    SetOption,
    TraceOption,
    again,
    complete_preset,
    parse_overrides,
)
from pimjax.cli.output import emit_json, next_step, stderr, stdout, table
from pimjax.cli.program_cache import use_compilation_cache
from pimjax.cli.progress import Progress

_MEASURES = ("latency_ns", "tokens_per_s", "energy_per_token_nj", "area_mm2", "dies", "power_w")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("size")(size)


def size(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG", help="Preset, YAML file or a model's config.json.", autocompletion=complete_preset
        ),
    ],
    within: Annotated[
        list[str] | None,
        typer.Option("--within", metavar="BUDGET", help="For example 200000mm2, 500W or 90dies; may be repeated."),
    ] = None,
    goal: Annotated[
        Literal["balance", "latency", "energy", "edp", "edap"],
        typer.Option(help="What is made small; balance: latency x area."),
    ] = "balance",
    trace: TraceOption = None,
    request: RequestOption = 0,
    settings: SetOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the sized chip as YAML.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Size a chip for a model: as many units of each kind as pay within a budget, the best of every combination.

    [dim]Examples:[/dim]  pimjax size gpt_oss_20b --within 120dies --output chip.yaml   |   pimjax size config.json
    --within 300W --goal latency
    """
    from pimjax.tuning.sizing import size as run

    use_compilation_cache()
    routing = None
    if trace is not None:
        from pimjax.trace import open_traces

        routing = open_traces(trace).request(request)
    overrides = parse_overrides(settings)
    with Progress("compiling the costs of all chips", key=f"size {config}", keep=True) as progress:
        result = run(config, within or [], goal=goal, settings=overrides, trace=routing, progress=progress.say)
    budgets = " ".join(f"--within {shlex.quote(one)}" for one in within or ())
    command = " ".join(part for part in ("pimjax size", again(config, trace=trace, settings=settings), budgets) if part)
    command += "" if goal == "balance" else f" --goal {goal}"
    if output is not None:
        _write(output, result.config, command)
    if as_json:
        emit_json({"config": result.config.name, "command": command, **result.to_dict()})
        return
    show_head(result.config, "fluid", routing=routing, trace=trace, request=request)
    stdout.print()
    _show(result, within or [], goal)
    if output is not None:
        next_step(f"pimjax estimate {again(str(output))} --explain")
    else:
        next_step(f"{command} --output chip.yaml")


def _write(output: Path, config: Any, command: str) -> None:
    """YAML with the command and the date that made it, at once or not at all."""
    from pimjax.config.template import render_yaml

    made = f"# Sized on {datetime.date.today().isoformat()} by: {command}\n"
    partial = output.with_name(output.name + ".partial")
    partial.write_text(made + render_yaml(config.model_copy(update={"name": output.stem})), encoding="utf-8")
    partial.replace(output)


def _show(result: Any, within: list[str], goal: str) -> None:
    rows = [(key, result.base_settings[key], value) for key, value in result.settings.items()]
    stdout.print(
        table(
            f"Best of {result.chips:,} chips by the closed form, {result.refined:,} by fluid ({goal})",
            ("", "given", "sized"),
            rows,
        )
    )
    before, after = (_measures(one.to_dict()) for one in (result.base, result.estimate))
    rows = [
        (
            metric_name(key),
            metric_value(key, before[key]),
            metric_value(key, after[key]),
            ratio(after[key], before[key]),
        )
        for key in _MEASURES
    ]
    stdout.print()
    stdout.print(table("Measures", ("", "given", "sized", "sized / given"), rows))
    was = {part.family: part for part in result.base_parts}
    rows = [
        (
            part.family,
            f"{part.area_share:.2%}",
            f"{part.latency_share:.1%}",
            f"{was[part.family].latency_share:.1%}" if part.family in was else "-",
        )
        for part in result.parts
        if max(part.area_share, part.latency_share) >= 0.0005
    ]
    stdout.print()
    stdout.print(table("What bounds it", ("", "of the area", "of the latency", "given"), rows))
    if not result.feasible:
        stderr.note(f"{result.verdict}; the closest chip is shown", "infeasible:")
    elif not result.is_balanced:
        short = next(part for part in result.parts if part.is_short)
        stderr.note(
            f"{short.family}: {short.area_share:.2%} of the area bound {short.latency_share:.1%} of the latency, at the last "
            "level that the chip lists or that the budget allows"
        )


def _measures(out: dict[str, Any]) -> dict[str, Any]:
    """Metrics of an estimate, and the energy of a token."""
    return {**out, "energy_per_token_nj": out["power_w"] / out["tokens_per_s"] * 1e9}
