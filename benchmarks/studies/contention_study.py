"""Contention study: which experts should share peripherals, and in which order tokens should visit them.

Real routing traces (GPT-OSS-20B, 57 requests; folder `PIMJAX_TRACES`) and the project's own. Groupings are fitted on
four folds of the requests (index mod 5) and judged on the fifth; intervals are 95 % bootstrap intervals over requests.

    python benchmarks/studies/contention_study.py            # writes benchmarks/results/contention_study.json
    python benchmarks/studies/contention_study.py --quick    # a few layers, seconds, writes nothing
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.lib.folds import FOLDS, Requests, bootstrap, makespans
from benchmarks.lib.harness import write_json
from benchmarks.lib.paths import DECODE_TRACES, trace_folder
from pimjax.schedule import SchedulePlan, copy_hottest, deal_copies, group_experts, schedule_table
from pimjax.schedule.grouping import search_groups
from pimjax.trace import RoutingTrace, default_traces, load_traces

STRATEGIES = ("uniform", "sorted", "snake", "random_swap", "balanced", "coactivation")
OPEN_LIMIT = 32


def random_swap_search(loads: np.ndarray, num_groups: int, steps: int, seed: int) -> np.ndarray:
    """The peer: swap two random experts, keep the swap when the mean training makespan does not rise."""
    generator = np.random.default_rng(seed)
    groups = np.arange(loads.shape[1]) * num_groups // loads.shape[1]
    generator.shuffle(groups)
    total = loads @ np.eye(num_groups)[groups]
    best = total.max(axis=1).mean()
    for _ in range(steps):
        a, b = generator.integers(0, loads.shape[1], 2)
        if groups[a] == groups[b]:
            continue
        trial = total.copy()
        change = loads[:, b] - loads[:, a]
        trial[:, groups[a]] += change
        trial[:, groups[b]] -= change
        value = trial.max(axis=1).mean()
        if value <= best:
            best, total = value, trial
            groups[a], groups[b] = groups[b], groups[a]
    return groups.astype(np.int32)


def fit(strategy: str, loads: np.ndarray, together: np.ndarray, group_size: int, steps: int) -> np.ndarray:
    """Group of each expert, fitted on training requests."""
    if strategy == "random_swap":
        return random_swap_search(loads, -(-loads.shape[1] // group_size), steps, seed=0)
    return group_experts(loads, group_size, strategy, coactivation=together)


def study_grouping(data: Requests, sizes: tuple[int, ...], steps: int) -> tuple[dict[str, Any], dict[Any, np.ndarray]]:
    """Makespan of unseen requests per strategy, as gain over `sorted`, and the fitted maps `[folds, L, E]`."""
    generator = np.random.default_rng(0)
    result, maps = {}, {}
    for size in sizes:
        slots = {s: np.zeros(data.loads.shape[:2]) for s in STRATEGIES}
        for strategy in STRATEGIES:
            fitted = np.zeros((FOLDS, *data.loads.shape[::2]), np.int32)
            begin = time.process_time()
            for fold in range(FOLDS):
                test = data.fold == fold
                for layer in range(len(data.loads)):
                    groups = fit(strategy, *data.training(layer, fold), size, steps)
                    fitted[fold, layer] = groups
                    slots[strategy][layer, test] = makespans(data.loads[layer, test], groups)
            maps[size, strategy] = fitted
            seconds = (time.process_time() - begin) / FOLDS / len(data.loads)
            result.setdefault(f"g={size}", {})[strategy] = {
                "slots_per_token": bootstrap(slots[strategy] / data.num_tokens, generator),
                "fit_seconds": seconds,
            }
        for strategy in STRATEGIES:
            entry = result[f"g={size}"][strategy]
            gain = 100 * (1 - slots[strategy] / slots["sorted"])
            entry["gain_over_sorted_percent"] = bootstrap(gain, generator)
            entry["gain_of_total_percent"] = float(100 * (1 - slots[strategy].sum() / slots["sorted"].sum()))
            print(
                f"g={size} {strategy:13s} gain over sorted {entry['gain_over_sorted_percent']['mean']:6.2f} % "
                f"[{entry['gain_over_sorted_percent']['low']:.2f}, {entry['gain_over_sorted_percent']['high']:.2f}]"
                f"  of total {entry['gain_of_total_percent']:6.2f} %  fit {entry['fit_seconds'] * 1e3:.0f} ms",
                flush=True,
            )
    return result, maps


def study_copies(data: Requests, sizes: tuple[int, ...], counts: tuple[int, ...], copy_mm2: float) -> dict[str, Any]:
    """What copies of the hottest experts add to `balanced`, at the same number of groups, per mm2."""
    generator = np.random.default_rng(0)
    result: dict[str, Any] = {"copy_mm2": copy_mm2}
    for size in sizes:
        num_groups = -(-data.loads.shape[2] // size)
        base = None
        for count in (0, *counts):
            slots = np.zeros(data.loads.shape[:2])
            for fold in range(FOLDS):
                train, test = np.flatnonzero(data.fold != fold), np.flatnonzero(data.fold == fold)
                for layer in range(len(data.loads)):
                    experts = copy_hottest(data.loads[layer, train], count)
                    copies = np.bincount(experts)[experts]
                    groups = search_groups(data.loads[layer, train][:, experts] / copies, num_groups)
                    dealt = deal_copies(data.choices[test, layer], experts).sum(axis=1)
                    slots[layer, test] = makespans(dealt.astype(float), groups)
            if base is None:
                base = slots
                continue
            gain = bootstrap(100 * (1 - slots / base), generator)
            per_area = {key: value / (count * copy_mm2) * 100 for key, value in gain.items()}
            result[f"g={size} copies={count}"] = {
                "gain_over_balanced_percent": gain,
                "area_mm2": count * copy_mm2,
                "gain_percent_per_100_mm2": per_area,
            }
            print(
                f"g={size} {count:2d} copies: makespan {gain['mean']:5.2f} % lower, "
                f"{per_area['mean']:.2f} points per 100 mm2",
                flush=True,
            )
    return result


def study_policies(data: Requests, maps: dict[Any, np.ndarray], sizes: tuple[int, ...], stride: int) -> dict[str, Any]:
    """Slots, loads and open tokens per policy; packed against its bound with and without a limit of open tokens."""
    generator = np.random.default_rng(0)
    policies = [("token_wise", None), ("compact", None), ("reschedule", None), ("packed", None), ("packed", OPEN_LIMIT)]
    judged = np.arange(0, len(data.fold), stride)
    experts = data.loads.shape[2]
    tokens = data.choices.shape[2]
    result: dict[str, Any] = {"requests_judged": len(judged)}
    for size in sizes:
        num_groups = -(-experts // size)
        names = ("uniform",) if size == 1 else ("uniform", "sorted", "balanced")
        rows = [(name, policy, limit) for name in names for policy, limit in policies]
        leaves = {
            k: np.full((len(rows), len(data.loads), len(data.fold)), np.nan) for k in ("makespan", "loads", "open")
        }
        width = max(int((data.fold[judged] == fold).sum()) for fold in range(FOLDS))
        for fold in range(FOLDS):
            chosen = judged[data.fold[judged] == fold]
            if not len(chosen):
                continue
            filled = np.resize(chosen, width)  # the same shape for every fold: one compilation
            trace = RoutingTrace(choices=data.choices[filled], num_tokens=data.num_tokens[filled])
            plans = [SchedulePlan(maps[size, n][fold], policy, limit) for n, policy, limit in rows]
            k = int(data.choices.sum(axis=-1).max())
            table = schedule_table(trace, plans, num_groups=num_groups, max_slots=tokens * k)
            for key, leaf in (("makespan", table.makespan), ("loads", table.loads), ("open", table.open_max)):
                leaves[key][:, :, chosen] = np.asarray(leaf).transpose(0, 2, 1)[:, :, : len(chosen)]
        by_row = {row: i for i, row in enumerate(rows)}
        for (name, policy, limit), i in by_row.items():
            bound = np.maximum(
                leaves["loads"][by_row[name, "token_wise", None]], leaves["makespan"][by_row[name, "compact", None]]
            )
            entry = {
                "slots_per_token": bootstrap(leaves["makespan"][i] / data.num_tokens, generator),
                "loads_per_token": bootstrap(leaves["loads"][i] / data.num_tokens, generator),
                "open_tokens": bootstrap(leaves["open"][i], generator) | {"max": float(np.nanmax(leaves["open"][i]))},
            }
            if policy == "packed":
                ratio = leaves["loads"][i] / bound
                entry["loads_over_bound"] = bootstrap(ratio, generator) | {
                    "worst": float(np.nanmax(ratio)),
                    "share_above_1_percent": float(np.nanmean((ratio > 1.01)[~np.isnan(ratio)])),
                }
                longer = leaves["makespan"][i] / leaves["makespan"][by_row[name, "compact", None]]
                entry["makespan_over_compact_worst"] = float(np.nanmax(longer))
            label = policy if limit is None else f"{policy} open<={limit}"
            result.setdefault(f"g={size}", {}).setdefault(name, {})[label] = entry
            extra = entry.get("loads_over_bound")
            print(
                f"g={size} {name:9s} {label:16s} slots/token {entry['slots_per_token']['mean']:.4f} "
                f"loads/token {entry['loads_per_token']['mean']:.4f} open {entry['open_tokens']['mean']:.1f} "
                f"(max {entry['open_tokens']['max']:.0f})"
                + (f" loads/bound {extra['mean']:.4f} (worst {extra['worst']:.4f})" if extra else ""),
                flush=True,
            )
    return result


def main() -> None:
    """Run the study and write its JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two layers, few requests; for continuous integration")
    parser.add_argument("--stride", type=int, default=3, help="every so many requests are scheduled per policy")
    parser.add_argument("--crossbars-per-expert", type=float, default=96, help="48 + 48 in the paper's layer")
    parser.add_argument("--crossbar-mm2", type=float, default=0.634, help="one crossbar with its peripherals")
    parser.add_argument("--swap-steps", type=int, default=4000, help="steps of the random-swap peer")
    arguments = parser.parse_args()
    copy_mm2 = arguments.crossbars_per_expert * arguments.crossbar_mm2
    file = trace_folder() / DECODE_TRACES
    document: dict[str, Any] = {"folds": FOLDS}
    sources = {}
    if file.is_file():
        layers = [0, 12] if arguments.quick else None
        sources["gptoss20b"] = (load_traces(file), layers)
    else:
        print(f"no real traces at {file.parent}: set PIMJAX_TRACES; the project's own traces only", flush=True)
    sources["own_token_choice"] = (default_traces("token_choice"), None)
    for name, (traces, layers) in sources.items():
        print(f"== {name}", flush=True)
        data = Requests(traces, layers)
        real = name == "gptoss20b"
        stride = (19 if arguments.quick else arguments.stride) if real else 1
        sizes = (2,) if arguments.quick else (2, 4, 8)
        grouping, maps = study_grouping(data, sizes, 200 if arguments.quick else arguments.swap_steps)
        entry: dict[str, Any] = {"layers": len(data.layers), "requests": len(data.fold), "grouping": grouping}
        entry["copies"] = study_copies(data, sizes, (2,) if arguments.quick else (1, 2, 4, 8), copy_mm2)
        maps[1, "uniform"] = np.broadcast_to(
            np.arange(data.loads.shape[2], dtype=np.int32), (FOLDS, *data.loads.shape[::2])
        )
        entry["policies"] = study_policies(data, maps, sizes if arguments.quick else (1, *sizes), stride)
        document[name] = entry
    if not arguments.quick:
        print(f"wrote {write_json('contention_study', document)}")


if __name__ == "__main__":
    main()
