"""What a memory cell does to the number it stores: one pytree of levels, all of them data.

Facts and coefficients: IBM AIHWKit 1.1 (MIT licence), `inference/noise/pcm.py` and `hermes.py`:
Nandakumar et al., ICECS 2020 (PCM statistics); Khaddam-Aljameh et al., JSSC 57(4) 2022 and Le Gallo et al.,
Nature Electronics 2023 (HERMES core). Weights of a HERMES chip: Analog Foundation Models, arXiv 2505.09663, with the
polynomials of its repository IBM/analog-foundation-models, `apply_noise_model.py`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import struct

from pimjax.array_typing import Array

Level = Any  # a number or an array of numbers: data

_PCM_POLYNOMIAL = (0.26348, 1.9650, -1.1731, 0.0)  # uS against r = g / g_max, ascending powers
_HERMES_TWO_DEVICE_POLYNOMIAL = (0.16603222, 4.71806468, -8.48101252, 4.68961419)
_HERMES_ONE_DEVICE_POLYNOMIAL = (0.15781817, 2.32443916, -2.16310839, 0.68841818)
_HERMES_DRIFT_MEAN: dict[str, Level] = {
    "drift_mean": (-0.0387, -0.0182, 0.0720, 0.13),
    "drift_mean_split": 0.0945,
    "drift_mean_above": (0.0736, -0.0126, -0.0436),
}
# Published against weights scaled to 180, in the same unit: one device per weight up to 52.5, two above.
_FOUNDATION_FULL, _FOUNDATION_SPLIT, _FOUNDATION_FLOOR = 180.0, 52.5, 0.6
_FOUNDATION_ONE_DEVICE = (2.5797410660159494, 0.22419685954327148, -0.00371581208142707, 2.939751381126213e-05)
_FOUNDATION_TWO_DEVICES = (2.110295720240385, 0.2453487119885723, -0.003054993405157235, 1.2329755395573392e-05)
_HERMES_TWO_DEVICE_G_MAX_US = 20.7


@struct.dataclass
class Device:
    """Memory cell: conductance window, faults, programming noise, drift and read noise. Every field is data.

    The default cell is ideal. Conductances are relative to `g_max` throughout (r = g / g_max).
    """

    on_off_ratio: Level = jnp.inf  # [] g_max / g_min; inf: the off state conducts nothing
    stuck_on: Level = 0.0  # [] fraction of cells that read g_max whatever is written
    stuck_off: Level = 0.0  # [] fraction of cells that read g_min
    programming_scale: Level = 0.0  # [] multiplies the programming noise; 0: exact writes
    programming_polynomial: Level = (0.0, 0.0, 0.0, 0.0)  # [4] sigma [uS] against r, ascending powers
    programming_split: Level = jnp.inf  # [] r above which the polynomial is the next one; inf: nowhere
    programming_polynomial_above: Level = (0.0, 0.0, 0.0, 0.0)  # [4] sigma [uS] against r
    programming_floor: Level = 0.0  # [] targets r below this are left at 0 without noise
    programming_signed: Level = 0.0  # [] flag: the noise is a weight's, and may carry it through 0
    g_max_us: Level = 25.0  # [uS] conductance of the full state
    drift_scale: Level = 0.0  # [] multiplies the drift exponent; 0: no drift
    drift_time_s: Level = 0.0  # [s] since programming
    drift_start_s: Level = 20.0  # [s] time of the first reading; drift counts from here
    drift_compensation: Level = 0.0  # [] flag: the digital side multiplies by the mean loss since programming
    drift_mean: Level = (-0.0155, 0.0244, 0.049, 0.1)  # [4] slope against ln r, intercept, lower, upper clip
    drift_deviation: Level = (-0.0125, -0.0059, 0.008, 0.045)  # [4] the same for the standard deviation
    drift_mean_split: Level = jnp.inf  # [] r from which the mean is the polynomial below; inf: nowhere
    drift_mean_above: Level = (0.0, 0.0, 0.0)  # [3] mean against r, ascending powers
    drift_deviation_split: Level = jnp.inf  # [] the same for the standard deviation
    drift_deviation_above: Level = (0.0, 0.0, 0.0)  # [3]
    read_scale: Level = 0.0  # [] multiplies the read noise; 0: noiseless reads
    read_coefficient: Level = 0.0088  # [] Q = coefficient / r^exponent, at most read_limit
    read_exponent: Level = 0.65  # []
    read_limit: Level = 0.2  # []
    read_split: Level = 0.0  # [] above 0: Q is `read_line` below this r, `read_polynomial` from it
    read_line: Level = (0.0, 0.0, 0.0, 0.0)  # [4] slope against ln r, intercept, lower, upper clip
    read_polynomial: Level = (0.0, 0.0, 0.0, 0.0)  # [4] against r, ascending powers
    read_pulse_s: Level = 250e-9  # [s] length of a read
    polarity_spread: Level = 0.0  # [] relative deviation of a cell's conductance between the two read polarities

    @property
    def off_conductance(self) -> Array:
        """g_min / g_max []; 0 for an infinite on/off ratio."""
        return 1.0 / jnp.asarray(self.on_off_ratio)


def pcm_device(**changes: Level) -> Device:
    """Phase-change memory with the statistics of AIHWKit's `PCMLikeNoiseModel` (g_max 25 uS, t0 20 s), read at t0.

    >>> float(pcm_device(drift_time_s=3600.0).drift_start_s)
    20.0
    """
    base = Device(
        programming_scale=1.0,
        programming_polynomial=_PCM_POLYNOMIAL,
        drift_scale=1.0,
        drift_time_s=20.0,
        read_scale=1.0,
    )
    return dataclasses.replace(base, **changes)


def hermes_two_device(**changes: Level) -> Device:
    """HERMES core, two PCM devices per sign: g_max 20.7 uS, t0 300 s, read at t0; drift and read noise of its own cells.

    >>> hermes_two_device().g_max_us
    20.7
    """
    base = pcm_device(
        programming_polynomial=_HERMES_TWO_DEVICE_POLYNOMIAL,
        g_max_us=_HERMES_TWO_DEVICE_G_MAX_US,
        drift_start_s=300.0,
        drift_time_s=300.0,
        **_HERMES_DRIFT_MEAN,
        drift_deviation=(-0.0117, -0.0057, 0.0091, 0.04),
        drift_deviation_split=0.3055,
        drift_deviation_above=(0.0073, 0.0093, -0.0118),
        read_pulse_s=512e-9,
        read_split=0.16,
        read_line=(-0.0117, -0.0069, 0.015, 0.04),
        read_polynomial=(0.0123, 0.0211, -0.0280, 0.0069),
    )
    return dataclasses.replace(base, **changes)


def hermes_one_device(**changes: Level) -> Device:
    """HERMES core, one PCM device per sign: g_max 10.35 uS, t0 200 s, read at t0; drift and read noise of its own cells.

    >>> hermes_one_device().drift_start_s
    200.0
    """
    base = pcm_device(
        programming_polynomial=_HERMES_ONE_DEVICE_POLYNOMIAL,
        g_max_us=10.35,
        drift_start_s=200.0,
        drift_time_s=200.0,
        **_HERMES_DRIFT_MEAN,
        drift_deviation=(-0.0120, -0.0023, 0.0124, 0.04),
        drift_deviation_split=0.3039,
        drift_deviation_above=(0.0104, 0.0116, -0.0165),
        read_pulse_s=512e-9,
        read_split=0.1591,
        read_line=(-0.0078, 0.0038, 0.0179, 0.04),
        read_polynomial=(0.0088, 0.0768, -0.1352, 0.0664),
    )
    return dataclasses.replace(base, **changes)


def analog_foundation_models(**changes: Level) -> Device:
    """Weights of a HERMES chip after programming, as IBM's analog foundation models are evaluated (arXiv 2505.09663).

    The polynomial is of the error of a whole weight, so the cell of the other sign is silent (`programming_floor`) and a
    small weight may change its sign (`programming_signed`). No drift and no read noise are published with it. Relative
    to the largest weight; uS by the 20.7 uS of two devices.

    >>> from pimjax.numerics.noise import programming_deviation
    >>> levels = jnp.array([0.1, 0.5, 1.0])
    >>> deviation = programming_deviation(levels, analog_foundation_models())
    >>> [round(100 * float(one), 2) for one in deviation]  # % of the largest weight
    [3.1, 4.69, 10.67]
    """
    unit = _HERMES_TWO_DEVICE_G_MAX_US / _FOUNDATION_FULL

    def against_r(coefficients: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(unit * value * _FOUNDATION_FULL**power for power, value in enumerate(coefficients))

    base = Device(
        programming_scale=1.0,
        programming_polynomial=against_r(_FOUNDATION_ONE_DEVICE),
        programming_split=_FOUNDATION_SPLIT / _FOUNDATION_FULL,
        programming_polynomial_above=against_r(_FOUNDATION_TWO_DEVICES),
        programming_floor=_FOUNDATION_FLOOR / _FOUNDATION_FULL,
        programming_signed=1.0,
        g_max_us=_HERMES_TWO_DEVICE_G_MAX_US,
    )
    return dataclasses.replace(base, **changes)


DEVICE_PRESETS = {
    "ideal": Device,
    "pcm": pcm_device,
    "hermes_two_device": hermes_two_device,
    "hermes_one_device": hermes_one_device,
    "analog_foundation_models": analog_foundation_models,
}
