"""The review of the macro descriptions after the first run: every change with its reason, every row before and after.

No constant was chosen by its effect on a row. Each change was made because a source or a stated range says so, and the
comparison was run once after each (``python benchmarks/validation/validate_macros.py --quick --record STEP``), whichever way it
went. The record is benchmarks/results/validate_macros_review.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.lib import results
from benchmarks.lib.paths import RESULTS

FILE = RESULTS / "validate_macros_review.json"
FIGURES = ("tops_per_w", "area_mm2")

STEPS = {
    "first run": "Constants and descriptions as committed before the comparison was first run.",
    "two descriptions": "AIMC3 converts all 64 rows at once; NeuRRAM's 2-phase mode is not two full reads "
    "(reasons in benchmarks/lib/macro_descriptions.py).",
    "survey range": "The survey regression states 4 bits and more and its source refuses fewer; it was extrapolated to "
    "AIMC3's 3 bits. A converter of fewer bits now costs what one of 4 bits costs.",
    "cell groups": "The rows say that several stored cells take turns at one computing position (AIMC2: '32 cells share "
    "one compute entry'; Wang2022: 'MVM = 16x64x8 MACs'); their sources have it as a parameter. The descriptions gave "
    "AIMC2 a driver and a DAC for each of 512 stored rows, and left seven eighths of Wang2022's cells out.",
    "wiring": "NeuroSim's factor of 1.44 is the wiring of level shifters. It multiplied the cells too, whose F2 counts "
    "are those of cells drawn in an array.",
    "input kinds": "The row says that NeuRRAM's inputs are serial, and Sinangil2021's source that its inputs are counted "
    "pulses. Both were given a voltage DAC, whose closed form was fitted at 22 and 28 nm; pulses now take the "
    "published digital-to-time converter (0.0375 pJ, 240 um2 at 65 nm), serial bits no converter.",
}
"""Steps in the order in which they were made, with the reason for each."""


def entry(section: dict[str, Any]) -> dict[str, Any]:
    """Ratios predicted / reported of every row and the blind medians of one comparison."""
    return {
        "ratios": {
            row["macro"]: {key: row["ratio"][key] for key in FIGURES if key in row["ratio"]} for row in section["rows"]
        },
        "blind_median_fold": {key: section["blind"][key]["median_fold"] for key in FIGURES},
    }


def record_step(step: str, payload: dict[str, Any]) -> Path:
    """Enter a run of validate_macros as `step` of the record, in place of an earlier entry of that name."""
    record = json.loads(FILE.read_text()) if FILE.exists() else {}
    record[step] = {kind: entry(payload[kind]) for kind in ("survey", "zigzag")}
    ordered = {name: record[name] for name in STEPS if name in record}
    return results.write(FILE, ordered)


def review_lines(kind: str = "survey") -> list[str]:
    """The record as Markdown: one row per macro, one column per step, and the medians."""
    record = json.loads(FILE.read_text())
    steps = list(record)
    lines = []
    for key, title in (("tops_per_w", "TOPS/W"), ("area_mm2", "area")):
        lines += [f"| {title}, predicted / reported | " + " | ".join(steps) + " |", "|---|" + "---|" * len(steps)]
        for macro in record[steps[0]][kind]["ratios"]:
            ratios = [record[step][kind]["ratios"][macro].get(key) for step in steps]
            if ratios[0] is not None and not macro.startswith("HERMES"):
                lines.append(f"| {macro} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")
        medians = [record[step][kind]["blind_median_fold"][key] for step in steps]
        lines += ["| **median, times off** | " + " | ".join(f"**{median:.2f}**" for median in medians) + " |", ""]
    return lines
