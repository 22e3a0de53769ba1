"""Condense committed benchmark results into the small file that `pimjax figure` draws from.

    python benchmarks/pages/figure_data.py            # writes pimjax/data/studies.json
    python benchmarks/pages/figure_data.py --check    # exits 1 if the committed file is not what the results give

Every entry names the command that measured it. A result that is not there yet is left out; the figure then says so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.lib.paths import ROOT
from benchmarks.lib.results import dumps

TARGET = ROOT / "pimjax" / "data" / "studies.json"
QUANTILES = np.linspace(0, 1, 51)


def main() -> None:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    text = dumps(collect()) + "\n"
    if arguments.check:
        if not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != text:
            sys.exit(
                f"{TARGET.relative_to(ROOT)} is not what benchmarks/results gives: run python benchmarks/pages/figure_data.py"
            )
        print(f"{TARGET.relative_to(ROOT)} is up to date")
        return
    TARGET.write_text(text, encoding="utf-8")
    print(f"wrote {TARGET.relative_to(ROOT)} ({len(text):,} bytes)")


def collect() -> dict[str, Any]:
    """Everything that figures need from studies, rounded to six digits."""
    out: dict[str, Any] = {"note": "made by benchmarks/pages/figure_data.py from benchmarks/results and tests/golden"}
    for name, (file, condense) in SOURCES.items():
        path = ROOT / file
        if not path.is_file():
            print(f"{file} is not there: {name} left out", file=sys.stderr)
            continue
        document = json.loads(path.read_text(encoding="utf-8"))
        command = document.get("environment", {}).get("command", "")
        out[name] = {"from": file, "command": command, **condense(document)}
    return _rounded(out)


def _schedule_figure(document: dict[str, Any]) -> dict[str, Any]:
    """The paper's example of scheduling: which experts each token visits; experts numbered from 1."""
    return {key: document[key] for key in ("note", "token_experts", "groups")}


def _loads(document: dict[str, Any]) -> dict[str, Any]:
    """Slots and loads per token of every policy by group size, and how far packed is from the bound."""
    out = {}
    for source, label in (("gptoss20b", "GPT-OSS-20B"), ("own_token_choice", "own model")):
        if source not in document:
            continue
        sizes = {}
        for size, groupings in document[source]["policies"].items():
            if size == "requests_judged":
                continue
            plans = groupings.get("balanced") or groupings["uniform"]
            sizes[size.removeprefix("g=")] = {
                policy: {
                    "slots": plan["slots_per_token"]["mean"],
                    "loads": plan["loads_per_token"]["mean"],
                    "loads_low": plan["loads_per_token"]["low"],
                    "loads_high": plan["loads_per_token"]["high"],
                    **({"over_bound": plan["loads_over_bound"]["mean"]} if "loads_over_bound" in plan else {}),
                }
                for policy, plan in plans.items()
                if policy in ("token_wise", "compact", "reschedule", "packed")
            }
        out[label] = sizes
    return {"models": out}


def _regimes(document: dict[str, Any]) -> dict[str, Any]:
    keys = (
        "units",
        "t_load/t_stage",
        "s",
        "policy",
        "grouping",
        "g",
        "gain_over_token_wise",
        "gain_over_best_without_sharing",
    )
    return {"tokens": document["tokens"], "requests": document["requests"],
            "rows": [{key: row[key] for key in keys} for row in document["regime_map"]]}  # fmt: skip


def _multiplexed_error(document: dict[str, Any]) -> dict[str, Any]:
    """Quantiles of the absolute relative error of the run's latency, by mode and fidelity."""
    out: dict[str, Any] = {}
    for mode, study in document["results"].items():
        out[mode] = {"runs": study["cases"]}
        for fidelity in ("fluid", "closed"):
            errors = [abs(row[fidelity]["latency"]) for row in study["rows"] if fidelity in row]
            if errors:
                out[mode][fidelity] = {
                    "quantiles": np.quantile(errors, QUANTILES).tolist(),
                    "mean": float(np.mean(errors)),
                    "max": float(np.max(errors)),
                }
    return {"modes": out, "at": QUANTILES.tolist()}


def _reference_error(document: dict[str, Any]) -> dict[str, Any]:
    keys = ("mean_percent", "p95_percent", "p99_percent", "max_percent", "runs")
    return {
        "sets": {
            name: {fidelity: {key: study[fidelity][key] for key in keys} for fidelity in ("fluid", "closed")}
            for name, study in document.items()
            if isinstance(study, dict) and isinstance(study.get("fluid"), dict) and "mean_percent" in study["fluid"]
        }
    }


def _perplexity(document: dict[str, Any]) -> dict[str, Any]:
    keys = ("sweep", "value", "perplexity", "tile_energy_nj", "tile_area_mm2")
    rows = [row for row in document["rows"] if "tile_energy_nj" in row]
    return {
        "exact_perplexity": document["exact_perplexity"],
        "held_out_tokens": document["held_out_tokens"],
        "rows": [{key: row[key] for key in keys} for row in rows],
    }


def _tuned(document: dict[str, Any]) -> dict[str, Any]:
    """Measures before and after by the event engine, and what moved."""
    keys = ("latency_ns", "energy_nj", "area_mm2", "gops_per_w_per_mm2")
    out = {}
    for name, study in document.items():
        if isinstance(study, dict) and study.get("event") and study.get("event_base"):
            out[name] = {
                "base": {key: study["event_base"][key] for key in keys},
                "tuned": {key: study["event"][key] for key in keys},
                "moved": study["moved"],
                "improvement": study["improvement"],
            }
    return {"cases": out}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


Condense = Callable[[dict[str, Any]], dict[str, Any]]
#: entry of studies.json -> where it comes from, and what is kept of it
SOURCES: dict[str, tuple[str, Condense]] = {
    "schedule_figure": ("tests/golden/paper_schedule_figure.json", _schedule_figure),
    "loads": ("benchmarks/results/contention_study.json", _loads),
    "regimes": ("benchmarks/results/worth_study.json", _regimes),
    "multiplexed_error": ("benchmarks/results/multiplexed_error.json", _multiplexed_error),
    "reference_error": ("benchmarks/results/reference_error.json", _reference_error),
    "perplexity": ("benchmarks/results/perplexity_study.json", _perplexity),
    "tuned": ("benchmarks/results/tune_case_study.json", _tuned),
}

if __name__ == "__main__":
    main()
