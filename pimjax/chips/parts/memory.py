"""The memory beside the crossbars as kernels see it: what all its channels do together.

Transfers are striped over the channels, so that every channel carries the same part of each and all of them together are
one queue of their common bandwidth; the event engine has one queue per channel. A bit costs the same whatever the bandwidth,
idle power is drawn by every channel all the time.
"""

from __future__ import annotations

from typing import NamedTuple

from pimjax.array_typing import AnyArray
from pimjax.runs.point import Point


class Memory(NamedTuple):
    """All channels together; float scalars."""

    bandwidth: AnyArray  # GB/s
    nj_per_byte: AnyArray
    idle_w: AnyArray
    latency_ns: AnyArray  # of an access that nothing asked for ahead
    capacity_bytes: AnyArray
    area_mm2: AnyArray  # on the die


def memory_of(point: Point) -> Memory:
    """The memory of a design.

    >>> from pimjax.config import build, load_config
    >>> one, two = (memory_of(Point(build(load_config("paper_crossbars", {"memory": "hbm3", "memory.channels": n}))[0])) for n in (1, 2))
    >>> float(one.bandwidth), float(two.bandwidth), float(one.nj_per_byte) == float(two.nj_per_byte)
    (819.0, 1638.0, True)
    """
    return point.once(_memory)


def _memory(point: Point) -> Memory:
    hardware = point.hardware
    channels = hardware.memory_channels
    return Memory(
        bandwidth=hardware.memory_bandwidth_gb_per_s * channels,
        nj_per_byte=hardware.memory_energy_pj_per_bit * 8e-3,
        idle_w=hardware.memory_idle_w * channels,
        latency_ns=hardware.memory_latency_ns,
        capacity_bytes=hardware.memory_capacity_gb * 1e9 * channels,
        area_mm2=hardware.memory_phy_area_mm2 * channels,
    )
