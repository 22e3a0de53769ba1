"""Contention when requests decode together: one token of each of the 57 real requests per step.

Real traces (GPT-OSS-20B, folder `PIMJAX_TRACES`). Steps 7..255 fit the groups, steps 256..510 judge them (the first
seven steps of an answer are a template). Two intervals: over requests, by leaving each of the 57 out in turn
(jackknife; makespans), and over judged steps, by bootstrap (loads, open tokens).

    python benchmarks/studies/decode_batches.py            # writes benchmarks/results/decode_batches.json
    python benchmarks/studies/decode_batches.py --quick    # two layers, g = 4, writes nothing
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
from pimjax.schedule import SchedulePlan, count_coactivation, group_experts, schedule_table
from pimjax.trace import RoutingTrace, load_traces

FIRST_STEP, SPLIT = 7, 256
STRATEGIES = ("uniform", "sorted", "balanced", "coactivation")
POLICIES = (("token_wise", None), ("compact", None), ("reschedule", None), ("packed", None), ("packed", 32))


def jackknife(full: float, left_out: np.ndarray) -> dict[str, float]:
    """Estimate with its 95 % interval from the values without each request."""
    count = len(left_out)
    error = np.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum())
    return {"mean": float(full), "low": float(full - 1.96 * error), "high": float(full + 1.96 * error)}


def bootstrap(values: np.ndarray) -> dict[str, float]:
    """Mean of `[steps]` values with a 95 % interval over steps."""
    draws = np.random.default_rng(0).integers(0, len(values), (2000, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), (2.5, 97.5))
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def makespans(choices: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compact makespan of every batch `[S, L]`, and without each request `[R, S, L]`."""
    member = (groups[:, :, None] == np.arange(groups.max() + 1)).astype(np.float32)  # [L, E, G]
    own = np.einsum("slre,leg->rslg", choices.astype(np.float32), member, optimize=True)
    total = own.sum(axis=0)
    return total.max(axis=-1), np.stack([(total - request).max(axis=-1) for request in own])


def main() -> None:
    """Fit, judge, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two layers, g = 4; for continuous integration")
    parser.add_argument("--fit-stride", type=int, default=4)
    parser.add_argument("--judge-stride", type=int, default=8)
    arguments = parser.parse_args()
    steps = np.asarray(load_traces(need_decode_traces()).choices).transpose(2, 1, 0, 3)  # [step, L, request, E]
    if arguments.quick:
        steps = steps[:, [0, 12]]
    fitted = steps[FIRST_STEP : SPLIT : arguments.fit_stride]
    judged = steps[SPLIT :: arguments.judge_stride]
    layers, batch, experts = judged.shape[1:]
    document: dict[str, Any] = {"batch": batch, "layers": layers, "steps_fitted": len(fitted)}
    document["steps_judged"] = len(judged)
    trace = RoutingTrace(choices=judged, num_tokens=np.full(len(judged), batch, np.int32))
    for size in (4,) if arguments.quick else (1, 2, 4, 8):
        num_groups = -(-experts // size)
        names = ("uniform",) if size == 1 else STRATEGIES
        maps = {
            name: np.stack(
                [
                    group_experts(
                        fitted[:, layer].sum(axis=1), size, name, coactivation=count_coactivation(fitted[:, layer])
                    )
                    for layer in range(layers)
                ]
            )
            for name in names
        }
        slots = {name: makespans(judged, maps[name]) for name in names}
        result = document.setdefault(f"g={size}", {})
        for name in names:
            full, left_out = slots[name]
            entry = {"slots": jackknife(full.mean(), left_out.mean(axis=(1, 2)))}
            if size > 1:
                base, base_left_out = slots["sorted"]
                entry["gain_over_sorted_percent"] = jackknife(
                    100 * (1 - full / base).mean(), 100 * (1 - left_out / base_left_out).mean(axis=(1, 2))
                )
                print(f"g={size} {name:12s} gain over sorted {entry['gain_over_sorted_percent']}", flush=True)
            result[name] = entry
        scheduled = [name for name in names if name in ("uniform", "sorted", "balanced")]
        rows = [(name, *policy) for name in scheduled for policy in POLICIES]
        plans = [SchedulePlan(maps[name], policy, limit) for name, policy, limit in rows]
        table = schedule_table(trace, plans, num_groups=num_groups, max_slots=256)
        loads, open_tokens = np.asarray(table.loads), np.asarray(table.open_max)
        makespan = np.asarray(table.makespan)
        for i, (name, policy, limit) in enumerate(rows):
            start = i - i % len(POLICIES)
            bound = np.maximum(loads[start], makespan[start + 1])
            label = policy if limit is None else f"{policy} open<={limit}"
            entry = {
                "slots": bootstrap(makespan[i].mean(axis=1)),
                "loads": bootstrap(loads[i].mean(axis=1)),
                "open_tokens": bootstrap(open_tokens[i].mean(axis=1)) | {"max": int(open_tokens[i].max())},
            }
            if policy == "packed":
                ratio = loads[i] / bound
                entry["loads_over_bound"] = bootstrap(ratio.mean(axis=1)) | {"worst": float(ratio.max())}
            result[name].setdefault("policies", {})[label] = entry
            print(
                f"g={size} {name:9s} {label:16s} slots {entry['slots']['mean']:.2f} loads {entry['loads']['mean']:.2f}"
                f" open {entry['open_tokens']['mean']:.1f} {entry.get('loads_over_bound', '')}",
                flush=True,
            )
    if not arguments.quick:
        print(f"wrote {write_json('decode_batches', document)}")


if __name__ == "__main__":
    main()
