"""How large the compiled programs are, and how long they take to make, in this tree and in another one.

    python benchmarks/speed/kernel_size.py v0.1.0            # a commit, checked out for the purpose
    python benchmarks/speed/kernel_size.py ../other          # another checkout
    python benchmarks/speed/kernel_size.py HEAD --quick      # no compiling, writes nothing

Of the paper's multiplexed chip, float32: lines of StableHLO, seconds to trace, seconds to compile with everything the
compiler does, for `closed`, `fluid` and the gradient of the energy-delay product in every number of the hardware
(closed). The trees take turns. Beside that: files and named functions of the package that one closed estimate enters,
loading its configuration included and everything imported before.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib import paper_kernel
from benchmarks.lib.harness import environment, write_json
from benchmarks.lib.paths import ROOT
from benchmarks.lib.trees import checkout, environment_of, label

PROGRAMS = ("closed", "fluid", "gradient")
#: Lines that are asked for.
WANTED_LINES = {"closed": 4000, "fluid": 4600}


def main() -> None:
    """Measure both trees, or one program of one tree in a child process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", help="folder of another checkout, or a commit")
    parser.add_argument("--only", nargs="*", choices=(*PROGRAMS, "entered"), help="some of the lines")
    parser.add_argument("--quick", action="store_true", help="lines and tracing only, writes nothing")
    parser.add_argument("--program", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        found = entered() if options.program == "entered" else program(options.program, compiling=not options.quick)
        print(json.dumps(found))
        return
    with checkout(options.other) as other:
        trees = {"this": ROOT, "other": other}
        document: dict[str, Any] = {"trees": {side: label(tree) for side, tree in trees.items()}}
        facts = environment()
        print(
            {key: facts[key] for key in ("device", "cpu_threads_allowed", "python", "jax", "date")}, document["trees"]
        )
        for name in options.only or (*PROGRAMS, "entered"):
            entry: dict[str, Any] = {side: child(tree, name, quick=options.quick) for side, tree in trees.items()}
            numbers = [key for key in entry["this"] if key in entry["other"]]
            entry["ratio"] = {key: entry["this"][key] / entry["other"][key] for key in numbers if entry["other"][key]}
            if name in WANTED_LINES:
                entry["wanted_lines"] = WANTED_LINES[name]
            document[name] = entry
            cells = [f"{key} {entry['this'][key]:,.5g} against {entry['other'][key]:,.5g}" for key in numbers]
            print(f"{name:9s} {', '.join(cells)}", flush=True)
    if not options.quick:
        print(f"wrote {write_json('kernel_size', document)}")


def child(tree: Path, name: str, *, quick: bool) -> dict[str, Any]:
    """One program of one tree, in a new process without any cache."""
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        str(tree),
        "--program",
        name,
        *(["--quick"] if quick else []),
    ]
    done = subprocess.run(
        command, env=environment_of(tree, PIMJAX_CACHE="off", JAX_PLATFORMS="cpu"), capture_output=True, text=True, check=False
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{tree}, {name}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def program(name: str, *, compiling: bool) -> dict[str, Any]:
    """Lines, seconds to trace and to compile of one program of the tree named on the command line."""
    pimjax = paper_kernel.package(Path(sys.argv[1]))
    import jax
    import jax.numpy as jnp

    design, schedule, options = paper_kernel.inputs(pimjax, "fluid" if name == "fluid" else "closed")
    arguments: tuple[Any, ...] = jax.tree.map(jnp.asarray, (design, schedule))
    function: Any = functools.partial(pimjax.estimate_kernel, **options)
    if name == "gradient":

        def product(hardware: Any, design: Any, schedule: Any) -> Any:
            return pimjax.estimate_kernel(design.replace(hardware=hardware), schedule, **options).edp_nj_ns

        function, arguments = jax.grad(product), (arguments[0].hardware, *arguments)
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
