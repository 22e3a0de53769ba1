"""A whole ZigZag-IMC array (analog or digital in-SRAM computing) in closed form, in its own constants.

For comparison with that tool component by component (28 nm, 0.9 V): D1 word-line dimension (outputs), D2 bit-line
dimension (inputs), w weight bits, a activation bits, p input bits per cycle, b converter bits. Every term below is a
published formula of ``zigzag/hardware/architecture/imc_array.py`` and ``imc_unit.py``; cells are an input there too.
Host code on whole numbers: the tool's own domain.
"""

from __future__ import annotations

import dataclasses
import math

from pimjax import checks
from pimjax.circuit.adc_zigzag import adc_zigzag, dac_zigzag
from pimjax.circuit.gates import (
    FLIP_FLOP_AREA,
    FLIP_FLOP_CAPACITANCE,
    NAND2_AREA,
    NAND2_CAPACITANCE,
    NAND2_DELAY,
    NANDS_PER_ADDER,
    XOR2_AREA_AND_DELAY,
    XOR2_CAPACITANCE,
    XORS_PER_ADDER,
)
from pimjax.errors import ConfigError

VDD_V = 0.9


@dataclasses.dataclass(frozen=True)
class ZigzagArray:
    """One array of the tool's input file; `cell_group_area_mm2` is the cell area behind one D1 x D2 position."""

    analog: bool
    outputs: int
    inputs: int
    adc_bits: int
    cycle_bits: int
    input_bits: int
    weight_bits: int
    cell_group_area_mm2: float


@dataclasses.dataclass(frozen=True)
class ZigzagCost:
    """Breakdowns by the tool's component names: area [mm2], clock path [ns], energy per cycle [pJ]; and its totals."""

    area_mm2: dict[str, float]
    clock_ns: dict[str, float]
    energy_pj: dict[str, float]

    def totals(self, array: ZigzagArray) -> dict[str, float]:
        """Total area, clock period, energy per cycle, peak TOPS, TOPS/W and TOPS/mm2."""
        area, clock, energy = (sum(part.values()) for part in (self.area_mm2, self.clock_ns, self.energy_pj))
        macs = array.outputs * array.inputs * array.cycle_bits / array.input_bits
        tops = 2.0 * macs / clock * 1e-3
        return {
            "area_mm2": area,
            "tclk_ns": clock,
            "energy_pJ_per_cycle": energy,
            "tops_peak": tops,
            "topsw_peak": 2.0 * macs / energy,
            "topsmm2_peak": tops / area,
        }


def _adder_trees(array: ZigzagArray) -> tuple[float, int, float, int]:
    """One-bit adders of all plain trees, their output width, and the same for the place-value trees."""
    if array.analog:
        plain, plain_bits = 0.0, 0
        leaves, leaf_bits = array.weight_bits, array.adc_bits
    else:
        depth = int(math.log2(array.inputs))
        per_tree = array.inputs * (array.weight_bits + 1) - (array.weight_bits + depth + 1)
        plain = float(per_tree * array.cycle_bits * array.outputs)
        plain_bits = array.weight_bits + depth
        leaves, leaf_bits = array.cycle_bits, plain_bits
    if leaves == 1:
        return plain, plain_bits, 0.0, leaf_bits
    per_tree = leaf_bits * (leaves - 1) + leaves * (math.log2(leaves) - 0.5)
    return plain, plain_bits, per_tree * array.outputs, leaf_bits + leaves


def _clock(array: ZigzagArray, adc_ns: float, plain_bits: int, place_bits: int) -> dict[str, float]:
    gate = NAND2_DELAY.value
    to_sum = 2 * XOR2_AREA_AND_DELAY * gate
    to_carry = (XOR2_AREA_AND_DELAY + 2) * gate
    ripple = 2 * gate
    clock = {"cells": 0.0, "dacs": 0.0, "adcs": adc_ns, "mults": gate}
    clock["adders_regular"] = (
        0.0 if array.analog else (math.log2(array.inputs) - 1) * to_sum + to_carry + (plain_bits - 2) * ripple
    )
    leaves = array.weight_bits if array.analog else array.cycle_bits
    clock["adders_pv"] = 0.0 if leaves == 1 else (math.log2(leaves) - 1) * to_sum + to_carry + (leaves - 1) * ripple
    clock["accumulators"] = 0.0
    if array.cycle_bits != array.input_bits:
        clock["accumulators"] = to_carry + (_accumulator_bits(array) - place_bits - 1) * ripple
    return clock


def _accumulator_bits(array: ZigzagArray) -> float:
    resolution = array.adc_bits if array.analog else math.log2(array.inputs)
    return array.input_bits + resolution + array.weight_bits


@checks.checked(ConfigError, array=checks.instance(ZigzagArray, "a ZigzagArray"))
def zigzag_array(array: ZigzagArray) -> ZigzagCost:
    """Cost breakdown of `array` at peak activity.

    >>> small = ZigzagArray(True, 32, 32, 4, 1, 8, 8, 3e-6)
    >>> round(zigzag_array(small).totals(small)["area_mm2"], 6)
    0.067736
    """
    adder_area = NAND2_AREA.value * 1e-6 * (NANDS_PER_ADDER + XORS_PER_ADDER * XOR2_AREA_AND_DELAY)
    gate_pj = NAND2_CAPACITANCE.value * 1e-3 * VDD_V**2
    adder_pj = gate_pj * (NANDS_PER_ADDER + XORS_PER_ADDER * XOR2_CAPACITANCE)
    positions = array.outputs * array.inputs
    multipliers = positions * array.weight_bits * (1 if array.analog else array.cycle_bits)
    plain, plain_bits, place, place_bits = _adder_trees(array)
    accumulated = 0.0
    if array.cycle_bits != array.input_bits:
        accumulated = _accumulator_bits(array) * array.outputs

    area = {"cells": positions * array.cell_group_area_mm2, "dacs": 0.0, "adcs": 0.0}
    energy = {"local_bl_precharging": 0.0, "dacs": 0.0, "adcs": 0.0}
    adc_ns = 0.0
    bit_lines = 0.0
    if array.analog:
        adc = adc_zigzag(float(array.adc_bits), rows=float(array.inputs), vdd_v=VDD_V)
        dac = dac_zigzag(float(array.cycle_bits), vdd_v=VDD_V, exact=True)
        columns = array.weight_bits * array.outputs
        area["adcs"] = float(adc.area_mm2) * columns
        energy["adcs"] = float(adc.energy_nj) * 1e3 * columns
        energy["dacs"] = float(dac.energy_nj) * 1e3 * array.inputs
        adc_ns = float(adc.latency_ns)
        bit_lines = 0.5 * gate_pj * array.weight_bits * positions
    area["mults"] = multipliers * NAND2_AREA.value * 1e-6
    area["adders_regular"] = plain * adder_area
    area["adders_pv"] = place * adder_area
    area["accumulators"] = accumulated * (adder_area + FLIP_FLOP_AREA * NAND2_AREA.value * 1e-6)
    energy["mults"] = 0.5 * gate_pj * multipliers
    energy["analog_bl_addition"] = bit_lines
    energy["adders_regular"] = plain * adder_pj
    energy["adders_pv"] = place * adder_pj
    energy["accumulators"] = accumulated * (adder_pj + FLIP_FLOP_CAPACITANCE * gate_pj)
    return ZigzagCost(area, _clock(array, adc_ns, plain_bits, place_bits), energy)
