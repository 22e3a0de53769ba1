"""`reference_cost`: the fast models of the `reference` chip, one pure function from a design to its costs."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from pimjax import status as status_bits
from pimjax.array_typing import Array
from pimjax.chips.reference import closed_forms, footprint, phases
from pimjax.chips.reference.latency import latency
from pimjax.chips.run_cost import COMPONENT_INDEX, COMPONENTS, RunCost
from pimjax.config.build import Capacity, Design

Fidelity = Literal["fluid", "closed"]


def reference_cost(design: Design, *, capacity: Capacity, fidelity: Fidelity, critical: bool = True) -> RunCost:
    """Costs of one run by a fast model. Pure, unbatched; jit, vmap, grad (forward and reverse); the caller's dtype.

    Energy, FLOPs, operation counts and busy times are exact; peak memory is an upper bound; the latency's error
    against the event engine is in benchmarks/results/reference_error.json. Tile contention from `tiers` > 1 is
    ignored.

    Args:
        design: unbatched leaves; every number and flag is data.
        capacity: static sizes; `max_tokens` bounds the longest pass, and `max_layers` = 1 leaves out what only
            deeper models need.
        fidelity: "fluid" or "closed", static.
        critical: static; False leaves `critical_ns` zero and saves the derivatives it takes (about twice the time of
            `fluid`).

    Returns:
        `RunCost`. `critical_ns` is c_i dT/dc_i over the durations c_i: the latency is homogeneous in them, so the
        entries sum to `latency_ns`. `status` has CAPACITY_EXCEEDED, DOES_NOT_FIT, NON_FINITE where they apply.

    Derivatives: durations are rounded straight-through (`plan.whole_ns`), block counts too; in `fluid` the derivative
    in the number of digital units is that of `closed`.

    >>> import pimjax
    >>> design, capacity = pimjax.build(pimjax.reference_config())
    >>> model = jax.jit(reference_cost, static_argnames=("capacity", "fidelity"))
    >>> cost = model(design, capacity=capacity, fidelity="closed")
    >>> bool(abs(cost.latency_ns / 244282.5 - 1) < 0.02), int(cost.crossbars)
    (True, 6592)
    """
    if fidelity not in ("fluid", "closed"):
        raise ValueError(f"fidelity {fidelity!r} is not one of 'fluid', 'closed'")
    b, run = phases.blocks(design), closed_forms.run_of(design)
    ones = jnp.ones(len(COMPONENTS), run.prompt.dtype)
    latency_ns, critical_ns = latency_and_shares(design, ones, capacity=capacity, fidelity=fidelity, critical=critical)
    t = phases.timings(design, ones)
    attention = closed_forms.attention_sums(design, run, max_tokens=capacity.max_tokens)
    counts = closed_forms.counts_of(design, b, run)
    crossbars, expert_crossbars = footprint.crossbars_needed(design, b, run)
    areas = footprint.areas_mm2(design, crossbars, expert_crossbars)
    zero = jnp.zeros_like(latency_ns)
    busy = closed_forms.busy_ns(design, t, counts, attention)
    emitted = run.prefill + run.decodes
    return RunCost(
        latency_ns=latency_ns,
        flops=closed_forms.flops(design, run, counts, attention),
        peak_memory_bytes=footprint.peak_memory_bound(design, b, run),
        crossbars=crossbars,
        critical_ns=critical_ns,
        busy_ns=busy,
        component_energy_nj=closed_forms.energies_nj(design, run, counts, attention, latency_ns),
        component_area_mm2=areas,
        op_counts=closed_forms.op_counts(counts),
        moe_latency_ns=zero,
        moe_energy_nj=zero,
        moe_flops=zero,
        moe_area_mm2=areas[COMPONENT_INDEX["moe_crossbars"]],
        moe_last_pass_ns=jnp.zeros(capacity.max_layers, zero.dtype),
        tokens=jnp.where(run.decodes > 0, emitted, run.prompt),
        pipeline_interval_ns=latency_ns,
        utilisation=busy[COMPONENT_INDEX["tier_linear"]] / (latency_ns * crossbars),
        peak_power_w=zero,
        hot_area_mm2=areas.sum(),
        status=_status(design, run, latency_ns, crossbars, capacity),
    )


def latency_and_shares(
    design: Design, scale: Array, *, capacity: Capacity, fidelity: Fidelity, critical: bool
) -> tuple[Array, Array]:
    """Latency with every component's durations times its entry of `scale` `[C]`, and scale_i dT/dscale_i `[C]`."""

    def scaled(scale: Array) -> Array:
        b, run = phases.blocks(design), closed_forms.run_of(design)
        attention = closed_forms.attention_sums(design, run, max_tokens=capacity.max_tokens)
        attention = attention._replace(
            compute_ns=attention.compute_ns * scale[COMPONENT_INDEX["mha_comp"]],
            read_ns=attention.read_ns * scale[COMPONENT_INDEX["dram_kv"]],
        )
        t = phases.timings(design, scale)
        return latency(design, b, t, run, attention, capacity=capacity, fidelity=fidelity)

    if not critical:
        return scaled(scale), jnp.zeros_like(scale)
    latency_ns, slope = jax.value_and_grad(scaled)(scale)
    return latency_ns, scale * slope


def _status(design: Design, run: closed_forms.Run, latency_ns: Array, crossbars: Array, capacity: Capacity) -> Array:
    longest = run.prompt + run.decodes
    exceeded = (
        (longest > capacity.max_tokens)
        | (design.model.num_experts > capacity.max_experts)
        | (design.model.num_layers > capacity.max_layers)
    )
    flags = {
        status_bits.NON_FINITE: ~jnp.isfinite(latency_ns),
        status_bits.CAPACITY_EXCEEDED: exceeded,
        status_bits.DOES_NOT_FIT: crossbars > design.hardware.tiles * design.hardware.tiers,
    }
    zero = jnp.zeros((), jnp.int32)
    return sum((jnp.where(flag, jnp.int32(bit), zero) for bit, flag in flags.items()), zero)
