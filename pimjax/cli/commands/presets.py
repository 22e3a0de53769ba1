"""`pimjax presets`: list the shipped presets, or show one with the meaning and source of every number."""

from __future__ import annotations

from typing import Annotated

import typer

from pimjax.cli.options import JsonOption
from pimjax.cli.output import emit_json, next_step, stdout, table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("presets")(presets)


def presets(
    name: Annotated[str | None, typer.Argument(help="Preset to show; leave out to list all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the shipped configurations, or show one as commented YAML.

    [dim]Examples:[/dim]  pimjax presets   |   pimjax presets gpt_oss_20b   |   pimjax presets paper_reference --json
    """
    from pimjax.config import list_presets, load_config
    from pimjax.config.config import SECTIONS
    from pimjax.config.template import render_yaml

    if name is not None:
        config = load_config(name)
        if as_json:
            emit_json(config.model_dump(mode="json"))
        else:
            stdout.print(render_yaml(config), soft_wrap=True)
        return
    configs = {preset: load_config(preset) for preset in list_presets()}
    sections = {section: list_presets(section) for section in (*SECTIONS, "memory")}
    if as_json:
        emit_json({"presets": {key: config.description for key, config in configs.items()}, "sections": sections})
        return
    rows = ((key, config.chip_model, config.description) for key, config in configs.items())
    stdout.print(table("Presets", ("name", "chip model", "description"), rows, text=3))
    stdout.print()
    stdout.print(table("Parts to build your own from", ("section", "presets"),
                       ((key, ", ".join(names) or "-") for key, names in sections.items()), text=2))  # fmt: skip
    stdout.print(
        "\nThe paper's published mapping needs 6,592 crossbars of 0.634 mm2: 4,179 mm2, about five reticles of 858 mm2."
    )
    next_step("pimjax presets NAME", "pimjax init FILE --from NAME")
