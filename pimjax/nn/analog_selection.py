"""Which matrices of a decoder are on crossbars: a map from matrix, layer and expert to analog or digital."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.errors import ConfigError, shown

_ATTENTION = (
    "query", "query_down", "query_up", "key", "value", "latent_down", "latent_up", "attention_output"
)  # fmt: skip
_EXPERTS = ("gate", "up", "down")
_DENSE = tuple(f"dense_{name}" for name in _EXPERTS)
_SHARED = tuple(f"shared_{name}" for name in _EXPERTS)
#: every matrix that a decoder multiplies with; the place in this list is part of its noise's key
MATRICES = (*_ATTENTION, "router", *_EXPERTS, *_DENSE, *_SHARED, "output")
#: names for several matrices
GROUPS: dict[str, tuple[str, ...]] = {
    "all": MATRICES, "attention": _ATTENTION, "experts": _EXPERTS, "dense": _DENSE, "shared": _SHARED,
}  # fmt: skip
_RANGES = re.compile(r"\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?){0,999}")


@dataclasses.dataclass(frozen=True)
class Selector:
    """Some matrices, perhaps of some layers and experts only (None: of all)."""

    matrices: tuple[str, ...]
    layers: frozenset[int] | None
    experts: frozenset[int] | None


@dataclasses.dataclass(frozen=True)
class AnalogMap:
    """Matrices on crossbars: those of `analog` that are not of `digital`. :func:`analog_map` makes one."""

    analog: tuple[Selector, ...]
    digital: tuple[Selector, ...]

    def mask(self, matrix: str, layer: int, num_experts: int = 1) -> HostArray:
        """Whether each expert's `matrix` of `layer` is analog: bool ``[num_experts]``; matrices of no expert: one entry."""
        made = np.zeros(num_experts, bool)
        for selectors, value in ((self.analog, True), (self.digital, False)):
            for one in selectors:
                if matrix in one.matrices and (one.layers is None or layer in one.layers):
                    made[_indices(one.experts, num_experts)] = value
        return made


def _indices(experts: frozenset[int] | None, count: int) -> HostArray | slice:
    return slice(None) if experts is None else np.array(sorted(one for one in experts if one < count), int)


_WORDS = checks.any_of(checks.text, checks.each(checks.text, "a list of words"))


@checks.checked(ConfigError, analog=_WORDS, digital=_WORDS)
def analog_map(analog: str | Sequence[str] = "all", digital: str | Sequence[str] = ()) -> AnalogMap:
    """A map from words: ``NAME``, ``NAME:LAYERS`` or ``NAME:LAYERS:EXPERTS``.

    Args:
        analog: what is on crossbars. NAME is a matrix (`MATRICES`) or a group of them (`all`, `attention`, `experts`,
            `dense`, `shared`); LAYERS and EXPERTS are numbers from 0 and ranges of them (``0-3,8``), ``*`` means all.
        digital: what of these is not.

    Raises:
        ConfigError: a word that is none, naming it.

    >>> made = analog_map("experts", "experts:0:1-2")
    >>> made.mask("up", 0, 4).tolist(), made.mask("up", 1, 4).all(), made.mask("query", 0).tolist()
    ([True, False, False, True], np.True_, [False])
    """
    words = [[one] if isinstance(one, str) else list(one) for one in (analog, digital)]
    return AnalogMap(*(tuple(_selector(word) for word in some) for some in words))


def _selector(word: str) -> Selector:
    name, *places = word.strip().split(":")
    matrices = GROUPS.get(name, (name,) if name in MATRICES else None)
    if matrices is None:
        raise ConfigError(f"{shown(word)} names no matrix: it must begin with one of {', '.join((*GROUPS, *MATRICES))}")
    if len(places) > 2:
        raise ConfigError(f"{shown(word)} has too many parts: write NAME, NAME:LAYERS or NAME:LAYERS:EXPERTS")
    layers, experts = (_numbers(part, word) for part in (*places, "*", "*")[:2])
    if experts is not None and not set(matrices) <= set(_EXPERTS):
        raise ConfigError(f"{shown(word)} names experts of matrices that have none: only {', '.join(_EXPERTS)} do")
    return Selector(matrices, layers, experts)


def _numbers(text: str, word: str) -> frozenset[int] | None:
    if text == "*":
        return None
    if not _RANGES.fullmatch(text):
        raise ConfigError(f"{shown(word)}: {shown(text)} is no list of numbers; write for example 0-3,8, or * for all")
    made: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        made.update(range(int(first), int(last or first) + 1))
    return frozenset(made)
