"""One command a module; this list is the order in which `pimjax --help` shows them."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add every command to `app`, once."""
    if app.registered_commands:
        return
    from pimjax.cli.commands import compare, estimate, init, presets, validate

    for module in (estimate, presets, init, validate, compare):
        module.register(app)
