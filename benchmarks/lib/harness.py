"""Shared by the benchmark scripts: what machine this is, compile time apart from run time, atomic JSON."""

from __future__ import annotations

import gc
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np

from benchmarks.lib import results
from benchmarks.lib.paths import RESULTS, ROOT


def environment() -> dict[str, Any]:
    """Device, versions and threads of this process: goes into every result file."""
    device = jax.devices()[0]
    return {
        "command": command(),
        "device": device.device_kind,
        "platform": device.platform,
        "devices": jax.device_count(),
        "cpu_cores": os.cpu_count(),
        "cpu_threads_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "numpy": np.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def command() -> str:
    """What was typed, the script by its path in the repository."""
    script = Path(sys.argv[0]).resolve()
    shown = script.relative_to(ROOT).as_posix() if script.is_relative_to(ROOT) else script.name
    return " ".join(["python", shown, *(shlex.quote(_without_folder(argument)) for argument in sys.argv[1:])])


def _without_folder(argument: str) -> str:
    """Absolute paths say something about a machine only: their last part is enough."""
    return Path(argument).name if argument.startswith("/") else argument


def time_call(function: Callable[[], Any], *, repeats: int = 5) -> dict[str, float]:
    """Median and best wall time [s] of `function()`, blocked until its arrays are ready."""
    samples = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(repeats):
            begin = time.perf_counter()
            jax.block_until_ready(function())
            samples.append(time.perf_counter() - begin)
    finally:
        if collecting:
            gc.enable()
    return {"median_s": statistics.median(samples), "best_s": min(samples), "repeats": repeats}


def time_compiled(function: Callable[..., Any], *arguments: Any, repeats: int = 5) -> dict[str, float]:
    """Compile `function(*arguments)` once, then time the compiled program; compile time stands apart."""
    begin = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    compile_s = time.perf_counter() - begin
    jax.block_until_ready(compiled(*arguments))
    return {"compile_s": compile_s, **time_call(lambda: compiled(*arguments), repeats=repeats)}


def write_json(name: str, payload: dict[str, Any]) -> Path:
    """Write `benchmarks/results/<name>.json` atomically, with the environment and the command."""
    return results.write(RESULTS / f"{name}.json", {"environment": environment(), **payload})
