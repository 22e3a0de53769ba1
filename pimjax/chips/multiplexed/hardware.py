"""The `hardware` section of the multiplexed chip."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, cast

from pimjax.chips.parts.numbers import (
    HERMES,
    NONE,
    SIMULATOR,
    AttentionNumbers,
    CrossbarNumbers,
    DigitalUnitNumbers,
    LinkNumbers,
    MemoryNumbers,
    PeripheralPowerNumbers,
    PowerNumbers,
    ProgrammingNumbers,
    SystemNumbers,
)
from pimjax.config.base import number
from pimjax.config.numerics import NumericsConfig

if TYPE_CHECKING:
    from pimjax.config.config import Config


class MultiplexedHardware(
    SystemNumbers,
    ProgrammingNumbers,
    PeripheralPowerNumbers,
    PowerNumbers,
    MemoryNumbers,
    AttentionNumbers,
    DigitalUnitNumbers,
    LinkNumbers,
    CrossbarNumbers,
):
    """Host description of the chip whose experts share peripherals. Units are in the names."""

    absent: ClassVar[dict[str, float]] = {
        "tiles": float("inf"),
        "input_links": 0.0,
        "out_links": 0.0,
        "out_buffer_slots": float("inf"),
    }
    derived: ClassVar[dict[str, Callable[[NumericsConfig], float]]] = {
        "weight_slices": lambda numerics: numerics.weight_slices,
        "input_cycles": lambda numerics: numerics.input_cycles,
        "weight_bits": lambda numerics: numerics.weight_bits,
        "input_bits": lambda numerics: numerics.input_bits,
    }

    shareable_fraction: float = number(
        0.8, unit="1", about="Part s of the core area that a group shares; area factor (1-s) + s/g", spread=(0.4, 0.8),
        source="arXiv 2602.10254 uses 1.0/0.6/0.4 for 1/2/4 experts; doi 10.1038/s41928-025-01537-5 bounds it below",
        assumed=True, ge=0, le=1,
    )  # fmt: skip
    tiers: float = number(
        1, chosen=True, whole=True, unit="tiers", about="Planes of cells above each other; experts of a group are stacked, one works at a time",
        source="flat chip; IBM's 3D analog in-memory chips stack tiers, doi 10.1038/s43588-024-00753-x", ge=1,
    )  # fmt: skip
    tier_area_overhead: float = number(
        0.33, unit="1", about="Area that every further tier adds, as a part of the cells' area", spread=(0.05, 0.5),
        source="512 lines at 9 um bonds over the array's 0.127 mm2; 0.05 needs 3.5 um", assumed=True, ge=0, le=1,
    )  # fmt: skip
    mux_on_resistance_kohm: float = number(
        1.0, unit="kOhm", about="On-resistance of the sharing multiplexer", spread=(0.3, 5), source=NONE, assumed=True, ge=0
    )  # fmt: skip
    line_capacitance_pf: float = number(
        0.25, unit="pF", about="Capacitance of a shared line", spread=(0.1, 1), source=NONE, assumed=True, ge=0
    )  # fmt: skip
    mux_capacitance_pf: float = number(
        0.005, unit="pF", about="Capacitance each multiplexed crossbar adds", spread=(0.001, 0.02), source=NONE,
        assumed=True, ge=0,
    )  # fmt: skip
    mux_area_um2_per_line: float = number(
        2.0, unit="um2", about="Multiplexer area per row or column line of one crossbar", spread=(0.5, 8), source=NONE,
        assumed=True, ge=0,
    )  # fmt: skip
    read_phases: float = number(
        1, chosen=True, whole=True, unit="phases", about="Reads of one product: 1, all signs at once, or 4, the signs of inputs and of weights one after the other",
        source="HERMES-64, doi 10.1038/s41928-023-01010-1: one-phase (low precision) and four-phase (high precision) mode", ge=1, le=4,
    )  # fmt: skip
    node_nm: float = number(
        14,
        chosen=True,
        unit="nm",
        about="Technology node (parametric tile, digital macros)",
        source=HERMES,
        ge=3,
        le=250,
    )
    supply_v: float = number(
        0.8,
        chosen=True,
        unit="V",
        about="Supply voltage (parametric tile, digital macros)",
        source=HERMES,
        ge=0.3,
        le=3.3,
    )
    digital_active_rows: float = number(
        64, chosen=True, whole=True, unit="rows", about="Rows of a digital SRAM macro that compute at once; the others wait behind them",
        source="28 nm macros add up 32 to 128 rows at once: IEEE 9731762, 10067260, 10067779", spread=(16, 256), ge=1,
    )  # fmt: skip
    digital_cycle_bits: float = number(
        1, chosen=True, whole=True, unit="bit", about="Input bits that a digital SRAM macro takes per cycle",
        source="28 nm macros take 1 or 2: IEEE 9731545, 10067779; 9731762, 10067260", spread=(1, 4), ge=1, le=16,
    )  # fmt: skip
    accumulator_lanes: float = number(
        64, chosen=True, whole=True, unit="lanes", about="Adders per column strip for partial sums", spread=(16, 256), source=NONE, assumed=True, gt=0
    )  # fmt: skip
    accumulator_frequency_ghz: float = number(
        1.0, unit="GHz", about="Clock of the local accumulators", spread=(0.5, 2), source=NONE, assumed=True, gt=0
    )  # fmt: skip
    accumulator_adder_area_um2: float = number(
        278 * 0.17, unit="um2", about="One 32-bit adder at 14 nm", spread=(30, 80),
        source="Aladdin 40 nm adder 278 um2 x Stillmaker & Baas 45 -> 14 nm factor 0.17", ge=0,
    )  # fmt: skip
    input_links: float | None = number(
        None, chosen=True, whole=True, unit="links", about="Links that bring a token's activations in; null: one per row block",
        source=f"{SIMULATOR}: unlimited communication", spread=(1, 16), assumed=True, gt=0,
    )  # fmt: skip
    link_bandwidth_gb_per_s: float = number(
        256 / 12, unit="GB/s", about="Bandwidth of one input link", source=f"{SIMULATOR}: 256 bytes in 12 ns", gt=0
    )  # fmt: skip
    out_links: float | None = number(
        None, chosen=True, whole=True, unit="links", about="Shared return links; null: one set per group (no limit)", source=SIMULATOR, gt=0
    )  # fmt: skip
    out_buffer_slots: float | None = number(
        4, chosen=True, unit="slots", about="Slots of results a group can hold before it must stall; null: no limit", spread=(1, 8), source=NONE,
        assumed=True, ge=0,
    )  # fmt: skip
    gelu_latency_ns_per_256: float = number(16, unit="ns", about="GELU per 256 values", source=SIMULATOR, ge=0)
    gelu_latency_base_ns: float = number(6, unit="ns", about="Fixed part of a GELU", source=SIMULATOR, ge=0)
    gelu_energy_nj_per_256: float = number(0.00963, unit="nJ", about="GELU per 256 values", source=SIMULATOR, ge=0)
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
    router_values_per_ns: float = number(
        32, unit="1/ns", about="Multiply-adds per ns of a router on one digital unit", source="addition law: 256 values in 8 ns", gt=0
    )  # fmt: skip
    scheduler_ns_per_token: float = number(
        0, unit="ns", about="Time to compute the schedule at run time, per token", spread=(0, 1000), source=NONE, assumed=True, ge=0
    )  # fmt: skip
    attention_latency_ns_per_pair: float = number(
        4.1e-3, unit="ns", about="Linear law: per (query, key, channel)", source="3D-SiM attention table, linear in d", ge=0
    )  # fmt: skip
    attention_energy_nj_per_pair: float = number(
        0.557e-3, unit="nJ", about="Linear law: per (query, key, channel)", spread=(0.022289e-3, 0.557e-3),
        source="authors' simulator; the 3D-SiM table is 25 times lower", ge=0,
    )  # fmt: skip
    kv_prefetch_bytes: float = number(
        65536, chosen=True, unit="bytes", about="KV bytes that may be read ahead (dram_overlap = prefetch)", spread=(0, 1_048_576), source=NONE, assumed=True, ge=0
    )  # fmt: skip
    sram_cache_bytes: float = number(
        0, chosen=True, unit="bytes", about="On-chip SRAM in front of the memory for KV and gate-output caches", spread=(0, 8_388_608), source=NONE, assumed=True, ge=0
    )  # fmt: skip
    sram_bandwidth_gb_per_s: float = number(
        64, unit="GB/s", about="Bandwidth of the SRAM caches", spread=(32, 256), source=NONE, assumed=True, gt=0
    )  # fmt: skip
    sram_energy_pj_per_byte: float = number(
        0.14, unit="pJ", about="SRAM buffer access per byte at 14 nm", spread=(0.1, 0.17),
        source="3D-CIMlet buffer table: 0.0126-0.0179 pJ/bit", ge=0,
    )  # fmt: skip
    buffer_area_mm2_per_mb: float = number(
        1.0, unit="mm2/MB", about="Area of on-chip buffers", spread=(0.5, 2.0),
        source="assumption; ISAAC's eDRAM scaled to 14 nm gives 0.50", assumed=True, ge=0,
    )  # fmt: skip
    unit_power_area_mm2: float = number(
        26.25, unit="mm2", about="Area that unit_power_w belongs to (multiplexed model scales by area)",
        source="5 x 1.25 + 4 x 5 mm2", gt=0,
    )  # fmt: skip


def hardware_of(config: Config) -> MultiplexedHardware:
    """The `hardware` section of a configuration of this chip."""
    return cast(MultiplexedHardware, config.hardware)
