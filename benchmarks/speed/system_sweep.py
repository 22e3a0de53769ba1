"""A sweep of 100,000 systems in one compiled program: points per second and the memory it takes.

    python benchmarks/speed/system_sweep.py                     # 100,000 systems, a few minutes on two CPU cores
    python benchmarks/speed/system_sweep.py --quick             # 2,000 systems, writes nothing

GPT-OSS-20B on the shipped chip (closed, scalar results). What differs from point to point, drawn independently: the kind of
memory and its channels, the kind of link between dies, area of a die, dies of a package, tiers, digital and attention units, numbers
of wires and links within their stated ranges. All of it is data, so that every point
runs in one program, which is compiled once. Compile time stands apart; memory is the most that the process held, Python, JAX and the compiler
included.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

import pimjax
from benchmarks.lib.harness import environment, write_json
from pimjax import status
from pimjax.batch.api import estimate_batch
from pimjax.batch.engine import Timings

PRESET = "gpt_oss_20b"
FIELDS = (
    "latency_ns",
    "energy_nj",
    "area_mm2",
    "dies",
    "packages",
    "silicon_area_mm2",
    "peak_power_w",
    "network_energy_nj",
)
MEMORIES = ("lpddr5x", "hbm2", "hbm3", "hbm3e")
DIE_LINKS = ("ucie_standard", "ucie_advanced", "bonded_3d")
#: Drawn evenly in the logarithm between two numbers.
RANGES = {
    "system_die_area_mm2": (100.0, 858.0),
    "system_wire_energy_pj_per_bit_mm": (0.04, 0.2),
    "system_router_energy_pj_per_bit": (0.014, 0.081),
    "system_wire_latency_ns_per_mm": (0.05, 0.3),
    "system_router_latency_ns": (0.5, 3.0),
    "system_injection_bandwidth_gb_per_s": (32.0, 1024.0),
    "system_package_link_bandwidth_gb_per_s": (100.0, 3600.0),
}
#: Whole numbers from the first to the last.
WHOLE = {
    "memory_channels": (1, 16),
    "system_dies_per_package": (1, 8),
    "tiers": (1, 4),
    "num_digital_units": (1, 64),
    "num_attention_units": (1, 64),
}
#: Most memory that such a sweep may take.
LIMIT_BYTES = 4e9
SEED = 16


def main() -> None:
    """Draw, estimate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2,000 systems, writes nothing")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="keys of the configuration")
    options = parser.parse_args()
    count = 2_000 if options.quick else 100_000
    # counts are made for the smallest die: a layer reaches over the most of them
    given = {
        "system": "dies",
        "system.die_area_mm2": RANGES["system_die_area_mm2"][0],
        **dict(each.split("=", 1) for each in options.set),
    }
    config = pimjax.load_config(PRESET, given)
    design, kinds = systems(given, count)
    estimate(design, config, 64)  # imports, schedules
    timings, begin, cpu = Timings(), time.perf_counter(), time.process_time()
    found = estimate(design, config, count, timings)
    wall_s, cpu_s = time.perf_counter() - begin, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    ran_s = wall_s - timings.compile_s - timings.schedules_s
    flags = {name: int(np.count_nonzero(np.asarray(found.status) & bit)) for bit, (name, *_) in status.MEANING.items()}
    flags = {name: count for name, count in flags.items() if count}
    document: dict[str, Any] = {
        "preset": PRESET,
        "systems": count,
        "compiles": timings.compiles,
        "compile_s": timings.compile_s,
        "run_s": ran_s,
        "cpu_s_with_compiling": cpu_s,
        "systems_per_s": count / ran_s,
        "peak_bytes": peak,
        "limit_bytes": LIMIT_BYTES,
        "halvings": timings.halvings,
        "flagged": flags,
        "drawn": {"memory": list(MEMORIES), "die_link": list(DIE_LINKS), **RANGES, **WHOLE},
        "seen": {
            name: [float(np.nanmin(values)), float(np.nanmax(values))]
            for name in FIELDS
            for values in [np.asarray(getattr(found, name))]
        },
        "kinds": kinds,
    }
    print(
        f"{count:,} systems in one program ({timings.compiles} compiled until a tile fitted), {timings.compile_s:.1f} s, "
        f"{document['systems_per_s']:,.0f} systems/s, at most {peak / 1e9:.2f} GB (limit {LIMIT_BYTES / 1e9:g} GB), "
        f"{timings.halvings} halvings, flagged: {flags}; dies {document['seen']['dies']}"
    )
    if not options.quick:
        print(f"wrote {write_json('system_sweep', {'environment': environment(), **document})}")


def systems(given: Mapping[str, Any], count: int) -> tuple[pimjax.Design, dict[str, int]]:
    """A design of `count` lanes around the preset with `given` keys, and how many lanes have each kind."""
    rng = np.random.default_rng(SEED)
    design = pimjax.build(pimjax.load_config(PRESET, given))[0]
    drawn: dict[str, Any] = {}
    kinds: dict[str, int] = {}
    for key, names in (("memory", MEMORIES), ("system.die_link", DIE_LINKS)):
        made = [pimjax.build(pimjax.load_config(PRESET, {**given, key: name}))[0].hardware for name in names]
        of_lane = rng.integers(len(names), size=count)
        kinds |= {name: int(np.count_nonzero(of_lane == place)) for place, name in enumerate(names)}
        for field in vars(design.hardware):
            values = np.array([float(np.asarray(getattr(one, field))) for one in made])
            if np.any(values != values[0]):
                drawn[f"hardware.{field}"] = values[of_lane]
    for field, (least, most) in RANGES.items():
        drawn[f"hardware.{field}"] = np.exp(rng.uniform(np.log(least), np.log(most), count))
    for field, (least, most) in WHOLE.items():
        drawn[f"hardware.{field}"] = rng.integers(least, most, size=count, endpoint=True).astype(float)
    return design.set(drawn), kinds


def estimate(
    design: pimjax.Design, config: pimjax.Config, count: int, timings: Timings | None = None
) -> pimjax.Estimate:
    """Scalar results of the first `count` lanes."""
    import jax

    lanes = jax.tree.map(lambda leaf: leaf[:count] if np.ndim(leaf) else leaf, design)
    return estimate_batch(lanes, None, "closed", config=config, fields=FIELDS, timings=timings)


if __name__ == "__main__":
    main()
