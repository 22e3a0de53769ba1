"""What caches are worth in generation: the paper's figure, sweeps of one quantity at a time, and a GPU beside it.

Sections: `cache_figure` (8 to 128 tokens, both chip models, next to the authors' numbers), `forgotten` (the authors'
headline run with the gate-output traffic that it leaves out), `sweeps` (speed-up and energy saving of every cache set
against generated tokens, prompt, capacity, memory, its bandwidth and batch, expert choice), `yardstick` (whole models on the chip and
on an H100), `fidelity` (closed form against event engine), `long` (prompt 32,768, 4,096 generated: time to compute it).

    python benchmarks/studies/generation_study.py [--quick] [--sections sweeps,long] && python benchmarks/pages/generation_figures.py
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.lib.harness import write_json
from benchmarks.lib.paths import RESULTS
from pimjax.cache.reference_traffic import uncounted_traffic
from pimjax.chips.multiplexed import simulate
from pimjax.config import load_config
from pimjax.estimation.generation import CACHE_SETS, GenerationCase, estimate_generation
from pimjax.estimation.routing import resolve
from pimjax.reproduction.lines import published

PROMPT, TOKENS = 512, 128  # base point of the sweeps
BANDWIDTHS = (2.666, 5.332, 10.664, 21.328, 42.656, 85.312, 341.248, 1364.992)
CHOSEN = {"model.routing": "expert_choice"}
#: the default, and the authors' channel with their accounting of it (wires as the preset has them)
MEMORIES: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "authors' LPDDR4": {"memory": "lpddr4", "plan.dram_overlap": "none", "plan.memory_idle": "cached"},
}


def brief(case: GenerationCase) -> dict[str, Any]:
    """What a table needs of one case."""
    return {
        "caches": case.caches,
        "batch_size": case.batch_size,
        "decode_ns": case.decode_ns,
        "decode_nj": case.energy_nj - case.first_token_nj,
        "first_token_ns": case.first_token_ns,
        "tokens_per_s": case.tokens_per_s,
        "energy_per_token_nj": case.energy_per_token_nj,
    }


def with_gains(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adds speed-up and saving of the decode phase against the first row."""
    for row in rows:
        row["speedup"] = rows[0]["decode_ns"] / row["decode_ns"]
        row["energy_saving"] = rows[0]["decode_nj"] / row["decode_nj"]
    return rows


def cache_figure(quick: bool) -> dict[str, Any]:
    """The paper's figure: latency and energy of the decode phase after a prompt of 32."""
    known = {run["args"]: run for run in published()["runs"]}
    flags = {"none": "", "kv": " --kv_flag", "go": " --go_flag", "kv+go": " --kv_flag --go_flag"}
    rows = []
    for tokens in (8, 32) if quick else (8, 32, 64, 128):
        run = {"workload.prompt_tokens": 32, "workload.generated_tokens": tokens}
        chips = {
            "reference": (load_config("paper_reference", run), "closed" if quick else "fluid"),
            "multiplexed": (load_config("paper_multiplexed", CHOSEN | run), "closed"),
            "multiplexed, the authors' memory": (load_config("paper_crossbars", CHOSEN | run), "closed"),
            "the authors' memory and attention": (
                load_config("paper_crossbars", CHOSEN | run | {"plan.attention": "fit"}),
                "closed",
            ),
        }
        for chip, (config, fidelity) in chips.items():
            cases = with_gains([brief(case) for case in estimate_generation(config, fidelity=fidelity, pieces=1)])
            for row in cases:
                theirs = known.get(f"--new_length {tokens}{flags[row['caches']]}") if chip == "reference" else None
                row |= {"authors_ns": theirs and theirs["latency_ns"], "authors_nj": theirs and theirs["energy_nj"]}
                rows.append({"chip": chip, "tokens": tokens, **row})
            print(f"{tokens:4d} tokens, {chip}: kv+go {cases[-1]['speedup']:.2f}x faster, {cases[-1]['energy_saving']:.2f}x less energy")  # fmt: skip
    return {"prompt_tokens": 32, "rows": rows}


def forgotten() -> dict[str, Any]:
    """The authors' headline (8 tokens, both caches against none) with the traffic that their totals leave out."""
    runs = {run["args"]: run for run in published()["runs"]}
    plain, cached = runs["--new_length 8"], runs["--new_length 8 --kv_flag --go_flag"]
    missing = uncounted_traffic(32, 8, 16, 4096)
    out = {
        "missing_ns": missing.time_ns,
        "missing_nj": missing.energy_nj,
        "share_of_time": missing.time_ns / cached["latency_ns"],
        "share_of_energy": missing.energy_nj / cached["energy_nj"],
        "speedup": plain["latency_ns"] / cached["latency_ns"],
        "speedup_if_counted": plain["latency_ns"] / (cached["latency_ns"] + missing.time_ns),
        "saving": plain["energy_nj"] / cached["energy_nj"],
        "saving_if_counted": plain["energy_nj"] / (cached["energy_nj"] + missing.energy_nj),
    }
    print(f"forgotten traffic: {out['share_of_time']:.1%} of the time, {out['share_of_energy']:.1%} of the energy; "
          f"speed-up {out['speedup']:.2f}x -> {out['speedup_if_counted']:.2f}x, "
          f"saving {out['saving']:.2f}x -> {out['saving_if_counted']:.2f}x")  # fmt: skip
    return out


def point(changes: dict[str, Any]) -> list[dict[str, Any]]:
    """All cache sets, the gate-output cache as full and as threshold lists."""
    base = {"workload.prompt_tokens": PROMPT, "workload.generated_tokens": TOKENS, **CHOSEN}
    full = estimate_generation(load_config("paper_multiplexed", base | changes), pieces=1)
    lists = estimate_generation(
        load_config("paper_multiplexed", base | changes | {"workload.go_cache": "threshold"}), caches=("kv+go",), pieces=1
    )  # fmt: skip
    rows = [brief(case) for case in (*full, *lists)]
    rows[-1]["caches"] = "kv+go, thresholds"
    return with_gains(rows)


def sweeps(quick: bool) -> dict[str, Any]:
    """One quantity at a time around prompt 512, 128 tokens, k = 4 of 16, one HBM3 stack, batch 1."""
    axes: dict[str, tuple[str, tuple[Any, ...]]] = {
        "generated tokens N": ("workload.generated_tokens", (8, 32, 128, 512, 2048, 4096)),
        "prompt tokens P": ("workload.prompt_tokens", (32, 128, 512, 2048, 8192, 32768)),
        "capacity C = kL/16, k": ("model.top_k", (1, 2, 4, 8)),
        "capacity rule": ("workload.capacity_rule", ("growing", "frozen", "fixed")),
        "bandwidth [GB/s]": ("memory.bandwidth_gb_per_s", BANDWIDTHS),
        "memory": ("memory", ("lpddr4", "lpddr5x", "hbm2", "hbm3", "hbm3e")),
        "batch": ("workload.batch_size", (1, 4, 16)),
    }
    out: dict[str, Any] = {"base": {"prompt_tokens": PROMPT, "generated_tokens": TOKENS}, "axes": {}}
    for axis, (key, values) in axes.items():
        rows = []
        for value in values[:2] if quick else values:
            short = {"workload.prompt_tokens": 64, "workload.generated_tokens": 9} if quick else {}
            begin = time.perf_counter()
            cases = point(short | {key: value})
            rows.append({"value": value, "seconds": time.perf_counter() - begin, "cases": cases})
            gains = ", ".join(f"{row['caches']} {row['speedup']:.2f}x/{row['energy_saving']:.2f}x" for row in cases[1:])
            print(f"{axis} = {value}: {gains}", flush=True)
        out["axes"][axis] = rows
    return out


def yardstick(quick: bool) -> dict[str, Any]:
    """Whole models on the chip and on GPUs: tokens/s and energy per token side by side."""
    models = [("paper_multiplexed", CHOSEN, "kv+go")]
    if not quick:
        models += [(name, {}, "kv") for name in ("olmoe_1b_7b", "gpt_oss_20b", "mixtral_8x7b")]
    rows = []
    for (name, changes, caches), memory in itertools.product(models, MEMORIES):
        run = {"workload.prompt_tokens": 64 if quick else 256, "workload.generated_tokens": 9 if quick else 129}
        config = load_config(name, changes | run | MEMORIES[memory])
        cases = estimate_generation(
            config, caches=(caches,), batch_sizes=(1,) if quick else (1, 8), gpus=("h100", "h200"), pieces=4
        )
        for case in cases:
            rows.append({"model": name, "memory": memory, **case.to_dict()})
            beside = ", ".join(f"{gpu.name} {gpu.tokens_per_s:,.0f} tokens/s {gpu.energy_per_token_nj / 1e6:.3g} mJ" for gpu in case.gpus)  # fmt: skip
            print(f"{name}, {memory}, batch {case.batch_size}: {case.tokens_per_s:,.0f} tokens/s, {case.energy_per_token_nj / 1e6:.3g} mJ; {beside}", flush=True)  # fmt: skip
    return {"rows": rows}


def fidelity(quick: bool) -> dict[str, Any]:
    """The closed form against the event engine: error of run time and energy for every cache set."""
    rows = []
    lengths = ((32, 8),) if quick else ((32, 8), (128, 8))
    for preset, (prompt, tokens) in itertools.product(("paper_multiplexed", "paper_crossbars"), lengths):
        for caches in CACHE_SETS:
            held = caches.split("+")
            changes = {
                "workload.prompt_tokens": prompt,
                "workload.generated_tokens": tokens,
                "workload.kv_cache": "kv" in held,
                "workload.go_cache": "full" if "go" in held else "none",
            }
            config, requests = resolve(load_config(preset, CHOSEN | changes), None)
            exact = simulate(config, requests).cost
            (case,) = estimate_generation(config, caches=(caches,), pieces=1)
            row = {
                "preset": preset,
                "prompt_tokens": prompt,
                "generated_tokens": tokens,
                "caches": caches,
                "event_ns": float(exact.latency_ns),
                "closed_ns": case.latency_ns,
                "latency_error": case.latency_ns / float(exact.latency_ns) - 1,
                "energy_error": case.energy_nj / float(np.sum(exact.component_energy_nj)) - 1,
            }
            rows.append(row)
            print(f"{preset}, P {prompt}, N {tokens}, {caches}: closed {row['latency_error']:+.2%} time, {row['energy_error']:+.2%} energy", flush=True)  # fmt: skip
    return {"rows": rows}


def long(quick: bool) -> dict[str, Any]:
    """The longest run that is promised: host time of every cache set, nothing unrolled."""
    prompt, tokens = (256, 64) if quick else (32768, 4096)
    rows = []
    for fidelity in ("closed", "fluid"):
        for caches in ("none", "kv", "go", "kv+go"):
            config = load_config(
                "paper_multiplexed", CHOSEN | {"workload.prompt_tokens": prompt, "workload.generated_tokens": tokens}
            )
            begin = time.perf_counter()
            (case,) = estimate_generation(config, fidelity=fidelity, caches=(caches,))
            seconds = time.perf_counter() - begin
            rows.append({"fidelity": fidelity, "seconds": seconds, **case.to_dict()})
            print(f"P {prompt}, N {tokens}, {caches}, {fidelity}: {seconds:.1f} s; {case.tokens_per_s:.1f} tokens/s", flush=True)  # fmt: skip
    return {"prompt_tokens": prompt, "generated_tokens": tokens, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few short points, for continuous integration; no JSON")
    parser.add_argument(
        "--sections", default="cache_figure,forgotten,sweeps,yardstick,fidelity,long", help="which, by commas"
    )
    arguments = parser.parse_args()
    target = RESULTS / "generation_study.json"
    results = json.loads(target.read_text()) if target.exists() and not arguments.quick else {}
    for name in arguments.sections.split(","):
        section = {
            "cache_figure": cache_figure,
            "sweeps": sweeps,
            "yardstick": yardstick,
            "long": long,
            "fidelity": fidelity,
        }.get(name)
        results[name] = forgotten() if section is None else section(arguments.quick)
        if not arguments.quick:
            results.pop("environment", None)
            print("written to", write_json("generation_study", results), flush=True)


if __name__ == "__main__":
    main()
