"""Speed of the serving engines: one run, many chips, an hour of recorded conversations.

    PIMJAX_SERVING=folder python benchmarks/speed/serving_speed.py
    python benchmarks/speed/serving_speed.py --quick

Writes benchmarks/results/serving_speed.json. Compile time stands apart. Without the folder of recorded arrivals the last
row is left out, and says so. Numbers are of the machine that ran it, while others may have used it too.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

import pimjax
from benchmarks.lib import harness
from benchmarks.lib.paths import ROOT
from pimjax.serving import (
    ChipSteps,
    Server,
    StepGrid,
    StepTable,
    generate_requests,
    load_requests,
    simulate,
    simulate_batch,
)

CHIP = "paper_multiplexed"
SERVER = Server(max_num_seqs=128, max_num_batched_tokens=2048)


def seconds(work: Any) -> tuple[float, Any]:
    """Wall time and what came out."""
    begin = time.perf_counter()
    out = work()
    return time.perf_counter() - begin, out


def busy_requests(count: int, table: StepTable, seed: int = 0) -> Any:
    """Requests of 128 + 64 tokens on average at about nine tenths of what a full batch of the chip can take."""
    draw = np.random.default_rng(seed)
    prompts, outputs = draw.integers(32, 225, 64), draw.integers(16, 113, 64)
    full = float(np.interp(160.0, table.context_grid, table.decode[0, -1])) / table.decode_grid[-1]
    rate = 0.9e9 / (full * 64)
    return generate_requests(
        "poisson", count=count, rate_per_s=rate, prompt_tokens=prompts, output_tokens=outputs, seed=seed
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few chips, no recorded hour")
    arguments = parser.parse_args()
    chips, scanned = (16, 4) if arguments.quick else (1000, 64)
    numba = importlib.util.find_spec("numba") is not None
    steps = ChipSteps(pimjax.load_config(CHIP), longest_context=512)
    build_s, grid = seconds(lambda: StepGrid(steps, max_num_seqs=128))
    table_s, table = seconds(grid.table)
    rows: list[dict[str, Any]] = [
        {"what": "grid of steps", "seconds": build_s},
        {"what": "table of one chip", "seconds": table_s},
    ]
    mvm = np.linspace(60.0, 260.0, chips)
    first_s, many = seconds(lambda: grid.tables({"mvm_latency_ns": mvm}))
    again_s, many = seconds(lambda: grid.tables({"mvm_latency_ns": mvm}))
    rows.append({"what": "tables of many chips", "chips": chips, "first_s": first_s, "seconds": again_s})

    requests = busy_requests(300, table)
    compile_s, _ = seconds(lambda: simulate(requests, SERVER, table))
    for routed in (None, steps.loads):
        took, run = seconds(lambda loads=routed: simulate(requests, SERVER, table, loads=loads))
        rows.append({"what": "one run", "engine": "host", "numba": numba, "requests": 300, "routed": routed is not None,
                     "steps": len(run.steps), "first_s": compile_s, "seconds": took})  # fmt: skip
    took, _ = seconds(lambda: simulate(requests, SERVER, table, compiled=False))
    rows.append(
        {"what": "one run", "engine": "host", "numba": False, "requests": 300, "routed": False, "seconds": took}
    )
    took, _ = seconds(lambda: simulate_batch(requests, SERVER, many))
    rows.append(
        {"what": "many chips", "engine": "host", "numba": numba, "chips": chips, "requests": 300, "seconds": took}
    )
    few = StepTable(*(leaf[:scanned] for leaf in many))
    first_s, _ = seconds(lambda: simulate_batch(requests, SERVER, few, engine="scan"))
    took, _ = seconds(lambda: simulate_batch(requests, SERVER, few, engine="scan"))
    rows.append(
        {"what": "many chips", "engine": "scan", "chips": scanned, "requests": 300, "first_s": first_s, "seconds": took}
    )
    path = Path(os.environ.get("PIMJAX_SERVING", ROOT.parent / "shared" / "serving")) / "azure_2023_conv.csv"
    if arguments.quick or not path.is_file():
        print(
            f"the recorded hour is left out: {'--quick' if arguments.quick else f'{path.name} is not there (PIMJAX_SERVING)'}"
        )
    else:
        read_s, hour = seconds(lambda: load_requests(path))
        long = ChipSteps(pimjax.load_config(CHIP), longest_context=hour.longest_context)
        long_table = StepGrid(long, max_num_seqs=128).table()
        took, run = seconds(lambda: simulate(hour, SERVER, long_table))
        rows.append({"what": "recorded hour of conversations", "engine": "host", "numba": numba, "requests": len(hour),
                     "read_s": read_s, "steps": len(run.steps), "seconds": took,
                     "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6})  # fmt: skip
    for row in rows:
        print({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
    harness.write_json("serving_speed", {"chip": CHIP, "rows": rows})


if __name__ == "__main__":
    main()
