"""Attention over cached and new keys: prefill (bound by arithmetic) and decode (bound by reading the cache)."""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax.arrays import larger, smaller, where, whole_down, whole_up
from pimjax.chips.gpu.operators.device import Device, Time, together


class PrefillNumbers(NamedTuple):
    """What is fitted of a family of kernels over whole prompts."""

    fixed_ns: Any
    bandwidth_efficiency: Any
    arithmetic_efficiency: Any
    exposed: Any
    tile_ns: Any  # of a tile of 128 queries: its queries in, its result out
    block_ns: Any  # of a block of 128 x 128 (query, key) pairs beside its products: exponentials
    key_passes: Any  # how often keys and values move: written to the cache, converted, read back
    packs_heads: Any  # 1: queries of the heads that share a key head fill one tile together, 0: a tile per head


class DecodeNumbers(NamedTuple):
    """What is fitted of a family of kernels for one new token per sequence."""

    fixed_ns: Any
    bandwidth_efficiency: Any
    exposed: Any
    tile_ns: Any  # of a tile: queries of one sequence and key head
    block_ns: Any  # of a block of 128 cached positions with 256 values each
    split_ns: Any  # where keys are more than one block: adding up the parts
    sequence_ns: Any  # preparing one of at most 512 sequences (of a captured graph) for splitting


def causal_pairs(tokens: Any, window: Any) -> Any:
    """(query, key) pairs of one head over a prompt; `window` 0: none.

    >>> float(causal_pairs(4.0, 0.0)), float(causal_pairs(4.0, 2.0))
    (10.0, 7.0)
    """
    knee = where(window > 0, smaller(tokens, window), tokens)
    return knee * (knee + 1.0) / 2 + (tokens - knee) * window


def prefill_attention(
    device: Device, numbers: PrefillNumbers, *, sequences: Any, tokens: Any, window: Any, heads: Any, kv_heads: Any,
    key_width: Any, value_width: Any, value_bytes: Any,
) -> Time:  # fmt: skip
    """Time of attention over whole prompts [ns]; elementwise.

    A multiprocessor computes a tile of 128 queries over the blocks of 128 keys that they see; the block on the diagonal is
    computed whole. The time is that of the mean multiprocessor, with the last wave's idle ones, and at least that of the
    longest tile.

    >>> h100 = Device(3350.0, 989.4, 50e6, 132.0)
    >>> numbers = PrefillNumbers(1e4, 0.43, 1.0, 0.7, 1430.0, 490.0, 1.0, 1.0)
    >>> time = prefill_attention(h100, numbers, sequences=1.0, tokens=2048.0, window=0.0, heads=32.0, kv_heads=4.0,
    ...                          key_width=128.0, value_width=128.0, value_bytes=2.0)
    >>> round(float(time.total) / 1e3, 1)  # us
    88.8
    """
    shared = where(numbers.packs_heads > 0.5, heads / kv_heads, 1.0 + 0.0 * heads)  # rows of a tile per token
    tiles = whole_up(tokens * shared / 128.0)  # of one sequence and the heads that share them
    pairs = causal_pairs(tokens, window) * tiles * 128.0 / tokens
    blocks = larger(pairs / 128.0**2 + 0.5 * tiles, tiles)
    seen = where(window > 0, smaller(tokens, larger(window, 1.0)), tokens)
    longest = whole_up(seen / 128.0) + where((window > 0) & (tokens > window), 1.0, 0.0)
    rate = device.tflops * 1e3 * numbers.arithmetic_efficiency / device.multiprocessors
    block = 2.0 * 128.0**2 * (key_width + value_width) / rate + numbers.block_ns
    every = sequences * heads / shared
    waves = every * tiles / device.multiprocessors
    mean = every * (blocks * block + tiles * numbers.tile_ns) / device.multiprocessors
    computed = larger(mean * whole_up(waves) / waves, longest * block + numbers.tile_ns)
    values = (heads + numbers.key_passes * kv_heads) * (key_width + value_width)
    read = sequences * tokens * values * value_bytes / (device.bandwidth_gb_per_s * numbers.bandwidth_efficiency)
    total = numbers.fixed_ns + together(read, computed, numbers.exposed)
    return Time(
        total, read, sequences * heads * causal_pairs(tokens, window) / 128.0**2 * block / device.multiprocessors
    )


def decode_attention(
    device: Device, numbers: DecodeNumbers, *, sequences: Any, context: Any, window: Any, heads: Any, kv_heads: Any,
    key_width: Any, value_width: Any, cached_width: Any, cache_bytes: Any,
) -> Time:  # fmt: skip
    """Time of attention of one new token per sequence over `context` cached ones [ns]; elementwise.

    A tile is one sequence and key head (per 64 query heads of it). A multiprocessor walks over the blocks of 128 positions
    of a tile, one after the other, in whole waves of tiles; short of one tile per multiprocessor, idle ones take parts of
    the blocks (flash decoding), which costs adding up. What is read bounds it where that is longer.

    Args:
        cached_width: values per position and key head that are read (keys and values; of MLA the one latent vector).
        others: as their names say; widths and heads in values, `cache_bytes` of one value.

    >>> h100 = Device(3350.0, 989.4, 50e6, 132.0)
    >>> time = decode_attention(h100, DecodeNumbers(1e4, 0.9, 0.4, 2e3, 1400.0, 2600.0, 20.0), sequences=8.0, context=4096.0,
    ...                         window=0.0, heads=32.0, kv_heads=4.0, key_width=128.0, value_width=128.0, cached_width=256.0,
    ...                         cache_bytes=2.0)
    >>> round(float(time.total) / 1e3, 1)  # us
    40.3
    """
    limit = larger(window, 1.0)
    seen = where(window > 0, smaller(context, limit), context)
    # a window that does not begin at a block's edge touches one block more
    blocks = whole_up(seen / 128.0) + where((window > 0) & (context > limit), 1.0, 0.0)
    tiles = sequences * kv_heads * whole_up(heads / kv_heads / 64.0)
    parts = smaller(larger(whole_down(device.multiprocessors / larger(tiles, 1.0)), 1.0), blocks)
    waves = whole_up(tiles / device.multiprocessors)
    width = (key_width + value_width) / 256.0
    walked = waves * (numbers.tile_ns + whole_up(blocks / parts) * width * numbers.block_ns)
    bytes_read = sequences * seen * kv_heads * cached_width * cache_bytes
    read = bytes_read / (device.bandwidth_gb_per_s * numbers.bandwidth_efficiency)
    fixed = numbers.fixed_ns + where(blocks > 1, numbers.split_ns, 0.0 * numbers.split_ns)
    fixed = fixed + where(sequences <= 512, numbers.sequence_ns, 0.0 * numbers.sequence_ns) * sequences
    flops = 2.0 * sequences * heads * seen * (key_width + value_width)
    total = fixed + together(read, walked, numbers.exposed)
    return Time(total, read, flops / (device.tflops * 1e3))
