"""`pimjax validate`: is this configuration acceptable, and what does it amount to?"""

from __future__ import annotations

import contextlib

import typer

from pimjax.cli.header import head_rows, resolved
from pimjax.cli.notes import show_notes
from pimjax.cli.options import ConfigArgument, JsonOption, SetOption, again, parse_overrides
from pimjax.cli.output import emit_json, next_step, shown, stdout, table
from pimjax.errors import TraceError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("validate")(validate)


def validate(config: ConfigArgument, settings: SetOption = None, as_json: JsonOption = False) -> None:
    """Check a configuration without running it; exit code 2 and one sentence if something is wrong.

    [dim]Example:[/dim]  pimjax validate my_chip.yaml
    """
    from pimjax.chips import without_effect
    from pimjax.config import build, load_config, parameter_count
    from pimjax.config.uncosted import not_costed

    loaded = load_config(config, parse_overrides(settings))
    _, capacity = build(loaded)
    count = parameter_count(loaded.model)
    facts = {
        "valid": True,
        "name": loaded.name,
        "digest": loaded.digest(),
        "chip_model": loaded.chip_model,
        "parameters": count.total,
        "active_parameters": count.active,  # with the input embedding
        "active_parameters_without_embedding": count.active_without_embedding,
        "left_out": list(loaded.model.left_out),
        "not_costed": not_costed(loaded),
        "moe_layers": loaded.model.num_moe_layers,
        "capacity": vars(capacity),
        "notes": without_effect(loaded),
    }
    if as_json:
        emit_json(facts)
        return
    ran, tokens = loaded, []
    with contextlib.suppress(TraceError):  # valid without a trace of its own: an estimate says which one it wants
        ran, tokens = resolved(loaded)
    stdout.heading(f"{loaded.name}: valid", loaded.digest())
    rows = head_rows(ran, "", tokens=tokens)
    rows.append(
        (
            "parameters",
            f"{shown(count.total / 1e9)} G, {shown(count.active / 1e9)} G active "
            f"({shown(count.active_without_embedding / 1e9)} G without the input embedding)",
        )
    )
    for label, sentences in (("left out", loaded.model.left_out), ("not costed", facts["not_costed"])):
        rows += [(label, line) for line in sentences]
    stdout.print(table(None, ("", ""), rows, text=2))
    show_notes(loaded)
    next_step(f"pimjax estimate {again(config, settings=settings)}")
