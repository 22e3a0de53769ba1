"""How large the compiled programs are, and how long they take to make, in this tree and in another one.

    python benchmarks/speed/kernel_size.py v0.1.0            # a commit, checked out for the purpose
    python benchmarks/speed/kernel_size.py ../other          # another checkout
    python benchmarks/speed/kernel_size.py HEAD --quick      # no compiling, writes nothing
    python benchmarks/speed/kernel_size.py HEAD --chips dies # with a system around the chip alone; other rows stay

Of the paper's multiplexed chip, float32: lines of StableHLO, seconds to trace, seconds to compile with everything the
compiler does, for `closed`, `fluid` and the gradient of the energy-delay product in every number of the hardware
(closed). The trees take turns. The same chip in further ways (--chips): with dies, wires and links around it, with experts on
digital macros beside crossbars, with both, and with decode steps: lines and tracing alone. A tree that does not know a way has no
numbers of it.
Beside that: files and named functions of the package that one closed estimate enters,
loading its configuration included and everything imported before.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib import paper_kernel
from benchmarks.lib.harness import environment, write_json
from benchmarks.lib.headlines import document as committed
from benchmarks.lib.paper_kernel import CHIPS, MOST_LINES
from benchmarks.lib.paths import ROOT
from benchmarks.lib.trees import checkout, environment_of, label

PROGRAMS = ("closed", "fluid", "gradient")
#: Of the further ways lines and tracing alone.
COMPILED = ("crossbars",)


def main() -> None:
    """Measure both trees, or one program of one tree in a child process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", help="folder of another checkout, or a commit")
    parser.add_argument("--chips", nargs="*", choices=tuple(CHIPS), default=list(CHIPS), help="some of the chips")
    parser.add_argument("--only", nargs="*", choices=(*PROGRAMS, "entered"), help="some of the lines")
    parser.add_argument("--quick", action="store_true", help="lines and tracing only, writes nothing")
    parser.add_argument("--program", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        chip, name = options.program
        found = (
            entered() if name == "entered" else program(chip, name, compiling=not options.quick and chip in COMPILED)
        )
        print(json.dumps(found))
        return
    with checkout(options.other) as other:
        trees = {"this": ROOT, "other": other}
        labels = {side: label(tree) for side, tree in trees.items()}
        document: dict[str, Any] = {"trees": labels}
        if set(options.chips) != set(CHIPS):
            document = (committed("kernel_size") or document).copy()
            document.pop("environment", None)
        facts = environment()
        print({key: facts[key] for key in ("device", "cpu_threads_allowed", "python", "jax", "date")}, labels)
        names = [(chip, name) for chip in options.chips for name in options.only or PROGRAMS if name in PROGRAMS]
        if "crossbars" in options.chips and "entered" in (options.only or ("entered",)):
            names.append(("crossbars", "entered"))
        for chip, name in names:
            row = name if chip == "crossbars" else f"{name}, {chip}"
            document[row] = {**measured(trees, chip, name, quick=options.quick), "trees": labels}
            print(shown(row, document[row]), flush=True)
    if not options.quick:
        print(f"wrote {write_json('kernel_size', document)}")


def measured(trees: dict[str, Path], chip: str, name: str, *, quick: bool) -> dict[str, Any]:
    """One program of both trees."""
    found = {side: child(tree, chip, name, quick=quick) for side, tree in trees.items()}
    entry: dict[str, Any] = {side: numbers for side, numbers in found.items() if numbers}
    this, other = entry["this"], entry.get("other", {})
    entry["ratio"] = {key: this[key] / other[key] for key in this if other.get(key)}
    if (chip, name) in MOST_LINES:
        entry["wanted_lines"] = MOST_LINES[chip, name]
    return entry


def shown(row: str, entry: dict[str, Any]) -> str:
    """A line for a reader."""
    this, other = entry["this"], entry.get("other")
    cells = [f"{key} {this[key]:,.5g}" + (f" against {other[key]:,.5g}" if other else "") for key in this]
    return f"{row:22s} {', '.join(cells)}"


def child(tree: Path, chip: str, name: str, *, quick: bool) -> dict[str, Any]:
    """One program of one tree, in a new process without any cache; nothing where the tree does not know the chip."""
    arguments = [str(tree), "--program", chip, name, *(["--quick"] if quick else [])]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), *arguments],
        env=environment_of(tree, PIMJAX_CACHE="off", JAX_PLATFORMS="cpu"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{tree}, {chip}, {name}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def program(chip: str, name: str, *, compiling: bool) -> dict[str, Any]:
    """Lines, seconds to trace and to compile of one program of the tree named on the command line; nothing where it does not
    know the chip."""
    pimjax = paper_kernel.package(Path(sys.argv[1]))
    import jax

    try:
        function, arguments = paper_kernel.program(pimjax, chip, name)
    except pimjax.PimjaxError:
        if not CHIPS[chip]:
            raise
        return {}
    begin = time.perf_counter()
    lowered = jax.jit(function).lower(*arguments)
    found = {"trace_s": time.perf_counter() - begin}
    found["stablehlo_lines"] = lowered.as_text().count("\n")
    if compiling:
        begin = time.perf_counter()
        lowered.compile()
        found["compile_s"] = time.perf_counter() - begin
        found["trace_and_compile_s"] = found["trace_s"] + found["compile_s"]
    return found


def entered() -> dict[str, Any]:
    """Files and named functions of the package that one closed estimate enters, its configuration loaded anew."""
    pimjax = paper_kernel.package(Path(sys.argv[1]))
    preset = paper_kernel.preset(pimjax)
    pimjax.estimate(pimjax.load_config("paper_reference"), fidelity="closed")  # imports what is imported once
    folder = str(Path(pimjax.__file__).parent)
    functions: set[tuple[str, str]] = set()

    def note(frame: Any, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(folder) and not code.co_name.startswith("<"):
            functions.add((code.co_filename, code.co_qualname))

    sys.setprofile(note)
    try:
        pimjax.estimate(pimjax.load_config(preset), fidelity="closed")
    finally:
        sys.setprofile(None)
    return {"files": len({file for file, _ in functions}), "functions": len(functions)}


if __name__ == "__main__":
    main()
