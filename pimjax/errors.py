"""Errors a user can cause: one clear sentence each.

The sentence says what is wrong, where, the value, what is allowed and what to do. The command line prints it
without a traceback and exits with code 2.
"""

from __future__ import annotations

import os
import re
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
        text = brief(repr(value[: 2 * SHOWN_CHARACTERS]))
        return text if text[-1] == text[0] else text[: SHOWN_CHARACTERS - 4] + "..." + text[0]
    if isinstance(value, os.PathLike):
        text = str(os.fspath(value))[: 2 * SHOWN_CHARACTERS]
    elif isinstance(value, type):
        text = value.__name__
    else:
        try:
            plain = value.item() if getattr(value, "shape", None) == () else value  # type: ignore[attr-defined]
            text = " ".join(_brief.repr(plain).split())
        except Exception:  # a foreign __repr__ may do anything, and this runs while an error is reported
            text = f"a {type(value).__name__}"
    return brief(text)


def visible(text: str) -> str:
    """Text of which a terminal obeys nothing: all that does not print becomes a visible escape, line ends too.

    >>> visible("hot\\x1b[31m\\u202e")
    'hot\\\\x1b[31m\\\\u202e'
    """
    return text if text.isprintable() else "".join(s if s.isprintable() else ascii(s)[1:-1] for s in text)


def brief(text: object) -> str:
    """Foreign text (the message of a library, a name) on one line: visible, at most 200 characters, not quoted.

    >>> brief("a\\nb"), len(brief("x" * 1_000_000))
    ('a\\\\nb', 200)
    """
    cut = visible(str(text)[: 2 * SHOWN_CHARACTERS])
    return cut if len(cut) <= SHOWN_CHARACTERS else cut[: SHOWN_CHARACTERS - 3] + "..."


class PimjaxError(ValueError):
    """Base of every error that bad input can raise.

    Whatever a name or a value in the sentence holds, nothing of it is obeyed by a terminal, and quotes and words end
    after :data:`SHOWN_CHARACTERS`.

    >>> len(str(PimjaxError(f"name is {'x' * 1_000_000!r}"))), str(PimjaxError("a\\x1b[31m"))
    (208, 'a\\\\x1b[31m')
    """

    def __init__(self, *parts: object) -> None:
        super().__init__(*(_sentence(part) if isinstance(part, str) else part for part in parts))


_LONGEST = 2000
_LONG = re.compile(rf"(?<!\w)'[^']{{{SHOWN_CHARACTERS},}}'|\S{{{SHOWN_CHARACTERS + 1},}}")


def _sentence(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return visible(text)
    text = _LONG.sub(lambda found: found[0][: SHOWN_CHARACTERS - 3] + "...", visible(text))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


class ConfigError(PimjaxError):
    """A configuration key or value is not acceptable: names the key, the value and what is allowed."""


class OverrideError(ConfigError):
    """An override is not acceptable. `key` is its dotted key: whoever took it from a user can say where it was typed."""

    def __init__(self, sentence: str, key: str) -> None:
        super().__init__(sentence)
        self.key = key

    def __reduce__(self) -> tuple[type[OverrideError], tuple[str, str]]:
        return OverrideError, (str(self), self.key)


class TraceError(PimjaxError):
    """A routing trace or trace file is not acceptable."""


class ScheduleError(PimjaxError):
    """Choices, groups or a policy cannot be scheduled."""


class ServingError(PimjaxError):
    """Requests or a server that do not hold."""


class NumericsError(PimjaxError):
    """Crossbar numerics were given values, shapes or bits out of range."""


class CheckpointError(PimjaxError):
    """A checkpoint folder, one of its files, or the text to evaluate it on is not acceptable."""


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
