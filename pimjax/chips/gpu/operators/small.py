"""Norms, residuals, sampling, and messages between GPUs: a fixed cost and bytes over a bandwidth."""

from __future__ import annotations

from typing import Any

from pimjax.chips.gpu.operators.device import Device, Time


def elementwise(device: Device, fixed_ns: Any, efficiency: Any, values: Any, value_bytes: Any) -> Time:
    """Time of a pass over `values` numbers, each read and written once [ns].

    >>> float(elementwise(Device(1000.0, 1.0, 0.0, 1.0), 2e3, 0.5, 1e6, 2.0).total)
    10000.0
    """
    read = 2.0 * values * value_bytes / (device.bandwidth_gb_per_s * efficiency)
    return Time(fixed_ns + read, read, 0.0 * read)


def all_reduce_ns(fixed_ns: Any, link_gb_per_s: Any, efficiency: Any, message_bytes: Any, gpus: Any) -> Any:
    """Sum of one message over all GPUs, whose halves travel as a reduce-scatter and an all-gather [ns].

    >>> all_reduce_ns(1e4, 450.0, 0.5, 4.5e6, 2.0)
    30000.0
    """
    return fixed_ns + 2.0 * (gpus - 1.0) / gpus * message_bytes / (link_gb_per_s * efficiency)


def all_to_all_ns(fixed_ns: Any, link_gb_per_s: Any, efficiency: Any, sent_bytes: Any, gpus: Any) -> Any:
    """Tokens to the GPUs of their experts; each GPU sends `sent_bytes`, of which its own part stays [ns].

    >>> all_to_all_ns(1e4, 450.0, 0.5, 4.5e6, 2.0)
    20000.0
    """
    return fixed_ns + (gpus - 1.0) / gpus * sent_bytes / (link_gb_per_s * efficiency)
