"""The ledger says what every number acts on: perturb each one, on every chip and tile, and see what really changes."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import pimjax
from pimjax.chips import CHIPS, Chip
from pimjax.chips.ledger import every_read, without_effect
from pimjax.estimation.result import Estimate

#: what each settles: layers with and without experts, SwiGLU, caches, sharing; the smallest runs that use most numbers
_BASE = {
    "model.d_model": 300, "model.d_ff": 200, "model.num_heads": 4, "model.num_layers": 2, "model.vocab_size": 500,
    "model.num_experts": 4, "model.top_k": 2, "workload.prompt_tokens": 6, "workload.generated_tokens": 3,
}  # fmt: skip
_PHYSICAL = {**_BASE, "model.first_dense_layers": 1, "workload.trace.kind": "zipf"}
_GPU = {**_PHYSICAL, "model.d_model": 1024}
#: matrices beyond the cache and several tiles of each expert, so that every number of a GPU matters
_GPU_FULL = {
    **_PHYSICAL,
    "model.d_model": 8192,
    "model.d_ff": 13_400,
    "workload.prompt_tokens": 400,
    "model.head_dim": 128,
}
_LATENT = {
    "model.attention": "mla", "model.q_lora_rank": 512, "model.kv_lora_rank": 512, "model.nope_head_dim": 128,
    "model.rope_head_dim": 64, "model.v_head_dim": 128, "model.head_dim": 192, "model.num_heads": 64,
    "hardware.mla_prefill_tile_ns": 3000, "hardware.mla_prefill_block_ns": 100, "hardware.mla_prefill_fixed_ns": 3000,
    "hardware.mla_decode_exposed": 0.3, "hardware.mla_decode_bandwidth_efficiency": 0.5,
    **{f"hardware.mla_decode_{name}": 50 for name in ("fixed_ns", "tile_ns", "block_ns", "split_ns", "sequence_ns")},
}  # fmt: skip
_DEALT = {
    "hardware.gpus": 4, "hardware.expert_parallel": 4, "hardware.attention_data_parallel": 4,
    "hardware.all_to_all_fixed_ns": 1e3, "hardware.all_to_all_bulk_fixed_ns": 5e3, "hardware.all_to_all_bulk_token_ns": 10,
}  # fmt: skip
#: dies of a few crossbars, two in a package, slow links
_DIES = {
    "system": "dies", "system.die_area_mm2": 25, "system.dies_per_package": 2, "system.die_link_bandwidth_gb_per_s_per_mm": 2,
    "system.package_link_bandwidth_gb_per_s": 5, "system.injection_bandwidth_gb_per_s": 8, "system.die_link_latency_ns": 40,
}  # fmt: skip
#: a chip that holds half of the experts
_SWAP = {
    "system.residency": "swap",
    "system.resident_experts": 2,
    "workload.prompt_tokens": 20,
    "workload.kv_cache": True,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "authors": ("paper_reference", _BASE),
    "authors, caches": ("paper_reference", {**_BASE, "workload.kv_cache": True, "workload.go_cache": "authors"}),
    "plain": ("paper_multiplexed", {**_PHYSICAL, "model.activation": "swiglu"}),
    "alone": ("paper_multiplexed", {**_PHYSICAL, "plan.group_size": 1, "model.activation": "gelu"}),
    "parametric": ("paper_multiplexed", {**_PHYSICAL, "plan.tile": "parametric", "workload.kv_cache": True}),
    "survey": ("paper_multiplexed", {**_PHYSICAL, "plan.tile": "parametric", "plan.adc": "survey"}),
    "digital": (
        "paper_multiplexed",
        {
            **_PHYSICAL, "plan.accumulate": "digital", "plan.router": "digital", "plan.attention": "fit",
            "plan.embedding": "crossbar", "hardware.out_links": 2, "plan.dram_overlap": "prefetch",
            "workload.kv_cache": True, "hardware.sram_cache_bytes": 2000, "plan.energy_scale_with_sharing": True,
        },
    ),
    "sliced, expert choice": (
        "paper_multiplexed",
        {
            **_PHYSICAL, "numerics.weight_encoding": "sliced", "numerics.cell_bits": 2, "numerics.input_encoding": "serial",
            "model.routing": "expert_choice", "workload.kv_cache": True, "workload.go_cache": "full",
            "plan.combine": "inline", "hardware.sram_cache_bytes": 500, "hardware.scheduler_ns_per_token": 3,
        },
    ),
    "gpu": ("h100", {**_GPU, "model.activation": "swiglu"}),
    "gpu, 8 bits, two": ("h100", {**_GPU, "model.weight_format": "fp8", "hardware.gpus": 4, "model.d_ff": 40_000, "workload.prompt_tokens": 300}),
    "gpu, 4 bits": ("h200", {**_GPU, "model.expert_format": "mxfp4", "workload.batch_size": 4}),
    "gpu, full": ("b200", _GPU_FULL),
    "gpu, 16 bits, full": ("h100", {**_GPU_FULL, "hardware.decode_exposed": 0.3, "hardware.decode_fixed_ns": 50, "hardware.prefill_fixed_ns": 50}),
    "gpu, 8 bits, full": ("h100", {**_GPU_FULL, "model.weight_format": "fp8", "model.d_ff": 27_000, "hardware.experts_fp8_exposed": 0.5, "hardware.experts_fp8_tile_exponent": 0.5}),
    "gpu, latents": ("h200", {**_GPU_FULL, **_LATENT}),
    "gpu, latents, short": ("h200", {**_GPU_FULL, **_LATENT, "workload.prompt_tokens": 6, "workload.batch_size": 64, "hardware.mla_prefill_tile_ns": 1, "hardware.mla_prefill_block_ns": 1}),
    "gpu, dealt out": ("h100", {**_GPU_FULL, **_DEALT}),
    "gpu, floats of 4 bits": ("b200", {**_GPU, "model.weight_format": "nvfp4"}),
    "gpu, 4 bits, tiles": ("b200", {**_GPU_FULL, "model.expert_format": "mxfp4", "workload.prompt_tokens": 100, "model.d_ff": 2000, "hardware.experts_fp4_exposed": 0.3}),
    "gpu, 4 bits, full": ("h100", {**_GPU_FULL, "model.weight_format": "mxfp4", "hardware.experts_fp4_exposed": 0.3}),
    "digital macros": (
        "paper_multiplexed",
        {**_PHYSICAL, "plan.tile": "digital_sram", "numerics.weight_encoding": "sliced", "numerics.cell_bits": 2},
    ),
    "stacked, four phases": (
        "paper_multiplexed",
        {**_PHYSICAL, "plan.group_size": 4, "hardware.tiers": 2, "hardware.read_phases": 4},
    ),
    "dies": ("paper_crossbars", {**_PHYSICAL, "model.activation": "swiglu", **_DIES}),
    "dies, bonds, caches": (
        "paper_crossbars",
        {**_PHYSICAL, **_DIES, "system.die_link": "bonded_3d", "system.dies_per_package": 4, "workload.kv_cache": True,
         "system.bond_area_mm2": 0.5, "hardware.sram_cache_bytes": 2000, "system.injection_bandwidth_gb_per_s": 16},
    ),
    "dies of a group, parametric": (
        "paper_crossbars",
        {
            **_PHYSICAL, **_DIES, "system.die_area_mm2": 9, "plan.tile": "parametric", "numerics.weight_encoding": "sliced",
            "numerics.cell_bits": 4, "plan.combine": "inline",
        },
    ),
    "swapped": ("paper_crossbars", {**_PHYSICAL, **_SWAP, "numerics.weight_encoding": "sliced", "numerics.cell_bits": 4}),
    "swapped, slow memory": ("paper_crossbars", {**_PHYSICAL, **_SWAP, "memory.bandwidth_gb_per_s": 1e-3}),
    "swapped, macros": ("paper_crossbars", {**_PHYSICAL, "system": "dies", **_SWAP, "plan.tile": "digital_sram"}),
    "swapped, fast memory": (
        "paper_crossbars",
        {**_PHYSICAL, **_SWAP, "plan.expert_tile": "digital", "memory.bandwidth_gb_per_s": 1e5},
    ),
    "dense": ("paper_multiplexed", {**_BASE, "model.num_experts": 0, "plan.group_size": 1}),
}  # fmt: skip
#: chips so small have one die, where nothing of a system but its wires shows: the cases with dies have systems of their own
CASES |= {
    name: (preset, {"system": "none", **keys})
    for name, (preset, keys) in CASES.items()
    if preset == "paper_multiplexed"
}


@functools.cache
def _run(case: str) -> tuple[pimjax.Config, Estimate]:
    preset, overrides = CASES[case]
    config = pimjax.load_config(preset, overrides)
    return config, pimjax.estimate(config, fidelity="closed")


def _numbers(config: pimjax.Config) -> list[str]:
    """Dotted keys of every hardware number and every numeric key of the numerics."""
    chip = CHIPS[config.chip_model]
    keys = [f"hardware.{name}" for name in chip.hardware.model_fields]
    keys += [
        f"numerics.{name}"
        for name, value in config.numerics.model_dump().items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    return keys


def _moved(config: pimjax.Config, key: str) -> list[Any]:
    """The configuration with one number changed, up and down, where both are accepted."""
    value = functools.reduce(getattr, key.split("."), config)
    tries: list[Any] = [1.6 * value, 0.55 * value] if value else [3.0, 0.3, 5000.0]
    if key.startswith("numerics.") and isinstance(value, int):
        tries = [value + 1, value - 1, value + 2]
    if key in ("hardware.crossbar_rows", "hardware.crossbar_cols"):
        tries = [128.0, 512.0]
    own = {
        f"hardware.{name}": getattr(config.hardware, name) * 1.0001 for name in _CORE if hasattr(config.hardware, name)
    }
    found = []
    for tried in tries:
        for more in ({}, own if config.plan.tile == "calibrated" else {}):
            try:
                found.append(pimjax.load_config(config.model_dump(), {**more, key: tried}))
                break
            except pimjax.ConfigError:
                continue
    return found


_CORE = ("mvm_latency_ns", "mvm_energy_nj", "core_area_mm2")


def _changed(chip: Chip, before: Estimate, after: Estimate) -> set[tuple[str, str]]:
    """(component, quantity) that differ by more than the core's tiny own shift."""
    found = set()
    for quantity, field in (("time", "busy_ns"), ("energy", "component_energy_nj"), ("area", "component_area_mm2")):
        a, b = (np.asarray(getattr(one, field)) for one in (before, after))
        differs = np.abs(a - b) > 1e-3 * np.maximum(np.abs(a), np.abs(b))
        found |= {(chip.component_names[index], quantity) for index in np.flatnonzero(differs)}
    return found


@pytest.mark.parametrize("case", CASES)
def test_every_number_acts_on_what_the_ledger_says(case: str) -> None:
    config, base = _run(case)
    chip = CHIPS[config.chip_model]
    by_run_time = {spec.name for spec in chip.components if spec.by_run_time}
    wrong = {}
    for key in _numbers(config):
        said = {
            (spec.name, quantity)
            for spec in chip.components
            for quantity in ("time", "energy", "area")
            for read in getattr(spec, quantity)
            if read.key == key and read.is_active(config)
        }
        read_at_all = any(read.key == key and read.is_active(config) and of_run for _, read, of_run in every_read(chip))
        changed: set[tuple[str, str]] = set()
        acts = False
        for moved in _moved(config, key):
            result = pimjax.estimate(moved, fidelity="closed")
            changed |= _changed(chip, base, result)
            acts |= bool(changed) or abs(float(result.latency_ns / base.latency_ns) - 1) > 1e-3
            acts |= int(result.status) != int(base.status) or float(result.dies) != float(base.dies)
        changed = {(name, quantity) for name, quantity in changed if not (quantity == "energy" and name in by_run_time)}
        unsaid = changed - said
        if unsaid or (acts and not read_at_all):
            wrong[key] = ("acts but is not declared", sorted(unsaid))
    assert not wrong


@pytest.mark.parametrize("chip", [name for name in CHIPS if name in ("multiplexed", "reference", "gpu")])
def test_every_declared_number_acts_somewhere(chip: str) -> None:
    """A key that the ledger lists for a component changes it in at least one of the cases."""
    missing = []
    seen: dict[str, set[tuple[str, str]]] = {}
    for case in CASES:
        config, base = _run(case)
        if config.chip_model != chip:
            continue
        for key in _numbers(config):
            for moved in _moved(config, key):
                seen.setdefault(key, set()).update(
                    _changed(CHIPS[chip], base, pimjax.estimate(moved, fidelity="closed"))
                )
    for spec in CHIPS[chip].components:
        for quantity in ("time", "energy", "area"):
            for read in getattr(spec, quantity):
                if read.key in seen and (spec.name, quantity) not in seen[read.key]:
                    missing.append(f"{spec.name} {quantity}: {read.key}")
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize(
    ("preset", "override", "words"),
    [
        ("paper_multiplexed", {"hardware.adc_bits": 6}, "only on sharing multiplexer; set plan.tile: parametric"),
        ("paper_multiplexed", {"hardware.columns_per_adc": 4}, "set plan.tile: parametric"),
        ("paper_multiplexed", {"hardware.comm_factor": 2}, "chip_model: reference reads it"),
        ("paper_multiplexed", {"hardware.tier_area_overhead": 0.1}, "set hardware.tiers: 2 or more"),
        ("paper_multiplexed", {"hardware.attention_fit_linear": 1}, "set plan.attention: fit"),
        ("paper_crossbars", {"hardware.memory_idle_w": 1}, "set workload.kv_cache: true"),
        ("paper_multiplexed", {"numerics.weight_bits": 6}, "set numerics.weight_encoding: sliced"),
        ("paper_multiplexed", {"numerics.stuck_fraction": 0.1}, "accuracy"),
        ("paper_multiplexed", {"plan.grouping": "balanced", "plan.group_size": 1}, "set plan.group_size: 2 or more"),
        ("paper_crossbars", {"system.resident_experts": 8}, "set system.residency: swap"),
        ("paper_crossbars", {"system.pcm_endurance_cycles": 1e8}, "set system.residency: swap"),
        ("paper_reference", {"system.residency": "swap"}, "chip_model: multiplexed reads it"),
        ("h100", {"system.residency": "swap"}, "chip_model: multiplexed reads it"),
        ("paper_reference", {"plan.group_size": 4}, "chip_model: multiplexed reads it"),
        ("paper_reference", {"plan.policy": "packed"}, "chip_model: multiplexed reads it"),
        ("paper_reference", {"hardware.sram_cache_bytes": 4}, "chip_model: multiplexed reads it"),
    ],
)
def test_a_setting_without_effect_is_said(preset: str, override: dict[str, Any], words: str) -> None:
    config = pimjax.load_config(preset, override)
    sentences = without_effect(config)
    assert any(sentence.startswith(next(iter(override))) and words in sentence for sentence in sentences), sentences


def test_a_setting_with_effect_and_a_template_of_defaults_are_not_mentioned(tmp_path) -> None:
    from pimjax.config.template import render_yaml

    assert not without_effect(pimjax.load_config("paper_multiplexed", {"hardware.mvm_latency_ns": 100}))
    file = tmp_path / "all.yaml"
    file.write_text(render_yaml(pimjax.load_config("paper_multiplexed")), encoding="utf-8")
    assert not without_effect(pimjax.load_config(file))


def test_a_crossbar_of_another_size_needs_its_own_figures() -> None:
    size = {"hardware.crossbar_rows": 512, "hardware.crossbar_cols": 512}
    with pytest.raises(pimjax.ConfigError, match="measured 256 x 256 core"):
        pimjax.load_config("paper_multiplexed", size)
    pimjax.load_config("paper_multiplexed", {**size, "plan.tile": "parametric"})
    own = {"hardware.mvm_latency_ns": 200, "hardware.mvm_energy_nj": 40, "hardware.core_area_mm2": 2}
    pimjax.load_config("paper_multiplexed", {**size, **own})
