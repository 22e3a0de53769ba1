"""A configuration of the `reference` chip as inputs of the exact simulator, and its result as a `RunCost`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pimjax.chips.reference.choices import shape_choices
from pimjax.chips.reference.event import ReferenceResult, simulate
from pimjax.chips.reference.hardware import hardware_of
from pimjax.chips.reference.memory import ScratchpadError
from pimjax.chips.reference.parameters import ReferenceParameters
from pimjax.chips.reference.units import UnitCosts
from pimjax.chips.run_cost import COMPONENT_INDEX, COMPONENTS, OP_INDEX, OP_KINDS, RunCost
from pimjax.config.config import Config
from pimjax.errors import ConfigError

#: Hardware numbers -> inputs of the simulator.
_TAKEN = {
    "crossbar_rows": "tier_rows",
    "crossbar_cols": "tier_cols",
    "tiles": "tiles",
    "tiers": "tiers",
    "num_digital_units": "dpus",
    "num_attention_units": "mhas",
    "mvm_latency_ns": "mvm_latency",
    "mvm_energy_nj": "mvm_energy",
    "comm_factor": "comm_factor",
    "mvm_factor": "mvm_factor",
}
_WHOLE = {"tier_rows", "tier_cols", "tiles", "tiers", "dpus", "mhas"}
#: Constants of one operation -> hardware numbers.
_UNITS = {
    "link_ns": "link_latency_ns_per_256",
    "link_nj": "link_energy_nj_per_256",
    "add_ns": "add_latency_ns_per_256",
    "add_base_ns": "add_latency_base_ns",
    "add_nj": "add_energy_nj_per_256",
    "norm_ns": "norm_latency_ns_per_256",
    "norm_nj": "norm_energy_nj_per_256",
    "relu_ns": "relu_latency_ns",
    "relu_nj": "relu_energy_nj_per_256",
    "sampling_ns": "sampling_latency_ns",
    "attention_linear": "attention_fit_linear",
    "attention_quadratic": "attention_fit_quadratic",
    "attention_nj": "attention_fit_energy_nj",
    "dram_bandwidth": "dram_bandwidth_gb_per_s",
    "dram_active_w": "dram_active_power_w",
    "dram_idle_w": "dram_idle_power_w",
    "idle_w": "unit_power_w",
}


def reference_parameters(config: Config) -> ReferenceParameters:
    """Inputs of the exact simulator.

    Raises:
        ConfigError: the configuration asks for something that the simulator does not have.

    >>> from pimjax import reference_config
    >>> reference_parameters(reference_config(dpus=7)).dpus
    7
    """
    hardware, model, workload, plan = config.hardware, config.model, config.workload, config.plan
    if model.activation != "relu" or model.first_dense_layers or model.num_shared_experts or model.attention != "gqa":
        raise ConfigError(
            f"model: activation {model.activation!r}, first_dense_layers {model.first_dense_layers}, num_shared_experts "
            f"{model.num_shared_experts}, attention {model.attention!r} are beyond chip_model 'reference', which knows "
            "ReLU experts and plain attention only; use chip_model 'multiplexed'"
        )
    numbers: dict[str, Any] = {theirs: getattr(hardware, ours) for ours, theirs in _TAKEN.items()}
    for name in _WHOLE & {key for key, value in numbers.items() if value is not None}:
        if numbers[name] != int(numbers[name]):
            ours = next(key for key, theirs in _TAKEN.items() if theirs == name)
            raise ConfigError(f"hardware.{ours}: {numbers[name]!r} must be a whole number for fidelity 'event'")
        numbers[name] = int(numbers[name])
    return ReferenceParameters(
        **numbers,
        d_model=model.d_model,
        d_ff=model.d_ff,
        vocab=model.vocab_size,
        **_passes(config),
        kv=workload.kv_cache,
        nhead=model.num_heads,
        seed=workload.trace.seed,
        units=UnitCosts(**{theirs: getattr(hardware, ours) for theirs, ours in _UNITS.items()}, whole_ns=plan.whole_ns),
    )


def check_choices(config: Config, expert_choices: Sequence[Sequence[int]]) -> None:
    """Raise TraceError where expert choices do not fit a run, also for fidelities that do not look at them.

    >>> from pimjax import reference_config
    >>> check_choices(reference_config(start_len=2, k=1), [[3], [0]])
    """
    shape_choices(ReferenceParameters(**_passes(config)), expert_choices)


def _passes(config: Config) -> dict[str, Any]:
    """What decides how many expert choices a run has, by the authors' names."""
    model, workload = config.model, config.workload
    return {
        "layers": model.num_layers,
        "k": model.top_k,
        "experts": model.num_experts,
        "frequency": model.moe_frequency,
        "start_len": workload.num_prompt_tokens,
        "new_length": workload.generated_tokens,
        "go": workload.go_cache != "none",
        "prefill": workload.prefill,
    }


def simulate_config(
    config: Config,
    expert_choices: Sequence[Sequence[int]] | None = None,
    *,
    seed: int = 0,
    max_layers: int = 1,
    **options: Any,
) -> tuple[RunCost, ReferenceResult]:
    """Exact costs of a `reference` configuration as a `RunCost` (NumPy, float64), and the simulator's own result.

    Args:
        config: a configuration of chip model `reference`.
        expert_choices, seed: as in :func:`pimjax.chips.reference.event.simulate`.
        max_layers: padded length of per-layer arrays.
        **options: further options of `simulate`.
    """
    parameters = reference_parameters(config)
    try:
        result = simulate(parameters, expert_choices, seed=seed, **options)
    except ScratchpadError:  # the time and energy of such a run are still defined; its peak memory is not
        options["with_memory"] = False
        result = simulate(parameters, expert_choices, seed=seed, **options)
    hardware = hardware_of(config)
    area = np.zeros(len(COMPONENTS))
    needed, expert_tiles = crossbar_counts(config)
    area[COMPONENT_INDEX["moe_crossbars"]] = expert_tiles * hardware.core_area_mm2
    area[COMPONENT_INDEX["dense_crossbars"]] = (needed - expert_tiles) * hardware.core_area_mm2
    area[COMPONENT_INDEX["digital_units"]] = hardware.num_digital_units * hardware.digital_unit_area_mm2
    area[COMPONENT_INDEX["attention_units"]] = hardware.num_attention_units * hardware.attention_unit_area_mm2
    energy = dict(result.energy_breakdown_nj)
    energy["dram_go"] = 0.0  # recorded by the authors' breakdown, never part of their total
    decoded = config.workload.generated_tokens if config.workload.prefill else config.workload.generated_tokens - 1
    only_prefill = config.workload.generated_tokens == 1
    cost = RunCost(
        latency_ns=np.float64(result.latency_ns),
        flops=np.float64(result.flops),
        peak_memory_bytes=np.float64(np.nan if result.peak_memory_bytes is None else result.peak_memory_bytes),
        crossbars=np.float64(needed),
        critical_ns=_spread(result.critical_ns),
        busy_ns=_spread(result.busy_ns),
        component_energy_nj=_spread(energy),
        component_area_mm2=area,
        op_counts=_spread(result.op_counts, OP_INDEX, len(OP_KINDS)),
        moe_latency_ns=np.float64(0),
        moe_energy_nj=np.float64(0),
        moe_flops=np.float64(0),
        moe_area_mm2=np.float64(area[COMPONENT_INDEX["moe_crossbars"]]),
        moe_last_pass_ns=np.zeros(max_layers),
        tokens=np.float64(parameters.start_len if only_prefill else decoded),
        pipeline_interval_ns=np.float64(result.latency_ns),
        utilisation=np.float64(result.busy_ns["tier_linear"] / max(needed * result.latency_ns, 1e-300)),
        peak_power_w=np.float64(0),
        hot_area_mm2=area.sum(),
        status=np.int32(0),
    )
    return cost, result


def crossbar_counts(config: Config) -> tuple[int, int]:
    """Crossbars that the authors' mapping needs, and those of the experts among them.

    >>> from pimjax import reference_config
    >>> crossbar_counts(reference_config())
    (6592, 1536)
    """
    hardware, model, workload = hardware_of(config), config.model, config.workload
    rows, cols = int(hardware.crossbar_rows), int(hardware.crossbar_cols)

    def blocks(inputs: int, outputs: int) -> int:
        return -(-inputs // rows) * -(-outputs // cols)

    d, f = model.d_model, model.d_ff
    positions = workload.num_prompt_tokens + workload.generated_tokens
    feed_forward = blocks(d, f) + blocks(f, d)
    moe_layers = model.num_moe_layers
    experts = moe_layers * model.num_experts * feed_forward
    layers = model.num_layers * 4 * blocks(d, d) + moe_layers * blocks(d, max(1, model.num_experts))
    dense = (model.num_layers - moe_layers) * feed_forward
    tables = blocks(model.vocab_size, d) + blocks(positions, d) + blocks(d, model.vocab_size)
    return experts + layers + dense + tables, experts


def _spread(values: Any, index: Any = COMPONENT_INDEX, size: int = len(COMPONENTS)) -> np.ndarray:
    out = np.zeros(size)
    for name, value in values.items():
        out[index[name]] = value
    return out
