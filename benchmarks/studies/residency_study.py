"""GPT-OSS-20B on chips that hold a part of its experts, analog and digital: hits, speed, energy, silicon and wear on real traces.

python benchmarks/studies/residency_study.py            # writes results/residency_study.json
python benchmarks/studies/residency_study.py --quick    # one request, writes nothing

Every row is a configuration (`system.residency: swap`), estimated in closed form for each request: the prefill of a prompt,
and the decoding of what follows with the experts that the prompt left on the chip.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.lib.harness import write_json
from benchmarks.lib.paths import need_decode_traces
from pimjax import Config, Estimate, RoutingTrace, estimate, load_config, load_traces
from pimjax.config.system import REPLACEMENTS

PRESET, EXPERTS, PROMPT, GENERATED, REQUESTS = "gpt_oss_20b", 32, 128, 384, 8
PARTS = (1, 2, 4, 8)
TILES = {"analog": {}, "digital": {"plan.expert_tile": "digital"}}
#: Groups that the smallest chip can have too.
COMMON = {"plan.group_size": 4, "workload.kv_cache": True, "workload.prompt_tokens": PROMPT}
PREFILL = {"workload.generated_tokens": 1}
DECODE = {"workload.generated_tokens": GENERATED, "workload.prefill": False}


def configuration(tile: str, replacement: str, held: int, phase: dict[str, Any]) -> Config:
    """One chip and phase."""
    swap = {"system.residency": "swap", "system.resident_experts": held, "system.replacement": replacement}
    return load_config(PRESET, {**COMMON, **TILES[tile], **(swap if held < EXPERTS else {}), **phase})


def mean(results: list[Estimate], name: str) -> float:
    """Of all requests."""
    return float(np.mean([float(getattr(result, name)) for result in results]))


def row(tile: str, replacement: str, held: int, requests: list[RoutingTrace]) -> dict[str, Any]:
    """One chip."""
    first, rest = (
        [estimate(configuration(tile, replacement, held, phase), request, fidelity="closed") for request in requests]
        for phase in (PREFILL, DECODE)
    )
    swap = [float(result.component_energy_nj[result.components.index("expert_swap")]) for result in rest]
    hits = [float(result.expert_hit_rate) for result in rest]
    # devices live as long as the run that wears them least evenly says, on average over the requests
    years = [1 / float(result.lifetime_years) for result in rest]
    return {
        "tile": tile,
        "replacement": replacement,
        "resident_experts": held,
        "hit_rate": float(np.mean(hits)),
        "hit_rate_least": min(hits),
        "hit_rate_most": max(hits),
        "prefill_ms": mean(first, "latency_ns") * 1e-6,
        "prefill_hit_rate": mean(first, "expert_hit_rate"),
        "tokens_per_s": 1e9 * GENERATED / mean(rest, "latency_ns"),
        "energy_mj_per_token": mean(rest, "energy_nj") / GENERATED * 1e-6,
        "swap_energy_share": sum(swap) / sum(float(result.energy_nj) for result in rest),
        "area_mm2": mean(rest, "area_mm2"),
        "dies": mean(rest, "dies"),
        "packages": mean(rest, "packages"),
        "lifetime_years": 1 / float(np.mean(years)) if any(years) else None,
        "status": sorted({sentence for result in rest for sentence in result.to_dict()["status_text"]}),
    }


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    trace = load_traces(need_decode_traces())
    chosen = np.linspace(0, trace.num_requests - 1, 1 if arguments.quick else REQUESTS).round().astype(int)
    requests = [trace.request(int(index)) for index in chosen]
    rows = []
    for tile in TILES:
        for replacement in REPLACEMENTS:
            for part in PARTS:
                if part == 1 and replacement != REPLACEMENTS[0]:
                    continue  # nothing leaves
                rows.append(row(tile, replacement, EXPERTS // part, requests))
                print(rows[-1], flush=True)
    if arguments.quick:
        return
    whole = configuration("analog", "lru", EXPERTS, DECODE)
    hardware: Any = whole.hardware
    size = 3.0 * whole.model.d_model * whole.model.d_ff * whole.numerics.weight_bits / 8
    document = {
        "preset": PRESET,
        "set": COMMON,
        "requests": [int(index) for index in chosen],
        "layers": whole.model.num_moe_layers,
        "prompt_tokens": PROMPT,
        "generated_tokens": GENERATED,
        "expert_bytes": size,
        "all_experts_gb": EXPERTS * whole.model.num_moe_layers * size * 1e-9,
        "memory": {
            "preset": whole.memory,
            "channels": hardware.memory_channels,
            "bandwidth_gb_per_s": hardware.memory_channels * hardware.memory_bandwidth_gb_per_s,
            "capacity_gb": hardware.memory_channels * hardware.memory_capacity_gb,
            "energy_pj_per_bit": hardware.memory_energy_pj_per_bit,
        },
        "rows": rows,
    }
    print(f"wrote {write_json('residency_study', document)}")


if __name__ == "__main__":
    main()
