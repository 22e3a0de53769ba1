"""Error of the multiplexed chip's fluid and closed fidelities against event: random configurations x real windows.

Configurations are drawn over widths, activations, units, links, buffers, policies, group sizes and options; windows are
the first 16 to 511 tokens of GPT-OSS-20B requests (folder: environment variable PIMJAX_TRACES). Reported: relative
error of the latency of the run, of the expert phases (T_moe) and of the end of the last pass.

    python benchmarks/validation/multiplexed_error.py            # 300 configurations
    python benchmarks/validation/multiplexed_error.py --reuse    # the same, event's values from the committed results
    python benchmarks/validation/multiplexed_error.py --quick    # 6, synthetic routing if there are no traces
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax
import numpy as np

from benchmarks.lib.harness import environment, write_json
from benchmarks.lib.paths import DECODE_TRACES, RESULTS, trace_folder
from pimjax.chips.multiplexed import multiplexed_cost, simulate
from pimjax.config import Capacity, Config, Design, build, load_config
from pimjax.runs.inputs import schedule_inputs
from pimjax.runs.run_counts import RunCounts
from pimjax.trace.files import load_traces
from pimjax.trace.routing import RoutingTrace

FIDELITIES = ("fluid", "closed")
MEASURES = ("latency", "moe", "last_pass")
#: Prefills with the largest errors whose configurations are kept: what docs/validation.md shows.
SHOWN = 5
CAPACITY = Capacity(max_tokens=512, max_experts=32, max_top_k=4, max_layers=4, max_groups=32, max_slots=2048)


def draw(rng: np.random.Generator, mode: str) -> dict[str, Any]:
    """One random configuration; `mode`: "prefill", or a decode mode."""
    pick = rng.choice
    width = int(pick([1024, 2048, 2880, 4096]))
    policy = str(pick(["token_wise", "compact", "reschedule", "packed"]))
    layers = int(pick([1, 2, 3]))
    rare = lambda options: str(options[0] if rng.random() < 0.8 else pick(options[1:]))  # noqa: E731
    hardware = {
        "num_digital_units": float(pick([1, 2, 3, 5, 8, 12, 16, 24, 32, 64])),
        "mvm_latency_ns": float(rng.uniform(100, 160)),
        "out_buffer_slots": float(pick([1, 2, 4, 4, 8])),
        "num_attention_units": float(pick([1, 2, 4, 8])),
        "adc_bits": float(pick([6, 8, 10])),
    }
    if rng.random() < 0.6:
        hardware["input_links"] = float(pick([1, 2, 4]))
    if rng.random() < 0.1:
        hardware["out_links"] = float(pick([1, 2, 4]))
    plan = {
        "policy": policy,
        "group_size": int(pick([1, 2, 4, 8])),
        "grouping": str(pick(["uniform", "sorted"])),
        "share": rare(["position", "pair"]),
        "accumulate": rare(["local", "digital"]),
        "combine": rare(["digital", "inline"]),
        "router": rare(["crossbar", "digital"]),
        "input_hold": bool(rng.random() < 0.2),
    }
    if rng.random() < 0.2:
        plan["window_tokens"] = int(pick([16, 64, 128]))
    if policy == "token_wise" and rng.random() < 0.5:
        plan["barrier"] = True
    model = {
        "d_model": width,
        "d_ff": int(pick([512, 688, 1024, 2880])),
        "num_layers": layers,
        "num_experts": 32,
        "top_k": 4,
        "num_heads": 16,
        "head_dim": width // 16,
        "activation": str(pick(["relu", "gelu", "swiglu"])),
        "vocab_size": 32000,
        "num_shared_experts": int(rng.random() < 0.1),
    }
    workload: dict[str, Any] = {"prompt_tokens": int(pick([16, 32, 64, 128, 256, 511]))}
    if mode != "prefill":
        workload |= {
            "prompt_tokens": int(pick([16, 64, 128])),
            "generated_tokens": int(pick([2, 5, 9])),
            "prefill": False,
        }
        workload["kv_cache"] = mode != "recompute"
        workload["batch_size"] = int(pick([2, 4, 8, 16])) if mode == "batch" else 1
        if mode == "recompute":
            workload["generated_tokens"] = 3
        if mode == "prefetch":
            plan["dram_overlap"] = "prefetch"
    return {"hardware": hardware, "model": model, "plan": plan, "workload": workload}


@functools.cache
def kernel(fidelity: str, shapes: Any) -> Any:
    """One compiled program per fidelity and shape of the schedule."""
    del shapes

    def measures(design: Design, schedule: RunCounts) -> tuple[jax.Array, ...]:
        cost = multiplexed_cost(design, schedule, capacity=CAPACITY, fidelity=fidelity)
        return cost.latency_ns, cost.moe_latency_ns, cost.moe_last_pass_ns.sum()

    return jax.jit(measures)


def run_kernel(config: Config, trace: RoutingTrace, fidelity: str) -> dict[str, float]:
    """The measures of one fidelity, float64."""
    schedule = schedule_inputs(config, trace, fidelity=fidelity, capacity=CAPACITY)
    shapes = (jax.tree.structure(schedule), schedule.lengths.shape)
    with jax.enable_x64(True):
        found = kernel(fidelity, shapes)(_one(config), schedule)
        return {name: float(value) for name, value in zip(MEASURES, found, strict=True)}


def _one(config: Config) -> Design:
    """The design of one configuration, padded to the benchmark's capacity."""
    design, _ = build(config)
    groups = np.full(CAPACITY.max_experts, -1, np.int32)
    groups[: len(design.plan.group_of_expert)] = design.plan.group_of_expert[: CAPACITY.max_experts]
    return design.replace(plan=design.plan.replace(group_of_expert=groups))


def windows(rng: np.random.Generator, requests: int) -> RoutingTrace:
    """Requests of GPT-OSS-20B at 3 random layers, or synthetic ones where the traces are missing; for any depth."""
    file = trace_folder() / DECODE_TRACES
    if not file.is_file():
        ids = np.argsort(rng.random((3, 511, 32)) + rng.random((3, 1, 32)), axis=-1)[..., :4]
        return RoutingTrace.from_expert_ids(ids, 32).replace(allow=("repeat_layers",))  # type: ignore[attr-defined]
    trace = load_traces(file, requests=[int(rng.integers(57)) for _ in range(requests)])
    trace = trace.replace(allow=("repeat_layers",))  # type: ignore[attr-defined]
    layers = rng.integers(0, 24, 3)
    return jax.tree.map(lambda leaf: leaf[:, layers] if leaf.ndim > 1 else leaf, trace)


def known_event(mode: str, count: int, seed: int) -> list[dict[str, float]]:
    """Values of `event` in the committed results: the same cases, if seed and count are the same."""
    stored = json.loads((RESULTS / "multiplexed_error.json").read_text())["results"][mode]
    if (stored["cases"], stored["seed"]) != (count, seed):
        raise SystemExit(f"--reuse: the results hold {stored['cases']} cases of seed {stored['seed']} for {mode}")
    return [row["event"] for row in stored["rows"]]


def described(config: Config) -> dict[str, Any]:
    """What a row says of its configuration."""
    parts = {
        "hardware": set(),
        "plan": True,
        "workload": True,
        "model": {"d_model", "d_ff", "num_layers", "activation", "num_shared_experts"},
    }
    names = ("num_digital_units", "mvm_latency_ns", "out_buffer_slots", "input_links", "out_links")
    return {
        "config": config.model_dump(mode="json", include=parts),
        "hardware": {name: getattr(config.hardware, name) for name in names},
    }


def study(mode: str, count: int, seed: int, known: list[dict[str, float]] | None = None) -> dict[str, Any]:
    """Errors of `count` random cases of one mode; `known`: values of event that are already there."""
    rng = np.random.default_rng(seed)
    rows = []
    seconds = {"event": 0.0, "fluid": 0.0, "closed": 0.0}
    for index in range(count):
        config = load_config(draw(rng, mode))
        trace = windows(rng, config.workload.batch_size)
        if known is not None:
            exact = known[index]
        else:
            begin = time.perf_counter()
            cost = simulate(config, trace).cost
            seconds["event"] += time.perf_counter() - begin
            exact = {
                "latency": float(cost.latency_ns),
                "moe": float(cost.moe_latency_ns),
                "last_pass": float(cost.moe_last_pass_ns.sum()),
            }
        row: dict[str, Any] = {"case": index, "event": exact, **described(config)}
        for fidelity in FIDELITIES if mode == "prefill" else ("closed",):
            begin = time.perf_counter()
            found = run_kernel(config, trace, fidelity)
            seconds[fidelity] += time.perf_counter() - begin
            row[fidelity] = {name: found[name] / exact[name] - 1 if exact[name] else 0.0 for name in MEASURES}
        rows.append(row)
    shown = SHOWN if mode == "prefill" else 0
    best = "fluid" if mode == "prefill" else "closed"
    for row in sorted(rows, key=lambda row: -abs(row[best]["moe"]))[shown:]:
        del row["config"], row["hardware"]  # they follow from seed and case; the page shows the worst prefills
    summary = {}
    for fidelity in FIDELITIES if mode == "prefill" else ("closed",):
        summary[fidelity] = {}
        for name in MEASURES:
            error = np.abs([row[fidelity][name] for row in rows])
            summary[fidelity][name] = {
                "mean": float(error.mean()),
                "p95": float(np.percentile(error, 95)),
                "max": float(error.max()),
            }
    return {"cases": count, "seed": seed, "summary": summary, "seconds_all_included": seconds, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few cases, for continuous integration")
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--modes", nargs="*", default=["prefill", "cached", "batch", "recompute", "prefetch"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reuse", action="store_true", help="take event's values from the committed results")
    arguments = parser.parse_args()
    results = {}
    for mode in arguments.modes:
        count = 6 if arguments.quick else (arguments.cases if mode == "prefill" else max(2, arguments.cases // 6))
        known = known_event(mode, count, arguments.seed) if arguments.reuse else None
        results[mode] = study(mode, count, arguments.seed, known)
        for fidelity, measures in results[mode]["summary"].items():
            line = ", ".join(
                f"{name} {100 * m['mean']:.2f} % mean {100 * m['p95']:.2f} % p95 {100 * m['max']:.1f} % max"
                for name, m in measures.items()
            )
            print(f"{mode:9s} {fidelity:6s} ({count} cases): {line}")
    environment_facts = environment()
    print({key: environment_facts[key] for key in ("device", "jax", "cpu_cores")})
    if not arguments.quick:
        target = write_json(
            "multiplexed_error", {"capacity": str(CAPACITY), "event_values_reused": arguments.reuse, "results": results}
        )
        print(target)


if __name__ == "__main__":
    main()
