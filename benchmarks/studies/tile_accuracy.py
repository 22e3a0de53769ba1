"""Cost and accuracy of each kind of tile from one configuration: HERMES-64 in one phase and in four, digital SRAM macros, and
both together.

The paper's layer runs a prompt of 32 tokens in groups of two, without wires, so that tiles alone differ; closed form. The
signal-to-noise ratio of a product and the perplexity of the project's language model are of the same keys (`pimjax estimate
--accuracy perplexity`).

    python benchmarks/studies/tile_accuracy.py           # some minutes: every perplexity reads held-out text
    python benchmarks/studies/tile_accuracy.py --quick   # signal-to-noise ratios alone; writes nothing
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib.harness import environment, write_json
from pimjax.config import load_config
from pimjax.estimation import estimate

ONE, FOUR = ({"hardware": f"hermes_64_{phases}_phase", "numerics": "hermes_64"} for phases in ("one", "four"))
MACROS = {"tile": "digital_sram"}
MIXED = {"expert_tile": "mixed", "digital_dense": ["attention", "router", "head"]}
FIGURES = ("latency_ns", "energy_nj", "area_mm2", "sqnr_db", "digital_sqnr_db", "perplexity", "exact_perplexity")


def chips() -> dict[str, dict[str, Any]]:
    """Kind of tile -> keys."""
    base = {
        "chip_model": "multiplexed",
        "model": "llama_moe_4_16_layer",
        "memory": "hbm3",
        "workload": {"prompt_tokens": 32},
    }
    plan = {"preset": "grouped_2"}
    return {
        "analog, one phase": {**base, **ONE, "plan": plan},
        "analog, four phases": {**base, **FOUR, "plan": plan},
        "digital SRAM macros": {**base, "hardware": "hermes", "plan": {**plan, **MACROS}},
        "dense parts and a quarter of the experts on macros, one phase": {**base, **ONE, "plan": {**plan, **MIXED}},
    }


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    begin, rows = time.perf_counter(), []
    for name, keys in chips().items():
        found = estimate(load_config(keys), fidelity="closed", accuracy="sqnr" if arguments.quick else "perplexity")
        sqnr = found if arguments.quick else estimate(load_config(keys), fidelity="closed", accuracy="sqnr")
        values = {figure: getattr(found, figure) for figure in FIGURES}
        values |= {figure: getattr(sqnr, figure) for figure in ("sqnr_db", "digital_sqnr_db")}
        rows.append({"tile": name, **{key: None if value is None else float(value) for key, value in values.items()}})
        print(round(time.perf_counter() - begin), rows[-1], flush=True)
    if not arguments.quick:
        document = {"environment": environment(), "rows": rows, "seconds": time.perf_counter() - begin}
        print(f"wrote {write_json('tile_accuracy', document)}")


if __name__ == "__main__":
    main()
