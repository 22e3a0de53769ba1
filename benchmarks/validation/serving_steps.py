"""Error of step tables against direct calls of a chip's closed form: step by step, and in what is served.

    python benchmarks/validation/serving_steps.py            # shipped chips and models
    python benchmarks/validation/serving_steps.py --quick

Steps are random: sizes, contexts, real tokens of the trace (not those that the table was made of), prompts. Writes
benchmarks/results/serving_steps.json; errors are (table - direct) / direct, in %. "mean batch" leaves the routing of the
step out and takes that of a mean batch of its size.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

import pimjax
from benchmarks.lib import harness
from pimjax.serving import (
    ChipSteps,
    Server,
    StepBatch,
    StepGrid,
    TableSteps,
    generate_requests,
    request_times,
    simulate,
    simulate_exactly,
)

#: Configuration -> (longest context, largest batch, random steps).
CASES = {
    "paper_multiplexed": (1024, 64, 200), "gpt_oss_20b": (512, 16, 60), "paper_reference": (512, 16, 60), "h100": (4096, 64, 100),
}  # fmt: skip
QUICK = {"paper_multiplexed": (128, 8, 20)}
SEED = 7


class _Routing:
    """Requests that stand for recorded ones."""

    def __init__(self, routing: Any) -> None:
        self.routing = routing


def step_errors(steps: ChipSteps, table: Any, most: int, count: int) -> dict[str, Any]:
    """Errors of decode steps and of whole prompts."""
    draw = np.random.default_rng(SEED)
    readers = {"own tokens": TableSteps(table, steps.loads), "mean batch": TableSteps(table)}
    found: dict[str, list[float]] = {name: [] for name in (*readers, "prompt")}
    for _ in range(count):
        size = int(draw.integers(1, most + 1))
        requests: Any = _Routing(draw.integers(0, 1 << 20, size))
        contexts = draw.integers(1, steps.longest_context - 1, size)
        batch = StepBatch([(i, int(c)) for i, c in enumerate(contexts)], [], size)
        direct = steps.rank_cost(batch, requests)[0]
        for name, reader in readers.items():
            found[name].append(100.0 * (reader.rank_cost(batch, requests)[0] / direct - 1.0))
        if len(found["prompt"]) < 20:
            prompt = StepBatch([], [(0, 0, int(draw.integers(1, steps.longest_context)))], 1)
            direct = steps.rank_cost(prompt, requests)[0]
            found["prompt"].append(100.0 * (readers["mean batch"].rank_cost(prompt, requests)[0] / direct - 1.0))
    return {name: _spread(np.array(values)) for name, values in found.items()}


def _spread(values: np.ndarray) -> dict[str, float]:
    size = np.abs(values)
    return {
        "mean": float(values.mean()),
        "mean_absolute": float(size.mean()),
        "p95": float(np.quantile(size, 0.95)),
        "largest": float(size.max()),
    }


def served_errors(steps: ChipSteps, table: Any, most: int) -> dict[str, float]:
    """Errors of mean times of 24 requests, against the exact simulation that calls the chip for every step."""
    full = float(np.interp(steps.longest_context / 4, table.context_grid, table.decode[0, -1])) / table.decode_grid[-1]
    quarter = steps.longest_context // 4
    requests = generate_requests(
        "poisson", count=24, rate_per_s=0.7e9 / (full * 12), prompt_tokens=[quarter // 2, quarter, 2 * quarter],
        output_tokens=[8, 12, 16], seed=SEED,
    )  # fmt: skip
    server = Server(max_num_seqs=most, max_num_batched_tokens=max(64, quarter))
    exact = request_times(simulate_exactly(requests, server, steps))
    fast = request_times(simulate(requests, server, table, loads=steps.loads))
    return {name: 100.0 * float(fast[name].mean() / exact[name].mean() - 1.0) for name in ("ttft", "tpot", "latency")}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small case")
    rows = []
    for name, (longest, most, count) in (QUICK if parser.parse_args().quick else CASES).items():
        steps = ChipSteps(pimjax.load_config(name), longest_context=longest)
        table = StepGrid(steps, max_num_seqs=most).table()
        row = {"config": name, "longest_context": longest, "largest_batch": most, "steps": count}
        row |= {
            "step_error_percent": step_errors(steps, table, most, count),
            "served_error_percent": served_errors(steps, table, most),
        }
        print(row)
        rows.append(row)
    harness.write_json("serving_steps", {"rows": rows})


if __name__ == "__main__":
    main()
