"""Static energy and peak power of the multiplexed chip's fast fidelities against event: random configurations x real windows.

Windows are the first 16 to 128 tokens of GPT-OSS-20B requests (folder: environment variable PIMJAX_TRACES), configurations are
drawn over widths, policies, groups, units, where sums are made, decoding, and over the ranges of the power states.
Reported: relative error of the leakage of peripherals (powered and gated together) and of the static energy, and the
fast peak power over the exact one, which must not be below 1.

    python benchmarks/validation/power_error.py            # 120 configurations
    python benchmarks/validation/power_error.py --chips    # only what a full die draws, and the utilisation of a model
    python benchmarks/validation/power_error.py --quick    # 4, synthetic routing if there are no traces
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax
import numpy as np

from benchmarks.lib.harness import environment, write_json
from benchmarks.lib.paths import DECODE_TRACES, RESULTS, trace_folder
from benchmarks.lib.unsized import unsized
from pimjax import estimate
from pimjax.chips.multiplexed.explained import full_die
from pimjax.config import Config, load_config
from pimjax.trace.files import load_traces
from pimjax.trace.routing import RoutingTrace

FIDELITIES = ("fluid", "closed")
MODES = ("prefill", "prefill", "decode", "batch", "recompute")


def main() -> None:
    """Draw, run, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4 configurations")
    parser.add_argument("--count", type=int, default=120, help="configurations")
    parser.add_argument("--chips", action="store_true", help="anew in the committed results: figures of chips")
    options = parser.parse_args()
    if options.chips:
        document = json.loads((RESULTS / "power_error.json").read_text())
        print(f"wrote {write_json('power_error', {**document, 'chips': chips()})}")
        return
    rng = np.random.default_rng(16)
    rows = [case(rng, MODES[index % len(MODES)]) for index in range(4 if options.quick else options.count)]
    summary = {}
    for mode in ("all", *dict.fromkeys(MODES)):
        mine = [row for row in rows if mode in ("all", row["mode"])]
        if not mine:
            continue
        summary[mode] = {"configurations": len(mine)}
        for fidelity in FIDELITIES:
            found = {
                name: np.array([row[f"{name}_{fidelity}"] for row in mine]) for name in ("leakage", "static", "peak")
            }
            entry: dict[str, Any] = {
                name: {
                    "mean": float(np.abs(found[name]).mean()),
                    "p95": float(np.quantile(np.abs(found[name]), 0.95)),
                    "largest": float(np.abs(found[name]).max()),
                }
                for name in ("leakage", "static")
            }
            entry["peak_over_exact"] = {"least": float(found["peak"].min()), "median": float(np.median(found["peak"]))}
            summary[mode][fidelity] = entry
            leak = entry["leakage"]
            print(
                f"{mode:10s} {fidelity:7s} leakage {leak['mean']:.2%} mean, {leak['p95']:.2%} p95, {leak['largest']:.2%} largest; "
                f"peak {entry['peak_over_exact']['least']:.2f} to {entry['peak_over_exact']['median']:.2f} times the exact one"
            )
    document = {"environment": environment(), "summary": summary, "chips": chips(), "cases": rows}
    if not options.quick:
        print(f"wrote {write_json('power_error', document)}")


def chips() -> dict[str, Any]:
    """A die all of whose cores work, in groups of 1, 2, 4; shares of a whole model's prefill of 128 tokens, closed."""
    config = load_config(unsized("gpt_oss_20b"))
    result = estimate(config, fidelity="closed")
    return {
        "full_die": {
            f"g={size}": full_die(load_config("paper_crossbars", {"plan.group_size": size})) for size in (1, 2, 4)
        },
        "gpt_oss_20b": {
            "utilisation": float(result.utilisation),
            "static_share": float(result.static_energy_nj / result.energy_nj),
            "power_w": float(result.power_w),
            "peak_power_w": float(result.peak_power_w),
            "junction_c": float(result.junction_c),
        },
    }


def case(rng: np.random.Generator, mode: str) -> dict[str, Any]:
    """One configuration and window, exact and fast."""
    content = draw(rng, mode)
    config = load_config(content)
    trace = window(rng, config.workload.batch_size)
    exact = figures(config, trace, "event")
    row: dict[str, Any] = {
        "mode": mode,
        "policy": content["plan"]["policy"],
        "group_size": content["plan"]["group_size"],
    }
    row["static_share"] = exact["static"] / exact["energy"]
    for fidelity in FIDELITIES:
        fast = figures(config, trace, fidelity)
        row |= {f"{name}_{fidelity}": fast[name] / exact[name] - 1 for name in ("leakage", "static")}
        row[f"peak_{fidelity}"] = fast["peak"] / exact["peak"]
    return row


def draw(rng: np.random.Generator, mode: str) -> dict[str, Any]:
    """One random configuration."""
    pick = rng.choice
    width = int(pick([512, 1024, 2048]))
    policy = str(pick(["token_wise", "compact", "reschedule", "packed"]))
    idle = float(np.exp(rng.uniform(np.log(2e-4), np.log(8e-3))))
    hardware = {
        "num_digital_units": float(pick([1, 2, 5, 12, 32])),
        "num_attention_units": float(pick([1, 4, 8])),
        "out_buffer_slots": float(pick([1, 2, 4, 8])),
        "idle_power_w_per_mm2": idle,
        "gated_power_w_per_mm2": idle * float(rng.uniform(0.01, 0.2)),
        "wake_latency_ns": float(np.exp(rng.uniform(np.log(2), np.log(2000)))),
        "wake_energy_nj_per_mm2": float(np.exp(rng.uniform(np.log(0.1), np.log(10)))),
    }
    if rng.random() < 0.5:
        hardware["input_links"] = float(pick([1, 2, 4]))
    plan: dict[str, Any] = {
        "policy": policy,
        "group_size": int(pick([1, 2, 4, 8])),
        "share": str(pick(["position", "position", "position", "pair"])),
        "accumulate": str(pick(["local", "local", "local", "digital"])),
    }
    model = {
        "d_model": width, "d_ff": int(pick([256, 688])), "num_layers": int(pick([1, 2, 3])), "num_experts": 32, "top_k": 4,
        "num_heads": 8, "head_dim": width // 8, "activation": str(pick(["relu", "swiglu"])), "vocab_size": 4000,
    }  # fmt: skip
    workload: dict[str, Any] = {"prompt_tokens": int(pick([16, 32, 64, 128]))}
    if mode != "prefill":
        workload |= {"prompt_tokens": int(pick([16, 48])), "generated_tokens": int(pick([2, 4, 8]))}
        workload["kv_cache"] = mode != "recompute"
        workload["batch_size"] = int(pick([2, 4, 8])) if mode == "batch" else 1
    return {"hardware": hardware, "model": model, "plan": plan, "workload": workload}


def window(rng: np.random.Generator, requests: int) -> RoutingTrace:
    """Requests of the recorded model at three random layers, or synthetic ones where there are no traces."""
    file = trace_folder() / DECODE_TRACES
    if not file.is_file():
        ids = np.argsort(rng.random((3, 200, 32)) + rng.random((3, 1, 32)), axis=-1)[..., :4]
        return RoutingTrace.from_expert_ids(ids, 32).replace(allow=("repeat_layers",))  # type: ignore[attr-defined]
    trace = load_traces(file, requests=[int(rng.integers(57)) for _ in range(requests)])
    trace = trace.replace(allow=("repeat_layers",))  # type: ignore[attr-defined]
    layers = rng.integers(0, 24, 3)
    return jax.tree.map(lambda leaf: leaf[:, layers] if leaf.ndim > 1 else leaf, trace)


def figures(config: Config, trace: RoutingTrace, fidelity: str) -> dict[str, float]:
    """Energies [nJ] and the peak power [W] of one run."""
    if config.workload.batch_size == 1 and trace.is_stacked:
        trace = trace.request(0)
    result = estimate(config, trace, fidelity)
    named = dict(zip(result.components, np.asarray(result.component_energy_nj).tolist(), strict=True))
    return {
        "leakage": named["leakage_idle"] + named["leakage_gated"],
        "static": float(result.static_energy_nj),
        "energy": float(result.energy_nj),
        "peak": float(result.peak_power_w),
    }


if __name__ == "__main__":
    main()
