"""What every operator needs of a device, and how memory traffic and arithmetic make a time."""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax.arrays import larger, smaller


class Device(NamedTuple):
    """Data-sheet numbers of one GPU."""

    bandwidth_gb_per_s: Any
    tflops: Any  # dense rate in the operator's number format
    l2_cache_bytes: Any
    multiprocessors: Any


class Time(NamedTuple):
    """Time of an operator [ns], and what its memory traffic and its arithmetic would take alone."""

    total: Any
    memory: Any
    arithmetic: Any

    def times(self, count: Any) -> Time:
        """The operator `count` times.

        >>> Time(3.0, 1.0, 2.0).times(2)
        Time(total=6.0, memory=2.0, arithmetic=4.0)
        """
        return Time(self.total * count, self.memory * count, self.arithmetic * count)

    def plus(self, other: Time) -> Time:
        """One operator after the other.

        >>> Time(3.0, 1.0, 2.0).plus(Time(1.0, 1.0, 0.0)).total
        4.0
        """
        return Time(*(a + b for a, b in zip(self, other, strict=True)))


def together(memory_ns: Any, arithmetic_ns: Any, exposed: Any) -> Any:
    """Time of traffic and arithmetic that overlap but for a part of the shorter one [ns].

    Args:
        memory_ns, arithmetic_ns: what each takes alone.
        exposed: part of the shorter that the longer does not hide; 0 is a roofline, 1 no overlap at all.

    >>> float(together(3.0, 2.0, 0.25))
    3.5
    """
    return larger(memory_ns, arithmetic_ns) + exposed * smaller(memory_ns, arithmetic_ns)
