"""Random configurations as overrides of a preset: small, quick, every option of both chips, few shapes to compile.

Shapes: 43 to 64 tokens of context, 9 to 16 experts, top 3 or 4, two layers, 8 or (decoding) 16 groups; routing by
the generators: eight programs in all. Only keys that the chosen chip reads are set, so that a tree that refuses the others takes these.
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: presets of the physical chip, the first that a tree knows is taken: its name changed once
MULTIPLEXED, REFERENCE = ("paper_crossbars", "paper_multiplexed"), ("paper_reference",)

#: numbers of the hardware that are scaled around these values
_SCALED: dict[str, float] = {
    "mvm_latency_ns": 130, "mvm_energy_nj": 12.48, "link_latency_ns_per_256": 12, "link_energy_nj_per_256": 0.01293,
    "add_latency_ns_per_256": 8, "add_latency_base_ns": 4, "add_energy_nj_per_256": 0.00943,
    "norm_latency_ns_per_256": 50, "norm_energy_nj_per_256": 0.02096, "relu_latency_ns": 1,
    "relu_energy_nj_per_256": 0.00002, "sampling_latency_ns": 10, "attention_fit_linear": 1.064e-4,
    "attention_fit_quadratic": 1.521e-5, "attention_fit_energy_nj": 0.557225e-3, "dram_bandwidth_gb_per_s": 5.332,
    "dram_active_power_w": 0.2467, "dram_idle_power_w": 0.1297, "unit_power_w": 0.02412,
    "digital_unit_area_mm2": 1.25, "attention_unit_area_mm2": 5.0, "core_area_mm2": 0.634,
}  # fmt: skip
#: those that only the physical chip has
_PHYSICAL: dict[str, float] = {
    "shareable_fraction": 0.6, "mux_on_resistance_kohm": 1, "line_capacitance_pf": 0.25, "mux_capacitance_pf": 0.005,
    "mux_area_um2_per_line": 2, "accumulator_lanes": 64, "accumulator_frequency_ghz": 1,
    "accumulator_adder_area_um2": 47, "link_bandwidth_gb_per_s": 21.3, "gelu_latency_ns_per_256": 16,
    "gelu_energy_nj_per_256": 0.00963, "swiglu_latency_ns_per_256": 24, "swiglu_energy_nj_per_256": 0.019,
    "router_values_per_ns": 32, "scheduler_ns_per_token": 20, "attention_latency_ns_per_pair": 4.1e-3,
    "attention_energy_nj_per_pair": 0.557e-3, "sram_bandwidth_gb_per_s": 64, "sram_energy_pj_per_byte": 0.14,
    "buffer_area_mm2_per_mb": 1, "idle_power_w_per_mm2": 1e-4, "unit_power_area_mm2": 26.25,
}  # fmt: skip
#: of these, counts
_WHOLE = ("hardware.accumulator_lanes",)


def random_cases(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """`count` cases: name, presets, overrides. One in four is the authors' chip.

    >>> first, second = random_cases(2)
    >>> sorted(first), first == random_cases(2)[0]
    (['name', 'overrides', 'presets'], True)
    """
    generator = np.random.default_rng(seed)
    return [
        {"name": f"{index}", **(_reference(generator) if index % 4 == 3 else _multiplexed(generator, index))}
        for index in range(count)
    ]


def _pick(generator: np.random.Generator, *values: Any) -> Any:
    return values[int(generator.integers(len(values)))]


def _scaled(generator: np.random.Generator, names: dict[str, float], number: int) -> dict[str, float]:
    """Some of the numbers, times 0.7 to 1.4."""
    chosen = generator.choice(sorted(names), number, replace=False)
    found = {f"hardware.{name}": float(f"{names[name] * generator.uniform(0.7, 1.4):.6g}") for name in chosen}
    return {key: round(value) if key in _WHOLE else value for key, value in found.items()}


def _reference(generator: np.random.Generator) -> dict[str, Any]:
    experts = int(generator.integers(9, 17))
    decode = generator.random() < 0.5
    prompt = int(generator.integers(43, 57))
    overrides: dict[str, Any] = _scaled(generator, _SCALED, 8) | {
        "model.d_model": _pick(generator, 256, 512, 640),
        "model.d_ff": _pick(generator, 200, 344, 512),
        "model.num_heads": 8,
        "model.vocab_size": _pick(generator, 1000, 4000),
        "model.num_layers": 2,
        "model.moe_frequency": _pick(generator, 1, 2),
        "model.num_experts": experts,
        "model.top_k": _pick(generator, 3, 4),
        "hardware.num_digital_units": int(generator.integers(1, 17)),
        "hardware.num_attention_units": int(generator.integers(1, 9)),
        "hardware.comm_factor": float(generator.uniform(0.5, 4)),
        "hardware.mvm_factor": _pick(generator, 1.0, 1.5),
        "hardware.tiers": _pick(generator, 1, 1, 2),
        "plan.whole_ns": bool(generator.random() < 0.7),
        "workload.prompt_tokens": prompt,
        "workload.generated_tokens": int(generator.integers(2, 6)) if decode else 1,
        "workload.trace.seed": int(generator.integers(1, 1000)),
    }
    if decode:
        overrides |= {
            "workload.kv_cache": bool(generator.integers(2)),
            "workload.go_cache": _pick(generator, "none", "authors"),
            "workload.prefill": bool(generator.integers(2)),
        }
    return {"presets": REFERENCE, "overrides": overrides}


def _multiplexed(generator: np.random.Generator, index: int) -> dict[str, Any]:
    decode = index % 2 == 1
    groups = _pick(generator, 8, 8, 16) if decode else 8
    experts = int(generator.integers(13, 17))
    policy = _pick(generator, "token_wise", "compact", "reschedule", "packed")
    overrides: dict[str, Any] = _scaled(generator, _SCALED | _PHYSICAL, 12)
    overrides |= _model(generator, experts) | _units(generator)
    overrides |= {
        "plan.group_size": 2 if groups == 8 else 1,
        "plan.grouping": _pick(generator, "uniform", "sorted", "snake", "balanced"),
        "plan.policy": policy,
        "plan.share": _pick(generator, "position", "position", "pair"),
        "plan.accumulate": _pick(generator, "local", "local", "digital"),
        "plan.combine": _pick(generator, "digital", "digital", "inline"),
        "plan.router": _pick(generator, "crossbar", "crossbar", "digital"),
        "plan.attention": _pick(generator, "linear", "linear", "fit"),
        "plan.embedding": _pick(generator, "lookup", "lookup", "crossbar"),
        "plan.input_hold": bool(generator.random() < 0.2),
        "plan.window_tokens": _pick(generator, None, None, 16),
        "workload.activation_bytes": _pick(generator, 1, 1, 2),
        "workload.trace.seed": int(generator.integers(1, 1000)),
        "workload.trace.kind": _pick(generator, "uniform", "zipf", "dirichlet", "sticky"),
    }
    if overrides["model.routing"] == "expert_choice":
        overrides["workload.trace.kind"] = "expert_choice"
    if policy == "token_wise" and overrides["model.routing"] == "token_choice":
        overrides["plan.barrier"] = _pick(generator, None, False, True)
    if experts <= 14 and generator.random() < 0.3:
        overrides["plan.copies"] = 2
    if groups == 16 and generator.random() < 0.3:
        overrides["plan.share"] = "none"
    elif groups == 8 and generator.random() < 0.3:  # groups of any sizes
        members = np.concatenate(
            [np.arange(6), generator.integers(0, 6, experts + overrides.get("plan.copies", 0) - 6)]
        )
        overrides["plan.group_of_expert"] = generator.permutation(members).tolist()
    if policy == "packed":
        overrides["plan.max_open_tokens"] = _pick(generator, None, None, 8)
    if generator.random() < 0.3:
        overrides |= {
            "plan.tile": "parametric",
            "plan.adc": _pick(generator, "hermes", "survey", "zigzag"),
            "hardware.adc_bits": int(generator.integers(5, 10)),
            "hardware.columns_per_adc": _pick(generator, 1, 4, 8),
            "hardware.crossbar_rows": _pick(generator, 128, 256, 512),
            "hardware.crossbar_cols": _pick(generator, 128, 256, 512),
            "hardware.supply_v": float(generator.uniform(0.7, 0.9)),
            "hardware.node_nm": _pick(generator, 14, 22),
        }
        for key in ("mvm_latency_ns", "mvm_energy_nj", "core_area_mm2"):  # computed by this tile
            overrides.pop(f"hardware.{key}", None)
    return {"presets": MULTIPLEXED, "overrides": overrides | _workload(generator, decode, overrides)}


def _model(generator: np.random.Generator, experts: int) -> dict[str, Any]:
    width = _pick(generator, 256, 512, 640)
    model: dict[str, Any] = {
        "model.d_model": width,
        "model.d_ff": _pick(generator, 200, 344, 512, 700),
        "model.num_heads": 8,
        "model.vocab_size": _pick(generator, 1000, 4000),
        "model.num_layers": 2,
        "model.num_experts": experts,
        "model.top_k": _pick(generator, 3, 4),
        "model.activation": _pick(generator, "relu", "gelu", "swiglu"),
        "model.routing": _pick(generator, "token_choice", "token_choice", "token_choice", "expert_choice"),
        "model.num_shared_experts": int(generator.random() < 0.2),
        "model.first_dense_layers": int(generator.random() < 0.2),
    }
    kind = generator.random()
    if kind < 0.2:
        model |= {"model.attention": "mla", "model.kv_lora_rank": 64, "model.rope_head_dim": 16,
                  "model.nope_head_dim": 32, "model.v_head_dim": 32, "model.q_lora_rank": _pick(generator, 0, 96)}  # fmt: skip
    elif kind < 0.5:
        model |= {"model.num_kv_heads": _pick(generator, 1, 2, 4)}
    if generator.random() < 0.3:
        model |= {"model.sliding_window": 20, "model.sliding_window_period": _pick(generator, 1, 2)}
    return model


def _units(generator: np.random.Generator) -> dict[str, Any]:
    return {
        "hardware.num_digital_units": int(generator.integers(1, 25)),
        "hardware.num_attention_units": int(generator.integers(1, 9)),
        "hardware.input_links": _pick(generator, None, None, 1, 2),
        "hardware.out_links": _pick(generator, None, None, 2, 4),
        "hardware.out_buffer_slots": _pick(generator, None, 1, 2, 4, 8),
        "hardware.tiers": _pick(generator, 1, 1, 1, 2),
        "hardware.sram_cache_bytes": _pick(generator, 0, 0, 16384, 262144),
    }


def _workload(generator: np.random.Generator, decode: bool, overrides: dict[str, Any]) -> dict[str, Any]:
    prompt = int(generator.integers(43, 57))
    if not decode:
        return {"workload.prompt_tokens": prompt, "workload.generated_tokens": 1}
    expert_choice = overrides["model.routing"] == "expert_choice"
    return {
        "workload.prompt_tokens": prompt,
        "workload.generated_tokens": int(generator.integers(2, 8)),
        "workload.prefill": bool(generator.integers(2)),
        "workload.kv_cache": bool(generator.random() < 0.7),
        "workload.go_cache": _pick(generator, "none", "full", "threshold") if expert_choice else "none",
        "workload.capacity_rule": _pick(generator, "growing", "frozen", "fixed") if expert_choice else "growing",
        "workload.batch_size": _pick(generator, 1, 1, 2, 5),
        "workload.kv_bytes": _pick(generator, 1, 2),
        "plan.dram_overlap": _pick(generator, "none", "none", "prefetch"),
    }
