"""`estimate_kernel`: the pure function that users differentiate, jit and vmap."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from pimjax.chips.multiplexed import multiplexed_cost
from pimjax.chips.reference.kernel import reference_cost
from pimjax.config.build import Capacity, Design
from pimjax.config.config import CHIP_MODELS
from pimjax.errors import ConfigError
from pimjax.estimation.result import Estimate, from_run_cost

KERNEL_FIDELITIES = ("fluid", "closed")
FIDELITIES = ("event", *KERNEL_FIDELITIES)


def estimate_kernel(design: Design, schedule: Any, *, capacity: Capacity, chip_model: str, fidelity: str) -> Estimate:
    """Cost of one design point under one schedule. Kernel: pure, unbatched, in the caller's dtype.

    Differentiable in every leaf of `design.hardware` (piecewise: see the chip models for what is a subgradient).

    Args:
        design: one point, from :func:`pimjax.build`.
        schedule: routing as counts: `pimjax.chips.multiplexed.schedule_inputs` for "multiplexed", None for
            "reference" (routing has no effect on it).
        capacity: static sizes, from :func:`pimjax.build`.
        chip_model: static, "multiplexed" or "reference".
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
        raise ConfigError(f"fidelity: {fidelity!r} is no kernel; allowed: {', '.join(KERNEL_FIDELITIES)}")
    if chip_model == "reference":
        cost = reference_cost(design, capacity=capacity, fidelity=fidelity)
    elif chip_model == "multiplexed":
        # a kernel whatever it is given: on NumPy leaves `multiplexed_cost` would stay on the host
        design, schedule = jax.tree.map(jnp.asarray, (design, schedule))
        cost = multiplexed_cost(design, schedule, capacity=capacity, fidelity=fidelity)
    else:
        raise ConfigError(f"chip_model: {chip_model!r} is unknown; allowed: {', '.join(CHIP_MODELS)}")
    return from_run_cost(cost, design.hardware.reticle_area_mm2)
