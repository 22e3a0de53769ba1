"""From the paper's S2O and S4O chips to better ones at equal area, equal energy and equal latency.

    python benchmarks/studies/tune_case_study.py            # writes results/tune_case_study.json
    python benchmarks/studies/tune_case_study.py --quick    # one chip, one target, few steps, writes nothing

S2O and S4O: groups of 2 and 4 experts, load-sorted, rescheduled (arXiv 2602.10254). The crossbar is computed from
circuit parameters so that its parts can be traded (`plan.tile: parametric`, calibrated to HERMES); quantisation noise
is held at 30 dB. The memory is the authors' channel, as theirs is. What may move: nine hardware numbers, the group size
(2 or 4) and the policy (reschedule or packed).
Workloads: the project's own recorded traces, and GPT-OSS-20B's where the folder PIMJAX_TRACES is there, 128 tokens.
Every number of base and result is given by the closed model and by the event engine. Why a parameter moved: what the
tuned chip loses when that parameter alone goes back to its old value.
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

from benchmarks.lib.harness import write_json
from benchmarks.lib.paths import DECODE_TRACES, RESULTS, trace_folder
from benchmarks.lib.tune_case import PARAMETERS
from benchmarks.lib.unsized import unsized
from pimjax.trace import load_traces
from pimjax.tuning import load_tune_config, tune
from pimjax.tuning.evaluate import evaluate
from pimjax.tuning.measures import row
from pimjax.tuning.parameters import unit_at
from pimjax.tuning.problem import Problem, make_problem
from pimjax.tuning.tune import TuneResult

TARGETS = {
    "equal_area": ("edp_nj_ns", "area_mm2"),
    "equal_energy": ("latency_ns", "energy_nj"),
    "equal_latency": ("edap", "latency_ns"),
}

#: What is around the published chips: one LPDDR4 channel with the authors' accounting, and wires that cost nothing.
AUTHORS_SYSTEM = {"memory": "lpddr4", "plan.dram_overlap": "none", "plan.memory_idle": "cached", "system": "none"}

#: Measures by the event engine that are kept of the tuned and of the published chip.
SHOWN = ("latency_ns", "energy_nj", "area_mm2", "gops_per_w_per_mm2")


def study(base: str, group_size: int, target: str, trace: Any, quick: bool) -> dict[str, Any]:
    """One chip, one target."""
    objective, held = TARGETS[target]
    # The first choice is the published chip's; both chips share one compiled program.
    choices = {
        "plan.group_size": {"kind": "categorical", "choices": [group_size, 6 - group_size]},
        "plan.policy": {"kind": "categorical", "choices": ["reschedule", "packed"]},
    }
    limits = [{"measure": measure, "at_most": 1.0, "of_base": True} for measure in dict.fromkeys((held, "area_mm2"))]
    run = {
        "base": base if base == "paper_multiplexed" else unsized(base),
        "set": {"plan.grouping": "sorted", "plan.tile": "parametric", **AUTHORS_SYSTEM},
        "parameters": choices | PARAMETERS,
        "objective": {objective: 1},
        "limits": [*limits, {"measure": "quality", "at_least": 30}],
        "quality": "sqnr",
        "starts": 4 if quick else 8,
        "optimiser": {"steps": 8 if quick else 24, "chunk_steps": 8, "learning_rate": 0.1},
    }
    config = load_tune_config(run)
    result = tune(config, trace=trace)
    moved = {
        key: [value, result.settings[key]]
        for key, value in result.base_settings.items()
        if value != result.settings[key]
    }
    names = ("latency_ns", "energy_nj", "area_mm2")
    ratio = {
        key: float(getattr(result.event, key)) / float(getattr(result.event_base, key))
        for key in names
        if result.event is not None and result.event_base is not None
    }
    closed = {key: result.measures[key] / result.base_measures[key] for key in names}
    print(
        f"{base} S{group_size}O {target}: {result.improvement:.3f} times better; event ratios {ratio}; closed {closed}; moved {moved}",
        flush=True,
    )
    undone = undo(make_problem(config, trace=trace), result, moved)
    return {
        "objective": objective, "held": held, "moved": moved, "undone": undone, "event_ratio": ratio,
        "closed_ratio": closed, **_kept(result.to_dict()),
    }  # fmt: skip


def _kept(found: dict[str, Any]) -> dict[str, Any]:
    """A result without the parts of the event engine's estimates that neither the page nor the figure shows."""
    events = {key: {name: found[key][name] for name in SHOWN} for key in ("event", "event_base") if found.get(key)}
    return {key: events.get(key, value) for key, value in found.items()}


def undo(problem: Problem, result: TuneResult, moved: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Change [%] of objective, latency, energy and area when one moved parameter alone goes back to its old value."""

    def place(settings: dict[str, Any]) -> tuple[np.ndarray, int]:
        values = np.ones(len(problem.start))
        values[: problem.num_parameters] = [settings[name] for name in problem.names]
        unit = np.where(np.arange(len(values)) < problem.num_parameters, unit_at(problem.arrays.box, values), 0.0)
        variant = problem.choices.index({name: settings[name] for name in problem.choices[0]})
        return unit, variant

    points = [place(result.settings)]
    points += [place({**result.settings, name: old}) for name, (old, _) in moved.items()]
    found = evaluate(problem, np.stack([unit for unit, _ in points]), np.array([variant for _, variant in points]))
    out = {}
    for index, name in enumerate(moved, start=1):
        change = found.base[index] - found.base[0]
        measures = ("latency_ns", "energy_nj", "area_mm2")
        out[name] = {key: float(100 * np.expm1(change @ row(key))) for key in measures}
        out[name]["objective"] = float(100 * np.expm1(found.objective[index] - found.objective[0]))
        out[name]["limits_hold"] = bool(found.excess[index] == 0)
        out[name]["possible"] = bool(np.isfinite(found.merit[index]))
    return out


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cache", help="folder for compiled programs")
    parser.add_argument("--bases", nargs="*", default=["paper_multiplexed", "gpt_oss_20b"])
    parser.add_argument("--groups", nargs="*", type=int, default=[2, 4])
    parser.add_argument("--targets", nargs="*", default=list(TARGETS))
    parser.add_argument("--resume", action="store_true", help="keep the other chips of an earlier result")
    arguments = parser.parse_args()
    if arguments.cache:
        jax.config.update("jax_compilation_cache_dir", arguments.cache)
    file = trace_folder() / DECODE_TRACES
    document: dict[str, Any] = {}
    earlier = RESULTS / "tune_case_study.json"
    if arguments.resume and earlier.is_file():
        document = json.loads(earlier.read_text())
        document.pop("environment")
    groups, targets = (
        (arguments.groups[:1], arguments.targets[:1]) if arguments.quick else (arguments.groups, arguments.targets)
    )
    for base in arguments.bases[:1] if arguments.quick else arguments.bases:
        trace = None
        if base == "gpt_oss_20b":
            if not file.is_file():
                print(f"no real traces at {file.parent}: set PIMJAX_TRACES; {base} left out", flush=True)
                continue
            trace = load_traces(file, max_tokens=128).request(0)
        for group_size in groups:
            for target in targets:
                document[f"{base}_S{group_size}O_{target}"] = study(base, group_size, target, trace, arguments.quick)
                if not arguments.quick:
                    write_json("tune_case_study", document)


if __name__ == "__main__":
    main()
