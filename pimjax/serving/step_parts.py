"""What a step's tokens share and what every sequence does by itself, of a chip's costs. Host and kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.arrays import namespace
from pimjax.errors import ServingError, shown


def counted_components(chip: Any, components: Sequence[str] | None) -> tuple[bool, ...]:
    """Which of a chip's components count; all where `components` is None.

    Raises:
        ServingError: an unknown name, or a chip whose step is no sum of its components.
    """
    names = chip.component_names
    if components is None:
        return (True,) * len(names)
    unknown = [name for name in components if name not in names]
    if unknown or chip.sequence_components is None:
        raise ServingError(
            f"components: {shown(unknown[0])} is none of {', '.join(names)}"
            if unknown
            else f"components: the {chip.name!r} chip's step is no sum of its components; leave them out"
        )
    return tuple(name in components for name in names)


def paid_by_time(chip: Any) -> HostArray:
    """bool `[C]` along a chip's component axis: energy that is a power times the run's time."""
    named = {spec.name for spec in chip.components if spec.by_run_time}
    return np.array([name in named for name in chip.component_names])


def parts_of_cost(chip: Any, counted: tuple[bool, ...], cost: Any) -> Any:
    """`[2, 2]` of a RunCost or an Estimate: ns and nJ, of what all tokens share and of what each sequence does by itself.

    Energy that is a power times the run's time goes with the time.
    """
    xp = namespace(cost.latency_ns)
    kept = np.array(counted)
    by_time = paid_by_time(chip)
    alone = np.array([name in (chip.sequence_components or ()) for name in chip.component_names])
    energy, busy = cost.component_energy_nj, cost.busy_ns
    power = xp.where(by_time, energy, 0.0).sum() / xp.maximum(cost.latency_ns, 1e-9)
    own = xp.where(alone & kept, busy, 0.0).sum()
    whole = cost.latency_ns if kept.all() else xp.where(kept, busy, 0.0).sum()
    if chip.sequence_components is None:
        own = whole
    own_nj = xp.where(alone & kept, energy, 0.0).sum() + power * own
    whole_nj = energy.sum() if kept.all() else xp.where(kept & ~by_time, energy, 0.0).sum() + power * whole
    if chip.sequence_components is None:
        own_nj = whole_nj
    return xp.stack([xp.stack([whole - own, own]), xp.stack([whole_nj - own_nj, own_nj])])
