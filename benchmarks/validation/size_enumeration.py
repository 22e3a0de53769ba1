"""`pimjax size` against chips enumerated at random over the same levels, estimated by the fluid model.

python benchmarks/validation/size_enumeration.py            # 2,000 chips for each of two models, writes results/size_enumeration.json
python benchmarks/validation/size_enumeration.py --quick    # 64 chips of the paper's layer, writes nothing
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.lib.harness import write_json
from pimjax.tuning.evaluate import evaluate
from pimjax.tuning.problem import make_problem
from pimjax.tuning.sizing import best_point, every_point, size, size_problem

CHIPS, QUICK = 2000, 64
MODELS = (("gpt_oss_20b", ["95dies"]), ("olmoe_1b_7b", []))


def against_enumeration(model: str, within: list[str], chips: int, seed: int = 0) -> dict[str, Any]:
    """The sized chip's objective over that of the best of `chips` drawn ones, both by the fluid model."""
    begin = time.perf_counter()
    sized = size(model, within)
    seconds = time.perf_counter() - begin
    problem = make_problem(size_problem(model, within).model_copy(update={"fidelity": "fluid"}))
    units, variants = every_point(problem)
    drawn = np.random.default_rng(seed).choice(len(units), min(chips, len(units)), replace=False)
    found = evaluate(problem, units[drawn], variants[drawn], once=True)
    best = best_point(found)
    own = float(sized.estimate.latency_ns) * float(sized.estimate.area_mm2)
    return {
        "model": model,
        "within": within,
        "enumerated": len(drawn),
        "listed": sized.chips,
        "by_fluid": sized.refined,
        "feasible": sized.feasible,
        "enumerated_feasible": int((found.excess == 0).sum()),
        "latency_area_over_best_enumerated": own / float(np.exp(found.objective[best])),
        "is_balanced": sized.is_balanced,
        "settings": sized.settings,
        "best_enumerated": problem.settings(units[drawn][best], int(variants[drawn][best])),
        "size_seconds": seconds,
    }


def main() -> None:
    """Run and print; write unless `--quick`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    cases = (("paper_multiplexed", []),) if quick else MODELS
    rows = [against_enumeration(model, within, QUICK if quick else CHIPS) for model, within in cases]
    for row in rows:
        print(
            f"{row['model']}: latency x area {row['latency_area_over_best_enumerated']:.4f} of the best of "
            f"{row['enumerated']:,} enumerated chips ({row['enumerated_feasible']:,} keep the budget), "
            f"{row['size_seconds']:.0f} s with compilation"
        )
    if not quick:
        document = {
            "rows": rows,
            "worst_over_best": max(row["latency_area_over_best_enumerated"] for row in rows),
        }
        print(f"wrote {write_json('size_enumeration', document)}")


if __name__ == "__main__":
    main()
