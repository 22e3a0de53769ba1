"""Energy [nJ] and busy time [ns] of every component of a run."""

from __future__ import annotations

import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.chips.multiplexed.area import units_area
from pimjax.chips.multiplexed.core import Core
from pimjax.chips.multiplexed.durations import Durations
from pimjax.chips.multiplexed.geometry import Geometry
from pimjax.chips.multiplexed.schedule import MultiplexedSchedule
from pimjax.chips.multiplexed.smooth import as_real
from pimjax.chips.multiplexed.traffic import dram_is_idle, sram_share
from pimjax.chips.multiplexed.work import Work, activations, layer_counts, products, strip_adds, wide_adds
from pimjax.config.build import Design
from pimjax.config.model import ACTIVATIONS
from pimjax.config.plan import ACCUMULATE_KINDS, COMBINE_KINDS, EMBEDDING_KINDS, ROUTER_KINDS


def sharing_energy_scale(design: Design, largest: Array) -> Array:
    """Factor of every product's energy: 1, or the authors' 0.2 + 0.8/g."""
    return jnp.where(design.plan.energy_scale_with_sharing, 0.2 + 0.8 / largest, 1.0)


def pass_energy(design: Design, shape: Geometry, tile: Core, largest: Array) -> Array:
    """One token through one expert [nJ]: products, links both ways, partial sums, activation."""
    hardware = design.hardware
    model = as_real(design.model, hardware.mvm_latency_ns)
    links = 2 * hardware.link_energy_nj_per_256 * hardware.crossbar_rows / 256
    adds = (shape.expert_up.adds + shape.expert_down.adds) * hardware.crossbar_cols / 256
    rates = (
        hardware.relu_energy_nj_per_256,
        hardware.gelu_energy_nj_per_256,
        hardware.swiglu_energy_nj_per_256,
    )
    rate = jnp.stack(
        [jnp.where(design.model.activation == index, rates[index], 0.0) for index in range(len(ACTIVATIONS))]
    ).sum()
    product = sharing_energy_scale(design, largest) * tile.mvm_energy_nj
    return shape.expert_tiles * (product + links) + adds * hardware.add_energy_nj_per_256 + rate * model.d_ff / 256


def energy_and_busy(
    design: Design,
    schedule: MultiplexedSchedule,
    shape: Geometry,
    tile: Core,
    time: Durations,
    work: Work,
    latency: Array,
    largest: Array,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Energy per component without idle peripherals, and busy time per component; "digital" sums the units' jobs."""
    hardware = design.hardware
    model, workload = as_real(design.model, work.tokens), as_real(design.workload, work.tokens)
    layers, moe, _ = layer_counts(design, schedule, work.tokens)
    local = design.plan.accumulate == ACCUMULATE_KINDS.index("local")
    inline = design.plan.combine == COMBINE_KINDS.index("inline")
    both, reads = products(design, schedule, shape, work)
    strips = strip_adds(design, schedule, shape, work)
    wide, combining = wide_adds(design, schedule, work)
    expert_acts, dense_acts, act_values = activations(design, schedule, work)
    norms = work.tokens * 2 * layers + work.samplings
    gates = moe * work.tokens
    loads = jnp.sum(work.loads)
    scale = sharing_energy_scale(design, largest)
    link_energy = hardware.link_energy_nj_per_256 * hardware.crossbar_rows / 256
    strip_energy = hardware.add_energy_nj_per_256 * hardware.crossbar_cols / 256
    share = sram_share(design, windowed=schedule.is_windowed, is_moe=schedule.is_moe).astype(work.tokens.dtype)
    bandwidth = hardware.dram_bandwidth_gb_per_s
    kv_time, go_time = (1 - share) * work.kv_bytes / bandwidth, (1 - share) * work.go_bytes / bandwidth
    sram_bytes = share * (work.kv_bytes + work.go_bytes)
    is_lookup = design.plan.embedding == EMBEDDING_KINDS.index("lookup")
    lookup_time = jnp.where(is_lookup, work.tokens * model.d_model * workload.activation_bytes / bandwidth, 0.0)
    on_units = design.plan.router == ROUTER_KINDS.index("digital")
    routed_values = jnp.where(on_units, work.tokens * moe * model.d_model * model.num_experts, 0.0)
    kind = design.model.activation
    act_rates = {
        "digital_relu": hardware.relu_energy_nj_per_256,
        "digital_gelu": hardware.gelu_energy_nj_per_256,
        "digital_swiglu": hardware.swiglu_energy_nj_per_256,
    }
    act_time = jnp.where(
        local,
        (expert_acts + dense_acts) * time.dense_act,
        expert_acts * time.act_job + dense_acts * time.dense_act_job,
    )
    unit_area = units_area(hardware)
    idle_dram = jnp.where(dram_is_idle(design, share), hardware.dram_idle_power_w, 0.0)
    energy = {
        "passive": (hardware.unit_power_w * unit_area / hardware.unit_power_area_mm2 + idle_dram) * latency,
        "tier_linear": scale * tile.mvm_energy_nj * (both + reads),
        "communication": link_energy * (2 * both + reads + work.samplings),
        "layer_norm": hardware.norm_energy_nj_per_256 * (norms * model.d_model + gates * model.num_experts) / 256,
        "digital_add": hardware.add_energy_nj_per_256 * wide * model.d_model / 256
        + jnp.where(local, 0.0, strip_energy * strips),
        "dram_kv": hardware.dram_active_power_w * kv_time,
        "dram_go": hardware.dram_active_power_w * go_time,
        "mha_comp": work.attention_energy,
        "input_load": loads * shape.expert_up.rows * link_energy,
        "local_accumulation": jnp.where(local, strip_energy * strips, 0.0),
        "router": hardware.add_energy_nj_per_256 * routed_values / 256,
        "embedding": hardware.dram_active_power_w * lookup_time,
        "sram": hardware.sram_energy_pj_per_byte * 1e-3 * sram_bytes,
    }
    for index, name in enumerate(("digital_relu", "digital_gelu", "digital_swiglu")):
        energy[name] = jnp.where(kind == index, act_rates[name] * act_values / 256, 0.0)
    strip_add_time = hardware.add_latency_ns_per_256 * hardware.crossbar_cols / 256 + hardware.add_latency_base_ns
    cycle = hardware.crossbar_cols / (hardware.accumulator_lanes * hardware.accumulator_frequency_ghz)
    unit_adds = (wide - jnp.where(inline, combining, 0.0)) * time.add
    unit_adds += jnp.where(local, 0.0, strips * strip_add_time)
    norm_time = norms * time.norm + gates * time.gate
    busy = {
        "tier_linear": both * time.mvm + reads * time.mvm,
        "communication": (2 * both + reads + work.samplings) * time.link,
        "layer_norm": norm_time,
        "digital_add": unit_adds,
        "multinomial": work.samplings * time.sampling,
        "dram_kv": kv_time,
        "dram_go": go_time,
        "mha_comp": work.attention_time,
        "sharing_mux": jnp.sum(work.passes) * shape.expert_tiles * time.mux,
        "input_load": loads * time.load,
        "local_accumulation": jnp.where(local, strips * cycle, 0.0),
        "router": gates * time.router_digital,
        "scheduler": moe * work.tokens * time.scheduler,
        "embedding": lookup_time,
        "sram": sram_bytes / hardware.sram_bandwidth_gb_per_s,
        "digital": unit_adds
        + norm_time
        + gates * time.router_digital
        + work.samplings * time.sampling
        + jnp.where(local, 0.0, act_time),
    }
    for index, name in enumerate(("digital_relu", "digital_gelu", "digital_swiglu")):
        busy[name] = jnp.where(kind == index, act_time, 0.0)
    return energy, busy
