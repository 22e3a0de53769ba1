"""Whether the caches make generation faster on the multiplexed chip depends on the memory they live in.

Eight tokens after a prompt of 32 under expert choice, the paper's crossbars (one layer, d = 4096), exactly: with no
cache (every step recomputes the prefix) and with KV and gate-output cache, in each memory. Per decode step: time,
energy, and what the critical path consists of. The first memory is the default's, whose wires are counted, the second the
same without wires; then the authors' channel with their accounting (`paper_crossbars`), to which single changes are made.

    python benchmarks/studies/worth_generation.py
    python benchmarks/studies/worth_generation.py --quick     # the default memory alone
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.lib.harness import environment, write_json
from pimjax.chips.run_cost import COMPONENTS
from pimjax.config import load_config
from pimjax.estimation import estimate
from pimjax.reproduction.lines import PROMPT_TOKENS

STEPS = 7
MEMORIES: dict[str, tuple[str, dict[str, Any]]] = {
    "HBM3, one stack, streaming, wires (default)": ("paper_multiplexed", {}),
    "same, wires and links free": ("paper_multiplexed", {"system": "none"}),
    "LPDDR4, one channel (the authors')": ("paper_crossbars", {}),
    "same, prefetch of 1 MiB": (
        "paper_crossbars",
        {"plan.dram_overlap": "prefetch", "hardware.kv_prefetch_bytes": 1048576},
    ),
    "same, 8 MiB of SRAM in front": ("paper_crossbars", {"hardware.sram_cache_bytes": 8388608}),
    "same, streaming": ("paper_crossbars", {"plan.dram_overlap": "stream"}),
    "same, 10.7 GB/s": ("paper_crossbars", {"memory.bandwidth_gb_per_s": 10.664}),
    "same, 44.8 GB/s": ("paper_crossbars", {"memory.bandwidth_gb_per_s": 44.8}),
    "same, 256 GB/s": ("paper_crossbars", {"memory.bandwidth_gb_per_s": 256.0}),
    "same, wires and links counted": ("paper_crossbars", {"system": "dies"}),
    "HBM3, one stack, no overlap, wires": ("paper_multiplexed", {"plan.dram_overlap": "none"}),
}


def step(kv_cache: bool, preset: str, memory: dict[str, Any]) -> dict[str, Any]:
    """Mean decode step."""
    config = load_config(
        preset,
        {
            "model.routing": "expert_choice",
            "workload.prompt_tokens": PROMPT_TOKENS,
            "workload.generated_tokens": STEPS + 1,
            "workload.prefill": False,
            "workload.kv_cache": kv_cache,
            "workload.go_cache": "full" if kv_cache else "none",
            **memory,
        },
    )
    result = estimate(config, fidelity="event")
    critical = {
        name: float(value) / STEPS
        for name, value in zip(COMPONENTS, np.asarray(result.critical_ns), strict=True)
        if value > 0
    }
    return {
        "ns_per_step": float(result.latency_ns) / STEPS,
        "nj_per_step": float(result.energy_nj) / STEPS,
        "critical_ns_per_step": critical,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    rows = []
    for name, (preset, memory) in list(MEMORIES.items())[: 1 if arguments.quick else None]:
        plain, cached = step(False, preset, memory), step(True, preset, memory)
        row = {
            "memory": name,
            "no_cache": plain,
            "kv_and_gate_outputs": cached,
            "speedup": plain["ns_per_step"] / cached["ns_per_step"],
            "energy_saving": plain["nj_per_step"] / cached["nj_per_step"],
        }
        rows.append(row)
        print(
            f"{name:36s} {plain['ns_per_step'] / 1e3:6.1f} us without, {cached['ns_per_step'] / 1e3:6.1f} us with caches: "
            f"{row['speedup']:.2f}x faster, {row['energy_saving']:.1f}x less energy",
            flush=True,
        )
    facts = environment()
    print({key: facts[key] for key in ("device", "jax", "cpu_cores")})
    if not arguments.quick:
        print(write_json("worth_generation", {"prompt_tokens": PROMPT_TOKENS, "steps": STEPS, "rows": rows}))


if __name__ == "__main__":
    main()
