"""Serving runs of vLLM on real GPUs, replayed: time to first token, time per token, latency.

    PIMJAX_SERVING=folder python benchmarks/validation/serving_vllm.py

The runs (300 requests each), their operator profiles and their settings are LLMServingSim's (casys-kaist, MIT licence); the
folder holds them, and nothing of it is copied. Steps cost what the profiles say (benchmarks/lib/vllm_profiles.py); no
number is fitted on the runs, but which effects count was decided with them in view. Writes benchmarks/results/serving_vllm.json: errors (simulated - measured) / measured, in %.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.lib import harness
from benchmarks.lib.paths import ROOT
from benchmarks.lib.vllm_profiles import Deployment, profile_table, separability, visited
from pimjax.serving import Server, make_requests, request_times, simulate

#: What LLMServingSim reaches on the same runs (its bench/README): mean TTFT, TPOT, latency, %.
PEER = {
    "RTX4090_Llama-3.1-8B": (0.6, 0.2, 0.5),
    "RTXPRO6000_Qwen3-32B": (1.3, 0.8, 1.0),
    "RTXPRO6000_Qwen3-30B-A3B-Instruct-2507": (-13.6, -1.7, -2.2),
}
#: Run -> (profiles, layers, d_model, tensor parallel, expert parallel, experts, top k): sizes of their config.json.
RUNS: dict[str, tuple[str, Deployment, dict[str, Any]]] = {
    "RTX4090_Llama-3.1-8B": ("RTX4090_Llama-3.1-8B_tp1", Deployment(32, 4096, 128_256), {}),
    "RTXPRO6000_Qwen3-32B": ("RTXPRO6000_Qwen3-32B_tp2", Deployment(64, 5120, 151_936, tensor_parallel=2), {}),
    "RTXPRO6000_Qwen3-30B-A3B-Instruct-2507": (
        "RTXPRO6000_Qwen3-30B-A3B",
        Deployment(48, 2048, 151_936, expert_parallel=2, experts=128, top_k=8),
        {"ranks": 2, "lockstep": True},
    ),
}
#: How experts are drawn, where no routing of the model is at hand: exponent of a Zipf law over the experts.
DRAWN = {"uniform": 0.0, "zipf 0.5": 0.5, "zipf 1.0": 1.0}
QUANTILES = (10, 25, 50, 75, 90, 95, 99)


def folder() -> Path:
    """Folder of the recorded runs; the script ends where it is missing."""
    path = Path(os.environ.get("PIMJAX_SERVING", ROOT.parent / "shared" / "serving"))
    if not (path / "RTX4090_Llama-3.1-8B__requests.jsonl").is_file():
        raise SystemExit(f"no recorded serving runs at {path}: set PIMJAX_SERVING to the folder that holds them")
    return path


def measured_run(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """Requests as they arrived, and ns that they took by the clock of the arrivals."""
    rows = sorted((json.loads(line) for line in path.read_text().splitlines()), key=lambda row: row["arrival_time"])
    column = {key: np.array([row[key] for row in rows]) for key in rows[0] if key != "request_id"}
    arrival = column["arrival_time"] - column["arrival_time"][0]
    engine = {key: column[key] - column["queued_ts"][0] for key in column if key.endswith("_ts")}
    shift = (engine["queued_ts"] - arrival).min()  # two clocks: no request is queued before it arrives
    first, last = (1e9 * (engine[key] - shift - arrival) for key in ("first_token_ts", "last_token_ts"))
    requests = make_requests(1e9 * arrival, column["input_toks"], column["output_toks"])
    tpot = np.where(requests.output_tokens > 1, (last - first) / np.maximum(requests.output_tokens - 1, 1), np.nan)
    return requests, {"ttft": first, "tpot": tpot, "latency": last}


def server_of(path: Path, **more: Any) -> Server:
    """The engine's settings as the run recorded them."""
    meta = json.loads(path.read_text())
    engine, cache = meta["engine_kwargs"], meta.get("kv_cache") or {}
    blocks = cache.get("num_gpu_blocks")
    return Server(
        max_num_seqs=engine["max_num_seqs"],
        max_num_batched_tokens=engine["max_num_batched_tokens"],
        kv_tokens=16 * (blocks - 1) if blocks else None,  # one block stands for nothing
        async_scheduling=True,  # both are defaults of this version
        reuse_preempted=bool(cache.get("enable_prefix_caching", True)),
        **more,
    )


def figures(times: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Mean and quantiles, in s."""
    return {
        name: {"mean": float(np.nanmean(values)) / 1e9}
        | {f"p{q}": float(np.nanpercentile(values, q)) / 1e9 for q in QUANTILES}
        for name, values in times.items()
        if name != "queueing"
    }


def errors(simulated: dict[str, Any], measured: dict[str, Any]) -> dict[str, dict[str, float]]:
    """% by figure."""
    return {
        name: {key: 100.0 * (simulated[name][key] / row[key] - 1.0) for key in row} for name, row in measured.items()
    }


def one_run(name: str, place: Path, exponent: float, **changed: Any) -> tuple[dict[str, Any], dict[str, Any], float]:
    """Measured and simulated figures, and seconds of the simulation."""
    profiles, deployment, more = RUNS[name]
    law = np.arange(1, max(deployment.experts, 1) + 1) ** -exponent
    table = profile_table(place / profiles, deployment, distinct=visited(law / law.sum(), deployment.top_k))
    requests, measured = measured_run(place / f"{name}__requests.jsonl")
    server = server_of(place / f"{name}__meta.json", **{**more, **changed})
    begin = time.perf_counter()
    run = simulate(requests, server, table)
    seconds = time.perf_counter() - begin
    return figures(measured), figures(request_times(run)), seconds


def main() -> None:
    """Replay the runs and write the errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one way of drawing experts only")
    arguments = parser.parse_args()
    place = folder()
    simulate(*_warm())  # compiles
    rows = []
    for name, (profiles, deployment, _) in RUNS.items():
        drawn = list(DRAWN.items()) if deployment.experts and not arguments.quick else [("uniform", 0.0)]
        for label, exponent in drawn:
            measured, simulated, seconds = one_run(name, place, exponent)
            row = {
                "run": name,
                "experts_drawn": label if deployment.experts else None,
                "measured_s": measured,
                "simulated_s": simulated,
                "error_percent": errors(simulated, measured),
                "peer_error_percent": dict(zip(("ttft", "tpot", "latency"), PEER[name], strict=True)),
                "attention_apart_percent": separability(place / profiles),
                "seconds": seconds,
            }
            rows.append(row)
            mean = {key: round(value["mean"], 2) for key, value in row["error_percent"].items()}
            print(f"{name:42} {label:9} mean errors % {mean}  peer {PEER[name]}  {seconds:.3f} s")
    harness.write_json("serving_vllm", {"rows": rows})


def _warm() -> tuple[Any, Server, Any]:
    from pimjax.serving import make_step_table

    return make_requests([0.0], 1, 1), Server(), make_step_table(tokens=[1.0])


if __name__ == "__main__":
    main()
