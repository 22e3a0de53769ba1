"""Our closed form with ZigZag-IMC's constants against that tool's own output, component by component.

Writes benchmarks/results/validate_zigzag.json and prints the largest deviation of every column:
    python benchmarks/validation/validate_zigzag.py
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax

from benchmarks.lib.harness import write_json
from benchmarks.lib.paths import GOLDEN
from pimjax.circuit.zigzag_array import ZigzagArray, zigzag_array

TABLE = GOLDEN / "zigzag_imc_arrays.csv"
TARGET = 0.01
PREFIXES = {"area_mm2": "area_", "clock_ns": "tclk_", "energy_pj": "e_"}


def compare_line(line: dict[str, str]) -> dict[str, tuple[float, float]]:
    """(ours, theirs) of every component and total of one golden line."""
    array = ZigzagArray(
        analog=line["analog"] == "1",
        outputs=int(line["wordline_dim_D1"]),
        inputs=int(line["bitline_dim_D2"]),
        adc_bits=int(line["adc_bits"]),
        cycle_bits=int(line["bit_serial"]),
        input_bits=int(line["act_bits"]),
        weight_bits=int(line["w_bits"]),
        cell_group_area_mm2=float(line["cells_area_mm2"]),
    )
    cost = zigzag_array(array)
    pairs = {}
    for field, prefix in PREFIXES.items():
        for part, ours in getattr(cost, field).items():
            pairs[prefix + part] = (ours, float(line[prefix + part]))
    for name, ours in cost.totals(array).items():
        pairs[name] = (ours, float(line[name]))
    return pairs


def deviation(ours: float, theirs: float) -> float:
    """Relative deviation; a component that the tool has at zero must be zero here too."""
    return abs(ours - theirs) / abs(theirs) if theirs else (0.0 if ours == 0.0 else float("inf"))


def run() -> dict[str, Any]:
    """Largest deviation of every column over all arrays."""
    with TABLE.open() as stream:
        lines = list(csv.DictReader(stream))
    worst: dict[str, float] = {}
    with jax.enable_x64(True):
        for line in lines:
            for name, (ours, theirs) in compare_line(line).items():
                worst[name] = max(worst.get(name, 0.0), deviation(ours, theirs))
    inputs = {"analog", "wordline_dim_D1", "bitline_dim_D2", "adc_bits", "bit_serial", "act_bits", "w_bits"}
    inputs |= {"cells_size", "cells_area_mm2"}
    unmatched = sorted(set(lines[0]) - inputs - set(worst))
    return {
        "arrays": len(lines),
        "target_relative_error": TARGET,
        "worst_relative_error": worst,
        "above_target": sorted(name for name, error in worst.items() if error > TARGET),
        "columns_without_formula": unmatched,
    }


def main() -> None:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="print only: write no JSON")
    options = parser.parse_args()
    payload = run()
    for name, error in payload["worst_relative_error"].items():
        print(f"{name:28s} {error:.2e}")
    print(f"{payload['arrays']} arrays; above 1 %: {payload['above_target'] or 'none'}; ", end="")
    print(f"columns without a formula: {payload['columns_without_formula'] or 'none'}")
    if not options.quick:
        print("wrote", write_json("validate_zigzag", payload))


if __name__ == "__main__":
    main()
