"""Error of the multiplexed chip with dies, wires and links around it: fluid and closed against event, random systems x
windows of real traces.

Systems are drawn over die sizes, dies in a package, kinds and numbers of links, wires, placement; chips over widths, group
sizes, policies, units; windows are the first 16 to 256 tokens of GPT-OSS-20B requests at random layers (folder: environment
variable PIMJAX_TRACES), or decode steps after them. Reported: relative error of the latency, beside that of the same chip
without a system; energy of the network, crossings, and bytes on links have to be exact.

    python benchmarks/validation/system_error.py            # 300 systems, writes results/system_error.json
    python benchmarks/validation/system_error.py --quick    # 6 systems, writes nothing
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax
import numpy as np

from benchmarks.lib.errors import summary
from benchmarks.lib.harness import environment, write_json
from benchmarks.lib.paths import need_decode_traces
from pimjax import estimate, load_config
from pimjax.chips.multiplexed.event import simulate
from pimjax.chips.multiplexed.graph_parts import KINDS
from pimjax.chips.run_cost import COMPONENT_INDEX
from pimjax.config.config import Config
from pimjax.config.system import DIE_LINKS
from pimjax.trace.files import load_traces
from pimjax.trace.routing import RoutingTrace

SYSTEMS, QUICK, SHOWN = 300, 6, 5
FIDELITIES = ("fluid", "closed")
_LINK = COMPONENT_INDEX["d2d"]


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def draw(rng: np.random.Generator) -> dict[str, Any]:
    """One random chip and the system around it."""
    pick = rng.choice
    width = int(pick([1024, 2048, 2880]))
    model = {
        "d_model": width, "d_ff": int(pick([688, 1024, 2880])), "num_layers": int(pick([1, 2, 3])), "num_experts": 32,
        "top_k": 4, "num_heads": 16, "head_dim": width // 16, "activation": str(pick(["relu", "swiglu"])),
        "vocab_size": 32000,
    }  # fmt: skip
    plan = {
        "policy": str(pick(["token_wise", "compact", "reschedule", "packed"])),
        "group_size": int(pick([1, 2, 4, 8])),
        "grouping": str(pick(["uniform", "sorted"])),
        "combine": str(pick(["digital", "digital", "inline"])),
    }
    system = {
        "die_area_mm2": log_uniform(rng, 100, 858),
        "dies_per_package": int(pick([1, 2, 4, 8])),
        "die_link": str(pick(list(DIE_LINKS))),
        "placement": str(pick(["contiguous", "contiguous", "coactivation"])),
        "die_link_bandwidth_gb_per_s_per_mm": log_uniform(rng, 0.2, 700),
        "die_link_latency_ns": float(rng.uniform(0, 20)),
        "package_link_bandwidth_gb_per_s": log_uniform(rng, 20, 3600),
        "package_link_latency_ns": float(rng.uniform(50, 500)),
        "wire_latency_ns_per_mm": float(rng.uniform(0.05, 0.3)),
        "router_latency_ns": float(rng.uniform(0.5, 3)),
        "injection_bandwidth_gb_per_s": log_uniform(rng, 32, 1024),
    }
    hardware = {"num_digital_units": float(pick([2, 5, 12, 32])), "out_buffer_slots": float(pick([1, 2, 4]))}
    workload: dict[str, Any] = {"prompt_tokens": int(pick([16, 32, 64, 128, 256]))}
    if rng.random() < 0.25:
        workload |= {"generated_tokens": int(pick([3, 6])), "kv_cache": True, "batch_size": int(pick([1, 1, 4]))}
        workload["prompt_tokens"] = min(workload["prompt_tokens"], 64)
    return {
        "model": model, "plan": plan, "system": system, "hardware": hardware, "workload": workload, "memory": "hbm3",
    }  # fmt: skip


def window(rng: np.random.Generator, trace: RoutingTrace, requests: int) -> RoutingTrace:
    """Some requests at three random layers; for any depth."""
    chosen = rng.integers(0, trace.num_requests, requests)
    layers = rng.integers(0, 24, 3)
    made = jax.tree.map(lambda leaf: leaf[chosen][:, layers] if leaf.ndim > 1 else leaf[chosen], trace)
    return made.replace(allow=("repeat_layers",))  # type: ignore[attr-defined]


def judge(config: Config, trace: RoutingTrace, alone: Config) -> dict[str, Any]:
    """Errors of one case."""
    begin = time.perf_counter()
    run = simulate(config, trace, keep_logs=True)
    seconds, cost = time.perf_counter() - begin, run.cost
    exact = float(cost.latency_ns)
    bare = float(simulate(alone, trace).cost.latency_ns)
    busy = sum(
        float(one.log.jobs.duration[np.asarray(one.log.jobs.kind) == KINDS.index("message")].sum())
        for one in run.passes
    )
    row: dict[str, Any] = {
        "latency_ns": exact,
        "of_the_chip_alone": bare / exact,
        "event_seconds": seconds,
    }
    for fidelity in FIDELITIES:
        made = estimate(config, trace, fidelity)
        row[fidelity] = float(made.latency_ns) / exact - 1
        row[f"{fidelity}_alone"] = float(estimate(alone, trace, fidelity).latency_ns) / bare - 1
        row[f"{fidelity}_bytes"] = float(made.busy_ns[_LINK]) / busy - 1 if busy else float(made.busy_ns[_LINK])
        wanted = float(cost.system.network_energy_nj)
        row[f"{fidelity}_energy"] = float(made.network_energy_nj) / wanted - 1
        row["dies"], row["packages"] = int(made.dies), int(made.packages)
        row["crossings_per_token"] = float(made.die_crossings_per_token)
    return row


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--systems", type=int, default=SYSTEMS)
    arguments = parser.parse_args()
    count = QUICK if arguments.quick else arguments.systems
    traces = load_traces(need_decode_traces())
    rng = np.random.default_rng(0)
    begin, rows = time.perf_counter(), []
    for index in range(count):
        drawn = draw(rng)
        config = load_config(drawn)
        alone = load_config({key: item for key, item in drawn.items() if key != "system"})
        trace = window(rng, traces, config.workload.batch_size)
        row = {"case": index, "decodes": config.workload.generated_tokens > 1, **judge(config, trace, alone)}
        rows.append({**row, "config": {key: drawn[key] for key in ("system", "plan", "model", "workload")}})
        if arguments.quick or index % 20 == 19:
            shown = {key: round(value, 4) for key, value in row.items() if isinstance(value, float)}
            print(index, round(time.perf_counter() - begin), shown, flush=True)
    document: dict[str, Any] = {"environment": environment(), "systems": count, "seconds": time.perf_counter() - begin}
    split = {"prefill": [row for row in rows if not row["decodes"]], "decode": [row for row in rows if row["decodes"]]}
    for name, chosen in {"all": rows, **split}.items():
        if not chosen:
            continue
        document[name] = {"cases": len(chosen)}
        for fidelity in FIDELITIES:
            document[name][fidelity] = summary(np.array([row[fidelity] for row in chosen]))
            document[name][f"{fidelity}_alone"] = summary(np.array([row[f"{fidelity}_alone"] for row in chosen]))
        print(name, document[name])
    for fidelity in FIDELITIES:
        document[f"{fidelity}_worst_energy_error"] = max(abs(row[f"{fidelity}_energy"]) for row in rows)
        document[f"{fidelity}_worst_busy_error"] = max(
            abs(row[f"{fidelity}_bytes"]) for row in rows if not row["decodes"]
        )
    document["worst"] = sorted(rows, key=lambda row: -abs(row["fluid"]))[:SHOWN]
    print({key: value for key, value in document.items() if key.endswith("_error")})
    if arguments.quick:
        for row in document["worst"]:
            print(row)
    elif count == SYSTEMS:
        print(f"wrote {write_json('system_error', document)}")


if __name__ == "__main__":
    main()
