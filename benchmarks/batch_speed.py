"""Speed of the batch engine: configurations x traces, fluid with results written, closed with a Pareto front.

    python benchmarks/batch_speed.py             # all lines, minutes on two CPU cores
    python benchmarks/batch_speed.py --quick     # small numbers, for continuous integration
    python benchmarks/batch_speed.py --only selected --points 100000000    # 1e8 points: for a GPU

Lines (compile time stands apart everywhere; "in_kernels" is the time of the same compiled tiles alone over the run's):

- product: `estimate_batch` of H configurations x R traces (multiplexed chip, closed, reschedule), NumPy in and out, one
  layer of the paper's chip; product_deep: all 24 layers of GPT-OSS-20B. Schedules are made once per (trace, layer)
  and timed apart.
- batch: rates of the same program over the number of configurations.
- fluid: sweep of the reference chip, fluid at 32 tokens, Parquet written, against the bare compiled kernel, in turns.
- selected: sweep of the reference chip, closed, Pareto front found on the device, over tile sizes; nothing else stored.
- processes: one sweep by 1 and by 2 processes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import numpy as np
from harness import environment, write_json

import pimjax
from pimjax.batch.api import estimate_batch
from pimjax.batch.columns import Columns
from pimjax.batch.engine import Timings
from pimjax.batch.points import space_of
from pimjax.batch.rows import lane_parameters
from pimjax.batch.sweep import run_sweep
from pimjax.batch.sweep_config import load_sweep
from pimjax.batch.tile import Program, make_mesh, tile_program
from pimjax.trace import generate_traces

FIELDS = ("latency_ns", "energy_nj", "area_mm2")
FLOOR_S = {"cpu": 20.0, "gpu": 5.0}


def product(preset: str, lanes: int, requests: int, tokens: int) -> dict[str, Any]:
    """Configurations x traces; the second run is the one that is timed: it compiles nothing."""
    config = pimjax.load_config(preset, {"workload.prompt_tokens": tokens, "plan.policy": "reschedule"})
    model = config.model
    begin = time.perf_counter()
    traces = []
    for start in range(0, requests, 20):  # scores of all requests together would fill the memory
        made = generate_traces(
            "zipf", requests=min(20, requests - start), layers=model.num_moe_layers, tokens=tokens,
            experts=model.num_experts, top_k=model.top_k, seed=start, exponent=0.5, request_spread=0.3,
        )  # fmt: skip
        traces.append(dataclasses.replace(made, gate_scores=None, expert_order=None))
    traces_s = time.perf_counter() - begin
    design = _lanes(config, lanes)
    timings = Timings()
    begin = time.perf_counter()
    result = estimate_batch(design, traces, fields=FIELDS, timings=timings)
    run = time.perf_counter() - begin - timings.compile_s - timings.schedules_s
    assert np.isfinite(result.latency_ns).all()
    assert result.latency_ns.shape == (lanes, requests)
    assert len(np.unique(result.latency_ns[0])) > 1
    return {
        "preset": preset, "configurations": lanes, "traces": requests, "tokens": tokens,
        "layers": model.num_moe_layers, "making_traces_s": traces_s, "compile_s": timings.compile_s,
        "compiles": timings.compiles, "schedules_s": timings.schedules_s,
        "schedules_per_s": requests * model.num_moe_layers / timings.schedules_s,
        "wall_s": run, "floor_s": FLOOR_S.get(jax.default_backend()), "pairs_per_s": lanes * requests / run,
        "pairs_x_layers_per_s": lanes * requests * model.num_moe_layers / run, "in_kernels": timings.waiting_s / run,
    }  # fmt: skip


def _lanes(config: pimjax.Config, lanes: int) -> Any:
    rng = np.random.default_rng(0)
    return pimjax.build(config)[0].set(
        {
            "hardware.mvm_latency_ns": rng.uniform(100, 160, lanes),
            "hardware.num_digital_units": rng.integers(1, 20, lanes).astype(float),
        }
    )


def batch(sizes: tuple[int, ...], fidelity: str) -> list[dict[str, Any]]:
    """Rates of the reference chip over the number of configurations."""
    found = []
    for size in sizes:
        design = _lanes(pimjax.load_config("paper_reference"), size)
        estimate_batch(design, fidelity=fidelity, fields=FIELDS)  # loads what is loaded once
        timings = Timings()
        begin = time.perf_counter()
        estimate_batch(design, fidelity=fidelity, fields=FIELDS, timings=timings)
        run = time.perf_counter() - begin - timings.compile_s
        found.append({"configurations": size, "fidelity": fidelity, "wall_s": run, "estimates_per_s": size / run})
    return found


def _sweep(points: int, **more: object) -> Any:
    side = max(2, round(points**0.5))
    axes = [
        {"field": "hardware.mvm_latency_ns", "grid": {"start": 100, "stop": 160, "count": side}},
        {"field": "hardware.mvm_energy_nj", "grid": {"start": 9, "stop": 16, "count": side}},
    ]
    return load_sweep({"base": "paper_reference", "axes": axes, "columns": list(FIELDS), **more})


def _timed_sweep(sweep: Any, tile: int | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        outcome = run_sweep(sweep, Path(folder) / "out", tile_points=tile)
        run = time.perf_counter() - begin - outcome.timings.compile_s
    assert outcome.complete
    return {
        "points": outcome.points, "compile_s": outcome.timings.compile_s, "wall_s": run,
        "points_per_s": outcome.points / run, "writing_s": outcome.writing_s,
    }  # fmt: skip


def _bare(sweep: Any, tile: int) -> Callable[[], float]:
    """A function that runs one tile of the sweep's compiled program again and again, and returns its points per s."""
    space, mesh = space_of(sweep), make_mesh()
    config = space.variants[0]
    program = Program("reference", sweep.fidelity, pimjax.build(config)[1], (*FIELDS, "status"), lanes=space.lanes,
                      common=(False, True, True), prefill_only=config.workload.generated_tokens == 1)  # fmt: skip
    count = tile * mesh.devices.size
    lanes = np.arange(count, dtype=np.int32) % space.num_lanes
    columns = Columns(np.zeros(1, np.int32), np.int32(32), np.int32(32), None)
    arguments = (lane_parameters(space, 0, 0, np.dtype("float32"), config), lanes, np.zeros_like(lanes), columns)
    compiled = tile_program(program, mesh).lower(*arguments).compile()
    arguments = jax.block_until_ready(jax.device_put(arguments))
    repeats = max(1, -(-space.num_lanes // count))
    jax.block_until_ready(compiled(*arguments))

    def run() -> float:
        begin = time.perf_counter()
        for _ in range(repeats):
            jax.block_until_ready(compiled(*arguments))
        return repeats * count / (time.perf_counter() - begin)

    return run


def fluid_written(points: int, tile: int, rounds: int) -> dict[str, Any]:
    """Sweep with results written and the bare kernel, in turns; medians."""
    sweep = _sweep(points, fidelity="fluid")
    bare, rates, runs = _bare(sweep, tile), [], []
    for _ in range(rounds):
        rates.append(bare())
        runs.append(_timed_sweep(sweep, tile))
    ratios = [run["points_per_s"] / rate for run, rate in zip(runs, rates, strict=True)]
    return {
        "tile_points": tile, "rounds": rounds, **runs[-1],
        "estimates_per_s": statistics.median(run["points_per_s"] for run in runs),
        "bare_kernel_estimates_per_s": statistics.median(rates),
        "ratio_to_bare": statistics.median(ratios), "ratios": ratios, "floor_ratio": 0.9,
    }  # fmt: skip


def closed_selected(points: int, tiles: tuple[int, ...]) -> list[dict[str, Any]]:
    """Pareto front over tile sizes."""
    sweep = _sweep(points, store="selected", select={"pareto": list(FIELDS)})
    found = []
    for tile in tiles:
        rate = _bare(sweep, tile)()
        run = _timed_sweep(sweep, tile)
        found.append({"tile_points": tile, **run, "in_kernels": run["points_per_s"] / rate})
    return found


def processes(points: int) -> list[dict[str, Any]]:
    """The command line with 1 and 2 processes on this machine; the second run of each has its programs cached."""
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        sweep = Path(scratch) / "sweep.yaml"
        side = max(2, round(points**0.5))
        axis = "{{field: hardware.{}, grid: {{start: {}, stop: {}, count: {}}}}}"
        sweep.write_text(
            "base: paper_reference\naxes:\n"
            f"  - {axis.format('mvm_latency_ns', 100, 160, side)}\n  - {axis.format('mvm_energy_nj', 9, 16, side)}\n"
            f"columns: [latency_ns, energy_nj, area_mm2]\nstore: selected\nselect: {{pareto: [latency_ns, energy_nj]}}\n"
            f"chunk_points: {max(1, points // 16)}\n"
        )
        for count in (1, 2):
            for attempt in range(2):
                out = _run_processes(sweep, Path(scratch) / f"out-{count}-{attempt}", count)
            found.append({"processes": count, "points": out[0]["points"],
                          "points_per_s": sum(one["points_per_s"] for one in out)})  # fmt: skip
    return found


def _run_processes(sweep: Path, output: Path, count: int) -> list[dict[str, Any]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = [sys.executable, "-m", "pimjax", "sweep", "-c", str(sweep), "-o", str(output), "--json"]
    commands = [base]
    if count > 1:
        shared = ["--coordinator", f"127.0.0.1:{port}", "--num-processes", str(count)]
        commands = [[*base, *shared, "--process-id", str(index)] for index in range(count)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    outputs = [process.communicate(timeout=600)[0] for process in started]
    assert all(process.returncode == 0 for process in started)
    return [json.loads(text) for text in outputs]


def main() -> None:
    """Run and write `results/batch_speed.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small numbers, for continuous integration")
    names = ("product", "product_deep", "batch", "fluid", "selected", "processes")
    parser.add_argument("--only", nargs="*", choices=names, default=names, help="lines to run")
    parser.add_argument("--points", type=int, default=None, help="points of the line 'selected'")
    chosen = parser.parse_args()
    quick = chosen.quick
    print(environment(), flush=True)
    run: dict[str, Callable[[], Any]] = {
        "product": lambda: product("paper_multiplexed", *((40, 8, 64) if quick else (1000, 1000, 512))),
        "product_deep": lambda: product("gpt_oss_20b", *((8, 4, 32) if quick else (1000, 1000, 512))),
        "batch": lambda: [*batch((64, 4096) if quick else (64, 1024, 16_384, 262_144), "closed"),
                          *batch((64,) if quick else (64, 1024, 8192), "fluid")],
        "fluid": lambda: fluid_written(1_024 if quick else 36_864, 256 if quick else 1024, 1 if quick else 3),
        "selected": lambda: closed_selected(chosen.points or (20_000 if quick else 4_000_000),
                                            (4096,) if quick else _tiles()),
        "processes": lambda: processes(20_000 if quick else 4_000_000),
    }  # fmt: skip
    if quick:
        run.pop("product_deep")  # the same program, compiled for 24 layers
    lines = {}
    for name in names:
        if name in chosen.only and name in run:
            lines[name] = run[name]()
            print(name, json.dumps(lines[name], indent=1), flush=True)
            missing = "" if jax.default_backend() == "gpu" else "lines on a GPU: product in 5 s, 1e8 points in 10 s"
            write_json(
                "batch_speed_quick" if quick else "batch_speed",
                {"not_measured": missing, "load_average": os.getloadavg(), **lines},
            )


def _tiles() -> tuple[int, ...]:
    return (1 << 12, 1 << 14, 1 << 16) if jax.default_backend() == "cpu" else (1 << 18, 1 << 20, 1 << 22)


if __name__ == "__main__":
    main()
