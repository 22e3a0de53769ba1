"""The fused MoE layer of one pass, from the loads of its experts.

Two grouped products (one input matrix and its gate, then the output matrix), an activation between them and a sum over the
experts of a token after them. Tokens of an expert are computed in tiles; a tile that is not full costs as much as a
full one, and the weights of an expert are read if it has a token at all. Grouped kernels walk over all columns of a
tile before the next tile of the same expert, unless a pass has more than 128 tokens per expert, so that a matrix larger
than the cache is read once per tile.

Both that limit and the rule of tiles of the Triton kernel are as vLLM's default configuration is described publicly; not
checked against a version. For libraries that choose by load the tile is assumed to be the power of two above the mean load;
for those of TensorRT-LLM half of it and at most 64 rows, which is inferred from the measured times: weights of large matrices are
read twice as soon as the mean load is above 8, three times above 128.

The cache that decides what is read again is an effective one: `cached_fraction` times the data sheet's, fitted (0.9 on an H100 in 16
bits). It is loosely determined: 3.2 fits nearly as well there, with other efficiencies. It is not a measured size of anything.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax.arrays import larger, namespace, smaller, where
from pimjax.chips.gpu.operators.device import Device, Time, together

TILE_ROWS = (8, 16, 32, 64, 128)
"""Rows of the tiles there are."""
_GROUPED_ABOVE = 128.0  # tokens per expert


class ExpertNumbers(NamedTuple):
    """What is fitted of a family of kernels."""

    fixed_ns: Any  # launches, sorting of tokens by expert
    bandwidth_efficiency: Any  # of weight traffic, reached fraction of the data sheet's bandwidth
    arithmetic_efficiency: Any  # in tiles of 128 rows
    tile_exponent: Any  # efficiency ~ (rows / 128) to this power
    cached_fraction: Any  # size of a matrix that is still read once for all tiles, in units of the cache
    activation_efficiency: Any  # of activation traffic
    exposed: Any
    tile_rule: Any  # 0: by the mean load; 1: by the tokens of the pass (Triton in vLLM); 2: by half the mean load (TensorRT-LLM)


class ExpertWork(NamedTuple):
    """One layer in one pass; leaves broadcast together, `tiles` has a further last axis of `TILE_ROWS`."""

    tokens: Any
    assignments: Any  # (token, expert) pairs
    touched: Any  # distinct experts with a token
    tiles: Any  # [..., 5] tiles of each size that the loads fill: sum over experts of ceil(load / rows)


class ExpertShape(NamedTuple):
    """Widths of a layer."""

    width: Any
    hidden: Any
    experts: Any
    matrices_in: Any  # 2 with a gate, else 1
    weight_bytes: Any  # of one weight, with its share of a scale
    activation_bytes: Any


def tile_choice(work: ExpertWork, shape: ExpertShape, rule: Any) -> tuple[Any, Any]:
    """Rows of a tile, and how many tiles there are.

    >>> import numpy as np
    >>> work = ExpertWork(48.0, 96.0, 8.0, np.array([16.0, 8, 8, 8, 8]))
    >>> [float(one) for one in tile_choice(work, ExpertShape(64, 32, 8.0, 2, 2, 2), 1.0)]
    [32.0, 8.0]
    """
    mean = work.assignments / larger(smaller(shape.experts, work.assignments), 1.0)
    by_count = where(rule > 0.5, where(rule < 1.5, 1.0, 0.0), 0.0) + 0.0 * mean
    by_half = where(rule > 1.5, 1.0, 0.0) + 0.0 * mean
    limits = ((8, 8.0, 0.0, 16.0), (16, 16.0, 32.0, 32.0), (32, 32.0, 96.0, 64.0), (64, 64.0, 512.0, 1e30))
    rows, count = 128.0 + 0.0 * mean, work.tiles[..., 4] + 0.0 * mean
    for index in (3, 2, 1, 0):
        size, load, tokens, twice = limits[index]
        holds = where(by_half > 0.5, mean <= twice, where(by_count > 0.5, work.tokens <= tokens, mean <= load))
        rows, count = where(holds, 1.0 * size, rows), where(holds, work.tiles[..., index], count)
    return rows, count


def expert_layer(device: Device, numbers: ExpertNumbers, shape: ExpertShape, work: ExpertWork) -> Time:
    """Time of the layer [ns]; elementwise over the leaves of `work`. Zero where no token is.

    >>> import numpy as np
    >>> h100 = Device(3350.0, 989.4, 50e6, 132.0)
    >>> numbers = ExpertNumbers(20e3, 0.9, 0.55, 0.7, 3.0, 0.6, 0.2, 1.0)
    >>> shape = ExpertShape(2048.0, 768.0, 128.0, 2.0, 2.0, 2.0)
    >>> one = ExpertWork(1.0, 8.0, 8.0, np.full(5, 8.0))
    >>> round(float(expert_layer(h100, numbers, shape, one).total) / 1e3, 1)  # us
    47.0
    """
    xp = namespace(work.tokens, numbers.fixed_ns, device.bandwidth_gb_per_s)
    rows, count = tile_choice(work, shape, numbers.tile_rule)
    again = larger(count - work.touched, 0.0)  # tiles beyond each expert's first
    grouped = where(xp.floor(work.tokens / shape.experts) > _GROUPED_ABOVE, 0.0, 1.0)  # only the Triton kernel does
    apart = where(numbers.tile_rule > 1.5, 1.0, where(numbers.tile_rule > 0.5, grouped, 0.0 * grouped))
    rate = device.tflops * 1e3 * numbers.arithmetic_efficiency * (rows / 128.0) ** numbers.tile_exponent
    bandwidth = device.bandwidth_gb_per_s * numbers.bandwidth_efficiency
    total = memory = arithmetic = 0.0
    for columns, depth in ((shape.matrices_in * shape.hidden, shape.width), (shape.width, shape.hidden)):
        matrix = columns * depth * shape.weight_bytes
        missed = matrix / (numbers.cached_fraction * device.l2_cache_bytes) - 1.0
        missed = smaller(larger(missed, 0.0), 1.0) * apart
        traffic = matrix * (work.touched + again * missed)
        traffic = traffic + work.assignments * (columns + depth) * shape.activation_bytes
        read, computed = traffic / bandwidth, 2.0 * count * rows * columns * depth / rate
        total = total + together(read, computed, numbers.exposed)
        memory, arithmetic = memory + read, arithmetic + computed
    values = work.assignments * (shape.matrices_in + 1) * shape.hidden + (work.assignments + work.tokens) * shape.width
    moved = values * shape.activation_bytes / (device.bandwidth_gb_per_s * numbers.activation_efficiency)
    fixed = where(work.assignments > 0, numbers.fixed_ns, 0.0 * numbers.fixed_ns)
    return Time(fixed + total + moved, memory + moved, arithmetic)
