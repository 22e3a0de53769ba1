"""The attention unit (MHA): softmax(QK)V on digital hardware, per visible (query, key) pair or by the fitted law."""

from __future__ import annotations

from pimjax.circuit.component import Component, component
from pimjax.circuit.constants import Constants, Real, sourced, value

_PAPER = "MoEwithPIM/src/threedsim/accelerator.py"
AREA = sourced(
    "attention_unit.area_mm2",
    5.0,
    "mm2",
    low=2.0,
    high=8.0,
    quality="M",
    source="3D-SiM paper assumption, doi 10.1038/s43588-024-00753-x",
)
TIME_PER_PAIR = sourced(
    "attention_unit.ns_per_pair_channel",
    4.1e-3,
    "ns",
    low=2.0e-3,
    high=8.0e-3,
    quality="D",
    source=_PAPER + " table: 4295 ns at d 256, L 64, made linear in d",
)
ENERGY_PER_PAIR = sourced(
    "attention_unit.nj_per_pair_channel",
    0.557e-3,
    "nJ",
    low=0.0223e-3,
    high=0.8e-3,
    quality="F",
    source=_PAPER + ": 0.022289 x 25 pJ; the 3D-CiM table of the same file is 25 times lower",
)


@component(
    "attention_unit",
    action="visible (query, key) pairs of all channels of one call",
    node="14 nm, as the reference simulator",
    validity="head widths and lengths of the source's table: d 128 to 1024, L 16 to 1024",
    source=_PAPER,
    analog=False,
    constants=(AREA, TIME_PER_PAIR, ENERGY_PER_PAIR),
)
def attention_unit(visible_pairs: Real, *, channels: Real, constants: Constants | None = None) -> Component:
    """One call over `visible_pairs` (query, key) pairs of `channels` = heads x head_dim: linear in both.

    >>> unit = attention_unit(64.0 * 64.0, channels=256.0)
    >>> round(float(unit.latency_ns)), round(float(unit.energy_nj))
    (4299, 584)
    """
    work = visible_pairs * channels
    return Component(
        value(AREA, constants),
        work * value(ENERGY_PER_PAIR, constants),
        work * value(TIME_PER_PAIR, constants),
    )


def attention_fit_ns(length: Real, channels: Real) -> Real:
    """The reference simulator's fitted time [ns] of all `length` tokens: L^2 (1.064e-4 d + 1.521e-5 d^2).

    >>> round(float(attention_fit_ns(64.0, 256.0)))
    4194
    """
    return length**2 * (1.064e-4 * channels + 1.521e-5 * channels**2)
