"""Perplexity, signal-to-noise ratio, energy, area and latency of one chip under one configuration each; best trades.

    python benchmarks/studies/joint_view.py            # minutes on a CPU; writes results/joint_view.json
    python benchmarks/studies/joint_view.py --reuse    # the same in seconds: accuracy from the committed results, costs anew
    python benchmarks/studies/joint_view.py --quick    # signal-to-noise ratio only, three settings, writes joint_view_quick.json

Swept: ADC bits, and how many columns take turns at one ADC, on the paper's multiplexed chip with a computed crossbar
(`plan.tile: parametric`). Every row is one `pimjax.estimate(config, accuracy=...)`: numerics and costs read the same
configuration. Not beaten: no other row is as good in perplexity (signal-to-noise ratio with --quick), energy and area.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pimjax
from benchmarks.lib.harness import write_json
from benchmarks.lib.paths import RESULTS
from pimjax.estimation.accuracy import best_trades
from pimjax.estimation.result import ACCURACY


def known_accuracy() -> dict[tuple[int, int], dict[str, float]]:
    """Accuracy in the committed results by converter's bits and columns: it does not depend on what a run costs."""
    stored = json.loads((RESULTS / "joint_view.json").read_text())
    exact = {"exact_perplexity": stored["exact_perplexity"]}
    return {
        (row["adc_bits"], row["columns_per_adc"]): {name: row[name] for name in ACCURACY if name in row} | exact
        for row in stored["rows"]
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--reuse", action="store_true", help="take accuracy from the committed results")
    parser.add_argument("--fidelity", default="closed", choices=("closed", "fluid", "event"))
    options = parser.parse_args()
    quality = "sqnr_db" if options.quick else "perplexity"
    begin = time.perf_counter()
    rows, results = [], []
    known: dict[tuple[int, int], Any] = known_accuracy() if options.reuse else {}
    asked = "none" if options.reuse else "sqnr" if options.quick else "perplexity"
    for bits in (4, 6, 8) if options.quick else (3, 4, 5, 6, 7, 8, 9):
        for columns in (1,) if options.quick else (1, 4):
            settings = {"plan.tile": "parametric", "hardware.adc_bits": bits, "hardware.columns_per_adc": columns}
            config = pimjax.load_config("paper_multiplexed", settings)
            result = pimjax.estimate(config, fidelity=options.fidelity, accuracy=asked)
            result = result.replace(**known.get((bits, columns), {}))  # type: ignore[attr-defined]
            names = ("sqnr_db", "perplexity", "energy_nj", "area_mm2", "latency_ns")
            found = {name: float(getattr(result, name)) for name in names if getattr(result, name) is not None}
            rows.append({"adc_bits": bits, "columns_per_adc": columns, **found})
            results.append(result)
            print(rows[-1], flush=True)
    front = best_trades(results, (quality, "energy_nj", "area_mm2"))
    payload = {
        "config": "paper_multiplexed, plan.tile parametric",
        "fidelity": options.fidelity,
        "accuracy_reused": options.reuse,
        "exact_perplexity": None if options.quick else float(results[0].exact_perplexity),
        "rows": rows,
        "not_beaten": [rows[index] for index in front],
        "not_beaten_in": [quality, "energy_nj", "area_mm2"],
        "seconds": time.perf_counter() - begin,
    }
    print(write_json("joint_view_quick" if options.quick else "joint_view", payload))


if __name__ == "__main__":
    main()
