"""Measured operator times of GPUs as arrays: data sheets, loads of experts, rows of the tables.

The tables are those of the PyPI package aiconfigurator-core 0.12.0 (NVIDIA, Apache-2.0), selected rows as Parquet.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

import pimjax
from pimjax.chips.gpu.hardware import hardware_of
from pimjax.chips.gpu.operators.device import Device
from pimjax.chips.gpu.operators.experts import TILE_ROWS, ExpertShape, ExpertWork

#: name in the tables -> preset whose data sheet it has, device whose rows its kernels are fitted to
SYSTEMS = {"h100_sxm": ("h100", "h100_sxm"), "b200_sxm": ("b200", "b200_sxm"), "h200_sxm": ("h200", "h100_sxm"), "a100_sxm": ("a100", "h100_sxm")}  # fmt: skip
FITTED = ("h100_sxm", "b200_sxm")
#: shapes taken to have one input matrix (relu2 blocks, as Nemotron's). The tables do not say so: inferred from residuals of the
#: fit, so that errors of these shapes are a little too good, held-out ones too
PLAIN_SHAPES = {(2048, 5120, 22, 512), (2688, 1856, 6, 128), (1024, 2688, 22, 512)}
WEIGHT_BYTES = {"bfloat16": 2.0, "fp8": 1.0, "fp8_block": 1.0, "w4a16_mxfp4": 0.53125, "int4_wo": 0.515625,
                "nvfp4": 0.5625, "w4a8_mxfp4_mxfp8": 0.53125}  # fmt: skip


def sheet(system: str) -> Any:
    """The `hardware` section of the preset of a device in the tables."""
    if system not in SYSTEMS:
        raise SystemExit(f"{system!r} is not a device of the tables; allowed: {', '.join(SYSTEMS)}")
    return hardware_of(pimjax.load_config(SYSTEMS[system][0]))


def devices(table: pd.DataFrame, low: bool) -> Device:
    """One row per row of the table; `low`: at the 8-bit rate."""
    boards = {system: sheet(system) for system in table.system.unique()}
    each = [boards[system] for system in table.system]
    columns = [
        (one.device_memory_bandwidth_gb_per_s, one.fp8_tflops if low else one.bf16_tflops, one.l2_cache_bytes, one.multiprocessors)
        for one in each
    ]  # fmt: skip
    return Device(*(np.array(column) for column in zip(*columns, strict=True)))


def link_gb_per_s(table: pd.DataFrame) -> np.ndarray:
    """Links of each row's device, one direction [GB/s]."""
    boards = {system: sheet(system).link_gb_per_s for system in table.system.unique()}
    return np.array([boards[system] for system in table.system])


def balanced_loads(tokens: int, top_k: int, experts: int) -> np.ndarray:
    """Loads as equal as whole tokens allow (what the tables call balanced)."""
    each, more = divmod(tokens * top_k, experts)
    return np.where(np.arange(experts) < more, each + 1, each)


def power_law_loads(tokens: int, top_k: int, experts: int, exponent: float) -> np.ndarray:
    """Loads in proportion to draws from a bounded power law. How the tables drew theirs is not stated: this is assumed."""
    random = np.random.default_rng(0)
    low, high = 1.0, 0.8 * max(tokens, 2)
    power = 1.0 - exponent
    drawn = (random.random(experts) * (high**power - low**power) + low**power) ** (1.0 / power)
    loads = np.minimum(np.round(drawn / drawn.sum() * tokens * top_k), tokens).astype(int)
    order = np.argsort(-drawn)
    step = 0
    while (missing := tokens * top_k - loads.sum()) != 0 and step < 100 * experts:
        place = order[step % experts]
        loads[place] = np.clip(loads[place] + np.sign(missing), 0, tokens)
        step += 1
    return loads


def expert_rows(table: pd.DataFrame) -> tuple[ExpertShape, ExpertWork]:
    """Shapes and loads of the rows of `moe.parquet`."""
    work, shape = [], []
    for row in table.itertuples():
        size = (int(row.num_tokens), int(row.topk), int(row.num_experts))
        loads = balanced_loads(*size) if row.distribution == "balanced" else power_law_loads(*size, float(row.distribution.split("_")[-1]))  # fmt: skip
        tiles = [np.ceil(loads / rows).sum() for rows in TILE_ROWS]
        work.append((row.num_tokens, loads.sum(), (loads > 0).sum(), tiles))
        plain = (row.hidden_size, row.inter_size, row.topk, row.num_experts) in PLAIN_SHAPES
        shape.append(
            (row.hidden_size, row.inter_size, row.num_experts, 1 if plain else 2, WEIGHT_BYTES[row.moe_dtype], 2)
        )
    shapes = ExpertShape(*(np.array(column, float) for column in zip(*shape, strict=True)))
    return shapes, ExpertWork(*(np.array(column, float) for column in zip(*work, strict=True)))
