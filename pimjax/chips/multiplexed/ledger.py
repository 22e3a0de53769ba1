"""Components of the multiplexed chip: names, sentences, and every key that they follow from."""

from __future__ import annotations

from pimjax.chips.ledger import HEAT, ComponentSpec, Condition, Read, Reader, reads, setting
from pimjax.chips.multiplexed.ledger_network import network_components, network_readers, system_reads
from pimjax.chips.multiplexed.ledger_swapping import SWAPS, swap_component, swap_readers
from pimjax.config.digital_map import has_digital_parts

# --- conditions -----------------------------------------------------------------------------------------------------
CALIBRATED = setting("plan.tile", "calibrated")
PARAMETRIC = setting("plan.tile", "parametric", decisive=True)
ANALOG = setting("plan.tile", "calibrated", "parametric")
IN_SRAM = Condition(
    "plan.tile",
    "digital_sram",
    lambda config: config.plan.tile == "digital_sram" or has_digital_parts(config),
    decisive=True,
)
MIXED = setting("plan.expert_tile", "mixed")
BY_SHARE = Condition(
    "plan.digital_experts", "a share", lambda config: not isinstance(config.plan.digital_experts, tuple)
)
SLICED = setting("numerics.weight_encoding", "sliced")
SERIAL = setting("numerics.input_encoding", "serial")
LOCAL = setting("plan.accumulate", "local")
DIGITAL = setting("plan.accumulate", "digital")
INLINE = setting("plan.combine", "inline")
DIGITAL_ROUTER = setting("plan.router", "digital")
LOOKUP = setting("plan.embedding", "lookup")
LINEAR = setting("plan.attention", "linear")
FITTED = setting("plan.attention", "fit")
RELU, GELU, SWIGLU = (setting("model.activation", kind) for kind in ("relu", "gelu", "swiglu"))
KV = setting("workload.kv_cache", True)
GO = setting("workload.go_cache", "full", "threshold")
CACHED = Condition("workload.kv_cache", "true", lambda run: run.workload.kv_cache or run.workload.go_cache != "none")
PREFETCH = setting("plan.dram_overlap", "prefetch")
ALWAYS = setting("plan.memory_idle", "always")
EXPERTS = Condition("model.num_experts", "1 or more", lambda config: config.model.num_experts > 0)
SHARED = Condition("plan.group_size", "2 or more", lambda config: config.plan.group_size > 1)
SHARING = Condition("plan.share", "position or pair", lambda config: config.plan.share != "none")
STACKED = Condition("hardware.tiers", "2 or more", lambda config: getattr(config.hardware, "tiers", 1) > 1)
PACKED = setting("plan.policy", "packed")
NO_MAP = Condition("plan.group_of_expert", "null", lambda config: config.plan.group_of_expert is None)
GATES = Condition(
    "hardware.gated_power_w_per_mm2",
    "less than hardware.idle_power_w_per_mm2",
    lambda config: (
        getattr(config.hardware, "gated_power_w_per_mm2", 0) < getattr(config.hardware, "idle_power_w_per_mm2", 0)
    ),
)

# --- groups of keys ---------------------------------------------------------------------------------------------------
_CIRCUIT = reads("adc_bits columns_per_adc node_nm crossbar_rows crossbar_cols plan.adc", PARAMETRIC)
_TILE = reads("plan.tile")
_CYCLES = reads("numerics.input_encoding read_phases", ANALOG) + reads(
    "numerics.input_bits numerics.signed_inputs numerics.cycle_bits", SERIAL, ANALOG
)
_MACRO = reads("digital_active_rows digital_cycle_bits node_nm crossbar_rows crossbar_cols", IN_SRAM)
_BITS = reads("numerics.weight_bits numerics.input_bits", IN_SRAM)
_RESULTS = reads("crossbar_rows crossbar_cols numerics.weight_encoding")  # slices are one result each
_BLOCKS = _RESULTS + reads("numerics.weight_bits numerics.cell_bits", SLICED)
_CORE_TIME = _TILE + reads("mvm_latency_ns", CALIBRATED) + _CIRCUIT + _CYCLES + _MACRO
_CORE_ENERGY = _TILE + reads("mvm_energy_nj", CALIBRATED) + _CIRCUIT + reads("supply_v", PARAMETRIC) + _CYCLES
_CORE_ENERGY += _MACRO + reads("supply_v", IN_SRAM)
_CORE_AREA = _TILE + reads("core_area_mm2", CALIBRATED) + _CIRCUIT + _MACRO
_MEMORY_TIME = reads("memory_bandwidth_gb_per_s memory_channels")
_MEMORY_ENERGY = reads("memory_energy_pj_per_bit")
_ON_CHIP = reads("sram_cache_bytes")
_WIDTHS = reads("crossbar_cols", LOCAL)
_GROUPS = reads("plan.group_size") + reads("plan.copies plan.share", EXPERTS)
_LEAKAGE = (
    reads("idle_power_w_per_mm2 gated_power_w_per_mm2") + reads("wake_latency_ns wake_energy_nj_per_mm2", GATES)
    + reads("shareable_fraction", CALIBRATED) + _CORE_AREA + _BLOCKS + _BITS + _GROUPS
    + reads("plan.router plan.embedding")
)  # fmt: skip
_UNIT_AREAS = reads("num_digital_units digital_unit_area_mm2 num_attention_units attention_unit_area_mm2")


def _given(items: tuple[Read, ...], *when: Condition) -> tuple[Read, ...]:
    return tuple(item.given(*when) for item in items)


#: what decides how large layers, groups and dies are, and so how far everything is
_SILICON = (
    *(_CORE_AREA + _BLOCKS + _GROUPS + _UNIT_AREAS),
    *reads("shareable_fraction", CALIBRATED),
    *reads("mux_area_um2_per_line accumulator_lanes accumulator_adder_area_um2 plan.accumulate plan.combine", EXPERTS),
    *reads("plan.router plan.embedding buffer_area_mm2_per_mb sram_cache_bytes plan.window_tokens memory_phy_area_mm2"),
    *reads("memory_channels"),
    *reads("out_buffer_slots plan.policy", EXPERTS),
)
_LOADS = system_reads("injection_bandwidth_gb_per_s", EXPERTS)

COMPONENTS = (
    ComponentSpec(
        "passive",
        "passive power",
        "idle",
        "passive power of units and of the memory",
        energy=reads("unit_power_w unit_power_area_mm2") + _UNIT_AREAS
        + _given(reads("memory_idle_w memory_channels") + _ON_CHIP, CACHED)
        + reads("memory_idle_w memory_channels", ALWAYS) + reads("memory_idle_w memory_channels", SWAPS)
        + reads("plan.memory_idle"),
        by_run_time=True,
        counted="ns of the run",
    ),
    ComponentSpec(
        "tier_linear",
        "crossbar products",
        "crossbars",
        "matrix-vector products: a faster or wider crossbar helps",
        time=_CORE_TIME + _BLOCKS + _BITS + reads("plan.router plan.embedding"),
        energy=_CORE_ENERGY + _BLOCKS + _BITS + reads("plan.router plan.embedding")
        + reads("plan.energy_scale_with_sharing plan.group_size", SHARED),
        counted="products",
        kinds=("tier_linear",),
    ),
    ComponentSpec(
        "communication",
        "links",
        "links",
        "transfers over links: faster links help",
        time=reads("link_latency_ns_per_256 plan.router plan.embedding") + _BLOCKS,
        energy=reads("link_energy_nj_per_256 plan.router plan.embedding") + _BLOCKS,
        counted="blocks sent",
        kinds=("communication_in", "communication_out", "communication_norm"),
    ),
    ComponentSpec(
        "layer_norm",
        "normalisation",
        "digital",
        "normalisation on digital units",
        time=reads("norm_latency_ns_per_256"),
        energy=reads("norm_energy_nj_per_256"),
        counted="normalisations",
        kinds=("layer_norm",),
    ),
    ComponentSpec(
        "digital_relu",
        "ReLU",
        "digital",
        "activation",
        time=reads("relu_latency_ns plan.accumulate", RELU),
        energy=reads("relu_energy_nj_per_256", RELU),
        counted="activations",
        kinds=("digital_relu",),
    ),
    ComponentSpec(
        "digital_gelu",
        "GELU",
        "digital",
        "activation",
        time=reads("gelu_latency_ns_per_256 gelu_latency_base_ns plan.accumulate", GELU) + _given(_WIDTHS, GELU),
        energy=reads("gelu_energy_nj_per_256", GELU),
        counted="activations",
        kinds=("digital_gelu",),
    ),
    ComponentSpec(
        "digital_add",
        "digital additions",
        "digital",
        "additions on digital units: more units, or accumulation beside the ADCs (plan.accumulate local), help",
        time=reads("add_latency_ns_per_256 add_latency_base_ns plan.accumulate plan.combine") + _given(_RESULTS, DIGITAL),
        energy=reads("add_energy_nj_per_256 plan.accumulate") + _given(_RESULTS, DIGITAL),
        counted="additions",
        kinds=("digital_add",),
    ),
    ComponentSpec(
        "multinomial",
        "sampling",
        "digital",
        "sampling", time=reads("sampling_latency_ns"), counted="samplings",
        kinds=("multinomial",),
    ),
    ComponentSpec(
        "dram_kv",
        "memory: keys, values",
        "memory",
        "reading keys and values: memory bandwidth, or reads that stream or run ahead, help",
        time=_given(_MEMORY_TIME + _ON_CHIP, KV),
        energy=_given(_MEMORY_ENERGY + _ON_CHIP, KV),
        counted="bytes of memory",
    ),
    ComponentSpec(
        "dram_go",
        "memory: gate outputs",
        "memory",
        "gate-output cache traffic: the threshold variant moves less",
        time=_given(_MEMORY_TIME + _ON_CHIP, GO),
        energy=_given(_MEMORY_ENERGY + _ON_CHIP, GO),
        counted="bytes of memory",
    ),
    ComponentSpec(
        "mha_comp",
        "attention",
        "attention",
        "attention: more attention units or another attention law help, not faster crossbars",
        time=reads("plan.attention") + reads("attention_latency_ns_per_pair num_attention_units", LINEAR)
        + reads("attention_fit_linear attention_fit_quadratic", FITTED),
        energy=reads("plan.attention") + reads("attention_energy_nj_per_pair", LINEAR)
        + reads("attention_fit_energy_nj", FITTED),
        counted="attention calls",
        kinds=("mha",),
    ),
    ComponentSpec(
        "digital_swiglu",
        "SwiGLU",
        "digital",
        "activation",
        time=reads("swiglu_latency_ns_per_256 swiglu_latency_base_ns plan.accumulate", SWIGLU) + _given(_WIDTHS, SWIGLU),
        energy=reads("swiglu_energy_nj_per_256", SWIGLU),
        counted="activations",
        kinds=("digital_swiglu",),
    ),
    ComponentSpec(
        "sharing_mux",
        "sharing multiplexer",
        "sharing",
        "settling of the sharing multiplexer",
        time=_given(
            reads("mux_on_resistance_kohm line_capacitance_pf mux_capacitance_pf adc_bits plan.group_size plan.share")
            + _BLOCKS,
            SHARING, SHARED,
        ),
        counted="crossbars switched",
    ),
    ComponentSpec(
        "input_load",
        "token loads",
        "links",
        "loading tokens: input links or a better schedule help",
        time=reads("input_links link_bandwidth_gb_per_s crossbar_rows", EXPERTS)
        + _LOADS,
        energy=reads("link_energy_nj_per_256 crossbar_rows", EXPERTS),
        counted="token loads",
        kinds=("input_load",),
    ),
    ComponentSpec(
        "local_accumulation",
        "local accumulation",
        "sharing",
        "local accumulation",
        time=reads("plan.accumulate") + _given(reads("accumulator_lanes accumulator_frequency_ghz") + _RESULTS
                                               + reads("plan.router"), LOCAL),
        energy=reads("plan.accumulate") + _given(reads("add_energy_nj_per_256 plan.router") + _RESULTS, LOCAL),
        counted="strips added",
    ),
    ComponentSpec(
        "router",
        "router",
        "digital",
        "router on a digital unit",
        time=_given(reads("router_values_per_ns plan.router"), DIGITAL_ROUTER, EXPERTS),
        energy=_given(reads("add_energy_nj_per_256 plan.router"), DIGITAL_ROUTER, EXPERTS),
        counted="routings",
        kinds=("router",),
    ),
    ComponentSpec(
        "scheduler",
        "scheduler",
        "digital",
        "computing the schedule", time=reads("scheduler_ns_per_token", EXPERTS),
        counted="tokens scheduled",
    ),
    ComponentSpec(
        "embedding",
        "memory: embeddings",
        "memory",
        "reading embeddings: memory bandwidth helps, and for prompts reads that stream",
        time=_given(_MEMORY_TIME, LOOKUP),
        energy=_given(_MEMORY_ENERGY, LOOKUP),
        counted="bytes of memory",
    ),
    ComponentSpec(
        "sram",
        "on-chip caches",
        "memory",
        "on-chip cache accesses",
        time=_given(reads("sram_bandwidth_gb_per_s") + _ON_CHIP, CACHED),
        energy=_given(reads("sram_energy_pj_per_byte") + _ON_CHIP, CACHED),
        counted="bytes of SRAM",
    ),
    *network_components(_SILICON, reads("numerics.weight_bits", IN_SRAM), SWAPS),
    swap_component(_BLOCKS, _MEMORY_TIME, _MEMORY_ENERGY),
    ComponentSpec(
        "leakage_idle",
        "powered peripherals",
        "idle",
        "leakage of peripherals that convert, wait or wake up",
        energy=_LEAKAGE + reads("active_power_w_per_mm2"),
        by_run_time=True,
        counted="ns of the run",
    ),
    ComponentSpec(
        "leakage_gated",
        "gated peripherals",
        "idle",
        "leakage of peripherals that are switched off",
        energy=_given(_LEAKAGE, GATES),
        by_run_time=True,
        counted="ns of the run",
    ),
    ComponentSpec(
        "moe_crossbars",
        "experts' crossbars",
        "crossbars",
        "experts' crossbars",
        area=_given(_CORE_AREA + _BLOCKS + _BITS, EXPERTS) + reads("shareable_fraction", CALIBRATED, EXPERTS)
        + _given(reads("mux_area_um2_per_line tiers"), SHARED, SHARING)
        + _given(reads("tier_area_overhead"), SHARED, SHARING, STACKED)
        + reads("accumulator_lanes accumulator_adder_area_um2 plan.accumulate plan.combine", EXPERTS) + _GROUPS,
        counted="crossbars",
    ),
    ComponentSpec(
        "dense_crossbars",
        "other crossbars",
        "dense crossbars",
        "all other crossbars",
        area=_CORE_AREA + _BLOCKS + _BITS + reads("plan.router plan.embedding"), counted="crossbars",
    ),
    ComponentSpec(
        "digital_units",
        "digital units",
        "digital",
        "digital units", area=reads("num_digital_units digital_unit_area_mm2"),
        counted="units",
    ),
    ComponentSpec(
        "attention_units",
        "attention units",
        "attention",
        "attention units",
        area=reads("num_attention_units attention_unit_area_mm2"), counted="units",
    ),
    ComponentSpec(
        "buffers",
        "buffers",
        "memory",
        "buffers",
        area=reads("buffer_area_mm2_per_mb sram_cache_bytes plan.window_tokens")
        + reads("out_buffer_slots plan.policy", EXPERTS) + _GROUPS,
        counted="MB",
    ),
    ComponentSpec(
        "memory_interface",
        "memory on the die",
        "memory",
        "interfaces of the memory's channels, or arrays of a memory on the die",
        area=reads("memory_phy_area_mm2 memory_channels"), counted="channels",
    ),
)  # fmt: skip

_ACCURACY = (
    "adc_bits columns_per_adc crossbar_rows crossbar_cols read_phases plan.router numerics.weight_encoding numerics.weight_bits "
    "numerics.cell_bits numerics.input_encoding numerics.signed_inputs numerics.input_bits numerics.cycle_bits "
    "numerics.adc_ideal numerics.adc_range numerics.adc_range_value numerics.adc_range_percentile numerics.device "
    "numerics.noise_scale numerics.polarity_spread numerics.drift_seconds numerics.stuck_fraction numerics.on_off_ratio "
    "numerics.wire_resistance_ohm numerics.adc_gain_spread numerics.calibrated_gain numerics.seed"
)

READERS = (
    Reader(
        "the schedule",
        reads("plan.group_size", EXPERTS, NO_MAP)
        + reads("plan.grouping", EXPERTS, NO_MAP, SHARED, SHARING)
        + reads("plan.group_of_expert plan.copies plan.policy plan.window_tokens plan.barrier plan.share plan.input_hold",
                EXPERTS)
        + reads("plan.max_open_tokens", EXPERTS, PACKED),
    ),
    Reader(
        "which parts are digital",
        reads("plan.expert_tile", EXPERTS) + reads("plan.digital_experts", EXPERTS, MIXED) + reads("plan.digital_dense")
        + reads("plan.digital_order", EXPERTS, MIXED, BY_SHARE),
    ),
    Reader("queues on the units", reads("num_digital_units num_attention_units plan.accumulate plan.combine")),
    Reader("back-pressure and return links", reads("out_links out_buffer_slots", EXPERTS)),
    Reader(
        "reading ahead",
        reads("plan.dram_overlap", KV) + reads("plan.dram_overlap", LOOKUP) + reads("kv_prefetch_bytes", KV, PREFETCH),
    ),
    Reader("waits for the memory", reads("memory_latency_ns", CACHED) + reads("memory_latency_ns", LOOKUP)),
    Reader(
        "whether the model fits",
        reads("tiles") + reads("memory_capacity_gb", CACHED) + reads("memory_capacity_gb numerics.weight_bits", SWAPS),
    ),
    *swap_readers(EXPERTS),
    *network_readers(_SILICON, _LOADS, EXPERTS),
    Reader("heat", reads(HEAT)),
    Reader("waking up", reads("wake_latency_ns", GATES, EXPERTS)),
    Reader("accuracy (estimate --accuracy)", reads(_ACCURACY, ANALOG), of_run=False),
    Reader(
        "accuracy of digital macros", reads("crossbar_rows numerics.weight_bits numerics.input_bits", IN_SRAM), of_run=False
    ),
    Reader(
        "writing weights (estimate --explain)",
        reads("program_pulse_mvms program_verify_passes program_pulse_energy_pj"),
        of_run=False,
    ),
)  # fmt: skip
