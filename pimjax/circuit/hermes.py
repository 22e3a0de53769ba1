"""The measured HERMES core, and the scales with which the parametric tile lands on it.

Measured (JSSC 57(4) 2022, doi 10.1109/JSSC.2022.3140414): 1.008 TOPS, 10.5 TOPS/W, 1.59 TOPS/mm2 on a 256 x 256
array, hence 130 ns, 12.48 nJ and 0.634 mm2. No area or energy breakdown of this core is published; the three shares
used below are those of the tile-design perspective (doi 10.1038/s41928-025-01537-5) and the shareable fraction of
arXiv 2602.10254. The scales are what is left between our counted parts and these shares:

- cells and converter: their unit costs are derived from shares of this core, so the factors are 1 but for rounding.
  They move when another shareable fraction is asked for.
- cells, energy: mean conductance and read voltage are assumptions; the scale says how far off they are together.
- everything else, area and energy: pulse-width drivers, local digital units, calibration DACs and references of the
  core are not counted as parts; the scale is large because of that.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax

from pimjax import checks
from pimjax.circuit.cell_array import CELL_KINDS
from pimjax.circuit.constants import Constants, Real, sourced, value
from pimjax.circuit.tile import CONTROL_ENERGY, PARTS, WIRING_AREA, TileCost, TileParameters, compiled_tile
from pimjax.errors import ConfigError

HERMES_LATENCY_NS, HERMES_ENERGY_NJ, HERMES_AREA_MM2 = 130.0, 12.48, 0.634

HERMES_ADC_AREA_SHARE = sourced(
    "tile.hermes_adc_area_share",
    0.4,
    "1",
    low=0.3,
    high=0.6,
    quality="M",
    source="'over 40 %' of the tile is ADC and support, doi 10.1038/s41928-025-01537-5",
)
HERMES_ADC_ENERGY_SHARE = sourced(
    "tile.hermes_adc_energy_share",
    0.65,
    "1",
    low=0.5,
    high=0.7,
    quality="M",
    source="output encoding is 60-70 % of tile energy (ADC alone 50-60 %), doi 10.1038/s41928-025-01537-5",
)
HERMES_CELL_ENERGY_SHARE = sourced(
    "tile.hermes_cell_energy_share",
    0.175,
    "1",
    low=0.15,
    high=0.2,
    quality="M",
    source="the memory array is 15-20 % of tile energy, doi 10.1038/s41928-025-01537-5",
)
HERMES_SHAREABLE = sourced(
    "tile.hermes_shareable_fraction",
    0.8,
    "1",
    low=0.4,
    high=0.8,
    quality="U",
    source="arXiv 2602.10254 (area 1.0/0.6/0.4 at g = 1/2/4); no published breakdown found",
)


class CalibratedTile(NamedTuple):
    """The measured tile: latency [ns] and energy [nJ] of one MVM, area [mm2], shareable fraction of the area."""

    mvm_latency_ns: float
    mvm_energy_nj: float
    core_area_mm2: float
    shareable_fraction: float


def calibrated_tile() -> CalibratedTile:
    """The measured HERMES core; the shareable fraction is the paper's assumption (range 0.4 to 0.8).

    >>> calibrated_tile().mvm_latency_ns
    130.0
    """
    return CalibratedTile(HERMES_LATENCY_NS, HERMES_ENERGY_NJ, HERMES_AREA_MM2, HERMES_SHAREABLE.value)


class TileScale(NamedTuple):
    """One calibration factor with the reason for it."""

    field: str
    factor: float
    reason: str


def _scales(constants: Constants | None) -> dict[str, Real]:
    # Concrete numbers even when a caller builds the tile inside a transformation.
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        area, energy, latency_ns = jax.tree.map(float, _bare_parts(constants))
    wiring, control = value(WIRING_AREA, constants), value(CONTROL_ENERGY, constants)
    others = [part for part in PARTS if part not in ("cells", "adc", "wiring_control")]
    cell_share = 1.0 - value(HERMES_SHAREABLE, constants)
    # The converter keeps its part (a half) of the shared periphery when s is varied.
    adc_share = value(HERMES_ADC_AREA_SHARE, constants) * (1.0 - cell_share) / HERMES_SHAREABLE.value
    other_share = 1.0 - cell_share - adc_share
    cell_energy_share = value(HERMES_CELL_ENERGY_SHARE, constants)
    adc_energy_share = value(HERMES_ADC_ENERGY_SHARE, constants)
    other_energy_share = 1.0 - cell_energy_share - adc_energy_share
    return {
        "cell_area_scale": HERMES_AREA_MM2 * cell_share / area["cells"],
        "adc_area_scale": HERMES_AREA_MM2 * adc_share / area["adc"],
        "other_area_scale": HERMES_AREA_MM2 * other_share / (wiring * sum(area[part] for part in others)),
        "cell_energy_scale": HERMES_ENERGY_NJ * cell_energy_share / (control * energy["cells"]),
        "adc_energy_scale": HERMES_ENERGY_NJ * adc_energy_share / energy["adc"],
        "other_energy_scale": HERMES_ENERGY_NJ * other_energy_share / (control * sum(energy[part] for part in others)),
        "latency_scale": HERMES_LATENCY_NS / latency_ns,
    }


def _bare_parts(
    constants: Constants | None,
) -> tuple[dict[str, jax.Array], dict[str, jax.Array], Real]:
    bare: TileCost = compiled_tile(TileParameters(), exact=True, constants=constants)
    return (
        dict(zip(PARTS, bare.part_area_mm2, strict=True)),
        dict(zip(PARTS, bare.part_energy_nj, strict=True)),
        bare.mvm_latency_ns,
    )


_REASONS = {
    "cell_area_scale": "the cell area constant is (1 - s) of the core at s = 0.8; another s rescales it",
    "adc_area_scale": "the converter area constant is 40 % of the core at s = 0.8, half of the periphery at any s",
    "other_area_scale": "PWM generation, local digital units, references and calibration DACs are not counted parts",
    "cell_energy_scale": "assumed mean conductance and read voltage against the published 15-20 % array share",
    "adc_energy_scale": "the converter energy constant is 65 % of the measured MVM energy",
    "other_energy_scale": "PWM clock tree, input distribution and local digital units are not counted parts",
    "latency_scale": "the row driver's gate delay (0.1 ns) lies inside the measured 130 ns",
}


@checks.checked(ConfigError, shareable=checks.numbers(0, 1, dims=0))
@functools.cache
def hermes_scales(shareable: float | None = None) -> tuple[TileScale, ...]:
    """The factors between counted parts and the measured core, each with its reason. Host, float64.

    Args:
      shareable: s, the fraction of the core that is not cells, 0.4 to 0.8; default the paper's 0.8.

    >>> [scale.field for scale in hermes_scales()][:2]
    ['cell_area_scale', 'adc_area_scale']
    """
    constants = None if shareable is None else {HERMES_SHAREABLE.name: shareable}
    return tuple(TileScale(name, float(factor), _REASONS[name]) for name, factor in _scales(constants).items())


@checks.checked(ConfigError, shareable=checks.numbers(0, 1, dims=0))
def hermes_tile(shareable: float | None = None) -> TileParameters:
    """The HERMES core as parameters, scales included: what :func:`pimjax.circuit.tile.parametric_tile`
    maps onto the measured numbers.

    >>> tile = compiled_tile(hermes_tile())
    >>> [round(float(x), 3) for x in (tile.mvm_latency_ns, tile.mvm_energy_nj, tile.core_area_mm2)]
    [130.0, 12.48, 0.634]
    >>> round(float(tile.shareable_fraction), 6)
    0.8
    """
    scales: dict[str, Any] = {scale.field: scale.factor for scale in hermes_scales(shareable)}
    return dataclasses.replace(TileParameters(), cell_kind=float(CELL_KINDS.index("pcm_8t4r")), **scales)
