"""What the tuning case study may change: the bounds of every parameter, read by the study and by its page."""

from __future__ import annotations

from typing import Any

#: key of the configuration -> kind and bounds, as a tuning file states them
PARAMETERS: dict[str, Any] = {
    "hardware.adc_bits": {"kind": "integer", "low": 5, "high": 9},
    "hardware.columns_per_adc": {"kind": "levels", "levels": [1, 2, 4, 8, 16]},
    "hardware.crossbar_rows": {"kind": "levels", "levels": [64, 128, 256, 512]},
    "hardware.crossbar_cols": {"kind": "levels", "levels": [64, 128, 256, 512]},
    "hardware.supply_v": {"low": 0.7, "high": 0.9},
    "hardware.num_digital_units": {"kind": "integer", "low": 1, "high": 32},
    "hardware.num_attention_units": {"kind": "integer", "low": 1, "high": 16},
    "hardware.accumulator_lanes": {"kind": "levels", "levels": [16, 32, 64, 128, 256]},
    "hardware.out_buffer_slots": {"kind": "integer", "low": 1, "high": 8},
}
