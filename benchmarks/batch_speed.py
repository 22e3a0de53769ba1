"""Speed of the batch engine: configurations x traces end to end, fluid with results written, closed with selection.

    python benchmarks/batch_speed.py            # 1,000 x 1,000, T = 512, GPT-OSS-20B's 24 layers
    python benchmarks/batch_speed.py --quick    # a few seconds after compiling

Three lines, each with compile time apart:
1. `estimate_batch` over H configurations x R traces (multiplexed chip, closed, reschedule), NumPy in and out. Making
   the schedules from the traces is timed apart.
2. Sweep of the reference chip, fluid at n = 32, Parquet written, against the bare compiled kernel on the same tiles.
3. Sweep of the reference chip, closed, Pareto front selected on the device, nothing else stored.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import numpy as np
from harness import environment, write_json

import pimjax
from pimjax.batch import api
from pimjax.batch.engine import Timings
from pimjax.batch.points import space_of
from pimjax.batch.rows import lane_parameters
from pimjax.batch.sweep import run_sweep
from pimjax.batch.sweep_config import load_sweep
from pimjax.batch.tile import Program, make_mesh, tile_program
from pimjax.trace import generate_traces

FIELDS = ("latency_ns", "energy_nj", "area_mm2")


def product(lanes: int, requests: int, tokens: int, preset: str) -> dict[str, object]:
    """Line 1."""
    config = pimjax.load_config(preset, {"workload.prompt_tokens": tokens, "plan.policy": "reschedule"})
    model = config.model
    traces = generate_traces(
        "zipf", requests=requests, layers=model.num_moe_layers, tokens=tokens, experts=model.num_experts,
        top_k=model.top_k, seed=0,
    )  # fmt: skip
    design, _ = pimjax.build(config)
    rng = np.random.default_rng(0)
    design = design.set(
        {
            "hardware.mvm_latency_ns": rng.uniform(100, 160, lanes),
            "hardware.num_digital_units": rng.integers(1, 20, lanes),
        }
    )
    spent = {"schedules_s": 0.0}
    build_columns = api.build_columns

    def timed(*arguments):
        begin = time.perf_counter()
        made = build_columns(*arguments)
        spent["schedules_s"] += time.perf_counter() - begin
        return made

    api.build_columns = timed
    timings = Timings()
    begin = time.perf_counter()
    result = api.estimate_batch(design, traces, fields=FIELDS, timings=timings)
    whole = time.perf_counter() - begin
    api.build_columns = build_columns
    run = whole - timings.compile_s - spent["schedules_s"]
    assert np.isfinite(result.latency_ns).all()
    return {
        "configurations": lanes, "traces": requests, "tokens": tokens, "layers": model.num_moe_layers, "preset": preset,
        "compile_s": timings.compile_s, "compiles": timings.compiles, **spent, "run_s": run,
        "pairs_per_s": lanes * requests / run, "waiting_for_device": timings.waiting_s / run,
    }  # fmt: skip


def _sweep(points: int, **more: object):
    side = max(2, round(points**0.5))
    axes = [
        {"field": "hardware.mvm_latency_ns", "grid": {"start": 100, "stop": 160, "count": side}},
        {"field": "hardware.mvm_energy_nj", "grid": {"start": 9, "stop": 16, "count": side}},
    ]
    return load_sweep({"base": "paper_reference", "axes": axes, "columns": list(FIELDS), **more})


def _timed_sweep(sweep, tile: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        outcome = run_sweep(sweep, Path(folder) / "out", tile_points=tile)
        run = time.perf_counter() - begin - outcome.timings.compile_s
    return {
        "points": outcome.points, "compile_s": outcome.timings.compile_s, "run_s": run,
        "points_per_s": outcome.points / run, "waiting_for_device": outcome.timings.waiting_s / run,
    }  # fmt: skip


def fluid_written(points: int, tile: int) -> dict[str, object]:
    """Line 2."""
    sweep = _sweep(points, fidelity="fluid")
    space = space_of(sweep)
    config = space.variants[0]
    mesh = make_mesh()
    program = Program("reference", "fluid", pimjax.build(config)[1], (*FIELDS, "status"), lanes=space.lanes,
                      common=(False,), prefill_only=True)  # fmt: skip
    parameters = lane_parameters(space, 0, 0, np.dtype("float32"), config)
    from pimjax.batch.columns import Columns

    lanes = np.arange(tile * mesh.devices.size, dtype=np.int32) % space.num_lanes
    columns = Columns(np.zeros(1, np.int32), None, None, None)
    run = tile_program(program, mesh)
    jax.block_until_ready(run(parameters, lanes, np.zeros_like(lanes), columns))
    repeats = max(1, points // len(lanes))
    begin = time.perf_counter()
    for _ in range(repeats):
        jax.block_until_ready(run(parameters, lanes, np.zeros_like(lanes), columns))
    bare = repeats * len(lanes) / (time.perf_counter() - begin)
    written = _timed_sweep(sweep, tile)
    return {**written, "bare_kernel_points_per_s": bare, "ratio_to_bare": written["points_per_s"] / bare}


def closed_selected(points: int, tile: int) -> dict[str, object]:
    """Line 3."""
    sweep = _sweep(points, store="selected", select={"pareto": list(FIELDS)})
    return {"tile_points": tile, **_timed_sweep(sweep, tile)}


def main() -> None:
    """Run and write `results/batch_speed.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small numbers, for continuous integration")
    parser.add_argument("--preset", default=None, help="configuration of line 1")
    chosen = parser.parse_args()
    size = (50, 8, 64) if chosen.quick else (1000, 1000, 512)
    preset = chosen.preset or ("paper_multiplexed" if chosen.quick else "gpt_oss_20b")
    print(environment())
    lines = {"product": product(*size, preset)}
    print(lines["product"], flush=True)
    lines["fluid_written"] = fluid_written(2_000 if chosen.quick else 40_000, 256 if chosen.quick else 1024)
    print(lines["fluid_written"], flush=True)
    tiles = (4096,) if chosen.quick else (1 << 12, 1 << 14, 1 << 16)
    lines["closed_selected"] = [closed_selected(20_000 if chosen.quick else 4_000_000, tile) for tile in tiles]
    print(lines["closed_selected"], flush=True)
    write_json("batch_speed_quick" if chosen.quick else "batch_speed", {"not_measured": "lines on a GPU", **lines})


if __name__ == "__main__":
    main()
