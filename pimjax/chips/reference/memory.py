"""Scratchpad buffers of the authors' simulator, collected while a graph is built; transfers are transparent."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from pimjax.errors import PimjaxError
from pimjax.event import Buffers

HostArray = np.ndarray[Any, Any]


class ScratchpadError(PimjaxError):
    """The authors' rules of scratchpad memory do not apply to this run (their simulator stops there)."""


class BufferWriter:
    """Collects blocks of buffers and turns them into :class:`pimjax.event.Buffers`."""

    def __init__(self) -> None:
        self._sizes: list[HostArray] = []
        self._producers: list[HostArray] = []
        self._counts: list[HostArray] = []
        self._readers: list[HostArray] = []

    def add(self, size: Any, producers: Any, readers: Any) -> None:
        """Buffers of `size` bytes (scalar or [...]) filled by `producers` [...], read by `readers` [..., r]."""
        filled = np.asarray(producers)
        wanted = np.asarray(readers)
        sizes = np.empty(filled.shape)
        sizes[...] = size
        held = np.empty((*filled.shape, wanted.shape[-1]), np.int64)
        held[...] = wanted
        self._sizes.append(sizes.reshape(-1))
        self._producers.append(filled.reshape(-1))
        self._counts.append(np.full(filled.size, held.shape[-1]))
        self._readers.append(held.reshape(-1))

    def build(self) -> Buffers:
        """All buffers so far."""
        offsets = np.concatenate([np.zeros(1, np.int64), *self._counts]).cumsum()
        return Buffers(
            size_bytes=np.concatenate(self._sizes),
            producer=np.concatenate(self._producers),
            reader_offsets=offsets,
            readers=np.concatenate(self._readers),
        )


@functools.lru_cache(maxsize=256)
def _string_order(shapes: tuple[tuple[int, int], ...]) -> HostArray:
    """Consumers of a vector, block indices per linear in `shapes`, sorted as strings ("10" before "2"), stably."""
    names = np.concatenate([np.arange(rows * cols).astype(str) for rows, cols in shapes])
    return np.argsort(names, kind="stable")


def consumer_groups(consumers: list[HostArray], groups: int, what: str) -> HostArray:
    """Tile operations that read one vector, in the authors' groups.

    The consumers are sorted by the *string* of their block index within their linear and cut into equal groups, one
    per tile row that the vector fills.

    Args:
        consumers: one array [..., rows, cols] per linear, in order; leading axes are vectors.
        groups: number of groups.
        what: name of the vector, for the error.

    Returns:
        int64 [..., groups, consumers / groups].

    Raises:
        ScratchpadError: the consumers do not divide into the groups (the authors' simulator raises there too).
    """
    order = _string_order(tuple(block.shape[-2:] for block in consumers))
    if len(order) % groups:
        raise ScratchpadError(
            f"the authors' simulator cannot track the memory of this run: {len(order)} tile operations read {what}, "
            f"which does not divide into {groups} groups; use another tile size or switch peak memory off"
        )
    flat = np.concatenate([block.reshape(*block.shape[:-2], -1) for block in consumers], axis=-1)
    return flat[..., order].reshape(*flat.shape[:-1], groups, -1)
