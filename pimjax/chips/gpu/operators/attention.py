"""Attention over cached and new keys: prefill (bound by arithmetic) and decode (bound by reading the cache)."""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax.arrays import larger, smaller, where, whole_up
from pimjax.chips.gpu.operators.device import Device, Time, together


class AttentionNumbers(NamedTuple):
    """What is fitted of a family of kernels."""

    fixed_ns: Any
    bandwidth_efficiency: Any
    arithmetic_efficiency: Any
    exposed: Any
    block_ns: Any  # of a multiprocessor, for every block of 128 positions of one head, beside its arithmetic


def causal_pairs(tokens: Any, window: Any) -> Any:
    """(query, key) pairs of one head over a prompt; `window` 0: none.

    >>> float(causal_pairs(4.0, 0.0)), float(causal_pairs(4.0, 2.0))
    (10.0, 7.0)
    """
    knee = where(window > 0, smaller(tokens, window), tokens)
    return knee * (knee + 1.0) / 2 + (tokens - knee) * window


def prefill_attention(
    device: Device, numbers: AttentionNumbers, *, sequences: Any, tokens: Any, window: Any, heads: Any, kv_heads: Any,
    key_width: Any, value_width: Any, value_bytes: Any,
) -> Time:  # fmt: skip
    """Time of attention over whole prompts [ns]; elementwise.

    Blocks of 128 queries of one head are the unit of work: each costs a fixed time beside its arithmetic, the diagonal
    block is computed whole, and fewer blocks than multiprocessors leave some idle.

    >>> h100 = Device(3350.0, 989.4, 50e6, 132.0)
    >>> time = prefill_attention(h100, AttentionNumbers(1e4, 0.8, 0.6, 0.2, 500.0), sequences=1.0, tokens=2048.0, window=0.0,
    ...                          heads=32.0, kv_heads=4.0, key_width=128.0, value_width=128.0, value_bytes=2.0)
    >>> round(float(time.total) / 1e3, 1)  # us
    76.3
    """
    rows = 128.0 * whole_up(tokens / 128.0)
    pairs = causal_pairs(tokens, window) + 64.0 * smaller(tokens, rows)
    blocks = sequences * heads * rows / 128.0
    waves = blocks / device.multiprocessors
    idle = larger(1.0, 1.0 / larger(waves, 1e-9))
    flops = 2.0 * sequences * heads * pairs * (key_width + value_width)
    computed = flops * idle / (device.tflops * 1e3 * numbers.arithmetic_efficiency)
    computed = computed + larger(waves, 1.0) * numbers.block_ns
    values = heads * (key_width + value_width) + kv_heads * (key_width + value_width)
    read = sequences * tokens * values * value_bytes / (device.bandwidth_gb_per_s * numbers.bandwidth_efficiency)
    return Time(numbers.fixed_ns + together(read, computed, numbers.exposed), read, computed)


def decode_attention(
    device: Device, numbers: AttentionNumbers, *, sequences: Any, context: Any, window: Any, heads: Any, kv_heads: Any,
    key_width: Any, value_width: Any, cached_width: Any, cache_bytes: Any,
) -> Time:  # fmt: skip
    """Time of attention of one new token per sequence over `context` cached ones [ns]; elementwise.

    Query heads of one key head are computed together, in tiles of 64 rows; a sequence's keys are split over
    multiprocessors in blocks of 128 tokens, of which the last is computed whole.

    Args:
        cached_width: values per position and key head that are read (keys and values; of MLA the one latent vector).
        others: as their names say; widths and heads in values, `cache_bytes` of one value.

    >>> h100 = Device(3350.0, 989.4, 50e6, 132.0)
    >>> time = decode_attention(h100, AttentionNumbers(1e4, 0.8, 0.6, 0.2, 500.0), sequences=8.0, context=4096.0, window=0.0,
    ...                         heads=32.0, kv_heads=4.0, key_width=128.0, value_width=128.0, cached_width=256.0, cache_bytes=2.0)
    >>> round(float(time.total) / 1e3, 1)  # us
    37.3
    """
    seen = where(window > 0, smaller(context, larger(window, 1.0)), context)
    padded = 128.0 * whole_up(seen / 128.0)
    bytes_read = sequences * seen * kv_heads * cached_width * cache_bytes
    read = bytes_read / (device.bandwidth_gb_per_s * numbers.bandwidth_efficiency)
    rows = 64.0 * whole_up(heads / kv_heads / 64.0)
    flops = 2.0 * sequences * kv_heads * rows * padded * (key_width + value_width)
    computed = flops / (device.tflops * 1e3 * numbers.arithmetic_efficiency)
    computed = computed + sequences * kv_heads * padded / 128.0 / device.multiprocessors * numbers.block_ns
    return Time(numbers.fixed_ns + together(read, computed, numbers.exposed), read, computed)
