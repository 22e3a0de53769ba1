"""Speed of the crossbar product against the plain matrix product, CrossSim's method in NumPy, and AIHWKit.

    python benchmarks/speed/crossbar_speed.py                       # minutes; writes results/crossbar_speed.json
    python benchmarks/speed/crossbar_speed.py --quick               # seconds, small sizes
    python benchmarks/speed/crossbar_speed.py --peer-python PATH    # an interpreter with torch and aihwkit

1024 x 1024 on 256 x 256 tiles, batch 512, the same threads for all (one unless --threads says more: the process pins
itself before anything is imported). Every ratio is against the plain float32 product measured in the same run: once for
the analog variant, 28 times for the sliced and serial one (4 slices x 7 cycles). Also: 4,096 settings of ADC range x
bits in one compiled call, the wire solver, and on an accelerator the share of its peak for each operand type.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


_AIHWKIT = """
import json, sys, time
import numpy as np, torch
torch.set_num_threads(int(sys.argv[3]))
import aihwkit
from aihwkit.nn import AnalogLinear
from aihwkit.simulator.configs import (
    BoundManagementType, NoiseManagementType, TorchInferenceRPUConfig, WeightModifierType)
from aihwkit.simulator.parameters.enums import WeightClipType
data = np.load(sys.argv[1]); limit, rows, repeats = float(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6])
rpu = TorchInferenceRPUConfig()
rpu.mapping.max_input_size = rpu.mapping.max_output_size = rows
rpu.mapping.weight_scaling_omega = 0.0
rpu.mapping.digital_bias = False
f = rpu.forward
f.inp_bound, f.inp_res, f.out_bound, f.out_res = 1.0, 1 / 254, limit, 1 / 254
f.inp_noise = f.out_noise = f.w_noise = 0.0
f.noise_management, f.bound_management = NoiseManagementType.NONE, BoundManagementType.NONE
rpu.modifier.type, rpu.clip.type = WeightModifierType.NONE, WeightClipType.NONE
weights, inputs = torch.tensor(data["weights"]), torch.tensor(data["inputs"].T.copy())
layer = AnalogLinear(weights.shape[1], weights.shape[0], bias=False, rpu_config=rpu)
layer.set_weights(weights)
layer.eval()
times = []
with torch.no_grad():
    output = layer(inputs)
    for _ in range(repeats):
        begin = time.perf_counter(); output = layer(inputs); times.append(time.perf_counter() - begin)
    plain = []
    for _ in range(repeats):
        begin = time.perf_counter(); inputs @ weights.T; plain.append(time.perf_counter() - begin)
np.save(sys.argv[2], output.numpy().T)
print(json.dumps({"version": aihwkit.__version__, "torch": torch.__version__, "best_s": min(times),
                  "median_s": float(np.median(times)), "plain_product_best_s": min(plain)}))
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, few repeats")
    parser.add_argument("--threads", type=int, default=1, help="threads of every contestant (default 1)")
    parser.add_argument("--repeats", type=int, default=None)
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that can import aihwkit")
    return parser.parse_args()


def pin(threads: int) -> None:
    """Give this process `threads` processors; NumPy, XLA and the peers (children) then use no more."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def main() -> None:
    options = arguments()
    pin(options.threads)
    import jax
    import jax.numpy as jnp
    import numpy as np

    from benchmarks.lib.harness import time_call, time_compiled, write_json
    from benchmarks.lib.oracles import crossbar as oracle
    from pimjax.numerics import Crossbar, crossbar_mvm
    from pimjax.numerics.wire import effective_conductance

    size, rows, batch = (256, 64, 64) if options.quick else (1024, 256, 512)
    repeats = options.repeats or (3 if options.quick else 15)
    rng = np.random.default_rng(0)
    weights = (rng.integers(-127, 128, (size, size)) / 127).astype(np.float32)
    inputs = (rng.integers(-127, 128, (size, batch)) / 127).astype(np.float32)
    w, x = jnp.asarray(weights), jnp.asarray(inputs)
    odd = 2 * round(600 * (rows / 256) ** 0.5 / 2) + 1
    limit_a = odd / 127  # steps of an odd number of integer units: no ties
    limits_b = [31 * 2.2 / 3 * (rows / 256) ** 0.5] * 3 + [31 * 0.275 / 3 * (rows / 256) ** 0.5]
    analog = Crossbar.create(rows=rows, cols=rows, adc_range=limit_a)
    sliced = Crossbar.create(
        rows=rows, cols=rows, max_slices=4, max_cycles=7, cell_bits=2, cycle_bits=1, adc_bits=6, adc_range=limits_b
    )
    results: dict = {"size": [size, size, batch], "tile": rows, "threads": options.threads}

    def show(name: str, timing: dict, products: int | None = None) -> None:
        results[name] = timing
        line = f"{name:34s} best {1e3 * timing['best_s']:9.2f} ms"
        if products:
            timing["ratio_to_products"] = timing["best_s"] / (products * results["plain_product"]["best_s"])
            timing["median_ratio_to_products"] = timing["median_s"] / (products * results["plain_product"]["median_s"])
            line += f"  {timing['ratio_to_products']:.3f} x {products} plain product(s)"
        if "compile_s" in timing:
            line += f"  (compile {timing['compile_s']:.2f} s)"
        print(line, flush=True)

    def dot(a: jax.Array, b: jax.Array) -> jax.Array:
        return jax.lax.dot(a, b, precision=jax.lax.Precision.HIGHEST)

    # In turns, so that whatever else the machine does meets both.
    turns = time_in_turns({"plain_product": (dot, w, x), "analog": (crossbar_mvm, w, x, analog)}, 2 * repeats)
    show("plain_product", turns["plain_product"])
    show("analog", turns["analog"], 1)
    show("numpy_product", time_call(lambda: weights @ inputs, repeats=repeats))
    few = max(3, repeats // 3)
    show("sliced_serial", time_compiled(crossbar_mvm, w, x, sliced, repeats=few), 28)
    show(
        "sliced_serial_unpacked",
        time_compiled(lambda *a: crossbar_mvm(*a, packing=False), w, x, sliced, repeats=few),
        28,
    )
    operands = ("bfloat16", "int8") if jax.default_backend() != "cpu" else ()
    for name in operands:
        show(
            f"sliced_serial_{name}",
            time_compiled(lambda *a, name=name: crossbar_mvm(*a, operands=name), w, x, sliced, repeats=few),
            28,
        )
    # The plain product once more: the machine may have changed its mind meanwhile.
    show("plain_product_again", time_compiled(dot, w, x, repeats=2 * repeats))

    numpy_a = lambda: oracle.crossbar_mvm(weights, inputs, rows=rows, adc_range=[limit_a], dtype=np.float32)  # noqa: E731
    numpy_b = lambda: oracle.crossbar_mvm(  # noqa: E731
        weights, inputs, rows=rows, cell_bits=2, cycle_bits=1, adc_bits=6, adc_range=limits_b, dtype=np.float32
    )
    for name, call, crossbar, ours in (
        ("crosssim_method_analog", numpy_a, analog, "analog"),
        ("crosssim_method_sliced_serial", numpy_b, sliced, "sliced_serial"),
    ):
        show(name, time_call(call, repeats=3))
        results[name]["speedup_of_pimjax"] = results[name]["best_s"] / results[ours]["best_s"]
        difference = np.abs(np.asarray(crossbar_mvm(w, x, crossbar)) - call()).max()
        results[name]["largest_difference"] = float(difference)
        print(
            f"{'':34s} pimjax is {results[name]['speedup_of_pimjax']:.2f} x as fast, largest difference {difference:.1e}"
        )

    results["aihwkit"] = aihwkit(options, weights, inputs, limit_a, rows, repeats)
    peer = results["aihwkit"]
    if "best_s" in peer:
        peer["largest_difference"] = float(np.abs(peer.pop("output") - np.asarray(crossbar_mvm(w, x, analog))).max())
        peer["speedup_of_pimjax"] = peer["best_s"] / results["analog"]["best_s"]
        print(
            f"{'aihwkit ' + peer['version']:34s} best {1e3 * peer['best_s']:9.2f} ms  pimjax is "
            f"{peer['speedup_of_pimjax']:.2f} x as fast, largest difference {peer['largest_difference']:.1e}"
        )
    else:
        print(f"aihwkit: not compared ({peer['skipped']})")

    count, side = (256, 32) if options.quick else (4096, 256)
    traces = []

    def sweep(small_w: jax.Array, small_x: jax.Array, bits: jax.Array, limits: jax.Array) -> jax.Array:
        traces.append(None)
        base = Crossbar(rows=side, cols=side)
        exact = dot(small_w, small_x)

        def error(bits: jax.Array, limit: jax.Array) -> jax.Array:
            crossbar = base.replace(adc_bits=bits, adc_range=limit[None])
            return jnp.mean((crossbar_mvm(small_w, small_x, crossbar) - exact) ** 2)

        return jax.vmap(error)(bits, limits)

    bits = jnp.asarray(rng.integers(2, 11, count), jnp.float32)
    limits = jnp.asarray(rng.uniform(1, 8, count), jnp.float32)
    show(f"settings_{count}", time_compiled(sweep, w[:side, :side], x[:side, :64], bits, limits, repeats=3))
    results[f"settings_{count}"]["traces"] = len(traces)
    results[f"settings_{count}"]["us_per_setting"] = 1e6 * results[f"settings_{count}"]["best_s"] / count
    print(f"{'':34s} {results[f'settings_{count}']['us_per_setting']:.1f} us per setting, traced {len(traces)} time(s)")

    cells = jnp.asarray(rng.uniform(0, 1, (side, side)), jnp.float32)
    wires = time_compiled(
        lambda g: effective_conductance(g, wire_row=2e-4, wire_col=2e-4), cells, repeats=1 if options.quick else 3
    )
    show(f"wire_solution_of_a_{side}_tile", wires)
    print(write_json("crossbar_speed_quick" if options.quick else "crossbar_speed", results))


def time_in_turns(contestants: dict[str, tuple], repeats: int) -> dict[str, dict]:
    """Compile every (function, arguments), then time one call of each in turns; page faults per call beside the times.

    A fault is memory that the allocator handed back to the system and gets again; on virtual machines it is dear.
    """
    import jax

    from benchmarks.lib.harness import time_compiled

    compiled, results, samples, faults = {}, {}, {}, {}
    for name, (function, *arguments) in contestants.items():
        results[name] = time_compiled(function, *arguments, repeats=1)
        compiled[name] = jax.jit(function).lower(*arguments).compile()
        samples[name], faults[name] = [], []
    for _ in range(repeats):
        for name, (_, *arguments) in contestants.items():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            begin = time.perf_counter()
            jax.block_until_ready(compiled[name](*arguments))
            samples[name].append(time.perf_counter() - begin)
            faults[name].append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    for name, taken in samples.items():
        results[name] |= {"median_s": statistics.median(taken), "best_s": min(taken), "repeats": repeats}
        results[name]["median_page_faults"] = statistics.median(faults[name])
    return results


def aihwkit(
    options: argparse.Namespace, weights: object, inputs: object, limit: float, rows: int, repeats: int
) -> dict:
    """AIHWKit's TorchInferenceTile on the same numbers in its own process: timings and output, or why not."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        data, output = Path(folder) / "data.npz", Path(folder) / "output.npy"
        np.savez(data, weights=weights, inputs=inputs)
        command = [options.peer_python, "-c", _AIHWKIT, str(data), str(output), str(options.threads), str(limit)]
        done = subprocess.run([*command, str(rows), str(repeats)], capture_output=True, text=True, check=False)
        if done.returncode:
            last = done.stderr.strip().splitlines()
            return {"skipped": last[-1] if last else f"exit code {done.returncode}"}
        return {**json.loads(done.stdout.strip().splitlines()[-1]), "output": np.load(output)}


if __name__ == "__main__":
    main()
