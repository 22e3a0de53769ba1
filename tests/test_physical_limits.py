"""Designs given as arrays: impossible numbers mark their lanes, others stay as they are; overflow is never a good result."""

from __future__ import annotations

import numpy as np
import pytest

import pimjax
from pimjax.chips import CHIPS
from pimjax.chips.possible import is_impossible
from pimjax.config.hardware import leaf_names
from pimjax.status import IMPOSSIBLE, NON_FINITE

SMALL = {"workload.prompt_tokens": 4, "model.num_layers": 1, "model.d_model": 256, "model.num_heads": 4}
FIELDS = ["latency_ns", "energy_nj", "area_mm2", "edp_nj_ns"]
PRESETS = {"multiplexed": "paper_multiplexed", "reference": "paper_reference"}


def design_of(chip: str) -> tuple[pimjax.Config, pimjax.Design]:
    config = pimjax.load_config(PRESETS[chip], SMALL)
    return config, pimjax.build(config)[0]


@pytest.mark.parametrize("chip", PRESETS)
def test_impossible_lanes_are_marked_and_others_are_untouched(chip: str) -> None:
    config, design = design_of(chip)
    keys = {
        "mvm_latency_ns": (-5.0, 0.0),
        "num_digital_units": (-2.0, 0.0),
        "crossbar_cols": (1e-5, -1.0),
        "memory_bandwidth_gb_per_s" if chip == "multiplexed" else "dram_bandwidth_gb_per_s": (0.0, np.nan),
        "digital_unit_area_mm2": (-1.0, np.nan),
        "reticle_area_mm2": (0.0, -858.0),
    }
    lanes = [("", 1.0), *((key, value) for key, values in keys.items() for value in values), ("num_digital_units", 5.5)]
    changes = {
        f"hardware.{key}": np.array(
            [value if name == key else float(getattr(design.hardware, key)) for name, value in lanes]
        )
        for key in keys
    }
    found = pimjax.estimate_batch(design.set(changes), fields=FIELDS)
    impossible = (found.status[:, 0] & IMPOSSIBLE) > 0
    assert impossible.tolist() == [False, *[True] * (2 * len(keys)), False]
    alone = pimjax.estimate_batch(config, fields=FIELDS)
    for name in FIELDS:
        np.testing.assert_allclose(getattr(found, name)[0], getattr(alone, name)[0], rtol=1e-6)
    with pytest.raises(pimjax.PimjaxError, match="impossible"):
        found.raise_if_bad()


@pytest.mark.parametrize("chip", PRESETS)
def test_every_number_has_a_bound_that_arrays_are_held_to(chip: str) -> None:
    _, design = design_of(chip)
    section = CHIPS[chip].hardware
    assert not is_impossible(design.hardware, section)
    for name in leaf_names(section):
        assert is_impossible(design.hardware.replace(**{name: -1.0}), section), name
        assert is_impossible(design.hardware.replace(**{name: np.nan}), section), name


def test_fractions_that_gradients_need_are_possible() -> None:
    _, design = design_of("multiplexed")
    section = CHIPS["multiplexed"].hardware
    for name, value in (
        ("num_digital_units", 0.5),
        ("accumulator_lanes", 1.5),
        ("columns_per_adc", 1.2),
        ("crossbar_cols", 8.5),
    ):
        assert not is_impossible(design.hardware.replace(**{name: value}), section), name
    assert is_impossible(design.hardware.replace(shareable_fraction=1.5), section)


@pytest.mark.parametrize("fidelity", ["closed", "fluid"])
@pytest.mark.parametrize("chip", PRESETS)
def test_half_a_unit_is_slower_than_one_and_finite(chip: str, fidelity: str) -> None:
    _, design = design_of(chip)
    for name in ("num_digital_units", "num_attention_units"):
        if hasattr(design.hardware, name):
            halves = design.set({f"hardware.{name}": np.array([0.5, 0.9, 1.0, 2.0])})
            latency = pimjax.estimate_batch(halves, fields=["latency_ns"], fidelity=fidelity).latency_ns[:, 0]
            assert np.isfinite(latency).all(), (name, latency)
            assert (np.diff(latency) <= 1e-6 * latency[1:]).all(), (name, latency)


def test_derived_figures_that_are_not_finite_are_fatal() -> None:
    _, design = design_of("reference")
    huge = design.set(
        {"hardware.mvm_latency_ns": np.array([130.0, 1e30]), "hardware.mvm_energy_nj": np.array([12.5, 1e30])}
    )
    found = pimjax.estimate_batch(huge, fields=FIELDS)
    assert (found.status[:, 0] & NON_FINITE).tolist() == [0, NON_FINITE]
    assert np.isfinite(found.edp_nj_ns[0]).all()


def test_what_no_int32_holds_is_refused_at_validation() -> None:
    for key, value in {
        "model.vocab_size": 2**31, "model.num_layers": 10**8, "model.num_experts": 10**8, "plan.copies": 10**8,
        "model.router_groups": 2**31, "model.first_dense_layers": 2**31, "model.sliding_window_period": 2**31,
        "model.moe_frequency": 2**31, "workload.batch_size": 2**31, "workload.prompt_tokens": 2**31,
    }.items():  # fmt: skip
        with pytest.raises(pimjax.ConfigError, match="at most"):
            pimjax.load_config("paper_multiplexed", {key: value})
    with pytest.raises(pimjax.ConfigError, match="num_shared_experts x d_ff"):
        pimjax.load_config("paper_multiplexed", {"model.num_shared_experts": 65_536, "model.d_ff": 2**24})
