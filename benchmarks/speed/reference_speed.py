"""Speed of `fluid` and `closed` of the reference chip: published size, 32 tokens, float32.

    python benchmarks/speed/reference_speed.py            # batches of 1, 256, 4096
    python benchmarks/speed/reference_speed.py --quick    # batches of 1 and 64

The CPU is opened as one device per core, and a batch is dealt to all of them: the loop of `fluid` consists of many small
steps, which XLA runs on one thread per device. Three programs per fidelity and batch: the latency, all costs (energy, counts, areas, ... and the latency's shares
by component), and the latency with its derivatives in eight hardware costs. Compile time stands apart. The gradient's
memory is what reverse mode keeps between its two passes, read from the traced program. Writes
benchmarks/results/reference_speed.json.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count={os.cpu_count()}")

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import pimjax
from benchmarks.lib import harness
from pimjax.chips.reference.kernel import reference_cost

SEED = 7
COSTS = (
    "mvm_latency_ns",
    "link_latency_ns_per_256",
    "comm_factor",
    "add_latency_ns_per_256",
    "add_latency_base_ns",
    "norm_latency_ns_per_256",
    "relu_latency_ns",
    "attention_fit_quadratic",
)
#: estimates per second on two idle CPU cores
FLOORS = {"fluid": 3_000, "closed": 1_000_000}
#: gradient: most bytes kept per estimate, most times the forward run
KEPT_BYTES, GRADIENT_RATIO = 32 * 1024, 6.0


def points(batch: int) -> tuple[Any, pimjax.Capacity]:
    """Published designs `[batch]` whose costs and unit counts differ, on the device."""
    design, capacity = pimjax.build(pimjax.reference_config())
    rng = np.random.default_rng(SEED)
    many = jax.tree.map(lambda leaf: jnp.asarray(np.repeat(np.asarray(leaf)[None], batch, axis=0)), design)
    changes: dict[str, Any] = {"hardware.num_digital_units": jnp.asarray(rng.integers(2, 41, batch), jnp.float32)}
    for name in COSTS:
        value = float(getattr(design.hardware, name))
        changes[f"hardware.{name}"] = jnp.asarray(value * rng.uniform(0.8, 1.25, batch), jnp.float32)
    devices = jax.devices() if batch % len(jax.devices()) == 0 else jax.devices()[:1]
    mesh = jax.make_mesh((len(devices),), ("H",), axis_types=(AxisType.Auto,), devices=devices)
    return jax.device_put(many.set(changes), NamedSharding(mesh, PartitionSpec("H"))), capacity


def kept_bytes(gradient_of: Callable[[Any], Any], values: Any) -> int:
    """Bytes that reverse mode keeps for one estimate."""
    _, backward = jax.eval_shape(lambda v: jax.vjp(gradient_of, v), values)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))


def programs(fidelity: str, capacity: pimjax.Capacity) -> dict[str, Callable[[Any], Any]]:
    """Unbatched functions of a design."""
    cost = functools.partial(reference_cost, capacity=capacity, fidelity=fidelity)  # type: ignore[arg-type]

    def latency(design: Any) -> Any:
        return cost(design, critical=False).latency_ns

    def gradient(design: Any) -> Any:
        def of_costs(values: Any) -> Any:
            changes = {f"hardware.{name}": value for name, value in zip(COSTS, values, strict=True)}
            return latency(design.set(changes))

        return jax.value_and_grad(of_costs)([getattr(design.hardware, name) for name in COSTS])

    return {"latency": latency, "all_costs": cost, "gradient": gradient}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="batches of 1 and 64, two repeats")
    options = parser.parse_args()
    batches, repeats = ((1, 64), 2) if options.quick else ((1, 256, 4096), 7)
    payload: dict[str, Any] = {"tokens": 32, "dtype": "float32", "costs": COSTS, "floors_per_s": FLOORS, "fidelity": {}}
    for fidelity in ("fluid", "closed"):
        rows: dict[str, Any] = {}
        for batch in batches:
            design, capacity = points(batch)
            row = {}
            for name, function in programs(fidelity, capacity).items():
                timing = harness.time_compiled(jax.vmap(function), design, repeats=repeats)
                row[name] = timing | {"per_s": batch / timing["best_s"]}
                print(
                    f"{fidelity:6} batch {batch:4} {name:9} {row[name]['per_s']:12,.0f} /s"
                    f"   compile {timing['compile_s']:.1f} s"
                )
            row["gradient_over_latency"] = row["gradient"]["best_s"] / row["latency"]["best_s"]
            rows[str(batch)] = row
        one = jax.tree.map(lambda leaf: leaf[0], points(1)[0])

        def of_costs(values: Any, fidelity: str = fidelity, one: Any = one) -> Any:
            changes = {f"hardware.{name}": value for name, value in zip(COSTS, values, strict=True)}
            return programs(fidelity, points(1)[1])["latency"](one.set(changes))

        kept = kept_bytes(of_costs, [getattr(one.hardware, name) for name in COSTS])
        best = max(rows[str(batch)]["latency"]["per_s"] for batch in batches)
        ratio = rows[str(batches[-1])]["gradient_over_latency"]
        payload["fidelity"][fidelity] = {
            "batch": rows,
            "best_per_s": best,
            "above_floor": best >= FLOORS[fidelity],
            "gradient_kept_bytes": kept,
            "gradient_within_limits": kept <= KEPT_BYTES and ratio <= GRADIENT_RATIO,
        }
        print(
            f"{fidelity:6} best {best:,.0f} /s (floor {FLOORS[fidelity]:,}); gradient {ratio:.1f} x latency, keeps {kept} bytes"
        )
    on_gpu = jax.devices()[0].platform == "gpu"
    payload["h100"] = payload["fidelity"] if on_gpu else "not measured"
    harness.write_json("reference_speed_quick" if options.quick else "reference_speed", payload)


if __name__ == "__main__":
    main()
