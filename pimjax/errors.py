"""Errors a user can cause: one clear sentence each.

The sentence says what is wrong, where, the value, what is allowed and what to do. The command line prints it
without a traceback and exits with code 2.
"""

from __future__ import annotations

import os
import reprlib

#: Most characters of a user's value that a sentence repeats.
SHOWN_CHARACTERS = 200

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = SHOWN_CHARACTERS + 1
_brief.maxlist = _brief.maxtuple = _brief.maxset = _brief.maxfrozenset = _brief.maxdict = 20


def shown(value: object) -> str:
    """A user's value as a sentence may repeat it: at most 200 characters, nothing that a terminal would obey.

    Strings are quoted, paths and names of types are not; control characters, terminal escapes and marks that turn the
    direction of writing become visible escapes.

    >>> shown("hot\\x1b[31m"), shown(3.5), len(shown("x" * 1_000_000))
    ("'hot\\\\x1b[31m'", '3.5', 200)
    """
    if isinstance(value, str):
        text = repr(value[: 2 * SHOWN_CHARACTERS])
    elif isinstance(value, os.PathLike):
        text = str(os.fspath(value))[: 2 * SHOWN_CHARACTERS]
    elif isinstance(value, type):
        text = value.__name__
    else:
        try:
            plain = value.item() if getattr(value, "shape", None) == () else value  # type: ignore[attr-defined]
            text = " ".join(_brief.repr(plain).split())
        except Exception:  # a foreign __repr__ may do anything, and this runs while an error is reported
            text = f"a {type(value).__name__}"
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


class PimjaxError(ValueError):
    """Base of every error that bad input can raise."""


class ConfigError(PimjaxError):
    """A configuration key or value is not acceptable: names the key, the value and what is allowed."""


class TraceError(PimjaxError):
    """A routing trace or trace file is not acceptable."""


class ScheduleError(PimjaxError):
    """Choices, groups or a policy cannot be scheduled."""


class NumericsError(PimjaxError):
    """Crossbar numerics were given values, shapes or bits out of range."""


class CapacityError(PimjaxError):
    """A problem is larger than an engine or a padded array accepts."""


class MissingExtraError(PimjaxError):
    """An optional dependency is not installed: names the pip command that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; run: pip install 'pimjax[{extra}]'"
        )
        self.package = package
        self.extra = extra
