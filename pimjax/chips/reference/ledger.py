"""Components of the authors' simulator: its own names, what they are for people, and the numbers behind them."""

from __future__ import annotations

from pimjax.chips.ledger import HEAT, ComponentSpec, Reader, reads, setting

_CACHED = setting("workload.go_cache", "full", "threshold", "authors")
_KV = setting("workload.kv_cache", True)
_BLOCKS = reads("crossbar_rows crossbar_cols")
_DRAM = reads("dram_bandwidth_gb_per_s")
_ROUNDED = reads("plan.whole_ns")

COMPONENTS = (
    ComponentSpec(
        "passive",
        "passive power",
        "idle",
        "passive power of units, and of the DRAM where a gate-output cache lives there",
        energy=reads("unit_power_w") + reads("dram_idle_power_w", _CACHED),
        by_run_time=True,
        counted="ns of the run",
    ),
    ComponentSpec(
        "tier_linear",
        "crossbar products",
        "crossbars",
        "matrix-vector products: a faster or wider crossbar helps",
        time=reads("mvm_latency_ns mvm_factor") + _BLOCKS + _ROUNDED,
        energy=reads("mvm_energy_nj") + _BLOCKS,
        counted="products",
        kinds=("tier_linear",),
    ),
    ComponentSpec(
        "communication",
        "links",
        "links",
        "transfers over links: faster links help",
        time=reads("link_latency_ns_per_256 comm_factor") + _BLOCKS + _ROUNDED,
        energy=reads("link_energy_nj_per_256 comm_factor") + _BLOCKS,
        counted="blocks sent",
        kinds=("communication_in", "communication_out", "communication_norm"),
    ),
    ComponentSpec(
        "layer_norm",
        "normalisation",
        "digital",
        "normalisation on digital units",
        time=reads("norm_latency_ns_per_256") + _ROUNDED,
        energy=reads("norm_energy_nj_per_256"),
        counted="normalisations",
        kinds=("layer_norm",),
    ),
    ComponentSpec(
        "digital_relu",
        "ReLU",
        "digital",
        "activation",
        time=reads("relu_latency_ns") + _ROUNDED,
        energy=reads("relu_energy_nj_per_256"),
        counted="activations",
        kinds=("digital_relu",),
    ),
    ComponentSpec(
        "digital_add",
        "digital additions",
        "digital",
        "additions on digital units: more units help",
        time=reads("add_latency_ns_per_256 add_latency_base_ns") + _BLOCKS + _ROUNDED,
        energy=reads("add_energy_nj_per_256") + _BLOCKS,
        counted="additions",
        kinds=("digital_add",),
    ),
    ComponentSpec(
        "multinomial",
        "sampling",
        "digital",
        "sampling", time=reads("sampling_latency_ns") + _ROUNDED, counted="samplings",
        kinds=("multinomial",),
    ),
    ComponentSpec(
        "dram_kv",
        "DRAM: keys, values",
        "memory",
        "reading keys and values: DRAM bandwidth helps",
        time=tuple(read.given(_KV) for read in _DRAM + _ROUNDED),
        energy=tuple(read.given(_KV) for read in reads("dram_active_power_w") + _DRAM),
        counted="bytes of DRAM",
    ),
    ComponentSpec(
        "dram_go",
        "DRAM: gate outputs",
        "memory",
        "gate-output cache traffic: recorded by the authors, in neither time nor energy",
        time=tuple(read.given(_CACHED) for read in _DRAM + _ROUNDED),
        counted="bytes of DRAM",
    ),
    ComponentSpec(
        "mha_comp",
        "attention",
        "attention",
        "attention: another attention law helps, not faster crossbars",
        time=reads("attention_fit_linear attention_fit_quadratic") + _ROUNDED,
        energy=reads("attention_fit_energy_nj"),
        counted="attention calls",
        kinds=("mha",),
    ),
    ComponentSpec(
        "moe_crossbars",
        "experts' crossbars",
        "crossbars",
        "experts' crossbars", area=reads("core_area_mm2") + _BLOCKS, counted="crossbars"),
    ComponentSpec(
        "dense_crossbars",
        "other crossbars",
        "dense crossbars",
        "all other crossbars", area=reads("core_area_mm2") + _BLOCKS, counted="crossbars"),
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
)  # fmt: skip

_ACCURACY = (
    "adc_bits columns_per_adc numerics.weight_encoding numerics.weight_bits numerics.cell_bits numerics.input_encoding "
    "numerics.signed_inputs numerics.input_bits numerics.cycle_bits numerics.adc_ideal numerics.adc_range "
    "numerics.adc_range_value numerics.adc_range_percentile numerics.device numerics.noise_scale "
    "numerics.drift_seconds numerics.stuck_fraction numerics.on_off_ratio numerics.wire_resistance_ohm "
    "numerics.adc_gain_spread numerics.calibrated_gain numerics.seed"
)

READERS = (
    Reader("queues on the units", reads("num_digital_units")),
    Reader("the time and the scratchpad of stacked tiers", reads("tiers")),
    Reader("whether the model fits", reads("tiles")),
    Reader("the number of dies", reads("reticle_area_mm2")),
    Reader("heat", reads(HEAT)),
    Reader("accuracy (estimate --accuracy)", reads(_ACCURACY), of_run=False),
    Reader(
        "writing weights (estimate --explain)",
        reads("program_pulse_mvms program_verify_passes program_pulse_energy_pj"),
        of_run=False,
    ),
)
