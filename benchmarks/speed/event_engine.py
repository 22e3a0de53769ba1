"""Speed of the exact event engine on the authors' published runs.

    python benchmarks/speed/event_engine.py            # writes benchmarks/results/event_engine.json
    python benchmarks/speed/event_engine.py --quick    # a small model, a few seconds, prints only

Peers, from the design brief, on other machines: the authors' simulator needs 249 s for the published prefill,
array-and-heap prototypes 1.4 to 2 s.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib.harness import environment, write_json
from benchmarks.lib.oracles import run_literally
from pimjax.chips.reference.choices import draw_choices, shape_choices
from pimjax.chips.reference.event import event_log, simulate
from pimjax.chips.reference.graph import build_graph
from pimjax.chips.reference.mapping import map_model
from pimjax.chips.reference.parameters import ReferenceParameters, list_passes
from pimjax.event import engine, loop, run

PUBLISHED = ReferenceParameters()
QUICK = ReferenceParameters(d_model=1024, d_ff=300, vocab=2000, start_len=8)
SMALL = ReferenceParameters(d_model=512, d_ff=300, vocab=1000, k=2, experts=4, start_len=6)


def seconds(function: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Best wall and CPU time of `function()`, s."""
    wall, cpu = [], []
    for _ in range(repeats):
        begin_wall, begin_cpu = time.perf_counter(), time.process_time()
        function()
        wall.append(time.perf_counter() - begin_wall)
        cpu.append(time.process_time() - begin_cpu)
    return {"wall_s": min(wall), "cpu_s": min(cpu), "repeats": repeats}


def graph_and_run(parameters: ReferenceParameters, repeats: int, compiled: bool) -> dict[str, Any]:
    """Graph building and the engine apart, then everything that `simulate` does."""

    def build():
        choices = shape_choices(parameters, draw_choices(parameters))
        return build_graph(parameters, map_model(parameters), list_passes(parameters), choices)

    graph = build()
    result: dict[str, Any] = {"operations": graph.jobs.num_jobs, "compiled": compiled}
    result["build"] = seconds(build, repeats)
    for arithmetic in ("stepwise", "absolute"):
        timing = seconds(lambda a=arithmetic: run(graph.jobs, arithmetic=a, compiled=compiled), repeats)
        result[arithmetic] = timing | {"operations_per_s": graph.jobs.num_jobs / timing["wall_s"]}
    result["simulate"] = seconds(lambda: simulate(parameters, compiled=compiled), repeats)
    result["latency_ns"] = simulate(parameters, compiled=compiled).latency_ns
    return result


def compile_seconds() -> dict[str, float]:
    """Compiling the loop without a cache on disk."""
    import numba

    graph, _ = event_log(SMALL, compiled=False)
    fresh = numba.njit(loop.event_loop)
    kept = engine.compiled_loop
    engine.compiled_loop = lambda: fresh  # type: ignore[assignment]
    try:
        return seconds(lambda: run(graph.jobs, compiled=True), 1)
    finally:
        engine.compiled_loop = kept


def against_the_literal_loop(compiled: bool) -> dict[str, float]:
    """The authors' event loop, written out literally, against the engine on one small graph in this process."""
    graph, _ = event_log(SMALL, compiled=False)
    literal = seconds(lambda: run_literally(graph.jobs), 3)["wall_s"]
    ours = seconds(lambda: run(graph.jobs, arithmetic="stepwise", compiled=compiled), 20)["wall_s"]
    return {"operations": graph.jobs.num_jobs, "literal_s": literal, "engine_s": ours, "ratio": literal / ours}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small model, a few seconds, nothing is written")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    repeats = 1 if options.quick else options.repeats
    prefill = QUICK if options.quick else PUBLISHED

    payload: dict[str, Any] = {"threads": 1, "prefill_uncompiled": graph_and_run(prefill, repeats, False)}
    payload["literal_loop_against_uncompiled"] = against_the_literal_loop(False)
    if importlib.util.find_spec("numba") is not None:
        payload["numba"] = importlib.metadata.version("numba")
        payload["compile"] = compile_seconds()
        run(event_log(SMALL)[0].jobs, compiled=True)
        payload["literal_loop_against_compiled"] = against_the_literal_loop(True)
        payload["prefill_compiled"] = graph_and_run(prefill, repeats, True)
        small = seconds(lambda: simulate(SMALL, compiled=True), 50)
        payload["small_case_compiled"] = small | {"operations": simulate(SMALL).simulated_jobs}
        if not options.quick:
            uncached = replace(PUBLISHED, new_length=8, prefill=False)
            timing = seconds(lambda: simulate(uncached, compiled=True), 2)
            result = simulate(uncached, compiled=True)
            payload["generate_8_uncached_compiled"] = timing | {
                "operations": result.simulated_jobs,
                "latency_ns": result.latency_ns,
            }
    for name, value in environment().items():
        print(f"{name}: {value}")
    for name, value in payload.items():
        print(f"{name}: {value}")
    if not options.quick:
        print(write_json("event_engine", payload))


if __name__ == "__main__":
    main()
