"""The chip: every physical number, with unit, source and range; and its traced twin."""

from __future__ import annotations

import jax
from flax import struct

from pimjax.config.base import Section, number

_HERMES = "HERMES, JSSC 57(4) 2022, doi 10.1109/JSSC.2022.3140414"
_SIMULATOR = "authors' simulator of arXiv 2602.10254, accelerator constants"
_SURVEY = "IBM 3D-SiM, Nat. Comput. Sci. 2025, doi 10.1038/s43588-024-00753-x"
_NONE = "assumption without a published source"


class HardwareConfig(Section):
    """Host description of a chip. Units are in the names; every number may be overridden, swept or tuned."""

    # --- crossbars -----------------------------------------------------------------------------------------
    crossbar_rows: float = number(256, unit="rows", about="Rows (inputs) of one crossbar", source=_HERMES, gt=0)
    crossbar_cols: float = number(256, unit="columns", about="Columns (outputs) of one crossbar", source=_HERMES, gt=0)
    tiles: float | None = number(
        None, unit="crossbars", about="Crossbars on the chip; null: as many as the mapping needs", source=_SIMULATOR, ge=1
    )  # fmt: skip
    tiers: float = number(1, unit="tiers", about="Stacked tiers per tile; one works at a time", source=_SIMULATOR, ge=1)
    mvm_latency_ns: float = number(
        130, unit="ns", about="One matrix-vector product of a full crossbar", spread=(100, 160),
        source=f"{_HERMES}: 2*256*256/1.008 TOPS", gt=0,
    )  # fmt: skip
    mvm_energy_nj: float = number(
        12.48, unit="nJ", about="Energy of one matrix-vector product", spread=(9, 16),
        source=f"{_HERMES}: 131072 operations / 10.5 TOPS/W", gt=0,
    )  # fmt: skip
    core_area_mm2: float = number(
        0.634, unit="mm2", about="One crossbar with its peripherals, unshared", spread=(0.6, 0.66),
        source=f"{_HERMES}: 1.008 TOPS / 1.59 TOPS/mm2", gt=0,
    )  # fmt: skip
    # --- sharing peripherals among the crossbars of a group -------------------------------------------------
    shareable_fraction: float = number(
        0.8, unit="1", about="Part s of the core area that a group shares; area factor (1-s) + s/g", spread=(0.4, 0.8),
        source="arXiv 2602.10254 uses 1.0/0.6/0.4 for 1/2/4 experts; doi 10.1038/s41928-025-01537-5 bounds it below",
        assumed=True, ge=0, le=1,
    )  # fmt: skip
    mux_on_resistance_kohm: float = number(
        1.0, unit="kOhm", about="On-resistance of the sharing multiplexer", spread=(0.3, 5), source=_NONE, assumed=True, ge=0
    )  # fmt: skip
    line_capacitance_pf: float = number(
        0.25, unit="pF", about="Capacitance of a shared line", spread=(0.1, 1), source=_NONE, assumed=True, ge=0
    )  # fmt: skip
    mux_capacitance_pf: float = number(
        0.005, unit="pF", about="Capacitance each multiplexed crossbar adds", spread=(0.001, 0.02), source=_NONE,
        assumed=True, ge=0,
    )  # fmt: skip
    mux_area_um2_per_line: float = number(
        2.0, unit="um2", about="Multiplexer area per row or column line of one crossbar", spread=(0.5, 8), source=_NONE,
        assumed=True, ge=0,
    )  # fmt: skip
    # --- converters (used by the multiplexer's settling, the parametric tile and the numerics) ---------------
    adc_bits: float = number(8, unit="bit", about="ADC resolution", source=_HERMES, ge=1, le=16)
    columns_per_adc: float = number(1, unit="columns", about="Columns that take turns at one ADC", source=_HERMES, ge=1)
    node_nm: float = number(14, unit="nm", about="Technology node (parametric tile)", source=_HERMES, ge=3, le=250)
    supply_v: float = number(0.8, unit="V", about="Supply voltage (parametric tile)", source=_HERMES, ge=0.3, le=3.3)
    # --- local accumulation ----------------------------------------------------------------------------------
    accumulator_lanes: float = number(
        64, unit="lanes", about="Adders per column strip for partial sums", spread=(16, 256), source=_NONE, assumed=True, gt=0
    )  # fmt: skip
    accumulator_frequency_ghz: float = number(
        1.0, unit="GHz", about="Clock of the local accumulators", spread=(0.5, 2), source=_NONE, assumed=True, gt=0
    )  # fmt: skip
    accumulator_adder_area_um2: float = number(
        278 * 0.17, unit="um2", about="One 32-bit adder at 14 nm", spread=(30, 80),
        source="Aladdin 40 nm adder 278 um2 x Stillmaker & Baas 45 -> 14 nm factor 0.17", ge=0,
    )  # fmt: skip
    # --- links -------------------------------------------------------------------------------------------------
    link_latency_ns_per_256: float = number(
        12, unit="ns", about="One block of 256 values over one hop", source=_SIMULATOR, ge=0
    )
    link_energy_nj_per_256: float = number(0.01293, unit="nJ", about="Energy of that transfer", source=_SIMULATOR, ge=0)
    input_links: float | None = number(
        None, unit="links", about="Links that bring a token's activations in; null: one per row block",
        source=f"{_SIMULATOR}: unlimited communication", spread=(1, 16), assumed=True, gt=0,
    )  # fmt: skip
    link_bandwidth_gb_per_s: float = number(
        256 / 12, unit="GB/s", about="Bandwidth of one input link", source=f"{_SIMULATOR}: 256 bytes in 12 ns", gt=0
    )  # fmt: skip
    out_links: float | None = number(
        None, unit="links", about="Shared return links; null: one set per group (no limit)", source=_SIMULATOR, gt=0
    )  # fmt: skip
    out_buffer_slots: float | None = number(
        4, unit="slots", about="Slots of results a group can hold before it must stall; null: no limit", spread=(1, 8), source=_NONE,
        assumed=True, ge=0,
    )  # fmt: skip
    comm_factor: float = number(
        1, unit="1", about="Scale of input transfers (reference model only)", source=_SIMULATOR, ge=0
    )
    mvm_factor: float = number(
        1, unit="1", about="Scale of the MVM latency in passes with decode id 0 (reference model only)", source=_SIMULATOR, gt=0
    )  # fmt: skip
    # --- digital units -------------------------------------------------------------------------------------------
    num_digital_units: float = number(5, unit="units", about="Digital processing units", source=_SIMULATOR, ge=1)
    digital_unit_area_mm2: float = number(1.25, unit="mm2", about="Area of one digital unit", source=_SURVEY, ge=0)
    add_latency_ns_per_256: float = number(8, unit="ns", about="Addition per 256 values", source=_SIMULATOR, ge=0)
    add_latency_base_ns: float = number(4, unit="ns", about="Fixed part of an addition", source=_SIMULATOR, ge=0)
    add_energy_nj_per_256: float = number(0.00943, unit="nJ", about="Addition per 256 values", source=_SIMULATOR, ge=0)
    norm_latency_ns_per_256: float = number(
        50, unit="ns", about="Normalisation per 256 values", source=_SIMULATOR, ge=0
    )
    norm_energy_nj_per_256: float = number(
        0.02096, unit="nJ", about="Normalisation per 256 values", source=_SIMULATOR, ge=0
    )
    relu_latency_ns: float = number(1, unit="ns", about="ReLU of any width", source=_SIMULATOR, ge=0)
    relu_energy_nj_per_256: float = number(0.00002, unit="nJ", about="ReLU per 256 values", source=_SIMULATOR, ge=0)
    gelu_latency_ns_per_256: float = number(16, unit="ns", about="GELU per 256 values", source=_SIMULATOR, ge=0)
    gelu_latency_base_ns: float = number(6, unit="ns", about="Fixed part of a GELU", source=_SIMULATOR, ge=0)
    gelu_energy_nj_per_256: float = number(0.00963, unit="nJ", about="GELU per 256 values", source=_SIMULATOR, ge=0)
    swiglu_latency_ns_per_256: float = number(
        24, unit="ns", about="SwiGLU (activation and product) per 256 values", spread=(16, 40),
        source="GELU and addition laws of the authors' simulator", assumed=True, ge=0,
    )  # fmt: skip
    swiglu_latency_base_ns: float = number(
        10, unit="ns", about="Fixed part of a SwiGLU", spread=(6, 14), source="as swiglu_latency_ns_per_256", assumed=True, ge=0
    )  # fmt: skip
    swiglu_energy_nj_per_256: float = number(
        0.01906, unit="nJ", about="SwiGLU per 256 values: a GELU and one addition-sized product", spread=(0.01, 0.04),
        source="GELU and addition laws of the authors' simulator", assumed=True, ge=0,
    )  # fmt: skip
    sampling_latency_ns: float = number(10, unit="ns", about="Sampling the next token", source=_SIMULATOR, ge=0)
    router_values_per_ns: float = number(
        32, unit="1/ns", about="Multiply-adds per ns of a router on one digital unit", source="addition law: 256 values in 8 ns", gt=0
    )  # fmt: skip
    scheduler_ns_per_token: float = number(
        0, unit="ns", about="Time to compute the schedule at run time, per token", spread=(0, 1000), source=_NONE, assumed=True, ge=0
    )  # fmt: skip
    # --- attention units --------------------------------------------------------------------------------------------
    num_attention_units: float = number(
        4, unit="units", about="Attention units; heads are dealt to them", source=_SIMULATOR, ge=1
    )
    attention_unit_area_mm2: float = number(5.0, unit="mm2", about="Area of one attention unit", source=_SURVEY, ge=0)
    attention_latency_ns_per_pair: float = number(
        4.1e-3, unit="ns", about="Linear law: per (query, key, channel)", source="3D-SiM attention table, linear in d", ge=0
    )  # fmt: skip
    attention_energy_nj_per_pair: float = number(
        0.557e-3, unit="nJ", about="Linear law: per (query, key, channel)", spread=(0.022289e-3, 0.557e-3),
        source="authors' simulator; the 3D-SiM table is 25 times lower", ge=0,
    )  # fmt: skip
    attention_fit_linear: float = number(
        1.064e-4, unit="ns", about="Fitted law: L^2 d coefficient", source=_SIMULATOR, ge=0
    )
    attention_fit_quadratic: float = number(
        1.521e-5, unit="ns", about="Fitted law: L^2 d^2 coefficient", source=_SIMULATOR, ge=0
    )
    attention_fit_energy_nj: float = number(
        0.557225e-3, unit="nJ", about="Fitted law: L^2 d coefficient of energy", source=_SIMULATOR, ge=0
    )  # fmt: skip
    # --- memory --------------------------------------------------------------------------------------------------------
    dram_bandwidth_gb_per_s: float = number(5.332, unit="GB/s", about="DRAM bandwidth", source=_SIMULATOR, gt=0)
    dram_active_power_w: float = number(
        0.2467, unit="W", about="DRAM power while transferring", source=_SIMULATOR, ge=0
    )
    dram_idle_power_w: float = number(
        0.1297, unit="W", about="DRAM power when a cache lives there", source=_SIMULATOR, ge=0
    )
    kv_prefetch_bytes: float = number(
        65536, unit="bytes", about="KV bytes that may be read ahead (dram_overlap = prefetch)", spread=(0, 1_048_576), source=_NONE, assumed=True, ge=0
    )  # fmt: skip
    sram_cache_bytes: float = number(
        0, unit="bytes", about="On-chip SRAM in front of the DRAM for KV and gate-output caches", spread=(0, 8_388_608), source=_NONE, assumed=True, ge=0
    )  # fmt: skip
    sram_bandwidth_gb_per_s: float = number(
        64, unit="GB/s", about="Bandwidth of the SRAM caches", spread=(32, 256), source=_NONE, assumed=True, gt=0
    )  # fmt: skip
    sram_energy_pj_per_byte: float = number(
        0.14, unit="pJ", about="SRAM buffer access per byte at 14 nm", spread=(0.1, 0.17),
        source="3D-CIMlet buffer table: 0.0126-0.0179 pJ/bit", ge=0,
    )  # fmt: skip
    buffer_area_mm2_per_mb: float = number(
        1.0, unit="mm2/MB", about="Area of on-chip buffers", spread=(0.5, 2.0),
        source="assumption; ISAAC's eDRAM scaled to 14 nm gives 0.50", assumed=True, ge=0,
    )  # fmt: skip
    # --- power and area that no operation owns ------------------------------------------------------------------------------
    idle_power_w_per_mm2: float = number(
        1e-4, unit="W/mm2", about="Idle power of crossbar peripherals", spread=(0, 1e-2),
        source="assumption: gated 14 nm logic; the authors use 0", assumed=True, ge=0,
    )  # fmt: skip
    unit_power_w: float = number(
        0.02412, unit="W", about="Passive power of 5 digital and 4 attention units", source=_SIMULATOR, ge=0
    )  # fmt: skip
    unit_power_area_mm2: float = number(
        26.25, unit="mm2", about="Area that unit_power_w belongs to (multiplexed model scales by area)",
        source="5 x 1.25 + 4 x 5 mm2", gt=0,
    )  # fmt: skip
    reticle_area_mm2: float = number(858, unit="mm2", about="Largest die", source="26 mm x 33 mm exposure field", gt=0)
    # --- writing weights ------------------------------------------------------------------------------------------------------
    program_pulse_mvms: float = number(
        25, unit="MVM times", about="One write pass of a row, in MVM latencies", spread=(20, 30),
        source="JETCAS 2022, doi 10.1109/JETCAS.2022.3170152: 20-30x; unit of work not named", assumed=True, ge=0,
    )  # fmt: skip
    program_verify_passes: float = number(
        10, unit="passes", about="Program-and-verify passes per row", spread=(3, 30), source=_NONE, assumed=True, ge=0
    )  # fmt: skip
    program_pulse_energy_pj: float = number(
        10, unit="pJ", about="Energy of one device pulse", spread=(1, 30), source=_NONE, assumed=True, ge=0
    )  # fmt: skip


@struct.dataclass
class Hardware:
    """Traced twin of :class:`HardwareConfig`: every leaf a floating-point scalar, so `jax.grad` works over it.

    Field names, order and units are those of :class:`HardwareConfig` (a test holds them together). `None` there is
    `inf` for `tiles` and `out_buffer_slots` and 0 for `input_links` and `out_links` here. The last two are derived from the numerics section.
    """

    crossbar_rows: jax.Array
    crossbar_cols: jax.Array
    tiles: jax.Array
    tiers: jax.Array
    mvm_latency_ns: jax.Array
    mvm_energy_nj: jax.Array
    core_area_mm2: jax.Array
    shareable_fraction: jax.Array
    mux_on_resistance_kohm: jax.Array
    line_capacitance_pf: jax.Array
    mux_capacitance_pf: jax.Array
    mux_area_um2_per_line: jax.Array
    adc_bits: jax.Array
    columns_per_adc: jax.Array
    node_nm: jax.Array
    supply_v: jax.Array
    accumulator_lanes: jax.Array
    accumulator_frequency_ghz: jax.Array
    accumulator_adder_area_um2: jax.Array
    link_latency_ns_per_256: jax.Array
    link_energy_nj_per_256: jax.Array
    input_links: jax.Array
    link_bandwidth_gb_per_s: jax.Array
    out_links: jax.Array
    out_buffer_slots: jax.Array
    comm_factor: jax.Array
    mvm_factor: jax.Array
    num_digital_units: jax.Array
    digital_unit_area_mm2: jax.Array
    add_latency_ns_per_256: jax.Array
    add_latency_base_ns: jax.Array
    add_energy_nj_per_256: jax.Array
    norm_latency_ns_per_256: jax.Array
    norm_energy_nj_per_256: jax.Array
    relu_latency_ns: jax.Array
    relu_energy_nj_per_256: jax.Array
    gelu_latency_ns_per_256: jax.Array
    gelu_latency_base_ns: jax.Array
    gelu_energy_nj_per_256: jax.Array
    swiglu_latency_ns_per_256: jax.Array
    swiglu_latency_base_ns: jax.Array
    swiglu_energy_nj_per_256: jax.Array
    sampling_latency_ns: jax.Array
    router_values_per_ns: jax.Array
    scheduler_ns_per_token: jax.Array
    num_attention_units: jax.Array
    attention_unit_area_mm2: jax.Array
    attention_latency_ns_per_pair: jax.Array
    attention_energy_nj_per_pair: jax.Array
    attention_fit_linear: jax.Array
    attention_fit_quadratic: jax.Array
    attention_fit_energy_nj: jax.Array
    dram_bandwidth_gb_per_s: jax.Array
    dram_active_power_w: jax.Array
    dram_idle_power_w: jax.Array
    kv_prefetch_bytes: jax.Array
    sram_cache_bytes: jax.Array
    sram_bandwidth_gb_per_s: jax.Array
    sram_energy_pj_per_byte: jax.Array
    buffer_area_mm2_per_mb: jax.Array
    idle_power_w_per_mm2: jax.Array
    unit_power_w: jax.Array
    unit_power_area_mm2: jax.Array
    reticle_area_mm2: jax.Array
    program_pulse_mvms: jax.Array
    program_verify_passes: jax.Array
    program_pulse_energy_pj: jax.Array
    weight_slices: jax.Array
    input_cycles: jax.Array


#: What `None` in :class:`HardwareConfig` becomes in :class:`Hardware`.
ABSENT = {"tiles": float("inf"), "input_links": 0.0, "out_links": 0.0, "out_buffer_slots": float("inf")}
