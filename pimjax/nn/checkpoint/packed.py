"""Weights that checkpoints store in fewer bits, as the numbers they stand for."""

from __future__ import annotations

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import CheckpointError

#: values of the 4-bit numbers E2M1 (OCP Microscaling Formats v1.0, table 5), by code
_E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
_E8M0_BIAS = 127
_LARGEST_SCALE = 252  # 6 x 2^125 is the largest product that float32 holds; 255 stands for NaN


def from_mxfp4(blocks: HostArray, scales: HostArray, name: str = "weights") -> HostArray:
    """MXFP4 numbers as float32: 4-bit E2M1 values, the low half of a byte first, times a power of two for each block.

    Args:
        blocks: uint8 ``[.., blocks, bytes]``, two values a byte.
        scales: uint8 ``[.., blocks]``, exponents with a bias of 127 (E8M0).
        name: for the sentence.

    Returns:
        float32 ``[.., 2 blocks bytes]``.

    Raises:
        CheckpointError: not uint8, shapes that do not belong together, or a scale beyond float32.

    Source: OCP Microscaling Formats (MX) Specification v1.0, 2023.

    >>> from_mxfp4(np.array([[0x21, 0xF3]], np.uint8), np.array([128], np.uint8)).tolist()
    [1.0, 2.0, 3.0, -12.0]
    """
    if blocks.dtype != np.uint8 or scales.dtype != np.uint8 or blocks.shape[:-1] != scales.shape:
        raise CheckpointError(
            f"{name}: MXFP4 blocks are {blocks.dtype} {list(blocks.shape)} and scales {scales.dtype} "
            f"{list(scales.shape)}; they must be uint8 [.., blocks, bytes] and uint8 [.., blocks]"
        )
    if scales.size and scales.max() > _LARGEST_SCALE:
        raise CheckpointError(
            f"{name}: has a block scale of 2^{int(scales.max()) - _E8M0_BIAS} or NaN, beyond float32; the file is damaged"
        )
    codes = np.stack([blocks & 0x0F, blocks >> 4], axis=-1).reshape(*blocks.shape[:-1], -1)
    # ldexp in float32 is exact but for subnormal results, which float32 holds as well
    values = np.ldexp(_E2M1[codes], scales.astype(np.int32)[..., None] - _E8M0_BIAS)
    return values.reshape(*blocks.shape[:-2], -1)


def from_block_scaled(
    weights: HostArray, scales: HostArray, block: tuple[int, int], name: str = "weights"
) -> HostArray:
    """Float8 weights with one scale for each block of rows and columns, as float32 (DeepSeek-V3, arXiv 2412.19437).

    Args:
        weights: ``[out, in]``, any floating kind.
        scales: ``[ceil(out / block[0]), ceil(in / block[1])]``.
        block: rows and columns that share a scale.
        name: for the sentence.

    Raises:
        CheckpointError: another number of scales.

    >>> from_block_scaled(np.ones((2, 3), np.float32), np.array([[2.0, 4.0]]), (2, 2)).tolist()
    [[2.0, 2.0, 4.0], [2.0, 2.0, 4.0]]
    """
    out, width = weights.shape
    wanted = (-(-out // block[0]), -(-width // block[1]))
    if scales.shape != wanted:
        raise CheckpointError(
            f"{name}: has scales of shape {list(scales.shape)}; blocks of {list(block)} need {list(wanted)}"
        )
    wide = np.repeat(np.repeat(scales.astype(np.float32), block[0], axis=0), block[1], axis=1)
    return weights.astype(np.float32) * wide[:out, :width]
