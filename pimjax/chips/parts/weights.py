"""What writing weights costs: one crossbar, one expert, the whole model. Outside every run; shown by `--explain`."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.circuit.component import Component
from pimjax.circuit.programming import (
    PULSE_ENERGY,
    PULSE_TIME_RATIO,
    PULSES,
    crossbar_write,
    expert_swap,
    model_load,
    sram_write,
)
from pimjax.config.config import Config


def _memory(hardware: Any) -> dict[str, float]:
    """What weights come from: the memory component, or the authors' channel."""
    if hasattr(hardware, "memory_bandwidth_gb_per_s"):
        return {
            "dram_bytes_per_ns": hardware.memory_bandwidth_gb_per_s * hardware.memory_channels,
            "dram_nj_per_byte": hardware.memory_energy_pj_per_bit * 8e-3,
        }
    return {
        "dram_bytes_per_ns": hardware.dram_bandwidth_gb_per_s,
        "dram_nj_per_byte": hardware.dram_active_power_w / hardware.dram_bandwidth_gb_per_s,
    }


def weight_writing(config: Config, crossbars: float, per_expert: float) -> dict[str, Any]:
    """Programming: one crossbar, one expert swapped into its group (the group is blocked), the whole model [ns, nJ].

    Digital macros are written a row per cycle. An expert's crossbars are programmed at the same time; the model expert by expert, every other crossbar likewise.

    Args:
        config: its hardware section has the numbers of crossbars, of writing them and of the memory.
        crossbars: of the whole model.
        per_expert: crossbars of one expert.

    >>> from pimjax.config import load_config
    >>> round(weight_writing(load_config("paper_reference"), 6592, 96)["crossbar"]["time_ns"] * 1e-6, 2)  # ms
    8.32
    """
    hardware: Any = config.hardware
    if getattr(hardware, "digital_active_rows", None) and config.plan.tile == "digital_sram":
        return _costs(config, digital_write(config), crossbars, per_expert)
    constants = {
        PULSE_TIME_RATIO.name: hardware.program_pulse_mvms,
        PULSES.name: hardware.program_verify_passes,
        PULSE_ENERGY.name: hardware.program_pulse_energy_pj,
    }
    write = crossbar_write(
        rows=hardware.crossbar_rows,
        cols=hardware.crossbar_cols,
        mvm_latency_ns=hardware.mvm_latency_ns,
        constants=constants,
    )
    found = _costs(config, write, crossbars, per_expert)
    if hasattr(hardware, "digital_active_rows") and config.plan.expert_tile != "analog":
        found["digital_expert_swap"] = _costs(config, digital_write(config), crossbars, per_expert)["expert_swap"]
    return found


def digital_write(config: Config) -> Component:
    """Writing one digital SRAM macro as large as a crossbar: a row per cycle."""
    hardware: Any = config.hardware
    return sram_write(
        rows=hardware.crossbar_rows,
        cols=hardware.crossbar_cols,
        bits=float(config.numerics.weight_bits),
        node_nm=hardware.node_nm,
        vdd_v=hardware.supply_v,
    )


def _costs(config: Config, write: Component, crossbars: float, per_expert: float) -> dict[str, Any]:
    hardware: Any = config.hardware
    memory = _memory(hardware)
    cells = hardware.crossbar_rows * hardware.crossbar_cols
    swap = expert_swap(1.0, per_expert, write, weight_bytes=per_expert * cells, **memory)
    whole = model_load(crossbars, write, parallel_crossbars=per_expert, weight_bytes=crossbars * cells, **memory)

    def plain(time: Any, energy: Any, **more: Any) -> dict[str, Any]:
        return {"time_ns": float(np.asarray(time)), "energy_nj": float(np.asarray(energy)), **more}

    return {
        "crossbar": plain(write.latency_ns, write.energy_nj, crossbars=1.0),
        "expert_swap": plain(*swap, crossbars=per_expert),
        "model_load": plain(*whole, crossbars=crossbars, at_once=per_expert),
    }
