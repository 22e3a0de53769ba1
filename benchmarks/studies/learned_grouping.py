"""Does a learned grouping beat the combinatorial ones? Same folds, same judge as benchmarks/studies/contention_study.py.

python benchmarks/studies/learned_grouping.py            # writes results/learned_grouping.json
python benchmarks/studies/learned_grouping.py --quick    # the project's own traces only, writes nothing
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.lib.folds import FOLDS, Requests, bootstrap, makespans
from benchmarks.lib.harness import write_json
from benchmarks.lib.learned_groups import learn_groups
from benchmarks.lib.paths import DECODE_TRACES, trace_folder
from pimjax.schedule import group_experts
from pimjax.trace import default_traces, load_traces

STRATEGIES = ("sorted", "balanced", "learned")


def study(data: Requests, sizes: tuple[int, ...], steps: int, restarts: int) -> dict[str, Any]:
    """Gain of unseen requests' makespan over `sorted` [%] per group size."""
    generator, result = np.random.default_rng(0), {}
    layers = range(len(data.loads))
    for size in sizes:
        num_groups = -(-data.loads.shape[2] // size)
        # every (fold, layer) is one problem; requests of the judged fold hold zeros and do not count
        masked = np.stack(
            [data.loads[layer] * (data.fold != fold)[:, None] for fold in range(FOLDS) for layer in layers]
        )
        begin = time.perf_counter()
        learned = learn_groups(masked, num_groups, steps=steps, restarts=restarts).reshape(FOLDS, len(data.loads), -1)
        seconds = (time.perf_counter() - begin) / len(masked)
        slots = {name: np.zeros(data.loads.shape[:2]) for name in STRATEGIES}
        for fold in range(FOLDS):
            test = data.fold == fold
            for layer in layers:
                train = data.training(layer, fold)[0]
                for name in STRATEGIES:
                    groups = learned[fold, layer] if name == "learned" else group_experts(train, size, name)
                    slots[name][layer, test] = makespans(data.loads[layer, test], groups)
        entry = {
            name: bootstrap(100 * (1 - slots[name] / slots["sorted"]), generator) for name in ("balanced", "learned")
        }
        entry["learned_over_balanced"] = bootstrap(100 * (1 - slots["learned"] / slots["balanced"]), generator)
        entry["beats_combinatorial"] = bool(entry["learned_over_balanced"]["low"] > 0)
        entry["seconds_per_problem_with_compile"] = seconds
        result[f"g={size}"] = entry
        print(
            f"  g={size}: over sorted: balanced {entry['balanced']['mean']:.2f} %, learned {entry['learned']['mean']:.2f} %; "
            f"learned over balanced {entry['learned_over_balanced']['mean']:.2f} % "
            f"[{entry['learned_over_balanced']['low']:.2f}, {entry['learned_over_balanced']['high']:.2f}]",
            flush=True,
        )
    return result


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--layer-stride", type=int, default=4)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--restarts", type=int, default=4)
    arguments = parser.parse_args()
    file = trace_folder() / DECODE_TRACES
    sources: dict[str, Requests] = {}
    if not arguments.quick and file.is_file():
        layers = list(range(0, 24, arguments.layer_stride))
        sources["gptoss20b"] = Requests(load_traces(file), layers)
    sources["own_token_choice"] = Requests(default_traces("token_choice"), None)
    document: dict[str, Any] = {"folds": FOLDS, "steps": arguments.steps, "restarts": arguments.restarts}
    for name, data in sources.items():
        print(f"== {name}: {len(data.layers)} layers, {len(data.fold)} requests", flush=True)
        sizes = (2,) if arguments.quick else (2, 4, 8)
        document[name] = {
            "layers": data.layers,
            **study(data, sizes, 60 if arguments.quick else arguments.steps, arguments.restarts),
        }
    if not arguments.quick:
        print(f"wrote {write_json('learned_grouping', document)}")


if __name__ == "__main__":
    main()
