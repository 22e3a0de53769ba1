"""Every line that wants an accelerator, in one command: 8 minutes on one device, compiling included.

    python benchmarks/device_check.py                     # writes benchmarks/results/device_check_<platform>.json
    python benchmarks/device_check.py --dry               # small sizes, on a CPU too; not kept
    python benchmarks/device_check.py --only crossbar     # some lines; the others stay as they are in the result

Needs the project with its core dependencies and a jax that sees the device. Each line runs in a process of its own,
with a time of its own (benchmarks/lib/device_lines.py), in order of importance: a line that fails or is too slow is
recorded with its error, what it had measured until then is kept, and the next one starts. The result is written
after every line. Beside time and rate stand the bound that the device's peaks allow (operations counted from the
program, bytes that enter and leave; benchmarks/lib/roofline.py) and the fraction of it that was reached.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.lib import results
from benchmarks.lib.paths import RESULTS

SECONDS = 480.0
#: With --dry what is asked is whether everything runs, on whatever machine.
DRY_SECONDS = 3600.0
#: From the end of the budget on a line is not begun if less than this is left.
LEAST_S = 10.0


def main() -> None:
    """Run the lines, or one of them in a child process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", "--quick", action="store_true", help="small sizes, result not kept")
    parser.add_argument("--only", nargs="*", help="names of lines")
    parser.add_argument(
        "--seconds", type=float, help=f"for everything; {SECONDS:g} s, with --dry an hour and no limits for lines"
    )
    parser.add_argument("--line", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.line:
        child(options.line, options.output, dry=options.dry)
        return
    if options.seconds is None:
        options.seconds = DRY_SECONDS if options.dry else SECONDS
    sys.exit(0 if check(options) else 1)


def child(name: str, output: Path, *, dry: bool) -> None:
    """One line in this process; its entries are written as they come."""
    from benchmarks.lib.device_lines import LINES
    from benchmarks.lib.harness import environment

    found: dict[str, Any] = {"environment": environment(), "entries": {}}
    results.write(output, found)
    for entry, value in LINES[name].run(dry):
        found["entries"][entry] = value
        results.write(output, found)
        print(f"  {name} {entry}: {described(value)}", flush=True)


def described(entry: dict[str, Any]) -> str:
    """One line on one entry, for people."""
    fraction = entry.get("roofline_fraction")
    share = "" if fraction is None else f", {100 * fraction:.3g} % of the bound by {entry['bound_by']}"
    return (
        f"{entry['per_s']:,.4g} per s, {entry['median_s']:.4g} s a run, compiled in {entry['compile_s']:.1f} s{share}"
    )


def check(options: argparse.Namespace) -> bool:
    """All lines one after the other; False where one gave nothing."""
    names = line_names(options.only)
    begin = time.monotonic()
    document: dict[str, Any] = {}
    good = True
    with tempfile.TemporaryDirectory() as scratch:
        for name, seconds in names.items():
            left = options.seconds - (time.monotonic() - begin)
            if left < LEAST_S:
                line: dict[str, Any] = {"error": f"not begun: {options.seconds:g} s for everything were used up"}
            else:
                line = run_line(
                    name, left if options.dry else min(seconds, left), Path(scratch) / f"{name}.json", dry=options.dry
                )
            facts = line.pop("environment", None)
            if facts and not document:
                document = opened(options, facts)
            good &= "error" not in line
            print(f"{name}: {line.get('error', 'done')} ({line.get('wall_s', 0):.0f} s)", flush=True)
            document.setdefault("lines", {})[name] = line
            if "environment" in document:
                document["seconds"] = time.monotonic() - begin
                results.write(target(document["environment"]["platform"], dry=options.dry), document)
    if "environment" not in document:
        print("nothing was measured: no line could be started", file=sys.stderr)
    else:
        print(f"wrote {target(document['environment']['platform'], dry=options.dry)} after {document['seconds']:.0f} s")
    return good


def line_names(only: list[str] | None) -> dict[str, float]:
    """Chosen lines with their seconds, asked of a child: this process must not hold the device."""
    code = "import json; from benchmarks.lib.device_lines import LINES; print(json.dumps({n: l.seconds for n, l in LINES.items()}))"
    root = str(Path(__file__).resolve().parents[1])
    asked = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    known: dict[str, float] = json.loads(asked.stdout.splitlines()[-1])
    unknown = set(only or ()) - known.keys()
    if unknown:
        sys.exit(f"no line is called {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return {name: seconds for name, seconds in known.items() if not only or name in only}


def target(platform: str, *, dry: bool) -> Path:
    """File of the result."""
    return RESULTS / f"device_check_{platform}{'_quick' if dry else ''}.json"


def opened(options: argparse.Namespace, facts: dict[str, Any]) -> dict[str, Any]:
    """The document to fill: with --only the other lines of the former result stay."""
    script = " ".join(["python benchmarks/device_check.py", *(["--dry"] if options.dry else []),
                       *(["--only", *options.only] if options.only else [])])  # fmt: skip
    document: dict[str, Any] = {"environment": {**facts, "command": script}, "budget_s": options.seconds, "lines": {}}
    former = target(facts["platform"], dry=options.dry)
    if options.only and former.is_file():
        document["lines"] = json.loads(former.read_text(encoding="utf-8"))["lines"]
    return document


def run_line(name: str, seconds: float, output: Path, *, dry: bool) -> dict[str, Any]:
    """One line in a process of its own, ended when its time is over."""
    command = [sys.executable, str(Path(__file__).resolve()), "--line", name, "--output", str(output)]
    begin = time.monotonic()
    error = None
    try:
        done = subprocess.run(
            command + (["--dry"] if dry else []), timeout=seconds, stderr=subprocess.PIPE, text=True, env=os.environ, check=False
        )  # fmt: skip
        if done.returncode:
            last = done.stderr.strip().splitlines()
            error = last[-1][:500] if last else f"exit code {done.returncode}"
            print(done.stderr[-3000:], file=sys.stderr, flush=True)
    except subprocess.TimeoutExpired:
        error = f"stopped after its {seconds:.0f} s"
    line: dict[str, Any] = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {"entries": {}}
    line |= {"budget_s": seconds, "wall_s": time.monotonic() - begin}
    return line if error is None else line | {"error": error}


if __name__ == "__main__":
    main()
