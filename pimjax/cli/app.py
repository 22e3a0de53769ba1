"""The `pimjax` program: its commands, and one place where mistakes become one sentence and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from pimjax.cli.output import stderr
from pimjax.cli.places import as_typed
from pimjax.errors import PimjaxError, brief, shown

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
        code = app(args=list(arguments) if arguments is not None else None, prog_name="pimjax", standalone_mode=False)
    except PimjaxError as error:
        _refuse(as_typed(error))
    except OSError as error:
        _refuse(f"{error.strerror or error}{f' {shown_path(error.filename)}' if error.filename else ''}")
    except (KeyboardInterrupt, typer.Abort):
        stderr.print("interrupted")
        sys.exit(130)
    except Exception as error:
        if _opens_devices(error):
            _refuse(_no_device(error))
        if not hasattr(error, "format_message"):  # usage: an option that is not there, a value of the wrong kind
            raise
        _refuse_usage(error)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def shown_path(name: object) -> str:
    """The name of a file in an error of the operating system."""
    return brief(os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else name)


def _refuse(sentence: str) -> None:
    stderr.note(sentence, "error:", "bold red")
    sys.exit(2)


def _opens_devices(error: Exception) -> bool:
    """Whether JAX cannot open its devices: it says so in several ways, for some platforms without a word."""
    if not isinstance(error, (RuntimeError, AssertionError)):
        return False
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError):
        return True
    return False


def _no_device(error: Exception) -> str:
    asked = os.environ.get("JAX_PLATFORMS", "")
    said = str(error).strip() or "no device of that kind"
    reason = said.splitlines()[0].partition(" (set JAX_PLATFORMS")[0].rstrip(". ")
    where = f"JAX_PLATFORMS is {shown(asked)}" if asked else "JAX finds no device"
    return f"{where}: {brief(reason)}; unset JAX_PLATFORMS, or set it to cpu"


def _refuse_usage(error: Exception) -> None:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
        if context is not None:
            context.get_help()
        sys.exit(2)
    path = brief(context.command_path) if context is not None else "pimjax"
    message = " ".join(str(error.format_message()).replace("Value error, ", "")[:1000].split())  # type: ignore[attr-defined]
    _refuse(f"{message[:1].lower()}{message[1:].rstrip('.')}; see {path} --help")
