"""`estimate_kernel`: the pure function that users differentiate, jit and vmap."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from pimjax import checks
from pimjax.chips import CHIPS
from pimjax.config.build import Capacity, Design
from pimjax.errors import ConfigError, shown
from pimjax.estimation.result import Estimate, from_run_cost

KERNEL_FIDELITIES = ("fluid", "closed")
FIDELITIES = ("event", *KERNEL_FIDELITIES)


@checks.checked(
    ConfigError,
    design=checks.instance(Design, "a Design from pimjax.build"),
    capacity=checks.instance(Capacity, "a Capacity from pimjax.build"),
    fidelity=checks.text,
)
def estimate_kernel(design: Design, schedule: Any, *, capacity: Capacity, chip_model: str, fidelity: str) -> Estimate:
    """Cost of one design point under one schedule. Kernel: pure, unbatched, in the caller's dtype.

    Differentiable in every leaf of `design.hardware` (piecewise: see the chip models for what is a subgradient).

    Args:
        design: one point, from :func:`pimjax.build`.
        schedule: what the chip's `inputs` made of a run's routing (`pimjax.schedule_inputs`); None for chips that take
            no routing.
        capacity: static sizes, from :func:`pimjax.build`.
        chip_model: static, a name in :data:`pimjax.chips.CHIPS`.
        fidelity: static, "fluid" or "closed" ("event" is no kernel: use :func:`pimjax.estimate`).

    Raises:
        ConfigError: unknown chip model or fidelity.

    >>> import jax, pimjax
    >>> design, capacity = pimjax.build(pimjax.reference_config())
    >>> def latency(hardware):
    ...     point = design.replace(hardware=hardware)
    ...     return estimate_kernel(
    ...         point, None, capacity=capacity, chip_model="reference", fidelity="closed"
    ...     ).latency_ns
    >>> bool(jax.grad(latency)(design.hardware).mvm_latency_ns > 0)
    True
    """
    if fidelity not in KERNEL_FIDELITIES:
        raise ConfigError(f"fidelity: {shown(fidelity)} is no kernel; allowed: {', '.join(KERNEL_FIDELITIES)}")
    chip = CHIPS[chip_model]
    # leaves of NumPy would be computed on the host
    design, schedule = jax.tree.map(jnp.asarray, (design, schedule))
    cost = chip.cost(design, schedule, capacity=capacity, fidelity=fidelity)
    return from_run_cost(cost, design.hardware, chip)
