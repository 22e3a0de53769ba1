"""Presets of real models: chips that `pimjax size` made, with their dies, that no cheap units bound."""

from __future__ import annotations

import json

import pytest

import pimjax
from benchmarks.lib.paths import COMMITTED, ROOT
from benchmarks.pages import sized_presets
from pimjax import status
from pimjax.estimation.balance import advice

ROWS = {row["model"]: row for row in json.loads((COMMITTED / "sized_presets.json").read_text(encoding="utf-8"))["rows"]}


def test_every_model_that_ships_has_its_sized_chip() -> None:
    whole = {path.stem for path in (ROOT / "configs").glob("*.yaml")}
    models = {path.stem for path in (ROOT / "configs" / "model").glob("*.yaml")}
    assert set(ROWS) == set(sized_presets.MODELS) == whole & models


@pytest.mark.parametrize("model", sized_presets.MODELS)
def test_no_cheap_units_bound_a_preset_on_the_run_it_was_sized_for(model: str) -> None:
    config = pimjax.load_config(model, sized_presets.RUN)
    result = pimjax.estimate(config, fidelity="fluid")
    row = ROWS[model]
    assert pimjax.load_config(model).system.network == "dies"
    assert advice(config, result) == ""
    assert not int(result.status) & (status.TOO_HOT | status.DOES_NOT_FIT)
    assert float(result.latency_ns) == pytest.approx(row["latency_ns"], rel=1e-6)
    assert (int(result.dies), int(result.packages)) == (row["dies"], row["packages"])


@pytest.mark.parametrize("model", sized_presets.MODELS)
def test_a_preset_begins_with_the_command_that_makes_its_settings(model: str) -> None:
    first, *_ = (ROOT / "configs" / f"{model}.yaml").read_text(encoding="utf-8").splitlines()
    assert first == f"# Sized on {ROWS[model]['date']} by: {sized_presets.command(ROWS[model])}"
    config = pimjax.load_config(model, sized_presets.RUN)
    assert config.digest() == pimjax.load_config(model, {**sized_presets.RUN, **ROWS[model]["settings"]}).digest()
