"""`multiplexed_cost`: fluid and closed fidelities of the multiplexed chip. Pure, unbatched, differentiable.

A run is prefill passes, then decode steps. Every pass is a chain of phases (:mod:`.phases`, :mod:`.experts`); attention
is a barrier, so phases add up. Gradient policies: block counts, heads per attention unit and similar quotients are
straight-through; queues on the digital units are interpolated linearly between whole numbers of units; `max` has
subgradients.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pimjax import status
from pimjax.array_typing import Array
from pimjax.chips.multiplexed.core import core
from pimjax.chips.multiplexed.cost import Times, assemble
from pimjax.chips.multiplexed.durations import durations
from pimjax.chips.multiplexed.fluid import ring_overflows
from pimjax.chips.multiplexed.geometry import geometry
from pimjax.chips.multiplexed.run_time import RunTimes, nodes, run_times
from pimjax.chips.multiplexed.schedule import MultiplexedSchedule
from pimjax.chips.multiplexed.smooth import as_real
from pimjax.chips.run_cost import COMPONENTS, RunCost
from pimjax.config.build import Capacity, Design
from pimjax.errors import ConfigError


def multiplexed_cost(
    design: Design,
    schedule: MultiplexedSchedule,
    *,
    capacity: Capacity,
    fidelity: str,
    critical: bool = True,
) -> RunCost:
    """Primitive costs of a run.

    Args:
        design: one design point.
        schedule: of the same plan and workload, from :func:`.schedule_inputs`.
        capacity: static; `schedule` has its shapes.
        fidelity: static, "fluid" or "closed". Fluid needs the schedule's slot profile.
        critical: static; False leaves `critical_ns` zero and saves the derivatives it takes.

    Raises:
        ConfigError: fluid without a profile.
    """
    if fidelity == "fluid" and schedule.prompt_profile is None:
        raise ConfigError("fidelity 'fluid' needs a schedule made with schedule_inputs(..., fidelity='fluid')")
    dtype = jnp.asarray(design.hardware.mvm_latency_ns).dtype
    design = jax.tree.map(jnp.asarray, design)
    # pyrefly: ignore[missing-attribute]
    design = design.replace(hardware=as_real(design.hardware, jnp.zeros((), dtype)))
    schedule = jax.tree.map(lambda leaf: leaf if leaf.dtype == bool else as_real(leaf, jnp.zeros((), dtype)), schedule)
    shape, tile = geometry(design), core(design)
    largest = jnp.maximum(jnp.max(schedule.group_sizes), 1)
    where = nodes(design, schedule)

    def timed(scale: Array) -> RunTimes:
        time = durations(design, largest, scale, shape=shape, tile=tile)
        return run_times(design, schedule, where, time, scale, fidelity=fidelity)

    ones = jnp.ones(len(COMPONENTS), dtype)
    # T is homogeneous in the durations: the derivatives by the components' scales are the shares of the latency
    if critical:
        # forward, all directions at once: one traced body, and no residuals of the scan over slots are kept
        every, slopes = jax.vmap(lambda direction: jax.jvp(timed, (ones,), (direction,)), out_axes=(None, 0))(
            jnp.eye(len(COMPONENTS), dtype=dtype)
        )
        times, shares = every, slopes.latency
    else:
        shares, times = jnp.zeros_like(ones), timed(ones)
    time = durations(design, largest, shape=shape, tile=tile)
    bits = jnp.where(ring_overflows(time), status.RING_OVERFLOW, 0) if fidelity == "fluid" else jnp.zeros((), jnp.int32)
    bits = bits | jnp.where(_exceeds(design, schedule, capacity), status.CAPACITY_EXCEEDED, 0)
    return assemble(
        design,
        schedule,
        shape,
        tile,
        time,
        Times(
            latency=times.latency,
            critical=shares,
            moe=times.moe,
            last_pass=times.last_pass,
            slowest_layer=times.slowest_layer,
            waiting_results=jnp.asarray(jnp.inf, dtype),
            status=bits,
        ),
    )


def _exceeds(design: Design, schedule: MultiplexedSchedule, capacity: Capacity) -> Array:
    """More layers than the arrays hold."""
    del capacity
    return design.model.num_layers > schedule.is_moe.shape[-1]
