"""Whole models on a GPU against measured serving runs: time per output token and to the first token.

    python benchmarks/validation/gpu_end_to_end.py --data FOLDER --configs FOLDER

`--data` holds `end_to_end.csv` of the PyPI package aiconfigurator-core 0.12.0 (NVIDIA, Apache-2.0), `--configs` Hugging
Face `config.json` files. A run of C concurrent requests is C sequences that decode together at the mean context; of the
time per token also a second number is given, into which the prompts of the requests that arrive meanwhile are mixed
(C / output tokens prompts per step). Routing is assumed uniform: the expected number of distinct experts. Tensor
parallel rows of one node only. The chip's `pass_fixed_ns` (0.5 ms) was chosen by hand after a look at 25 rows per group (model,
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
from pimjax.chips.gpu.loads import Loads, kind_of
from pimjax.chips.gpu.operators.experts import TILE_ROWS
from pimjax.config.hf import from_hf
from pimjax.config.weight_formats import WEIGHT_BITS, checkpoint_bytes, stored_formats

RESULTS = Path(__file__).parents[1] / "results" / "gpu_end_to_end.json"
#: name in the table -> (config file, what differs from it [the larger model of the family's published config], formats by precision)
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai/gpt-oss-120b": ("openai--gpt-oss-20b.json", {"num_layers": 36, "num_experts": 128, "published_parameters": None, "published_active_parameters": None}),
    "meta-llama/Llama-3.1-70B": ("meta-llama--Meta-Llama-3.1-8B.json", {"d_model": 8192, "d_ff": 28672, "num_layers": 80, "num_heads": 64, "num_kv_heads": 8}),
    "MiniMaxAI/MiniMax-M2.5": ("MiniMaxAI--MiniMax-M2.5.json", {}),
    "deepseek-ai/DeepSeek-V3": ("deepseek-ai--DeepSeek-V3.json", {}),
    "deepseek-ai/DeepSeek-R1": ("deepseek-ai--DeepSeek-V3.json", {}),
}  # fmt: skip
NOTE = (
    "pass_fixed_ns was chosen by hand after a look at 25 rows per group of these runs on both devices: "
    "errors on H100 are in-sample, those on B200 are no blind test"
)
SYSTEMS = {"h100_sxm": "h100", "b200_sxm": "b200"}


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
    tiles = np.array([np.ceil(loads / rows).sum() for rows in TILE_ROWS])
    each = (
        np.full((1, layers), loads.sum()),
        np.full((1, layers), (loads > 0).sum() * 1.0),
        np.tile(tiles, (1, layers, 1)),
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
    if "gpt-oss" not in row.model_path and row.precision == "fp8":
        model |= {"linear_format": "fp8", "expert_format": "fp8"}
    if row.precision == "fp4" and "gpt-oss" not in row.model_path:
        model |= {"linear_format": "nvfp4", "expert_format": "nvfp4"}
    hardware: dict[str, Any] = {"hardware.gpus": int(row.tp_size)}
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
    table = table[table.system.isin(SYSTEMS) & table.model_path.isin(MODELS) & (table.tp_size <= 8)]
    table = table[
        (table.moe_ep_size.fillna(1) <= 1) & (table.attention_dp_size.fillna(1) <= 1) & table.precision.notna()
    ]
    rows = []
    every: dict[str, dict[str, list[float]]] = {}
    for key, part in table.groupby(["model_path", "system", "backend", "precision"]):
        part = part.sample(min(len(part), options.most_rows), random_state=0)
        errors: dict[str, list[float]] = {
            "decode_alone": [],
            "with_prompts_mixed_in": [],
            "first_token": [],
            "small": [],
        }
        for row in part.itertuples():
            config = configuration(row, options.configs, options.pass_fixed_ns)
            batch, prompt = int(row.batch_size), int(row.isl)
            step = pass_ns(config, tokens=batch, sequences=batch, prompt=0, context=prompt + row.osl / 2)
            first = pass_ns(config, tokens=prompt, sequences=1, prompt=prompt, context=prompt)
            mixed = step + batch / row.osl * (first - config.hardware.pass_fixed_ns)
            measured, measured_first = 1e6 * row.silicon_tpot_ms, 1e6 * row.silicon_ttft_ms
            errors["decode_alone"].append(step / measured - 1)
            errors["with_prompts_mixed_in"].append(mixed / measured - 1)
            errors["first_token"].append(first / measured_first - 1)
            if batch <= 8:
                errors["small"].append((measured - mixed) / 1e6)
        line: dict[str, Any] = dict(zip(("model", "system", "server", "precision"), key, strict=True)) | {
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
            every.setdefault(f"{key[2]}, {key[1]}", {}).setdefault(name, []).extend(values)
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
    }
    text = ",\n".join("  " + json.dumps(row) for row in rows)
    RESULTS.write_text(json.dumps(head)[:-1] + ', "rows": [\n' + text + "\n]}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
