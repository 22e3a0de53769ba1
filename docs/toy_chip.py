"""A toy chip in one file: lanes that multiply and accumulate beside a memory that streams the weights.

Every token streams the weights it uses (attention, and the feed-forward part of its k experts) and multiplies them. The
exact model counts whole cycles of the lanes, the closed form leaves the rounding out, so that in every run

    event - closed = tokens x layers x (ceil(m / lanes) - m / lanes) / clock,   m: products of one token and layer.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from pimjax.chips import Chip, ComponentSpec, EventOptions, RunCost, reads
from pimjax.config.base import number
from pimjax.config.build import Capacity, Design, build
from pimjax.config.config import Config
from pimjax.config.hardware import HardwareSection
from pimjax.errors import ConfigError

MADE_UP = "made up for the documentation"


class LanesHardware(HardwareSection):
    """Lanes beside a memory."""

    lanes: float = number(4096, unit="lanes", about="Multiply-accumulate lanes", source=MADE_UP, chosen=True, ge=1)
    clock_ghz: float = number(1.0, unit="GHz", about="One product per lane and cycle", source=MADE_UP, gt=0)
    product_energy_pj: float = number(0.2, unit="pJ", about="Energy of one product", source=MADE_UP, ge=0)
    lane_area_um2: float = number(400, unit="um2", about="Area of one lane", source=MADE_UP, ge=0)
    memory_bandwidth_gb_per_s: float = number(819, unit="GB/s", about="Memory bandwidth", source=MADE_UP, gt=0)
    memory_energy_pj_per_byte: float = number(40, unit="pJ", about="Energy of one byte read", source=MADE_UP, ge=0)
    leakage_w: float = number(
        0.5, unit="W", about="Leakage", source="assumption", assumed=True, spread=(0.1, 2), ge=0
    )  # fmt: skip


COMPONENTS = (
    ComponentSpec(
        "products", "products", "digital", "multiply-accumulates: more lanes or a faster clock help",
        time=reads("lanes clock_ghz"), energy=reads("product_energy_pj"), counted="products", kinds=("product",),
    ),
    ComponentSpec(
        "weights", "reading weights", "memory", "reading weights: memory bandwidth helps",
        time=reads("memory_bandwidth_gb_per_s"), energy=reads("memory_energy_pj_per_byte"), counted="bytes", kinds=("byte",),
    ),
    ComponentSpec("leakage", "leakage", "idle", "leakage", energy=reads("leakage_w"), by_run_time=True),
    ComponentSpec("lanes", "lanes", "digital", "lanes", area=reads("lanes lane_area_um2")),
)  # fmt: skip


class LanesChip(Chip):
    """Lanes that multiply and accumulate beside a memory."""

    name = "lanes"
    about = "a toy: lanes beside a memory"
    hardware = LanesHardware
    components = COMPONENTS
    op_kinds = ("product", "byte")

    def check(self, config: Config) -> None:
        """One request, no caches of gate outputs."""
        if config.workload.batch_size != 1:
            raise ConfigError(
                f"workload.batch_size is {config.workload.batch_size}; chip_model 'lanes' runs one request"
            )

    def cost(self, design: Design, inputs: Any, *, capacity: Capacity, fidelity: str, critical: bool = True) -> RunCost:
        """The closed form; pure, so that it is compiled, batched and differentiated as it is."""
        model = design.model
        dtype = jnp.asarray(design.hardware.lanes).dtype
        d, heads, kv, width = (
            jnp.asarray(value, dtype) for value in (model.d_model, model.num_heads, model.num_kv_heads, model.head_dim)
        )
        matrices = jnp.where(model.activation == 2, 3, 2)  # SwiGLU has a gate
        experts = jnp.asarray(model.top_k, dtype) * matrices * d * model.d_ff
        per_layer = d * width * 2 * (heads + kv) + experts
        workload = design.workload
        tokens = jnp.asarray(workload.prompt_tokens * workload.prefill + workload.generated_tokens - 1, dtype)
        cycles = per_layer / design.hardware.lanes
        return self._costs(design.hardware, tokens, jnp.asarray(model.num_layers, dtype), per_layer, cycles, capacity)

    def simulate(self, config: Config, requests: Any, *, capacity: Capacity, options: EventOptions) -> RunCost:
        """Token by token and layer by layer, in whole cycles; plain Python."""
        model, workload, hardware = config.model, config.workload, build(config)[0].hardware
        matrices = 3 if model.activation == "swiglu" else 2
        per_layer = model.d_model * model.head_width * 2 * (model.num_heads + model.kv_heads)
        per_layer += model.top_k * matrices * model.d_model * model.d_ff
        tokens, cycles = 0, 0
        for _ in range(workload.num_prompt_tokens * workload.prefill + workload.generated_tokens - 1):
            tokens += 1
            for _ in range(model.num_layers):
                cycles += math.ceil(per_layer / float(hardware.lanes))
        whole = np.float64(cycles) / (tokens * model.num_layers)
        return self._costs(
            hardware, np.float64(tokens), np.float64(model.num_layers), np.float64(per_layer), whole, capacity
        )

    def _costs(
        self, hardware: Any, tokens: Any, layers: Any, per_layer: Any, cycles: Any, capacity: Capacity
    ) -> RunCost:
        products = tokens * layers * per_layer  # and as many bytes: one per weight
        busy = {
            "products": tokens * layers * cycles / hardware.clock_ghz,
            "weights": products / hardware.memory_bandwidth_gb_per_s,
        }
        latency = busy["products"] + busy["weights"]
        return self.run_cost(
            latency_ns=latency,
            critical_ns=busy,
            busy_ns=busy,
            energy_nj={
                "products": products * hardware.product_energy_pj * 1e-3,
                "weights": products * hardware.memory_energy_pj_per_byte * 1e-3,
                "leakage": hardware.leakage_w * latency,
            },
            area_mm2={"lanes": hardware.lanes * hardware.lane_area_um2 * 1e-6},
            op_counts={"product": products, "byte": products},
            flops=2 * products,
            tokens=tokens,
            capacity=capacity,
        )


CHIP = LanesChip()
