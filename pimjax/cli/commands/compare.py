"""`pimjax compare A B`: what differs between two chips, key by key and component by component."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from pimjax.cli.header import head_rows, resolved
from pimjax.cli.metrics import LEANS, component_names, metric_name, metric_value, ratio
from pimjax.cli.notes import show_notes
from pimjax.cli.options import JsonOption, SetOption, again, parse_overrides
from pimjax.cli.output import emit_json, next_step, stderr, stdout, table, with_unit
from pimjax.cli.progress import Progress
from pimjax.errors import brief


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare)


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="YAML file or preset.")],
    second: Annotated[str, typer.Argument(metavar="B", help="YAML file or preset.")],
    fidelity: Annotated[
        Literal["event", "fluid", "closed"], typer.Option(help="How exactly to estimate both.")
    ] = "fluid",
    same_run: Annotated[
        bool, typer.Option("--same-run", help="B takes the model and the requests of A: two chips, one run.")
    ] = False,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the differences of two configurations and of what they cost, by component.

    [dim]Examples:[/dim]  pimjax compare paper_multiplexed paper_chip
    |   pimjax compare paper_multiplexed h100 --same-run --fidelity closed
    """
    from pimjax.config import load_config
    from pimjax.config.config import SECTIONS
    from pimjax.estimation import estimate

    overrides = parse_overrides(settings)
    configs = [load_config(name, overrides) for name in (first, second)]
    if same_run:
        from pimjax.estimation.beside import same_run as taken_over

        configs[1] = taken_over(configs[0], configs[1])
    show_notes(*configs)
    results = []
    with Progress("estimating", key=f"compare {first} {second} {fidelity}") as progress:
        for index, config in enumerate(configs):
            progress.hear(f"estimating {config.name}, {fidelity}", index / 2)
            results.append(estimate(config, fidelity=fidelity).to_dict())
    keys = [("chip_model", *(config.chip_model for config in configs))]
    for section in SECTIONS:
        keys += _differences(section, *(getattr(config, section).model_dump(mode="json") for config in configs))
    keys = [row for row in keys if row[1] != row[2]]
    alone = {key for key, *_ in keys if not all(_has(config, key) for config in configs)}
    scalars = {name: [result[name] for result in results] for name in results[0] if _is_number(results[0][name])}
    parts = {
        group: {
            name: [result[group].get(name, 0.0) for result in results]  # chips have components of their own
            for name in dict.fromkeys(name for result in results for name in result[group])
            if any(result[group].get(name) for result in results)
        }
        for group in ("critical_ns", "component_energy_nj", "component_area_mm2")
    }
    alike = _alike(scalars)
    if as_json:
        found = {"configuration": {key: [a, b] for key, a, b in keys}, "results": scalars, "components": parts}
        emit_json({**found, "throughput_b_over_a": alike})
        return
    names = ("A", "B")
    heads = [
        {"name": c.name, "digest": c.digest(), **dict(head_rows(ran, fidelity, tokens=tokens))}
        for c, (ran, tokens) in zip(configs, map(resolved, configs), strict=True)
    ]
    rows = [(key, *(head.get(key, "-") for head in heads)) for key in dict.fromkeys([*heads[0], *heads[1]])]
    stdout.print(table(None, ("", *names), rows, text=3))
    stdout.print()
    rows = [(key, _plain(a), _plain(b)) for key, a, b in keys if key not in alone]
    stdout.print(table("Configuration: keys that differ", ("key", *names), rows, text=3))
    if alone:
        stdout.print(f"and {len(alone)} keys that only one of the chips has (--json lists them)", style="dim")
    stdout.print()
    head = ("", *names, "B / A")
    metrics = [
        (metric_name(name), *(metric_value(name, value) for value in values), ratio(values[1], values[0]))
        for name, values in scalars.items()
        if name != "status" and not (name == "expert_hit_rate" and values == [1, 1])
    ]
    stdout.print(table("Results", head, metrics))
    if alike:
        stdout.print()
        stdout.print(table("Throughput, B / A, made alike in three ways", tuple(alike), [tuple(f"{value:.4g}" for value in alike.values())], text=0))  # fmt: skip
        one_model = configs[0].model == configs[1].model and configs[0].workload.trace == configs[1].workload.trace
        other = "" if one_model else " The two have different models or requests: --same-run gives B those of A."
        stdout.print(f"{LEANS}.{other}", style="dim")
    plain = component_names()
    titles = {"critical_ns": ("Latency by component", "ns"), "component_energy_nj": ("Energy by component", "nJ"),
              "component_area_mm2": ("Area by component", "mm2")}  # fmt: skip
    for group, found in parts.items():
        title, unit = titles[group]
        stdout.print()
        largest = sorted(found.items(), key=lambda item: -max(map(float, item[1])))
        lines = [
            (plain.get(n, n), *(with_unit(v, unit) for v in values), ratio(values[1], values[0]))
            for n, values in largest
        ]
        stdout.print(table(title, head, lines))
    for index, result in enumerate(results):
        for sentence in result["status_text"]:
            stderr.note(f"{names[index]}: {sentence}")
    next_step(f"pimjax estimate {again(second, settings=settings)} --explain")


def _alike(scalars: dict[str, list[Any]]) -> dict[str, float]:
    """Throughput of B over A: as they are, per area, per watt; empty where a chip has no area or energy."""
    speed, area, watts = (scalars.get(name) for name in ("pipeline_tokens_per_s", "area_mm2", "power_w"))
    if not speed or not area or not watts or min(*speed, *area, *watts) <= 0:
        return {}
    ratio_ = speed[1] / speed[0]
    return {
        "equal model": ratio_,
        "equal area": ratio_ * area[0] / area[1],
        "equal power": ratio_ * watts[0] / watts[1],
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _has(config: Any, key: str) -> bool:
    for part in key.split("."):
        if not hasattr(config, part):
            return False
        config = getattr(config, part)
    return True


def _plain(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.9g}" if isinstance(value, float) else brief(value)


def _differences(prefix: str, first: Any, second: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(first, dict) and isinstance(second, dict):
        return [row for key in first for row in _differences(f"{prefix}.{key}", first[key], second.get(key))]
    return [(prefix, first, second)] if first != second else []
