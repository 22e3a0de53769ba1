"""One command a module; this list is the order in which `pimjax --help` shows them."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add every command to `app`, once."""
    if app.registered_commands:
        return
    from pimjax.cli.commands import (
        accuracy,
        compare,
        doctor,
        estimate,
        figure,
        generate,
        init,
        presets,
        report,
        reproduce,
        schema,
        serving,
        size,
        sweep,
        tune,
        validate,
    )

    order = (
        reproduce, estimate, accuracy, generate, serving, sweep, tune, size, report, figure, compare, presets, init, schema, validate, doctor,
    )  # fmt: skip
    for module in order:
        module.register(app)

    from pimjax.cli.places import Command
    from pimjax.cli.trace import trace_app

    for command in (*app.registered_commands, *trace_app.registered_commands):
        command.cls = Command
    app.add_typer(trace_app, name="trace")
