"""`pimjax figure`: a figure for a paper, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pimjax.cli.output import next_step, stdout, table
from pimjax.cli.program_cache import use_compilation_cache
from pimjax.cli.progress import Progress
from pimjax.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("figure")(figure)


def complete_figure(incomplete: str) -> list[str]:
    """Names of figures that begin with what was typed, for shell completion."""
    from pimjax.report.figures import FIGURES

    return [name for name in FIGURES if name.startswith(incomplete)]


def figure(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One of --list.", autocompletion=complete_figure)
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="FILE.png, .svg or .pdf; default NAME.pdf.")] = None,
    width: Annotated[
        Literal["column", "page"], typer.Option(help="3.5 or 7.16 inches: one column or both of a two-column paper.")
    ] = "page",
    dpi: Annotated[int, typer.Option(min=50, max=1200, help="Dots per inch of a PNG.")] = 300,
    list_all: Annotated[bool, typer.Option("--list", help="Show all figures.")] = False,
) -> None:
    """Draw a figure for a paper: PNG, SVG or PDF, fonts embedded, colours that colour-blind readers tell apart.

    [dim]Examples:[/dim]  pimjax figure --list   |   pimjax figure schedule --out schedule.pdf --width column
    """
    from pimjax.report.figures import FIGURES, draw_figure

    if list_all:
        stdout.print(
            table("Figures", ("name", "what it shows"), [(n, entry.about) for n, entry in FIGURES.items()], text=2)
        )
        next_step("pimjax figure NAME --out FILE.pdf")
        return
    if name is None:
        raise ConfigError(f"no figure named; choose one of: {', '.join(FIGURES)}")
    use_compilation_cache()
    with Progress(f"drawing {name}", key=f"figure {name}"):
        path = draw_figure(name, out or Path(f"{name}.pdf"), width, dpi)
    stdout.print(f"wrote {path}: {FIGURES[name].about}")
    next_step("pimjax figure --list")
