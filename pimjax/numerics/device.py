"""What a memory cell does to the number it stores: one pytree of levels, all of them data.

Facts and coefficients: IBM AIHWKit 1.1 (MIT licence), `inference/noise/pcm.py` and `hermes.py`:
Nandakumar et al., ICECS 2020 (PCM statistics); Khaddam-Aljameh et al., JSSC 57(4) 2022 and Le Gallo et al.,
Nature Electronics 2023 (HERMES core).
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
    g_max_us: Level = 25.0  # [uS] conductance of the full state
    drift_scale: Level = 0.0  # [] multiplies the drift exponent; 0: no drift
    drift_time_s: Level = 0.0  # [s] since programming
    drift_start_s: Level = 20.0  # [s] time of the first reading; drift counts from here
    drift_compensation: Level = 0.0  # [] flag: the digital side multiplies by the mean loss since programming
    drift_mean: Level = (-0.0155, 0.0244, 0.049, 0.1)  # [4] slope against ln r, intercept, lower, upper clip
    drift_deviation: Level = (-0.0125, -0.0059, 0.008, 0.045)  # [4] the same for the standard deviation
    read_scale: Level = 0.0  # [] multiplies the read noise; 0: noiseless reads
    read_coefficient: Level = 0.0088  # [] Q = coefficient / r^exponent, at most read_limit
    read_exponent: Level = 0.65  # []
    read_limit: Level = 0.2  # []
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
    """HERMES core, two PCM devices per sign: g_max 20.7 uS, t0 300 s, read at t0.

    >>> hermes_two_device().g_max_us
    20.7
    """
    base = pcm_device(
        programming_polynomial=_HERMES_TWO_DEVICE_POLYNOMIAL, g_max_us=20.7, drift_start_s=300.0, drift_time_s=300.0
    )
    return dataclasses.replace(base, **changes)


def hermes_one_device(**changes: Level) -> Device:
    """HERMES core, one PCM device per sign: g_max 10.35 uS, t0 200 s, read at t0.

    >>> hermes_one_device().drift_start_s
    200.0
    """
    base = pcm_device(
        programming_polynomial=_HERMES_ONE_DEVICE_POLYNOMIAL, g_max_us=10.35, drift_start_s=200.0, drift_time_s=200.0
    )
    return dataclasses.replace(base, **changes)


DEVICE_PRESETS = {
    "ideal": Device,
    "pcm": pcm_device,
    "hermes_two_device": hermes_two_device,
    "hermes_one_device": hermes_one_device,
}
