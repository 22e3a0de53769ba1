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

IDLE = "one H100 SXM with 73 GB loaded at 0 to 4 % utilisation: 140 to 145 W (nvidia-smi, github.com/wilicc/gpu-burn issue 114); 70 W with nothing loaded is an assumption"  # fmt: skip
BUSY = "one H100 80 GB at 99 % utilisation in products of a diffusion model: 630 W, another phase 590 W (NVML, huggingface.co/Linum-AI/linum-v2-360p discussion 2); most by the data sheet: 700 W"  # fmt: skip
DECODING = "decoding with four kinds of attention on H200 (board of 700 W): 137 to 300 W (Ma et al., arXiv 2605.11999); the most of it is taken for traffic at full bandwidth"  # fmt: skip
BY_HAND = "chosen by hand after a look at 25 rows per group of measured serving runs on H100 and B200 (benchmarks/validation/gpu_end_to_end.py)"  # fmt: skip


def _fixed(default: float, about: str) -> float:
    return number(
        default, unit="ns", about=f"Fixed cost of {about}", source=FIT, spread=(0.5 * default, 2 * default), ge=0
    )


def _part(default: float, about: str) -> float:
    spread = (0.8 * default, min(1.0, 1.2 * default))
    return number(default, unit="1", about=about, source=FIT, spread=spread, gt=0, le=1)


def _tile(default: float, about: str) -> float:
    return number(default, unit="ns", about=about, source=FIT, spread=(0.5 * default, 2 * default), ge=0)


def _cached(default: float, kind: str) -> float:
    about = f"Largest matrix of {kind} experts that is read once for all tiles, in units of the cache; effective: presumably tiles under way together share what they read"  # fmt: skip
    return number(default, unit="1", about=about, source=FIT, gt=0)


def _overlap(default: float, about: str) -> float:
    return number(default, unit="1", about=f"Part of the shorter of traffic and arithmetic that {about} do not hide", source=FIT, spread=(0, 1), ge=0, le=1)  # fmt: skip


class BoardNumbers(HardwareSection):
    """The data sheet."""

    gpus: float = number(1, chosen=True, whole=True, unit="units", about="GPUs that work on one copy of the model", source="choice", ge=1, le=1024)  # fmt: skip
    expert_parallel: float = number(1, chosen=True, whole=True, unit="units", about="Ranks among which experts are dealt out, each with gpus / this many GPUs; 1: every expert is split over all GPUs (tensor parallel). A divisor of gpus", source="choice", ge=1, le=1024)  # fmt: skip
    attention_data_parallel: float = number(1, chosen=True, whole=True, unit="units", about="Groups of GPUs that attend to sequences of their own; 1: heads are split over all GPUs. A divisor of gpus", source="choice", ge=1, le=1024)  # fmt: skip
    cooling_k_mm2_per_w: float = number(40, chosen=True, unit="K mm2/W", about="Rise of a die's temperature per W/mm2", source="assumption: 680 W on 814 mm2 rise by 33 K under a server's heat sink", spread=(20, 60), assumed=True, ge=0)  # fmt: skip
    max_junction_c: float = number(90, chosen=True, unit="C", about="Hottest that a die may get", source="choice: devices lower their clock near 90 C", spread=(85, 105), ge=0)  # fmt: skip

    device_memory_bandwidth_gb_per_s: float = number(
        3350, unit="GB/s", about="Memory bandwidth of one GPU", source=SHEET, gt=0
    )
    device_memory_gb: float = number(80, unit="GB", about="Memory of one GPU", source=SHEET, gt=0)
    bf16_tflops: float = number(989.4, unit="TFLOP/s", about="Dense rate of 16-bit products", source=SHEET, gt=0)
    fp8_tflops: float = number(1978.9, unit="TFLOP/s", about="Dense rate of 8-bit products", source=SHEET, gt=0)
    nvfp4_products: float = number(0, whole=True, unit="1", about="Products of 4-bit floats (nvfp4) as they are, counted at the 8-bit rate (1), or widened to 16 bits (0)", source="choice: Blackwell has them, Hopper has not", chosen=True, ge=0, le=1)  # fmt: skip
    l2_cache_bytes: float = number(50e6, unit="bytes", about="On-chip cache", source=WHITE_PAPER, gt=0)
    multiprocessors: float = number(132, whole=True, unit="units", about="Streaming multiprocessors", source=WHITE_PAPER, ge=1)  # fmt: skip
    link_gb_per_s: float = number(450, unit="GB/s", about="Links to other GPUs, each direction", source=f"{SHEET}: 900 GB/s both", gt=0)  # fmt: skip
    die_area_mm2: float = number(814, unit="mm2", about="Logic dies of one GPU (memory dies are not counted)", source=WHITE_PAPER, ge=0)  # fmt: skip
    idle_power_w: float = number(120, unit="W", about="Power of one GPU that waits with a model loaded", source=IDLE, assumed=True, spread=(70, 145), ge=0)  # fmt: skip
    memory_bound_power_w: float = number(300, unit="W", about="Power while memory traffic bounds it", source=f"{DECODING}; assumed for the H100, whose board is the same", assumed=True, spread=(200, 400), ge=0)  # fmt: skip
    compute_bound_power_w: float = number(630, unit="W", about="Power while arithmetic bounds it", source=BUSY, assumed=True, spread=(590, 700), ge=0)  # fmt: skip


class ProductHardware(BoardNumbers):
    """Kernels of dense products."""

    product_fixed_ns: float = _fixed(2664, "a 16-bit product")
    product_bandwidth_efficiency: float = _part(0.882, "Reached part of the bandwidth, 16-bit products")
    product_arithmetic_efficiency: float = _part(1.0, "Part of the arithmetic rate that is reached but for operands, 16-bit products")  # fmt: skip
    product_exposed: float = _overlap(0.259, "16-bit products")
    product_operand_ns: float = _tile(1.84, "Feeding a tile of 16-bit products, per row or column and 1000 of depth")
    product_split_ns: float = _fixed(3188, "adding up the parts of a split depth, 16-bit products (0: never split)")
    product_fp8_fixed_ns: float = _fixed(4869, "an 8-bit product")
    product_fp8_bandwidth_efficiency: float = _part(0.844, "Reached part of the bandwidth, 8-bit products")
    product_fp8_arithmetic_efficiency: float = _part(0.966, "Part of the arithmetic rate that is reached but for operands, 8-bit products")  # fmt: skip
    product_fp8_exposed: float = _overlap(0.331, "8-bit products")
    product_fp8_operand_ns: float = _tile(3.96, "Feeding a tile of 8-bit products, per row or column and 1000 of depth")
    product_fp8_row_ns: float = _fixed(7.09, "a row of activations that is made 8-bit")
    product_fp8_tiles_by_rows: float = number(1, whole=True, unit="1", about="Tiles of 8-bit products by rows (1: CUTLASS as vLLM dispatches it) or the best of four (0)", source=TILE_RULE, chosen=True, ge=0, le=1)  # fmt: skip


class ExpertHardware(ProductHardware):
    """Kernels of fused MoE layers."""

    experts_fixed_ns: float = _fixed(27000, "a 16-bit MoE layer")
    experts_bandwidth_efficiency: float = _part(0.925, "Reached part of the bandwidth, 16-bit experts")
    experts_arithmetic_efficiency: float = _part(
        0.578, "Reached part of the arithmetic rate in tiles of 128 rows, 16-bit experts"
    )
    experts_tile_exponent: float = number(0.122, unit="1", about="Arithmetic rate of 16-bit experts ~ (rows of a tile)^this", source=FIT, ge=0, le=2)  # fmt: skip
    experts_activation_efficiency: float = _part(
        0.53, "Reached part of the bandwidth, activations between 16-bit experts"
    )
    experts_exposed: float = _overlap(0.12, "16-bit experts")
    experts_tile_rule: float = number(1, whole=True, unit="1", about="Tiles of 16- and 8-bit experts by the mean load (0), by the tokens of the pass (1), by half the mean load (2)", source=TILE_RULE, chosen=True, ge=0, le=2)  # fmt: skip
    experts_cached_fraction: float = _cached(0.91, "16-bit")
    experts_fp8_fixed_ns: float = _fixed(33900, "an 8-bit MoE layer")
    experts_fp8_bandwidth_efficiency: float = _part(0.883, "Reached part of the bandwidth, 8-bit experts")
    experts_fp8_arithmetic_efficiency: float = _part(
        0.425, "Reached part of the arithmetic rate in tiles of 128 rows, 8-bit experts"
    )
    experts_fp8_tile_exponent: float = number(0.01, unit="1", about="Arithmetic rate of 8-bit experts ~ (rows of a tile)^this", source=FIT, ge=0, le=2)  # fmt: skip
    experts_fp8_activation_efficiency: float = _part(
        0.217, "Reached part of the bandwidth, activations between 8-bit experts"
    )
    experts_fp8_exposed: float = _overlap(0.025, "8-bit experts")
    experts_fp8_cached_fraction: float = _cached(3.26, "8-bit")
    experts_fp4_fixed_ns: float = _fixed(40920, "a 4-bit MoE layer")
    experts_fp4_bandwidth_efficiency: float = _part(0.859, "Reached part of the bandwidth, 4-bit experts")
    experts_fp4_arithmetic_efficiency: float = _part(
        0.724, "Reached part of the 16-bit rate in tiles of 128 rows, 4-bit experts"
    )
    experts_fp4_tile_exponent: float = number(0.408, unit="1", about="Arithmetic rate of 4-bit experts ~ (rows of a tile)^this", source=FIT, ge=0, le=2)  # fmt: skip
    experts_fp4_activation_efficiency: float = _part(
        0.48, "Reached part of the bandwidth, activations between 4-bit experts"
    )
    experts_fp4_exposed: float = _overlap(0.166, "4-bit experts")
    experts_fp4_tile_rule: float = number(0, whole=True, unit="1", about="The same rule for 4-bit experts", source=TILE_RULE, chosen=True, ge=0, le=2)  # fmt: skip
    experts_fp4_cached_fraction: float = _cached(3.0, "4-bit")


class AttentionHardware(ExpertHardware):
    """Kernels of attention."""

    prefill_fixed_ns: float = _fixed(9868, "attention over a prompt")
    prefill_bandwidth_efficiency: float = _part(0.856, "Reached part of the bandwidth, attention over a prompt")
    prefill_arithmetic_efficiency: float = _part(1.0, "Part of the arithmetic rate that is reached but for exponentials, attention over a prompt")  # fmt: skip
    prefill_exposed: float = _overlap(1.0, "attention over a prompt")
    prefill_tile_ns: float = _fixed(1778, "a tile of 128 queries")
    prefill_block_ns: float = _fixed(455, "the exponentials of a block of 128 x 128 (query, key) pairs")
    prefill_key_passes: float = number(4.57, unit="1", about="How often keys and values of a prompt move: written to the cache, converted, read back", source=FIT, spread=(2, 8), gt=0)  # fmt: skip
    prefill_packs_heads: float = number(1, whole=True, unit="1", about="Queries of the heads that share a key head fill one tile together (1: FlashAttention) or apart (0)", source="assumption, which fits better: 6.6 against 8 % on H100", chosen=True, ge=0, le=1)  # fmt: skip
    decode_fixed_ns: float = _fixed(7757, "attention of new tokens")
    decode_bandwidth_efficiency: float = _part(1.0, "Reached part of the bandwidth, attention of new tokens")
    decode_exposed: float = _overlap(0.325, "attention of new tokens")
    decode_tile_ns: float = _fixed(2410, "a tile: one sequence and key head")
    decode_block_ns: float = _fixed(1185, "a block of 128 cached positions")
    decode_split_ns: float = _fixed(2647, "adding up what multiprocessors found in parts of the keys")
    decode_sequence_ns: float = _fixed(19.6, "preparing a sequence, of at most 512")
    mla_prefill_fixed_ns: float = _fixed(154_400, "attention with a latent over a prompt: its small kernels")
    mla_prefill_bandwidth_efficiency: float = _part(0.184, "Reached part of the bandwidth, attention with a latent over a prompt")  # fmt: skip
    mla_prefill_arithmetic_efficiency: float = _part(0.795, "Reached part of the arithmetic rate, attention with a latent over a prompt")  # fmt: skip
    mla_prefill_exposed: float = _overlap(0.949, "attention with a latent over a prompt")
    mla_prefill_tile_ns: float = _fixed(0.01, "a tile of 128 queries, with a latent")
    mla_prefill_block_ns: float = _fixed(3.29, "the exponentials of a block of 128 x 128 pairs, with a latent")
    mla_decode_fixed_ns: float = _fixed(53_530, "attention with a latent of new tokens: its small kernels")
    mla_decode_bandwidth_efficiency: float = _part(1.0, "Reached part of the bandwidth, attention with a latent of new tokens")  # fmt: skip
    mla_decode_exposed: float = _overlap(0.29, "attention with a latent of new tokens")
    mla_decode_tile_ns: float = _fixed(9102, "a tile: one sequence and 64 heads, with a latent")
    mla_decode_block_ns: float = _fixed(653, "a block of 128 cached latents, per 256 values")
    mla_decode_split_ns: float = _fixed(11_310, "adding up parts of the latents")
    mla_decode_sequence_ns: float = _fixed(108, "preparing a sequence with latents, of at most 512")


class GpuHardware(AttentionHardware):
    """Host description of a GPU and its kernels."""

    elementwise_fixed_ns: float = number(2500, unit="ns", about="Fixed cost of a norm, a rotation, a residual", source="assumption: a small kernel in a graph", assumed=True, spread=(1500, 5000), ge=0)  # fmt: skip
    elementwise_efficiency: float = number(0.8, unit="1", about="Reached part of the bandwidth, norms and residuals", source="assumption", assumed=True, spread=(0.6, 0.95), gt=0, le=1)  # fmt: skip
    pass_fixed_ns: float = number(
        5e5, unit="ns", about="Sampling and the host's work between two passes", source=BY_HAND, assumed=True, spread=(2e5, 5e6), ge=0)  # fmt: skip
    all_reduce_fixed_ns: float = _fixed(4586, "a sum over GPUs")
    all_reduce_step_ns: float = _fixed(4300, "the second step of a sum over GPUs, where messages are long")
    all_reduce_efficiency: float = _part(0.711, "Reached part of the links' bandwidth, sums over GPUs")
    all_to_all_fixed_ns: float = _fixed(109000, "tokens to the GPUs of their experts and back, low latency")
    all_to_all_efficiency: float = _part(0.475, "Reached part of the links' bandwidth, tokens to experts, low latency")
    all_to_all_bulk_fixed_ns: float = _fixed(332000, "tokens to the GPUs of their experts and back, many tokens")
    all_to_all_bulk_efficiency: float = _part(0.649, "Reached part of the links' bandwidth, tokens to experts, many tokens")  # fmt: skip
    all_to_all_bulk_token_ns: float = _fixed(170, "copying one token to its experts and back, many tokens")


def hardware_of(config: Config) -> GpuHardware:
    """The `hardware` section of a configuration of this chip."""
    return cast(GpuHardware, config.hardware)
