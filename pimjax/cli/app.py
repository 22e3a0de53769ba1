"""The `pimjax` program: its commands, and one place where mistakes become one sentence and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from pimjax.cli.output import stderr
from pimjax.errors import PimjaxError

app = typer.Typer(
    name="pimjax",
    help="Area, latency, energy and accuracy of Mixture-of-Experts transformers on in-memory-computing chips.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if not show:
        return
    import jax

    from pimjax import __version__

    device = jax.devices()[0]
    typer.echo(f"pimjax {__version__}, jax {jax.__version__}, {jax.device_count()} x {device.device_kind}")
    raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Version, JAX version and device.")
    ] = False,
) -> None:
    """Start with [bold]pimjax reproduce[/bold] or [bold]pimjax estimate[/bold]."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; mistakes of the user end in one sentence on stderr and exit code 2."""
    from pimjax.cli import commands

    commands.register(app)
    try:
        app(args=list(arguments) if arguments is not None else None)
    except PimjaxError as error:
        stderr.print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True)
        sys.exit(2)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        stderr.print(f"[bold red]error:[/] {_escape(f'{error.strerror or error}{where}')}", soft_wrap=True)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        stderr.print("interrupted")
        sys.exit(130)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
