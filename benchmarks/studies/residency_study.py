"""GPT-OSS-20B on chips that hold a part of its experts: hit rates, stalls, energy and wear, exact on real traces.

python benchmarks/studies/residency_study.py            # writes results/residency_study.json
python benchmarks/studies/residency_study.py --quick    # two requests, writes nothing
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.lib.harness import write_json
from benchmarks.lib.paths import need_decode_traces
from pimjax import estimate, load_config
from pimjax.cache.hierarchy import POLICIES
from pimjax.circuit import crossbar_write
from pimjax.config.system import SystemSection
from pimjax.system import expert_accesses, lifetime_years, residency_curve, swap_cost, weights_fit
from pimjax.trace import load_traces

EXPERTS, WIDTH, CROSSBARS, ROWS = 32, 2880, 3 * 12 * 12, 256
PARTS = (1, 2, 4, 8)
EXPERT_BYTES = 3.0 * WIDTH * WIDTH  # one byte a weight
#: One HBM3 stack: GB/s, pJ per bit with its PHY [U], and the two sizes that are made.
BANDWIDTH, ENERGY, CAPACITIES_GB = 819.0, 5.0, (16.0, 24.0)


def base_ms() -> float:
    """One decoded token of a chip that holds everything, its caches in the memory of this study [ms]; closed."""

    def milliseconds(steps: int) -> float:
        lengths = {"workload.prompt_tokens": 128, "workload.generated_tokens": steps, "workload.kv_cache": True}
        config = load_config("gpt_oss_20b", {**lengths, "memory.bandwidth_gb_per_s": BANDWIDTH})
        return float(estimate(config, fidelity="closed").latency_ns) * 1e-6

    return (milliseconds(64) - milliseconds(32)) / 32


def rows(accesses: np.ndarray, tokens: int, base: float) -> list[dict[str, Any]]:
    """One row per policy, capacity and tile."""
    numbers = SystemSection().arrays()
    memory = {"bandwidth_gb_per_s": BANDWIDTH, "energy_pj_per_bit": ENERGY, "numbers": numbers}
    expert = {"expert_bytes": EXPERT_BYTES, "crossbars": float(CROSSBARS), "rows": float(ROWS)}
    cost = {
        "pcm": swap_cost("pcm", **expert, **memory, pcm_write=crossbar_write()),
        "sram": swap_cost("sram", **expert, **memory),
    }
    capacities = np.array([EXPERTS // part for part in PARTS])
    found = []
    for policy in POLICIES:
        curve = residency_curve(accesses, capacities, policy)
        hits, asked, writes = (np.asarray(each, np.int64) for each in (curve.hits, curve.accesses, curve.writes))
        for index, capacity in enumerate(capacities):
            # what fills an empty place was loaded before the run began
            swaps = (asked - hits)[:, index] - (writes[:, index] > 0).sum(axis=-1)
            rate = 1 - swaps / asked[:, index]
            misses = float(swaps.sum()) / tokens
            row = {
                "policy": policy,
                "resident_experts": int(capacity),
                "hit_rate": float(1 - swaps.sum() / asked[:, index].sum()),
                "hit_rate_worst_layer": float(rate.min()),
                "hit_rate_best_layer": float(rate.max()),
                "misses_per_token": misses,
            }
            for tile, one in cost.items():
                stall_ns = misses * float(one.time_ns)
                row[f"{tile}_stall_ms_per_token"] = stall_ns * 1e-6
                row[f"{tile}_tokens_per_s"] = 1e3 / (base + stall_ns * 1e-6)
                row[f"{tile}_energy_mj_per_token"] = misses * float(one.energy_nj) * 1e-6
            seconds = tokens / row["pcm_tokens_per_s"]
            places = {"even_wear": swaps.sum() / (len(swaps) * capacity), "most_written": writes[:, index].max() - 1}
            for name, place in places.items():
                years = lifetime_years(float(place) / seconds, float(cost["pcm"].cycles), numbers)
                row[f"pcm_lifetime_years_{name}"] = float(years) if place else None
            found.append(row)
    return found


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    trace = load_traces(need_decode_traces())
    accesses = expert_accesses(trace)  # [R, L, A]
    if arguments.quick:
        accesses = accesses[:2]
    requests, layers, length = accesses.shape
    # one request after the other on one chip, which keeps what it holds
    stream = accesses.transpose(1, 0, 2).reshape(layers, -1)
    base = base_ms()
    table = rows(stream, requests * length // 4, base)
    for row in table:
        print({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}, flush=True)
    document = {
        "requests": requests,
        "tokens": requests * length // 4,
        "layers": layers,
        "base_ms_per_token": base,
        "expert_bytes": EXPERT_BYTES,
        "all_experts_gb": EXPERTS * layers * EXPERT_BYTES * 1e-9,
        "memory": {"bandwidth_gb_per_s": BANDWIDTH, "energy_pj_per_bit": ENERGY},
        "fits": {f"{size:g} GB": bool(weights_fit(EXPERTS * layers, EXPERT_BYTES, size)) for size in CAPACITIES_GB},
        "rows": table,
    }
    if not arguments.quick:
        print(f"wrote {write_json('residency_study', document)}")


if __name__ == "__main__":
    main()
