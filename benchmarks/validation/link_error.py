"""Fast models of the links of an expert phase against the exact simulation: random systems x windows of real traces.

python benchmarks/validation/link_error.py            # writes results/link_error.json
python benchmarks/validation/link_error.py --quick    # 20 systems, writes nothing
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.lib.errors import summary
from benchmarks.lib.harness import write_json
from benchmarks.lib.paths import need_decode_traces
from pimjax.config.system import DIE_LINKS, SystemSection
from pimjax.system import (
    closed_phase,
    die_visits,
    fluid_phase,
    holds,
    layer_crossings,
    link_bytes,
    make_links,
    place_experts,
    simulate_phase,
)
from pimjax.trace import load_traces

SYSTEMS, QUICK = 300, 20
WINDOWS = (1, 8, 32, 128, 511)
WIDTH = 2880


def random_case(generator: np.random.Generator, choices: np.ndarray) -> dict[str, Any]:
    """One system, one window of one layer of one request, and one pace of its tokens."""
    dies = int(generator.integers(2, 9))
    system = SystemSection(
        die_link=str(generator.choice(list(DIE_LINKS))),  # type: ignore[arg-type]
        dies_per_package=float(generator.choice([1, 2, 4, 8])),
        die_link_bandwidth_gb_per_s_per_mm=float(np.exp(generator.uniform(np.log(0.2), np.log(700)))),
        die_link_latency_ns=float(generator.uniform(0, 20)),
        package_link_bandwidth_gb_per_s=float(np.exp(generator.uniform(np.log(20), np.log(3600)))),
        package_link_latency_ns=float(generator.uniform(50, 500)),
    )
    tokens = int(generator.choice(WINDOWS))
    request, layer = (int(generator.integers(size)) for size in choices.shape[:2])
    begin = int(generator.integers(0, choices.shape[2] - tokens + 1))
    return {
        "system": system,
        "dies": dies,
        "links": make_links(dies, system),
        "choices": choices[request, layer, begin : begin + tokens],
        "home": int(generator.integers(dies)),
        "pace_ns": float(np.exp(generator.uniform(np.log(10), np.log(1000)))),
        "expert_ns": float(generator.uniform(150, 800)),
    }


def judge(case: dict[str, Any]) -> dict[str, float]:
    """Relative errors of both fast models, and what the links were asked for."""
    visits = die_visits(case["choices"], holds(place_experts(case["choices"].shape[1], case["dies"])))
    tokens = len(visits)
    release = np.arange(tokens) * case["pace_ns"]
    sizes = {"token_bytes": float(WIDTH), "result_bytes": 2.0 * WIDTH, "expert_ns": case["expert_ns"]}
    exact = simulate_phase(visits, case["links"], home=case["home"], release_ns=release, **sizes)
    counts = visits.sum(axis=0).astype(float)
    fast = {"home": case["home"], "first_ns": 0.0, "last_ns": release[-1], **sizes}
    made = layer_crossings(
        case["choices"], holds(place_experts(32, case["dies"])), case["home"],
        token_bytes=sizes["token_bytes"], result_bytes=sizes["result_bytes"],
    )  # fmt: skip
    work = link_bytes(made.pair_bytes, case["links"]) / case["links"].bandwidth_gb_per_s
    row = {
        "tokens": tokens,
        "dies": case["dies"],
        "end_ns": exact.end,
        "busiest_share": float(exact.busy_ns.max() / exact.end),
        "busy_error_ns": float(np.abs(work - exact.busy_ns).max()),
    }
    for name, model in (("closed", closed_phase), ("fluid", fluid_phase)):
        row[name] = float(model(counts, case["links"], **fast).end) / exact.end - 1
    return row


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    choices = np.asarray(load_traces(need_decode_traces()).choices)
    generator = np.random.default_rng(0)
    begin = time.perf_counter()
    rows = [judge(random_case(generator, choices)) for _ in range(QUICK if arguments.quick else SYSTEMS)]
    congested = np.array([row["busiest_share"] > 0.5 for row in rows])
    document: dict[str, Any] = {
        "systems": len(rows),
        "seconds": time.perf_counter() - begin,
        "worst_busy_error_ns": max(row["busy_error_ns"] for row in rows),
        "systems_with_a_link_busy_over_half": int(congested.sum()),
    }
    for name in ("closed", "fluid"):
        errors = np.array([row[name] for row in rows])
        document[name] = summary(errors)
        if congested.any():
            document[f"{name}_where_a_link_is_busy_over_half"] = summary(errors[congested])
        print(name, document[name])
    document["worst"] = [
        {key: float(f"{value:.6g}") for key, value in row.items()}
        for row in sorted(rows, key=lambda row: -abs(row["fluid"]))[:5]
    ]
    if not arguments.quick:
        print(f"wrote {write_json('link_error', document)}")


if __name__ == "__main__":
    main()
