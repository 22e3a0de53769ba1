"""Status bits that kernels return instead of raising, each with a sentence and advice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pimjax.errors import CapacityError

OK = 0
NON_FINITE = 1 << 0
RING_OVERFLOW = 1 << 2  # bit 1 meant an overflow that no longer happens
DOES_NOT_FIT = 1 << 3
MULTI_DIE = 1 << 4
CAPACITY_EXCEEDED = 1 << 5
IMPOSSIBLE = 1 << 6
TOO_HOT = 1 << 7

#: bit -> (name, sentence with advice, whether the numbers must not be used)
MEANING: dict[int, tuple[str, str, bool]] = {
    NON_FINITE: (
        "non_finite",
        "a result is not finite: check the configuration for zero bandwidths or frequencies",
        True,
    ),
    RING_OVERFLOW: (
        "ring_overflow",
        "pass depth plus out_buffer_slots exceeds 16 slots, the size of the fluid model's window: "
        "use fidelity='event' or lower hardware.out_buffer_slots",
        True,
    ),
    DOES_NOT_FIT: (
        "does_not_fit",
        "the mapping needs more crossbars than hardware.tiles, or the caches of the longest context more than the memory "
        "holds: what is reported is what is needed; raise hardware.tiles or memory.capacity_gb, use fewer layers, or "
        "shorten the context",
        False,
    ),
    MULTI_DIE: (
        "multi_die",
        "the area exceeds one reticle: the chip is several dies, and what joins them costs nothing",
        False,
    ),
    CAPACITY_EXCEEDED: (
        "capacity_exceeded",
        "tokens, experts or layers exceed the Capacity the program was compiled for: build a larger Capacity",
        True,
    ),
    IMPOSSIBLE: (
        "impossible",
        "a component's area, energy or latency is zero, negative or beyond a physical limit, or links between dies take all "
        "of their area: see estimate --explain",
        True,
    ),
    TOO_HOT: (
        "too_hot",
        "at its peak power a die gets hotter than hardware.max_junction_c: cool it better "
        "(hardware.cooling_k_mm2_per_w), or spread what is busy at once over more area",
        False,
    ),
}


def bits(given: Any, flags: Mapping[int, Any]) -> Any:
    """`given` bits and those whose flag holds; int32, on NumPy and JAX arrays.

    >>> int(bits(OK, {DOES_NOT_FIT: True, MULTI_DIE: False})) == DOES_NOT_FIT
    True
    """
    out = given
    for bit, flag in flags.items():
        one = flag.astype(np.int32) if hasattr(flag, "astype") else np.int32(bool(flag))
        out = out | one * np.int32(bit)
    return out


def describe(status: Any) -> list[str]:
    """Sentences for the bits set in a status.

    >>> describe(DOES_NOT_FIT)[0][:12]
    'does_not_fit'
    """
    value = int(np.asarray(status))
    return [f"{name}: {text}" for bit, (name, text, _) in MEANING.items() if value & bit]


def raise_if_bad(status: Any) -> None:
    """Raise `CapacityError` if any entry of `status` says that its numbers must not be used.

    Args:
        status: int32, any shape.

    Raises:
        CapacityError: names the first bad entry and what to do.

    >>> raise_if_bad(MULTI_DIE)
    """
    values = np.asarray(status)
    bad = sum(bit for bit, (_, _, fatal) in MEANING.items() if fatal)
    wrong = np.flatnonzero(values.reshape(-1) & bad)
    if wrong.size:
        first = values.reshape(-1)[wrong[0]]
        where = f" (point {wrong[0]} of {values.size}, {wrong.size} in all)" if values.ndim else ""
        raise CapacityError("; ".join(describe(first & bad)) + where)
