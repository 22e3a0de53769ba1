"""Dense products `[m, k] x [k, n]`: whole tiles in waves over the multiprocessors."""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax.arrays import larger, smaller, whole_up
from pimjax.chips.gpu.operators.device import Device, Time, together

_TILE_COLUMNS = 128.0


class ProductNumbers(NamedTuple):
    """What is fitted of a family of kernels."""

    fixed_ns: Any
    bandwidth_efficiency: Any
    arithmetic_efficiency: Any
    exposed: Any
    row_ns: Any  # converting one row of activations to the number format, per row


def product(
    device: Device, numbers: ProductNumbers, m: Any, n: Any, k: Any, weight_bytes: Any, value_bytes: Any
) -> Time:
    """Time of a product [ns]; elementwise.

    Tiles have 128 columns and up to 128 rows (a power of two); short of one tile per multiprocessor the depth is split.

    Args:
        device: one GPU.
        numbers: of its kernels.
        m, n, k: rows (tokens), columns, depth.
        weight_bytes: bytes of one weight.
        value_bytes: bytes of one activation.

    >>> h100 = Device(3350.0, 989.4, 50e6, 132.0)
    >>> time = product(h100, ProductNumbers(3e3, 0.9, 0.7, 0.2, 0.0), 8.0, 4096.0, 4096.0, 2.0, 2.0)
    >>> round(float(time.total) / 1e3, 1)  # us
    14.4
    """
    rows = smaller(128.0 * whole_up(m / 128.0), 16.0 * whole_up(m / 16.0))
    tiles = whole_up(rows / 128.0) * whole_up(n / _TILE_COLUMNS)
    waves = tiles / device.multiprocessors
    padding = whole_up(waves) / larger(waves, 1e-9)
    # the last wave's idle multiprocessors take part where the depth is split, which pays below one wave only
    padding = 1.0 + (padding - 1.0) * smaller(waves, 1.0)
    computed = 2.0 * rows * n * k * padding / (device.tflops * 1e3 * numbers.arithmetic_efficiency)
    traffic = n * k * weight_bytes + m * (k + n) * value_bytes
    read = traffic / (device.bandwidth_gb_per_s * numbers.bandwidth_efficiency)
    total = numbers.fixed_ns + together(read, computed, numbers.exposed) + numbers.row_ns * m
    return Time(total, read, computed)
