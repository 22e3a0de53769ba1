"""Reported parts of macros beside predicted ones, and what another tool's own script gives: which part of a row is off."""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmarks.lib.macro_descriptions import ROWS
from pimjax.circuit.explain import explain_tile

ARRAY = ("cells", "row_drivers")


class Part(NamedTuple):
    """One reported part: `figure` "energy_pj" per product of one array, or "area_mm2" of all arrays."""

    macro: str
    figure: str
    name: str
    parts: tuple[str, ...]
    reported: float


_JIA_COLUMNS = 256
_WANG_PJ = 2 * 64 * 16 / 16.376
WAN_AREA_MM2 = 48 * 1.161

REPORTED = (
    *(
        Part(f"Jia2020 {vdd}V", "energy_pj", name, parts, _JIA_COLUMNS * per_column)
        for vdd, adc, array in ((0.85, 1.79, 9.7), (1.2, 3.56, 20.4))
        for name, parts, per_column in (("ADC", ("adc",), adc), ("array and drivers", ARRAY, array))
    ),
    Part("Jia2020 0.85V", "area_mm2", "ADC", ("adc",), 0.497),
    Part("Jia2020 0.85V", "area_mm2", "array and drivers", ARRAY, 2.91),
    Part("Wang2022 1.0V", "energy_pj", "ADC", ("adc",), 0.34 * _WANG_PJ),
    Part("Wang2022 1.0V", "energy_pj", "DAC", ("row_drivers",), 0.22 * _WANG_PJ),
    Part("Wang2022 1.0V", "energy_pj", "array", ("cells",), 0.40 * _WANG_PJ),
    Part("Wang2022 1.0V", "area_mm2", "ADC", ("adc",), 0.13 * 0.124),
    Part("Wang2022 1.0V", "area_mm2", "DAC", ("row_drivers",), 0.30 * 0.124),
    Part("Wang2022 1.0V", "area_mm2", "array", ("cells",), 0.46 * 0.124),
    Part("Wan2022 NeuRRAM 6b-in 8b-out 1-phase", "area_mm2", "neurons (ADC)", ("adc",), 0.28 * WAN_AREA_MM2),
    Part("Wan2022 NeuRRAM 6b-in 8b-out 1-phase", "area_mm2", "drivers", ("row_drivers",), 0.21 * WAN_AREA_MM2),
    Part("Wan2022 NeuRRAM 6b-in 8b-out 1-phase", "area_mm2", "RRAM", ("cells",), 0.12 * WAN_AREA_MM2),
)
"""Parts as the notes of tests/golden/imc_macros.csv state them."""

ZIGZAG_OWN = {
    "AIMC1": {"tops_per_w": 1179.9, "area_mm2": 1.244},
    "AIMC2": {"tops_per_w": 2.135, "area_mm2": 0.4567},
    "AIMC3": {"tops_per_w": 18.43, "area_mm2": 1.964},
}
"""What ZigZag-IMC's own validation functions compute (zigzag-dse 3.1.1, aimc1 to aimc3_validation_subfunc.py)."""


def compare_parts() -> list[dict[str, Any]]:
    """Every reported part with the prediction (survey model) and their ratio."""
    rows = []
    for part in REPORTED:
        macro = next(row.macro for row in ROWS if row.macro.name == part.macro)
        found = {row.part: row for row in explain_tile(macro.parameters())}
        if part.figure == "area_mm2":
            predicted = macro.arrays * sum(found[name].area_mm2 for name in part.parts)
        else:
            predicted = macro.phases * 1e3 * sum(found[name].energy_nj for name in part.parts)
        rows.append(
            {**part._asdict(), "predicted": predicted, "ratio": predicted / part.reported, "parts": list(part.parts)}
        )
    return rows


def parts_table(rows: list[dict[str, Any]]) -> list[str]:
    """The parts as Markdown."""
    units = {"energy_pj": "pJ per product", "area_mm2": "mm2"}
    lines = ["| macro | part | predicted | reported | ratio |", "|---|---|---|---|---|"]
    for row in rows:
        cells = (row["macro"], f"{row['name']}, {units[row['figure']]}", f"{row['predicted']:.3g}")
        lines.append("| " + " | ".join((*cells, f"{row['reported']:.3g}", f"{row['ratio']:.2f}")) + " |")
    return lines
