"""Every number of random configurations, in this tree and in another one: what differs, by field, and by how much.

    python benchmarks/validation/compare_commits.py v0.1.0              # a commit, checked out for the purpose
    python benchmarks/validation/compare_commits.py ../other --count 40 # another checkout
    python benchmarks/validation/compare_commits.py HEAD --quick        # eight configurations, writes nothing

200 configurations (benchmarks/lib/random_cases.py: both chips, every option, routing from the generators) at three
fidelities, in float64, each tree in a process of its own through the public interface alone (`load_config`, `estimate`).
A value differs where it is further than --tolerance (relative) away; entries of a table (energy by component, ...)
count relative to themselves or to a billionth of the table's sum, whichever is more. What one tree refuses and the
other accepts is listed apart. Exit status 1 where anything differs. Compiled programs are kept in the system's
temporary folder, so a second comparison with the same commit takes a fraction of the first.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib.harness import write_json
from benchmarks.lib.paths import ROOT
from benchmarks.lib.random_cases import random_cases
from benchmarks.lib.trees import checkout, environment_of, label

FIDELITIES = ("event", "fluid", "closed")
#: Entries of a table below this part of its sum are rounding.
NOTHING = 1e-9
SHOWN = 5


def main() -> None:
    """Compare, or evaluate one tree in a child process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", help="folder of another checkout, or a commit")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", nargs="*", help="names of cases: these alone, nothing is written")
    parser.add_argument("--fidelities", nargs="*", default=list(FIDELITIES), choices=FIDELITIES)
    parser.add_argument("--tolerance", type=float, default=1e-9)
    parser.add_argument("--quick", action="store_true", help="eight configurations, writes nothing")
    parser.add_argument("--evaluate", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.evaluate:
        evaluate(Path(options.other), *options.evaluate)
        return
    cases = random_cases(8 if options.quick else options.count, options.seed)
    cases = [case for case in cases if not options.cases or case["name"] in options.cases]
    with checkout(options.other) as other, tempfile.TemporaryDirectory() as scratch:
        trees = {"this": ROOT, "other": other}
        labels = {name: label(tree) for name, tree in trees.items()}
        begin = time.perf_counter()
        found = run_trees(trees, {"cases": cases, "fidelities": options.fidelities}, Path(scratch))
        seconds = time.perf_counter() - begin
    document = {
        "trees": labels,
        "cases": len(cases),
        "seed": options.seed,
        "tolerance": options.tolerance,
        "seconds": seconds,
        **compare(cases, options.fidelities, found["this"], found["other"], options.tolerance),
    }
    show(document)
    if not (options.quick or options.cases):
        print(f"wrote {write_json('compare_commits', document)}")
    sys.exit(1 if document["different_fields"] or document["refused_by_one"] else 0)


def run_trees(trees: dict[str, Path], work: dict[str, Any], scratch: Path) -> dict[str, dict[str, Any]]:
    """Results of all cases by tree, computed side by side."""
    (scratch / "cases.json").write_text(json.dumps(work), encoding="utf-8")
    running = {}
    for name, tree in trees.items():
        programs = Path(tempfile.gettempdir()) / f"pimjax-compare-{os.getuid() if hasattr(os, 'getuid') else 0}"
        variables = environment_of(
            tree, PIMJAX_CACHE="off", JAX_PLATFORMS="cpu", JAX_COMPILATION_CACHE_DIR=str(programs),
            JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0.5",
        )  # fmt: skip
        command = [sys.executable, str(Path(__file__).resolve()), str(tree), "--evaluate"]
        output = scratch / f"{name}.json"
        running[name] = subprocess.Popen([*command, str(scratch / "cases.json"), str(output)], env=variables)
    try:
        failed = [f"{name} tree: {_ended(process.wait())}" for name, process in running.items() if process.wait()]
    finally:
        for process in running.values():
            process.kill()
    if failed:
        sys.exit("; ".join(failed))
    return {name: json.loads((scratch / f"{name}.json").read_text(encoding="utf-8")) for name in trees}


def _ended(code: int) -> str:
    """How a child ended, in words.

    >>> _ended(-9)
    'the evaluation was ended by signal 9 (from outside, or for want of memory)'
    """
    if code < 0:
        return f"the evaluation was ended by signal {-code} (from outside, or for want of memory)"
    return f"the evaluation ended with exit status {code} (its error stands above)"


def evaluate(tree: Path, cases: Path, output: Path) -> None:
    """Every case by the tree's own package: values by field, or the sentence of the refusal."""
    sys.path.insert(0, str(tree))
    import pimjax

    if not Path(pimjax.__file__).is_relative_to(tree):
        sys.exit(f"{tree}: its pimjax was asked for, but {pimjax.__file__} was imported")
    work = json.loads(cases.read_text(encoding="utf-8"))
    presets = {case["presets"][0]: _known_preset(case["presets"]) for case in work["cases"]}
    found = {}
    for case in work["cases"]:
        for fidelity in work["fidelities"]:
            try:
                config = pimjax.load_config(presets[case["presets"][0]], case["overrides"])
                entry = values(pimjax.estimate(config, fidelity=fidelity))
            except pimjax.PimjaxError as error:
                entry = {"refused": str(error)}
            except Exception as error:  # a mistake of that tree: said beside the case, the others go on
                entry = {"refused": f"{type(error).__name__}: {error}"}
            found[f"{case['name']} {fidelity}"] = entry
    output.write_text(json.dumps(found), encoding="utf-8")


def _known_preset(names: list[str]) -> str:
    import pimjax

    for name in names[:-1]:
        try:
            pimjax.load_config(name)
        except pimjax.PimjaxError:
            continue
        return name
    return names[-1]


def values(result: Any) -> dict[str, Any]:
    """Every field of an estimate as numbers; tables by the names of their entries."""
    import numpy as np

    import pimjax

    components = getattr(result, "components", None) or pimjax.COMPONENTS  # a result may name its own entries
    kinds = getattr(result, "op_kinds", None) or pimjax.OP_KINDS
    out: dict[str, Any] = {}
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if value is None or np.asarray(value).dtype.kind not in "biuf":
            continue
        array = np.asarray(value, np.float64)
        names = kinds if field.name == "op_counts" else components
        if array.ndim == 0:
            out[field.name] = float(array)
        elif field.name == "moe_last_pass_ns" or len(array) != len(names):
            out[field.name] = {str(index): float(entry) for index, entry in enumerate(array)}
        else:
            out[field.name] = {name: float(entry) for name, entry in zip(names, array, strict=True)}
    return out


def compare(
    cases: list[dict[str, Any]],
    fidelities: list[str],
    this: dict[str, Any],
    other: dict[str, Any],
    tolerance: float,
) -> dict[str, Any]:
    """Differences by fidelity and field, and what only one tree accepts or gives.

    >>> made = compare([{"name": "0"}], ["event"], {"0 event": {"latency_ns": 2.0}}, {"0 event": {"latency_ns": 1.0}}, 1e-9)
    >>> made["different_fields"]["event latency_ns"]["largest_relative"]
    0.5
    """
    worst: dict[str, dict[str, Any]] = {}
    refused, only = [], {"this": collections.Counter(), "other": collections.Counter()}
    counts = collections.Counter({"compared": 0, "refused_by_both": 0, "values": 0})
    for case in cases:
        for fidelity in fidelities:
            key = f"{case['name']} {fidelity}"
            left, right = this[key], other[key]
            if "refused" in left or "refused" in right:
                if "refused" in left and "refused" in right:
                    counts["refused_by_both"] += 1
                else:
                    by = "this" if "refused" in left else "other"
                    refused.append({"case": key, "by": by, "why": (left if by == "this" else right)["refused"]})
                continue
            counts["compared"] += 1
            a, b = _flat(left), _flat(right)
            for side, names in (("this", a.keys() - b.keys()), ("other", b.keys() - a.keys())):
                only[side].update(name for name in names if (a if side == "this" else b)[name][0])
            for name in a.keys() & b.keys():
                counts["values"] += 1
                gap = relative_gap(a[name], b[name])
                if gap > tolerance:
                    entry = worst.setdefault(f"{fidelity} {name}", {"differ": 0, "largest_relative": 0.0})
                    entry["differ"] += 1
                    if gap > entry["largest_relative"]:
                        entry |= {
                            "largest_relative": gap,
                            "case": case["name"],
                            "this": a[name][0],
                            "other": b[name][0],
                        }
    ordered = dict(sorted(worst.items(), key=lambda item: -item[1]["largest_relative"]))
    shown = {entry["case"] for entry in list(ordered.values())[:SHOWN]}
    return {
        **counts,
        "different_fields": ordered,
        "refused_by_one": refused,
        "fields_only_in": {side: dict(names) for side, names in only.items()},
        "worst_cases": {case["name"]: case for case in cases if case["name"] in shown},
    }


def _flat(entry: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Name -> value and the least size that counts beside it."""
    out = {}
    for name, value in entry.items():
        if isinstance(value, dict):
            least = NOTHING * sum(abs(one) for one in value.values() if math.isfinite(one))
            out |= {f"{name}.{part}": (one, least) for part, one in value.items()}
        else:
            out[name] = (value, 0.0)
    return out


def relative_gap(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Distance over size; 0 for equal values, both infinite or both not a number, infinite where only one is.

    >>> relative_gap((1.0, 0.0), (1.0, 0.0)), relative_gap((0.0, 1.0), (0.5, 1.0)), relative_gap((0.0, 0.0), (1.0, 0.0))
    (0.0, 0.5, 1.0)
    """
    (x, least), (y, other_least) = a, b
    if x == y or (math.isnan(x) and math.isnan(y)):
        return 0.0
    if not (math.isfinite(x) and math.isfinite(y)):
        return math.inf
    return abs(x - y) / max(abs(x), abs(y), least, other_least)


def show(document: dict[str, Any]) -> None:
    """The comparison for people."""
    trees = document["trees"]
    print(
        f"{trees['this']} against {trees['other']}: {document['compared']} estimates, {document['values']:,} values compared, "
        f"{document['refused_by_both']} refused by both, {document['seconds']:.0f} s"
    )
    for name, entry in document["different_fields"].items():
        print(
            f"  {name:50s} {entry['differ']:4d} differ, at most {entry['largest_relative']:.3g} "
            f"(case {entry['case']}: {entry['this']!r} against {entry['other']!r})"
        )
    for entry in document["refused_by_one"]:
        print(f"  case {entry['case']} refused by {entry['by']} tree only: {entry['why']}")
    for side, names in document["fields_only_in"].items():
        if names:
            print(f"  only in {side} tree, and not zero: {', '.join(sorted(names))}")
    if not document["different_fields"]:
        print(f"  no value differs by more than {document['tolerance']:g}")


if __name__ == "__main__":
    main()
