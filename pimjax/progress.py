"""How far long host work is: who computes says it, whoever called decides whether anybody sees it.

Nothing is shown here. `report` costs little where nobody listens, and a part of the work need not know how large a
part of the whole it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import NamedTuple

Listener = Callable[[str, float | None], None]
"""Called with what is being done ("" for the same as before) and the share of all work that is done, if known."""


class _Scope(NamedTuple):
    listener: Listener
    begin: float
    end: float


_scope: ContextVar[_Scope | None] = ContextVar("pimjax_progress", default=None)


@contextlib.contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Send reports of the work inside to a listener.

    >>> with heard_by(lambda doing, share: print(doing, share)):
    ...     report("counting", 0.5)
    ...     with part(0.5, 1.0):
    ...         report("", 0.5)
    counting 0.5
     0.75
    """
    token = _scope.set(_Scope(listener, 0.0, 1.0))
    try:
        yield
    finally:
        _scope.reset(token)


@contextlib.contextmanager
def part(begin: float, end: float) -> Iterator[None]:
    """What the work inside reports is this part of the work outside."""
    outer = _scope.get()
    if outer is None:
        yield
        return
    size = outer.end - outer.begin
    token = _scope.set(_Scope(outer.listener, outer.begin + begin * size, outer.begin + end * size))
    try:
        yield
    finally:
        _scope.reset(token)


def report(doing: str = "", share: float | None = None) -> None:
    """Say what is being done and which share of it, 0 to 1, is done."""
    scope = _scope.get()
    if scope is not None:
        scope.listener(doing, None if share is None else scope.begin + share * (scope.end - scope.begin))
