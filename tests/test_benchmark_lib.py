"""What the benchmark scripts share: every path that is quoted exists, scripts stand alone, rows are short, learned groups."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pimjax
from benchmarks import device_check
from benchmarks.lib.harness import command
from benchmarks.lib.learned_groups import learn_groups, sinkhorn, soft_makespan
from benchmarks.lib.paper_kernel import MOST_LINES, program
from benchmarks.lib.paths import ROOT
from benchmarks.lib.random_cases import random_cases
from benchmarks.lib.results import dumps, write
from benchmarks.lib.roofline import against_bound, work_of
from benchmarks.lib.scripts import measuring_scripts, script_of
from benchmarks.lib.workloads import cost_program, kernel_inputs, vary_hardware
from benchmarks.validation import compare_commits
from pimjax.config import build, load_config
from pimjax.config.presets import list_presets

BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = sorted(path for path in BENCHMARKS.rglob("*.py") if path.parent.name != "lib" and path.stem != "__init__")
QUOTING = ("README.md", "CONTRIBUTING.md", ".ci/run", "pyproject.toml", "docs", "pimjax", "tests", "benchmarks")


def _texts() -> list[Path]:
    """Files of the repository that may quote a path of a script."""
    kinds = (".py", ".md", ".json", ".toml", ".yaml", "")
    found = []
    for place in QUOTING:
        path = ROOT / place
        found += [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file() and one.suffix in kinds]
    return [path for path in found if "generated" not in path.parts and "_build" not in path.parts]


def test_every_quoted_path_of_a_script_exists() -> None:
    dead = set()
    for path in _texts():
        for quoted in re.findall(r"benchmarks/[\w/]+\.(?:py|json|png)\b", path.read_text(encoding="utf-8")):
            if not (ROOT / quoted).is_file() and "device_check_" not in quoted:
                dead.add(f"{path.relative_to(ROOT)}: {quoted}")
    assert not dead


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(BENCHMARKS).as_posix())
def test_a_script_imports_the_package_and_lib_only(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    names = {one.stem for one in SCRIPTS}
    for node in ast.walk(ast.parse(text)):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            assert not module.startswith("benchmarks.") or module.startswith("benchmarks.lib"), module
            assert module not in names | {"oracles", "tests", "harness"}, f"{module}: what scripts share is in lib"
    assert f"python {path.relative_to(ROOT).as_posix()}" in text, "the docstring says how to run it"


def test_results_carry_the_command_of_a_script_that_exists() -> None:
    for path in (BENCHMARKS / "results").glob("*.json"):
        facts = json.loads(path.read_text(encoding="utf-8")).get("environment", {})
        for script in re.findall(r"python (\S+\.py)", facts.get("command", "")):
            assert (ROOT / script).is_file(), f"{path.name}: {script}"


def test_scripts_are_found_by_the_name_of_their_result(monkeypatch) -> None:
    assert script_of("event_engine") == "benchmarks/speed/event_engine.py"
    assert "harness" not in measuring_scripts()
    with pytest.raises(FileNotFoundError, match=r"no_such\.py"):
        script_of("no_such")
    monkeypatch.setattr("sys.argv", [str(BENCHMARKS / "speed" / "event_engine.py"), "--peer", "/usr/bin/python"])
    assert command() == "python benchmarks/speed/event_engine.py --peer python"


def test_results_are_short_in_lines_and_read_back(tmp_path) -> None:
    document = {"about": "x" * 200, "rows": [{"size": n, "inside": {"a": 0.1 * n}} for n in range(40)], "none": {}}
    text = dumps(document)
    assert json.loads(text) == document
    assert text.count("\n") < 60
    assert json.loads(write(tmp_path / "new" / "one.json", document).read_text()) == document
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_work_counts_products_loops_and_the_cheapest_branch() -> None:
    def program(x):
        carried, _ = jax.lax.scan(lambda c, _: (jnp.tanh(c @ x), None), x, None, length=3)
        return jax.lax.cond(x[0, 0] > 0, lambda c: c * 2, lambda c: jnp.sin(c) + 1, carried)

    work = work_of(program, jnp.ones((4, 4)))
    # three products of 2 * 4 * 4 * 4 with a tanh each, one comparison, one multiplication of the cheaper branch
    assert work.operations == pytest.approx(3 * (128 + 16) + 16 + 2, abs=2)
    assert work.bytes == 2 * 16 * 4
    assert not work.loops
    assert work_of(lambda n: jax.lax.while_loop(lambda i: i < n, lambda i: i + 1, 0), jnp.int32(3)).loops


def test_a_bound_needs_known_peaks() -> None:
    work = work_of(lambda x, y: x @ y, jnp.ones((64, 64)), jnp.ones((64, 64)))
    known = against_bound(work, 1e-6, "NVIDIA H200")
    assert known["bound_by"] == "bytes"
    assert known["roofline_fraction"] == pytest.approx(3 * 64 * 64 * 4 / 4.8e12 / 1e-6)
    assert against_bound(work, 1e-6, "cpu")["roofline_fraction"] is None


def test_every_chip_of_a_batch_differs_and_units_stay_whole() -> None:
    design, _, options = kernel_inputs("paper_reference", "closed")
    hardware = vary_hardware(design, 5)
    assert len(np.unique(hardware.mvm_latency_ns)) == 5
    units = np.asarray(hardware.num_digital_units)
    np.testing.assert_array_equal(units, np.round(units))
    latency, energy, area = jax.jit(cost_program(options))(hardware, design, None)
    assert latency.shape == energy.shape == area.shape == (5,)


def test_the_device_check_records_lines_that_fail_or_are_slow(tmp_path) -> None:
    failed = device_check.run_line("no_such_line", 100, tmp_path / "failed.json", dry=True)
    assert "no_such_line" in failed["error"]
    assert failed["entries"] == {}
    slow = device_check.run_line("cache", 0.05, tmp_path / "slow.json", dry=True)
    assert "stopped after" in slow["error"]


def test_random_cases_are_legal_and_need_few_programs() -> None:
    shapes = set()
    for case in random_cases(60):
        preset = next(name for name in case["presets"] if name in list_presets())
        config = load_config(preset, case["overrides"])
        sizes = dataclasses.replace(build(config)[1], tile_kinds=("calibrated",))
        shapes.add((config.chip_model, sizes, config.workload.generated_tokens > 1))
    # the authors' chip has two; of the rest two pairs are layers of one kind and of two (with and without a window)
    assert len(shapes) == 7  # times two fidelities and, but for the authors' chip, two tile kinds


def test_a_comparison_tells_rounding_from_differences_and_lists_refusals() -> None:
    table = {"tier_linear": 1e6, "router": 1e-7}
    this = {
        "0 closed": {"latency_ns": 2.0, "energy": table, "new": 1.0},
        "1 closed": {"refused": "no such key"},
        "2 closed": {"latency_ns": float("nan")},
    }
    other = {
        "0 closed": {"latency_ns": 1.0, "energy": table | {"router": 0.0}},
        "1 closed": {"latency_ns": 1.0},
        "2 closed": {"latency_ns": float("nan")},
    }
    cases = [{"name": str(index)} for index in range(3)]
    found = compare_commits.compare(cases, ["closed"], this, other, 1e-9)
    assert list(found["different_fields"]) == ["closed latency_ns", "closed energy.router"]
    assert found["different_fields"]["closed latency_ns"]["largest_relative"] == 0.5
    assert found["different_fields"]["closed energy.router"]["largest_relative"] == pytest.approx(1e-4)
    assert found["refused_by_one"] == [{"case": "1 closed", "by": "this", "why": "no such key"}]
    assert found["fields_only_in"] == {"this": {"new": 1}, "other": {}}
    assert [case["name"] for case in found["worst_cases"].values()] == ["0"]


def test_sinkhorn_is_doubly_stochastic() -> None:
    logits = jax.random.normal(jax.random.key(0), (12, 4))
    plan = sinkhorn(logits, jnp.full(4, 3.0), jnp.float32(1.0))
    np.testing.assert_allclose(plan.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(plan.sum(axis=0), 3.0, rtol=1e-3)


def test_soft_makespan_is_finite_on_boundaries() -> None:
    plan = sinkhorn(jnp.zeros((4, 2)), jnp.full(2, 2.0), jnp.float32(1.0))
    for loads in (jnp.zeros((3, 4)), jnp.ones((3, 4)), jnp.zeros((3, 4)).at[0, 0].set(5.0)):
        value, slope = jax.value_and_grad(soft_makespan)(plan, loads)
        assert np.isfinite(value)
        assert np.isfinite(slope).all()


def test_learned_groups_have_equal_sizes_and_balance() -> None:
    loads = np.random.default_rng(0).poisson(5.0, (6, 12)) * np.array([4, 1, 1, 1, 4, 1, 1, 1, 4, 1, 1, 1])
    groups = learn_groups(loads, 3, steps=120)
    assert np.bincount(groups).tolist() == [4, 4, 4]
    learned, neighbours = ((loads @ np.eye(3)[g]).max(axis=1).mean() for g in (groups, np.arange(12) * 3 // 12))
    assert learned <= neighbours
    assert len(set(groups[[0, 4, 8]])) == 3  # the three hot experts are kept apart


@pytest.mark.parametrize(("chip", "name"), MOST_LINES)
def test_compiled_programs_are_as_short_as_asked_for(chip, name) -> None:
    function, arguments = program(pimjax, chip, name)
    assert 2000 < jax.jit(function).lower(*arguments).as_text().count("\n") <= MOST_LINES[chip, name]
