"""Every part of a tile with count, unit cost, total, share and source: the circuit side of ``--explain``."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from pimjax import checks
from pimjax.circuit.adc import ADC_KINDS
from pimjax.circuit.component import CATALOGUE
from pimjax.circuit.constants import CONSTANTS
from pimjax.circuit.tile import COMPUTE_KINDS, CONTROL_ENERGY, WIRING_AREA, TileParameters, compiled_tile
from pimjax.errors import ConfigError

PART_COMPONENT = {
    "cells": "cell",
    "row_drivers": "row_driver",
    "sample_hold": "sample_hold",
    "column_mux": "analog_mux",
    "shift_add": "shift_add",
    "registers": "register",
    "multipliers": "bit_multiplier",
    "adder_trees": "adder_tree",
    "accumulators": "shift_add",
}
"""Catalogue entry behind each part; the converter's depends on its kind."""


class ExplainRow(NamedTuple):
    """One part of a tile: `unit` figures are per counted unit, shares are of the tile's total."""

    part: str
    count: float
    unit_area_mm2: float
    area_mm2: float
    area_share: float
    unit_energy_nj: float
    energy_nj: float
    energy_share: float
    latency_ns: float
    latency_share: float
    source: str
    unverified: tuple[str, ...]


def _component_of(part: str, parameters: TileParameters) -> str | None:
    if part != "adc":
        return PART_COMPONENT.get(part)
    kind = ADC_KINDS[round(float(np.asarray(parameters.adc_kind)))]
    return {"survey": "adc_survey", "zigzag": "adc_zigzag", "hermes_cco": "adc_hermes_cco"}.get(kind, "adc_table")


@checks.checked(ConfigError, parameters=checks.instance(TileParameters, "TileParameters"))
def explain_tile(parameters: TileParameters) -> tuple[ExplainRow, ...]:
    """The parts of one tile, host, float64; `energy` is per MVM and `unit_energy` that divided by the count.

    >>> rows = explain_tile(TileParameters())
    >>> rows[0].part, rows[0].count
    ('cells', 65536.0)
    >>> abs(sum(row.area_share for row in rows) - 1.0) < 1e-12
    True
    """
    with jax.enable_x64(True):
        cost = jax.tree.map(np.asarray, compiled_tile(parameters))
    rows = []
    for index, part in enumerate(COMPUTE_KINDS[parameters.compute]):
        name = _component_of(part, parameters)
        if name is None:
            source = f"wiring: {WIRING_AREA.source}; control: {CONTROL_ENERGY.source}"
            constants = (WIRING_AREA.name, CONTROL_ENERGY.name)
        else:
            source, constants = CATALOGUE[name].source, CATALOGUE[name].constants
        count = float(cost.part_count[index])
        area, energy, latency = (
            float(figures[index]) for figures in (cost.part_area_mm2, cost.part_energy_nj, cost.part_latency_ns)
        )
        rows.append(
            ExplainRow(
                part,
                count,
                area / count if count else 0.0,
                area,
                area / float(cost.core_area_mm2),
                energy / count if count else 0.0,
                energy,
                energy / float(cost.mvm_energy_nj),
                latency,
                latency / float(cost.mvm_latency_ns),
                source,
                tuple(key for key in constants if CONSTANTS[key].quality == "U"),
            )
        )
    return tuple(rows)
