"""Every benchmark of the project: run them, or show what was measured, in one table.

python benchmarks/run_all.py --collect    # no runs: one table and results/summary.json from the committed results
python benchmarks/run_all.py --quick      # a small slice of each script; results are thrown away
python benchmarks/run_all.py --run        # everything, results into benchmarks/results (hours on two cores)
python benchmarks/run_all.py --run --only reference_speed event_engine
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.lib import results
from benchmarks.lib.headlines import HEADLINES, document, shown, value_at
from benchmarks.lib.paths import COMMITTED, ROOT
from benchmarks.lib.scripts import measuring_scripts, script_of


def main() -> None:
    """Run the scripts (exit 1 if one failed) or collect their results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--collect", action="store_true", help="only read committed results")
    mode.add_argument("--run", action="store_true", help="run every script in full (the default)")
    mode.add_argument("--quick", action="store_true", help="a small slice of each script, results not kept")
    parser.add_argument("--only", nargs="*", help="names of scripts")
    arguments = parser.parse_args()
    names = script_names(arguments.only)
    if not arguments.collect:
        run_scripts(names, quick=arguments.quick)
    if not arguments.quick:
        collect(names)


def script_names(only: list[str] | None = None) -> list[str]:
    """Names of the benchmark scripts, sorted."""
    names = list(measuring_scripts())
    unknown = set(only or ()) - set(names)
    if unknown:
        sys.exit(f"no benchmark is called {', '.join(sorted(unknown))}; there are: {', '.join(names)}")
    return [name for name in names if not only or name in only]


def run_scripts(names: list[str], *, quick: bool) -> None:
    """Run scripts one after the other; what a failing one printed is shown."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    failed = []
    scripts = measuring_scripts()
    with tempfile.TemporaryDirectory() as scratch:
        if quick:
            environment["PIMJAX_BENCHMARK_RESULTS"] = scratch
        for name in names:
            begin = time.perf_counter()
            command = [sys.executable, str(scripts[name]), *(["--quick"] if quick else [])]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - begin
            print(f"{'ok' if done.returncode == 0 else 'FAILED':<7} {name:<28} {seconds:7.1f} s", flush=True)
            if done.returncode:
                failed.append(name)
                print(done.stdout[-2000:], done.stderr[-4000:], sep="\n")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def collect(names: list[str]) -> None:
    """Print one table of all results and write results/summary.json."""
    rows = summary(names)
    columns = ("benchmark", "measures", "result", "device", "jax", "date")
    cells = [[str(row[column]) for column in columns] for row in rows]
    widths = [max(len(column), *(len(row[i]) for row in cells)) for i, column in enumerate(columns)]
    for line in (list(columns), ["-" * width for width in widths], *cells):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    target = Path(os.environ.get("PIMJAX_BENCHMARK_RESULTS", COMMITTED)) / "summary.json"
    print(f"wrote {results.write(target, {'rows': rows})}")


def summary(names: list[str]) -> list[dict[str, Any]]:
    """One row a headline number; a benchmark without result, or without headline, has one row too."""
    rows = []
    for name in names:
        found = document(name)
        facts = (found or {}).get("environment", {})
        common = {"device": facts.get("device", "-"), "jax": facts.get("jax", "-"), "date": facts.get("date", "-"), "command": facts.get("command", f"python {script_of(name)}"),
                  "versions": {key: facts[key] for key in ("python", "jax", "jaxlib", "numpy") if key in facts}}  # fmt: skip
        headlines = [headline for headline in HEADLINES if headline.file == name]
        if found is None or not headlines:
            rows.append(
                {
                    "benchmark": name,
                    "measures": "",
                    "result": "see its JSON" if found else "not measured",
                    "value": None,
                    **common,
                }
            )
            continue
        for headline in headlines:
            value = value_at(found, headline.path)
            rows.append(
                {
                    "benchmark": name,
                    "measures": headline.about,
                    "result": shown(headline, value),
                    "value": value,
                    **common,
                }
            )
    return rows


if __name__ == "__main__":
    main()
