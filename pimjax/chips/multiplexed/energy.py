"""Energy [nJ] and busy time [ns] of every component of a run."""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax.array_typing import AnyArray
from pimjax.arrays import where
from pimjax.chips.multiplexed.core import Core
from pimjax.chips.multiplexed.digital_parts import DigitalParts, Products, Split
from pimjax.chips.multiplexed.durations import ACTIVATION_COMPONENTS, Durations
from pimjax.chips.multiplexed.geometry import Geometry
from pimjax.chips.multiplexed.work import Run, Work
from pimjax.chips.parts.memory import memory_of
from pimjax.runs.point import Point
from pimjax.runs.traffic import memory_is_idle


class EnergyAndBusy(NamedTuple):
    """Keys of COMPONENTS; energy without idle peripherals."""

    energy: dict[str, AnyArray]
    busy: dict[str, AnyArray]
    units_busy: AnyArray  # all jobs of the digital units
    dram_busy: AnyArray
    experts: AnyArray  # energy of the experts' passes, loads and combination


def energy_and_busy(
    point: Point,
    shape: Geometry,
    tile: Core,
    time: Durations,
    run: Run,
    work: Work,
    latency: AnyArray,
    largest: AnyArray,
    beside: DigitalParts | None = None,
    made: Products | None = None,
    holds_weights: Any = False,
) -> EnergyAndBusy:
    """Energy and busy time per component. `largest`: members of the largest group; `made`: products on each kind of tile,
    where parts lie on digital macros; `holds_weights`: the memory holds experts that are not on the chip."""
    hardware, model, workload = point.hardware, point.model, point.workload
    local = point.local
    # one product; with the authors' scale 0.2 + 0.8/g
    scale = where(point.design.plan.energy_scale_with_sharing, 0.2 + 0.8 / largest, 1.0)
    product = scale * tile.mvm_energy_nj
    add_energy, link_rate = hardware.add_energy_nj_per_256 / 256, hardware.link_energy_nj_per_256 / 256
    link_energy = link_rate * hardware.crossbar_rows
    strip_energy = add_energy * hardware.crossbar_cols
    act_energy = (
        point.by_activation(
            model.activation_steps * hardware.relu_energy_nj_per_256,
            hardware.gelu_energy_nj_per_256,
            hardware.swiglu_energy_nj_per_256,
        )
        / 256
    )
    memory = memory_of(point)
    kv_bytes, go_bytes = (1 - run.sram) * work.kv_bytes, (1 - run.sram) * work.go_bytes
    kv_time, go_time = kv_bytes / memory.bandwidth, go_bytes / memory.bandwidth
    sram_bytes = run.sram * (work.kv_bytes + work.go_bytes)
    width = model.d_model
    lookup_bytes = where(point.looks_up, work.tokens * width * workload.activation_bytes, 0.0)
    lookup_time = lookup_bytes / memory.bandwidth
    routed = where(point.routes_on_units, work.gates * width * point.router_outputs, 0.0)
    units = (
        hardware.num_digital_units * hardware.digital_unit_area_mm2
        + hardware.num_attention_units * hardware.attention_unit_area_mm2
    )
    idle_memory = where(memory_is_idle(point, run.sram) | holds_weights, memory.idle_w, 0.0)
    passive = hardware.unit_power_w * units / hardware.unit_power_area_mm2 + idle_memory
    products, links = work.both + work.reads, 2 * work.both + work.reads + work.sequences
    strips_local, strips_units = where(local, work.strips, 0.0), where(local, 0.0, work.strips)
    on_experts = work.passes * shape.expert_tiles * product
    multiplied, computed, switched = (
        product * products,
        products * time.mvm,
        work.passes * shape.expert_tiles * time.mux,
    )
    crossings = work.passes * shape.expert_tiles
    if beside is not None and made is not None:
        macro = scale * beside.core.mvm_energy_nj
        on_tiles, on_macros = (getattr(made.both, kind) + getattr(made.reads, kind) for kind in ("analog", "digital"))
        passes = Split(made.passes.analog * shape.expert_tiles, made.passes.digital * shape.expert_tiles / point.slices)
        multiplied = product * on_tiles + macro * on_macros
        computed = on_tiles * tile.mvm_latency_ns + on_macros * beside.core.mvm_latency_ns
        crossings, switched = passes.total, passes.total * time.mux
        on_experts = product * passes.analog + macro * passes.digital
    load_energy = work.loads * shape.expert_up.rows * link_energy
    energy = {
        "passive": passive * latency,
        "tier_linear": multiplied,
        "communication": link_energy * links,
        "layer_norm": hardware.norm_energy_nj_per_256 / 256 * (work.norms * width + work.gates * model.num_experts),
        "digital_add": add_energy * work.wide * width + strip_energy * strips_units,
        "dram_kv": memory.nj_per_byte * kv_bytes,
        "dram_go": memory.nj_per_byte * go_bytes,
        "mha_comp": work.attention_energy,
        "input_load": load_energy,
        "local_accumulation": strip_energy * strips_local,
        "router": add_energy * routed,
        "embedding": memory.nj_per_byte * lookup_bytes,
        "sram": hardware.sram_energy_pj_per_byte * 1e-3 * sram_bytes,
    }
    act_time = where(
        local,
        (work.passes + work.shared + work.dense) * time.dense_act,
        work.passes * time.act_job + work.shared * time.shared_act_job + work.dense * time.dense_act_job,
    )
    strip_add_time = hardware.add_latency_ns_per_256 / 256 * hardware.crossbar_cols + hardware.add_latency_base_ns
    cycle = hardware.crossbar_cols / (hardware.accumulator_lanes * hardware.accumulator_frequency_ghz)
    added = where(point.inline, work.wide - work.combining, work.wide) * time.add + strips_units * strip_add_time
    normed = work.norms * time.norm + work.gates * time.gate
    routing, sampling = work.gates * time.router_digital, work.sequences * time.sampling
    busy = {
        "tier_linear": computed,
        "communication": links * time.link,
        "layer_norm": normed,
        "digital_add": added,
        "multinomial": sampling,
        "dram_kv": kv_time,
        "dram_go": go_time,
        "mha_comp": work.attention_time,
        "sharing_mux": switched,
        "input_load": work.loads * time.load,
        "local_accumulation": strips_local * cycle,
        "router": routing,
        "scheduler": work.gates * time.scheduler,
        "embedding": lookup_time,
        "sram": sram_bytes / hardware.sram_bandwidth_gb_per_s,
    }
    act_values = act_energy * work.act_values
    for name, mine in zip(ACTIVATION_COMPONENTS, point.activation_is, strict=True):
        energy[name] = where(mine, act_values, 0.0)
        busy[name] = where(mine, act_time, 0.0)
    expert_adds = shape.expert_up.adds + shape.expert_down.adds
    one_pass = strip_energy * expert_adds + act_energy * model.d_ff
    of_passes = on_experts + 2 * link_energy * crossings
    return EnergyAndBusy(
        energy=energy,
        busy=busy,
        units_busy=added + normed + routing + sampling + where(local, 0.0, act_time),
        dram_busy=kv_time + go_time + lookup_time,
        experts=of_passes + work.passes * one_pass + load_energy + add_energy * work.combines * width,
    )
