"""Are the constants of the grouping search chosen on the requests that judge it? Nested cross-validation.

The search behind `balanced` has two constants that matter, the norm and the number of restarts. For each outer fold of
the contention study (requests by index mod 5) they are chosen anew on its training requests alone: four inner folds,
mean gain of unseen inner requests over `sorted`. The chosen search is then fitted on all training requests and judged
on the outer fold. Beside it: what the constants that pimjax ships reach on the same folds. If the two differ, the
shipped constants were fitted to the judges. Real traces (GPT-OSS-20B, folder `PIMJAX_TRACES`).

    python benchmarks/studies/grouping_constants.py            # writes benchmarks/results/grouping_constants.json
    python benchmarks/studies/grouping_constants.py --quick    # two layers, one group size, writes nothing
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.lib.folds import FOLDS, Requests, bootstrap, makespans
from benchmarks.lib.harness import write_json
from benchmarks.lib.paths import need_decode_traces
from pimjax.schedule import group_experts
from pimjax.schedule.grouping import search_groups
from pimjax.trace import load_traces

INNER_FOLDS = 4
CANDIDATES = tuple(itertools.product((4, 6), (16, 64)))  # squarings of the norm, restarts


def gains(loads: np.ndarray, train: np.ndarray, test: np.ndarray, size: int, candidate: Any) -> np.ndarray:
    """Makespans of `sorted` and of the search on unseen requests: `[2, L, tested]`."""
    found = []
    for layer in loads:
        groups = -(-layer.shape[1] // size)
        if candidate is None:
            balanced = group_experts(layer[train], size, "balanced")
        else:
            balanced = search_groups(layer[train], groups, squarings=candidate[0], kicks=candidate[1])
        by_load = group_experts(layer[train], size, "sorted")
        found.append([makespans(layer[test], by_load), makespans(layer[test], balanced)])
    return np.array(found).transpose(1, 0, 2)


def choose(loads: np.ndarray, train: np.ndarray, size: int) -> tuple[Any, dict[str, float]]:
    """Candidate with the largest mean gain over inner folds of the training requests, and all scores in percent."""
    index = np.flatnonzero(train)
    scores = {}
    for candidate in CANDIDATES:
        rows = []
        for fold in range(INNER_FOLDS):
            inner = np.arange(len(index)) % INNER_FOLDS == fold
            before, after = gains(loads, index[~inner], index[inner], size, candidate)
            rows.append(1 - after / before)
        scores[candidate] = 100 * float(np.concatenate(rows, axis=1).mean())
    best = max(scores, key=lambda candidate: scores[candidate])
    return best, {f"norm {2**s}, {k} restarts": score for (s, k), score in scores.items()}


def study(data: Requests, size: int) -> dict[str, Any]:
    """Nested and shipped gains over `sorted` for one group size."""
    generator = np.random.default_rng(0)
    nested, shipped = (np.zeros((2, *data.loads.shape[:2])) for _ in range(2))
    chosen = []
    for fold in range(FOLDS):
        test = data.fold == fold
        candidate, scores = choose(data.loads, ~test, size)
        chosen.append({"squarings": candidate[0], "restarts": candidate[1], "inner_gain_percent": scores})
        nested[:, :, test] = gains(data.loads, ~test, test, size, candidate)
        shipped[:, :, test] = gains(data.loads, ~test, test, size, None)
        print(f"g={size} fold {fold}: norm {2 ** candidate[0]}, {candidate[1]} restarts", flush=True)
    result: dict[str, Any] = {"chosen": chosen}
    for name, (before, after) in (("nested", nested), ("shipped", shipped)):
        result[name] = {
            "gain_over_sorted_percent": bootstrap(100 * (1 - after / before), generator),
            "gain_of_total_percent": float(100 * (1 - after.sum() / before.sum())),
        }
        mean = result[name]["gain_over_sorted_percent"]
        print(
            f"g={size} {name}: {mean['mean']:.2f} % per request [{mean['low']:.2f}, {mean['high']:.2f}], "
            f"{result[name]['gain_of_total_percent']:.2f} % of the sum",
            flush=True,
        )
    return result


def main() -> None:
    """Run the nested cross-validation and write its JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two layers, groups of 4; for continuous integration")
    arguments = parser.parse_args()
    data = Requests(load_traces(need_decode_traces()), [0, 12] if arguments.quick else None)
    document: dict[str, Any] = {"folds": FOLDS, "inner_folds": INNER_FOLDS, "layers": len(data.layers)}
    for size in (4,) if arguments.quick else (2, 4, 8):
        document[f"g={size}"] = study(data, size)
    if not arguments.quick:
        print(f"wrote {write_json('grouping_constants', document)}")


if __name__ == "__main__":
    main()
