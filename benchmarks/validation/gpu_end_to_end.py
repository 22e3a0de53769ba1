"""Whole models on a GPU against measured serving runs: time per output token and to the first token.

    python benchmarks/validation/gpu_end_to_end.py --data FOLDER --configs FOLDER

`--data` holds `end_to_end.csv` of the PyPI package aiconfigurator-core 0.12.0 (NVIDIA, Apache-2.0), `--configs` Hugging
Face `config.json` files. A run of C concurrent requests is C sequences that decode together at the mean context; of the
time per token also a second number is given, into which the prompts of the requests that arrive meanwhile are mixed
(C / output tokens prompts per step). Routing is assumed uniform: the expected number of distinct experts. Rows of one
node: tensor parallel, experts dealt out to ranks, sequences dealt out for attention; rows whose numbers of ranks contradict
each other are left out and counted. The chip's `pass_fixed_ns` (0.5 ms) was chosen by hand after a look at 25 rows per group (model,
device, server, precision) of this table on both devices (`--most-rows 25`): errors on H100 are in-sample, and those on
B200 are no blind test either.
Writes `benchmarks/results/gpu_end_to_end.json`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import pimjax
from pimjax.chips import CHIPS
from pimjax.chips.gpu.loads import Loads, by_rank, kind_of, ranks_of
from pimjax.chips.gpu.operators.experts import TILE_ROWS
from pimjax.config.hf import from_hf
from pimjax.config.weight_formats import WEIGHT_BITS, checkpoint_bytes, stored_formats

RESULTS = Path(__file__).parents[1] / "results" / "gpu_end_to_end.json"
#: name in the table -> (config file, what differs from it [the larger model of the family's published config], formats by precision)
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai/gpt-oss-120b": ("openai--gpt-oss-20b.json", {"num_layers": 36, "num_experts": 128, "published_parameters": None, "published_active_parameters": None}),
    "meta-llama/Llama-3.1-70B": ("meta-llama--Meta-Llama-3.1-8B.json", {"d_model": 8192, "d_ff": 28672, "num_layers": 80, "num_heads": 64, "num_kv_heads": 8}),
    "meta-llama/Llama-3.1-8B-Instruct": ("meta-llama--Meta-Llama-3.1-8B.json", {}),
    "Qwen/Qwen3-32B": ("meta-llama--Meta-Llama-3.1-8B.json", {"d_model": 5120, "d_ff": 25600, "num_layers": 64, "num_heads": 64, "num_kv_heads": 8, "head_dim": 128, "vocab_size": 151936}),
    "Qwen/Qwen3-235B-A22B-FP8": ("Qwen--Qwen3-235B-A22B-FP8.json", {}),
    "MiniMaxAI/MiniMax-M2.5": ("MiniMaxAI--MiniMax-M2.5.json", {}),
    "moonshotai/Kimi-K2.5": ("moonshotai--Kimi-K2-Instruct.json", {}),
    "deepseek-ai/DeepSeek-V3": ("deepseek-ai--DeepSeek-V3.json", {}),
    "deepseek-ai/DeepSeek-R1": ("deepseek-ai--DeepSeek-V3.json", {}),
    "nvidia/DeepSeek-R1-NVFP4": ("deepseek-ai--DeepSeek-V3.json", {}),
    "nvidia/DeepSeek-V3.1-NVFP4": ("deepseek-ai--DeepSeek-V3.json", {}),
}  # fmt: skip
NOTE = (
    "pass_fixed_ns was chosen by hand after a look at 25 rows per group of these runs on both devices: "
    "errors on H100 are in-sample, those on B200 are no blind test"
)
SYSTEMS = {"h100_sxm": "h100", "b200_sxm": "b200"}


def layout(row: Any) -> tuple[int, int, int]:
    """GPUs, ranks of experts, groups of attention of a row; (0, 0, 0) where its numbers contradict each other.

    `tp_size` GPUs attend together; `attention_dp_size` such groups; experts are dealt out to `moe_ep_size` ranks.
    """
    tensor, groups, ranks, split = (
        int(value) if value == value and value >= 1 else 1
        for value in (row.tp_size, row.attention_dp_size, row.moe_ep_size, row.moe_tp_size)
    )
    gpus = tensor * groups
    dealt = ranks if ranks > 1 else 1
    if gpus > 8 or gpus % dealt or (ranks > 1 and ranks * split != gpus):
        return 0, 0, 0
    return gpus, dealt, groups


def uniform_loads(config: pimjax.Config, tokens: int, sequences: int, prompt: int, context: float) -> Loads:
    """One pass whose tokens choose experts uniformly: a draw, the same for every layer."""
    model = config.model
    random = np.random.default_rng(0)
    experts, layers = max(model.num_experts, 1), max(model.num_moe_layers, 1)
    drawn = np.argsort(random.random((min(tokens, 4096), experts)), axis=1)[:, : model.top_k]
    loads = np.bincount(drawn.ravel(), minlength=experts) * (tokens / min(tokens, 4096))
    loads = loads if model.num_experts else 0.0 * loads
    formats = stored_formats(model)
    row = [np.array([float(value)]) for value in (1, tokens, sequences, prompt, context)]
    dealt = by_rank(loads, ranks_of(config))  # [R, E / R]
    tiles = np.stack([np.ceil(dealt / rows).sum(axis=-1) for rows in TILE_ROWS], axis=-1)
    each = (
        np.tile(dealt.sum(axis=-1), (1, layers, 1)),
        np.tile((dealt > 0).sum(axis=-1) * 1.0, (1, layers, 1)),
        np.tile(tiles, (1, layers, 1, 1)),
    )
    widths = [np.float64(WEIGHT_BITS[one] / 8) for one in (formats.linear, formats.expert, formats.plain)]
    kinds = [np.float64(kind_of(one)) for one in (formats.linear, formats.expert)]
    return Loads(*row, *each, *widths, *kinds, np.float64(checkpoint_bytes(model)))


def pass_ns(config: pimjax.Config, **of: Any) -> float:
    """Time of one pass."""
    design, capacity = pimjax.build(config)
    cost = CHIPS["gpu"].cost(design, uniform_loads(config, **of), capacity=capacity, fidelity="closed")
    return float(cost.latency_ns)


def configuration(row: Any, folder: Path, pass_fixed_ns: float | None) -> pimjax.Config:
    """The configuration of a row."""
    file, changes = MODELS[row.model_path]
    model = {**from_hf(folder / file).model_dump(), **changes}
    precision = row.precision if isinstance(row.precision, str) else "bf16"
    if "gpt-oss" not in row.model_path:
        formats = {"fp8": "fp8", "fp4": "nvfp4", "bf16": "bf16"}[precision]
        model |= {"linear_format": formats, "expert_format": formats}
    gpus, ranks, groups = layout(row)
    hardware: dict[str, Any] = {
        "hardware.gpus": gpus, "hardware.expert_parallel": ranks, "hardware.attention_data_parallel": groups
    }  # fmt: skip
    if pass_fixed_ns is not None:
        hardware["hardware.pass_fixed_ns"] = pass_fixed_ns
    base = {"chip_model": "gpu", "hardware": SYSTEMS[row.system], "model": model}
    tokens = {
        "workload.prompt_tokens": int(row.isl),
        "workload.generated_tokens": 2,
        "workload.kv_cache": True,
        "workload.kv_bytes": 2,
    }
    return pimjax.load_config(base, {**hardware, **tokens, "workload.batch_size": int(row.batch_size)})


def main() -> None:
    """Estimate, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--configs", type=Path, required=True)
    parser.add_argument("--pass-fixed-ns", type=float)
    parser.add_argument("--most-rows", type=int, default=60, help="of each model, device, server and precision")
    options = parser.parse_args()
    table = pd.read_csv(options.data / "end_to_end.csv").drop_duplicates()
    table = table[table.system.isin(SYSTEMS) & table.model_path.isin(MODELS) & (table.precision != "int4")]
    placed = np.array([layout(row) for row in table.itertuples()])
    left_out = int((placed[:, 0] == 0).sum())
    table, placed = table[placed[:, 0] > 0], placed[placed[:, 0] > 0]
    table = table.assign(
        precision=table.precision.fillna("bf16"),
        parallel=np.where(placed[:, 2] > 1, "attention and experts dealt out", np.where(placed[:, 1] > 1, "experts dealt out", "tensor parallel")),
    )  # fmt: skip
    rows = []
    every: dict[str, dict[str, list[float]]] = {}
    for key, part in table.groupby(["model_path", "system", "backend", "precision", "parallel"]):
        part = part.sample(min(len(part), options.most_rows), random_state=0)
        errors: dict[str, list[float]] = {
            "decode_alone": [],
            "with_prompts_mixed_in": [],
            "first_token": [],
            "small": [],
        }
        for row in part.itertuples():
            config = configuration(row, options.configs, options.pass_fixed_ns)
            batch, prompt = int(row.batch_size) * int(config.hardware.attention_data_parallel), int(row.isl)
            step = pass_ns(config, tokens=batch, sequences=batch, prompt=0, context=prompt + row.osl / 2)
            first = pass_ns(config, tokens=prompt, sequences=1, prompt=prompt, context=prompt)
            mixed = step + batch / row.osl * (first - config.hardware.pass_fixed_ns)
            measured, measured_first = 1e6 * row.silicon_tpot_ms, 1e6 * row.silicon_ttft_ms
            errors["decode_alone"].append(step / measured - 1)
            errors["with_prompts_mixed_in"].append(mixed / measured - 1)
            errors["first_token"].append(first / measured_first - 1)
            if batch <= 8:
                errors["small"].append((measured - mixed) / 1e6)
        line: dict[str, Any] = dict(zip(("model", "system", "server", "precision", "parallel"), key, strict=True)) | {
            "rows": len(part)
        }
        for name in ("decode_alone", "with_prompts_mixed_in", "first_token"):
            signed = np.array(errors[name])
            line[name] = {
                "median": round(100 * float(np.median(np.abs(signed))), 1),
                "signed": round(100 * float(np.median(signed)), 1),
                "p90": round(100 * float(np.quantile(np.abs(signed), 0.9)), 1),
            }
        line["missing_ms_up_to_8_requests"] = round(float(np.median(errors["small"])), 3) if errors["small"] else None
        print(json.dumps(line), flush=True)
        rows.append(line)
        for name, values in errors.items():
            for group in (f"{key[2]}, {key[1]}", key[4], "all"):
                every.setdefault(group, {}).setdefault(name, []).extend(values)
    for name, errors in every.items():
        medians = {
            one: round(100 * float(np.median(np.abs(errors[one]))), 1)
            for one in ("decode_alone", "with_prompts_mixed_in", "first_token")
        }
        rows.append({"all_models": name, "rows": len(errors["decode_alone"]), "median_error": medians})
        print(json.dumps(rows[-1]), flush=True)
    head = {
        "command": "python benchmarks/validation/gpu_end_to_end.py --data FOLDER --configs FOLDER",
        "source": "aiconfigurator-core 0.12.0 (NVIDIA, Apache-2.0), selected rows",
        "note": NOTE,
        "rows_left_out_as_their_ranks_contradict": left_out,
    }
    text = ",\n".join("  " + json.dumps(row) for row in rows)
    RESULTS.write_text(json.dumps(head)[:-1] + ', "rows": [\n' + text + "\n]}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
