"""Time to a first answer: commands in new processes, with empty caches and again, in this tree and in another one.

    python benchmarks/speed/first_answers.py v0.1.0                 # a commit, checked out for the purpose
    python benchmarks/speed/first_answers.py ../other --only estimate event
    python benchmarks/speed/first_answers.py HEAD --quick           # `estimate` alone, writes nothing

Cold: caches in a new, empty folder (compiled programs of JAX and of the command line). Warm: the same folder again, the
better of two. The trees take turns command by command, so that whatever else the machine does meets both; the ratio is
this tree's time over the other's. `import jax` alone is what no command can be faster than.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib.harness import environment, write_json
from benchmarks.lib.paths import ROOT
from benchmarks.lib.trees import checkout, environment_of, label

_CACHED = [
    "workload.prompt_tokens=32",
    "workload.generated_tokens=8",
    "workload.prefill=false",
    "workload.kv_cache=true",
]
COMMANDS: dict[str, list[str]] = {
    "import_jax": ["-c", "import jax"],
    "estimate": ["-m", "pimjax", "estimate", "--json"],
    "event": ["-m", "pimjax", "estimate", "--fidelity", "event", "--json"],
    "closed": ["-m", "pimjax", "estimate", "--fidelity", "closed", "--json"],
    "reproduce": ["-m", "pimjax", "reproduce", "--json"],
    "report": ["-m", "pimjax", "report", *(part for key in _CACHED for part in ("--set", key)), "--out", "page.html"],
    "generate": ["-m", "pimjax", "generate", "--set", "model.routing=expert_choice", "--prompt", "512", "--tokens", "128"],
    "generate_beside_gpus": ["-m", "pimjax", "generate", "gpt_oss_20b", "--prompt", "2048", "--tokens", "256", "--batch-sizes", "1,8",
                             "--gpu", "h100_sxm,a100_sxm", "--json"],
}  # fmt: skip
"""What is typed after `python`; the generations are those of docs/caches.md."""
#: Seconds that are asked for on two idle cores, cold and warm.
WANTED: dict[str, tuple[float | None, float | None]] = {
    "estimate": (6.0, 2.0), "event": (4.0, 2.5), "reproduce": (20.0, None), "report": (20.0, None), "generate": (20.0, None),
}  # fmt: skip


def timed(tree: Path, arguments: list[str], caches: Path) -> float:
    """Seconds of one command in a new process with its caches in `caches`."""
    variables = environment_of(
        tree, PIMJAX_CACHE=str(caches / "programs"), XDG_CACHE_HOME=str(caches / "xdg"), JAX_PLATFORMS="cpu"
    )
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], env=variables, cwd=caches, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError(f"python {' '.join(arguments)} in {tree}: {done.stderr.strip()[-1000:]}")
    return seconds


def measure(name: str, trees: dict[str, Path], warm_runs: int) -> dict[str, Any]:
    """Cold and warm seconds of one command in every tree, in turns."""
    entry: dict[str, Any] = {side: {} for side in trees}
    with tempfile.TemporaryDirectory(prefix="pimjax-") as scratch:
        folders = {side: Path(scratch) / side for side in trees}
        for folder in folders.values():
            folder.mkdir()
        for run in range(1 + warm_runs):
            for side, tree in trees.items():
                seconds = timed(tree, COMMANDS[name], folders[side])
                if run == 0:
                    entry[side]["cold_s"] = seconds
                else:
                    entry[side]["warm_s"] = min(seconds, entry[side].get("warm_s", float("inf")))
    for kind, wanted in zip(("cold", "warm"), WANTED.get(name, (None, None)), strict=True):
        entry[f"{kind}_ratio"] = entry["this"][f"{kind}_s"] / entry["other"][f"{kind}_s"]
        entry[f"{kind}_wanted_s"] = wanted
    return entry


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", help="folder of another checkout, or a commit")
    parser.add_argument("--only", nargs="*", choices=COMMANDS, help="names of commands")
    parser.add_argument("--quick", action="store_true", help="`estimate` alone, one warm run, writes nothing")
    options = parser.parse_args()
    names = ["import_jax", "estimate"] if options.quick else options.only or list(COMMANDS)
    with checkout(options.other) as other:
        trees = {"this": ROOT, "other": other}
        document: dict[str, Any] = {"trees": {side: label(tree) for side, tree in trees.items()}, "commands": {}}
        facts = environment()
        print(
            {key: facts[key] for key in ("device", "cpu_threads_allowed", "python", "jax", "date")}, document["trees"]
        )
        for name in names:
            try:
                entry = measure(name, trees, 1 if options.quick else 2)
            except RuntimeError as error:
                document["commands"][name] = {"error": str(error)}
                print(f"{name:21s} {error}", flush=True)
                continue
            document["commands"][name] = entry
            cells = [
                f"{kind} {entry['this'][f'{kind}_s']:6.2f} s against {entry['other'][f'{kind}_s']:6.2f} s ({entry[f'{kind}_ratio']:.2f} x)"
                for kind in ("cold", "warm")
            ]
            print(f"{name:21s} {'   '.join(cells)}", flush=True)
    if not options.quick:
        print(f"wrote {write_json('first_answers', document)}")


if __name__ == "__main__":
    main()
