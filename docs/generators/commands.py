"""Command reference from the command line's own definition: the annotated signatures of its functions."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal

import typer
from typer.models import ArgumentInfo

from generators.results import table
from pimjax.cli.commands import register


def commands() -> str:
    """Every command: what it does, its examples, its arguments and options."""
    app = typer.Typer()
    register(app)
    lines = []
    for name, function in _walk("pimjax", app):
        lines += [f"## `{name}`", "", _text(inspect.getdoc(function) or ""), ""]
        rows = list(_rows(function))
        if rows:
            lines += [table(("argument or option", "default", "meaning"), rows), ""]
    return "\n".join(lines)


def _walk(name: str, app: typer.Typer) -> Iterator[tuple[str, Callable[..., Any]]]:
    for command in app.registered_commands:
        assert command.callback is not None
        if command.hidden:  # another name of a command
            continue
        yield f"{name} {command.name or command.callback.__name__}", command.callback
    for group in app.registered_groups:
        assert group.typer_instance is not None
        info = group.typer_instance.info
        yield from _walk(f"{name} {group.name or info.name}", group.typer_instance)


def _rows(function: Callable[..., Any]) -> Iterator[tuple[str, str, str]]:
    hints = typing.get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind, *notes = typing.get_args(hints[name])
        info = next(note for note in notes if hasattr(note, "param_decls"))
        if isinstance(info, ArgumentInfo):
            shown = str(info.metavar or name.upper())
        else:
            # typer takes the first name of an annotated option for its default
            names = [each for each in (info.default, *(info.param_decls or ())) if str(each).startswith("-")]
            shown = ", ".join(names or [f"--{name.replace('_', '-')}"])
        default = parameter.default
        hidden = default is inspect.Parameter.empty or default is None or default is False
        meaning = _bare(info.help or "")
        choices = _choices(kind)
        if choices:
            meaning += f" One of {', '.join(choices)}."
        yield f"`{shown}`", "" if hidden else f"`{default}`", meaning.strip()


def _choices(kind: Any) -> list[str]:
    parts = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    return [str(value) for part in parts if typing.get_origin(part) is Literal for value in typing.get_args(part)]


def _bare(text: str) -> str:
    """Without rich's markup."""
    return re.sub(r"\[/?(dim|bold|italic)\]", "", text)


def _text(text: str) -> str:
    """The docstring with its examples on lines of their own."""
    before, found, after = text.partition("[dim]Example")
    if not found:
        return _bare(text)
    examples = re.split(r"\s\|\s", " ".join(after.partition("[/dim]")[2].split()))
    return f"{_bare(before).strip()}\n\n```bash\n" + "\n".join(line.strip() for line in examples) + "\n```"
