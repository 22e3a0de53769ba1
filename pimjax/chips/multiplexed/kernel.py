"""`multiplexed_cost`: fluid and closed fidelities of the multiplexed chip. Pure, unbatched, differentiable.

A run is prefill passes, then decode steps. Every pass is a chain of phases (:mod:`.phases`, :mod:`.experts`); attention
is a barrier, so phases add up. On NumPy leaves everything runs on the host, in float64 and without a compiler; on JAX
arrays it is a kernel in their type. Gradient policies: block counts, heads per attention unit and similar quotients are
straight-through; queues on the digital units are interpolated linearly between whole numbers of units; `max` has
subgradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from pimjax import arrays, status
from pimjax.chips.multiplexed.area import areas
from pimjax.chips.multiplexed.core import core, other_tile
from pimjax.chips.multiplexed.cost import Chip, Times, assemble, with_mean_products
from pimjax.chips.multiplexed.digital_parts import digital_parts, unexpected
from pimjax.chips.multiplexed.durations import FIRST_TIMED, LAST_TIMED, durations
from pimjax.chips.multiplexed.fluid import ring_overflows
from pimjax.chips.multiplexed.geometry import geometry
from pimjax.chips.multiplexed.network import network_of, pass_links
from pimjax.chips.multiplexed.power import states
from pimjax.chips.multiplexed.run_time import nodes, run_times
from pimjax.chips.multiplexed.swapping import swapping
from pimjax.chips.multiplexed.work import Run, run_of
from pimjax.chips.parts.dual import Dual, value_of
from pimjax.chips.run_cost import COMPONENTS, RunCost
from pimjax.config.build import Capacity, Design
from pimjax.errors import ConfigError
from pimjax.runs.point import Point
from pimjax.runs.run_counts import RunCounts


def multiplexed_cost(
    design: Design,
    schedule: RunCounts,
    *,
    capacity: Capacity,
    fidelity: str,
    critical: bool = True,
    constants: Mapping[str, Any] | None = None,
) -> RunCost:
    """Primitive costs of a run.

    Args:
        design: one design point.
        schedule: of the same plan and workload, from :func:`.schedule_inputs`.
        capacity: static; `schedule` has its shapes, `plan.tile` is one of its kinds.
        fidelity: static, "fluid" or "closed". Fluid needs the schedule's slot profile.
        critical: static; False leaves `critical_ns` zero and saves the derivatives it takes.
        constants: values of :data:`pimjax.circuit.CONSTANTS` by name, instead of the nominal ones.

    Returns:
        NumPy where `design` and `schedule` are NumPy, else JAX arrays.

    Raises:
        ConfigError: fluid without a profile.
    """
    if fidelity == "fluid" and schedule.prompt_profile is None:
        raise ConfigError("fidelity 'fluid' needs a schedule made with schedule_inputs(..., fidelity='fluid')")
    point = Point(design, schedule, constants=constants)
    with np.errstate(all="ignore"):  # formulas choose between branches of which one may divide by zero
        return _cost(point, point.real(schedule), capacity, fidelity, critical)


def _cost(point: Point, schedule: RunCounts, capacity: Capacity, fidelity: str, critical: bool) -> RunCost:
    run = run_of(point, schedule)
    # a latency is homogeneous in the durations: its derivatives by the components' scales are their shares
    chip = chip_of(point, arrays.larger(schedule.group_sizes.max(), 1.0), schedule, run, capacity, shares=critical)
    chip = with_mean_products(chip, schedule, run)
    links = None
    if chip.network is not None:
        points = 1 if run.mean is None else 1 + np.shape(schedule.lengths)[0]
        links = pass_links(point, chip.network, schedule, (points, np.shape(schedule.is_moe)[-1]))
    at = nodes(point, schedule, run)
    times = run_times(
        point, schedule, run, at, chip.timed, state=chip.state, fidelity=fidelity, shares=critical, links=links
    )
    latency: Any = times.latency
    if critical:
        latency = times.latency.value
        shares = arrays.placed(times.latency.tangent, FIRST_TIMED, len(COMPONENTS) - 1 - LAST_TIMED)
    else:
        shares = arrays.as_real(np.zeros(len(COMPONENTS)), point.dtype, device=point.device)
    flags = {
        status.CAPACITY_EXCEEDED: (point.design.model.num_blocks > np.shape(schedule.is_moe)[-1])
        | other_tile(point, capacity.tile_kinds)
        | unexpected(point, capacity.digital_parts)
    }
    if fidelity == "fluid":
        flags[status.RING_OVERFLOW] = ring_overflows(chip.time)
    found = Times(
        latency=arrays.apart(latency, point.one),
        critical=shares,
        moe=arrays.apart(times.moe, point.one),
        last_pass=times.last_pass,
        slowest_layer=arrays.apart(times.layers, point.one),
        waiting_results=np.inf,
        waiting=times.pauses,
        peak_w=None,
        status=status.bits(np.int32(status.OK), flags),
    )
    return assemble(chip, schedule, run, chip.standing_still(found))


def chip_of(
    point: Point, largest: Any, schedule: RunCounts, run: Run, capacity: Capacity | None = None, *, shares: bool
) -> Chip:
    """The chip of a design whose largest group has `largest` members, with the system that a run has around it; `capacity`
    None: of a design whose numbers are known. `shares`: its times with those of the components."""
    shape, tile = geometry(point), core(point, None if capacity is None else capacity.tile_kinds)
    beside = digital_parts(point, None if capacity is None else capacity.digital_parts)
    area = areas(point, schedule, shape, tile, run, beside)
    network = network_of(point, schedule, shape, tile, run, area)
    wires = None if network is None else network.wires
    timed = durations(point, largest, shape=shape, tile=tile, beside=beside, wires=wires, shares=shares)
    time = jax.tree.map(value_of, timed, is_leaf=lambda leaf: isinstance(leaf, Dual))
    state = states(point, shape, tile)
    swaps = swapping(point, schedule, shape, run, beside)
    return Chip(point, shape, tile, time, timed, largest, beside, area, state, network, swaps)
