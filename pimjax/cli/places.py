"""Where the user typed what an error is about: `--set KEY`, or an option by its own name."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand

from pimjax.errors import OverrideError, PimjaxError, brief

_typed: dict[str, str] = {}
"""Dotted key -> where this run's user typed it."""
_options: dict[str, str] = {}
"""Name of an argument in the library -> the option of this run's command."""


def typed(key: str, place: str) -> None:
    """Remember that a key's value was typed at a place: `--set`, or the name of an option."""
    _typed[key] = place


class Command(TyperCommand):
    """A command that remembers what its options are called."""

    def invoke(self, ctx: Any) -> Any:
        """Run it."""
        _typed.clear()
        _options.clear()
        for parameter in self.params:
            names = [name for name in getattr(parameter, "opts", ()) if name.startswith("--")]
            if names and parameter.name:
                _options[parameter.name] = max(names, key=len)
        return super().invoke(ctx)


def as_typed(error: PimjaxError) -> str:
    """The sentence of an error, with the place that the user typed in front.

    >>> typed("plan.group_size", "--set")
    >>> as_typed(OverrideError("plan.group_size is 64", "plan.group_size"))
    '--set plan.group_size is 64'
    """
    text = str(error)
    if isinstance(error, OverrideError) and error.key in _typed:
        place, key = _typed[error.key], brief(error.key)
        if not text.startswith(key):
            return f"--set {key}: {text}" if place == "--set" else f"{place}: {text}"
        return f"--set {text}" if place == "--set" else place + text.removeprefix(key)
    name = re.match(r"(\w+)(?=: | is | must | has )", text)
    if name and name[1] in _options:
        return _options[name[1]] + text[name.end() :]
    return text
