"""Which script of which folder made a result: results carry the name of their script."""

from __future__ import annotations

from pathlib import Path

from benchmarks.lib.paths import ROOT

#: Folders of scripts that measure something and write `results/<name>.json`.
MEASURING = ("studies", "speed", "validation")
#: Scripts of those folders that need another checkout beside this one, transformers and torch, measured GPU times or gigabytes of disk, and
#: what trains the shipped models.
APART = (
    "checkpoint_fixtures",
    "checkpoint_larger_than_memory",
    "compare_commits",
    "first_answers",
    "fit_gpu",
    "gpu_end_to_end",
    "import_parameters",
    "kernel_size",
    "kernel_throughput",
    "trace_capture",
    "train_language_models",
)


def measuring_scripts() -> dict[str, Path]:
    """Name -> path of every script that `benchmarks/run_all.py` runs, sorted by name."""
    found = [path for folder in MEASURING for path in (ROOT / "benchmarks" / folder).glob("*.py")]
    return {path.stem: path for path in sorted(found, key=lambda path: path.stem) if path.stem not in APART}


def script_of(name: str) -> str:
    """Path in the repository of the script called `name`, as commands and pages write it.

    >>> script_of("event_engine")
    'benchmarks/speed/event_engine.py'
    """
    for folder in (*MEASURING, "pages", "."):
        path = ROOT / "benchmarks" / folder / f"{name}.py"
        if path.is_file():
            return path.resolve().relative_to(ROOT).as_posix()
    raise FileNotFoundError(f"no script under benchmarks/ is called {name}.py")
