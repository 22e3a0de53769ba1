"""Norms, residuals, sampling, and messages between GPUs: a fixed cost and bytes over a bandwidth."""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax.arrays import smaller
from pimjax.chips.gpu.operators.device import Device, Time


def elementwise(device: Device, fixed_ns: Any, efficiency: Any, values: Any, value_bytes: Any) -> Time:
    """Time of a pass over `values` numbers, each read and written once [ns].

    >>> float(elementwise(Device(1000.0, 1.0, 0.0, 1.0), 2e3, 0.5, 1e6, 2.0).total)
    10000.0
    """
    read = 2.0 * values * value_bytes / (device.bandwidth_gb_per_s * efficiency)
    return Time(fixed_ns + read, read, 0.0 * read)


class AllReduceNumbers(NamedTuple):
    """What is fitted of sums over GPUs."""

    fixed_ns: Any
    step_ns: Any  # of the second step
    efficiency: Any  # of the links' bandwidth


class AllToAllNumbers(NamedTuple):
    """What is fitted of sending tokens to the GPUs of their experts and back, in two kinds of kernels."""

    fixed_ns: Any  # low latency: every (token, expert) pair travels
    efficiency: Any
    bulk_fixed_ns: Any  # many tokens: a token travels once to a GPU, whose experts share it
    bulk_efficiency: Any
    bulk_token_ns: Any


def all_reduce_ns(numbers: AllReduceNumbers, link_gb_per_s: Any, message_bytes: Any, gpus: Any) -> Any:
    """Sum of one message over all GPUs [ns]: each reads all others', or in two steps its part of them and then the parts' sums.

    >>> float(all_reduce_ns(AllReduceNumbers(1e4, 5e3, 0.5), 450.0, 4.5e6, 4.0))
    45000.0
    """
    per_byte = 1.0 / (link_gb_per_s * numbers.efficiency)
    at_once = (gpus - 1.0) * message_bytes * per_byte
    in_steps = numbers.step_ns + 2.0 * (gpus - 1.0) / gpus * message_bytes * per_byte
    return numbers.fixed_ns + smaller(at_once, in_steps)


def all_to_all_ns(
    numbers: AllToAllNumbers, link_gb_per_s: Any, tokens: Any, token_bytes: Any, top_k: Any, gpus: Any
) -> Any:
    """`tokens` of every GPU to the GPUs of their `top_k` experts, and the results back [ns]; the faster kind of kernel.

    Experts are taken to be spread evenly, so that a token reaches (gpus - 1) (1 - (1 - 1 / gpus)^top_k) other GPUs.

    >>> round(float(all_to_all_ns(AllToAllNumbers(1e5, 0.5, 3e5, 0.7, 200.0), 450.0, 64.0, 14336.0, 8.0, 8.0)) / 1e3, 1)  # us
    157.1
    """
    others = (gpus - 1.0) / gpus
    back_and_forth = 2.0 * tokens * token_bytes / link_gb_per_s
    quick = numbers.fixed_ns + back_and_forth * top_k * others / numbers.efficiency
    reached = (gpus - 1.0) * (1.0 - others**top_k)
    bulk = numbers.bulk_fixed_ns + back_and_forth * reached / numbers.bulk_efficiency + numbers.bulk_token_ns * tokens
    return smaller(quick, bulk)
