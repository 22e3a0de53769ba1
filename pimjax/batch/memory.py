"""How much memory a tile may take, and whether an error says that there was not enough."""

from __future__ import annotations

import math
import os
from typing import Any

import jax

_CPU_SHARE = 0.25
#: Of the host's memory at most so much for the tiles of all CPU devices: a larger tile is far beyond every cache and no faster.
_CPU_MOST_BYTES = 1 << 30
_ACCELERATOR_SHARE = 0.8
_FALLBACK_BYTES = 2 << 30


class TileTooLarge(MemoryError):
    """A compiled tile would take more than its device may give it.

    Attributes:
        halvings: of the tile until it fits, as far as its memory is in proportion to its points.
    """

    def __init__(self, needed_bytes: int, budget_bytes: int) -> None:
        super().__init__(f"a tile needs {needed_bytes:,} bytes of {budget_bytes:,} on each device")
        self.halvings = max(1, math.ceil(math.log2(needed_bytes / max(budget_bytes, 1))))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the host reports that memory ran out.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError("RESOURCE_EXHAUSTED"))
    (True, False)
    """
    if isinstance(error, MemoryError):
        return True
    text = str(error)
    return isinstance(error, jax.errors.JaxRuntimeError) and (
        "RESOURCE_EXHAUSTED" in text or "out of memory" in text.lower()
    )


def device_budget_bytes(devices: list[Any]) -> int:
    """Bytes that the arrays of one tile may take on each of `devices`.

    Accelerators: 80 % of what is free now. CPU devices share the host's memory: 25 % of what is available, at most a GiB,
    divided.
    """
    stats = devices[0].memory_stats() if devices[0].platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(_ACCELERATOR_SHARE * (stats["bytes_limit"] - stats.get("bytes_in_use", 0)))
    return int(min(_CPU_SHARE * available_host_bytes(), _CPU_MOST_BYTES) / len(devices))


def available_host_bytes() -> int:
    """Memory that the host can still hand out (Linux; elsewhere half of the physical memory, else 2 GiB)."""
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            for line in stream:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return _FALLBACK_BYTES
    except OSError:
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        except (AttributeError, OSError, ValueError):
            return _FALLBACK_BYTES


def program_bytes(compiled: Any) -> int:
    """Bytes per device that a compiled program needs beside its arguments: temporaries and results; 0 if unknown."""
    try:
        analysis = compiled.memory_analysis()
    except (AttributeError, NotImplementedError, jax.errors.JaxRuntimeError):
        return 0
    if analysis is None:
        return 0
    return int(analysis.temp_size_in_bytes + analysis.output_size_in_bytes)
