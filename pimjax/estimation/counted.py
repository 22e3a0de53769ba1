"""How many units of each component a run uses, and what a unit is: the counts of ``--explain``."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from pimjax.chips.multiplexed.geometry import geometry
from pimjax.chips.run_cost import COMPONENT_INDEX, OP_INDEX
from pimjax.config.build import build
from pimjax.config.config import Config
from pimjax.estimation.result import Estimate


class Counted(NamedTuple):
    """A number of units, and what they are."""

    count: float
    what: str


OPERATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "tier_linear": ("products", ("tier_linear",)),
    "communication": ("blocks sent", ("communication_in", "communication_out", "communication_norm")),
    "layer_norm": ("normalisations", ("layer_norm",)),
    "digital_relu": ("activations", ("digital_relu",)),
    "digital_gelu": ("activations", ("digital_gelu",)),
    "digital_swiglu": ("activations", ("digital_swiglu",)),
    "digital_add": ("additions", ("digital_add",)),
    "multinomial": ("samplings", ("multinomial",)),
    "mha_comp": ("attention calls", ("mha",)),
    "input_load": ("token loads", ("input_load",)),
    "router": ("routings", ("router",)),
}
"""Components that count operations: what one is, and its kinds in `op_counts`."""


def counts(config: Config, result: Estimate) -> dict[str, Counted]:
    """Units of every component that the run has; a component without any is left out.

    Times come from busy times, never from the critical path: a byte of DRAM traffic is one however much is hidden.

    >>> from pimjax import load_config
    >>> from pimjax.estimation import estimate
    >>> config = load_config("paper_reference")
    >>> counts(config, estimate(config, fidelity="event"))["tier_linear"]
    Counted(count=48080.0, what='products')
    """
    hardware = config.hardware
    operations = np.asarray(result.op_counts, float)
    busy = {name: float(np.asarray(result.busy_ns)[index]) for name, index in COMPONENT_INDEX.items()}
    latency = float(np.asarray(result.latency_ns))
    with jax.enable_x64(True):
        shape = geometry(build(config)[0])
        per_expert, moe = float(np.asarray(shape.expert_tiles)), float(np.asarray(shape.moe_tiles))
    buffers = float(np.asarray(result.component_area_mm2)[COMPONENT_INDEX["buffers"]])
    cycle = hardware.crossbar_cols / (hardware.accumulator_lanes * hardware.accumulator_frequency_ghz)
    passes = operations[OP_INDEX["expert_pass"]]
    found = {
        name: Counted(float(sum(operations[OP_INDEX[kind]] for kind in kinds)), what)
        for name, (what, kinds) in OPERATIONS.items()
    }
    for name in ("dram_kv", "dram_go", "embedding"):
        found[name] = Counted(busy[name] * hardware.dram_bandwidth_gb_per_s, "bytes of DRAM")
    found["sram"] = Counted(busy["sram"] * hardware.sram_bandwidth_gb_per_s, "bytes of SRAM")
    found["passive"] = found["crossbar_idle"] = Counted(latency, "ns of the run")
    found["local_accumulation"] = Counted(busy["local_accumulation"] / cycle, "strips added")
    found["sharing_mux"] = Counted(float(passes) * per_expert, "crossbars switched")
    found["scheduler"] = Counted(_over(busy["scheduler"], hardware.scheduler_ns_per_token), "tokens scheduled")
    found["moe_crossbars"] = Counted(moe, "crossbars")
    found["dense_crossbars"] = Counted(float(np.asarray(result.crossbars)) - moe, "crossbars")
    found["digital_units"] = Counted(float(hardware.num_digital_units), "units")
    found["attention_units"] = Counted(float(hardware.num_attention_units), "units")
    found["buffers"] = Counted(_over(buffers, hardware.buffer_area_mm2_per_mb), "MB")
    return {name: counted for name, counted in found.items() if counted.count > 0}


def _over(total: float, unit: float) -> float:
    return total / unit if unit else 0.0
