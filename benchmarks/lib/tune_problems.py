"""Six tuning problems of published scale with active limits: what benchmarks/studies/tune_proof.py solves and lists.

Base chips are the published ones (paper_reference; paper_multiplexed where named). Speeds of digital units, attention
units, links, DRAM and crossbars are numbers of their own that drive several hardware keys by power laws: a unit that is
v times faster costs v^1 (links, crossbars, DRAM power) or v^2 (supply scaling: energy C V^2 at a frequency that grows
with V) more energy and v^0.5 more area. The exponents are assumptions of the problems, the same for every search.
The multiplexed chip has no wires there (`system: none`): its problem was published before the default counted them.
On the reference chip a crossbar's energy, time and area are measured numbers that do not follow its rows and columns, so
there the largest crossbar wins: those problems measure searches, not chips. The multiplexed problem computes its crossbar.
Enumerable problems have only discrete parameters; their optimum is found by evaluating every legal point.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.config import load_config
from pimjax.tuning import load_tune_config
from pimjax.tuning.tune_config import TuneConfig, level_values

_PREFILL = {"plan.whole_ns": False}
_GENERATE = {
    "plan.whole_ns": False,
    "workload.prompt_tokens": 32,
    "workload.generated_tokens": 64,
    "workload.prefill": True,
    "workload.kv_cache": True,
    "workload.go_cache": "authors",
}
_DRIVES: dict[str, dict[str, float]] = {
    "core_speed": {"mvm_latency_ns": -1, "mvm_energy_nj": 1, "core_area_mm2": 0.25},
    "add_speed": {
        "add_latency_ns_per_256": -1,
        "add_latency_base_ns": -1,
        "add_energy_nj_per_256": 2,
        "digital_unit_area_mm2": 0.3,
    },
    "norm_speed": {"norm_latency_ns_per_256": -1, "norm_energy_nj_per_256": 2, "digital_unit_area_mm2": 0.2},
    "attention_speed": {
        "attention_fit_linear": -1,
        "attention_fit_quadratic": -1,
        "attention_latency_ns_per_pair": -1,
        "attention_fit_energy_nj": 1,
        "attention_energy_nj_per_pair": 1,
        "attention_unit_area_mm2": 0.5,
    },
    "link_speed": {"link_latency_ns_per_256": -1, "link_energy_nj_per_256": 2},
    "dram_speed": {  # power of a transfer rises with speed ** 1.5, so that of a bit with ** 0.5
        "memory_bandwidth_gb_per_s": 1,
        "memory_energy_pj_per_bit": 0.5,
        "memory_idle_w": 0.5,
        "dram_bandwidth_gb_per_s": 1,
        "dram_active_power_w": 1.5,
        "dram_idle_power_w": 0.5,
    },
    "relu_speed": {"relu_latency_ns": -1, "relu_energy_nj_per_256": 2},
    "gating": {"unit_power_w": -1, "digital_unit_area_mm2": 0.1, "attention_unit_area_mm2": 0.1},
}


def _speed(name: str, levels: int | None = None) -> dict[str, Any]:
    out: dict[str, Any] = {"start": 1.0, "drives": {f"hardware.{key}": power for key, power in _DRIVES[name].items()}}
    if levels is None:
        return out | {"low": 0.5, "high": 2.0}
    return out | {"kind": "levels", "levels": sorted({1.0, *np.round(np.geomspace(0.5, 2.0, levels), 6).tolist()})}


def _levels(*values: float) -> dict[str, Any]:
    return {"kind": "levels", "levels": list(values)}


def _speeds(levels: int | None, *names: str) -> dict[str, Any]:
    return {name: _speed(name, levels) for name in names}


def _whole(low: int, high: int) -> dict[str, Any]:
    return {"kind": "integer", "low": low, "high": high}


#: 12 discrete parameters; every legal point can be evaluated
_ENUMERABLE = {
    "hardware.num_digital_units": _levels(1, 2, 4, 8, 16, 32),
    "hardware.num_attention_units": _levels(1, 2, 4, 8, 16),
    "hardware.crossbar_rows": _levels(128, 256, 512),
    "hardware.crossbar_cols": _levels(128, 256, 512),
    **_speeds(5, "core_speed"),
    **_speeds(3, "add_speed", "norm_speed", "attention_speed", "link_speed", "dram_speed"),
    "relu_speed": _speed("relu_speed", 3) | {"levels": [0.5, 1.0]},
    "gating": _speed("gating", 3) | {"levels": [1.0, 2.0]},
}
#: 14 parameters, continuous where nature is
_MIXED = {
    "hardware.num_digital_units": _whole(1, 64),
    "hardware.num_attention_units": _whole(1, 32),
    "hardware.crossbar_rows": _levels(64, 128, 256, 512, 1024),
    "hardware.crossbar_cols": _levels(64, 128, 256, 512, 1024),
    **_speeds(None, *_DRIVES),
    "hardware.tiers": _whole(1, 8),
    "hardware.shareable_fraction": {"low": 0.4, "high": 0.8, "scale": "linear"},
}

PROBLEMS: dict[str, dict[str, Any]] = {
    "prefill_edp_area": {
        "base": "paper_reference",
        "set": _PREFILL,
        "parameters": _ENUMERABLE,
        "objective": {"edp_nj_ns": 1},
        "limits": [{"measure": "area_mm2", "at_most": 0.8, "of_base": True}],
    },
    "prefill_latency_energy": {
        "base": "paper_reference",
        "set": _PREFILL,
        "parameters": _ENUMERABLE,
        "objective": {"latency_ns": 1},
        "limits": [
            {"measure": "energy_nj", "at_most": 0.9, "of_base": True},
            {"measure": "area_mm2", "at_most": 1.0, "of_base": True},
        ],
    },
    "generate_edap_power": {
        "base": "paper_reference",
        "set": _GENERATE,
        "parameters": _ENUMERABLE,
        "objective": {"edap": 1},
        "limits": [{"measure": "latency_ns", "at_most": 0.7, "of_base": True}],
    },
    "prefill_edp_area_mixed": {
        "base": "paper_reference",
        "set": _PREFILL,
        "parameters": {key: item for key, item in _MIXED.items() if key not in ("hardware.tiers", "hardware.shareable_fraction")},
        "objective": {"edp_nj_ns": 1},
        "limits": [{"measure": "area_mm2", "at_most": 0.8, "of_base": True}],
    },
    "generate_latency_energy_mixed": {
        "base": "paper_reference",
        "set": _GENERATE,
        "parameters": {key: item for key, item in _MIXED.items() if key not in ("hardware.tiers", "hardware.shareable_fraction")},
        "objective": {"latency_ns": 1},
        "limits": [
            {"measure": "energy_nj", "at_most": 0.8, "of_base": True},
            {"measure": "area_mm2", "at_most": 0.8, "of_base": True},
        ],
    },
    "multiplexed_edap_quality": {
        "base": "paper_multiplexed",
        "set": {"plan.tile": "parametric", "system": "none", "workload.trace.kind": "zipf", "workload.trace.tokens": 64},
        "parameters": {
            "hardware.num_digital_units": _whole(1, 64),
            "hardware.num_attention_units": _whole(1, 32),
            "hardware.crossbar_rows": _levels(64, 128, 256, 512),
            "hardware.crossbar_cols": _levels(64, 128, 256, 512),
            "hardware.adc_bits": _whole(5, 9),
            "hardware.columns_per_adc": _levels(1, 2, 4, 8, 16),
            "hardware.supply_v": {"low": 0.7, "high": 1.0},
            "hardware.accumulator_lanes": _levels(16, 32, 64, 128, 256),
            "hardware.out_buffer_slots": _whole(1, 8),
            **_speeds(None, "add_speed", "norm_speed", "attention_speed", "link_speed", "dram_speed"),
        },
        "objective": {"edap": 1},
        "limits": [
            {"measure": "quality", "at_least": 30},
            {"measure": "latency_ns", "at_most": 0.9, "of_base": True},
            {"measure": "area_mm2", "at_most": 0.8, "of_base": True},
        ],
        "quality": "sqnr",
    },
}  # fmt: skip


def problem_config(name: str) -> TuneConfig:
    """The tuning run of a problem; a speed drives those of its keys that the base chip has."""
    problem = PROBLEMS[name]
    known = {f"hardware.{key}" for key in type(load_config(problem["base"]).hardware).model_fields}
    parameters = {
        key: item | {"drives": {leaf: power for leaf, power in item["drives"].items() if leaf in known}}
        if "drives" in item
        else item
        for key, item in problem["parameters"].items()
    }
    return load_tune_config(problem | {"parameters": parameters, "optimiser": {"steps": 0}})


def legal_points(config: TuneConfig) -> int | None:
    """Number of legal points; None where a parameter is continuous."""
    total = 1
    for parameter in config.parameters.values():
        levels = parameter.choices if parameter.kind == "categorical" else level_values(parameter)
        if levels is None:
            return None
        total *= len(levels)
    return total
