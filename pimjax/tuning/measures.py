"""Measures an objective or a limit may name, as linear combinations of the logarithms of a few base quantities.

Every derived measure is a product of powers of latency, energy, area, operations and tokens, so that its logarithm is
linear in theirs: an objective is one row of weights, a limit another, and both are data of one compiled program.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import Array, HostArray
from pimjax.chips.run_cost import RunCost

#: base quantities; letter M. All but `quality` enter as natural logarithms.
BASE = ("latency_ns", "energy_nj", "area_mm2", "flops", "tokens", "moe_latency_ns", "moe_area_mm2", "quality")

_ROWS: dict[str, dict[str, float]] = {
    "latency_ns": {"latency_ns": 1},
    "energy_nj": {"energy_nj": 1},
    "area_mm2": {"area_mm2": 1},
    "edp_nj_ns": {"energy_nj": 1, "latency_ns": 1},
    "edap": {"energy_nj": 1, "latency_ns": 1, "area_mm2": 1},
    "power_w": {"energy_nj": 1, "latency_ns": -1},
    "energy_per_token_nj": {"energy_nj": 1, "tokens": -1},
    "latency_per_token_ns": {"latency_ns": 1, "tokens": -1},
    "tokens_per_s": {"tokens": 1, "latency_ns": -1},
    "gops": {"flops": 1, "latency_ns": -1},
    "gops_per_w": {"flops": 1, "energy_nj": -1},
    "gops_per_mm2": {"flops": 1, "latency_ns": -1, "area_mm2": -1},
    "gops_per_w_per_mm2": {"flops": 1, "energy_nj": -1, "area_mm2": -1},
    "moe_latency_ns": {"moe_latency_ns": 1},
    "moe_area_mm2": {"moe_area_mm2": 1},
    "quality": {"quality": 1},
    "perplexity": {"quality": -1},  # where the quality is that of `quality: perplexity`
}
_FACTOR = {"tokens_per_s": 1e9}  # the measure is this times the product of powers
MEASURES = tuple(_ROWS)
#: measures that are linear in `quality` itself, not in logarithms
QUALITIES = ("quality", "perplexity")
#: measures of which more is better; an objective's positive weight always means improvement
HIGHER_IS_BETTER = frozenset({"tokens_per_s", "gops", "gops_per_w", "gops_per_mm2", "gops_per_w_per_mm2", "quality"})


def row(measure: str) -> HostArray:
    """Coefficients `[M]` of a measure's logarithm (of `quality` itself) over `BASE`.

    >>> row("edp_nj_ns").tolist()
    [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    return np.array([_ROWS[measure].get(name, 0.0) for name in BASE])


def offset(measure: str) -> float:
    """Logarithm of the constant factor of a measure."""
    return float(np.log(_FACTOR.get(measure, 1.0)))


def value_of(measure: str, base: Any) -> HostArray:
    """A measure's value from base quantities `[..., M]` (logarithms, and quality)."""
    combined = np.asarray(base) @ row(measure)
    return combined if measure in QUALITIES else np.exp(combined + offset(measure))


def base_of(cost: RunCost, quality: Array) -> Array:
    """Base quantities `[M]` of a run: logarithms, and `quality`. Kernel; a quantity that is zero gives -69."""
    energy, area = jnp.sum(cost.component_energy_nj), jnp.sum(cost.component_area_mm2)
    amounts = jnp.stack(
        [cost.latency_ns, energy, area, cost.flops, cost.tokens, cost.moe_latency_ns, cost.moe_area_mm2]
    )
    logs = jnp.log(jnp.maximum(amounts, 1e-30))
    return jnp.append(logs, quality.astype(logs.dtype))
