"""Design points per second of the multiplexed kernel, in this tree and in another one, and how far from a bound.

    python benchmarks/speed/kernel_throughput.py v0.1.0     # a commit, checked out for the purpose; about 3 minutes
    python benchmarks/speed/kernel_throughput.py ../other   # another checkout
    python benchmarks/speed/kernel_throughput.py HEAD --quick    # small batches, writes nothing

The paper's multiplexed chip, float32, every number of its hardware varied by up to 20 % in every point, batches over a
device per core. Programs: `closed` (all results of an estimate), `unshared` (all but the latency's shares by component), `metrics` (its scalar
results, as a sweep selects by)
and `gradient` (of the energy-delay product in every number of the hardware). The trees take turns, twice; the best
counts.

The bound of a point is the larger of two times. Computing: elementwise operations of the compiled program (what fusion
computes twice counts twice) at the rate of a loop of fused multiplications and additions in cache, its divisions at the
rate of a loop of divisions. Moving: bytes of its arguments and results at the rate of a copy that fits no cache. The rates
are measured beside the rest. What the loops of the program hand to each other is `loop_bytes`: it stays in cache where a
batch is small.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib import paper_kernel
from benchmarks.lib.harness import environment, time_call, write_json
from benchmarks.lib.paths import ROOT
from benchmarks.lib.trees import checkout, environment_of, label

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
PROGRAMS = ("closed", "unshared", "metrics", "gradient")
BATCHES = (4096, 16384, 65536)
#: Points per second that were measured when the structure was drawn, on another machine.
WANTED = {"closed": 3.3e6, "gradient": 0.41e6}
SEED = 11


def main() -> None:
    """Measure both trees in turns, or one program of one tree in a child process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", help="folder of another checkout, or a commit")
    parser.add_argument("--quick", action="store_true", help="one small batch, writes nothing")
    parser.add_argument("--program", choices=(*PROGRAMS, "peaks"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    batches = (256,) if options.quick else BATCHES
    if options.program:
        found = peaks() if options.program == "peaks" else program(Path(options.other), options.program, batches)
        print(json.dumps(found))
        return
    with checkout(options.other) as other:
        trees = {"this": ROOT, "other": other}
        document: dict[str, Any] = {"trees": {side: label(tree) for side, tree in trees.items()}, "wanted": WANTED}
        facts = environment()
        print(
            {key: facts[key] for key in ("device", "cpu_threads_allowed", "python", "jax", "date")}, document["trees"]
        )
        document["peaks"] = best = child(ROOT, "peaks", quick=options.quick)
        print(", ".join(f"{name} {value:.3g}" for name, value in best.items()), flush=True)
        for name in PROGRAMS:
            entry: dict[str, Any] = {}
            for side in ("this", "other", "this", "other"):
                found = child(trees[side], name, quick=options.quick)
                if side not in entry or found["points_per_s"] > entry[side]["points_per_s"]:
                    entry[side] = found
            entry["ratio"] = entry["this"]["points_per_s"] / entry["other"]["points_per_s"]
            entry["bound"] = bound(entry["this"], best)
            document[name] = entry
            share = entry["bound"]
            print(
                f"{name:9s} {entry['this']['points_per_s']:,.0f} points/s against {entry['other']['points_per_s']:,.0f}"
                f" (x {entry['ratio']:.2f}), batch {entry['this']['batch']}; {share['fraction']:.0%} of the bound by"
                f" {share['by']}",
                flush=True,
            )
    if not options.quick:
        print(f"wrote {write_json('kernel_throughput', document)}")


def child(tree: Path, name: str, *, quick: bool) -> dict[str, Any]:
    """One program of one tree, in a new process with a device per core."""
    command = [sys.executable, str(Path(__file__).resolve()), str(tree), "--program", name]
    done = subprocess.run(
        [*command, *(["--quick"] if quick else [])],
        env=environment_of(
            tree,
            PIMJAX_CACHE="off",
            JAX_PLATFORMS="cpu",
            XLA_FLAGS=f"--xla_force_host_platform_device_count={CORES}",
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{tree}, {name}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def program(tree: Path, name: str, batches: tuple[int, ...]) -> dict[str, Any]:
    """Points per second of a program at its best batch, and what it does per point."""
    pimjax = paper_kernel.package(tree)
    import jax
    import jax.numpy as jnp

    design, schedule, options = paper_kernel.inputs(pimjax, "closed")
    design, schedule = jax.tree.map(jnp.asarray, (design, schedule))
    kernel = functools.partial(pimjax.estimate_kernel, **options)

    def closed(hardware: Any) -> Any:
        found = kernel(design.replace(hardware=hardware), schedule)
        return [leaf for leaf in jax.tree.leaves(found) if hasattr(leaf, "dtype")]

    def unshared(hardware: Any) -> Any:
        found = kernel(design.replace(hardware=hardware), schedule)
        return [leaf for leaf in jax.tree.leaves(found.replace(critical_ns=None)) if hasattr(leaf, "dtype")]

    def metrics(hardware: Any) -> Any:
        return [leaf for leaf in closed(hardware) if leaf.ndim == 0]

    def gradient(hardware: Any) -> Any:
        return jax.grad(lambda hardware: kernel(design.replace(hardware=hardware), schedule).edp_nj_ns)(hardware)

    function = jax.vmap({"closed": closed, "unshared": unshared, "metrics": metrics, "gradient": gradient}[name])
    best: dict[str, Any] = {}
    for batch in batches:
        compiled = jax.jit(function).lower(hardware := _points(design.hardware, batch)).compile()
        jax.block_until_ready(compiled(hardware))
        seconds = time_call(functools.partial(compiled, hardware), repeats=9)["best_s"]
        if not best or batch / seconds > best["points_per_s"]:
            best = {"points_per_s": batch / seconds, "batch": batch, **_work(compiled, batch)}
    return best


def _points(hardware: Any, batch: int) -> Any:
    """Every number of the hardware, varied in every point, dealt to the devices."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    rng = np.random.default_rng(SEED)
    varied = jax.tree.map(lambda leaf: jnp.asarray(float(leaf) * rng.uniform(0.8, 1.2, batch), jnp.float32), hardware)
    mesh = jax.make_mesh((len(jax.devices()),), ("H",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.device_put(varied, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("H")))


def _work(compiled: Any, batch: int) -> dict[str, float]:
    """Operations, divisions and bytes per point, of the program of one device."""
    import jax

    cost = compiled.cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    memory = compiled.memory_analysis()
    share = batch / len(jax.devices())
    divisions = 0.0
    for dims in re.findall(r"= f32\[([\d,]*)\]\S* divide\(", compiled.as_text()):
        size = 1.0
        for side in filter(None, dims.split(",")):
            size *= int(side)
        divisions += size
    return {
        "operations": cost["flops"] / share,
        "divisions": divisions / share,
        "bytes": (memory.argument_size_in_bytes + memory.output_size_in_bytes) / share,
        "loop_bytes": cost["bytes accessed"] / share,
    }


def peaks() -> dict[str, float]:
    """Operations, divisions and bytes per second of all cores together, measured."""
    import jax
    import jax.numpy as jnp

    devices = len(jax.devices())
    mesh = jax.make_mesh((devices,), ("H",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("H"))

    def rate(step: Any, times: int, size: int, per_element: float) -> float:
        def repeated(x: Any) -> Any:
            return jax.lax.fori_loop(0, times, lambda _, x: step(x), x)

        x = jax.device_put(jnp.full(size * devices, 1.5, jnp.float32), spread)
        compiled = (
            jax.jit(
                jax.shard_map(
                    repeated,
                    mesh=mesh,
                    in_specs=jax.sharding.PartitionSpec("H"),
                    out_specs=jax.sharding.PartitionSpec("H"),
                )
            )
            .lower(x)
            .compile()
        )
        jax.block_until_ready(compiled(x))
        return size * devices * times * per_element / time_call(lambda: compiled(x), repeats=7)["best_s"]

    def multiply_add(x: Any) -> Any:
        for _ in range(16):
            x = x * 0.999 + 0.001
        return x

    def divide(x: Any) -> Any:
        for _ in range(4):
            x = 1.7 / (x + 0.5)
        return x

    simple, pairs = rate(multiply_add, 2000, 4096, 32), rate(divide, 500, 4096, 4)
    return {
        "operations_per_s": simple,
        "divisions_per_s": 1 / (1 / pairs - 1 / simple),  # a division and the addition that keeps the compiler honest
        "bytes_per_s": rate(lambda x: x + 1.0, 3, 1 << 24, 8),
    }


def bound(found: dict[str, Any], best: dict[str, float]) -> dict[str, Any]:
    """Least seconds of a point on this machine, what sets them, and the fraction that was reached."""
    simple = max(found["operations"] - found["divisions"], 0.0)
    computing = simple / best["operations_per_s"] + found["divisions"] / best["divisions_per_s"]
    moving = found["bytes"] / best["bytes_per_s"]
    seconds = max(computing, moving)
    return {
        "points_per_s": 1 / seconds,
        "by": "computing" if computing >= moving else "moving",
        "computing_s": computing,
        "moving_s": moving,
        "fraction": found["points_per_s"] * seconds,
    }


if __name__ == "__main__":
    main()
