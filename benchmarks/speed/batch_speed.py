"""Speed of the batch engine: configurations x traces, fluid with results written, closed with a Pareto front, starts.

    python benchmarks/speed/batch_speed.py                     # all lines, about ten minutes on two CPU cores
    python benchmarks/speed/batch_speed.py --quick             # small numbers, for continuous integration
    python benchmarks/speed/batch_speed.py --only fluid start  # some lines; the others stay as they are in the result
    python benchmarks/speed/batch_speed.py --only selected --points 100000000    # 1e8 points: for a GPU

A CPU is opened as one device per core, as the command line does it. Compile time stands apart everywhere;
"in_kernels" is the time of the same compiled tiles alone over the run's. Lines:

- product: `estimate_batch` of H configurations x R traces (multiplexed chip, closed, reschedule), NumPy in and out, one
  layer of the paper's chip; product_deep: all 24 layers of GPT-OSS-20B. Schedules are made once per (trace, layer)
  and timed apart, the first time with compiling and again without.
- batch: rates of the reference chip over the number of configurations.
- fluid: sweep of the reference chip, fluid at 32 tokens, Parquet written, against the bare compiled kernel at the tile
  size that is best for it, on the same devices, in turns, per point of the sweep.
- chunks: closed, every point written, over the size of result files.
- selected: closed, Pareto front found on the device, nothing else stored, over tile sizes.
- processes: one fluid sweep by one process with one device (one core), by one with a device per core, and by two processes.
- start: the command line from an empty cache and again: time to the first result on disk, and to the end.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count={os.cpu_count()}")

import jax
import numpy as np

import pimjax
from benchmarks.lib.harness import environment, write_json
from benchmarks.lib.paths import RESULTS
from benchmarks.lib.unsized import unsized
from pimjax.batch.api import estimate_batch
from pimjax.batch.columns import Columns, build_columns, requests_of
from pimjax.batch.engine import Compiled, Timings, first_shape
from pimjax.batch.points import space_of
from pimjax.batch.rows import lane_parameters
from pimjax.batch.sweep import run_sweep
from pimjax.batch.sweep_config import load_sweep
from pimjax.batch.tile import Program, make_mesh, put, tile_program
from pimjax.trace import generate_traces

FIELDS = ("latency_ns", "energy_nj", "area_mm2")
#: seconds of the product of 1,000 configurations and 1,000 traces, without compiling and schedules
FLOOR_S = {"cpu": 20.0, "gpu": 5.0}
#: fluid with results written, over the bare kernel; seconds to the first result of a second start on a CPU
FLOOR_RATIO, FLOOR_START_S = 0.9, 5.0


@contextlib.contextmanager
def _tiles_kept() -> Iterator[list[Any]]:
    """Every compiled tile that runs meanwhile, with its arguments."""
    kept: list[Any] = []
    get = Compiled.get

    def keeping(self: Compiled, program: Program, arguments: tuple[Any, ...]) -> Any:
        kept.append((get(self, program, arguments), arguments))
        return kept[-1][0]

    with mock.patch.object(Compiled, "get", keeping):
        yield kept


def product(preset: str | dict[str, Any], lanes: int, requests: int, tokens: int) -> dict[str, Any]:
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
    with _tiles_kept() as kept:
        result = estimate_batch(design, traces, fields=FIELDS, timings=timings)
    run = time.perf_counter() - begin - timings.compile_s - timings.schedules_s
    assert np.isfinite(result.latency_ns).all()
    assert result.latency_ns.shape == (lanes, requests)
    assert len(np.unique(result.latency_ns[0])) > 1
    begin = time.perf_counter()
    for compiled, arguments in kept:
        jax.block_until_ready(compiled(*arguments))
    kernels = time.perf_counter() - begin
    begin = time.perf_counter()
    again = build_columns([config], requests_of(traces), "closed", pimjax.build(config)[1])
    again_s = time.perf_counter() - begin
    assert again.request.shape == (1, requests)
    floor = FLOOR_S.get(jax.default_backend()) if (lanes, requests, model.num_moe_layers) == (1000, 1000, 1) else None
    return {
        "preset": config.name, "configurations": lanes, "traces": requests, "tokens": tokens,
        "layers": model.num_moe_layers, "making_traces_s": traces_s, "compile_s": timings.compile_s,
        "compiles": timings.compiles, "schedules_s": timings.schedules_s,
        "schedules_again_s": again_s, "schedules_per_s": requests * model.num_moe_layers / again_s,
        "wall_s": run, "floor_s": floor, "met": floor and run < floor, "pairs_per_s": lanes * requests / run,
        "pairs_x_layers_per_s": lanes * requests * model.num_moe_layers / run, "in_kernels": kernels / run,
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
    config = pimjax.load_config("paper_reference")
    estimate_batch(_lanes(config, 8), fidelity="closed", fields=FIELDS)  # loads what is loaded once
    found = []
    for size in sizes:
        timings = Timings()
        begin = time.perf_counter()
        with _tiles_kept() as kept:
            estimate_batch(_lanes(config, size), fidelity=fidelity, fields=FIELDS, timings=timings)
        run = time.perf_counter() - begin - timings.compile_s
        begin = time.perf_counter()
        for compiled, arguments in kept:
            jax.block_until_ready(compiled(*arguments))
        found.append({"configurations": size, "fidelity": fidelity, "compile_s": timings.compile_s, "wall_s": run,
                      "estimates_per_s": size / run, "in_kernels": (time.perf_counter() - begin) / run})  # fmt: skip
    return found


def _sweep(points: int, **more: object) -> Any:
    side = max(2, round(points**0.5))
    axes = [
        {"field": "hardware.mvm_latency_ns", "grid": {"start": 100, "stop": 160, "count": side}},
        {"field": "hardware.mvm_energy_nj", "grid": {"start": 9, "stop": 16, "count": side}},
    ]
    return load_sweep({"base": "paper_reference", "axes": axes, "columns": list(FIELDS), **more})


def _timed_sweep(sweep: Any, tile: int | None = None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        outcome = run_sweep(sweep, Path(folder) / "out", tile_points=tile)
        run = time.perf_counter() - begin - outcome.timings.compile_s
    assert outcome.complete
    return {
        "points": outcome.points, "compile_s": outcome.timings.compile_s, "wall_s": run,
        "points_per_s": outcome.points / run, "writing_s": outcome.writing_s,
    }  # fmt: skip


def _bare(sweep: Any, tile: int | None = None) -> Callable[[], float]:
    """A function that runs the sweep's compiled tile until all its points are done, and returns points per s.

    Only points of the sweep count: a tile that is filled up with others is as slow here as it is there.
    """
    space, mesh = space_of(sweep), make_mesh()
    config = space.variants[0]
    program = Program("reference", sweep.fidelity, pimjax.build(config)[1], (*FIELDS, "status"), lanes=space.lanes,
                      common=(False, True, True), prefill_only=config.workload.generated_tokens == 1)  # fmt: skip
    count = first_shape(space.num_lanes, 1, mesh, tile, scans=sweep.fidelity == "fluid").lanes
    lanes = np.arange(count, dtype=np.int32) % space.num_lanes
    columns = Columns(np.zeros(1, np.int32), np.int32(32), np.int32(32), None)
    arguments = (lane_parameters(space, 0, 0, np.dtype("float32"), config), lanes, np.zeros_like(lanes), columns)
    arguments = (put(arguments[0], mesh, split=False, dtype=np.dtype("float32")),
                 *(put(leaf, mesh, split=True, dtype=np.dtype("float32")) for leaf in arguments[1:3]),
                 put(columns, mesh, split=False, dtype=np.dtype("float32")))  # fmt: skip
    compiled = tile_program(program, mesh).lower(*arguments).compile()
    repeats = -(-space.num_lanes // count)
    jax.block_until_ready(compiled(*arguments))

    def run() -> float:
        begin = time.perf_counter()
        jax.block_until_ready([compiled(*arguments) for _ in range(repeats)])
        return space.num_lanes / (time.perf_counter() - begin)

    return run


def fluid_written(points: int, tiles: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Sweep with results written, with the engine's own tile, and the bare kernel, in turns; medians."""
    sweep = _sweep(points, fidelity="fluid")
    candidates = {tile: _bare(sweep, tile) for tile in tiles}
    first = {tile: bare() for tile, bare in candidates.items()}
    best = max(first, key=lambda tile: first[tile])
    _timed_sweep(_sweep(64, fidelity="fluid"))  # loads what is loaded once
    rates, runs = [], []
    for _ in range(rounds):
        rates.append(candidates[best]())
        runs.append(_timed_sweep(sweep))
    ratios = [run["points_per_s"] / rate for run, rate in zip(runs, rates, strict=True)]
    ratio = statistics.median(ratios)
    return {
        "devices": jax.local_device_count(), "rounds": rounds, **runs[-1],
        "estimates_per_s": statistics.median(run["points_per_s"] for run in runs),
        "bare_by_tile": {str(tile): {"bare_per_s": rate} for tile, rate in first.items()}, "bare_tile_points": best,
        "bare_kernel_estimates_per_s": statistics.median(rates),
        "ratio_to_bare": ratio, "ratios": ratios, "floor_ratio": FLOOR_RATIO, "met": ratio >= FLOOR_RATIO,
    }  # fmt: skip


def closed_written(points: int, chunks: tuple[int, ...]) -> list[dict[str, Any]]:
    """Every point written, over points per result file."""
    return [{"chunk_points": size, **_timed_sweep(_sweep(points, chunk_points=size))} for size in chunks]


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
    """The command line with one and two processes on this machine; the second run of each has its programs cached."""
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        sweep = Path(scratch) / "sweep.yaml"
        sweep.write_text(_yaml("paper_reference", points) + f"fidelity: fluid\nchunk_points: {max(1, points // 8)}\n")
        for count, devices in ((1, 1), (1, os.cpu_count() or 1), (2, 1)):
            for attempt in range(2):
                out = _run_processes(sweep, Path(scratch) / f"out-{count}-{devices}-{attempt}", count, devices)
            found.append({"processes": count, "devices_each": devices, "points": out[0]["points"],
                          "points_per_s": sum(one["points_per_s"] for one in out)})  # fmt: skip
    return [{**row, "ratio_to_one_device": row["points_per_s"] / found[0]["points_per_s"]} for row in found]


def _yaml(base: str, points: int) -> str:
    side = max(2, round(points**0.5))
    axis = "{{field: hardware.{}, grid: {{start: {}, stop: {}, count: {}}}}}"
    return (
        f"base: {base}\nset: {{workload.prompt_tokens: 32}}\naxes:\n  - {axis.format('mvm_latency_ns', 100, 160, side)}\n"
        f"  - {axis.format('mvm_energy_nj', 9, 16, side)}\ncolumns: [latency_ns, energy_nj, area_mm2]\n"
    )


def _command_environment(**more: str) -> dict[str, str]:
    """Of the command line as users start it: devices and caches as it chooses them."""
    without = ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES", "JAX_COMPILATION_CACHE_DIR", "PIMJAX_CACHE")
    kept = {name: value for name, value in os.environ.items() if name not in without}
    path = os.pathsep.join([str(Path(pimjax.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return kept | {"PYTHONPATH": path} | more


def _run_processes(sweep: Path, output: Path, count: int, devices: int) -> list[dict[str, Any]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = [sys.executable, "-m", "pimjax", "sweep", "-c", str(sweep), "-o", str(output), "--json"]
    commands = [base]
    if count > 1:
        shared = ["--coordinator", f"127.0.0.1:{port}", "--num-processes", str(count)]
        commands = [[*base, *shared, "--process-id", str(index)] for index in range(count)]
    variables = _command_environment(JAX_NUM_CPU_DEVICES=str(devices), PIMJAX_CACHE=str(sweep.parent / "programs"))
    started = [subprocess.Popen(one, stdout=subprocess.PIPE, text=True, env=variables) for one in commands]
    outputs = [process.communicate(timeout=600)[0] for process in started]
    assert all(process.returncode == 0 for process in started)
    return [json.loads(text) for text in outputs]


def start(repeats: int) -> dict[str, Any]:
    """Cold and later starts of the command line, every command with an empty cache of its own."""
    found: dict[str, Any] = {}
    for name, base in (("sweep", "paper_multiplexed"), ("sweep_reference", "paper_reference"), ("estimate", "")):
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch)
            (place / "sweep.yaml").write_text(_yaml(base, 100))
            runs = [_started(name, place, attempt) for attempt in range(1 + repeats)]
        second = statistics.median(run["first_result_s"] for run in runs[1:])
        found[name] = {
            "cold_s": runs[0]["first_result_s"], "wall_s": second,
            "to_the_end_s": statistics.median(run["end_s"] for run in runs[1:]),
            "floor_s": FLOOR_START_S, "met": second < FLOOR_START_S,
        }  # fmt: skip
    for name in ("--help", "presets"):
        samples = []
        for _ in range(1 + repeats):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-m", "pimjax", name], check=True, env=_command_environment(),
                           stdout=subprocess.DEVNULL)  # fmt: skip
            samples.append(time.perf_counter() - begin)
        found[name.strip("-")] = {"wall_s": statistics.median(samples[1:])}
    return found


def _started(name: str, place: Path, attempt: int) -> dict[str, float]:
    """Seconds of one start to its first result (a file of rows, or the estimate printed) and to its end."""
    output = place / f"out-{attempt}"
    command = [sys.executable, "-m", "pimjax", *(
        ["estimate", "--json"] if name == "estimate" else ["sweep", "-c", str(place / "sweep.yaml"), "-o", str(output), "--json"]
    )]  # fmt: skip
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                               env=_command_environment(PIMJAX_CACHE=str(place / "programs")))  # fmt: skip
    first = None
    while process.poll() is None and name != "estimate":
        if first is None and list(output.glob("points/part-*")):
            first = time.perf_counter() - begin
        time.sleep(0.005)
    text = process.communicate(timeout=600)[0]
    end = time.perf_counter() - begin
    assert process.returncode == 0
    assert json.loads(text)
    return {"first_result_s": end if first is None else first, "end_s": end}


def main() -> None:
    """Run and write `results/batch_speed.json`; lines that are not run stay as they are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small numbers, for continuous integration")
    names = ("product", "product_deep", "batch", "fluid", "chunks", "selected", "processes", "start")
    parser.add_argument("--only", nargs="*", choices=names, default=names, help="lines to run")
    parser.add_argument("--points", type=int, default=None, help="points of the line 'selected'")
    chosen = parser.parse_args()
    quick, on_cpu = chosen.quick, jax.default_backend() == "cpu"
    tiles = (1 << 12, 1 << 14, 1 << 16) if on_cpu else (1 << 18, 1 << 20, 1 << 22)
    print(environment(), flush=True)
    run: dict[str, Callable[[], Any]] = {
        "product": lambda: product("paper_multiplexed", *((40, 8, 64) if quick else (1000, 1000, 512))),
        # the same program, compiled for 24 layers; fewer traces: 24 schedules each
        "product_deep": lambda: product(unsized("gpt_oss_20b"), *((8, 2, 32) if quick else (1000, 200, 512))),
        "batch": lambda: [*batch((64,) if quick else (64, 4096, 262_144), "closed"),
                          *batch((64,) if quick else (64, 1024, 8192), "fluid")],
        "fluid": lambda: fluid_written(1_024 if quick else 36_864, (256,) if quick else (256, 1024), 1 if quick else 3),
        "chunks": lambda: closed_written(20_000 if quick else 1_000_000,
                                         (5_000,) if quick else (1 << 14, 1 << 16, 1 << 18)),
        "selected": lambda: closed_selected(chosen.points or (20_000 if quick else 4_000_000), tiles[:1] if quick else tiles),
        "processes": lambda: processes(256 if quick else 16_384),
        "start": lambda: start(1 if quick else 3),
    }  # fmt: skip
    name = "batch_speed_quick" if quick else "batch_speed"
    target = RESULTS / f"{name}.json"
    lines = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {}
    lines.pop("environment", None)
    if quick:
        run.pop("product_deep")
    for line in names:
        if line in chosen.only and line in run:
            before = os.getloadavg()
            begin = time.perf_counter()
            lines[line] = run[line]()
            print(line, json.dumps(lines[line], indent=1), f"{time.perf_counter() - begin:.0f} s", flush=True)
            lines["load_average_before"] = {**lines.get("load_average_before", {}), line: before}
            lines["not_measured"] = "lines on a GPU: product in 5 s, 1e8 points in 10 s" if on_cpu else ""
            write_json(name, lines)


if __name__ == "__main__":
    main()
