"""Everything of a run but its timing: energy, area, counts, operations. Shared by all fidelities.

Formulas are those of the model's definition (docs/multiplexed-chip.md). Decisions where it leaves room:

- `energy_scale_with_sharing` scales every product of the chip, as the authors do, with g the largest group.
- `combine = inline` puts one more strip of adders per result strip beside every group.
- `accumulate = digital` has no local accumulators, hence no area for them (`inline` keeps its own).
- Central buffers (open tokens, window) are shared by layers, group buffers are not. 1 MB is 1e6 bytes.
- Peak memory: the buffers of the busiest layer; results that wait for addition are exact in `event`, at most Q slots
  otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from pimjax import status
from pimjax.array_typing import Array
from pimjax.chips.multiplexed.area import areas
from pimjax.chips.multiplexed.core import Core
from pimjax.chips.multiplexed.durations import Durations
from pimjax.chips.multiplexed.energy import energy_and_busy, pass_energy
from pimjax.chips.multiplexed.geometry import Geometry, Linear
from pimjax.chips.multiplexed.schedule import MultiplexedSchedule
from pimjax.chips.multiplexed.smooth import as_real
from pimjax.chips.multiplexed.work import Work, activations, layer_counts, products, run_work, strip_adds, wide_adds
from pimjax.chips.run_cost import COMPONENTS, OP_KINDS, RunCost
from pimjax.config.build import Design
from pimjax.config.plan import ACCUMULATE_KINDS, ROUTER_KINDS


class Times(NamedTuple):
    """What a fidelity finds out."""

    latency: Array  # [] ns
    critical: Array  # [C] ns
    moe: Array  # [] ns, expert phases
    last_pass: Array  # [L] ns
    slowest_layer: Array  # [] ns, time the run spends in its slowest layer
    waiting_results: Array  # [] most results that wait for their addition
    status: Array  # [] int32


def assemble(
    design: Design, schedule: MultiplexedSchedule, shape: Geometry, tile: Core, time: Durations, times: Times
) -> RunCost:
    """Costs of a run whose times are known. Kernel: pure, unbatched.

    Args:
        design: float leaves in `hardware`.
        schedule: counts.
        shape, tile, time: `geometry(design)`, `core(design)`, `durations(design, ...)`.
        times: what the fidelity found.
    """
    hardware = design.hardware
    like = hardware.mvm_latency_ns
    largest = jnp.maximum(jnp.max(schedule.group_sizes), 1).astype(like.dtype)
    work = run_work(design, schedule)
    energy, busy = energy_and_busy(design, schedule, shape, tile, time, work, times.latency, largest)
    area = areas(design, schedule, shape, tile, times.waiting_results)
    idle = hardware.idle_power_w_per_mm2 * tile.shareable_fraction * tile.area_mm2
    energy["crossbar_idle"] = idle * (area.peripheral_sets + shape.dense_tiles) * times.latency
    combine = hardware.add_energy_nj_per_256 * jnp.sum(work.combines) * design.model.d_model / 256
    experts = jnp.sum(work.passes) * pass_energy(design, shape, tile, largest) + energy["input_load"] + combine
    total_area = sum(area.parts.values())
    needed = shape.moe_tiles + shape.dense_tiles
    bits = (
        times.status
        | jnp.where(needed > hardware.tiles, status.DOES_NOT_FIT, 0)
        | jnp.where(total_area > hardware.reticle_area_mm2, status.MULTI_DIE, 0)
        | jnp.where(jnp.isfinite(times.latency), 0, status.NON_FINITE)
        | jnp.where(tile.impossible, status.IMPOSSIBLE, 0)
    ).astype(jnp.int32)
    flops, moe_flops = _flops(design, schedule, shape, work)
    shared = jnp.stack(
        [
            times.slowest_layer,
            busy["digital"] / hardware.num_digital_units,
            work.attention_time,
            busy["dram_kv"] + busy["dram_go"] + busy["embedding"],
        ]
    )
    emitted = design.workload.batch_size * design.workload.generated_tokens
    prompt_only = design.workload.batch_size * design.workload.prompt_tokens
    return RunCost(
        latency_ns=times.latency,
        flops=flops,
        peak_memory_bytes=area.peak_bytes,
        crossbars=needed,
        critical_ns=times.critical,
        busy_ns=_vector(COMPONENTS, {name: value for name, value in busy.items() if name != "digital"}, like),
        component_energy_nj=_vector(COMPONENTS, energy, like),
        component_area_mm2=_vector(COMPONENTS, area.parts, like),
        op_counts=_vector(OP_KINDS, _counts(design, schedule, shape, work), like),
        moe_latency_ns=times.moe,
        moe_energy_nj=experts + idle * area.peripheral_sets * times.moe,
        moe_flops=moe_flops,
        moe_area_mm2=area.moe,
        moe_last_pass_ns=times.last_pass,
        tokens=jnp.where(design.workload.generated_tokens > 1, emitted, prompt_only).astype(like.dtype),
        pipeline_interval_ns=shared.max(),
        status=bits,
    )


def _vector(names: tuple[str, ...], values: dict[str, Array], like: Array) -> Array:
    return jnp.stack([jnp.asarray(values.get(name, 0.0), like.dtype) for name in names])


def _counts(design: Design, schedule: MultiplexedSchedule, shape: Geometry, work: Work) -> dict[str, Array]:
    """Operations by kind."""
    layers, moe, _ = layer_counts(design, schedule, work.tokens)
    both, reads = products(design, schedule, shape, work)
    expert_acts, dense_acts, _ = activations(design, schedule, work)
    on_units = design.plan.accumulate == ACCUMULATE_KINDS.index("digital")
    counts = {
        "tier_linear": both + reads,
        "communication_out": both + reads,
        "communication_in": both,
        "communication_norm": work.samplings,
        "digital_add": wide_adds(design, schedule, work)[0]
        + jnp.where(on_units, strip_adds(design, schedule, shape, work), 0.0),
        "mha": layers * work.sequences,
        "layer_norm": work.tokens * (2 * layers + moe) + work.samplings,
        "multinomial": work.samplings,
        "expert_pass": jnp.sum(work.passes),
        "input_load": jnp.sum(work.loads),
        "router": jnp.where(design.plan.router == ROUTER_KINDS.index("digital"), moe * work.tokens, 0.0),
    }
    for index, name in enumerate(("digital_relu", "digital_gelu", "digital_swiglu")):
        counts[name] = jnp.where(design.model.activation == index, expert_acts + dense_acts, 0.0)
    return counts


def _flops(design: Design, schedule: MultiplexedSchedule, shape: Geometry, work: Work) -> tuple[Array, Array]:
    """Useful operations of the run and of its experts; the authors' laws ((2 - 1/C) per weight, 10 per norm value)."""
    model = as_real(design.model, work.tokens)
    layers, moe, dense = layer_counts(design, schedule, work.tokens)
    rate = 2 - 1 / design.hardware.crossbar_cols

    def linear(*parts: Linear) -> Array:
        return rate * sum(part.weights for part in parts)

    per_token = layers * linear(shape.qkv, shape.expand, shape.output)
    per_token += moe * (rate * model.d_model * model.num_experts + linear(shape.shared_up, shape.shared_down))
    per_token += dense * linear(shape.dense_up, shape.dense_down)
    per_token += 10 * (2 * layers * model.d_model + moe * model.num_experts)
    wide = wide_adds(design, schedule, work)[0] * model.d_model
    attention = work.attention_pairs * (4 * model.num_heads * model.head_dim + 3)
    sampled = work.samplings * (linear(shape.head) + 10 * model.d_model + 512)
    passes = jnp.sum(work.passes) * (linear(shape.expert_up, shape.expert_down) + model.d_ff)
    combined = jnp.sum(work.combines) * model.d_model
    return work.tokens * per_token + wide + attention + sampled + passes, passes + combined
