"""Does tuning by gradient find the optimum with fewer evaluations than search? Six problems, four methods, ten seeds.

A gradient counts as 4 evaluations; where the method takes gradients of the objective and of limits at one point, each
counts. All methods see the same legal points and the same penalty for broken limits and know nothing of the base chip.
Optimum of the enumerable problems: every legal point evaluated in the same fidelity, the best 100 rechecked by the event
engine. Of the others: the best point that any method found in any run, so regret there is against a bound that may still
be improved. Success: within 1 % of the optimum with at least 3 times fewer evaluations than the best baseline, median
over the seeds (a run that never gets there counts as infinite).

    python benchmarks/studies/tune_proof.py                   # writes results/tune_proof.json and .png
    python benchmarks/studies/tune_proof.py --resume --methods gradient random cma   # keeps the runs of the slow TPE
    python benchmarks/studies/tune_proof.py --draw            # the figure again, from the committed result
    python benchmarks/studies/tune_proof.py --quick           # one problem, two seeds, writes nothing
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax
import numpy as np

from benchmarks.lib.harness import write_json
from benchmarks.lib.paths import RESULTS
from benchmarks.lib.tune_problems import PROBLEMS, legal_points, problem_config
from pimjax.errors import CapacityError
from pimjax.estimation import estimate
from pimjax.tuning.baselines import SEARCHES, Trace
from pimjax.tuning.evaluate import evaluate
from pimjax.tuning.problem import Problem, make_problem
from pimjax.tuning.recheck import event_base_quantities
from pimjax.tuning.tune import GRADIENT_COST

BUDGET = 10_000
TPE_BUDGET = 1000
"""Of TPE only: its own time per question grows with the answers so far (30 ms of processor time near the 1,000th, 300
times that of an evaluation), so 10,000 evaluations would take hours per problem."""
#: Every run of every method, for --resume on the machine that made them; large, read by no page, not in git.
RUNS = RESULTS / "tune_proof_runs.json"
CHECKPOINTS = (100, 300, 1000, 3000, 10_000)
SECONDS = np.geomspace(0.01, 300, 60)
CURVE = np.unique(np.round(np.geomspace(4, BUDGET, 80)).astype(int))
WITHIN = np.log(1.01)
CHUNK = 1 << 16
RECHECK_SECONDS = 600.0
"""Of event engine per problem; how many of the best 100 were rechecked is in the result."""


def enumerate_all(problem: Problem) -> dict[str, Any]:
    """Every legal point in the same fidelity; the best 100 by the event engine."""
    counts = np.asarray(problem.arrays.box.level_count)[: problem.num_parameters]
    total = int(np.prod(counts))
    keep_unit, keep_objective = np.zeros((0, len(problem.start))), np.zeros(0)
    begin = time.perf_counter()
    for first in range(0, total, CHUNK):
        index = np.stack(np.unravel_index(np.arange(first, min(total, first + CHUNK)), counts), axis=1)
        unit = np.zeros((len(index), len(problem.start)))
        unit[:, : problem.num_parameters] = index / (counts - 1)
        result = evaluate(problem, unit, np.zeros(len(unit), int))
        objective = np.where((result.excess == 0) & np.isfinite(result.merit), result.objective, np.inf)
        keep_unit, keep_objective = np.concatenate([keep_unit, unit]), np.concatenate([keep_objective, objective])
        best = np.argsort(keep_objective, kind="stable")[:100]
        keep_unit, keep_objective = keep_unit[best], keep_objective[best]
    seconds = time.perf_counter() - begin
    exact: list[float] = []
    begin = time.perf_counter()
    for unit in keep_unit:
        if time.perf_counter() - begin > RECHECK_SECONDS:
            break
        try:
            found = estimate(problem.configuration(unit, 0), problem.trace, "event")
        except CapacityError:
            break
        exact.append(float(event_base_quantities(found) @ np.asarray(problem.arrays.objective)))
    gap = np.array(exact) - keep_objective[: len(exact)]
    return {
        "points": total,
        "seconds": seconds,
        "optimum": float(keep_objective[0]),
        "optimum_settings": problem.settings(keep_unit[0], 0),
        "within_1_percent": int((keep_objective < keep_objective[0] + WITHIN).sum()),
        "event_rechecked": len(exact),
        "event_objective_over_closed_percent": {
            "mean": float(100 * np.mean(np.expm1(gap))),
            "worst": float(100 * np.max(np.abs(np.expm1(gap)))),
        },
        "rank_by_event_of_closed_optimum": int(np.sum(np.array(exact) < exact[0]) + 1),
        "event_regret_of_closed_optimum_percent": float(100 * np.expm1(exact[0] - min(exact))),
    }


def identity(name: str, problem: Problem) -> str:
    """Changes with the problem's description and with what the model says at eight fixed points: runs are kept by it."""
    unit = np.zeros((8, len(problem.start)))
    unit[:, : problem.num_parameters] = np.random.default_rng(0).random((8, problem.num_parameters))
    base = np.round(evaluate(problem, unit, np.zeros(8, int)).base, 7) + 0.0
    description = json.dumps(PROBLEMS[name], sort_keys=True).encode()
    return hashlib.sha256(description + base.tobytes()).hexdigest()[:16]


def summary(traces: list[Trace], optimum: float, budget: int) -> dict[str, Any]:
    """Regret [%] at checkpoints and along the curve (median, quartiles), and evaluations to within 1 %."""

    def regrets(evaluations: int) -> np.ndarray:
        return 100 * np.expm1(np.array([trace.at(evaluations) for trace in traces]) - optimum)

    reached = [trace.reaches(optimum + WITHIN) for trace in traces]
    times = [
        next((s for s, b in zip(trace.seconds, trace.best, strict=True) if b <= optimum + WITHIN), float("inf"))
        for trace in traces
    ]
    points = [int(x) for x in CURVE if x <= budget]
    bands = np.array([np.percentile(regrets(x), (25, 50, 75), method="lower") for x in points])
    return {
        "budget": budget,
        "seeds": len(traces),
        "regret_percent": {str(x): _finite(np.median(regrets(x))) for x in CHECKPOINTS if x <= budget},
        "evaluations_to_1_percent": [_finite(x) for x in reached],
        "median_evaluations_to_1_percent": _finite(np.percentile(reached, 50, method="higher")),
        "median_seconds_to_1_percent": _finite(np.percentile(times, 50, method="higher")),
        "curve": {
            "evaluations": points,
            "low": [_finite(x) for x in bands[:, 0]],
            "median": [_finite(x) for x in bands[:, 1]],
            "high": [_finite(x) for x in bands[:, 2]],
        },
        "curve_over_seconds": _over_seconds(traces, optimum),
    }


def _over_seconds(traces: list[Trace], optimum: float) -> dict[str, Any]:
    """Regret [%] over processor time, median and quartiles, as far as the slowest run went; compilation left out."""
    last = max(trace.elapsed for trace in traces)
    points = [float(x) for x in SECONDS if x <= last] or [float(SECONDS[0])]
    regrets = [[100 * np.expm1(trace.after(x) - optimum) for trace in traces] for x in points]
    bands = np.array([np.percentile(row, (25, 50, 75), method="lower") for row in regrets])
    names = ("low", "median", "high")
    return {"seconds": points, **{name: [_finite(x) for x in bands[:, i]] for i, name in enumerate(names)}}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def solve(
    name: str, arguments: argparse.Namespace, earlier: dict[str, Any], result: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """All methods on one problem: the result, and its runs.

    Runs of `earlier` methods are kept, and of a `result` of before runs were stored the summaries.
    """
    problem = make_problem(problem_config(name))
    points = legal_points(problem.config)
    known = identity(name, problem)
    runs: dict[str, Any] = earlier.get("runs", {}) if earlier.get("identity") == known else {}
    out: dict[str, Any] = {"parameters": problem.num_parameters, "legal_points": points}
    if points and not arguments.quick:
        exhaustive = earlier["exhaustive"] if runs and "exhaustive" in earlier else enumerate_all(problem)
        out["exhaustive"] = exhaustive
        print(f"{name}: {points:,} points in {exhaustive['seconds']:.0f} s", flush=True)
    target = out["exhaustive"]["optimum"] if "exhaustive" in out else -np.inf
    for method in arguments.methods:
        budget = min(arguments.budget, arguments.tpe_budget) if method == "tpe" else arguments.budget
        SEARCHES[method](problem, 200, 0)  # compile
        SEARCHES[method](problem, budget, 0, np.inf)  # the same shapes as below; anything is good enough
        begin = time.process_time()
        found = [SEARCHES[method](problem, budget, seed, target).to_dict() for seed in range(arguments.seeds)]
        runs[method] = {"budget": budget, "seconds": time.process_time() - begin, "seeds": found}
        print(f"  {method} took {runs[method]['seconds']:.0f} s of processor time", flush=True)
    runs = {method: runs[method] for method in SEARCHES if method in runs}
    traces = {method: [Trace.from_dict(item) for item in entry["seeds"]] for method, entry in runs.items()}
    budgets = {method: entry["budget"] for method, entry in runs.items()}
    out["seconds"] = {method: entry["seconds"] for method, entry in runs.items()}
    found = min(trace.at(10**9) for each in traces.values() for trace in each)
    optimum = out["exhaustive"]["optimum"] if "exhaustive" in out else found
    out["optimum"] = optimum
    out["optimum_from"] = "exhaustion" if "exhaustive" in out else "best of all runs"
    summaries = {method: summary(each, optimum, budgets[method]) for method, each in traces.items()}
    kept = {**result.get("methods", {}), **summaries}
    out["methods"] = {method: kept[method] for method in SEARCHES if method in kept}
    mine = out["methods"]["gradient"]["median_evaluations_to_1_percent"]
    others = [out["methods"][m]["median_evaluations_to_1_percent"] for m in out["methods"] if m != "gradient"]
    best = min((x for x in others if x is not None), default=None)
    out["times_fewer_than_best_baseline"] = (best or BUDGET) / mine if mine else None
    out["baselines_reach_1_percent"] = best is not None
    out["success"] = bool(mine and (best or BUDGET) >= 3 * mine)
    for method, entry in out["methods"].items():
        print(
            f"  {method:9s} regret % {entry['regret_percent']}  to 1 %: {entry['median_evaluations_to_1_percent']}",
            flush=True,
        )
    print(f"  -> {out['times_fewer_than_best_baseline']} times fewer, success {out['success']}", flush=True)
    stored = {"identity": known, "runs": runs} | ({"exhaustive": out["exhaustive"]} if "exhaustive" in out else {})
    return out, stored


def draw(document: dict[str, Any]) -> None:
    """Regret over evaluations (above) and over processor time (below) with quartile bands."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    curves = (("curve", "evaluations", "evaluations (a gradient counts as 4)"),
              ("curve_over_seconds", "seconds", "processor time [s], compiled"))  # fmt: skip
    names, floor = list(document), 1e-3
    figure, axes = plt.subplots(2, len(names), figsize=(3.2 * len(names), 6.5), sharey=True, squeeze=False)
    for column, name in enumerate(names):
        for axis, (key, along, label) in zip(axes[:, column], curves, strict=True):
            for method, entry in document[name]["methods"].items():
                if key not in entry:  # a kept result of an earlier version
                    continue
                curve = {k: np.array([np.nan if x is None else x for x in v], float) for k, v in entry[key].items()}
                low, median, high = (np.maximum(curve[band], floor) for band in ("low", "median", "high"))
                axis.plot(curve[along], median, label=method)
                axis.fill_between(curve[along], low, high, alpha=0.2)
            axis.axhline(1.0, color="black", linewidth=0.6, linestyle=":")
            axis.set(xscale="log", yscale="log", ylim=(5e-4, 1e3), xlabel=label)
        axes[0, column].set_title(name, fontsize=9)
    for axis in axes[:, 0]:
        axis.set_ylabel("regret [%]")
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(RESULTS / "tune_proof.png", dpi=110, metadata={"Software": None})
    plt.close(figure)


def list_problems() -> None:
    """Print parameters, legal points and limits of every problem."""
    for name in PROBLEMS:
        config = problem_config(name)
        points = legal_points(config)
        print(f"{name}: {len(config.parameters)} parameters, {f'{points:,} legal points' if points else 'continuous'}")
        for limit in config.limits:
            side = "at most" if limit.at_most is not None else "at least"
            print(f"    {limit.measure} {side} {limit.bound:g}{' of the base chip' if limit.of_base else ''}")


def main() -> None:
    """Run the proof."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--problems", nargs="*", default=list(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--tpe-budget", type=int, default=TPE_BUDGET, help="evaluations of TPE, which is slow itself")
    parser.add_argument("--methods", nargs="*", default=list(SEARCHES))
    parser.add_argument("--cache", help="folder for compiled programs")
    parser.add_argument("--resume", action="store_true", help="keep earlier problems, and runs of methods not named")
    parser.add_argument("--draw", action="store_true", help="draw the figure from the result and stop")
    parser.add_argument("--list", action="store_true", help="print the problems and stop")
    arguments = parser.parse_args()
    if arguments.list:
        list_problems()
        return
    if arguments.draw:
        draw(json.loads((RESULTS / "tune_proof.json").read_text())["problems"])
        return
    if arguments.cache:
        jax.config.update("jax_compilation_cache_dir", arguments.cache)
    if arguments.quick:
        arguments.problems, arguments.seeds, arguments.budget = arguments.problems[:1], 2, 400
    document: dict[str, Any] = {}
    runs: dict[str, Any] = {}
    if arguments.resume:
        runs = json.loads(RUNS.read_text()) if RUNS.is_file() else {}
        document = json.loads((RESULTS / "tune_proof.json").read_text())["problems"]
    for name in arguments.problems:
        document[name], runs[name] = solve(name, arguments, runs.get(name, {}), document.get(name, {}))
        if not arguments.quick:
            document = {known: document[known] for known in PROBLEMS if known in document}
            successes = sum(part["success"] for part in document.values())
            head = {"gradient_counts_as": GRADIENT_COST, "seeds": arguments.seeds, "successes": successes}
            write_json("tune_proof", {**head, "problems": document})
            RUNS.write_text(json.dumps({known: runs[known] for known in PROBLEMS if known in runs}) + "\n")
    if not arguments.quick:
        draw(document)


if __name__ == "__main__":
    main()
