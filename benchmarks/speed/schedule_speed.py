"""Speed of the schedule policies: traces per second, memory roofline, ratio to the plain NumPy oracle.

    python benchmarks/speed/schedule_speed.py            # writes benchmarks/results/schedule_speed.json
    python benchmarks/speed/schedule_speed.py --quick    # seconds, writes nothing

On a CPU one trace at a time stays in cache, so each worker thread runs `lax.map` over its share of the batch
(the compiled program releases the interpreter lock); on an accelerator one `vmap` covers a chunk of the batch.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.lib.harness import write_json
from benchmarks.lib.oracles import schedule as oracle
from benchmarks.lib.workloads import make_choices
from pimjax.schedule import POLICIES, schedule_cost

REQUIRED_CPU = {"token_wise": 20_000, "compact": 20_000, "reschedule": 1_000, "packed": 500}
TARGET_H100 = {"token_wise": 10_000_000, "compact": 10_000_000, "reschedule": 3_000_000, "packed": 300_000}


def copy_bandwidth() -> float:
    """Bytes per second of a device copy (read and write): the roofline."""
    source = jnp.zeros((32 << 20,), jnp.int8)
    copy = jax.jit(lambda x: x + 1)
    jax.block_until_ready(copy(source))
    samples = []
    for _ in range(5):
        begin = time.perf_counter()
        jax.block_until_ready(copy(source))
        samples.append(time.perf_counter() - begin)
    return 2 * source.size / min(samples)


def measure(policy: str, choices: np.ndarray, groups: np.ndarray, workers: int, lanes: int, repeats: int) -> dict:
    """Compile once, then time the whole batch over the worker threads."""
    num_groups = int(groups.max()) + 1

    def one(c: jax.Array) -> Any:
        return schedule_cost(c, groups, policy=policy, num_groups=num_groups)

    shares = [jnp.asarray(part) for part in np.array_split(choices, workers)]
    shares = [share[: len(shares[-1])] for share in shares]
    begin = time.perf_counter()
    program = jax.jit(lambda batch: lax.map(one, batch, batch_size=None if lanes == 1 else lanes))
    compiled = program.lower(shares[0]).compile()
    compile_s = time.perf_counter() - begin
    first = jax.block_until_ready(compiled(shares[0]))
    samples, cpu = [], []
    with ThreadPoolExecutor(workers) as pool:
        for _ in range(repeats):
            begin, begin_cpu = time.perf_counter(), time.process_time()
            list(pool.map(lambda share: jax.block_until_ready(compiled(share)), shares))
            samples.append(time.perf_counter() - begin)
            cpu.append(time.process_time() - begin_cpu)
    count = sum(len(share) for share in shares)
    return {
        "compile_s": compile_s,
        "traces": count,
        "traces_per_s": count / statistics.median(samples),
        "traces_per_s_best": count / min(samples),
        "traces_per_cpu_second": count / statistics.median(cpu),
        "check": [int(first.makespan[0]), int(first.loads[0])],
    }


def main() -> None:
    """Measure every policy and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small batches; for continuous integration")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--experts", type=int, default=16)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--top-k", type=int, default=4)
    parser.add_argument("--workers", type=int, default=None, help="threads; default the allowed CPU cores, 1 on a GPU")
    arguments = parser.parse_args()
    on_cpu = jax.default_backend() == "cpu"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = arguments.workers or (cores if on_cpu else 1)
    groups = (np.arange(arguments.experts) * arguments.groups // arguments.experts).astype(np.int32)
    bandwidth = copy_bandwidth()
    document: dict[str, Any] = {
        "tokens": arguments.tokens,
        "experts": arguments.experts,
        "groups": arguments.groups,
        "workers": workers,
        "load_average_before": os.getloadavg(),
        "copy_bandwidth_bytes_per_s": bandwidth,
        "policies": {},
    }
    for policy in POLICIES:
        heavy = policy in ("reschedule", "packed")
        batch = (16 if heavy else 128) if arguments.quick else (512 if heavy else 8192)
        batch *= 1 if on_cpu else 64
        choices = make_choices(batch, arguments.tokens, arguments.experts, arguments.top_k)
        lanes = 1 if on_cpu else min(batch, 8192)
        entry = measure(policy, choices, groups, workers, lanes, repeats=2 if arguments.quick else 5)
        begin = time.perf_counter()
        slots = oracle.schedule_slots(choices[0], groups, policy, arguments.groups, arguments.tokens)
        expected = oracle.summary_of(slots, arguments.groups)
        oracle_s = time.perf_counter() - begin
        if entry["check"] != [expected["makespan"], expected["loads"]]:
            raise SystemExit(f"{policy}: {entry['check']} differs from the oracle's {expected}")
        bytes_per_trace = arguments.tokens * arguments.experts + 8  # choices in, two integers out
        entry |= {
            "oracle_s_per_trace": oracle_s,
            "ratio_to_oracle": entry["traces_per_s"] * oracle_s,
            "roofline_fraction": entry["traces_per_s"] * bytes_per_trace / bandwidth,
            "required_per_s_2_cpu_cores": REQUIRED_CPU[policy],
            "h100_target_per_s": TARGET_H100[policy],
            "h100": None if on_cpu else entry["traces_per_s"],
        }
        document["policies"][policy] = entry
        print(
            f"{policy:11s} {entry['traces_per_s']:10.0f} traces/s (best {entry['traces_per_s_best']:.0f}, "
            f"{entry['traces_per_cpu_second']:.0f} per CPU second; required {REQUIRED_CPU[policy]}) "
            f"{entry['ratio_to_oracle']:.0f} x oracle, {100 * entry['roofline_fraction']:.2f} % of the memory roofline, "
            f"compile {entry['compile_s']:.1f} s",
            flush=True,
        )
    if on_cpu:
        print("GPU: not measured here (python benchmarks/device_check.py measures it with all other lines)")
    if not arguments.quick:
        print(f"wrote {write_json('schedule_speed', document)}")


if __name__ == "__main__":
    main()
