"""Fit the numbers of GPU kernels to measured times, and publish errors on rows and devices that were not fitted.

    python benchmarks/validation/fit_gpu.py --data FOLDER [--quick]
    python benchmarks/validation/fit_gpu.py --presets      (configs/hardware/*.yaml from the committed fit)

FOLDER holds the operator tables of the PyPI package aiconfigurator-core 0.12.0 (NVIDIA, Apache-2.0), selected rows as
Parquet. Fitted per family of kernels, in the logarithm of the time. Writes `benchmarks/results/fit_gpu.json`.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from pimjax.chips.gpu.hardware import GpuHardware
from pimjax.chips.gpu.operators.attention import AttentionNumbers, decode_attention, prefill_attention
from pimjax.chips.gpu.operators.device import Device
from pimjax.chips.gpu.operators.experts import TILE_ROWS, ExpertNumbers, ExpertShape, ExpertWork, expert_layer
from pimjax.chips.gpu.operators.products import ProductNumbers, product
from pimjax.chips.gpu.operators.small import all_reduce_ns
from pimjax.config.base import field_facts

CONFIGS = Path(__file__).parents[2] / "configs" / "hardware"
LINKS = {"h100_sxm": 450.0, "b200_sxm": 900.0}
"""GB/s in each direction."""
RESULTS = Path(__file__).parents[1] / "results" / "fit_gpu.json"
#: data sheets: bandwidth GB/s, dense TFLOP/s (bf16, fp8), L2 bytes, multiprocessors
SHEETS = {"h100_sxm": (3350.0, 989.4, 1979.0, 50e6, 132.0), "b200_sxm": (8000.0, 2250.0, 4500.0, 126e6, 148.0)}
#: shapes taken to have one input matrix (relu2 blocks, as Nemotron's). The tables do not say so: inferred from residuals of the
#: fit, so that errors of these shapes are a little too good, held-out ones too
PLAIN_SHAPES = {(2048, 5120, 22, 512), (2688, 1856, 6, 128), (1024, 2688, 22, 512)}
WEIGHT_BYTES = {"bfloat16": 2.0, "fp8": 1.0, "fp8_block": 1.0, "w4a16_mxfp4": 0.53125, "int4_wo": 0.515625,
                "nvfp4": 0.5625, "w4a8_mxfp4_mxfp8": 0.53125}  # fmt: skip
SHAPE = ["hidden_size", "inter_size", "topk", "num_experts"]


def device(system: str, low: bool = False) -> Device:
    """The data sheet; `low`: 8-bit arithmetic."""
    bandwidth, full, half, cache, units = SHEETS[system]
    return Device(bandwidth, half if low else full, cache, units)


def devices(table: pd.DataFrame, low: bool) -> Device:
    """One row per row of the table."""
    rows = [device(system, low) for system in table.system]
    return Device(*(np.array(column) for column in zip(*rows, strict=True)))


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


class Family:
    """A family of kernels: its rows, its numbers, its model."""

    def __init__(
        self, name: str, table: pd.DataFrame, start: dict[str, float], predict: Callable[..., Any], groups: list[str]
    ):
        self.name, self.table, self.start, self.predict, self.groups = (
            name,
            table.reset_index(drop=True),
            start,
            predict,
            groups,
        )
        self.cache: dict[Any, Any] = {}

    def time(self, numbers: dict[str, float], index: np.ndarray) -> np.ndarray:
        """Predicted times of some rows [ns]."""
        return np.asarray(self.predict(self.table.iloc[index], numbers, self.cache, index), float)

    def fit(self, index: np.ndarray) -> dict[str, float]:
        """Numbers that fit rows `index`."""
        names, first = list(self.start), np.log(list(self.start.values()))
        measured = self.table.latency_ms.to_numpy()[index] * 1e6

        def residual(logs: np.ndarray) -> np.ndarray:
            return np.log(self.time(dict(zip(names, np.exp(logs), strict=True)), index) / measured)

        floor = {"exposed": 1e-3}
        low = [np.log(floor[name]) if name in floor else -np.inf for name in names]
        high = [0.0 if "efficiency" in name or name == "exposed" else np.inf for name in names]
        found = least_squares(residual, first, bounds=(low, high), loss="soft_l1", f_scale=0.05, max_nfev=60)
        return dict(zip(names, (float(f"{value:.4g}") for value in np.exp(found.x)), strict=True))

    def error(self, numbers: dict[str, float], index: np.ndarray) -> np.ndarray:
        """|predicted / measured - 1|."""
        return np.abs(self.time(numbers, index) / (self.table.latency_ms.to_numpy()[index] * 1e6) - 1)

    def held_out(self, folds: int = 5) -> np.ndarray:
        """Errors of rows whose whole shape was held out."""
        keys = self.table.groupby(self.groups).ngroup().to_numpy()
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


def predict_experts(by_tokens: float, low: bool) -> Callable[..., Any]:
    def predict(table: pd.DataFrame, numbers: dict[str, float], cache: dict[Any, Any], index: np.ndarray) -> Any:
        key = index.tobytes()
        if key not in cache:
            cache[key] = (devices(table, low), *expert_rows(table))
        gpu, shape, work = cache[key]
        return expert_layer(gpu, ExpertNumbers(**numbers, tiles_by_tokens=by_tokens), shape, work).total

    return predict


def predict_products(low: bool) -> Callable[..., Any]:
    def predict(table: pd.DataFrame, numbers: dict[str, float], cache: dict[Any, Any], index: np.ndarray) -> Any:
        numbers = {"row_ns": 0.0, **numbers}
        key = index.tobytes()
        if key not in cache:
            cache[key] = (devices(table, low), *(table[name].to_numpy(float) for name in "mnk"))
        gpu, m, n, k = cache[key]
        return product(gpu, ProductNumbers(**numbers), m, n, k, 1.0 if low else 2.0, 2.0).total

    return predict


def predict_attention(decode: bool, low: bool) -> Callable[..., Any]:
    def predict(table: pd.DataFrame, numbers: dict[str, float], cache: dict[Any, Any], index: np.ndarray) -> Any:
        key = index.tobytes()
        if key not in cache:
            column = {
                name: table[name].to_numpy(float)
                for name in ("batch_size", "isl", "step", "num_heads", "num_key_value_heads", "head_dim", "window_size")
            }
            cache[key] = (devices(table, low), column, np.where(table.kv_cache_dtype == "fp8", 1.0, 2.0))
        gpu, column, cache_bytes = cache[key]
        common = dict(sequences=column["batch_size"], window=column["window_size"], heads=column["num_heads"],
                      kv_heads=column["num_key_value_heads"], key_width=column["head_dim"], value_width=column["head_dim"])  # fmt: skip
        numbers = AttentionNumbers(**numbers)
        if decode:
            return decode_attention(
                gpu,
                numbers,
                context=column["step"] + 1,
                cached_width=2 * column["head_dim"],
                cache_bytes=cache_bytes,
                **common,
            ).total
        return prefill_attention(gpu, numbers, tokens=column["isl"], value_bytes=2.0, **common).total

    return predict


EXPERTS = {"fixed_ns": 2e4, "bandwidth_efficiency": 0.85, "arithmetic_efficiency": 0.5, "tile_exponent": 0.6,
           "cached_fraction": 3.0, "activation_efficiency": 0.6, "exposed": 0.2}  # fmt: skip
BY_LOAD = {name: value for name, value in EXPERTS.items() if name != "cached_fraction"}
PRODUCTS = {"fixed_ns": 3e3, "bandwidth_efficiency": 0.8, "arithmetic_efficiency": 0.7, "exposed": 0.2}
ATTENTION = {
    "fixed_ns": 1e4,
    "bandwidth_efficiency": 0.8,
    "arithmetic_efficiency": 0.6,
    "exposed": 0.2,
    "block_ns": 500.0,
}


def families(folder: Path, systems: tuple[str, ...]) -> list[Family]:
    """Every family on the given devices."""
    found = []
    table = pd.read_parquet(folder / "moe.parquet")
    table = table[table.system.isin(systems)]
    for (dtype, kernel), part in table[table.distribution == "balanced"].groupby(["moe_dtype", "kernel_source"]):
        by_tokens = kernel.endswith("_triton_tritonexperts")
        low = dtype in ("fp8", "fp8_block", "nvfp4", "w4a8_mxfp4_mxfp8")
        predict = predict_experts(1.0 if by_tokens else 0.0, low)
        if not by_tokens:
            predict = _without_cache(predict)
        found.append(Family(f"experts {dtype} {kernel}", part, EXPERTS if by_tokens else BY_LOAD, predict, SHAPE))
    table = pd.read_parquet(folder / "gemm.parquet")
    for dtype, part in table[table.system.isin(systems)].groupby("gemm_dtype"):
        low = dtype == "fp8"
        found.append(
            Family(
                f"products {dtype}",
                part,
                {**PRODUCTS, **({"row_ns": 5.0} if low else {})},
                predict_products(low),
                ["n", "k"],
            )
        )
    for phase in ("context", "generation"):
        table = pd.read_parquet(folder / f"attention_{phase}.parquet")
        chosen = table[table.system.isin(systems)]
        for (kernel, cache), part in chosen.groupby(["kernel_source", "kv_cache_dtype"]):
            if len(part) > 1000:
                low = cache == "fp8" and "fa3" in kernel  # this kernel multiplies in 8 bits where the cache has 8
                more = {"block_ns": 2000.0, "arithmetic_efficiency": 0.3} if phase == "generation" else {}
                found.append(
                    Family(
                        f"attention {phase} {cache} cache {kernel}",
                        part,
                        {**ATTENTION, **more},
                        predict_attention(phase == "generation", low),
                        ["num_heads", "num_key_value_heads", "head_dim", "window_size"],
                    )
                )
    return found


def _without_cache(predict: Callable[..., Any]) -> Callable[..., Any]:
    return lambda table, numbers, *more: predict(table, {"cached_fraction": 3.0, **numbers}, *more)


def power_law(folder: Path, system: str, family: Family, numbers: dict[str, float]) -> dict[str, Any]:
    """Errors on rows whose loads were drawn from a power law, with the assumed generator and the balanced fit."""
    _, dtype, kernel = family.name.split()
    table = pd.read_parquet(folder / "moe.parquet")
    chosen = (table.system == system) & (table.moe_dtype == dtype) & (table.kernel_source == kernel)
    part = table[chosen & (table.distribution != "balanced")]
    other = Family(family.name, part, family.start, family.predict, SHAPE)
    return summary(other.error(numbers, np.arange(len(part))))


def by_tokens(family: Family, numbers: dict[str, float]) -> dict[str, float]:
    """Median error in per cent by tokens of the pass."""
    error = family.error(numbers, np.arange(len(family.table)))
    bins = np.array([1, 16, 128, 1024, 20_000])
    tokens = family.table.num_tokens.to_numpy()
    return {
        f"{low}-{high - 1}": round(100 * float(np.median(error[(tokens >= low) & (tokens < high)])), 1)
        for low, high in itertools.pairwise(bins.tolist())
    }


def across_devices(folder: Path) -> list[dict[str, Any]]:
    """Families that both devices have: fitted on one, judged on the other."""
    every = {(family.name, system): family for system in SHEETS for family in families(folder, (system,))}
    found = []
    for (name, system), family in every.items():
        for other in SHEETS:
            if other != system and (name, other) in every:
                unseen = every[name, other]
                numbers = family.fit(np.arange(len(family.table)))
                errors = summary(unseen.error(numbers, np.arange(len(unseen.table))))
                found.append({"family": name, "fitted_on": system, "judged_on": other, "error": errors})
    return found


def all_reduce(folder: Path, system: str) -> dict[str, Any]:
    """Sums over GPUs as a fixed cost and a part of the links' bandwidth, of captured graphs."""
    table = pd.read_parquet(folder / "allreduce_custom.parquet")
    table = table[(table.system == system) & (table.backend == "vllm_graph")]
    measured, size, gpus = (table[name].to_numpy(float) for name in ("latency_ms", "message_size", "num_gpus"))

    def time(logs: np.ndarray) -> np.ndarray:
        fixed, efficiency = np.exp(logs)
        return all_reduce_ns(fixed, LINKS[system], efficiency, size, gpus)

    found = least_squares(
        lambda logs: np.log(time(logs) / (1e6 * measured)), np.log([5e3, 0.6]), loss="soft_l1", f_scale=0.05
    )
    numbers = dict(zip(("fixed_ns", "efficiency"), (float(f"{value:.4g}") for value in np.exp(found.x)), strict=True))
    return {
        "family": "all-reduce",
        "system": system,
        "numbers": numbers,
        "own": summary(np.abs(time(found.x) / (1e6 * measured) - 1)),
    }


#: of presets: fitted device, numbers of the data sheet, its name
BOARDS = {
    "h100": ("h100_sxm", {"device_memory_bandwidth_gb_per_s": 3350, "device_memory_gb": 80, "bf16_tflops": 989.4, "fp8_tflops": 1978.9, "l2_cache_bytes": 50e6, "multiprocessors": 132, "link_gb_per_s": 450, "die_area_mm2": 814}, "NVIDIA H100 Tensor Core GPU data sheet (SXM) and architecture white paper"),
    "h200": ("h100_sxm", {"device_memory_bandwidth_gb_per_s": 4800, "device_memory_gb": 141, "bf16_tflops": 989.4, "fp8_tflops": 1978.9, "l2_cache_bytes": 50e6, "multiprocessors": 132, "link_gb_per_s": 450, "die_area_mm2": 814}, "NVIDIA H200 Tensor Core GPU data sheet (SXM); the die is the H100's"),
    "b200": ("b200_sxm", {"device_memory_bandwidth_gb_per_s": 8000, "device_memory_gb": 180, "bf16_tflops": 2250, "fp8_tflops": 4500, "link_gb_per_s": 900}, "NVIDIA DGX B200 data sheet, per GPU"),
}  # fmt: skip
#: what no data sheet says of a board: value, range, source
ASSUMED = {
    "b200": {
        "l2_cache_bytes": (126e6, (96e6, 132e6), "assumption: as described publicly, where sizes differ"),
        "multiprocessors": (148, (132, 160), "assumption: as described publicly, 74 of 80 in each of two dies"),
        "die_area_mm2": (1600, (1400, 1716), "assumption: two dies near the reticle limit"),
        "idle_power_w": (140, None, "assumption: the H100's, which is assumed too, for a board of 1000 W"),
        "memory_bound_power_w": (600, None, "assumption: the H100's, which is assumed too, for a board of 1000 W"),
        "compute_bound_power_w": (970, None, "assumption: the H100's, which is assumed too, for a board of 1000 W"),
    }
}
#: prefix of fitted numbers -> family on Hopper, on Blackwell
PREFIXES = {
    "product": ("products bfloat16", "products bfloat16"),
    "product_fp8": ("products fp8", "products fp8"),
    "experts": ("experts bfloat16 vllm_unquantizedfusedmoe_triton_tritonexperts", "experts bfloat16 vllm_unquantizedfusedmoe_flashinfer_trtllm_trtllmbf16experts"),
    "experts_fp8": ("experts fp8_block vllm_fp8moe_triton_tritonexperts", "experts fp8 vllm_modeloptfp8moe_flashinfer_trtllm_trtllmfp8expertsmonolithic"),
    "experts_fp4": ("experts w4a16_mxfp4 vllm_gptossmxfp4moe_triton_oaitritonmxfp4expertsmonolithic", "experts w4a16_mxfp4 vllm_gptossmxfp4moe_flashinfer_trtllm_mxfp4_bf16_trtllmmxfp4expertsmonolithic"),
    "prefill": ("attention context bfloat16 cache vllm_flash_attn_fa3", "attention context bfloat16 cache vllm_flashinfer_trtllmprefill"),
    "decode": ("attention generation bfloat16 cache vllm_flash_attn_fa3", "attention generation bfloat16 cache vllm_flashinfer_trtllmdecode"),
    "all_reduce": ("all-reduce", "all-reduce"),
}  # fmt: skip


def write_presets() -> None:
    """`configs/hardware/{h100,h200,b200}.yaml` from data sheets and the committed fit."""
    rows = {
        (row["family"], row["system"]): row["numbers"]
        for row in json.loads(RESULTS.read_text())["rows"]
        if "numbers" in row
    }
    for name, (system, sheet, source) in BOARDS.items():
        facts = field_facts(GpuHardware)
        lines = [
            f"# {source}.",
            f"# Kernels: fitted to rows of {system} by benchmarks/validation/fit_gpu.py (aiconfigurator-core 0.12.0, NVIDIA, Apache-2.0).",
        ]
        values: dict[str, tuple[float, str]] = {key: (value, source) for key, value in sheet.items()}
        for prefix, families_of in PREFIXES.items():
            family = families_of[system == "b200_sxm"]
            for part, value in rows[family, system].items():
                values[f"{prefix}_{part}"] = (value, f"fitted, {system}: {family}")
        if system == "b200_sxm":
            values["experts_tiles_by_tokens"] = (0, "assumption: kernels of TensorRT-LLM choose tiles by the mean load")
        assumed = ASSUMED.get(name, {})
        values |= {key: (value, why) for key, (value, _, why) in assumed.items()}
        for key, fact in facts.items():
            value, origin = values.get(key, (fact["default"], fact["source"]))
            line = f'{key}: {{value: {value:.10g}, unit: "{fact["unit"]}", source: "{origin}"'
            fitted = origin.startswith("fitted")
            bounds = assumed[key][1] if key in assumed else None
            if bounds is None and fact["spread"]:
                bounds = tuple(round(bound * value / fact["default"], 6) for bound in fact["spread"])
            if bounds is not None and not fitted:
                low, high = bounds
                high = min(high, 1.0) if "efficiency" in key else high
                line += f", range: [{low:.10g}, {high:.10g}]"
            lines.append(line + (", assumed: true}" if (fact["assumed"] or key in assumed) and not fitted else "}"))
        (CONFIGS / f"{name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Fit, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--presets", action="store_true", help="write configs/hardware from the committed fit")
    parser.add_argument("--quick", action="store_true", help="no held-out shapes, nothing written")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    if options.presets:
        write_presets()
        return
    if options.data is None or not options.data.is_dir():
        raise SystemExit("--data: name the folder of the operator tables; without it there is nothing to fit")
    rows = []
    for system in SHEETS:
        for family in families(options.data, (system,)):
            if options.only not in f"{family.name} {system}":
                continue
            every = np.arange(len(family.table))
            numbers = family.fit(every)
            row = {
                "family": family.name,
                "system": system,
                "numbers": numbers,
                "own": summary(family.error(numbers, every)),
            }
            if not options.quick:
                row["held_out_shapes"] = summary(family.held_out())
                if family.name.startswith("experts"):
                    row["by_tokens"] = by_tokens(family, numbers)
                    row["power_law_with_assumed_draws"] = power_law(options.data, system, family, numbers)
            print(json.dumps(row), flush=True)
            rows.append(row)
    if not options.quick and not options.only:
        rows += [all_reduce(options.data, system) for system in SHEETS]
        rows += across_devices(options.data)
        for row in rows[-12:]:
            print(json.dumps(row), flush=True)
        head = {
            "command": "python benchmarks/validation/fit_gpu.py --data FOLDER",
            "source": "aiconfigurator-core 0.12.0 (NVIDIA, Apache-2.0), selected rows",
        }
        lines = ",\n".join("  " + json.dumps(row) for row in rows)
        RESULTS.write_text(json.dumps(head)[:-1] + ', "rows": [\n' + lines + "\n]}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
