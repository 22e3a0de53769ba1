"""Gradient steps per second for 1, 1,024 and 65,536 starts, and the cost of a gradient over a forward evaluation.

    python benchmarks/speed/tune_speed.py            # writes results/tune_speed.json
    python benchmarks/speed/tune_speed.py --quick    # few starts, writes nothing

The largest number of starts is meant for a GPU and is left out ("not measured") elsewhere unless --all is given.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax

from benchmarks.lib.harness import write_json
from benchmarks.lib.workloads import tuning_programs


def measure(name: str, starts: tuple[int, ...]) -> dict[str, Any]:
    """Times of one problem."""
    rows = {}
    for count in starts:
        forward, gradient, arguments = tuning_programs(name, count)
        one, slope = in_turns(forward, gradient, *arguments)
        rows[str(count)] = {
            "forward": one,
            "gradient": slope,
            "gradient_steps_per_s": count / slope["median_s"],
            "gradient_over_forward": slope["median_s"] / one["median_s"],
        }
        print(
            f"{name} {count:6d} starts: {count / slope['median_s']:12,.0f} gradients/s, {slope['median_s'] / one['median_s']:.2f} "
            f"times a forward evaluation; compile {one['compile_s']:.1f} + {slope['compile_s']:.1f} s",
            flush=True,
        )
    return rows


def in_turns(first: Any, second: Any, *arguments: Any, repeats: int = 9) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two functions compiled and timed call by call in turns, so that whatever else the machine does meets both."""
    results, compiled, samples = [], [], ([], [])
    for function in (first, second):
        begin = time.perf_counter()
        compiled.append(jax.jit(function).lower(*arguments).compile())
        results.append({"compile_s": time.perf_counter() - begin})
        jax.block_until_ready(compiled[-1](*arguments))
    for _ in range(repeats):
        for program, taken in zip(compiled, samples, strict=True):
            begin = time.perf_counter()
            jax.block_until_ready(program(*arguments))
            taken.append(time.perf_counter() - begin)
    for result, taken in zip(results, samples, strict=True):
        result |= {"median_s": statistics.median(taken), "best_s": min(taken), "repeats": repeats}
    return results[0], results[1]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--all", action="store_true", help="65,536 starts on this device too")
    parser.add_argument("--problems", nargs="*", default=["prefill_edp_area_mixed", "multiplexed_edap_quality"])
    arguments = parser.parse_args()
    largest = jax.devices()[0].platform == "gpu" or arguments.all
    starts: tuple[int, ...] = (1, 1024, 65_536) if largest else (1, 1024)
    if arguments.quick:
        starts, arguments.problems = (1, 64), arguments.problems[:1]
    document: dict[str, Any] = {name: measure(name, starts) for name in arguments.problems}
    if not largest:
        document["65536"] = "not measured: no GPU on this machine"
    if not arguments.quick:
        print(f"wrote {write_json('tune_speed', document)}")


if __name__ == "__main__":
    main()
