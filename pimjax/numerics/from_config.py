"""One configuration object for numbers and costs: its numerics and hardware sections as a `Crossbar`."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from pimjax.numerics.device import DEVICE_PRESETS
from pimjax.numerics.settings import Crossbar

_DEVICES = {
    "ideal": "ideal",
    "pcm": "pcm",
    "hermes_1": "hermes_one_device",
    "hermes_2": "hermes_two_device",
    "analog_foundation_models": "analog_foundation_models",
}


def crossbar_from_config(config: Any) -> Crossbar:
    """The crossbar that a loaded configuration describes (`pimjax.load_config`).

    Rows, columns, ADC bits, columns per ADC and phases of a read come from its hardware section, everything else from its numerics
    section. Relaxed (not whole) sizes and bits count as the nearest whole number. `adc_range: fixed` sets the range, adc_range_value times `crossbar_rows`; for the other rules the result carries
    the starting range of `Crossbar.create` and must be calibrated on data
    (`calibrate_adc_range(..., method=config.numerics.adc_range)`). Wire resistance counts against `g_max` of the cell.

    With `plan.tile: digital_sram` it is :func:`macro_from_config`.

    >>> from pimjax.config import load_config
    >>> crossbar = crossbar_from_config(load_config("paper_multiplexed", {"hardware.adc_bits": 6}))
    >>> crossbar.rows, float(crossbar.adc_bits)
    (256, 6.0)
    """
    if config.plan.tile == "digital_sram":
        return macro_from_config(config)
    numerics, hardware = config.numerics, config.hardware
    offset = numerics.weight_encoding == "offset"
    input_offset = numerics.signed_inputs == "offset"
    serial = numerics.input_encoding == "serial"
    cell_bits = numerics.cell_bits if numerics.weight_encoding == "sliced" else numerics.weight_bits
    cycle_bits = numerics.cycle_bits if serial else numerics.input_bits
    slices = math.ceil((numerics.weight_bits - 1 + offset) / cell_bits)
    cycles = math.ceil((numerics.input_bits - 1 + input_offset) / cycle_bits)
    device = DEVICE_PRESETS[_DEVICES[numerics.device]]()
    device = dataclasses.replace(
        device,
        programming_scale=device.programming_scale * numerics.noise_scale,
        read_scale=device.read_scale * numerics.noise_scale,
        polarity_spread=numerics.polarity_spread,
        drift_time_s=numerics.drift_seconds,
        stuck_on=numerics.stuck_fraction / 2,
        stuck_off=numerics.stuck_fraction / 2,
        on_off_ratio=math.inf if numerics.on_off_ratio is None else numerics.on_off_ratio,
    )
    wire = numerics.wire_resistance_ohm * device.g_max_us * 1e-6
    rows = round(hardware.crossbar_rows)
    settings: dict[str, Any] = {}
    if numerics.adc_range == "fixed":
        settings["adc_range"] = numerics.adc_range_value * rows
    return Crossbar.create(
        rows=rows,
        cols=round(hardware.crossbar_cols),
        max_slices=max(slices, 1),
        max_cycles=max(cycles, 1),
        weight_bits=numerics.weight_bits,
        cell_bits=cell_bits,
        input_bits=numerics.input_bits,
        cycle_bits=cycle_bits,
        adc_bits=round(hardware.adc_bits),
        adc_ideal=numerics.adc_ideal,
        read_phases=round(getattr(hardware, "read_phases", 1)),
        weight_offset=offset,
        input_offset=input_offset,
        columns_per_adc=hardware.columns_per_adc,
        path_gain_spread=numerics.adc_gain_spread,
        adc_calibration=2 if numerics.calibrated_gain else 0,
        wire_row=wire,
        wire_col=wire,
        device=device,
        **settings,
    )


def macro_from_config(config: Any) -> Crossbar:
    """A digital macro of a configuration: exact at `numerics.weight_bits` and `numerics.input_bits`, nothing else.

    >>> from pimjax.config import load_config
    >>> float(macro_from_config(load_config("paper_multiplexed", {"numerics.device": "pcm"})).adc_ideal)
    1.0
    """
    numerics, hardware = config.numerics, config.hardware
    return Crossbar.create(
        rows=round(hardware.crossbar_rows),
        cols=round(hardware.crossbar_cols),
        weight_bits=numerics.weight_bits,
        cell_bits=numerics.weight_bits,
        input_bits=numerics.input_bits,
        cycle_bits=numerics.input_bits,
        adc_ideal=True,
    )
