"""Quality of the crossbars' numbers as a smooth function of the hardware, for limits: signal to noise, or perplexity."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, cast

import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import Array
from pimjax.config.config import Config
from pimjax.tuning.tune_config import ParameterConfig, level_values

if TYPE_CHECKING:
    from pimjax.chips.parts.numbers import CrossbarNumbers

RANGE_DEVIATIONS = 5.0
"""Half the converter's range, in standard deviations of a block's sum (the range of `Crossbar.create`)."""
WEIGHT_BITS = INPUT_BITS = 8


def sqnr_db(hardware: Any) -> Array:
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


@dataclasses.dataclass(frozen=True)
class PerplexityByBits:
    """Minus the perplexity as a function of the ADC bits: measured at whole bits, log-linear between them.

    Beyond the measured bits the nearest measurement holds. Differentiable: piecewise, a subgradient at whole bits.

    >>> from pimjax.config import Config, build
    >>> fit = PerplexityByBits((7.0, 9.0), (4.0, 1.0))
    >>> round(float(fit(build(Config())[0].hardware)), 3)  # 8 bits lie between them
    -2.0
    """

    bits: tuple[float, ...]
    perplexities: tuple[float, ...]

    def __call__(self, hardware: Any) -> Array:
        """Quality `[]`: larger is better."""
        bits = jnp.asarray(hardware.adc_bits)
        logs = jnp.asarray(np.log(self.perplexities), bits.dtype)
        return -jnp.exp(jnp.interp(bits, jnp.asarray(self.bits, bits.dtype), logs))


def measured_perplexity(config: Config, adc_bits: ParameterConfig | None) -> PerplexityByBits:
    """Perplexity of the project's language model on the configuration's crossbars at every whole ADC resolution.

    One measurement for each whole number of bits that the parameter `adc_bits` spans (None: the configuration's own).
    Sizes of crossbars and everything else stay those of `config`: of what tuning moves, the ADC decides. Seconds to
    minutes. Host.
    """
    from pimjax.estimation.accuracy import perplexity

    crossbars = cast("CrossbarNumbers", config.hardware)
    bits: tuple[float, ...] = (float(round(crossbars.adc_bits)),)
    if adc_bits is not None:
        levels = level_values(adc_bits) or (adc_bits.low or 0.0, adc_bits.high or 0.0)
        bits = tuple(float(b) for b in range(math.floor(levels[0]), math.ceil(levels[-1]) + 1))
    found = []
    for count in bits:
        hardware = config.hardware.model_copy(update={"adc_bits": count})
        found.append(perplexity(config.model_copy(update={"hardware": hardware}))[0])
    return PerplexityByBits(bits, tuple(found))
