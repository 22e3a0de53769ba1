"""How long the exact fidelity of the multiplexed chip takes, and how much memory: GPT-OSS-20B, 511 tokens, 24 layers.

Routing: one request of GPT-OSS-20B (folder: environment variable PIMJAX_TRACES; synthetic routing of the same shape
where it is missing, and the result says so). Reported: seconds for schedules and engine together, jobs of the pass,
and the peak resident memory of this process. Target: 60 s and 4 GiB.

    python benchmarks/speed/multiplexed_event.py
    python benchmarks/speed/multiplexed_event.py --quick     # 2 layers, 64 tokens
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.lib.harness import environment, write_json
from benchmarks.lib.paths import DECODE_TRACES, trace_folder
from benchmarks.lib.unsized import unsized
from pimjax.chips.multiplexed import simulate
from pimjax.config import load_config
from pimjax.trace.files import load_traces
from pimjax.trace.routing import RoutingTrace

LIMIT_S, LIMIT_GIB = 60.0, 4.0


def routing(request: int, tokens: int) -> tuple[RoutingTrace, str]:
    """The request and where it comes from."""
    file = trace_folder() / DECODE_TRACES
    if file.is_file():
        return load_traces(file, requests=[request], max_tokens=tokens).request(0), file.name
    rng = np.random.default_rng(request)
    scores = rng.random((24, tokens, 32)) + 0.6 * rng.random((24, 1, 32))
    return RoutingTrace.from_expert_ids(np.argsort(-scores, axis=-1)[..., :4], 32), "synthetic"


def peak_gib() -> float:
    """Peak resident memory of this process [GiB]."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def measure(policy: str, request: int, layers: int, tokens: int) -> dict[str, Any]:
    """One prefill, all included: schedules, job graph, engine, costs."""
    trace, source = routing(request, tokens)
    trace = trace.replace(choices=trace.choices[:layers], gate_scores=None, expert_order=None)  # type: ignore[attr-defined]
    config = load_config(
        unsized("gpt_oss_20b"), {"model.num_layers": layers, "workload.prompt_tokens": tokens, "plan.policy": policy}
    )
    wall, cpu = time.perf_counter(), time.process_time()
    result = simulate(config, trace)
    return {
        "policy": policy,
        "trace": source,
        "request": request,
        "layers": layers,
        "tokens": tokens,
        "jobs": int(result.passes[0].log.jobs.num_jobs),
        "passes": int(np.asarray(trace.choices).sum()),
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "peak_rss_gib": peak_gib(),
        "latency_ns": float(result.cost.latency_ns),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--request", type=int, default=0)
    parser.add_argument("--policies", nargs="*", default=["token_wise", "packed"])
    arguments = parser.parse_args()
    layers, tokens = (2, 64) if arguments.quick else (24, 511)
    rows = []
    for policy in arguments.policies:
        row = measure(policy, arguments.request, layers, tokens)
        rows.append(row)
        print(
            f"{policy:10s} {row['tokens']} tokens x {layers} layers ({row['trace']}): {row['jobs']} jobs, "
            f"{row['seconds']:.1f} s wall, {row['cpu_seconds']:.1f} s CPU (limit {LIMIT_S:.0f}), "
            f"{row['peak_rss_gib']:.2f} GiB (limit {LIMIT_GIB:.0f})",
            flush=True,
        )
    facts = environment()
    print({key: facts[key] for key in ("device", "jax", "numpy", "cpu_cores")})
    if not arguments.quick:
        print(write_json("multiplexed_event", {"limit_s": LIMIT_S, "limit_gib": LIMIT_GIB, "rows": rows}))


if __name__ == "__main__":
    main()
