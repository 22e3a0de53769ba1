"""From the paper's S2O and S4O chips to better ones at equal area, equal energy and equal latency.

    python benchmarks/tune_case_study.py            # writes results/tune_case_study.json
    python benchmarks/tune_case_study.py --quick    # one chip, one target, few steps, writes nothing

S2O and S4O: groups of 2 and 4 experts, load-sorted, rescheduled (arXiv 2602.10254). The crossbar is computed from
circuit parameters so that its parts can be traded (`plan.tile: parametric`, calibrated to HERMES); quantisation noise
is held at 30 dB. Workloads: the project's own traces, and GPT-OSS-20B where the folder PIMJAX_TRACES is there. Every
number of base and result is given by the closed model and by the event engine.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import jax
from harness import write_json

from pimjax.trace import load_traces
from pimjax.tuning import load_tune_config, tune
from pimjax.tuning.problem import make_problem
from pimjax.tuning.sensitivity import sensitivities

TARGETS = {
    "equal_area": ("edp_nj_ns", "area_mm2"),
    "equal_energy": ("latency_ns", "energy_nj"),
    "equal_latency": ("edap", "latency_ns"),
}
PARAMETERS: dict[str, Any] = {
    "hardware.adc_bits": {"kind": "integer", "low": 5, "high": 9},
    "hardware.columns_per_adc": {"kind": "levels", "levels": [1, 2, 4, 8, 16]},
    "hardware.crossbar_rows": {"kind": "levels", "levels": [64, 128, 256, 512]},
    "hardware.crossbar_cols": {"kind": "levels", "levels": [64, 128, 256, 512]},
    "hardware.supply_v": {"low": 0.7, "high": 0.9},
    "hardware.num_digital_units": {"kind": "integer", "low": 1, "high": 32},
    "hardware.num_attention_units": {"kind": "integer", "low": 1, "high": 16},
    "hardware.accumulator_lanes": {"kind": "levels", "levels": [16, 32, 64, 128, 256]},
    "hardware.out_buffer_slots": {"kind": "integer", "low": 1, "high": 8},
}


def study(base: str, group_size: int, target: str, trace: Any, quick: bool) -> dict[str, Any]:
    """One chip, one target."""
    objective, held = TARGETS[target]
    run = {
        "config": base,
        "set": {"plan.group_size": group_size, "plan.grouping": "sorted", "plan.policy": "reschedule", "plan.tile": "parametric"},
        "parameters": PARAMETERS,
        "objective": {objective: 1},
        "limits": [
            {"measure": held, "at_most": 1.0, "of_base": True},
            {"measure": "area_mm2", "at_most": 1.0, "of_base": True},
            {"measure": "quality", "at_least": 30},
        ],
        "quality": "sqnr",
        "starts": 2 if quick else 8,
        "optimiser": {"steps": 8 if quick else 24, "chunk_steps": 8, "learning_rate": 0.1},
    }  # fmt: skip
    config = load_tune_config(run)
    result = tune(config, trace=trace)
    moved = {
        key: [value, result.settings[key]]
        for key, value in result.base_settings.items()
        if value != result.settings[key]
    }
    why = {row.name: row._asdict() for row in sensitivities(make_problem(config, trace=trace)) if row.name in moved}
    ratio = {
        key: float(getattr(result.event, key)) / float(getattr(result.event_base, key))
        for key in ("latency_ns", "energy_nj", "area_mm2")
        if result.event is not None and result.event_base is not None
    }
    print(
        f"{base} S{group_size}O {target}: {result.improvement:.3f} times better; event ratios {ratio}; moved {moved}",
        flush=True,
    )
    return {"moved": moved, "sensitivity_of_moved": why, "event_ratio": ratio, **result.to_dict()}


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cache", help="folder for compiled programs")
    parser.add_argument("--bases", nargs="*", default=["paper_multiplexed", "gpt_oss_20b"])
    parser.add_argument("--groups", nargs="*", type=int, default=[2, 4])
    parser.add_argument("--targets", nargs="*", default=list(TARGETS))
    arguments = parser.parse_args()
    if arguments.cache:
        jax.config.update("jax_compilation_cache_dir", arguments.cache)
    folder = Path(os.environ.get("PIMJAX_TRACES", Path(__file__).parents[2] / "shared" / "traces"))
    document: dict[str, Any] = {}
    groups, targets = (
        (arguments.groups[:1], arguments.targets[:1]) if arguments.quick else (arguments.groups, arguments.targets)
    )
    for base in arguments.bases[:1] if arguments.quick else arguments.bases:
        trace = None
        if base == "gpt_oss_20b":
            if not (folder / "gptoss20b-decode.npz").is_file():
                print(f"no real traces at {folder}: set PIMJAX_TRACES; {base} left out", flush=True)
                continue
            trace = load_traces(folder / "gptoss20b-decode.npz", max_tokens=128).request(0)
        for group_size in groups:
            for target in targets:
                document[f"{base}_S{group_size}O_{target}"] = study(base, group_size, target, trace, arguments.quick)
                if not arguments.quick:
                    write_json("tune_case_study", document)


if __name__ == "__main__":
    main()
