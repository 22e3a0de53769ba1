"""Descriptions of sweeps and tuning runs, folders they leave behind, and command lines."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from fuzz.inputs import (
    EXTREMES,
    KNOWN_KEYS,
    LARGE,
    PRESETS,
    TEXT,
)
from fuzz.runner import NotPhysical
from pimjax.batch.sweep_config import load_sweep
from pimjax.sweep import plan_of, run_sweep
from pimjax.tuning import load_tune_config, make_problem

SWEEP = {
    "base": "paper_reference", "set": {"model.num_layers": 1}, "axes": [
        {"field": "hardware.mvm_latency_ns", "values": [100.0, 120.0, 140.0]}, {"field": "plan.whole_ns", "values": [True, False]}],
    "columns": ["latency_ns", "area_mm2"], "select": {"pareto": ["latency_ns", "area_mm2"], "top": [{"metric": "latency_ns", "count": 2}]},
    "chunk_points": 3, "seed": 1,
}  # fmt: skip
TUNE = {
    "base": "paper_reference", "set": {"plan.whole_ns": False}, "objective": {"latency_ns": 1, "energy_nj": 0.5},
    "parameters": {"core_speed": {"low": 0.5, "high": 2.0, "start": 1.0, "drives": {"hardware.mvm_latency_ns": -1}},
                   "hardware.num_digital_units": {"kind": "integer", "low": 1, "high": 8}},
    "limits": [{"measure": "area_mm2", "at_most": 5000}], "starts": 2, "optimiser": {"steps": 4, "chunk_steps": 2},
}  # fmt: skip


def plan_sweep(content: dict[str, Any], folder: Path) -> None:
    plan_of(load_sweep(content))


def plan_tuning(content: dict[str, Any], folder: Path) -> None:
    made = load_tune_config(content)
    if made.base in PRESETS and len(made.parameters) < 4 and not made.set.keys() & LARGE:
        make_problem(made)


@functools.cache
def _finished() -> Path:
    """A finished sweep, kept until the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="pimjax-fuzz-")) / "sweep"
    assert run_sweep(_small_sweep(), folder).complete
    return folder


def _small_sweep() -> Any:
    return load_sweep(SWEEP | {"format": "csv", "axes": SWEEP["axes"][:1]})


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.csv")) if p.is_file()}


@st.composite
def damages_of(draw: st.DrawFn) -> list[tuple[int, str, bytes]]:
    """(which file, what to do, bytes) for one or two files of a folder."""
    actions = st.sampled_from(["lost", "cut", "replaced", "changed", "folder"])
    return draw(st.lists(st.tuples(st.integers(0, 60), actions, st.binary(max_size=40)), min_size=1, max_size=2))


def damage(folder: Path, damages: list[tuple[int, str, bytes]]) -> None:
    """Apply damages to a folder's files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for number, action, content in damages:
        file = files[number % len(files)]
        if not file.is_file():
            continue
        held = file.read_bytes()
        match action:
            case "lost":
                file.unlink()
            case "cut":
                file.write_bytes(held[: len(held) // 2])
            case "replaced":
                file.write_bytes(content)
            case "changed":
                at = number * 7919 % max(len(held), 1)
                file.write_bytes(held[:at] + bytes([held[at] ^ 1]) + held[at + 1 :] if held else content)
            case "folder":
                file.unlink()
                file.mkdir()


def sweep_folder(damages: list[tuple[int, str, bytes]], folder: Path) -> None:
    own = folder / "sweep"
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(_finished(), own)
    damage(own, damages)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        outcome = run_sweep(_small_sweep(), own)
    if not outcome.complete or _contents(own) != _contents(_finished()):
        raise NotPhysical("a damaged folder was called complete, or holds other rows")


@functools.cache
def _stopped() -> tuple[Any, Any, Path]:
    """A tuning problem, the lanes of its starts, and a checkpoint of them."""
    from pimjax.tuning.checkpoint import save_lanes
    from pimjax.tuning.descent import start_lanes

    problem = make_problem(load_tune_config(TUNE))
    lanes = start_lanes(problem, np.full((2, problem.num_parameters), 0.5), np.zeros(2, int))
    folder = Path(tempfile.mkdtemp(prefix="pimjax-fuzz-")) / "state"
    save_lanes(folder, problem, lanes)
    return problem, lanes, folder


def checkpoint(damages: list[tuple[int, str, bytes]], folder: Path) -> None:
    from pimjax.tuning.checkpoint import restore_lanes

    problem, lanes, whole = _stopped()
    own = folder / "state"
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(whole, own)
    damage(own, damages)
    restored = restore_lanes(own, problem, lanes, lambda sentence: None)
    if restored is not None and not np.isfinite(np.asarray(restored.unit)).all():
        raise NotPhysical("a checkpoint of numbers that are not finite")


COMMANDS = (
    "validate",
    "validate",
    "presets",
    "schema",
    "init",
    "trace",
    "compare",
    "estimate",
    "figure",
    "report",
    "sweep",
    "tune",
)
WORDS = ("paper_reference", "token_choice", "config", "sweep", "inspect", "convert", "generate", "zipf", "out.npz", "out.yaml", "missing.npz", "-", "--",
         "--json", "--set", "hardware.mvm_latency_ns=", "model.d_model=64", "plan=3", "=", "a=b=c", "--trace", "--request", "--fidelity", "closed",
         "--output", "--out", "--explain", "--max-tokens", "0", "-1", "1e400", "nan", "--kind", "--num-experts", "--format", "[/red]", "\x1b[31m", ".", "/dev/null")  # fmt: skip


@st.composite
def arguments(draw: st.DrawFn) -> list[str]:
    odd = st.sampled_from([str(value)[:300] for value in EXTREMES])
    word = st.one_of(st.sampled_from(WORDS), st.sampled_from(WORDS), odd, TEXT)
    setting = st.tuples(st.sampled_from(KNOWN_KEYS), odd).map(lambda pair: f"{pair[0]}={pair[1]}")
    pair = st.one_of(word.map(lambda one: [one]), setting.map(lambda one: ["--set", one]))
    command = draw(st.sampled_from(COMMANDS))
    if command in ("report", "sweep", "tune", "figure"):  # without a file they compute for long
        return [
            command,
            draw(st.sampled_from(["missing.yaml", "-", "/dev/null", "", "a\x00b", "[/red]", "a" * 5000, "out"])),
            *draw(pair),
        ]
    return [command, *(word for words in draw(st.lists(pair, max_size=4)) for word in words)]


def command(arguments: list[str], folder: Path) -> None:
    from pimjax.cli import main

    before = os.getcwd()
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    own = folder / "work"
    own.mkdir(exist_ok=True)
    os.chdir(own)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            main(arguments)
    except SystemExit as stop:
        code = stop.code
    finally:
        os.chdir(before)
        shutil.rmtree(own, ignore_errors=True)
    if code not in (0, 1, 2, None) or "Traceback" in err.getvalue():
        raise RuntimeError(f"exit code {code}: {err.getvalue()[-300:]}")
    if any(letter in err.getvalue() + out.getvalue() for letter in ("\x1b[31m", "\x00")):
        raise RuntimeError("control characters of an argument were printed")
