"""Recorded serving runs of vLLM: requests, times, the engine's settings, deployments, read from the folder's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lib.served_models import MODELS, recorded
from benchmarks.lib.vllm_profiles import Deployment
from pimjax.serving import Requests, Server, load_requests, make_requests

TIMED, UNTIMED = "__requests.jsonl", "__requests_untimed.jsonl"
QUANTILES = (10, 25, 50, 75, 90, 95, 99)


def runs_in(place: Path) -> dict[str, bool]:
    """Name of every run in a folder -> whether its times are there."""
    found = {path.name.removesuffix(TIMED): True for path in sorted(place.glob(f"*{TIMED}"))}
    return {path.name.removesuffix(UNTIMED): False for path in sorted(place.glob(f"*{UNTIMED}"))} | found


def requests_of(place: Path, name: str) -> Requests:
    """Arrivals and lengths, with or without times."""
    timed = place / f"{name}{TIMED}"
    return measured_run(timed)[0] if timed.is_file() else load_requests(place / f"{name}{UNTIMED}", "vllm")


def measured_run(path: Path) -> tuple[Requests, dict[str, np.ndarray]]:
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


def engine_of(place: Path, name: str) -> dict[str, Any]:
    """The engine's settings as the run recorded them; where it recorded none of its memory: no limit."""
    return json.loads((place / f"{name}__meta.json").read_text())


def server_of(place: Path, name: str) -> Server:
    """The server of a run."""
    meta = engine_of(place, name)
    engine, cache = meta["engine_kwargs"], meta.get("kv_cache") or {}
    blocks, ranks = cache.get("num_gpu_blocks"), int(engine.get("data_parallel_size") or 1)
    return Server(
        max_num_seqs=engine["max_num_seqs"],
        max_num_batched_tokens=engine["max_num_batched_tokens"],
        kv_tokens=16 * (blocks - 1) if blocks else None,  # one block stands for nothing
        async_scheduling=True,  # both are defaults of this version
        reuse_preempted=bool(cache.get("enable_prefix_caching", True)),
        ranks=ranks,
        lockstep=ranks > 1 and bool(engine.get("enable_expert_parallel")),
    )


def deployment_of(place: Path, name: str) -> Deployment:
    """Sizes of the model and links between devices, for step tables straight from profiles."""
    engine, sizes = engine_of(place, name)["engine_kwargs"], MODELS[recorded(name).model]
    ranks = int(engine.get("data_parallel_size") or 1) if engine.get("enable_expert_parallel") else 1
    return Deployment(
        sizes["num_layers"], sizes["d_model"], sizes["vocab_size"],
        tensor_parallel=int(engine.get("tensor_parallel_size") or 1), expert_parallel=ranks,
        experts=sizes["num_experts"], top_k=sizes["top_k"] if sizes["num_experts"] else 0,
    )  # fmt: skip


def profile_of(place: Path, name: str) -> Path | None:
    """Stem of the operator profiles of a run's board, model and tensor parallelism; None where there are none."""
    board, model = recorded(name)
    parallel = int(engine_of(place, name)["engine_kwargs"].get("tensor_parallel_size") or 1)
    for stem in (f"{board}_{model}_tp{parallel}", f"{board}_{model}"):
        if (place / f"{stem}__profile_dense.csv").is_file():
            return place / stem
    return None


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
