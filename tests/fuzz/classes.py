"""The classes of hostile inputs, and what is done with each."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from fuzz.inputs import (
    EXTREMES,
    KNOWN_KEYS,
    TEXT,
    VALUES,
    changed_bytes,
    changed_mappings,
    config_mappings,
    overrides,
    tiny_configs,
    yaml_texts,
)
from fuzz.runner import FuzzClass, NotPhysical
from hypothesis import strategies as st

import pimjax
from pimjax.batch.sweep_config import load_sweep
from pimjax.chips import CHIPS
from pimjax.config.model import ModelConfig
from pimjax.estimation.result import SCALARS
from pimjax.status import MEANING
from pimjax.sweep import plan_of, run_sweep
from pimjax.trace import RoutingTrace
from pimjax.tuning import load_tune_config, make_problem

PRESETS = ("paper_multiplexed", "paper_reference")
FATAL = sum(bit for bit, (_, _, fatal) in MEANING.items() if fatal)
#: A run that is small whatever else is set; keys that make it large are not drawn for estimates.
SMALL = {
    "workload.prompt_tokens": 4, "model.num_layers": 2, "model.d_model": 64, "model.d_ff": 32, "model.vocab_size": 100,
    "model.num_heads": 4, "workload.trace.kind": "uniform",
}  # fmt: skip
_LARGE = {
    "workload.prompt_tokens", "workload.generated_tokens", "workload.batch_size", "workload.max_context_tokens", "workload.trace",
    "model.num_layers", "model.num_experts", "model.top_k", "plan.copies", "plan.group_size", "model.layer_types", "model.moe_layers",
}  # fmt: skip
SMALL_KEYS = tuple(key for key in KNOWN_KEYS if key not in _LARGE)


def check_physical(result: pimjax.Estimate, lane: Any = ()) -> None:
    """Raise unless every figure of a good result can be."""
    good = (np.asarray(result.status) & FATAL) == 0
    for name in (*SCALARS, "busy_ns", "component_energy_nj", "component_area_mm2", "op_counts", "moe_last_pass_ns"):
        if getattr(result, name) is None:
            continue
        figures = np.asarray(getattr(result, name), float)[good]
        if not (np.isfinite(figures).all() and (figures >= 0).all()):
            raise NotPhysical(f"{name} is {figures.min() if figures.size else figures} {lane}")
    for name in ("latency_ns", "energy_nj", "area_mm2"):
        if getattr(result, name) is not None and not (np.asarray(getattr(result, name))[good] > 0).all():
            raise NotPhysical(f"{name} is zero {lane}")


# --- configurations ---------------------------------------------------------------------------------------------


def _yaml(text: str, folder: Path) -> None:
    file = folder / "config.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    pimjax.build(pimjax.load_config(file))


def _mapping(value: tuple[dict[str, Any], dict[str, Any]], folder: Path) -> None:
    content, changes = value
    pimjax.build(pimjax.load_config(content, changes))


def _config_json(content: dict[str, Any], folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(content, default=str), encoding="utf-8")
    config = pimjax.load_config(file)
    if not pimjax.config.parameter_count(config.model).total > 0:
        raise NotPhysical("a model without parameters")


def _estimate(value: tuple[str, dict[str, Any], str], folder: Path) -> None:
    preset, changes, fidelity = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # overflow is said by the status
        check_physical(pimjax.estimate(pimjax.load_config(preset, SMALL | changes), fidelity=fidelity), value)


LANES = 64
MODEL = ModelConfig(num_layers=1, num_experts=4, top_k=2)


@st.composite
def _designs(draw: st.DrawFn) -> tuple[str, dict[str, np.ndarray]]:
    """A chip, and hardware numbers `[LANES]` of which a few are odd in each lane."""
    preset = draw(st.sampled_from(PRESETS))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    odd = np.array(
        [0.0, -0.0, -1.0, 1e-300, 1e-30, 1e-5, 0.3, 1.5, 8.5, 1e5, 1e12, 1e30, 1e38, 1e300, np.inf, -np.inf, np.nan]
    )
    base = _base(preset)
    chip = CHIPS[base.chip_model]
    numbers: dict[str, np.ndarray] = {}
    for name in draw(
        st.lists(
            st.sampled_from(sorted(set(chip.hardware.model_fields) - set(chip.input_fields))),
            min_size=1,
            max_size=8,
            unique=True,
        )
    ):
        value = getattr(base.hardware, name)
        usual = float(value if value is not None else 8.0) * np.exp(random.normal(size=LANES))
        numbers[f"hardware.{name}"] = np.where(random.random(LANES) < 0.3, random.choice(odd, LANES), usual)
    return preset, numbers


@functools.cache
def _base(preset: str) -> pimjax.Config:
    return pimjax.load_config(preset, SMALL)


def _design(value: tuple[str, dict[str, np.ndarray]], folder: Path) -> int:
    preset, numbers = value
    fields = [
        "latency_ns",
        "energy_nj",
        "area_mm2",
        "flops",
        "edp_nj_ns",
        "tokens_per_s",
        "gops_per_w_per_mm2",
        "component_energy_nj",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = pimjax.estimate_batch(pimjax.build(_base(preset))[0].set(numbers), fields=fields)
    check_physical(found, list(numbers))
    return LANES


# --- traces -----------------------------------------------------------------------------------------------------


@functools.cache
def _trace_files() -> dict[str, list[bytes]]:
    """Valid files by ending."""
    made: dict[str, list[bytes]] = {"npz": [], "jsonl": [], "npy": [], "json": []}
    ids = np.array([[0, 1], [1, 2], [2, 3]])
    trace = RoutingTrace.from_expert_ids(ids, 4)
    with tempfile.TemporaryDirectory() as place:
        for ending in ("npz", "jsonl"):
            target = Path(place) / f"trace.{ending}"
            if ending == "npz":
                trace.save(target)
            else:
                pimjax.trace.write_router_log(trace, target)
            made[ending].append(target.read_bytes())
    buffer = io.BytesIO()
    np.save(buffer, ids.reshape(3, 1, 2).astype(np.int32))
    made["npy"].append(buffer.getvalue())
    made["json"].append(json.dumps({"routed_experts": ids.reshape(3, 1, 2).tolist()}).encode())
    return made


def _read_trace(value: tuple[str, bytes, str], folder: Path) -> None:
    ending, content, log_format = value
    file = folder / f"trace.{ending}"
    file.write_bytes(content)
    options: dict[str, Any] = {} if ending == "npz" else {"model": MODEL}
    trace = pimjax.load_traces(file, format=log_format, **options)
    choices = np.asarray(trace.choices)
    if choices.dtype != bool or choices.ndim not in (3, 4) or 0 in choices.shape:
        raise NotPhysical(f"choices of shape {choices.shape}")


_FORMATS = st.sampled_from(["auto", "auto", "auto", "pimjax", "vllm", "sglang", "transformers"])


def _trace_bytes(ending: str) -> st.SearchStrategy[tuple[str, bytes, str]]:
    formats = st.just("vllm") if ending in ("npy", "json") else _FORMATS
    return st.tuples(st.just(ending), changed_bytes(_trace_files()[ending]), formats)


@st.composite
def _arrays(draw: st.DrawFn) -> tuple[str, bytes, str]:
    """An .npz file whose arrays have odd names, kinds and shapes."""
    names = (
        "choices",
        "num_tokens",
        "gate_scores",
        "expert_order",
        "layer_ids",
        "metadata",
        "schema_version",
        "kind",
        "routed_experts",
    )
    arrays: dict[str, Any] = {"choices": np.eye(4, dtype=bool)[None], "num_tokens": np.int32(4)}
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True)):
        shape = tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
        dtype = draw(
            st.sampled_from(
                ["bool", "int32", "int64", "uint8", "float16", "float32", "float64", "U5", "complex64", "S3"]
            )
        )
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arrays[name] = np.full(shape, draw(st.sampled_from([0, 1, 2, 255, -1, 0.5])), "float64").astype(dtype)
    if draw(st.booleans()):
        arrays.pop(draw(st.sampled_from(sorted(arrays))))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return "npz", buffer.getvalue(), draw(_FORMATS)


@st.composite
def _lines(draw: st.DrawFn) -> tuple[str, bytes, str]:
    """A JSON Lines log with odd records."""
    header = {"num_experts": 4, "top_k": 2}
    records = [
        {"request": "a", "layer": 0, "token": index, "experts": [index % 4, (index + 1) % 4]} for index in range(3)
    ]
    changed = [
        draw(changed_mappings([header, *records])) if draw(st.booleans()) else record for record in [header, *records]
    ]
    return "jsonl", "\n".join(json.dumps(record, default=str) for record in changed).encode(), draw(_FORMATS)


# --- descriptions, folders, commands ----------------------------------------------------------------------------

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


def _sweep(content: dict[str, Any], folder: Path) -> None:
    plan_of(load_sweep(content))


def _tune(content: dict[str, Any], folder: Path) -> None:
    made = load_tune_config(content)
    if made.base in PRESETS and len(made.parameters) < 4 and not made.set.keys() & _LARGE:
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
def _damages(draw: st.DrawFn) -> list[tuple[int, str, bytes]]:
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


def _sweep_folder(damages: list[tuple[int, str, bytes]], folder: Path) -> None:
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


def _checkpoint(damages: list[tuple[int, str, bytes]], folder: Path) -> None:
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
def _arguments(draw: st.DrawFn) -> list[str]:
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


def _command(arguments: list[str], folder: Path) -> None:
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


def classes() -> dict[str, FuzzClass]:
    """Every class by name."""
    changes = st.one_of(st.just({}), overrides(), st.dictionaries(TEXT, VALUES, max_size=2))
    estimates = st.tuples(
        st.sampled_from(PRESETS), overrides(SMALL_KEYS, most=5), st.sampled_from(["closed", "closed", "event"])
    )
    made = [
        FuzzClass("yaml", "text of a configuration file: read, validated, built", yaml_texts(), _yaml, 10),
        FuzzClass("mapping", "nested mappings and dotted overrides: validated, built", st.tuples(config_mappings(), changes), _mapping, 10),
        FuzzClass("estimate", "small configurations: estimated, closed and exact", estimates, _estimate, 4),
        FuzzClass("design", f"{LANES} lanes of hardware numbers as arrays: estimated in a batch", _designs(), _design, 0.25),
        FuzzClass("config_json", "config.json of 79 families, changed: imported", changed_mappings(tiny_configs()), _config_json, 6),
        FuzzClass("npz_bytes", "bytes of a trace, changed: read", _trace_bytes("npz"), _read_trace, 5),
        FuzzClass("npz_arrays", "arrays of odd kinds and shapes in a trace: read", _arrays(), _read_trace, 3),
        FuzzClass("jsonl_bytes", "bytes of a routing log, changed: read", _trace_bytes("jsonl"), _read_trace, 4),
        FuzzClass("jsonl_records", "records of a routing log, changed: read", _lines(), _read_trace, 3),
        FuzzClass("npy_bytes", "bytes of recorded expert ids, changed: read", _trace_bytes("npy"), _read_trace, 2),
        FuzzClass("json_bytes", "bytes of a recorded answer, changed: read", _trace_bytes("json"), _read_trace, 2),
        FuzzClass("sweep", "descriptions of sweeps, changed: validated, planned", changed_mappings([SWEEP]), _sweep, 3),
        FuzzClass("tune", "descriptions of tuning runs, changed: validated, made problems", changed_mappings([TUNE]), _tune, 2),
        FuzzClass("sweep_folder", "files of a finished sweep, damaged: gone on with", _damages(), _sweep_folder, 0.5),
        FuzzClass("checkpoint", "files of a tuning checkpoint, damaged: gone on with", _damages(), _checkpoint, 0.5),
        FuzzClass("command", "command lines, in process, in an empty folder", _arguments(), _command, 2),
    ]  # fmt: skip
    return {one.name: one for one in made}
