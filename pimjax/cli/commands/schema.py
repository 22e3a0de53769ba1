"""`pimjax schema`: JSON schema of the YAML files, for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pimjax.cli.output import next_step, stdout


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("schema")(schema)


def complete_kind(incomplete: str) -> list[str]:
    """Kinds of files that begin with what was typed, for shell completion."""
    from pimjax.cli.json_schema import KINDS

    return [kind for kind in KINDS if kind.startswith(incomplete)]


def schema(
    kind: Annotated[
        str,
        typer.Argument(help="config, sweep, tune, or a section: hardware, model, ...", autocompletion=complete_kind),
    ] = "config",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; default: print.")] = None,
) -> None:
    """Print the JSON schema of a YAML file: editors complete keys, show units and sources, and mark mistakes.

    Put `# yaml-language-server: $schema=FILE` on the first line of a YAML file (`pimjax init` does).

    [dim]Examples:[/dim]  pimjax schema --out pimjax.schema.json   |   pimjax schema sweep --out sweep.schema.json
    """
    from pimjax.cli.json_schema import schema_text

    text = schema_text(kind)
    if out is None:
        typer.echo(text, nl=False)
        return
    out.write_text(text, encoding="utf-8")
    stdout.print(f"wrote {out}")
    next_step(f"write `# yaml-language-server: $schema={out}` on the first line of a YAML file")
