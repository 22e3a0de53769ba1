"""A chip is one object: a toy registered from outside works everywhere, and nothing outside a chip's folder names it."""

from __future__ import annotations

import ast
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pimjax
from pimjax.chips import CHIPS, without_effect
from pimjax.cli import main
from pimjax.errors import ConfigError
from pimjax.estimation.explain import explain

ROOT = Path(pimjax.__file__).parent
DOCS = ROOT.parent / "docs"
MODEL = {"d_model": 64, "d_ff": 24, "num_heads": 4, "num_layers": 3, "num_experts": 8, "top_k": 2, "vocab_size": 100}


@pytest.fixture
def toy():
    """The chip of docs/extending.md, registered for one test."""
    sys.path.insert(0, str(DOCS))
    try:
        import toy_chip
    finally:
        sys.path.remove(str(DOCS))
    CHIPS.register(toy_chip.CHIP)
    yield toy_chip
    CHIPS.unregister("lanes")


def toy_config(**overrides: Any) -> pimjax.Config:
    base = {"chip_model": "lanes", "model": MODEL, "workload": {"prompt_tokens": 9, "generated_tokens": 4}}
    return pimjax.load_config(base, overrides)


def test_the_toy_is_small_and_imports_no_other_chip(toy) -> None:
    text = Path(toy.__file__).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert "pimjax.chips.multiplexed" not in text
    assert "pimjax.chips.reference" not in text


@pytest.mark.parametrize("lanes", [7.0, 100.0, 4096.0])
def test_event_differs_from_closed_by_the_stated_formula(toy, lanes: float) -> None:
    config = toy_config(**{"hardware.lanes": lanes, "hardware.clock_ghz": 0.8})
    event, closed = (pimjax.estimate(config, fidelity=fidelity) for fidelity in ("event", "closed"))
    per_layer = 64 * 16 * 2 * (4 + 4) + 2 * 2 * 64 * 24
    rounding = (9 + 3) * 3 * (math.ceil(per_layer / lanes) - per_layer / lanes) / 0.8
    assert float(event.latency_ns - closed.latency_ns) == pytest.approx(rounding, rel=1e-9, abs=1e-6)
    assert closed.components == ("products", "weights", "leakage", "lanes")
    assert float(np.sum(closed.critical_ns)) == pytest.approx(float(closed.latency_ns))
    assert set(closed.to_dict()["component_energy_nj"]) == set(closed.components)


def test_the_toy_in_batches_beside_another_chip(toy) -> None:
    configs = [toy_config(**{"hardware.lanes": lanes}) for lanes in (64.0, 128.0)]
    other = pimjax.reference_config(d_model=256, d_ff=64, vocab=300, start_len=4)
    batch = pimjax.estimate_batch([*configs, other], precision="float64")
    assert batch.latency_ns.shape == (3, 1)
    for row, config in enumerate([*configs, other]):
        single = pimjax.estimate(config, fidelity="closed")
        assert float(batch.latency_ns[row, 0]) == pytest.approx(float(single.latency_ns))
        own = dict(zip(single.components, single.busy_ns, strict=True))
        mixed = dict(zip(batch.components, batch.busy_ns[row, 0], strict=True))
        assert {name: value for name, value in mixed.items() if value} == {
            name: pytest.approx(value) for name, value in own.items() if value
        }
    design, _ = pimjax.build(configs[0])
    swept = pimjax.estimate_batch(design.set({"hardware.lanes": np.array([64.0, 128.0])}), precision="float64")
    np.testing.assert_allclose(swept.latency_ns, batch.latency_ns[:2])


def test_the_toy_is_swept(toy, tmp_path) -> None:
    pytest.importorskip("pyarrow")
    file, base = tmp_path / "sweep.yaml", tmp_path / "toy.yaml"
    base.write_text(json.dumps({"chip_model": "lanes", "model": MODEL, "workload": {"prompt_tokens": 9}}))
    axes = [{"field": "hardware.lanes", "values": [64, 128, 256]}, {"field": "model.top_k", "values": [1, 2]}]
    select = {"pareto": ["latency_ns", "area_mm2"]}
    file.write_text(json.dumps({"base": str(base), "axes": axes, "select": select}), encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        main(["sweep", "--config", str(file), "--output", str(tmp_path / "out"), "--json"])
    assert stop.value.code in (0, None)


def test_the_toy_is_tuned(toy, tmp_path) -> None:
    pytest.importorskip("optax")
    base = tmp_path / "toy.yaml"
    base.write_text(json.dumps({"chip_model": "lanes", "model": MODEL, "workload": {"prompt_tokens": 9}}))
    run = {
        "config": str(base),
        "parameters": {"hardware.lanes": {"low": 64, "high": 4096, "scale": "log"}},
        "objective": {"latency_ns": 1, "area_mm2": 1},
        "optimiser": {"steps": 40},
    }
    result = pimjax.tune(pimjax.load_tune_config(run))
    # latency = a / lanes + b and area = c lanes: their product a c + b c lanes is least with the fewest lanes
    assert result.settings["hardware.lanes"] == pytest.approx(64, rel=1e-3)


def test_the_toy_is_explained_and_reported(toy, tmp_path, capsys) -> None:
    config = toy_config()
    report = explain(config, pimjax.estimate(config, fidelity="closed"))
    assert {row["plain"] for row in report["latency_ns"]} == {"products", "reading weights"}
    assert [row["key"] for row in report["assumptions"]] == ["hardware.leakage_w"]
    file = tmp_path / "toy.yaml"
    file.write_text(json.dumps({"chip_model": "lanes", "model": MODEL, "workload": {"prompt_tokens": 9}}))
    with pytest.raises(SystemExit) as stop:
        main(["estimate", str(file), "--fidelity", "closed", "--explain"])
    assert stop.value.code in (0, None)
    out = capsys.readouterr().out
    assert "reading weights" in out
    assert "leakage" in out
    pytest.importorskip("plotly")
    with pytest.raises(SystemExit) as stop:
        main(["report", str(file), "--fidelity", "closed", "--out", str(tmp_path / "toy.html")])
    assert stop.value.code in (0, None)
    assert "reading weights" in (tmp_path / "toy.html").read_text(encoding="utf-8")


def test_registration_is_careful(toy) -> None:
    CHIPS.register(toy.CHIP)  # the same once more: nothing happens
    with pytest.raises(ConfigError, match="registered already"):
        CHIPS.register(toy.LanesChip())
    with pytest.raises(ConfigError, match="did you mean 'lanes'"):
        pimjax.load_config({"chip_model": "lane"})


def test_numbers_of_another_chip_are_dropped_with_a_note_and_unknown_ones_refused(toy) -> None:
    config = toy_config(**{"hardware.mvm_latency_ns": 100.0})
    assert not hasattr(config.hardware, "mvm_latency_ns")
    [note] = without_effect(config)
    assert note.startswith("hardware.mvm_latency_ns has no effect with chip_model: lanes")
    assert "multiplexed" in note
    with pytest.raises(ConfigError, match="unknown key"):
        toy_config(**{"hardware.mvm_latency": 100.0})
    with pytest.raises(ConfigError, match="mvm_latency_ns"):
        toy_config(**{"hardware.mvm_latency_ns": -1.0})


def test_nothing_outside_a_chips_folder_names_it() -> None:
    """String constants that are a chip's name, and imports of a chip's modules; documentation may name what it likes."""
    names = ("multiplexed", "reference", "gpu")
    allowed = {
        ("registry.py", "gpu"),
        # a platform of JAX
        *(
            (place, "gpu")
            for place in ("batch/engine.py", "runs/count_many.py", "schedule/table.py", "cli/commands/doctor.py")
        ),
        ("registry.py", "multiplexed"),
        ("registry.py", "reference"),
        ("__init__.py", "reference"),  # `pimjax.reference_config` is that chip's own public function
        ("reproduction", "reference"),  # keys of the results: `reference` is the authors' value,
        ("reproduction", "multiplexed"),  # `multiplexed` the paper's chip as physics
        ("cli/commands/reproduce.py", "reference"),
        ("cli/commands/reproduce.py", "multiplexed"),
        ("tuning/parameters.py", "reference"),  # the reference value of a power law
        ("report/reproduction_figure.py", "reference"),
        ("report/reproduction_figure.py", "multiplexed"),
    }
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        own = place.split("/")[1] if place.startswith("chips/") and place.count("/") > 1 else None
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef))
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            module = ""
            if isinstance(node, ast.ImportFrom) and node.module:
                module = node.module
            elif isinstance(node, ast.Import):
                module = node.names[0].name
            for name in names:
                if name == own or any(place.startswith(where) and name == what for where, what in allowed):
                    continue
                is_text = isinstance(node, ast.Constant) and node.value == name and id(node) not in docs
                if is_text or module.startswith(f"pimjax.chips.{name}"):
                    found.append(f"{place}:{node.lineno} {name}")  # type: ignore[attr-defined]
    assert not found
