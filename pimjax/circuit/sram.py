"""On-chip buffers: SRAM energy per bit by node, area per megabyte; eDRAM beside it."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from pimjax.circuit.component import Component, component
from pimjax.circuit.constants import Constants, Real, sourced, value
from pimjax.circuit.scaling import digital_area_factor

_3DCIMLET = "3D-CIMlet utils/peripheral.py, Buffer"
NODES_NM = (7.0, 10.0, 14.0, 16.0, 22.0, 28.0, 32.0, 40.0, 45.0, 65.0, 90.0, 130.0)
READ_PJ_PER_BIT = (0.00689, 0.0113, 0.0179, 0.0210, 0.0318, 0.040, 0.0519, 0.070, 0.0901, 0.158, 0.259, 0.441)
WRITE_PJ_PER_BIT = (0.00543, 0.00821, 0.0126, 0.0145, 0.0208, 0.030, 0.0353, 0.057, 0.0637, 0.118, 0.164, 0.366)

ENERGY_SPREAD = sourced(
    "sram.energy_factor",
    1.0,
    "1",
    low=0.5,
    high=20.0,
    quality="F",
    source=_3DCIMLET + "; ZigZag aimc.yaml has 0.81 pJ/b for 256 KB, 45 times more at 14 nm",
)
AREA_PER_MB = sourced(
    "sram.area_mm2_per_mb",
    1.0,
    "mm2/MB",
    low=0.5,
    high=2.5,
    quality="U",
    source="assumed at 14 nm; ISAAC's eDRAM (83000 um2 per 64 KB at 32 nm) scales to 0.50",
)
ACCESS_TIME = sourced("sram.access_ns", 1.0, "ns", low=0.3, high=3.0, quality="U", source="assumed: one cycle at 1 GHz")
EDRAM_ENERGY = sourced(
    "sram.edram_pj_per_bit", 0.08, "pJ/b", low=0.04, high=0.16, quality="M", source="ISAAC eDRAM 20.45 pJ per 256 b"
)
EDRAM_AREA = sourced(
    "sram.edram_area_um2_per_64kb", 83000.0, "um2", low=60000.0, high=110000.0, quality="M", source="ISAAC eDRAM, 32 nm"
)


def _per_bit(table: tuple[float, ...], node_nm: Real) -> Real:
    node = jnp.asarray(node_nm, jnp.result_type(node_nm, 0.0))
    grid = jnp.asarray(np.log(np.asarray(NODES_NM)), node.dtype)
    return jnp.exp(jnp.interp(jnp.log(node), grid, jnp.asarray(np.log(np.asarray(table)), node.dtype)))


@component(
    "sram_buffer",
    action="one access of `bits`",
    node="energy table 7 to 130 nm, area 14 nm scaled by Stillmaker and Baas",
    validity="buffers of tens of kilobytes; energy independent of the size",
    source=_3DCIMLET,
    analog=False,
    constants=(ENERGY_SPREAD, AREA_PER_MB, ACCESS_TIME),
)
def sram_buffer(
    megabytes: Real,
    *,
    bits: Real,
    node_nm: Real = 14.0,
    write: Real = 0.0,
    constants: Constants | None = None,
) -> Component:
    """A buffer of `megabytes` and one access of `bits`: read (`write` 0), written (1) or a mix in between.

    >>> unit = sram_buffer(1.0, bits=8.0)
    >>> round(float(unit.energy_nj) * 1e3, 4), round(float(unit.area_mm2), 3)  # pJ, mm2
    (0.1432, 1.0)
    """
    per_bit = (1.0 - write) * _per_bit(READ_PJ_PER_BIT, node_nm) + write * _per_bit(WRITE_PJ_PER_BIT, node_nm)
    energy_nj = bits * per_bit * 1e-3 * value(ENERGY_SPREAD, constants)
    area = megabytes * value(AREA_PER_MB, constants) * digital_area_factor(node_nm, 14.0)
    return Component(area, energy_nj, value(ACCESS_TIME, constants))


@component(
    "edram_buffer",
    action="one access of `bits`",
    node="32 nm; area scaled by Stillmaker and Baas, energy not",
    validity="64 KB banks; refresh not included",
    source="ISAAC, Accelergy library isaac_eDRAM.csv",
    analog=False,
    constants=(EDRAM_ENERGY, EDRAM_AREA),
)
def edram_buffer(megabytes: Real, *, bits: Real, node_nm: Real = 32.0, constants: Constants | None = None) -> Component:
    """An eDRAM buffer of `megabytes` and one access of `bits`.

    >>> round(float(edram_buffer(1.0, bits=256.0, node_nm=14.0).area_mm2), 2)
    0.5
    """
    area = 16.0 * megabytes * value(EDRAM_AREA, constants) * 1e-6 * digital_area_factor(node_nm, 32.0)
    return Component(area, bits * value(EDRAM_ENERGY, constants) * 1e-3, value(ACCESS_TIME, constants))
