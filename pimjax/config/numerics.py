"""How numbers are represented on the crossbars: one description feeds both the numerics and the costs."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import model_validator

from pimjax.config import ranges
from pimjax.config.base import Section, option


class NumericsConfig(Section):
    """Weight and input encodings, converters' ranges and device non-idealities.

    ADC bits and columns per ADC are the hardware section's (`hardware.adc_bits`, `hardware.columns_per_adc`).
    """

    weight_encoding: Literal["differential", "offset", "sliced"] = option(
        "differential",
        about="Differential pair of analog cells, offset column, or bit slices in differential pairs",
    )
    weight_bits: int = option(
        8, about="Bits of a weight including sign", ge=ranges.WEIGHT_BITS[0], le=ranges.WEIGHT_BITS[1]
    )
    cell_bits: int = option(7, about="Magnitude bits one cell stores (sliced: per slice)", ge=1, le=8)
    input_encoding: Literal["pwm", "serial"] = option("pwm", about="One analog-length pulse, or bits in several cycles")
    signed_inputs: Literal["sign_magnitude", "offset"] = option("sign_magnitude", about="How signed inputs are driven")
    input_bits: int = option(
        8, about="Bits of an input including sign", ge=ranges.INPUT_BITS[0], le=ranges.INPUT_BITS[1]
    )
    cycle_bits: int = option(1, about="serial: input bits per cycle", ge=1, le=8)
    adc_ideal: bool = option(False, about="No quantisation by the ADC")
    adc_range: Literal["fixed", "max", "percentile", "mse"] = option("percentile", about="How ADC ranges are set")
    adc_range_value: float = option(
        1.0, about="fixed: full-scale range in units of the largest column sum", gt=0, le=1e6
    )
    adc_range_percentile: float = option(99.99, about="percentile: part of the outputs inside the range", gt=0, le=100)
    device: Literal["ideal", "pcm", "hermes_1", "hermes_2", "analog_foundation_models"] = option(
        "ideal", about="Programming noise, drift and read noise preset"
    )
    noise_scale: float = option(1.0, about="Scale of programming and read noise", ge=0, le=1e3)
    polarity_spread: float = option(
        0.0, about="Relative deviation of a cell's conductance between the two read polarities; one-phase reads see it", ge=0, le=1
    )  # fmt: skip
    drift_seconds: float = option(20.0, about="Time since programming [s]", gt=0, le=1e12)
    stuck_fraction: float = option(0.0, about="Part of the cells that are stuck", ge=0, le=1)
    on_off_ratio: float | None = option(
        None, about="Ratio of largest to smallest conductance; null: infinite", gt=1, le=1e12
    )
    wire_resistance_ohm: float = option(0.0, about="Resistance of one wire segment", ge=0, le=1e6)
    adc_gain_spread: float = option(0.0, about="Standard deviation of the gain per crossbar behind an ADC", ge=0, le=1)
    calibrated_gain: bool = option(True, about="Gains are calibrated per crossbar")
    seed: int = option(0, about="Seed of the device noise", ge=0, le=2**31 - 1)

    @model_validator(mode="after")
    def _consistent(self) -> NumericsConfig:
        if self.weight_encoding == "sliced" and self.cell_bits > self.weight_bits - 1:
            raise ValueError(
                f"numerics.cell_bits is {self.cell_bits} but a weight of {self.weight_bits} bits has only "
                f"{self.weight_bits - 1} magnitude bits to slice"
            )
        return self

    @property
    def weight_slices(self) -> int:
        """Crossbars that hold the slices of one block of weights."""
        return math.ceil((self.weight_bits - 1) / self.cell_bits) if self.weight_encoding == "sliced" else 1

    @property
    def input_cycles(self) -> int:
        """Conversions one input vector takes: serial inputs send magnitude bits, with an offset all bits."""
        bits = self.input_bits if self.signed_inputs == "offset" else self.input_bits - 1
        return math.ceil(bits / self.cycle_bits) if self.input_encoding == "serial" else 1
