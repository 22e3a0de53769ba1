"""What crossbars and GPUs serve: GPT-OSS-20B under Azure's code and conversation arrivals, at a service-level objective.

    PIMJAX_SERVING=folder PIMJAX_TRACES=folder python benchmarks/studies/serving_study.py            # all chips, about 4 minutes of a core
    python benchmarks/studies/serving_study.py --quick            # two chips, few requests, printed
    python benchmarks/studies/serving_study.py --chips h100,paper g=1

For every chip: the largest rate at which 99 % of the requests keep the limits (recorded arrivals replayed at other rates), and
there goodput (over the whole run, to its last answer) per watt (power between steps included) and per mm2, and how full it is.
Then what sharing peripherals costs a batch of decoding sequences, how much memory for keys and values is needed, and what
decoding without them would take. Experts are those of recorded requests of GPT-OSS-20B. Writes
benchmarks/results/serving_study.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

import pimjax
from benchmarks.lib import harness
from benchmarks.lib.paths import need_decode_traces
from benchmarks.lib.served_models import folder
from benchmarks.lib.unsized import unsized
from pimjax.config.weight_formats import checkpoint_bytes
from pimjax.serving import (
    ChipSteps,
    Server,
    StepGrid,
    load_requests,
    make_requests,
    simulate,
    slo_capacity,
    summary,
)

COUNT = 1000
"""Requests of a run: at every capacity found they take many times the longest limit, so that queues that only grow show."""
LONGEST = 8192
"""Longer requests of the recordings (fewer than 1 in 1000) are left out."""
LIMITS = {"interactive": (1e9, 50e6), "relaxed": (5e9, 100e6)}
ARRIVALS = {"conversation": "azure_2023_conv.csv", "code": "azure_2023_code.csv"}
SHARING = (1, 2, 4)


def chips() -> dict[str, tuple[Any, dict[str, Any], int]]:
    """Name -> what `load_config` takes, and the largest batch; in the order in which they are served.

    The paper's units with the dies that they fill, the shipped preset that `pimjax size` made, and GPUs.
    """

    def gpu(name: str) -> tuple[Any, dict[str, Any], int]:
        return {"chip_model": "gpu", "hardware": name, "model": "gpt_oss_20b", "workload": {"kv_bytes": 2}}, {}, 256

    paper = {f"paper g={g}": (unsized("gpt_oss_20b"), {"plan.group_size": g, "system": "dies"}, 64) for g in SHARING}
    return {
        "paper g=2": paper["paper g=2"],
        "h100": gpu("h100"),
        "sized": ("gpt_oss_20b", {}, 64),
        "b200": gpu("b200"),
        **paper,
        "h200": gpu("h200"),
    }


def kv_tokens(config: pimjax.Config) -> int | None:
    """Tokens whose keys and values fit into the memory that the chip has beside what weights it keeps there."""
    model, hardware = config.model, config.hardware
    row = 2.0 * model.num_layers * model.num_kv_heads * model.head_dim * config.workload.kv_bytes
    if hasattr(hardware, "device_memory_gb"):
        held = 0.9e9 * hardware.device_memory_gb * hardware.gpus - checkpoint_bytes(model)
    else:  # weights are in the crossbars
        held = 0.9e9 * float(getattr(hardware, "memory_capacity_gb", 0.0))
    return int(held / row) if held > 0 else None


def recorded(place: Path, name: str, count: int) -> Any:
    """The first requests that are not too long, and the rate of the whole recording."""
    every = load_requests(place / ARRIVALS[name], drop_empty=True)
    kept = np.flatnonzero(every.prompt_tokens + every.output_tokens <= LONGEST)[:count]
    some = make_requests(
        every.arrival_ns[kept] - every.arrival_ns[kept[0]], every.prompt_tokens[kept], every.output_tokens[kept]
    )
    return some, every.rate_per_s


def capacity_row(
    config: Any, steps: ChipSteps, table: Any, requests: Any, limits: tuple[float, float], most: int
) -> dict[str, Any]:
    """The largest rate within the limits, and what the chip does there."""
    server = Server(max_num_seqs=most, max_num_batched_tokens=2048, kv_tokens=kv_tokens(config), async_scheduling=True)
    slo = {"ttft_slo_ns": limits[0], "tpot_slo_ns": limits[1]}
    found = slo_capacity(requests, server, table, **slo, low_per_s=1e-2, high_per_s=400.0, rounds=3, points=8)
    rate = float(found.rate_per_s[0])
    row: dict[str, Any] = {"capacity_per_s": rate, "kv_tokens": server.kv_tokens}
    if rate > 0:
        served = requests.scaled(rate / requests.rate_per_s)
        figures = summary(
            simulate(served, server, table), **slo, idle_power_w=steps.idle_power_w(), area_mm2=steps.area_mm2() or None
        )
        names = (
            "goodput_per_s",
            "goodput_per_w",
            "goodput_per_mm2",
            "energy_per_request_nj",
            "mean_power_w",
            "busy",
            "mean_running",
            "preemptions",
        )
        row |= {name: figures[name] for name in names}
        row["idle_share"] = figures["idle_energy_nj"] / figures["energy_nj"]
        row |= {"ttft_p99_s": figures["ttft_ns"]["p99"] / 1e9, "tpot_p99_ms": figures["tpot_ns"]["p99"] / 1e6}
    else:  # one request at a time misses the limits already
        alone = summary(simulate(requests.scaled(1e-4 / requests.rate_per_s), server, table))
        row |= {"alone_ttft_p99_s": alone["ttft_ns"]["p99"] / 1e9, "alone_tpot_p99_ms": alone["tpot_ns"]["p99"] / 1e6}
    return row


def decode_rows(name: str, steps: ChipSteps, table: Any) -> list[dict[str, Any]]:
    """Decode steps of batches at two contexts, and without keys and values: the whole prefix computed again."""
    rows = []
    for context in (128, 2048):
        for size in (1, 8, 64):
            at = [np.interp(context, table.context_grid, row) for row in table.decode[0]]
            ns = float(np.interp(size, table.decode_grid, at))
            if steps.one_pass:
                ns += float(
                    np.interp(size, table.tokens_grid, table.tokens[0])
                    + np.interp(size, table.samples_grid, table.samples[0])
                )
            again = float(np.interp(context + 1, table.prefix_grid, table.prefix[0])) * size
            if steps.one_pass:
                again += float(np.interp(size * (context + 1), table.tokens_grid, table.tokens[0]))
            rows.append(
                {
                    "chip": name,
                    "context": context,
                    "sequences": size,
                    "step_us": ns / 1e3,
                    "per_sequence_us": ns / 1e3 / size,
                    "recomputed_us": again / 1e3,
                }
            )
    return rows


def memory_rows(
    name: str, table: Any, requests: Any, rate: float, most: int, limits: tuple[float, float]
) -> list[dict[str, Any]]:
    """Goodput at one rate with memory for fewer and fewer tokens of keys and values."""
    rows = []
    longest = requests.longest_context
    for tokens in (longest, 2 * longest, 4 * longest, 8 * longest, 32 * longest):
        server = Server(
            max_num_seqs=most, max_num_batched_tokens=2048, kv_tokens=16 * (tokens // 16 + 1), async_scheduling=True
        )
        figures = summary(
            simulate(requests.scaled(rate / requests.rate_per_s), server, table),
            ttft_slo_ns=limits[0],
            tpot_slo_ns=limits[1],
        )
        rows.append(
            {
                "chip": name,
                "kv_tokens": tokens,
                "rate_per_s": rate,
                **{key: figures[key] for key in ("goodput_per_s", "met_slo", "preemptions", "mean_running")},
                "ttft_p99_s": figures["ttft_ns"]["p99"] / 1e9,
            }
        )
    return rows


def main() -> None:
    """Serve, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two chips, few requests; printed")
    parser.add_argument("--chips", help="some of the chips by name, with commas; printed")
    arguments = parser.parse_args()
    place, traces = folder("azure_2023_conv.csv"), pimjax.load_traces(need_decode_traces())
    every = chips()
    names = arguments.chips.split(",") if arguments.chips else ["paper g=2", "h100"] if arguments.quick else list(every)
    unknown = [name for name in names if name not in every]
    if unknown:
        raise SystemExit(f"--chips {unknown[0]}: there are {', '.join(every)}")
    workloads = {name: recorded(place, name, 200 if arguments.quick else COUNT) for name in ARRIVALS}
    rows: list[dict[str, Any]] = []
    decode: list[dict[str, Any]] = []
    memory: list[dict[str, Any]] = []
    for name in names:
        base, changes, most = every[name]
        config = pimjax.load_config(base, changes)
        steps = ChipSteps(config, traces, longest_context=LONGEST)
        table = StepGrid(steps, max_num_seqs=most, samples=2).table()
        facts = {"chip": name, "area_mm2": steps.area_mm2(), "idle_power_w": steps.idle_power_w()}
        for workload, (requests, rate) in workloads.items():
            for limits, bounds in LIMITS.items():
                row = {**facts, "arrivals": workload, "limits": limits, "recorded_per_s": rate}
                row |= capacity_row(config, steps, table, requests, bounds, most)
                rows.append(row)
                print(
                    json.dumps({key: float(f"{v:.4g}") if isinstance(v, float) else v for key, v in row.items()}),
                    flush=True,
                )
        decode += decode_rows(name, steps, table)
        kept = next(
            (
                r
                for r in reversed(rows)
                if r["chip"] == name and r["arrivals"] == "conversation" and r["capacity_per_s"]
            ),
            None,
        )
        if kept is not None and name in ("paper g=2", "sized", "h100"):
            memory += memory_rows(
                name, table, workloads["conversation"][0], kept["capacity_per_s"], most, LIMITS[kept["limits"]]
            )
        if not arguments.quick and not arguments.chips:  # as far as it is
            harness.write_json(
                "serving_study",
                {"limits_ns": LIMITS, "requests": COUNT, "rows": rows, "decode": decode, "memory": memory},
            )
    for row in (*decode, *memory):
        print(json.dumps({key: float(f"{v:.4g}") if isinstance(v, float) else v for key, v in row.items()}))


if __name__ == "__main__":
    main()
