"""What every chip model and fidelity returns: the primitive costs of one run, before metrics are derived."""

from __future__ import annotations

from typing import Any

from flax import struct

#: Components of latency, energy and area. The first eleven are the keys of the authors' simulator, in its order.
COMPONENTS = (
    "passive",  # units' passive power and the memory's idle power
    "tier_linear",  # matrix-vector products
    "communication",  # blocks over links, but not the loads of the slots
    "layer_norm",
    "digital_relu",
    "digital_gelu",
    "digital_add",  # additions on digital units: partial sums, combination of experts, residuals
    "multinomial",  # sampling
    "dram_kv",
    "dram_go",
    "mha_comp",  # attention
    # multiplexed chip only
    "digital_swiglu",
    "sharing_mux",
    "input_load",  # loads of the slots
    "local_accumulation",  # adders beside the ADCs
    "router",  # router on a digital unit
    "scheduler",
    "embedding",  # token embeddings read from the memory
    "sram",  # accesses to on-chip caches
    "noc",  # wires and routers of dies
    "d2d",  # links between dies and packages; the silicon of their PHYs
    "expert_swap",  # experts fetched from the memory and written over others
    "leakage_idle",  # of peripherals that are powered: working, idle, or waking up
    "leakage_gated",  # of peripherals that are switched off
    "moe_crossbars",  # areas from here on
    "dense_crossbars",
    "digital_units",
    "attention_units",
    "buffers",
    "memory_interface",  # of the memory's channels, on the die
)
COMPONENT_INDEX = {name: index for index, name in enumerate(COMPONENTS)}

#: Kinds of operations that are counted. The first nine are those of the authors' simulator.
OP_KINDS = (
    "tier_linear",
    "communication_out",
    "communication_in",
    "communication_norm",
    "digital_add",
    "mha",
    "layer_norm",
    "digital_relu",
    "multinomial",
    # multiplexed chip only
    "digital_gelu",
    "digital_swiglu",
    "expert_pass",
    "input_load",
    "router",
)
OP_INDEX = {name: index for index, name in enumerate(OP_KINDS)}


@struct.dataclass
class SystemCost:
    """What a run costs of the dies and packages around the crossbars."""

    is_there: Any  # [] bool, a system is described
    dies: Any  # []
    packages: Any  # []
    silicon_area_mm2: Any  # [] that has to be made for them: area over yield
    die_crossings: Any  # [] tokens sent to dies that are not their layer's home, all layers and passes
    tokens: Any  # [] tokens through the model
    busiest_link_ns: Any  # [] busy time of the busiest link
    network_energy_nj: Any  # [] wires and links


@struct.dataclass
class RunCost:
    """Primitive costs of one run. Energy is the sum of `component_energy_nj`, area that of `component_area_mm2`.

    Axes: `C` = len(COMPONENTS), `O` = len(OP_KINDS), `L` layers (padded to the capacity).
    """

    latency_ns: Any  # []
    flops: Any  # [] useful floating-point operations
    peak_memory_bytes: Any  # [] exact in event, an upper bound otherwise
    crossbars: Any  # [] crossbars the mapping needs
    critical_ns: Any  # [C] share of the latency; sums to latency_ns
    busy_ns: Any  # [C] plain sum of the durations of operations
    component_energy_nj: Any  # [C]
    component_area_mm2: Any  # [C]
    op_counts: Any  # [O]
    moe_latency_ns: Any  # [] expert phases of all passes and layers; 0 in the reference model
    moe_energy_nj: Any  # [] energy of those phases
    moe_flops: Any  # [] useful operations of the experts
    moe_area_mm2: Any  # [] crossbars of experts with their shared peripherals
    moe_last_pass_ns: Any  # [L] end of the last pass after t_ready, first pass of the run; 0 in the reference model
    tokens: Any  # [] tokens the run emits (generated) or processes (prefill only)
    pipeline_interval_ns: Any  # [] slowest layer's time: throughput with one request in flight per layer
    utilisation: Any  # [] share of the time that the units which multiply weights are busy, the mean over them
    peak_power_w: (
        Any  # [] largest mean power of a microsecond, or of what can be busy at once; 0: the chip does not say
    )
    hot_area_mm2: Any  # [] dies over which that power is spread
    status: Any  # [] int32 bits of pimjax.status
    system: SystemCost | None = None  # dies and packages; None: the chip was given none
    expert_hit_rate: Any = None  # [] visits of experts that were on the chip; None: all are
    lifetime_years: Any = None  # [] until devices are worn by writing experts; None: none are written
