"""What `--explain` shows of this chip beyond its ledger: units of its components, parts of its crossbar core."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from pimjax.array_typing import HostArray
from pimjax.chips.chip import Counted
from pimjax.chips.multiplexed.core import core, tile_parameters
from pimjax.chips.multiplexed.geometry import geometry
from pimjax.chips.multiplexed.hardware import hardware_of
from pimjax.chips.multiplexed.tiers import experts_by_tier
from pimjax.chips.parts.core_parts import measured_core, parts_of
from pimjax.chips.parts.weights import weight_writing
from pimjax.chips.run_cost import COMPONENT_INDEX, OP_INDEX
from pimjax.circuit.validity import outside_validity
from pimjax.config.build import build
from pimjax.config.config import Config
from pimjax.config.digital_map import digital_experts, grouped_apart, has_digital_parts
from pimjax.runs.point import Point
from pimjax.runs.residency import resident_experts
from pimjax.schedule.grouping.simple import uniform_groups

CORE_FIELDS = ("mvm_latency_ns", "mvm_energy_nj", "core_area_mm2", "shareable_fraction")
"""Numbers of the hardware section that a parametric core replaces."""

NOT_MODELLED = (
    "The memory is off-chip: of its area only the interface is counted (memory.phy_area_mm2).",
    "The interconnect beyond the links (network on chip, links between dies) is not modelled: system: dies adds it.",
    "Writing weights is outside the run (they are resident): its time and energy are shown apart.",
)


def counted(config: Config, result: Any) -> dict[str, Counted]:
    """Units of components that no kind of operation counts.

    Times come from busy times, never from the critical path: a byte of traffic is one however much is hidden.
    """
    hardware = hardware_of(config)
    busy = {name: float(np.asarray(result.busy_ns)[index]) for name, index in COMPONENT_INDEX.items()}
    per_expert, moe = tiles(config)
    passes = float(np.asarray(result.op_counts)[OP_INDEX["expert_pass"]])
    bandwidth = hardware.memory_bandwidth_gb_per_s * hardware.memory_channels
    buffers = float(np.asarray(result.component_area_mm2)[COMPONENT_INDEX["buffers"]])
    cycle = hardware.crossbar_cols / (hardware.accumulator_lanes * hardware.accumulator_frequency_ghz)
    amounts = {
        **{name: busy[name] * bandwidth for name in ("dram_kv", "dram_go", "embedding")},
        "memory_interface": float(hardware.memory_channels),
        "sram": busy["sram"] * hardware.sram_bandwidth_gb_per_s,
        "passive": float(np.asarray(result.latency_ns)),
        "leakage_idle": float(np.asarray(result.latency_ns)),
        "leakage_gated": float(np.asarray(result.latency_ns)),
        "local_accumulation": busy["local_accumulation"] / cycle,
        "sharing_mux": passes * per_expert,
        "expert_swap": round(passes * (1 - float(np.asarray(result.expert_hit_rate)))),
        "scheduler": _over(busy["scheduler"], hardware.scheduler_ns_per_token),
        "moe_crossbars": moe,
        "dense_crossbars": float(np.asarray(result.crossbars)) - moe,
        "digital_units": float(hardware.num_digital_units),
        "attention_units": float(hardware.num_attention_units),
        "buffers": _over(buffers, hardware.buffer_area_mm2_per_mb),
    }
    return {name: Counted(amount, "") for name, amount in amounts.items()}


def details(config: Config, result: Any) -> dict[str, Any]:
    """The crossbar core's parts, what writing weights costs, crossbars on each tier, and what is not modelled."""
    per_expert, _ = tiles(config)
    return {
        "tile": tile_rows(config),
        **({"digital_tile": _computed_rows(config, "digital_sram")} if has_digital_parts(config) else {}),
        "heat": full_die(config),
        "weights": weight_writing(config, float(np.asarray(result.crossbars)), per_expert),
        **_stacked(config, per_expert),
        **_swapped(config, result),
        "not_modelled": [
            sentence
            for sentence in NOT_MODELLED
            if not (
                (config.system.network != "none" and "interconnect" in sentence)
                or (config.system.residency != "all" and "resident" in sentence)
            )
        ],
    }


def _swapped(config: Config, result: Any) -> dict[str, Any]:
    """Where experts are swapped: how many are on the chip, how often they were there, and how long its devices last."""
    places = resident_experts(config)
    if places is None:
        return {}
    years = float(np.asarray(result.lifetime_years))
    return {
        "residency": {
            "resident_experts": places,
            "experts": config.model.num_experts,
            "replacement": config.system.replacement,
            "expert_hit_rate": float(np.asarray(result.expert_hit_rate)),
            "lifetime_years": years if np.isfinite(years) else None,
        }
    }


def _stacked(config: Config, per_expert: float) -> dict[str, Any]:
    """Crossbars of experts on each tier, lowest first, where tiers are stacked at all."""
    tiers = int(hardware_of(config).tiers)
    if tiers < 2 or not config.model.num_experts:
        return {}
    plan, members = config.plan, resident_experts(config) or config.model.num_experts + config.plan.copies
    if (
        plan.group_of_expert is None
        and plan.expert_tile == "mixed"
        and plan.share != "none"
        and resident_experts(config) is None
        and not plan.copies
    ):
        sizes = np.concatenate([_sizes_apart(row, plan.group_size) for row in digital_experts(config)])
        return {"tiers": [float(per_expert * count) for count in experts_by_tier(sizes, tiers)]}
    groups = np.asarray(plan.group_of_expert or [expert // plan.group_size for expert in range(members)])
    sizes = np.ones(members, int) if plan.share == "none" else np.bincount(groups)
    each = config.model.num_moe_layers * per_expert
    return {"tiers": [float(each * count) for count in experts_by_tier(sizes, tiers)]}


def _sizes_apart(digital: HostArray, group_size: int) -> HostArray:
    """Sizes of the groups of one layer, int [groups]."""
    kinds = grouped_apart(digital, group_size)
    return np.concatenate([np.bincount(uniform_groups(len(mine), -(-len(mine) // group_size))) for mine in kinds])


def full_die(config: Config) -> dict[str, float]:
    """A die all of whose crossbars work at once, one of every group: what stands for the hottest that crossbars can be.

    >>> from pimjax.config.loader import load_config
    >>> {key: round(value, 2) for key, value in full_die(load_config("paper_crossbars", {"plan.group_size": 1})).items()}
    {'density_w_per_mm2': 0.15, 'w_per_reticle': 129.92, 'rise_k': 12.11}
    """
    hardware, members = hardware_of(config), float(config.plan.group_size)
    with jax.enable_x64(True):
        tile = core(build(config)[0])
    shared = float(np.asarray(tile.shareable_fraction))
    area = float(np.asarray(tile.area_mm2)) * (shared + (1.0 - shared) * members)
    density = float(np.asarray(tile.mvm_energy_nj)) / float(np.asarray(tile.mvm_latency_ns)) / area
    return {
        "density_w_per_mm2": density,
        "w_per_reticle": density * hardware.reticle_area_mm2,
        "rise_k": density * hardware.cooling_k_mm2_per_w,
    }


def tiles(config: Config) -> tuple[float, float]:
    """Crossbars of one expert, and of all experts."""
    with jax.enable_x64(True):
        design = build(config)[0]
        shape, slices = geometry(design), float(np.asarray(Point(design).slices))
    per_expert = float(np.asarray(shape.expert_tiles))
    digital = digital_experts(config)
    saved = float(digital.sum()) * per_expert * (1 - 1 / slices)  # macros hold all bits in one place
    places = resident_experts(config)
    held = 1.0 if places is None else places / config.model.num_experts
    return per_expert, held * (float(np.asarray(shape.moe_tiles)) - saved)


def tile_rows(config: Config) -> dict[str, Any]:
    """Parts of one crossbar core and one product on it; see :mod:`pimjax.chips.parts.core_parts`.

    >>> sum(row["area_share"] for row in tile_rows(Config())["parts"]) > 0.999
    True
    """
    if config.plan.tile == "calibrated":
        return measured_core()
    return _computed_rows(config, config.plan.tile)


def _computed_rows(config: Config, kind: str) -> dict[str, Any]:
    with jax.enable_x64(True):
        parameters = tile_parameters(build(config)[0], digital=kind == "digital_sram")
        parameters = jax.tree.map(np.asarray, parameters)
    return {"kind": kind, "parts": parts_of(parameters), "outside_validity": list(outside_validity(parameters))}


def source_of(config: Config, component: str) -> str | None:
    """A computed core's numbers come from its circuits."""
    of_the_core = component in ("tier_linear", "moe_crossbars", "dense_crossbars", "leakage_idle", "leakage_gated")
    if of_the_core and config.plan.tile != "calibrated":
        return f"computed from circuit parameters (plan.tile: {config.plan.tile}), see the crossbar core"
    return None


def _over(total: float, unit: float) -> float:
    return total / unit if unit else 0.0
