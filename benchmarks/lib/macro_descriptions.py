"""The fabricated macros of tests/golden/imc_macros.csv as descriptions: nothing in here is a measured cost.

Mechanical rules, the same for every row: cell kind from the memory and type columns (``analog charge`` SRAM is the
charge kind, 8T SRAM the 8T kind, other SRAM 6T); weight bits with one converter per weight merge in analog
(`cell_bits`), else every one-bit column is converted (`outputs_per_column`); serial inputs that accumulate on the
converter's capacitor count as one read; HERMES's 4-phase operation repeats the read four times; input activity 0.5
unless the row states the test pattern. Latency of AIMC1 to AIMC3 is their clock period, hence compared with one cycle.

Corrected after the first run (whose output is kept as benchmarks/results/validate_macros_first_run.json; no constant
was changed): AIMC3 converts all 64 rows at once (the operation count of its source, ZigZag's aimc3 validation, is one
conversion per MAC; "8 inputs active" is its sparsity), where the first description drove 8 rows at a time. NeuRRAM's
2-phase mode is not two full reads (its row lists 8.257 TOPS/W against 9.122 in one phase), where the first
description doubled it. AIMC2's converters are per column pair as in the table, unchanged.

Changed later, in a review of what the rows and their sources say (steps and effects: benchmarks/lib/macro_review.py):
AIMC2's 512 rows are 16 inputs with 32 cells each, and Wang2022 holds 8 weights per multiplier (`cell_group`);
Sinangil2021's inputs are pulses and NeuRRAM's are serial (`input_kind`), not voltages from a DAC. HERMES keeps the
description that its scales were made for.

Digital macros (`DIGITAL_ROWS`) follow rules of their own: every row computes at once and a column of outputs is as many
bits wide as its weights, unless the row says otherwise. DIMC1 says Booth: two input bits of a cycle are one product (a rule
added after a first look, with the recoding itself). DIMC2's operations per cycle (TOPS x cycle x cycles of a product) are those of 8
rows, so its 512 rows take turns, and its TOPS is then its latency. DIMC4's TOPS/W is bit-normalised, by a factor its row
does not give: it is shown and not counted. Inputs and weights are half ones, as the rows say where they say it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax.circuit.macros import Macro


class Row(NamedTuple):
    """One row of the table: its description, the group of a common scale, and how it may be used."""

    macro: Macro
    group: str
    blind: bool
    latency_is_cycle: bool = False
    incomparable: tuple[str, ...] = ()  # reported figures that count something else, by key


def _hermes(name: str, arrays: float, phases: float) -> Macro:
    return Macro(name, "pcm_8t4r", 14.0, 0.8, 256.0, 256.0, 8.0, 8.0, 8.0, arrays=arrays, phases=phases)


def _jia(name: str, vdd: float) -> Macro:
    return Macro(name, "sram_charge", 65.0, vdd, 2304.0, 256.0, 1.0, 1.0, 8.0)


def _wan(name: str, input_bits: float, output_bits: float) -> Macro:
    # A weight is a pair of rows; serial inputs of any width integrate before one conversion.
    return Macro(
        name,
        "rram_1t1r",
        130.0,
        1.8,
        256.0,
        256.0,
        input_bits,
        input_bits,
        output_bits,
        input_kind="serial",
        arrays=48.0,
        macs_per_row=0.5,
    )


def _sinangil(name: str, vdd: float) -> Macro:
    # Inputs are counted pulses: TEMPORAL_DAC_RESOLUTION 4, VOLTAGE_DAC_RESOLUTION 1 in the row's source.
    return Macro(name, "sram_8t", 7.0, vdd, 64.0, 16.0, 4.0, 4.0, 4.0, input_kind="pulse", cell_bits=4.0)


def _wang(name: str, vdd: float) -> Macro:
    # Eight stored weights per multiplier: "MVM = 16x64x8 MACs" in the row, CIM_UNIT_DEPTH_CELLS 8 in its source.
    return Macro(name, "sram_charge", 22.0, vdd, 64.0, 16.0, 8.0, 8.0, 8.0, cell_bits=8.0, cell_group=8.0)


ROWS = (
    Row(_hermes("HERMES-Core", 1.0, 1.0), "HERMES-Core", blind=False),
    Row(_hermes("HERMES-64core 1-phase", 64.0, 1.0), "HERMES-64", blind=False),
    Row(_hermes("HERMES-64core 4-phase", 64.0, 4.0), "HERMES-64", blind=False),
    Row(
        Macro("AIMC1", "sram_6t", 22.0, 0.8, 1024.0, 512.0, 7.0, 7.0, 6.0, cell_bits=2.0, input_activity=1.0),
        "AIMC1",
        blind=True,
        latency_is_cycle=True,
    ),
    Row(
        Macro(
            "AIMC2",
            "sram_6t",
            28.0,
            0.9,
            16.0,
            192.0,
            8.0,
            2.0,
            5.0,
            cell_group=32.0,
            columns_per_adc=2.0,
            arrays=4.0,
            outputs_per_column=1 / 8,
        ),
        "AIMC2",
        blind=True,
        latency_is_cycle=True,
    ),
    Row(
        Macro(
            "AIMC3",
            "sram_6t",
            22.0,
            0.8,
            64.0,
            256.0,
            8.0,
            1.0,
            3.0,
            arrays=8.0,
            outputs_per_column=1 / 8,
            input_activity=0.375,
        ),
        "AIMC3",
        blind=True,
        latency_is_cycle=True,
    ),
    Row(_jia("Jia2020 0.85V", 0.85), "Jia2020", blind=True),
    Row(_jia("Jia2020 1.2V", 1.2), "Jia2020", blind=True),
    Row(_wan("Wan2022 NeuRRAM 4b-in 6b-out", 4.0, 6.0), "Wan2022", blind=True),
    Row(_wan("Wan2022 NeuRRAM 6b-in 8b-out 1-phase", 6.0, 8.0), "Wan2022", blind=True),
    Row(_wan("Wan2022 NeuRRAM 8b-in 10b-out", 8.0, 10.0), "Wan2022", blind=True),
    Row(_sinangil("Sinangil2021 0.8V avg", 0.8), "Sinangil2021", blind=True),
    Row(_sinangil("Sinangil2021 1.0V avg", 1.0), "Sinangil2021", blind=True),
    Row(_wang("Wang2022 0.7V", 0.7), "Wang2022", blind=True),
    Row(_wang("Wang2022 1.0V", 1.0), "Wang2022", blind=True),
    Row(_wang("Wang2022 1.1V", 1.1), "Wang2022", blind=True),
)
"""The rows in the order of the CSV file; a group's first row sets the scales that its other rows are judged with."""


def _digital(name: str, rows: float, outputs: float, cycle_bits: float, arrays: float, **more: Any) -> Macro:
    facts = {"node_nm": 28.0, "vdd_v": 0.9, "input_bits": 8.0, "adc_bits": 1.0, "cell_bits": 8.0, **more}
    return Macro(
        name, "sram_6t", rows=rows, cols=outputs, cycle_bits=cycle_bits, arrays=arrays, compute="digital", **facts
    )


DIGITAL_ROWS = (
    Row(_digital("DIMC1", 32.0, 6.0, 2.0, 64.0, product_bits=2.0), "DIMC1", True, latency_is_cycle=True),
    Row(_digital("DIMC2", 8.0, 4.0, 1.0, 2.0, cell_group=64.0), "DIMC2", True, latency_is_cycle=True),
    Row(_digital("DIMC3", 64.0, 16.0, 2.0, 8.0), "DIMC3", True, latency_is_cycle=True),
    Row(
        _digital("DIMC4", 128.0, 16.0, 1.0, 4.0),
        "DIMC4",
        True,
        latency_is_cycle=True,
        incomparable=("tops_per_w",),
    ),
    Row(
        _digital("Colonnade 0.8V 8b weights", 128.0, 16.0, 1.0, 1.0, node_nm=65.0, vdd_v=0.8, input_bits=1.0),
        "Colonnade",
        True,
        latency_is_cycle=True,
        incomparable=("latency_ns",),  # the period of its test clock
    ),
)
"""The digital rows of the CSV file, in its order."""
