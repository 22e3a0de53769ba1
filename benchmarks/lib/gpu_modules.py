"""Families of modules and messages: attention with a latent (MLA) with its products, sums over GPUs, tokens to experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.lib.gpu_families import STARTS, Family, Predict
from benchmarks.lib.gpu_tables import WEIGHT_BYTES, devices, link_gb_per_s
from pimjax.chips.gpu.operators.attention import DecodeNumbers, PrefillNumbers, decode_attention, prefill_attention
from pimjax.chips.gpu.operators.products import ProductNumbers, product
from pimjax.chips.gpu.operators.small import AllReduceNumbers, all_reduce_ns

Fitted = dict[tuple[str, str], dict[str, float]]
VALUE_BYTES = {"half": 2.0, "bfloat16": 2.0, "int8": 1.0}
#: of DeepSeek-V3, whose module the tables have: hidden width, latents, widths of a head
WIDTH, QUERY_LATENT, LATENT, ROPE, PLAIN, VALUE = 7168.0, 1536.0, 512.0, 64.0, 128.0, 128.0


def message_bytes(table: pd.DataFrame, column: str) -> np.ndarray:
    """Bytes of a message. `message_size` counts values: 8-bit rows take half the time of 16-bit ones of the same size."""
    return table.message_size.to_numpy(float) * np.array([VALUE_BYTES[name] for name in table[column]])


def predict_mla(decode: bool, products: str, numbers_of: dict[str, dict[str, dict[str, float]]]) -> Predict:
    """Times of the whole module: products with the numbers of their own fits, then attention."""
    low = products != "bfloat16"

    def before(table: pd.DataFrame) -> Any:
        heads, rows = table.num_heads.to_numpy(float), (table.batch_size * table.isl).to_numpy(float)
        [system] = table.system.unique()
        sizes = [
            (QUERY_LATENT + LATENT + ROPE, WIDTH, low), (heads * (PLAIN + ROPE), QUERY_LATENT, low), (WIDTH, heads * VALUE, low),
            (heads * (PLAIN + VALUE), LATENT, low and not decode),  # decoding multiplies with the latent's halves, in 16 bits
        ]  # fmt: skip
        total = np.zeros(len(table))
        for n, k, narrow in sizes:
            numbers = ProductNumbers(**numbers_of[system]["fp8" if narrow else "bfloat16"])
            size = WEIGHT_BYTES[products] if narrow else 2.0
            total = total + product(devices(table, narrow), numbers, rows, n, k, size, 2.0).total
        return total

    def predict(table: pd.DataFrame, numbers: dict[str, float], kept: dict[str, Any]) -> Any:
        if not kept:
            kept["rows"] = (before(table), devices(table, False), {name: table[name].to_numpy(float) for name in ("num_heads", "batch_size", "isl", "step")})  # fmt: skip
        first, gpu, column = kept["rows"]
        heads, common = column["num_heads"], dict(sequences=column["batch_size"], window=0.0, heads=column["num_heads"])
        if decode:
            size = np.where(table.kv_cache_dtype == "fp8", 1.0, 2.0)
            latent = LATENT + ROPE
            return first + decode_attention(gpu, DecodeNumbers(**numbers), context=column["step"], kv_heads=1.0, key_width=latent, value_width=LATENT, cached_width=latent, cache_bytes=size, **common).total  # fmt: skip
        return first + prefill_attention(gpu, PrefillNumbers(**numbers), tokens=column["isl"], kv_heads=heads, key_width=PLAIN + ROPE, value_width=VALUE, value_bytes=2.0, **common).total  # fmt: skip

    return predict


def mla_families(
    folder: Path, systems: tuple[str, ...], numbers_of: dict[str, dict[str, dict[str, float]]]
) -> list[Family]:
    """Modules of attention with a latent; `numbers_of`: of products, by device and number format."""
    found = []
    for phase in ("context", "generation"):
        path = folder / f"mla_{phase}.parquet"
        if not path.is_file():
            continue
        table = pd.read_parquet(path)
        chosen = table[table.system.isin(systems) & table.gemm_type.isin(["bfloat16", "fp8_block"])]
        for (kernel, own, cache, products), part in chosen.groupby(["kernel_source", "mla_dtype", "kv_cache_dtype", "gemm_type"]):  # fmt: skip
            if len(part) < 200 or own != "bfloat16":
                continue
            decode = phase == "generation"
            start = dict(STARTS["decode" if decode else "prefill"], fixed_ns=3e4)
            constants = {}
            if not decode:
                start.pop("key_passes")
                constants = {"key_passes": 1.0, "packs_heads": 0.0}
            name = f"mla {phase} {products} products, {cache} cache {kernel}"
            found.append(Family(name, part, start, predict_mla(decode, products, numbers_of), ["num_heads"], constants))
    return found


def link_families(folder: Path, systems: tuple[str, ...]) -> list[Family]:
    """Sums over GPUs (vLLM's own kernel, and NCCL) and tokens to experts (DeepEP)."""
    found = []
    if (folder / "allreduce_custom.parquet").is_file():
        table = pd.read_parquet(folder / "allreduce_custom.parquet")
        part = table[table.system.isin(systems) & (table.backend == "vllm_graph")].copy()
        part["bytes"] = message_bytes(part, "allreduce_dtype")
        if len(part):
            found.append(Family("all-reduce", part, {"fixed_ns": 5e3, "step_ns": 2e3, "efficiency": 0.6}, _sum, ["num_gpus"]))  # fmt: skip
    if (folder / "nccl.parquet").is_file():
        table = pd.read_parquet(folder / "nccl.parquet")
        part = table[table.system.isin(systems)].copy()
        part["bytes"] = message_bytes(part, "nccl_dtype")
        # four rows of every size and no column that says of what: the slowest of long messages is taken for the sum
        part["operation"] = part.groupby(["system", "nccl_dtype", "num_gpus", "message_size"]).cumcount()
        part = part[part.operation < 4]
        for operation, one in part.groupby("operation"):
            start = {"fixed_ns": 5e3, "gpu_ns": 500.0, "efficiency": 0.6}
            passes = 2.0 if operation == 3 else 1.0
            found.append(Family(f"nccl operation {operation + 1} of 4", one, start, _ring(passes), ["num_gpus"]))
    return found + _all_to_all(folder, systems)


def _all_to_all(folder: Path, systems: tuple[str, ...]) -> list[Family]:
    path = folder / "moe_all_to_all.parquet"
    if not path.is_file():
        return []
    table = pd.read_parquet(path)
    table = table[table.system.isin(systems)]
    keys = ["system", "comm_backend", "ep_size", "hidden_size", "topk", "num_tokens"]
    both = table.groupby([*keys, "phase"]).latency_ms.mean().unstack("phase").dropna()
    both["latency_ms"] = (both["dispatch"] + both["combine"]) / 1e3  # the column repeats microseconds
    both = both.reset_index()
    found = []
    names = {"deepep_ll": "all-to-all low latency", "deepep_ht": "all-to-all bulk", "deepep_v2_context": "all-to-all bulk, DeepEP 2", "deepep_v2_generation": "all-to-all low latency, DeepEP 2"}  # fmt: skip
    for backend, part in both.groupby("comm_backend"):
        bulk = "low latency" not in names[backend]
        start = {"fixed_ns": 1e5, "efficiency": 0.5, **({"token_ns": 100.0} if bulk else {})}
        found.append(Family(names[backend], part, start, _travel(bulk), ["hidden_size"]))
    return found


def _sum(table: pd.DataFrame, numbers: dict[str, float], _: dict[str, Any]) -> Any:
    return all_reduce_ns(AllReduceNumbers(**numbers), link_gb_per_s(table), table.bytes.to_numpy(float), table.num_gpus.to_numpy(float))  # fmt: skip


def _ring(passes: float) -> Predict:
    def predict(table: pd.DataFrame, numbers: dict[str, float], _: dict[str, Any]) -> Any:
        gpus = table.num_gpus.to_numpy(float)
        moved = passes * (gpus - 1) / gpus * table.bytes.to_numpy(float)
        return numbers["fixed_ns"] + numbers["gpu_ns"] * gpus + moved / (link_gb_per_s(table) * numbers["efficiency"])

    return predict


def _travel(bulk: bool) -> Predict:
    """One kind of kernel of :func:`pimjax.chips.gpu.operators.small.all_to_all_ns`."""

    def predict(table: pd.DataFrame, numbers: dict[str, float], _: dict[str, Any]) -> Any:
        gpus, top_k, tokens = (table[name].to_numpy(float) for name in ("ep_size", "topk", "num_tokens"))
        others = (gpus - 1) / gpus
        copies = (gpus - 1) * (1 - others**top_k) if bulk else top_k * others
        moved = 2 * tokens * 2 * table.hidden_size.to_numpy(float) * copies / link_gb_per_s(table)
        return numbers["fixed_ns"] + moved / numbers["efficiency"] + numbers.get("token_ns", 0.0) * tokens

    return predict
