"""What a trace file says beyond routing: names, prompt lengths, provenance. Never part of a computation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pimjax.errors import TraceError, shown

#: Keys whose arrays have one entry per request; they are selected together with the requests.
PER_REQUEST_KEYS = ("request_names", "prompt_tokens", "first_token", "tokens_left_out")


class TraceMetadata(Mapping[str, Any]):
    """Read-only notes beside a trace, static and invisible to JAX.

    All instances are equal and hash alike on purpose: two traces that differ only in their notes have the
    same tree structure, so they stack, map and share one compiled program. Nothing that is computed may
    depend on them.

    >>> notes = TraceMetadata({"model": "tiny"})
    >>> notes["model"], notes == TraceMetadata()
    ('tiny', True)
    """

    __slots__ = ("_entries",)

    def __init__(self, entries: Mapping[str, Any] | None = None) -> None:
        if entries is not None and not isinstance(entries, Mapping):
            raise TraceError(f"metadata is {shown(entries)}: give a mapping of names to notes, or None")
        wrong = [key for key in entries or () if not isinstance(key, str)]
        if wrong:
            raise TraceError(f"metadata has the key {shown(wrong[0])}: names of notes are text")
        self._entries = dict(entries or {})

    def __getitem__(self, key: str) -> Any:
        return self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TraceMetadata)

    def __hash__(self) -> int:
        return hash(TraceMetadata)

    def __repr__(self) -> str:
        return f"TraceMetadata({', '.join(self._entries)})"

    def select(self, requests: Sequence[int]) -> TraceMetadata:
        """The same notes with the per-request entries of `requests` only, in that order."""
        try:
            index = np.asarray(requests, dtype=np.intp)
            return TraceMetadata({key: _picked(key, value, index) for key, value in self._entries.items()})
        except (ValueError, TypeError, OverflowError, IndexError) as error:
            raise TraceError(f"requests is {shown(requests)}: give indices of requests that the notes have") from error


def _picked(key: str, value: Any, index: Any) -> Any:
    return np.asarray(value)[index] if key in PER_REQUEST_KEYS else value


EMPTY_METADATA = TraceMetadata()
