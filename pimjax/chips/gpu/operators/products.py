"""Dense products `[m, k] x [k, n]`: whole tiles in whole waves over the multiprocessors, or a split depth.

A tile of `rows x columns` of the result is computed by one multiprocessor along the whole depth. Its time is that of its
arithmetic and of the operands that it is fed, which is in proportion to its edge: small tiles fill the multiprocessors
better, large ones need fewer operands. Libraries choose the tile; the law takes the best of :data:`TILES`. Where tiles are
fewer than multiprocessors, the depth is split over the idle ones if that pays for adding up the parts. Kernels that choose
by rows alone, and never split, are those of :func:`by_rows`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax.arrays import larger, smaller, where, whole_down, whole_up
from pimjax.chips.gpu.operators.device import Device, Time, together

TILES = ((64.0, 64.0), (64.0, 128.0), (128.0, 128.0), (128.0, 256.0))
"""Rows and columns of the tiles there are."""
_LEAST_DEPTH = 256.0  # of a part of a split


class ProductNumbers(NamedTuple):
    """What is fitted of a family of kernels."""

    fixed_ns: Any
    bandwidth_efficiency: Any
    arithmetic_efficiency: Any
    exposed: Any
    operand_ns: Any  # feeding a tile, per row or column of its edge and 1000 of depth
    split_ns: Any  # adding up the parts of a split depth; 0: kernels that never split
    row_ns: Any  # converting one row of activations to the number format, per row
    tiles_by_rows: Any  # 1: the tile follows from the rows (CUTLASS in vLLM), 0: the best one


def product(
    device: Device, numbers: ProductNumbers, m: Any, n: Any, k: Any, weight_bytes: Any, value_bytes: Any
) -> Time:
    """Time of a product [ns]; elementwise. Its arithmetic alone is counted at the rate that the largest tile sustains.

    Args:
        device: one GPU.
        numbers: of its kernels.
        m, n, k: rows (tokens), columns, depth.
        weight_bytes: bytes of one weight.
        value_bytes: bytes of one activation.

    >>> h100 = Device(3350.0, 989.4, 50e6, 132.0)
    >>> time = product(h100, ProductNumbers(2.7e3, 0.88, 1.0, 0.26, 1.8, 3.2e3, 0.0, 0.0), 8.0, 4096.0, 4096.0, 2.0, 2.0)
    >>> round(float(time.total) / 1e3, 1)  # us
    14.7
    """
    each = [_tiled(device, numbers, rows, columns, m, n, k) for rows, columns in TILES]
    best = each[0]
    for other in each[1:]:
        best = smaller(best, other)
    computed = where(numbers.tiles_by_rows > 0.5, by_rows(m, each), best)
    traffic = n * k * weight_bytes + m * (k + n) * value_bytes
    read = traffic / (device.bandwidth_gb_per_s * numbers.bandwidth_efficiency)
    total = numbers.fixed_ns + together(read, computed, numbers.exposed) + numbers.row_ns * m
    rows, columns = TILES[-1]
    sustained = _tile_ns(device, numbers, rows, columns, k) / (rows * columns * device.multiprocessors)
    return Time(total, read, m * n * sustained)


def by_rows(m: Any, each: list[Any]) -> Any:
    """The tile that CUTLASS kernels for 8 bits take, by rows, as vLLM's dispatch is described publicly.

    >>> [float(by_rows(m, [1.0, 2.0, 3.0, 4.0])) for m in (64.0, 65.0, 129.0)]
    [1.0, 2.0, 3.0]
    """
    return where(m <= 64, each[0], where(m <= 128, each[1], each[2]))


def _tile_ns(device: Device, numbers: ProductNumbers, rows: Any, columns: Any, k: Any, edge: Any = None) -> Any:
    """Time of one tile on one multiprocessor."""
    rate = device.tflops * 1e3 * numbers.arithmetic_efficiency / device.multiprocessors
    fed = rows + columns if edge is None else edge
    return k * (2.0 * rows * columns / rate + 1e-3 * numbers.operand_ns * fed)


def _tiled(device: Device, numbers: ProductNumbers, rows: float, columns: float, m: Any, n: Any, k: Any) -> Any:
    """Time of the arithmetic in tiles of one size."""
    tiles = whole_up(m / rows) * whole_up(n / columns)
    filled = smaller(rows + 0.0 * m, 16.0 * whole_up(m / 16.0))  # rows are computed in steps of 16
    one = _tile_ns(device, numbers, filled, columns, k, edge=rows + columns)
    parts = smaller(larger(whole_down(device.multiprocessors / larger(tiles, 1.0)), 1.0), larger(k / _LEAST_DEPTH, 1.0))
    split = where((numbers.split_ns > 0) & (parts > 1), smaller(one, one / parts + numbers.split_ns), one)
    return whole_up(tiles / device.multiprocessors) * split
