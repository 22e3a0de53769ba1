"""Predicted against reported figures of fabricated macros: blind, and with one scale per chip.

Writes benchmarks/results/validate_macros.json, docs/images/validate_macros.png and docs/validation-macros.md:
    python benchmarks/validation/validate_macros.py
Blind: no constant was fitted to these rows (the HERMES rows never count as blind). One scale per chip: energy and
area scales from the first listed point of each chip with several points, judged on its other points. The interval of
a row is the 5 to 95 % range of the prediction when every constant is drawn from its own range.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.lib.harness import write_json
from benchmarks.lib.macro_descriptions import DIGITAL_ROWS, ROWS, Row
from benchmarks.lib.macro_page import FIGURE, PAGE, TARGETS, blind_lines, draw, table, verdict, write_page
from benchmarks.lib.macro_parts import ZIGZAG_OWN, compare_parts, parts_table
from benchmarks.lib.macro_review import STEPS, record_step
from benchmarks.lib.paths import GOLDEN
from pimjax.circuit.constants import Constants
from pimjax.circuit.digital_sram import DIGITAL_PARTS
from pimjax.circuit.gates import NANDS_PER_ADDER, XOR2_AREA_AND_DELAY, XORS_PER_ADDER
from pimjax.circuit.macros import predict_macro
from pimjax.circuit.tile import TileParameters, parametric_tile
from pimjax.circuit.uncertainty import sample_constants, used_constants
from pimjax.circuit.validity import outside_validity

#: Transistors of a full adder: as in libraries, and the fewest of a published tree (both arXiv 2510.19260), and half of the former.
PUBLISHED_ADDERS = (28, 14, 7)
REPORTED = GOLDEN / "imc_macros.csv"


def reported() -> dict[str, dict[str, float]]:
    """Reported figures by macro name; area derived from TOPS and TOPS/mm2 where only those are given."""
    table = {}
    with REPORTED.open() as stream:
        for line in csv.DictReader(stream):
            keys = ("tops", "tops_per_w", "tops_per_mm2", "area_mm2", "latency_ns")
            figures = {key: float(line[key]) for key in keys if line[key]}
            if "area_mm2" not in figures and {"tops", "tops_per_mm2"} <= figures.keys():
                figures["area_mm2"] = figures["tops"] / figures["tops_per_mm2"]
            table[line["macro"]] = figures
    return table


def hand_drawn_trees(figures: dict[str, dict[str, float]]) -> dict[str, Any]:
    """What the digital rows' areas would be with trees drawn by hand: adders of so many transistors, without the wiring of
    random logic. A full adder here is 7.8 gates of four transistors."""
    counted, shares, ratios = 4.0 * (NANDS_PER_ADDER + XORS_PER_ADDER * XOR2_AREA_AND_DELAY), [], {}
    for row in DIGITAL_ROWS:
        area = np.asarray(parametric_tile(row.macro.parameters("survey")).part_area_mm2, float)
        tree, bare, wired = area[DIGITAL_PARTS.index("adder_trees")], area[:-1].sum(), area.sum()
        shares.append(float(tree / bare))
        for transistors in PUBLISHED_ADDERS:
            drawn = (bare - tree) * wired / bare + tree * transistors / counted
            ratios.setdefault(str(transistors), []).append(
                row.macro.arrays * float(drawn) / figures[row.macro.name]["area_mm2"]
            )
    return {
        "share_of_gates": [min(shares), max(shares)],
        "ratio": ratios,
        "median_fold": {key: statistics.median(max(one, 1 / one) for one in each) for key, each in ratios.items()},
    }


def compare(row: Row, figures: dict[str, float], adc_kind: str) -> dict[str, Any]:
    """Prediction, report and ratio predicted/reported of one row."""
    converter = _converter(row, adc_kind)
    parameters = row.macro.parameters(converter)
    prediction = predict_macro(row.macro, converter)
    predicted = prediction._asdict()
    if row.latency_is_cycle:
        predicted["latency_ns"] = prediction.cycle_ns
    ratios = {key: predicted[key] / figure for key, figure in figures.items()}
    return {
        "macro": row.macro.name,
        "group": row.group,
        "blind": row.blind,
        "predicted": predicted,
        "reported": figures,
        "ratio": ratios,
        "incomparable": list(row.incomparable),
        "outside_validity": list(outside_validity(parameters)),
    }


def _converter(row: Row, adc_kind: str) -> str:
    return "hermes_cco" if row.macro.cell_kind == "pcm_8t4r" else adc_kind


def intervals(rows: tuple[Row, ...], adc_kind: str, num_samples: int) -> dict[str, dict[str, list[float]]]:
    """5, 50 and 95 % of predicted TOPS/W and area of every row under the ranges of the constants."""
    tiles = [row.macro.parameters(_converter(row, adc_kind)) for row in rows]

    def figures(constants: Constants, tile: TileParameters) -> tuple[jax.Array, jax.Array]:
        cost = parametric_tile(tile, constants=constants)
        return jnp.asarray(cost.mvm_energy_nj), jnp.asarray(cost.core_area_mm2)

    names = used_constants(lambda constants: {"energy": figures(constants, tiles[0])[0]})
    with jax.enable_x64(True):
        draws = sample_constants(names, key=jax.random.key(8), num_samples=num_samples)
        stacked = jax.tree.map(lambda *leaves: jnp.asarray(leaves), *tiles)
        over_rows = jax.vmap(figures, in_axes=(None, 0))
        energy, area = jax.jit(jax.vmap(over_rows, in_axes=(0, None)))(draws, stacked)
        nominal_energy, nominal_area = jax.jit(over_rows)({}, stacked)
    result = {}
    for index, row in enumerate(rows):
        prediction = predict_macro(row.macro, _converter(row, adc_kind))
        factor_energy = np.asarray(nominal_energy[index] / energy[:, index])
        factor_area = np.asarray(area[:, index] / nominal_area[index])
        result[row.macro.name] = {
            "tops_per_w": np.quantile(prediction.tops_per_w * factor_energy, (0.05, 0.5, 0.95)).tolist(),
            "area_mm2": np.quantile(prediction.area_mm2 * factor_area, (0.05, 0.5, 0.95)).tolist(),
        }
    return result


def coverage(rows: list[dict[str, Any]]) -> dict[str, str]:
    """How many blind rows report a figure inside the prediction's interval."""
    counts = {}
    for key in ("tops_per_w", "area_mm2"):
        blind = [row for row in rows if row["blind"] and key in row["reported"] and key not in row["incomparable"]]
        inside = sum(row["interval"][key][0] <= row["reported"][key] <= row["interval"][key][2] for row in blind)
        counts[key] = f"{inside} of {len(blind)}"
    return counts


def fold(ratio: float) -> float:
    """How many times off, in either direction."""
    return max(ratio, 1.0 / ratio)


def blind_summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Median factor off over the blind rows for each reported figure."""
    summary = {}
    for key in ("tops_per_w", "area_mm2", "tops_per_mm2", "tops", "latency_ns"):
        counted = [row for row in rows if row["blind"] and key not in row["incomparable"]]
        folds = [fold(row["ratio"][key]) for row in counted if key in row["ratio"]]
        if not folds:
            continue
        summary[key] = {"rows": len(folds), "median_fold": statistics.median(folds), "worst_fold": max(folds)}
    return summary


def scaled_summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Errors of every later point of a chip once its first point has set one energy and one area scale."""
    points, first = [], {}
    for row in rows:
        if row["group"] not in first:
            first[row["group"]] = row
            continue
        base = first[row["group"]]
        for key in ("tops_per_w", "area_mm2"):
            if key in row["ratio"] and key in base["ratio"]:
                error = abs(row["ratio"][key] / base["ratio"][key] - 1.0)
                points.append({"macro": row["macro"], "figure": key, "relative_error": error})
    medians = {
        key: statistics.median(point["relative_error"] for point in points if point["figure"] == key)
        for key in ("tops_per_w", "area_mm2")
    }
    scales = {
        group: {key: 1.0 / base["ratio"][key] for key in ("tops_per_w", "area_mm2") if key in base["ratio"]}
        for group, base in first.items()
        if any(row["group"] == group and row is not base for row in rows)
    }
    return {"points": points, "median_relative_error": medians, "ratio_scales": scales}


def main() -> None:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few samples, print only: write no file")
    parser.add_argument("--samples", type=int, default=2000, help="draws of the constants per row")
    parser.add_argument("--record", choices=STEPS, help="enter this run as a step of the review of the descriptions")
    options = parser.parse_args()
    figures = reported()
    payload: dict[str, Any] = {"targets": TARGETS, "samples": options.samples}
    # The survey is the headline: one model for every row, and none of these macros is in its regression.
    # ZigZag-IMC's closed form was itself fitted on three 22-28 nm SRAM macros, so AIMC1-3 are not blind to it.
    for adc_kind in ("survey", "zigzag"):
        rows = [compare(row, figures[row.macro.name], adc_kind) for row in ROWS]
        ranges = intervals(ROWS, adc_kind, 64 if options.quick else options.samples)
        for row in rows:
            row["interval"] = ranges[row["macro"]]
        payload[adc_kind] = {
            "rows": rows,
            "blind": blind_summary(rows),
            "inside_ranges": blind_summary([row for row in rows if not row["outside_validity"]]),
            "one_scale_per_chip": scaled_summary(rows),
            "coverage": coverage(rows),
        }
        print(f"\nADC model: {adc_kind}\n{table(rows)}")
        print("\n".join(verdict(payload[adc_kind])))
        if adc_kind == "survey" and not options.quick:
            draw(rows)
    digital = [compare(row, figures[row.macro.name], "survey") for row in DIGITAL_ROWS]
    ranges = intervals(DIGITAL_ROWS, "survey", 64 if options.quick else options.samples)
    for row in digital:
        row["interval"] = ranges[row["macro"]]
    payload["digital"] = {"rows": digital, "blind": blind_summary(digital), "coverage": coverage(digital)}
    payload["digital"]["trees"] = hand_drawn_trees(figures)
    print(f"\nDigital macros\n{table(digital)}")
    print("\n".join(blind_lines(payload["digital"])))
    payload["parts"] = compare_parts()
    payload["zigzag_own"] = ZIGZAG_OWN
    print("\n".join(parts_table(payload["parts"])))
    if options.record:
        print("recorded", record_step(options.record, payload))
    if not options.quick:
        write_page(payload)
        print("wrote", write_json("validate_macros", payload), FIGURE, PAGE)


if __name__ == "__main__":
    main()
