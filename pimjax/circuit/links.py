"""Links between tiles: one block of activations over one hop, and wires by kind of stacking."""

from __future__ import annotations

from pimjax.circuit.cell_array import select_kind
from pimjax.circuit.component import Component, component
from pimjax.circuit.constants import Constants, Real, sourced, value

LINK_KINDS = ("2d", "2.5d", "3d")
_PAPER = "MoEwithPIM/src/threedsim/accelerator.py: 12 ns and 12.93 pJ per 256 elements"

HOP_TIME = sourced("links.hop_ns_per_256", 12.0, "ns", low=6.0, high=24.0, quality="F", source=_PAPER)
HOP_ENERGY = sourced("links.hop_pj_per_256", 12.93, "pJ", low=6.0, high=60.0, quality="F", source=_PAPER)
_STACK = "3D-CIMlet utils/config.py"
WIRE_ENERGY = tuple(
    sourced(f"links.{kind}_pj_per_bit", nominal, "pJ/b", low=nominal / 3, high=nominal * 3, quality="F", source=_STACK)
    for kind, nominal in (("2d", 6.6), ("2.5d", 0.26), ("3d", 0.015))
)
BUS_AREA = sourced(
    "links.bus_area_um2_per_bit",
    29.3,
    "um2/b",
    low=10.0,
    high=60.0,
    quality="M",
    source="ISAAC eDRAM bus, 32 nm, Accelergy library isaac_eDRAM_bus.csv",
)


@component(
    "hop",
    action="one block of elements over one hop",
    node="14 nm, as the reference simulator",
    validity="256 elements per link, 8-bit elements",
    source=_PAPER,
    analog=False,
    constants=(HOP_TIME, HOP_ENERGY),
)
def hop(elements: Real, *, out_elements: Real | None = None, constants: Constants | None = None) -> Component:
    """One block over one hop: time by `elements` received, energy by `out_elements` (default the same).

    The reference's law: 12 C/256 ns and 0.01293 R/256 nJ. No area: it is part of the core's.

    >>> unit = hop(256.0)
    >>> float(unit.latency_ns), float(unit.energy_nj)
    (12.0, 0.01293)
    """
    sent = elements if out_elements is None else out_elements
    energy = value(HOP_ENERGY, constants) * 1e-3 * (sent / 256.0)
    return Component(0.0, energy, value(HOP_TIME, constants) * elements / 256.0)


@component(
    "stack_link",
    action="`bits` moved once",
    node="none given",
    validity="die-to-die and vertical links; energy only, latency of the hop",
    source=_STACK + "; bus area ISAAC 32 nm",
    analog=False,
    constants=(*WIRE_ENERGY, BUS_AREA),
)
def stack_link(
    kind: Real,
    *,
    bits: Real,
    width_bits: Real = 256.0,
    bit_rate_gbps: Real = 1.0,
    constants: Constants | None = None,
) -> Component:
    """A link of `width_bits` wires at `bit_rate_gbps` each, of the kind with index into :data:`LINK_KINDS`.

    >>> round(float(stack_link(2.0, bits=1000.0).energy_nj) * 1e3, 3)  # pJ
    15.0
    """
    per_bit = select_kind(kind, [value(item, constants) for item in WIRE_ENERGY])
    area = width_bits * value(BUS_AREA, constants) * 1e-6
    return Component(area, bits * per_bit * 1e-3, bits / (width_bits * bit_rate_gbps))
