"""`pimjax sweep`: axes x traces from a YAML file, on all devices, resumable."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from pimjax.cli.devices import use_a_device_per_core
from pimjax.cli.header import head_rows
from pimjax.cli.notes import show_notes
from pimjax.cli.options import JsonOption, SetOption, again, parse_overrides
from pimjax.cli.output import emit_json, next_step, shown, stderr, stdout, stdout_to_stderr, table
from pimjax.cli.program_cache import use_compilation_cache

_NOTED = 256  # variants that are looked at for settings without effect
_JSON_ROWS = 1000
"""Most selected rows in the JSON document; the selection's file has all."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sweep")(sweep)


def sweep(
    config: Annotated[Path, typer.Option("--config", "-c", help="The sweep (YAML): base, axes, traces, selection.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the results; resumes there.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count points, configurations and chunks.")] = False,
    coordinator: Annotated[
        str | None, typer.Option(help="HOST:PORT of process 0, to share the work among processes.")
    ] = None,
    num_processes: Annotated[int | None, typer.Option(min=1, help="Processes that share the work.")] = None,
    process_id: Annotated[int | None, typer.Option(min=0, help="Number of this process, from 0.")] = None,
    tile_points: Annotated[
        int | None, typer.Option(min=1, help="Points at once on one device; default: by device and memory.")
    ] = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sweep hardware, model and plan over routing traces; rerun the same command to go on after a stop.

    [dim]Examples:[/dim]  pimjax sweep --config configs/experiments/sweep_load_time.yaml --output results
    |   pimjax sweep -c sweep.yaml -o results --coordinator host0:1234 --num-processes 2 --process-id 0
    """
    from pimjax.batch.points import space_of
    from pimjax.batch.selected import selected_lines
    from pimjax.batch.sweep_config import load_sweep

    loaded = load_sweep(config, parse_overrides(settings))
    space = space_of(loaded)
    show_notes(*space.variants[:_NOTED], keys=space.fields)
    if dry_run:
        from pimjax.batch.sweep import plan_of

        plan = plan_of(loaded)
        if as_json:
            emit_json(plan)
        else:
            _show_head(loaded)
            stdout.print(table("Plan", ("", ""), [(k, _cell(v)) for k, v in plan.items() if k != "name"], text=2))
            next_step(f"pimjax sweep --config {again(str(config), settings=settings)} --output results")
        return
    use_a_device_per_core()
    use_compilation_cache()
    from pimjax.batch.distributed import LostProcessError, join

    processes = join(coordinator, num_processes, process_id)
    from pimjax.batch.sweep import run_sweep

    try:
        with stdout_to_stderr() if num_processes else contextlib.nullcontext():
            outcome = run_sweep(loaded, output, processes=processes, tile_points=tile_points)
    except LostProcessError as error:
        # the runtime would wait for the lost process at exit: leave without it
        stderr.note(str(error), "error:", "bold red")
        _leave(3)
    if outcome.repaired:
        more = f", and {len(outcome.repaired) - 3} more" if len(outcome.repaired) > 3 else ""
        stderr.note(f"{'; '.join(outcome.repaired[:3])}{more}", "computed again:")
    for sentence in outcome.skipped:
        stderr.note(sentence, "skipped")
    facts = {
        "folder": str(outcome.folder),
        "points": outcome.points,
        "computed": outcome.computed,
        "resumed": outcome.resumed,
        "complete": outcome.complete,
        "points_per_s": outcome.rate,
        "compiles": outcome.timings.compiles,
        "compile_s": outcome.timings.compile_s,
        "schedules_s": outcome.schedules_s,
        "writing_s": outcome.writing_s,
        "memory_halvings": outcome.timings.halvings,
        "skipped_traces": outcome.skipped,
        "repaired": outcome.repaired,
        "selection": outcome.selection,
    }
    chosen, file = outcome.selected, outcome.selected_file
    if as_json:
        first = {name: column[:_JSON_ROWS] for name, column in (chosen or {}).items()}
        emit_json(facts | {"selected": first, "selected_file": str(file) if file else None})
    else:
        rows = [
            ("folder", str(outcome.folder)),
            ("points", f"{outcome.points:,}: {outcome.computed:,} computed now, {outcome.resumed:,} from before"),
            ("speed", f"{shown(outcome.rate)} points/s, without compiling"),
            ("compiling", f"{outcome.timings.compiles} programs in {outcome.timings.compile_s:.1f} s"),
            ("complete", shown(outcome.complete)),
        ]
        if outcome.timings.halvings:
            rows.append(("memory", f"tiles were halved {outcome.timings.halvings} times: fewer points at once"))
        _show_head(loaded)
        stdout.print(table("Run", ("", ""), rows, text=2))
        stdout.print()
        if chosen is not None:
            goals = [name.removeprefix("-") for name in loaded.select.pareto] + [
                top.metric for top in loaded.select.top
            ]
            for line in selected_lines(chosen, goals, str(file)):
                stdout.print(line, soft_wrap=True)
        if outcome.complete:
            next_step(f"pimjax report {again(str(outcome.folder))} --out sweep.html")
    if outcome.interrupted:
        stderr.print(f"stopped; run the same command again to go on (results so far: {outcome.folder})", soft_wrap=True)
        _leave(130) if processes.count > 1 else _exit(130)
    if not outcome.complete and processes.count == 1:
        stderr.print("not complete: run the same command again", soft_wrap=True)
        _exit(3)


def _show_head(sweep: Any) -> None:
    """The base configuration's run, and what varies."""
    from pimjax.batch.sweep_config import base_config
    from pimjax.cli.header import resolved
    from pimjax.errors import TraceError

    base, tokens = base_config(sweep), []
    digest = base.digest()
    with contextlib.suppress(TraceError):  # the sweep's own traces may be the only ones that fit
        base, tokens = resolved(base)
    stdout.heading(sweep.name, f"around {base.name}, {digest}")
    rows = dict(head_rows(base, sweep.fidelity, tokens=tokens))
    if sweep.traces is not None and "routing" in rows:
        rows["routing"] = _traces(sweep.traces)
    rows["axes"] = ", ".join(dict.fromkeys(_fields(sweep.axes))) or "-"
    stdout.print(table(None, ("", ""), rows.items(), text=2))
    stdout.print()


def _fields(axes: Any) -> list[str]:
    return [
        name for axis in axes for name in ([axis.field] if axis.field else [*(axis.zip or ()), *(axis.ranges or ())])
    ]


def _traces(traces: Any) -> str:
    which = "every request" if traces.requests is None else f"requests {', '.join(map(str, traces.requests))}"
    cut = f", first {traces.max_tokens:,} tokens" if traces.max_tokens else ""
    return f"{', '.join(Path(file).name for file in traces.files)}, {which}{cut}"


def _cell(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {shown(item)}" for name, item in value.items()) or "-"
    return value if isinstance(value, str) else shown(value)


def _exit(code: int) -> None:
    raise typer.Exit(code)


def _leave(code: int) -> NoReturn:
    """End at once, without the distributed runtime's farewell to processes that are gone."""
    import os
    import sys

    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
