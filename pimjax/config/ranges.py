"""Ranges that the configuration and the numerics share: what one accepts the other can run. Both ends are allowed."""

from __future__ import annotations

WEIGHT_BITS = (2, 12)  # with sign
INPUT_BITS = (2, 12)  # with sign
CELL_BITS = (1, 12)
CYCLE_BITS = (1, 12)
ADC_BITS = (2, 16)  # codes of both signs; a converter of one sign also has 1
