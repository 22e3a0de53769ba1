"""The parametric tile in plain Python floats, exact form, written from the published formulas."""

from __future__ import annotations

import math
from typing import Any

SRAM_F2 = {7: 600.0, 10: 400.0, 14: 300.0, 22: 160.0, 28: 160.0, 65: 160.0, 130: 160.0}
AREA_TO_10NM = {7: 1.7, 10: 1.0, 14: 0.59, 16: 0.54, 20: 0.48, 32: 0.22, 45: 0.10, 65: 0.068, 90: 0.036, 130: 0.016}
NOMINAL_VDD = {7: 0.7, 10: 0.75, 14: 0.8, 22: 0.85, 32: 0.9, 45: 1.0, 65: 1.1, 90: 1.2, 130: 1.3}


def log_interpolate(node: float, table: dict[int, float], *, log_values: bool) -> float:
    nodes = sorted(table)
    if node <= nodes[0] or node >= nodes[-1]:
        return table[nodes[0] if node <= nodes[0] else nodes[-1]]
    high = next(index for index, entry in enumerate(nodes) if entry >= node)
    a, b = nodes[high - 1], nodes[high]
    weight = (math.log(node) - math.log(a)) / (math.log(b) - math.log(a))
    if log_values:
        return math.exp((1 - weight) * math.log(table[a]) + weight * math.log(table[b]))
    return (1 - weight) * table[a] + weight * table[b]


def digital_area(node: float, source: float) -> float:
    one = log_interpolate(source, AREA_TO_10NM, log_values=True)
    return one / log_interpolate(node, AREA_TO_10NM, log_values=True)


def survey(bits: float, rate: float, node: float, vdd: float) -> tuple[float, float, float]:
    hertz, bits = rate * 1e9, max(bits, 4.0)
    fom = min(213.7807 - 2.871903 * math.log(hertz), 128.3068 + 3.220512 * math.ceil(bits))
    base = 0.5 * 10 ** ((6.0206 * bits + 10 * math.log10(1.5) - fom) / 10)
    energy = base * math.exp(26.04962 + 1.880037 * math.log(node) - 2.829126 * math.log(bits) - 1.470202)
    area = math.exp(1.346192 + 0.993279 * math.log(node) + 0.180715 * math.log(hertz) + 0.299124 * math.log(energy))
    nominal = log_interpolate(node, NOMINAL_VDD, log_values=False)
    return area, energy * (vdd / nominal) ** 2, 1.0 / rate


def converter(p: dict[str, float], settling: float) -> tuple[float, float, float]:
    """um2, pJ, ns of one converter of kind 0 (survey), 1 (ZigZag) or 2 (HERMES)."""
    bits, vdd, node = p["adc_bits"], p["vdd_v"], p["node_nm"]
    if p["adc_kind"] == 0:
        area, energy, time = survey(bits, p["adc_rate_gsps"], node, vdd)
        return area, energy, time + settling
    if p["adc_kind"] == 1:
        area = 2**bits * 10 ** (-0.0369 * bits + 1.206)
        energy = (100 * bits + 0.001 * 4**bits) * vdd**2 * 1e-3
        return area, energy, bits * (0.00653 * p["active_rows"] + 0.640)
    time = max(2 ** (p["cycle_bits"] - 1), 0.3 * 2**bits) + 2.0
    area = 990.6 * (0.6 + 0.4 * bits / 8) * node / 14
    return area, 31.7 * 2 ** (bits - 8) * (vdd / 0.8) ** 2, time


def tile(p: dict[str, float]) -> dict[str, Any]:
    """Latency [ns], energy [nJ], area [mm2] and shareable fraction with all scales at 1."""
    rows, cols, bits, node, vdd = p["rows"], p["cols"], p["adc_bits"], p["node_nm"], p["vdd_v"]
    cycles = math.ceil(p["input_bits"] / p["cycle_bits"])
    reads = cycles * math.ceil(rows / p["active_rows"])
    adcs = cols / p["columns_per_adc"]
    shrink = node / 28
    gate_fj = 0.7 * shrink * vdd**2
    gate_um2 = 0.614 * digital_area(node, 28)
    gate_ns = 0.0478 * shrink
    settling = math.log(2) * (bits + 1) * 1.0 * rows * 0.35 * shrink * 1e-3
    read_ns = 2 ** (p["cycle_bits"] - 1) if p["adc_kind"] == 2 else settling

    line = 0.35 * shrink * vdd**2
    activity, cell_bits = p["input_activity"], p["cell_bits"]
    sram = log_interpolate(node, SRAM_F2, log_values=False) * node**2 * 1e-6 * 2.0 * cell_bits
    charge = (1.2 * vdd**2 + line) * 0.25 * cell_bits
    area_um2, cell_fj = {
        0: (1.935, 0.04 * read_ns * activity * 12.5),
        1: (40 * node**2 * 1e-6, 0.04 * read_ns * activity * 10.0),
        2: (sram, line * 0.5 * activity * cell_bits),
        3: (sram * 8 / 6, line * 0.5 * activity * cell_bits),
        4: (sram * 10 / 6, charge),
    }[int(p["cell_kind"])]
    cell_fj += line * activity

    dac = p["cycle_bits"] - p["cycle_bits"] ** -4.0
    pulse = 1 - p["cycle_bits"] ** -5.0
    input_um2, input_fj = (
        (55 * dac * node / 40, 50 * dac * vdd**2),
        (240 * pulse * node / 65, 37.5 * pulse),
        (0.0, 0.0),
    )[int(p.get("input_kind", 0))]
    driver_um2 = 8 * gate_um2 + input_um2
    driver_fj = 8 * gate_fj * activity + input_fj
    adc_um2, adc_pj, adc_ns = converter(p, settling)
    adder_um2, adder_fj = gate_um2 * 7.8, gate_fj * 6 * 0.15
    flop_um2, flop_fj = gate_um2 * 6, gate_fj * 3 * 0.5
    result = bits + p["input_bits"]

    areas = {
        "cells": rows * cols * p.get("cell_group", 1.0) * area_um2,
        "drivers": rows * driver_um2,
        "adc": adcs * adc_um2,
        "registers": flop_um2 * (2 * rows * p["input_bits"] + cols * result),
    }
    energies = {
        "cells": cycles * rows * cols * cell_fj * 1e-6,
        "drivers": cycles * rows * driver_fj * 1e-6,
        "adc": reads * cols * adc_pj * 1e-3,
        "registers": flop_fj * (rows * p["input_bits"] + cols * result) * 1e-6,
    }
    latency = reads * (4 * gate_ns + p["columns_per_adc"] * adc_ns)
    if p["columns_per_adc"] > 1:
        noise = 12 * 1.380649e-23 * 300 * 1e15 * 4**bits / vdd**2
        hold_ff = max(noise, 10.0)
        areas["hold"] = cols * hold_ff / 2.0
        energies["hold"] = reads * cols * hold_ff * vdd**2 * 1e-6
        latency += reads * math.log(2) * (bits + 1) * hold_ff * 1e-3
        ways = p["columns_per_adc"]
        areas["mux"] = adcs * ways * 2.0
        energies["mux"] = reads * cols * 10.0 * vdd**2 * 1e-6
        latency += reads * ways * math.log(2) * (bits + 1) * (250 + 5 * ways) * 1e-3
    if reads > 1:
        areas["shift_add"] = adcs * result * (adder_um2 + flop_um2)
        energies["shift_add"] = reads * cols * result * (adder_fj + flop_fj) * 1e-6
        latency += result * 2 * gate_ns + 2 * gate_ns
    area = sum(areas.values()) + 0.44 * (sum(areas.values()) - areas["adc"] - areas["cells"])
    energy = sum(energies.values()) + 0.2 * (sum(energies.values()) - energies["adc"])
    return {
        "latency": latency,
        "energy": energy,
        "area": area * 1e-6,
        "shareable": 1 - areas["cells"] / area,
    }
