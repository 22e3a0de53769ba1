"""Conversion time of a SAR converter when only its resolution is known (NeuroSim's law)."""

from __future__ import annotations

from pimjax.circuit.constants import Constants, Real, sourced, value

TIME_PER_BIT = sourced(
    "sar.time_per_bit_ns",
    1.0,
    "ns",
    low=0.3,
    high=3.0,
    quality="F",
    source="NeuroSim SarADC.cpp: (b + 1) ns per conversion at any node",
)
SENSING_FACTOR = sourced(
    "sar.sensing_latency_factor",
    1.4,
    "1",
    low=1.0,
    high=2.0,
    quality="M",
    source="NeuroSim Param.cpp beta, validated on a 40 nm RRAM macro",
)


def sar_rate_gsps(bits: Real, constants: Constants | None = None) -> Real:
    """Rate [GS/s] of a SAR converter of `bits`: ``1 / (1.4 (b + 1) ns)``.

    >>> round(1.0 / sar_rate_gsps(8.0), 3)  # ns
    12.6
    """
    return 1.0 / (value(SENSING_FACTOR, constants) * value(TIME_PER_BIT, constants) * (bits + 1.0))
