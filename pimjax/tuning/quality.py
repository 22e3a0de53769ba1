"""Signal-to-noise ratio of the crossbar product as a smooth function of the hardware, for limits on quality."""

from __future__ import annotations

import math

import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.config.hardware import Hardware

RANGE_DEVIATIONS = 5.0
"""Half the converter's range, in standard deviations of a block's sum (the range of `Crossbar.create`)."""
WEIGHT_BITS = INPUT_BITS = 8


def sqnr_db(hardware: Hardware) -> Array:
    """Ratio of signal to quantisation noise of a crossbar product [dB]; rises 6 dB per ADC bit, then saturates.

    Uniform quantisation noise D^2/12 of three independent sources over uniformly random weights and inputs of 8 bits
    with sign: the converter (D = 2 x 5 sigma / (2^b - 2) per block, codes of both signs; signal and noise both grow with the rows and with the
    number of blocks, so neither matters), weights and inputs (127 steps each side). Devices are ideal; for noise give
    your own function. Held against :func:`pimjax.numerics.mvm.crossbar_mvm` by a test.

    >>> from pimjax.config import Config, build
    >>> round(float(sqnr_db(build(Config())[0].hardware)), 1)
    38.0
    """
    bits = jnp.asarray(hardware.adc_bits)
    converter = 4 * RANGE_DEVIATIONS**2 / 12 / jnp.maximum(jnp.exp2(bits) - 2.0, 1e-3) ** 2
    encoding = sum(1 / (12 * (2 ** (width - 1) - 1) ** 2) * 3 for width in (WEIGHT_BITS, INPUT_BITS))
    return -10 / math.log(10) * jnp.log(converter + encoding)
