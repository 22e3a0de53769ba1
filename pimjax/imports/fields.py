"""The fields of a config.json, read with their kinds checked and remembered as read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pimjax.errors import ConfigError

#: above the limits of every key of pimjax.config.model, below what arithmetic makes slow
MAX_NUMBER = 2**31 - 1
MAX_LIST = 10_000


class Required:
    """Marks a field without which the model is not described."""


REQUIRED = Required()


def short(value: Any) -> str:
    """A value as text of at most 60 characters, without looking into large ones.

    >>> short([1, 2, 3]), short("a" * 100)[:8]
    ('a list of 3', "'aaaaaaa")
    """
    if isinstance(value, (list, tuple, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, str):
        value = value[:56]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**18:
        return f"a whole number of {value.bit_length()} bits"
    return ascii(value)[:60]


class Fields:
    """Typed access to one mapping. Absent fields take the default of the family's class; null means absent.

    >>> fields = Fields({"hidden_size": 8, "tie_word_embeddings": True}, "config.json")
    >>> fields.count("hidden_size"), fields.flag("tie_word_embeddings", False), fields.count("head_dim", default=None)
    (8, True, None)
    """

    def __init__(self, data: Mapping[str, Any], where: str) -> None:
        self.data, self.where, self.read = data, where, set[str]()

    def _value(self, names: Sequence[str], default: Any) -> tuple[str, Any]:
        self.read.update(names)
        for name in names:
            if self.data.get(name) is not None:
                return name, self.data[name]
        if isinstance(default, Required):
            raise ConfigError(
                f"{self.where}: the field {names[0]!r} is missing; without it the model is not described: give the "
                "model's own config.json"
            )
        return names[0], None

    def with_defaults(self, **defaults: Any) -> Fields:
        """The same fields where those that files leave out have the defaults of their class."""
        filled = Fields({**defaults, **{key: v for key, v in self.data.items() if v is not None}}, self.where)
        filled.read = self.read
        return filled

    def wrong(self, name: str, value: Any, allowed: str) -> ConfigError:
        """The error for a field with a value that cannot be."""
        return ConfigError(f"{self.where}: {name} is {short(value)}; {allowed}")

    def has(self, name: str) -> bool:
        """Whether a field is there, be it null."""
        self.read.add(name)
        return name in self.data

    def count(self, *names: str, default: Any = REQUIRED, least: int = 1, most: int = MAX_NUMBER) -> Any:
        """A whole number under its first name that is there."""
        name, value = self._value(names, default)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.wrong(name, value, f"it must be a whole number from {least} to {most:,}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """A true or false."""
        _, value = self._value((name,), default)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, value, "it must be true or false")
        return value

    def number(self, name: str, default: float) -> float:
        """A finite number above 0."""
        _, value = self._value((name,), default)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1e30:
            raise self.wrong(name, value, "it must be a finite number above 0")
        return float(value) if math.isfinite(value) else default

    def word(self, *names: str, default: Any = REQUIRED) -> Any:
        """A text."""
        name, value = self._value(names, default)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.wrong(name, value, "it must be text")
        return value

    def items(self, name: str, kind: type, allowed: str) -> list[Any] | None:
        """A list whose entries all have one kind; None if it is absent."""
        _, value = self._value((name,), None)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) > MAX_LIST:
            raise self.wrong(name, value, f"it must be a list of at most {MAX_LIST:,} {allowed}")
        for item in value:
            if not isinstance(item, kind) or (kind is int and isinstance(item, bool)):
                raise self.wrong(name, item, f"each entry must be one of {allowed}")
        return value

    def mapping(self, name: str) -> Mapping[str, Any] | None:
        """A mapping; None if it is absent."""
        _, value = self._value((name,), None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(name, value, "it must be a mapping of keys and values")
        return value
