"""`pimjax init`: write a commented configuration to edit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pimjax.cli.options import SetOption, again, parse_overrides
from pimjax.cli.output import next_step, stdout
from pimjax.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(init)


def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("pimjax.yaml"),
    preset: Annotated[str, typer.Option("--from", help="Preset or file to start from.")] = "paper_multiplexed",
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    settings: SetOption = None,
) -> None:
    """Write a commented YAML configuration: every key with its value, unit and source; editors check it by its schema.

    [dim]Example:[/dim]  pimjax init my_chip.yaml --from gpt_oss_20b && pimjax estimate my_chip.yaml
    """
    from pimjax.cli.json_schema import write_schema
    from pimjax.config import load_config
    from pimjax.config.template import render_yaml

    config = load_config(preset, parse_overrides(settings))
    if path.exists() and not force:
        raise ConfigError(f"{path}: exists already; choose another name or add --force to overwrite it")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: the folder {path.parent} does not exist; create it first")
    schema = write_schema()
    hint = f"# yaml-language-server: $schema={schema}\n" if schema else ""
    text = hint + render_yaml(config.model_copy(update={"name": path.stem}))
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    stdout.print(f"wrote {path} (from {preset})")
    next_step(f"pimjax estimate {again(str(path))}")
