"""The classes of hostile inputs, and what is done with each."""

from __future__ import annotations

import functools
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

import pimjax
from fuzz import places, requests, traces, weights
from fuzz.inputs import (
    KNOWN_KEYS,
    LARGE,
    PRESETS,
    TEXT,
    VALUES,
    changed_mappings,
    config_mappings,
    overrides,
    tiny_configs,
    yaml_texts,
)
from fuzz.runner import FuzzClass, NotPhysical
from pimjax.chips import CHIPS
from pimjax.estimation.result import SCALARS
from pimjax.status import MEANING

FATAL = sum(bit for bit, (_, _, fatal) in MEANING.items() if fatal)
#: A run that is small whatever else is set; keys that make it large are not drawn for estimates.
SMALL = {
    "workload.prompt_tokens": 4, "model.num_layers": 2, "model.d_model": 64, "model.d_ff": 32, "model.vocab_size": 100,
    "model.num_heads": 4, "workload.trace.kind": "uniform",
}  # fmt: skip
SMALL_KEYS = tuple(key for key in KNOWN_KEYS if key not in LARGE)


def check_physical(result: pimjax.Estimate, lane: Any = ()) -> None:
    """Raise unless every figure of a good result can be."""
    good = (np.asarray(result.status) & FATAL) == 0
    for name in (*SCALARS, "busy_ns", "component_energy_nj", "component_area_mm2", "op_counts", "moe_last_pass_ns"):
        if getattr(result, name) is None:
            continue
        figures = np.asarray(getattr(result, name), float)[good]
        if name == "lifetime_years":  # infinite where nothing wears
            figures = figures[figures != np.inf]
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
    _compiled(preset)
    return preset, numbers


@functools.cache
def _base(preset: str) -> pimjax.Config:
    return pimjax.load_config(preset, SMALL)


def _estimated(preset: str, numbers: dict[str, np.ndarray]) -> pimjax.Estimate:
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
        return pimjax.estimate_batch(pimjax.build(_base(preset))[0].set(numbers), fields=fields)


@functools.cache
def _compiled(preset: str) -> None:
    """Compiling is not the time that an input takes."""
    name, value = next((key, one) for key, one in vars(_base(preset).hardware).items() if isinstance(one, float))
    _estimated(preset, {f"hardware.{name}": np.full(LANES, value)})


def _design(value: tuple[str, dict[str, np.ndarray]], folder: Path) -> int:
    preset, numbers = value
    check_physical(_estimated(preset, numbers), list(numbers))
    return LANES


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
        FuzzClass("architecture", "config.json of checkpoints, changed: their layers described", changed_mappings(weights.configurations()), weights.read_architecture, 3),
        FuzzClass("weights", "files of a checkpoint, changed: its layers read", weights.checkpoint_files(), weights.read_checkpoint, 3),
        FuzzClass("npz_bytes", "bytes of a trace, changed: read", traces.trace_bytes("npz"), traces.read_trace, 5),
        FuzzClass("npz_arrays", "arrays of odd kinds and shapes in a trace: read", traces.arrays(), traces.read_trace, 3),
        FuzzClass("jsonl_bytes", "bytes of a routing log, changed: read", traces.trace_bytes("jsonl"), traces.read_trace, 4),
        FuzzClass("jsonl_records", "records of a routing log, changed: read", traces.lines(), traces.read_trace, 3),
        FuzzClass("npy_bytes", "bytes of recorded expert ids, changed: read", traces.trace_bytes("npy"), traces.read_trace, 2),
        FuzzClass("json_bytes", "bytes of a recorded answer, changed: read", traces.trace_bytes("json"), traces.read_trace, 2),
        FuzzClass("requests", "bytes of serving requests, changed: read", requests.request_bytes(), requests.read_requests, 3),
        FuzzClass("sweep", "descriptions of sweeps, changed: validated, planned", changed_mappings([places.SWEEP]), places.plan_sweep, 3),
        FuzzClass("tune", "descriptions of tuning runs, changed: validated, made problems", changed_mappings([places.TUNE]), places.plan_tuning, 2),
        FuzzClass("sweep_folder", "files of a finished sweep, damaged: gone on with", places.damages_of(), places.sweep_folder, 0.5),
        FuzzClass("checkpoint", "files of a tuning checkpoint, damaged: gone on with", places.damages_of(), places.checkpoint, 0.5),
        FuzzClass("command", "command lines, in process, in an empty folder", places.arguments(), places.command, 2),
    ]  # fmt: skip
    return {one.name: one for one in made}
