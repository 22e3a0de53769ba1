"""A chip of several dies whose wires and links cost nothing says so, and what to set; no other chip does."""

from __future__ import annotations

import json

import pytest

import pimjax
from pimjax.cli.app import main
from pimjax.estimation.free_wires import free_wires

ONE_DIE = {"model.d_model": 512, "model.d_ff": 300, "model.num_heads": 4, "model.vocab_size": 1000}


def _run(*arguments: str) -> None:
    with pytest.raises(SystemExit) as done:
        main(["estimate", *arguments])
    assert not done.value.code


def _said(preset: str, changes: dict | None = None) -> str:
    config = pimjax.load_config(preset, {"workload.prompt_tokens": 4, **(changes or {})})
    return free_wires(config, pimjax.estimate(config, fidelity="closed"))


@pytest.mark.parametrize("fidelity", ["event", "fluid", "closed"])
def test_the_default_chip_has_wires_in_every_fidelity(fidelity) -> None:
    config = pimjax.load_config("paper_multiplexed", {"workload.prompt_tokens": 8})
    free = pimjax.load_config("paper_multiplexed", {"workload.prompt_tokens": 8, "system": "none"})
    wired, alone = (pimjax.estimate(one, fidelity=fidelity) for one in (config, free))
    assert (float(wired.dies), float(wired.packages)) == (4, 1)
    assert float(alone.packages) == 0 == float(alone.network_energy_nj)
    assert wired.network_energy_nj > 0
    assert wired.latency_ns > alone.latency_ns
    assert wired.energy_nj > alone.energy_nj
    assert wired.area_mm2 > alone.area_mm2


def test_free_wires_are_said_where_they_could_be_counted() -> None:
    said = _said("paper_multiplexed", {"system": "none"})
    assert "3 dies cost nothing" in said
    assert "set system: dies" in said
    assert _said("paper_chip")
    assert not _said("paper_multiplexed")
    assert not _said("paper_multiplexed", {"system": "none", **ONE_DIE})


@pytest.mark.parametrize("preset", ["paper_reference", "h100"])
def test_chips_that_know_no_system_are_not_told_to_set_one(preset) -> None:
    assert not _said(preset)


def test_the_command_prints_it_with_its_other_advice(capsys) -> None:
    starved = ["--set", "hardware.num_attention_units=1", "--set", "workload.prompt_tokens=512", "--fidelity", "closed"]
    _run("paper_multiplexed", "--set", "system=none", *starved, "--json")
    units, wires = json.loads(capsys.readouterr().out)["advice"]
    assert units.startswith("attention units")
    assert wires.startswith("wires of the chip")
    _run("paper_multiplexed", *starved, "--json")
    assert len(json.loads(capsys.readouterr().out)["advice"]) == 1
    _run("paper_crossbars", "--set", "workload.prompt_tokens=4", "--fidelity", "closed")
    assert " ".join(capsys.readouterr().err.split()).count("set system: dies") == 1
