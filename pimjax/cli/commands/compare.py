"""`pimjax compare A B`: what differs between two chips, key by key and component by component."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from pimjax.cli.notes import show_notes
from pimjax.cli.options import JsonOption, SetOption, parse_overrides
from pimjax.cli.output import emit_json, shown, stdout, table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare)


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="YAML file or preset.")],
    second: Annotated[str, typer.Argument(metavar="B", help="YAML file or preset.")],
    fidelity: Annotated[
        Literal["event", "fluid", "closed"], typer.Option(help="How exactly to estimate both.")
    ] = "fluid",
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the differences of two configurations and of what they cost, by component.

    [dim]Example:[/dim]  pimjax compare paper_multiplexed paper_chip
    """
    from pimjax.config import load_config
    from pimjax.config.config import SECTIONS
    from pimjax.estimation import estimate

    overrides = parse_overrides(settings)
    configs = [load_config(name, overrides) for name in (first, second)]
    show_notes(*configs)
    results = [estimate(config, fidelity=fidelity).to_dict() for config in configs]
    keys = [("chip_model", *(config.chip_model for config in configs))]
    for section in SECTIONS:
        keys += _differences(section, *(getattr(config, section).model_dump(mode="json") for config in configs))
    keys = [row for row in keys if row[1] != row[2]]
    scalars = {name: [result[name] for result in results] for name in results[0] if _is_number(results[0][name])}
    parts = {
        group: {
            name: [result[group][name] for result in results]
            for name in results[0][group]
            if any(result[group][name] for result in results)
        }
        for group in ("critical_ns", "component_energy_nj", "component_area_mm2")
    }
    if as_json:
        emit_json({"configuration": {key: [a, b] for key, a, b in keys}, "results": scalars, "components": parts})
        return
    names = (f"A: {configs[0].name}", f"B: {configs[1].name}")
    stdout.print(table("Configuration", ("key", *names), ((k, str(a), str(b)) for k, a, b in keys), text=3))
    stdout.print()
    metrics = [(name, *values, _ratio(*values)) for name, values in scalars.items() if name != "status"]
    stdout.print(table(f"Estimate ({fidelity})", ("metric", *names, "B / A"), metrics))
    titles = {"critical_ns": "Latency by component [ns]", "component_energy_nj": "Energy by component [nJ]",
              "component_area_mm2": "Area by component [mm2]"}  # fmt: skip
    for group, rows in parts.items():
        stdout.print()
        stdout.print(
            table(
                titles[group],
                ("component", *names, "B / A"),
                ((name, *values, _ratio(*values)) for name, values in rows.items()),
            )
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _ratio(first: float | None, second: float | None) -> str:
    return shown(second / first) if first and second is not None else "-"


def _differences(prefix: str, first: Any, second: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(first, dict) and isinstance(second, dict):
        return [row for key in first for row in _differences(f"{prefix}.{key}", first[key], second.get(key))]
    return [(prefix, first, second)] if first != second else []
