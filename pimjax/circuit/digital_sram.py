"""A digital SRAM macro: stored bits times input bits in gates, adder trees over the rows, accumulators over the cycles.

No converter and no analog signal: results are exact. Gate counts and the clock path are those of ZigZag-IMC's digital
array (:mod:`pimjax.circuit.zigzag_array` holds them as its source writes them, on whole numbers); here they are smooth
in every size, move to other nodes with the gates, and switch as often as their operands do. A tree of N inputs of w
bits has N (w + 1) - (w + log2 N + 1) one-bit adders; every bit of a cycle has a tree (with radix-4 Booth recoding every
second), and the trees' results are added at their places. Rows beyond those that compute at once wait behind them: a row
group follows another, and each of their local bit lines is precharged once per group.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from pimjax.circuit.accumulators import shift_add
from pimjax.circuit.cell_array import LINE_CAPACITANCE, cell
from pimjax.circuit.component import Component, component
from pimjax.circuit.constants import Constants, Real, sourced, value
from pimjax.circuit.drivers import row_driver
from pimjax.circuit.gates import (
    LOGIC_RANGES,
    NAND2_AREA,
    NAND2_CAPACITANCE,
    NAND2_DELAY,
    XOR2_AREA_AND_DELAY,
    full_adder,
)
from pimjax.circuit.registers import register
from pimjax.circuit.scaling import digital_area_factor, digital_delay_factor

DIGITAL_PARTS = (
    "cells",
    "row_drivers",
    "multipliers",
    "adder_trees",
    "accumulators",
    "registers",
    "wiring_control",
)
"""Entries of the `part_*` arrays of a digital tile's cost; letter P."""

_ZIGZAG = "ZigZag-IMC imc_array.py and imc_unit.py, digital arrays"
WEIGHT_DENSITY = sourced(
    "digital_sram.weight_density",
    0.5,
    "1",
    low=0.25,
    high=0.75,
    quality="U",
    source="assumed: share of ones among stored bits; what DIMC papers mean by 50 % weight sparsity",
)
_TYPICAL_ACTIVITY = 0.25  # inputs and weights half ones: what the adders' activity factor was measured at


@component(
    "bit_multiplier",
    action="one stored bit times one input bit",
    node="28 nm, scaled by Stillmaker and Baas (area), linearly (capacitance, delay)",
    validity="7 to 130 nm, 0.5 to 1.3 V",
    source=_ZIGZAG + ": one NAND2",
    analog=False,
    constants=(NAND2_AREA, NAND2_CAPACITANCE, NAND2_DELAY, WEIGHT_DENSITY),
    ranges=LOGIC_RANGES,
)
def bit_multiplier(
    *, node_nm: Real, vdd_v: Real, activity: Real = 0.5, constants: Constants | None = None
) -> Component:
    """One gate behind a cell; it switches when a driven input (`activity`) meets a stored one.

    >>> round(float(bit_multiplier(node_nm=28.0, vdd_v=0.9).area_mm2) * 1e6, 3)  # um2
    0.614
    """
    area = value(NAND2_AREA, constants) * 1e-6 * digital_area_factor(node_nm, 28.0)
    energy_fj = value(NAND2_CAPACITANCE, constants) * (node_nm / 28.0) * vdd_v**2
    energy = energy_fj * 1e-6 * activity * value(WEIGHT_DENSITY, constants)
    return Component(area, energy, value(NAND2_DELAY, constants) * digital_delay_factor(node_nm, 28.0))


@component(
    "adder_tree",
    action="one sum of all inputs",
    node="28 nm gates, scaled",
    validity="2 to 2304 inputs; ripple-carry adders",
    source=_ZIGZAG + "; switching activity of NeuroSim's adders at half ones, in proportion to the operands",
    analog=False,
    constants=(WEIGHT_DENSITY,),
    ranges={"rows": (2.0, 2304.0)},
)
def adder_tree(
    rows: Real,
    bits: Real,
    *,
    node_nm: Real,
    vdd_v: Real,
    activity: Real = 0.5,
    constants: Constants | None = None,
) -> Component:
    """A tree that adds `rows` numbers of `bits` bits; the result has ``bits + log2 rows``.

    >>> tree = adder_tree(32.0, 8.0, node_nm=28.0, vdd_v=0.9)
    >>> round(float(tree.area_mm2 / full_adder(node_nm=28.0, vdd_v=0.9).area_mm2))
    274
    """
    depth = jnp.log2(jnp.asarray(rows))
    count = rows * (bits + 1.0) - (bits + depth + 1.0)
    adder = full_adder(node_nm=node_nm, vdd_v=vdd_v, constants=constants)
    switching = activity * value(WEIGHT_DENSITY, constants) / _TYPICAL_ACTIVITY
    to_sum, to_carry, ripple = _paths(node_nm, constants)
    latency = (depth - 1.0) * to_sum + to_carry + (bits + depth - 2.0) * ripple
    return Component(count * adder.area_mm2, count * adder.energy_nj * switching, latency)


def _paths(node_nm: Real, constants: Constants | None) -> tuple[Real, Real, Real]:
    """Delays of a full adder [ns]: inputs to sum, inputs to carry, carry to carry."""
    gate = value(NAND2_DELAY, constants) * digital_delay_factor(node_nm, 28.0)
    return 2.0 * XOR2_AREA_AND_DELAY * gate, (XOR2_AREA_AND_DELAY + 2.0) * gate, 2.0 * gate


def digital_rows(p: Any, *, exact: bool, constants: Constants | None) -> dict[str, tuple[Any, ...]]:
    """Count, unit area [mm2], energy [nJ] and critical-path time [ns] per product of each part but the wiring.

    Args:
      p: TileParameters of one dtype; `cell_bits` are the bits of a weight, `cols` its outputs, `active_rows` the rows
        that compute at once. What belongs to converters is not read.
      exact: whole cycles, row groups and tree levels.
    """
    quotient = jnp.ceil if exact else jnp.asarray
    cycles, groups = quotient(p.input_bits / p.cycle_bits), quotient(p.rows / p.active_rows)
    reads = jnp.asarray(cycles * groups)
    serial = jnp.where(reads > 1.0, 1.0, 0.0)
    logic = {"node_nm": p.node_nm, "vdd_v": p.vdd_v, "constants": constants}
    switched = {**logic, "activity": p.input_activity}
    unit_cell = cell(
        p.cell_kind,
        cell_bits=p.cell_bits,
        node_nm=p.node_nm,
        vdd_v=p.vdd_v,
        read_ns=jnp.zeros_like(p.rows),
        activity=p.input_activity,
        constants=constants,
    )
    multiplier, tree = bit_multiplier(**switched), adder_tree(p.active_rows, p.cell_bits, **switched)
    adder, driver = full_adder(**logic), row_driver(jnp.ones_like(p.rows), activity=p.input_activity, **logic)
    depth = quotient(jnp.log2(p.active_rows))
    sum_bits = p.cell_bits + depth

    # products of one cycle, each with a tree of its own, and trees over their places
    bits = quotient(p.cycle_bits / p.product_bits)
    places = jnp.where(bits > 1.0, sum_bits * (bits - 1.0) + bits * (jnp.log2(bits) - 0.5), 0.0)
    to_sum, to_carry, ripple = _paths(p.node_nm, constants)
    several = (jnp.log2(bits) - 1.0) * to_sum + to_carry + (bits - 1.0) * ripple
    place_time = jnp.where(bits > 1.0, several, 0.0)
    place_bits = jnp.where(bits > 1.0, sum_bits + bits, sum_bits)
    result_bits = p.input_bits + quotient(jnp.log2(p.rows)) + p.cell_bits
    accumulator, word = shift_add(result_bits, **logic), register(p.input_bits, **logic)
    output = register(result_bits, **logic)
    accumulate = serial * (to_carry + (result_bits - place_bits - 1.0) * ripple)

    computing = p.active_rows * p.cols
    switching = p.input_activity * value(WEIGHT_DENSITY, constants) / _TYPICAL_ACTIVITY
    # of the rows that take turns at a multiplier another is connected: its local bit lines move
    line_fj = value(LINE_CAPACITANCE, constants) * (p.node_nm / 28.0) * p.vdd_v**2
    behind = jnp.where(groups > 1.0, 1.0, 0.0)
    precharge = behind * p.rows * p.cols * p.cell_bits * line_fj * 1e-6 * value(WEIGHT_DENSITY, constants)
    zero = jnp.zeros_like(p.rows)
    tree_area = bits * tree.area_mm2 + places * adder.area_mm2
    tree_energy = bits * tree.energy_nj + places * adder.energy_nj * switching
    register_bits = 2.0 * p.rows * p.input_bits + p.cols * result_bits
    register_area = 2.0 * p.rows * word.area_mm2 + p.cols * output.area_mm2
    register_energy = p.rows * word.energy_nj + p.cols * output.energy_nj
    return {
        "cells": (p.rows * p.cols * p.cell_group, unit_cell.area_mm2, precharge, zero),
        "row_drivers": (p.rows * p.cycle_bits, driver.area_mm2, cycles * p.rows * p.cycle_bits * driver.energy_nj, reads * driver.latency_ns),
        "multipliers": (
            computing * p.cell_bits * p.cycle_bits,
            multiplier.area_mm2,
            reads * computing * p.cell_bits * p.cycle_bits * multiplier.energy_nj,
            reads * multiplier.latency_ns,
        ),
        "adder_trees": (p.cols, tree_area, reads * p.cols * tree_energy, reads * (tree.latency_ns + place_time)),
        "accumulators": (
            serial * p.cols,
            accumulator.area_mm2,
            serial * reads * p.cols * accumulator.energy_nj,
            reads * accumulate,
        ),
        "registers": (register_bits, register_area / register_bits, jnp.asarray(register_energy), zero),
    }  # fmt: skip
