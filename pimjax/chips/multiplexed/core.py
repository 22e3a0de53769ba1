"""The crossbar core: the measured one, or one computed from circuit parameters (`plan.tile`)."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.chips.multiplexed.smooth import as_real
from pimjax.circuit.hermes import hermes_tile
from pimjax.circuit.sanity import least_cost, tile_violations
from pimjax.circuit.tile import TileParameters, parametric_tile
from pimjax.config.build import Design
from pimjax.config.plan import TILE_KINDS

#: `plan.adc` (survey, zigzag, hermes, table) -> index into `pimjax.circuit.adc.ADC_KINDS` (table: its first entry).
_CIRCUIT_ADC = (0, 1, 2, 3)


class Core(NamedTuple):
    """One crossbar with its own peripherals; float scalars."""

    mvm_latency_ns: Array
    mvm_energy_nj: Array
    area_mm2: Array
    shareable_fraction: Array
    impossible: Array  # bool: beyond a physical limit (:mod:`pimjax.circuit.sanity`)


def core(design: Design) -> Core:
    """Cost of one crossbar and of one matrix-vector product on it, all input cycles included.

    `calibrated`: the numbers of the hardware section. `parametric`: :func:`pimjax.circuit.tile.parametric_tile`
    with the scales that put it on the HERMES core, at the design's rows, columns, ADC, node and supply. Serial input
    bits (`input_cycles`) multiply latency and energy either way.

    >>> from pimjax.config.build import build
    >>> from pimjax.config.config import Config
    >>> round(float(core(build(Config())[0]).mvm_latency_ns), 3)
    130.0
    """
    hardware = as_real(design.hardware, design.hardware.mvm_latency_ns)
    figures = (hardware.mvm_latency_ns, hardware.mvm_energy_nj, hardware.core_area_mm2)
    least = least_cost(hardware.crossbar_rows, hardware.crossbar_cols, hardware.node_nm)
    below = jnp.stack([figure < limit for figure, limit in zip(figures, least, strict=True)]).any()
    measured = Core(*figures, hardware.shareable_fraction, below)
    parameters = tile_parameters(design)
    parts = parametric_tile(parameters)
    impossible = tile_violations(parameters, parts).any()
    figures = (parts.mvm_latency_ns, parts.mvm_energy_nj, parts.core_area_mm2, parts.shareable_fraction, impossible)
    computed = Core(*(jnp.asarray(figure) for figure in figures))
    is_computed = design.plan.tile == TILE_KINDS.index("parametric")
    chosen = Core(*(jnp.where(is_computed, b, a) for a, b in zip(measured, computed, strict=True)))
    cycles = hardware.input_cycles
    return chosen._replace(mvm_latency_ns=cycles * chosen.mvm_latency_ns, mvm_energy_nj=cycles * chosen.mvm_energy_nj)


def tile_parameters(design: Design) -> TileParameters:
    """The parametric tile at the design's rows, columns, ADC, node and supply, with the scales of the HERMES core.

    >>> from pimjax.config.build import build
    >>> from pimjax.config.config import Config
    >>> float(tile_parameters(build(Config())[0]).rows)
    256.0
    """
    hardware = as_real(design.hardware, design.hardware.mvm_latency_ns)
    with jax.ensure_compile_time_eval():
        reference = hermes_tile()
    parameters = dataclasses.replace(
        reference,
        rows=hardware.crossbar_rows,
        cols=hardware.crossbar_cols,
        active_rows=hardware.crossbar_rows,
        adc_bits=hardware.adc_bits,
        columns_per_adc=hardware.columns_per_adc,
        adc_kind=jnp.asarray(_CIRCUIT_ADC, hardware.mvm_latency_ns.dtype)[design.plan.adc],
        node_nm=hardware.node_nm,
        vdd_v=hardware.supply_v,
    )
    return as_real(parameters, hardware.mvm_latency_ns)
