"""The `hardware` section of a GPU: its data sheet, and what is fitted of its kernels.

Fitted numbers are those of an H100 (see benchmarks/validation/fit_gpu.py); other devices are files in `configs/hardware`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pimjax.config.base import number
from pimjax.config.hardware import HardwareSection

if TYPE_CHECKING:
    from pimjax.config.config import Config

SHEET = "NVIDIA H100 Tensor Core GPU data sheet, SXM"
WHITE_PAPER = "NVIDIA H100 Tensor Core GPU Architecture white paper"
TILE_RULE = "as vLLM's default configuration is described publicly; not checked against a version"
FIT = "fitted to operator times of aiconfigurator-core 0.12.0 (NVIDIA, Apache-2.0), H100, vLLM 0.24"

BY_HAND = "chosen by hand after a look at 25 rows per group of measured serving runs on H100 and B200 (benchmarks/validation/gpu_end_to_end.py)"  # fmt: skip


def _fixed(default: float, about: str) -> float:
    return number(
        default, unit="ns", about=f"Fixed cost of {about}", source=FIT, spread=(0.5 * default, 2 * default), ge=0
    )


def _part(default: float, about: str) -> float:
    spread = (0.8 * default, min(1.0, 1.2 * default))
    return number(default, unit="1", about=about, source=FIT, spread=spread, gt=0, le=1)


def _overlap(default: float, about: str) -> float:
    return number(default, unit="1", about=f"Part of the shorter of traffic and arithmetic that {about} do not hide", source=FIT, spread=(0, 1), ge=0, le=1)  # fmt: skip


class BoardNumbers(HardwareSection):
    """The data sheet."""

    gpus: float = number(1, chosen=True, whole=True, unit="units", about="GPUs that share every layer (tensor parallel)", source="choice", ge=1, le=1024)  # fmt: skip
    device_memory_bandwidth_gb_per_s: float = number(
        3350, unit="GB/s", about="Memory bandwidth of one GPU", source=SHEET, gt=0
    )
    device_memory_gb: float = number(80, unit="GB", about="Memory of one GPU", source=SHEET, gt=0)
    bf16_tflops: float = number(989.4, unit="TFLOP/s", about="Dense rate of 16-bit products", source=SHEET, gt=0)
    fp8_tflops: float = number(1978.9, unit="TFLOP/s", about="Dense rate of 8-bit products", source=SHEET, gt=0)
    l2_cache_bytes: float = number(50e6, unit="bytes", about="On-chip cache", source=WHITE_PAPER, gt=0)
    multiprocessors: float = number(132, whole=True, unit="units", about="Streaming multiprocessors", source=WHITE_PAPER, ge=1)  # fmt: skip
    link_gb_per_s: float = number(450, unit="GB/s", about="Links to other GPUs, each direction", source=f"{SHEET}: 900 GB/s both", gt=0)  # fmt: skip
    die_area_mm2: float = number(814, unit="mm2", about="Logic dies of one GPU (memory dies are not counted)", source=WHITE_PAPER, ge=0)  # fmt: skip
    idle_power_w: float = number(75, unit="W", about="Power of one GPU that waits", source="assumption", assumed=True, spread=(60, 130), ge=0)  # fmt: skip
    memory_bound_power_w: float = number(400, unit="W", about="Power while memory traffic bounds it", source="assumption", assumed=True, spread=(250, 550), ge=0)  # fmt: skip
    compute_bound_power_w: float = number(680, unit="W", about="Power while arithmetic bounds it", source="assumption", assumed=True, spread=(550, 700), ge=0)  # fmt: skip


class GpuHardware(BoardNumbers):
    """Host description of a GPU and its kernels."""

    product_fixed_ns: float = _fixed(2980, "a 16-bit product")
    product_bandwidth_efficiency: float = _part(0.851, "Reached part of the bandwidth, 16-bit products")
    product_arithmetic_efficiency: float = _part(0.902, "Reached part of the arithmetic rate, 16-bit products")
    product_exposed: float = _overlap(0.126, "16-bit products")
    product_fp8_fixed_ns: float = _fixed(5804, "an 8-bit product")
    product_fp8_bandwidth_efficiency: float = _part(0.816, "Reached part of the bandwidth, 8-bit products")
    product_fp8_arithmetic_efficiency: float = _part(0.618, "Reached part of the arithmetic rate, 8-bit products")
    product_fp8_exposed: float = _overlap(0.426, "8-bit products")
    product_fp8_row_ns: float = _fixed(6.77, "a row of activations that is made 8-bit")

    experts_fixed_ns: float = _fixed(27110, "a 16-bit MoE layer")
    experts_bandwidth_efficiency: float = _part(0.928, "Reached part of the bandwidth, 16-bit experts")
    experts_arithmetic_efficiency: float = _part(
        0.569, "Reached part of the arithmetic rate in tiles of 128 rows, 16-bit experts"
    )
    experts_tile_exponent: float = number(0.142, unit="1", about="Arithmetic rate of 16-bit experts ~ (rows of a tile)^this", source=FIT, ge=0, le=2)  # fmt: skip
    experts_activation_efficiency: float = _part(
        0.576, "Reached part of the bandwidth, activations between 16-bit experts"
    )
    experts_exposed: float = _overlap(0.132, "16-bit experts")
    experts_tiles_by_tokens: float = number(1, whole=True, unit="1", about="Tiles of 16-bit experts by tokens of the pass (1) or by the mean load (0)", source=TILE_RULE, chosen=True, ge=0, le=1)  # fmt: skip
    experts_cached_fraction: float = number(3.19, unit="1", about="Largest matrix that is read once for all tiles, in units of the cache; effective, may exceed 1: presumably tiles under way together share what they read", source=FIT, gt=0)  # fmt: skip
    experts_fp8_fixed_ns: float = _fixed(33870, "an 8-bit MoE layer")
    experts_fp8_bandwidth_efficiency: float = _part(0.886, "Reached part of the bandwidth, 8-bit experts")
    experts_fp8_arithmetic_efficiency: float = _part(
        0.426, "Reached part of the arithmetic rate in tiles of 128 rows, 8-bit experts"
    )
    experts_fp8_tile_exponent: float = number(0.406, unit="1", about="Arithmetic rate of 8-bit experts ~ (rows of a tile)^this", source=FIT, ge=0, le=2)  # fmt: skip
    experts_fp8_activation_efficiency: float = _part(
        0.216, "Reached part of the bandwidth, activations between 8-bit experts"
    )
    experts_fp8_exposed: float = _overlap(0.0244, "8-bit experts")
    experts_fp4_fixed_ns: float = _fixed(41310, "a 4-bit MoE layer")
    experts_fp4_bandwidth_efficiency: float = _part(0.814, "Reached part of the bandwidth, 4-bit experts")
    experts_fp4_arithmetic_efficiency: float = _part(
        0.691, "Reached part of the 16-bit rate in tiles of 128 rows, 4-bit experts"
    )
    experts_fp4_tile_exponent: float = number(0.623, unit="1", about="Arithmetic rate of 4-bit experts ~ (rows of a tile)^this", source=FIT, ge=0, le=2)  # fmt: skip
    experts_fp4_activation_efficiency: float = _part(
        0.485, "Reached part of the bandwidth, activations between 4-bit experts"
    )
    experts_fp4_exposed: float = _overlap(0.001, "4-bit experts")

    prefill_fixed_ns: float = _fixed(12430, "attention over a prompt")
    prefill_bandwidth_efficiency: float = _part(0.381, "Reached part of the bandwidth, attention over a prompt")
    prefill_arithmetic_efficiency: float = _part(0.647, "Reached part of the arithmetic rate, attention over a prompt")
    prefill_exposed: float = _overlap(0.861, "attention over a prompt")
    prefill_block_ns: float = _fixed(189, "a block of 128 queries of one head")
    decode_fixed_ns: float = _fixed(11900, "attention of new tokens")
    decode_bandwidth_efficiency: float = _part(0.797, "Reached part of the bandwidth, attention of new tokens")
    decode_arithmetic_efficiency: float = _part(0.31, "Reached part of the arithmetic rate, attention of new tokens")
    decode_exposed: float = _overlap(0.001, "attention of new tokens")
    decode_block_ns: float = _fixed(1664, "a block of 128 cached positions of one head")

    elementwise_fixed_ns: float = number(2500, unit="ns", about="Fixed cost of a norm, a rotation, a residual", source="assumption: a small kernel in a graph", assumed=True, spread=(1500, 5000), ge=0)  # fmt: skip
    elementwise_efficiency: float = number(0.8, unit="1", about="Reached part of the bandwidth, norms and residuals", source="assumption", assumed=True, spread=(0.6, 0.95), gt=0, le=1)  # fmt: skip
    pass_fixed_ns: float = number(
        5e5, unit="ns", about="Sampling and the host's work between two passes", source=BY_HAND, assumed=True, spread=(2e5, 5e6), ge=0)  # fmt: skip
    all_reduce_fixed_ns: float = number(4709, unit="ns", about="Fixed cost of a sum over GPUs", source=FIT, spread=(2000, 20_000), ge=0)  # fmt: skip
    all_reduce_efficiency: float = number(0.335, unit="1", about="Reached part of the links' bandwidth", source=FIT, spread=(0.25, 0.9), gt=0, le=1)  # fmt: skip


def hardware_of(config: Config) -> GpuHardware:
    """The `hardware` section of a configuration of this chip."""
    return cast(GpuHardware, config.hardware)
