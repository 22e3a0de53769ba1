"""Refusing impossible tiles: parameters out of range, results that are zero, negative or beyond a physical limit.

Lower limits used: kT ln 2 per multiply-accumulate (Landauer); 8 kT x SNR per converted sample, SNR = 1.5 x 4^b (the
thermal-noise bound of a sampling converter); 4 F^2 per crossbar position; one gate delay per conversion in turn.
They are far below any design on purpose: crossing one is an error in the input, not a good chip.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pimjax import checks
from pimjax.circuit.adc import ADC_KINDS
from pimjax.circuit.cell_array import CELL_KINDS
from pimjax.circuit.constants import Real
from pimjax.circuit.drivers import INPUT_KINDS
from pimjax.circuit.gates import GATE_NODE_NM, NAND2_DELAY
from pimjax.circuit.sample_hold import BOLTZMANN_J_PER_K
from pimjax.circuit.tile import TileCost, TileParameters, compiled_tile
from pimjax.errors import ConfigError

TEMPERATURE_K = 300.0
KT_NJ = BOLTZMANN_J_PER_K * TEMPERATURE_K * 1e9

PARAMETER_RANGES = {
    "rows": (1.0, 65536.0),
    "cols": (1.0, 65536.0),
    "active_rows": (1.0, 65536.0),
    "input_bits": (1.0, 32.0),
    "cycle_bits": (1.0, 16.0),
    "input_kind": (0.0, len(INPUT_KINDS) - 1.0),
    "cell_bits": (0.5, 16.0),
    "cell_kind": (0.0, len(CELL_KINDS) - 1.0),
    "cell_group": (1.0, 65536.0),
    "product_bits": (1.0, 2.0),
    "adc_bits": (1.0, 16.0),
    "columns_per_adc": (1.0, 65536.0),
    "adc_rate_gsps": (1e-6, 100.0),
    "adc_kind": (0.0, len(ADC_KINDS) - 1.0),
    "node_nm": (7.0, 130.0),
    "vdd_v": (0.3, 3.3),
    "input_activity": (0.0, 1.0),
    "group_size": (1.0, 4096.0),
}
"""Allowed range of every parameter; scales must be positive."""

LIMITS = (
    "a cost is not finite",
    "a cost is zero or negative",
    "energy is below kT ln 2 per multiply-accumulate",
    "energy is below the thermal-noise bound of its conversions",
    "area is below 4 F^2 per crossbar position",
    "latency is below one gate delay per conversion in turn",
    "a part of the breakdown is negative",
    "the breakdown does not add up to the totals",
)
"""Sentences of :func:`tile_violations`, in its order."""


@checks.checked(
    ConfigError,
    parameters=checks.instance(TileParameters, "TileParameters"),
    cost=checks.instance(TileCost, "a TileCost from parametric_tile"),
)
def tile_violations(parameters: TileParameters, cost: TileCost) -> jax.Array:
    """Which of :data:`LIMITS` the `cost` of `parameters` breaks. Kernel: bool [len(LIMITS)], usable under vmap.

    >>> bool(tile_violations(TileParameters(), compiled_tile(TileParameters())).any())
    False
    """
    p = parameters
    totals = jnp.stack([jnp.asarray(x) for x in (cost.mvm_latency_ns, cost.mvm_energy_nj, cost.core_area_mm2)])
    latency, energy, area = totals
    reads = p.input_bits / p.cycle_bits * (p.rows / p.active_rows)
    gate, landauer, crosspoint = least_cost(p.rows, p.cols, p.node_nm)
    if p.compute == "analog":
        thermal = reads * p.cols * (8.0 * KT_NJ * 1.5) * jnp.exp2(2.0 * jnp.asarray(p.adc_bits))
    else:  # nothing is converted, and no columns take turns
        thermal = jnp.zeros_like(energy)
    crosspoint = crosspoint * p.cell_group
    gate = reads * gate * (p.columns_per_adc if p.compute == "analog" else 1.0)
    parts = (cost.part_latency_ns, cost.part_energy_nj, cost.part_area_mm2)
    sums = jnp.stack([jnp.sum(part) for part in parts])
    return jnp.stack(
        [
            ~jnp.all(jnp.isfinite(totals)),
            jnp.any(totals <= 0.0),
            energy < landauer,
            energy < thermal,
            area < crosspoint,
            latency < gate,
            jnp.any(jnp.stack([jnp.any(part < 0.0) for part in parts])),
            jnp.any(jnp.abs(sums - totals) > 1e-4 * jnp.abs(totals)),
        ]
    )


class LeastCost(NamedTuple):
    """Lower limits of one product and of one crossbar whatever it is made of."""

    latency_ns: Real
    energy_nj: Real
    area_mm2: Real


def least_cost(rows: Real, cols: Real, node_nm: Real) -> LeastCost:
    """One gate delay, kT ln 2 per multiply-accumulate, 4 F^2 per position. Kernel.

    >>> [f"{limit:.1e}" for limit in least_cost(256.0, 256.0, 14.0)]  # ns, nJ, mm2
    ['2.4e-02', '1.9e-07', '5.1e-05']
    """
    positions = rows * cols
    gate = NAND2_DELAY.value * (node_nm / GATE_NODE_NM)
    return LeastCost(gate, positions * (KT_NJ * math.log(2.0)), positions * 4.0 * (node_nm * 1e-6) ** 2)


def _check_ranges(parameters: TileParameters) -> None:
    def scalar(name: str) -> float:
        checks.require(
            ConfigError, f"tile parameter {name}", getattr(parameters, name), checks.numbers(dims=0, valued=False)
        )
        return float(np.asarray(getattr(parameters, name)))

    for name, (low, high) in PARAMETER_RANGES.items():
        if not low <= scalar(name) <= high:
            raise ConfigError(f"tile parameter {name} = {scalar(name):g} is outside {low:g} to {high:g}")
    for name in ("cell", "adc", "other"):
        for quantity in ("area", "energy"):
            field = f"{name}_{quantity}_scale"
            if not scalar(field) > 0.0:
                raise ConfigError(f"tile parameter {field} = {scalar(field):g} must be positive")
    for small, large in (("active_rows", "rows"), ("columns_per_adc", "cols"), ("cycle_bits", "input_bits")):
        if scalar(small) > scalar(large):
            raise ConfigError(f"tile parameter {small} = {scalar(small):g} must not exceed {large} = {scalar(large):g}")


@checks.checked(ConfigError, parameters=checks.instance(TileParameters, "TileParameters"))
def checked_tile(parameters: TileParameters) -> TileCost:
    """:func:`parametric_tile` for one design on the host in float64, or a ConfigError that says what is impossible.

    Raises:
      ConfigError: a parameter is out of range, or the result breaks one of :data:`LIMITS`.

    >>> checked_tile(TileParameters(vdd_v=0.0))
    Traceback (most recent call last):
    ...
    pimjax.errors.ConfigError: tile parameter vdd_v = 0 is outside 0.3 to 3.3
    """
    _check_ranges(parameters)
    with jax.enable_x64(True):
        cost = compiled_tile(parameters)
        refuse_impossible(parameters, cost)
        return jax.tree.map(np.asarray, cost)


@checks.checked(
    ConfigError,
    parameters=checks.instance(TileParameters, "TileParameters"),
    cost=checks.instance(TileCost, "a TileCost from parametric_tile"),
)
def refuse_impossible(parameters: TileParameters, cost: TileCost) -> None:
    """Raise ConfigError when `cost` breaks a physical limit; the sentence names every limit that is broken."""
    broken = np.asarray(tile_violations(parameters, cost))
    if broken.any():
        sentences = "; ".join(text for text, bad in zip(LIMITS, broken, strict=True) if bad)
        figures = f"{_show(cost.mvm_latency_ns)} ns, {_show(cost.mvm_energy_nj)} nJ, {_show(cost.core_area_mm2)} mm2"
        raise ConfigError(f"impossible tile ({figures}): {sentences}; check bits, node, supply and scales")


def _show(figure: Real) -> str:
    return f"{float(figure):.4g}"
