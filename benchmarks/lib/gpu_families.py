"""Families of GPU kernels: their measured rows, the numbers that are fitted, the law that predicts their times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from benchmarks.lib.gpu_tables import devices, expert_rows
from pimjax.chips.gpu.operators.attention import DecodeNumbers, PrefillNumbers, decode_attention, prefill_attention
from pimjax.chips.gpu.operators.experts import ExpertNumbers, expert_layer
from pimjax.chips.gpu.operators.products import ProductNumbers, product

SHAPE = ["hidden_size", "inter_size", "topk", "num_experts"]
HEADS = ["num_heads", "num_key_value_heads", "head_dim", "window_size"]
#: where the fit of each number starts; what a family does not list is 0
STARTS = {
    "experts": {"fixed_ns": 2e4, "bandwidth_efficiency": 0.85, "arithmetic_efficiency": 0.5, "tile_exponent": 0.6,
                "cached_fraction": 3.0, "activation_efficiency": 0.6, "exposed": 0.2},
    "products": {"fixed_ns": 3e3, "bandwidth_efficiency": 0.8, "arithmetic_efficiency": 0.8, "exposed": 0.3, "operand_ns": 1.0},
    "prefill": {"fixed_ns": 1e4, "bandwidth_efficiency": 0.6, "arithmetic_efficiency": 0.8, "exposed": 0.5, "tile_ns": 1000.0, "block_ns": 300.0, "key_passes": 1.0},
    "decode": {"fixed_ns": 1e4, "bandwidth_efficiency": 0.8, "exposed": 0.3, "tile_ns": 1500.0, "block_ns": 1500.0, "split_ns": 2000.0, "sequence_ns": 20.0},
}  # fmt: skip
Predict = Callable[[pd.DataFrame, dict[str, float], dict[str, Any]], Any]


class Family:
    """A family of kernels: its rows, its numbers, its law.

    Args:
        name: of the family.
        table: measured rows; `latency_ms` is the time.
        start: where the fit of each number begins.
        predict: `(rows, numbers, columns kept from an earlier call) -> times [ns]`.
        groups: columns that say what a shape is; whole shapes are held out together.
        constants: numbers that are chosen, not fitted.
    """

    def __init__(
        self, name: str, table: pd.DataFrame, start: dict[str, float], predict: Predict, groups: list[str],
        constants: dict[str, float] | None = None,
    ) -> None:  # fmt: skip
        self.name, self.table, self.start, self.groups = name, table.reset_index(drop=True), start, groups
        self.predict, self.constants = predict, constants or {}
        self.kept: dict[bytes, dict[str, Any]] = {}

    @property
    def measured_ns(self) -> np.ndarray:
        """Of every row."""
        return self.table.latency_ms.to_numpy(float) * 1e6

    def every(self) -> np.ndarray:
        """Indices of all rows."""
        return np.arange(len(self.table))

    def time(self, numbers: dict[str, float], index: np.ndarray) -> np.ndarray:
        """Predicted times of some rows [ns]."""
        kept = self.kept.setdefault(index.tobytes(), {})
        return np.asarray(self.predict(self.table.iloc[index], {**self.constants, **numbers}, kept), float)

    def fit(self, index: np.ndarray) -> dict[str, float]:
        """Numbers that fit rows `index`, in the logarithm of the time; a soft loss, so that few odd rows do not decide."""
        names, first = list(self.start), np.log(list(self.start.values()))
        measured = self.measured_ns[index]

        def residual(logs: np.ndarray) -> np.ndarray:
            return np.log(self.time(dict(zip(names, np.exp(logs), strict=True)), index) / measured)

        low = [np.log(1e-3) if name == "exposed" else np.log(1e-2) for name in names]
        upper = {"cached_fraction": 100.0, "tile_exponent": 2.0}
        high = [0.0 if "efficiency" in name or name == "exposed" else np.log(upper.get(name, np.inf)) for name in names]
        found = least_squares(residual, first, bounds=(low, high), loss="soft_l1", f_scale=0.05, max_nfev=60)
        return dict(zip(names, (float(f"{value:.4g}") for value in np.exp(found.x)), strict=True))

    def error(self, numbers: dict[str, float], index: np.ndarray) -> np.ndarray:
        """|predicted / measured - 1|."""
        return np.abs(self.time(numbers, index) / self.measured_ns[index] - 1)

    def held_out(self, folds: int = 5) -> np.ndarray:
        """Errors of rows whose whole shape was held out; empty where there are less than two shapes."""
        return self._folds(self.table.groupby(self.groups).ngroup().to_numpy(), folds)

    def larger_held_out(self, size: np.ndarray) -> np.ndarray:
        """Errors of the upper half of the rows by `size` (tokens, bytes), where only the lower half was fitted."""
        upper = size > np.median(size)
        if not upper.any() or upper.all():
            return np.array([])
        return self.error(self.fit(np.flatnonzero(~upper)), np.flatnonzero(upper))

    def _folds(self, keys: np.ndarray, folds: int) -> np.ndarray:
        shapes = np.unique(keys)
        if len(shapes) < 2:
            return np.array([])
        fold_of = np.random.default_rng(1).permutation(len(shapes)) % min(folds, len(shapes))
        fold = fold_of[np.searchsorted(shapes, keys)]
        return np.concatenate([
            self.error(self.fit(np.flatnonzero(fold != one)), np.flatnonzero(fold == one)) for one in np.unique(fold)
        ])  # fmt: skip


def summary(errors: np.ndarray) -> dict[str, float]:
    """Median and 90th percentile in per cent."""
    if not len(errors):
        return {}
    return {
        "rows": len(errors),
        "median": round(100 * float(np.median(errors)), 1),
        "p90": round(100 * float(np.quantile(errors, 0.9)), 1),
    }


def predict_experts(low: bool) -> Predict:
    """Times of fused MoE layers."""

    def predict(table: pd.DataFrame, numbers: dict[str, float], kept: dict[str, Any]) -> Any:
        if not kept:
            kept["rows"] = (devices(table, low), *expert_rows(table))
        gpu, shape, work = kept["rows"]
        return expert_layer(gpu, ExpertNumbers(**numbers), shape, work).total

    return predict


def predict_products(low: bool) -> Predict:
    """Times of dense products."""

    def predict(table: pd.DataFrame, numbers: dict[str, float], kept: dict[str, Any]) -> Any:
        if not kept:
            kept["rows"] = (devices(table, low), *(table[name].to_numpy(float) for name in "mnk"))
        gpu, m, n, k = kept["rows"]
        return product(gpu, ProductNumbers(**numbers), m, n, k, 1.0 if low else 2.0, 2.0).total

    return predict


def predict_attention(decode: bool, low: bool) -> Predict:
    """Times of attention over prompts, or of one new token per sequence."""

    def predict(table: pd.DataFrame, numbers: dict[str, float], kept: dict[str, Any]) -> Any:
        if not kept:
            names = ("batch_size", "isl", "step", *HEADS)
            kept["rows"] = (devices(table, low), {name: table[name].to_numpy(float) for name in names})
        gpu, column = kept["rows"]
        common = dict(sequences=column["batch_size"], window=column["window_size"], heads=column["num_heads"],
                      kv_heads=column["num_key_value_heads"], key_width=column["head_dim"], value_width=column["head_dim"])  # fmt: skip
        if decode:
            kv_bytes = np.where(table.kv_cache_dtype == "fp8", 1.0, 2.0)
            width = 2 * column["head_dim"]
            context = column["step"] + 1
            return decode_attention(gpu, DecodeNumbers(**numbers), context=context, cached_width=width, cache_bytes=kv_bytes, **common).total  # fmt: skip
        return prefill_attention(gpu, PrefillNumbers(**numbers), tokens=column["isl"], value_bytes=2.0, **common).total

    return predict


def tile_rule(kernel: str) -> float:
    """How a fused MoE kernel chooses its tiles; see :mod:`pimjax.chips.gpu.operators.experts`."""
    return 1.0 if kernel.endswith("_triton_tritonexperts") else 2.0 if "trtllm" in kernel else 0.0


def families(folder: Path, systems: tuple[str, ...], distribution: str = "balanced") -> list[Family]:
    """Every family on the given devices, as far as the folder has their tables."""
    found = []
    for name, build in (("moe", _experts), ("gemm", _products), ("attention_context", _attention), ("attention_generation", _attention)):  # fmt: skip
        path = folder / f"{name}.parquet"
        if path.is_file():
            table = pd.read_parquet(path)
            found += build(table[table.system.isin(systems)], name, distribution)
    return found


def _experts(table: pd.DataFrame, _: str, distribution: str) -> list[Family]:
    found = []
    wanted = table.distribution.str.startswith(distribution)
    for (dtype, kernel), part in table[wanted].groupby(["moe_dtype", "kernel_source"]):
        rule, low = tile_rule(kernel), dtype in ("fp8", "fp8_block", "nvfp4", "w4a8_mxfp4_mxfp8")
        start, constants = dict(STARTS["experts"]), {"tile_rule": rule}
        if rule == 0:  # every tile of an expert shares its weights: the cache has no effect
            constants["cached_fraction"] = start.pop("cached_fraction")
        found.append(Family(f"experts {dtype} {kernel}", part, start, predict_experts(low), SHAPE, constants))
    return found


def _products(table: pd.DataFrame, *_: str) -> list[Family]:
    found = []
    for (system, dtype), part in table.groupby(["system", "gemm_dtype"]):
        low = dtype == "fp8"
        more = {"row_ns": 5.0} if low else {"split_ns": 2e3}
        # CUTLASS of Hopper chooses by rows (better by 1.0 of median error); on Blackwell the best tile fits better, by 1.5
        rows = 1.0 if low and system in ("h100_sxm", "h200_sxm") else 0.0
        constants = {"row_ns": 0.0, "split_ns": 0.0, "tiles_by_rows": rows}
        found.append(Family(f"products {dtype}", part, {**STARTS["products"], **more}, predict_products(low), ["n", "k"], constants))  # fmt: skip
    return found


def _attention(table: pd.DataFrame, name: str, _: str) -> list[Family]:
    found = []
    decode = name.endswith("generation")
    for (kernel, cache), part in table.groupby(["kernel_source", "kv_cache_dtype"]):
        if len(part) < 1000:  # a kernel that is used where the usual one is not: too few rows of each shape
            continue
        low = cache == "fp8" and "fa3" in kernel  # this kernel multiplies in 8 bits where the cache has 8
        constants = {} if decode else {"packs_heads": 1.0 if "flash_attn" in kernel else 0.0}
        start = STARTS["decode" if decode else "prefill"]
        phase = "generation" if decode else "context"
        found.append(
            Family(f"attention {phase} {cache} cache {kernel}", part, start, predict_attention(decode, low), HEADS, constants)
        )  # fmt: skip
    return found
