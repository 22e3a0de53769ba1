"""The long run of the fuzzer: hostile configurations, traces, imports, folders and command lines.

    python benchmarks/validation/fuzz.py                    # at least 50,000 inputs over all classes
    python benchmarks/validation/fuzz.py --quick            # a few of each, writes nothing
    python benchmarks/validation/fuzz.py --only yaml design --inputs 5000 --seed 3

Every input ends in a result or in one sentence of a `PimjaxError`. Counted are exceptions of other kinds, inputs that
take longer than 5 s, and results that are zero, negative or not finite although their status is good: none are wanted.
Exit code 1 if there are any; they are printed with the input that made them. The classes are those of tests/fuzz, whose
slice is part of the tests; there is no clock in a seed, so the same seed draws the same inputs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("PIMJAX_CACHE", "off")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib.fuzzing import classes, run_class
from benchmarks.lib.harness import write_json

INPUTS = 50_000


def main() -> None:
    """Run the classes, print a line for each, write the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=INPUTS, help="inputs of all classes together, at least")
    parser.add_argument("--only", nargs="*", help="names of classes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few inputs of each class, writes nothing")
    options = parser.parse_args()
    found = classes()
    unknown = set(options.only or ()) - set(found)
    if unknown:
        sys.exit(f"no class is called {', '.join(sorted(unknown))}; there are: {', '.join(found)}")
    chosen = [kind for name, kind in found.items() if not options.only or name in options.only]
    wanted = 200 if options.quick else options.inputs
    per_weight = wanted / sum(kind.weight for kind in chosen)
    rows, faults = [], 0
    print(
        f"{'class':14s} {'inputs':>7s} {'accepted':>8s} {'refused':>7s} {'faults':>6s} {'seconds':>8s} {'worst s':>7s}"
    )
    begin = time.perf_counter()
    for kind in chosen:
        run_class(kind, 3, seeded=options.seed + 1)  # what is compiled once is no property of an input
        tally = run_class(kind, max(3, round(per_weight * kind.weight) + 1), seeded=options.seed)
        wrong = tally.unexpected + tally.hangs + tally.not_physical
        faults += wrong
        print(
            f"{kind.name:14s} {tally.inputs:7,d} {tally.accepted:8,d} {tally.refused:7,d} {wrong:6d} {tally.seconds:8.1f} "
            f"{tally.worst_s:7.2f}",
            flush=True,
        )
        for fault in tally.faults[:20]:
            print("   ", fault)
        names = ("inputs", "accepted", "refused", "unexpected", "hangs", "not_physical", "seconds", "worst_s")
        row = {name: getattr(tally, name) for name in names}
        rows.append({"class": kind.name, "about": kind.about} | {n: round(v, 3) for n, v in row.items()})
    total = {name: sum(row[name] for row in rows) for name in ("inputs", "unexpected", "hangs", "not_physical")}
    total["worst_s"] = max(row["worst_s"] for row in rows)
    print(f"{total['inputs']:,} inputs, {faults} faults, {time.perf_counter() - begin:.0f} s")
    if not options.quick:
        print(f"wrote {write_json('fuzz', {'seed': options.seed, 'total': total, 'classes': rows})}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
