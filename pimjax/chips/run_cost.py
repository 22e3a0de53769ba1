"""What every chip model and fidelity returns: the primitive costs of one run, before metrics are derived."""

from __future__ import annotations

import jax
from flax import struct

#: Components of latency, energy and area. The first eleven are the keys of the authors' simulator, in its order.
COMPONENTS = (
    "passive",  # units' passive power and DRAM idle power
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
    "embedding",  # token embeddings read from DRAM
    "sram",  # accesses to on-chip caches
    "crossbar_idle",  # idle power of peripherals
    "moe_crossbars",  # areas from here on
    "dense_crossbars",
    "digital_units",
    "attention_units",
    "buffers",
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
class RunCost:
    """Primitive costs of one run. Energy is the sum of `component_energy_nj`, area that of `component_area_mm2`.

    Axes: `C` = len(COMPONENTS), `O` = len(OP_KINDS), `L` layers (padded to the capacity).
    """

    latency_ns: jax.Array  # []
    flops: jax.Array  # [] useful floating-point operations
    peak_memory_bytes: jax.Array  # [] exact in event, an upper bound otherwise
    crossbars: jax.Array  # [] crossbars the mapping needs
    critical_ns: jax.Array  # [C] share of the latency; sums to latency_ns
    busy_ns: jax.Array  # [C] plain sum of the durations of operations
    component_energy_nj: jax.Array  # [C]
    component_area_mm2: jax.Array  # [C]
    op_counts: jax.Array  # [O]
    moe_latency_ns: jax.Array  # [] expert phases of all passes and layers; 0 in the reference model
    moe_energy_nj: jax.Array  # [] energy of those phases
    moe_flops: jax.Array  # [] useful operations of the experts
    moe_area_mm2: jax.Array  # [] crossbars of experts with their shared peripherals
    moe_last_pass_ns: (
        jax.Array
    )  # [L] end of the last pass after t_ready, first pass of the run; 0 in the reference model
    tokens: jax.Array  # [] tokens the run emits (generated) or processes (prefill only)
    pipeline_interval_ns: jax.Array  # [] slowest layer's time: throughput with one request in flight per layer
    status: jax.Array  # [] int32 bits of pimjax.status
