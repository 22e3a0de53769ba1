"""Numbers that several chips read: each class is the part of a chip's `hardware` section that one kind of unit needs.

A chip's section is made of these and of numbers of its own (`pimjax/chips/<chip>/hardware.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import create_model

from pimjax.config.base import number
from pimjax.config.hardware import HardwareSection
from pimjax.config.memory import memory_number
from pimjax.config.ranges import ADC_BITS
from pimjax.config.system import CHIP_NUMBERS

HERMES = "HERMES, JSSC 57(4) 2022, doi 10.1109/JSSC.2022.3140414"
SIMULATOR = "authors' simulator of arXiv 2602.10254, accelerator constants"
SURVEY = "IBM 3D-SiM, Nat. Comput. Sci. 2025, doi 10.1038/s43588-024-00753-x"
NONE = "assumption without a published source"
LEAKAGE = "CiMLoop component models at 14 nm (PyPI hwcomponents-adc 1.0.21, hwcomponents-library 1.0.58)"


class CrossbarNumbers(HardwareSection):
    """One crossbar with its own peripherals, and one product on it."""

    crossbar_rows: float = number(
        256, chosen=True, whole=True, unit="rows", about="Rows (inputs) of one crossbar", source=HERMES, ge=1
    )
    crossbar_cols: float = number(
        256, chosen=True, whole=True, unit="columns", about="Columns (outputs) of one crossbar", source=HERMES, ge=1
    )
    tiles: float | None = number(
        None, chosen=True, whole=True, unit="crossbars", about="Crossbars on the chip; null: as many as the mapping needs", source=SIMULATOR, ge=1
    )  # fmt: skip
    mvm_latency_ns: float = number(
        130, unit="ns", about="One matrix-vector product of a full crossbar", spread=(100, 160),
        source=f"{HERMES}: 2*256*256/1.008 TOPS", gt=0,
    )  # fmt: skip
    mvm_energy_nj: float = number(
        12.48, unit="nJ", about="Energy of one matrix-vector product", spread=(9, 16),
        source=f"{HERMES}: 131072 operations / 10.5 TOPS/W", gt=0,
    )  # fmt: skip
    core_area_mm2: float = number(
        0.634, unit="mm2", about="One crossbar with its peripherals, unshared", spread=(0.6, 0.66),
        source=f"{HERMES}: 1.008 TOPS / 1.59 TOPS/mm2", gt=0,
    )  # fmt: skip
    adc_bits: float = number(
        8, chosen=True, unit="bit", about="ADC resolution", source=HERMES, ge=ADC_BITS[0], le=ADC_BITS[1]
    )
    columns_per_adc: float = number(
        1, chosen=True, whole=True, unit="columns", about="Columns that take turns at one ADC", source=HERMES, ge=1
    )


class LinkNumbers(HardwareSection):
    """One block of values over one hop."""

    link_latency_ns_per_256: float = number(
        12, unit="ns", about="One block of 256 values over one hop", source=SIMULATOR, ge=0
    )
    link_energy_nj_per_256: float = number(0.01293, unit="nJ", about="Energy of that transfer", source=SIMULATOR, ge=0)


class DigitalUnitNumbers(HardwareSection):
    """Digital units: additions, normalisations, ReLU, sampling."""

    num_digital_units: float = number(
        5, chosen=True, whole=True, unit="units", about="Digital processing units", source=SIMULATOR, ge=1
    )
    digital_unit_area_mm2: float = number(1.25, unit="mm2", about="Area of one digital unit", source=SURVEY, ge=0)
    add_latency_ns_per_256: float = number(8, unit="ns", about="Addition per 256 values", source=SIMULATOR, ge=0)
    add_latency_base_ns: float = number(4, unit="ns", about="Fixed part of an addition", source=SIMULATOR, ge=0)
    add_energy_nj_per_256: float = number(0.00943, unit="nJ", about="Addition per 256 values", source=SIMULATOR, ge=0)
    norm_latency_ns_per_256: float = number(50, unit="ns", about="Normalisation per 256 values", source=SIMULATOR, ge=0)
    norm_energy_nj_per_256: float = number(
        0.02096, unit="nJ", about="Normalisation per 256 values", source=SIMULATOR, ge=0
    )
    relu_latency_ns: float = number(1, unit="ns", about="ReLU of any width", source=SIMULATOR, ge=0)
    relu_energy_nj_per_256: float = number(0.00002, unit="nJ", about="ReLU per 256 values", source=SIMULATOR, ge=0)
    sampling_latency_ns: float = number(10, unit="ns", about="Sampling the next token", source=SIMULATOR, ge=0)


class AttentionNumbers(HardwareSection):
    """Attention units and the authors' fitted law of attention."""

    num_attention_units: float = number(
        4,
        chosen=True,
        whole=True,
        unit="units",
        about="Attention units; heads are dealt to them",
        source=SIMULATOR,
        ge=1,
    )
    attention_unit_area_mm2: float = number(5.0, unit="mm2", about="Area of one attention unit", source=SURVEY, ge=0)
    attention_fit_linear: float = number(
        1.064e-4, unit="ns", about="Fitted law: L^2 d coefficient", source=SIMULATOR, ge=0
    )
    attention_fit_quadratic: float = number(
        1.521e-5, unit="ns", about="Fitted law: L^2 d^2 coefficient", source=SIMULATOR, ge=0
    )
    attention_fit_energy_nj: float = number(
        0.557225e-3, unit="nJ", about="Fitted law: L^2 d coefficient of energy", source=SIMULATOR, ge=0
    )  # fmt: skip


class MemoryNumbers(HardwareSection):
    """The memory beside the crossbars: what `memory` of a configuration names. Every number is of one channel."""

    memory_energy_pj_per_bit: float = memory_number("energy_pj_per_bit")
    memory_bandwidth_gb_per_s: float = memory_number("bandwidth_gb_per_s")
    memory_channels: float = memory_number("channels")
    memory_capacity_gb: float = memory_number("capacity_gb")
    memory_idle_w: float = memory_number("idle_w")
    memory_latency_ns: float = memory_number("latency_ns")
    memory_phy_area_mm2: float = memory_number("phy_area_mm2")


if TYPE_CHECKING:

    class SystemNumbers(HardwareSection):
        """Dies, packages, wires and links around the crossbars: what `system` of a configuration gives numbers of."""
else:
    SystemNumbers = create_model("SystemNumbers", __base__=HardwareSection, **CHIP_NUMBERS)


class AuthorsMemoryNumbers(HardwareSection):
    """The authors' DRAM channel: a power while it transfers, another while a cache lives there."""

    dram_bandwidth_gb_per_s: float = number(5.332, unit="GB/s", about="DRAM bandwidth", source=SIMULATOR, gt=0)
    dram_active_power_w: float = number(0.2467, unit="W", about="DRAM power while transferring", source=SIMULATOR, ge=0)
    dram_idle_power_w: float = number(
        0.1297, unit="W", about="DRAM power when a cache lives there", source=SIMULATOR, ge=0
    )


class PowerNumbers(HardwareSection):
    """Power that no operation owns."""

    unit_power_w: float = number(
        0.02412, unit="W", about="Passive power of 5 digital and 4 attention units", source=SIMULATOR, ge=0
    )  # fmt: skip


class PeripheralPowerNumbers(HardwareSection):
    """Leakage of the peripherals of a crossbar in each of their states, and what waking up takes."""

    active_power_w_per_mm2: float = number(
        0, unit="W/mm2", about="Leakage of peripherals that convert, beside the energy of a product", spread=(0, 8e-3),
        source="the measured energy of a product contains it", ge=0,
    )  # fmt: skip
    idle_power_w_per_mm2: float = number(
        8e-4, unit="W/mm2", about="Leakage of peripherals that are powered and wait", spread=(2e-4, 8e-3),
        source=f"{LEAKAGE}: 8-bit converter 0.81 mW/mm2 (0.56 uW, 685 um2); comparator 0.23, counter 0.41, adder 5.5, "
        "multiplier 8.0", ge=0,
    )  # fmt: skip
    gated_power_w_per_mm2: float = number(
        4e-5, unit="W/mm2", about="Leakage of peripherals that are switched off", spread=(1.6e-5, 1e-4),
        source="assumption: a twentieth of idle; switches save 10 to 50 times (reviews of power gating)", assumed=True, ge=0,
    )  # fmt: skip
    wake_latency_ns: float = number(
        10, unit="ns", about="Switching peripherals on; experts' while their first token is loaded", spread=(2, 10_000),
        source="assumption: tens of ns for small domains, microseconds for large ones", assumed=True, ge=0,
    )  # fmt: skip
    wake_energy_nj_per_mm2: float = number(
        1, unit="nJ/mm2", about="Energy of switching peripherals on", spread=(0.1, 10),
        source="assumption: charging 1.5 nF per mm2 to 0.8 V", assumed=True, ge=0,
    )  # fmt: skip


class ProgrammingNumbers(HardwareSection):
    """Writing weights into crossbars."""

    program_pulse_mvms: float = number(
        25, chosen=True, unit="MVM times", about="One write pass of a row, in MVM latencies", spread=(20, 30),
        source="JETCAS 2022, doi 10.1109/JETCAS.2022.3170152: 20-30x; unit of work not named", assumed=True, ge=0,
    )  # fmt: skip
    program_verify_passes: float = number(
        10, chosen=True, unit="passes", about="Passes per row that program and verify", spread=(3, 30), source=NONE, assumed=True, ge=0
    )  # fmt: skip
    program_pulse_energy_pj: float = number(
        10, chosen=True, unit="pJ", about="Energy of one device pulse", spread=(1, 30), source=NONE, assumed=True, ge=0
    )  # fmt: skip
