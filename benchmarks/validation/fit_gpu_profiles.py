"""Fit the numbers of two more GPUs to operator times that LLMServingSim's profiler measured in vLLM.

    PIMJAX_SERVING=folder python benchmarks/validation/fit_gpu_profiles.py             # fit, judge, write JSON and presets
    PIMJAX_SERVING=folder python benchmarks/validation/fit_gpu_profiles.py --quick     # fit and print

The folder holds the profiles (casys-kaist/LLMServingSim, MIT licence): dense operators by tokens, attention by (piece,
cached tokens, sequences), fused experts by (tokens, experts visited). What is fitted are the numbers of `chip_model: gpu`
against the same operators of its kernels, in the logarithm of the time: no number is fitted on a served run. Left out are
dense products of a profiled layer whose weights all fit the cache, since a repeated measurement finds them there and a
whole model does not. Writes benchmarks/results/fit_gpu_profiles.json and configs/hardware/rtx_*.yaml.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax
import numpy as np
from scipy.optimize import least_squares

from benchmarks.lib.paths import ROOT
from benchmarks.lib.served_models import BOARDS, MODELS, board_config, folder
from benchmarks.lib.vllm_profiles import attention_us, rows_of
from pimjax import build
from pimjax.chips import CHIPS
from pimjax.chips.gpu.hardware import GpuHardware
from pimjax.chips.gpu.operators.experts import TILE_ROWS
from pimjax.chips.gpu.passes import in_one_type, operators
from pimjax.config.base import field_facts

RESULTS = ROOT / "benchmarks" / "results" / "fit_gpu_profiles.json"
SOURCE = "LLMServingSim (casys-kaist, MIT licence), commit 5daddb2, profiles of vLLM 0.19 in bfloat16"
#: board -> profiles: (file stem, model, GPUs that share a layer)
PROFILES = {
    "RTX4090": [("RTX4090_Llama-3.1-8B_tp1", "Llama-3.1-8B", 1)],
    "RTXPRO6000": [
        ("RTXPRO6000_Llama-3.1-8B_tp1", "Llama-3.1-8B", 1),
        ("RTXPRO6000_Qwen3-32B_tp2", "Qwen3-32B", 2),
        ("RTXPRO6000_Qwen3-30B-A3B", "Qwen3-30B-A3B", 1),
    ],
}
ADA = "NVIDIA Ada GPU architecture white paper, GeForce RTX 4090"
BLACKWELL = "NVIDIA RTX PRO 6000 Blackwell Server Edition data sheet and RTX Blackwell architecture white paper (GB202)"
#: data sheets
SHEETS: dict[str, tuple[str, dict[str, float]]] = {
    "RTX4090": (ADA, {
        "device_memory_bandwidth_gb_per_s": 1008, "device_memory_gb": 24, "bf16_tflops": 165.2, "fp8_tflops": 330.3,
        "l2_cache_bytes": 72e6, "multiprocessors": 128, "die_area_mm2": 608.5,
    }),
    "RTXPRO6000": (BLACKWELL, {
        "device_memory_bandwidth_gb_per_s": 1597, "device_memory_gb": 96, "bf16_tflops": 503.8, "fp8_tflops": 1007.6,
        "l2_cache_bytes": 128e6, "multiprocessors": 188, "die_area_mm2": 750,
    }),
}  # fmt: skip
PCIE = "LLMServingSim's settings of the same machines: PCIe, 16 GB/s and 20 us a hop; a ring of two"
#: board -> value, range, source of what no data sheet and no profile says
ASSUMED: dict[str, dict[str, tuple[float, tuple[float, float] | None, str]]] = {
    board: {
        "link_gb_per_s": (16, None, PCIE),
        "all_reduce_fixed_ns": (40_000, (4_000, 60_000), PCIE),
        "all_reduce_efficiency": (1.0, (0.5, 1.0), PCIE),
        "all_reduce_step_ns": (0.0, None, PCIE),
        "idle_power_w": (idle, (0.5 * idle, 2 * idle), f"assumption: a board of {limit} W that waits"),
        "memory_bound_power_w": (round(0.55 * limit), (round(0.4 * limit), round(0.8 * limit)), f"assumption: a part of the board's {limit} W"),
        "compute_bound_power_w": (round(0.95 * limit), (round(0.8 * limit), limit), f"assumption: nearly the board's {limit} W"),
    }
    for board, idle, limit in (("RTX4090", 25, 450), ("RTXPRO6000", 35, 600))
}  # fmt: skip
#: family of kernels -> prefix of its numbers
FAMILIES = {
    "products": "product",
    "small": "elementwise",
    "prefill": "prefill",
    "decode": "decode",
    "experts": "experts",
}
FIXED = {"experts_cached_fraction"}  # what 128 experts on one card do not show
FIXED |= {
    key for key, field in GpuHardware.model_fields.items() if (field.json_schema_extra or {}).get("whole")
}  # rules


class Rows(NamedTuple):
    """Measured times of one family of one profile: what the chip is asked, and which of its operators answer."""

    family: str
    design: Any
    loads: Any
    read: Any  # Layers -> ns [D]
    measured_ns: Any  # [D]


def one_pass(board: str, model: str, gpus: int, **of: Any) -> tuple[Any, Any]:
    """Design, and loads of passes `[D]` of `tokens`, `sequences`, `prompt`, `context`, ..."""
    config = board_config(board, model, gpus, fitted=False, **SHEETS[board][1], link_gb_per_s=16.0)
    config = config.model_copy(
        update={"workload": config.workload.model_copy(update={"prompt_tokens": 1, "generated_tokens": 1})}
    )
    design, capacity = build(config)
    from pimjax.runs.requests import workload_trace

    base = CHIPS["gpu"].inputs(config, workload_trace(config), fidelity="closed", capacity=capacity)
    count = max(len(np.atleast_1d(value)) for value in of.values())

    def wide(leaf: Any) -> Any:
        return np.repeat(leaf, count, axis=0) if np.ndim(leaf) and len(leaf) == 1 else leaf

    loads = jax.tree.map(wide, base)
    given = {}
    for name, value in of.items():  # layers and ranks alike
        shape, found = getattr(loads, name).shape, np.asarray(value, float)
        inner = found.shape[1:] if found.ndim > 1 else ()
        given[name] = np.broadcast_to(
            found.reshape(found.shape[:1] + (1,) * (len(shape) - found.ndim) + inner) if found.ndim else found, shape
        )
    return in_one_type(design, loads._replace(**given))


def dense_rows(path: Path, board: str, stem: str, model: str, gpus: int) -> list[Rows]:
    """Products and small kernels by tokens, the head by sequences."""
    table: dict[str, dict[int, float]] = {}
    for row in rows_of(path / f"{stem}__profile_dense.csv"):
        table.setdefault(row["layer"], {})[int(row["tokens"])] = float(row["time_us"])
    tokens = np.array(sorted(table["qkv_proj"]))

    def of(*names: str) -> Any:
        return 1e3 * np.array([sum(table.get(name, {}).get(int(t), 0.0) for name in names) for t in tokens])

    design, loads = one_pass(board, model, gpus, tokens=tokens, sequences=1, prompt=0, context=2)
    small = of("layernorm", "layernorm", "rotary_emb", "act_fn", "qk_norm")
    found = [Rows("small", design, loads, lambda layers: layers.small.total, small)]
    sizes = MODELS[model]
    layer = sizes["d_model"] * sizes["head_dim"] * 2 * (sizes["num_heads"] + sizes["num_kv_heads"])
    layer += 3 * sizes["d_model"] * sizes["d_ff"] * (sizes["num_experts"] == 0)
    if 2 * layer / gpus > SHEETS[board][1]["l2_cache_bytes"]:
        found.append(Rows("products", design, loads, lambda layers: layers.projections.total, of("qkv_proj", "o_proj")))
        if not sizes["num_experts"]:
            found.append(
                Rows("products", design, loads, lambda layers: layers.dense.total, of("gate_up_proj", "down_proj"))
            )
    head = [row for row in rows_of(path / f"{stem}__profile_per_sequence.csv") if row["layer"] == "lm_head"]
    sequences = np.array([int(row["sequences"]) for row in head])
    design, loads = one_pass(board, model, gpus, tokens=sequences, sequences=sequences, prompt=0, context=2)
    found.append(
        Rows(
            "products",
            design,
            loads,
            lambda layers: layers.head.total,
            1e3 * np.array([float(r["time_us"]) for r in head]),
        )
    )
    return found


def attention_rows(path: Path, board: str, stem: str, model: str, gpus: int) -> list[Rows]:
    """Whole prompts, and new tokens of sequences, each alone."""
    table = attention_us(path / stem)
    held = room(board, model, gpus)
    new = sorted((n, kv, us) for (chunk, _, n, kv), us in table.items() if not chunk and n and n * kv <= held)
    pieces = sorted(
        (chunk, start, us)
        for (chunk, start, n, _), us in table.items()
        if chunk and not n and (not start or chunk >= 512)
    )
    chunk, start, us = np.array(pieces).T
    count = len(us)
    reached = np.concatenate([start + chunk, np.maximum(start, 1), np.ones(count)])
    design, loads = one_pass(board, model, gpus, tokens=reached, sequences=1, prompt=reached, context=reached)

    def pieces_ns(
        layers: Any,
    ) -> Any:  # as a step counts them: the prompt to its end less that to its beginning, and a launch
        end, begin, launch = layers.full.total.reshape(3, count)
        return end - np.where(start > 0, begin - launch, 0.0)

    found = [Rows("prefill", design, loads, pieces_ns, 1e3 * us)]
    n, kv, us = np.array(new).T
    design, loads = one_pass(board, model, gpus, tokens=n, sequences=n, prompt=0, context=kv + 1)
    return [*found, Rows("decode", design, loads, lambda layers: layers.full.total, 1e3 * us)]


def room(board: str, model: str, gpus: int) -> float:
    """Tokens whose keys and values fit into nine tenths of the memory beside the weights."""
    from pimjax.config.weight_formats import checkpoint_bytes

    config = board_config(board, model, gpus, fitted=False)
    row = 2.0 * 2 * MODELS[model]["num_kv_heads"] * MODELS[model]["head_dim"] * MODELS[model]["num_layers"]
    return float((0.9e9 * SHEETS[board][1]["device_memory_gb"] * gpus - checkpoint_bytes(config.model)) / row)


def mixed_attention(path: Path, stem: str) -> tuple[float, dict[str, float]]:
    """What new tokens take beside a piece of a prompt beyond a launch, in units of alone: median; and the errors it leaves.

    Of rows whose parts were measured alone too; the launch is that of one sequence with 16 cached tokens.
    """
    table = attention_us(path / stem)
    launch = table[0, 0, 1, 16]
    factors, both = [], []
    for (chunk, start, n, kv), us in table.items():
        alone = table.get((chunk, start, 0, 0)), table.get((0, 0, n, kv))
        if chunk and n and alone[0] is not None and alone[1] is not None and alone[1] > 2 * launch:
            factors.append((us - alone[0] - launch) / (alone[1] - launch))
            both.append((us, alone[0], alone[1] - launch))
    factor = float(np.median(factors))
    us, piece, more = np.array(both).T
    signed = 100 * ((piece + launch + factor * more) / us - 1)
    plain = 100 * ((piece + launch + more) / us - 1)
    return factor, {
        "rows": len(us), "median_percent": float(np.median(np.abs(signed))), "mean_percent": float(signed.mean()),
        "p90_percent": float(np.quantile(np.abs(signed), 0.9)), "without_mean_percent": float(plain.mean()),
    }  # fmt: skip


def expert_rows(path: Path, board: str, stem: str, model: str, gpus: int) -> list[Rows]:
    """MoE blocks with their router: tokens dealt evenly to the experts that are visited, whose weights exceed the cache."""
    file = path / f"{stem}__profile_moe.csv"
    if not file.is_file():
        return []
    sizes = MODELS[model]
    weights = 2 * 3 * sizes["d_model"] * sizes["d_ff"]
    rows = [(int(r["tokens"]), int(r["activated_experts"]), float(r["time_us"])) for r in rows_of(file)]
    rows = [row for row in rows if row[1] * weights > SHEETS[board][1]["l2_cache_bytes"]]
    tokens, touched, us = np.array(rows).T
    each, more = np.divmod(tokens * sizes["top_k"], touched)
    tiles = np.stack(
        [more * np.ceil((each + 1) / size) + (touched - more) * np.ceil(each / size) for size in TILE_ROWS], axis=-1
    )
    design, loads = one_pass(
        board, model, gpus, tokens=tokens, sequences=1, prompt=0, context=2,
        assignments=tokens * sizes["top_k"], touched=touched, tiles=tiles,
    )  # fmt: skip
    return [Rows("experts", design, loads, lambda layers: layers.experts.total[:, 0] + layers.beside.total, 1e3 * us)]


def predicted(rows: Rows, numbers: dict[str, float]) -> Any:
    """ns of rows with other hardware numbers."""
    hardware = rows.design.hardware.replace(**{key: np.float64(value) for key, value in numbers.items()})
    return rows.read(operators(rows.design.replace(hardware=hardware), rows.loads))


def names_of(prefix: str) -> list[str]:
    """Numbers of a family of 16-bit kernels."""
    other = tuple(f"{prefix}_{width}" for width in ("fp8", "fp4"))
    return [
        key
        for key in GpuHardware.model_fields
        if key.startswith(f"{prefix}_") and not key.startswith(other) and key not in FIXED
    ]


def fit(rows: list[Rows], names: list[str]) -> dict[str, float]:
    """Numbers that fit: least squares in the logarithm; the best of a few starts."""
    bounded = np.array([name.endswith(("efficiency", "exposed")) for name in names])
    start = np.array([float(getattr(rows[0].design.hardware, name)) for name in names])
    start = np.where(bounded, np.clip(start, 2e-3, 0.95), np.maximum(start, 1.5e-3))
    exponent = np.array([name.endswith("exponent") for name in names])
    low, high = np.full(len(names), np.log(1e-3)), np.where(bounded, 0.0, np.where(exponent, np.log(2.0), np.log(1e7)))

    # attention: longer operators weigh more (root of the time); the others, which every step of decoding sequences is made of: alike
    power = 0.5 if rows[0].family in ("prefill", "decode") else 0.0
    weights = [(one.measured_ns / one.measured_ns.mean()) ** power * 10 / np.sqrt(len(one.measured_ns)) for one in rows]

    def residual(logs: Any) -> Any:
        numbers = dict(zip(names, np.exp(logs), strict=True))
        return np.concatenate(
            [
                np.log(predicted(one, numbers) / one.measured_ns) * weight
                for one, weight in zip(rows, weights, strict=True)
            ]
        )

    draw = np.random.default_rng(0)
    starts = [
        np.log(start),
        *(np.clip(np.log(start) + draw.normal(0, 1, len(start)), low + 1e-3, high - 1e-3) for _ in range(2)),
    ]
    runs = [
        least_squares(residual, one, bounds=(low, high), loss="soft_l1", f_scale=0.5, max_nfev=50) for one in starts
    ]
    found = min(runs, key=lambda run: run.cost)
    return {name: float(f"{value:.4g}") for name, value in zip(names, np.exp(found.x), strict=True)}


def sampler_ns(path: Path, board: str) -> float:
    """Sampling of one step: the mean over the measured numbers of sequences up to 64."""
    rows = [r for stem, *_ in PROFILES[board] for r in rows_of(path / f"{stem}__profile_per_sequence.csv")]
    return 1e3 * float(
        np.mean([float(r["time_us"]) for r in rows if r["layer"] == "sampler" and int(r["sequences"]) <= 64])
    )


def fit_board(path: Path, board: str) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Numbers of a board, and errors by family and profile."""
    every: list[tuple[str, Rows]] = []
    for stem, model, gpus in PROFILES[board]:
        for make in (dense_rows, attention_rows, expert_rows):
            every += [(stem, rows) for rows in make(path, board, stem, model, gpus)]
    numbers: dict[str, float] = {}
    report = []
    for family, prefix in FAMILIES.items():
        own = [rows for _, rows in every if rows.family == family]
        if not own:
            continue
        found = fit(own, names_of(prefix))
        numbers |= found
        for stem in dict.fromkeys(stem for stem, _ in every):
            parts = [rows for name, rows in every if name == stem and rows.family == family]
            if not parts:
                continue
            signed = np.concatenate([predicted(rows, found) / rows.measured_ns - 1 for rows in parts])
            size = 100 * np.abs(signed)
            report.append({
                "board": board, "family": family, "profile": stem, "rows": len(signed),
                "median_percent": round(float(np.median(size)), 2), "p90_percent": round(float(np.quantile(size, 0.9)), 2),
                "mean_percent": round(100 * float(signed.mean()), 2),
            })  # fmt: skip
            print(json.dumps(report[-1]), flush=True)
    numbers["pass_fixed_ns"] = float(f"{sampler_ns(path, board):.4g}")
    return numbers, report


def write_preset(board: str, numbers: dict[str, float]) -> None:
    """`configs/hardware/<board>.yaml`: data sheet, fit, and what is assumed."""
    source, sheet = SHEETS[board]
    fitted = "fitted to operator profiles (benchmarks/validation/fit_gpu_profiles.py)"
    lines = [
        f"# {source}.",
        f"# Kernels: {SOURCE}.",
        "# 8-bit and 4-bit kernels were not profiled: they are the H100's numbers.",
    ]
    for key, fact in field_facts(GpuHardware).items():
        value, origin, bounds, assumed = fact["default"], fact["source"], fact["spread"], bool(fact["assumed"])
        if key in sheet:
            value, origin, bounds, assumed = sheet[key], source, None, False
        elif key in numbers:
            value, bounds, assumed = numbers[key], None, False
            origin = (
                "sampler of the operator profiles; the host's work hides behind the step before"
                if key == "pass_fixed_ns"
                else fitted
            )
        elif key in ASSUMED[board]:
            value, bounds, origin = ASSUMED[board][key]
            assumed = origin.startswith("assumption")
        elif origin.startswith("fitted"):
            origin, assumed = "assumption: not profiled, the H100's", True
        line = f'{key}: {{value: {value:.10g}, unit: "{fact["unit"]}", source: "{origin}"'
        if bounds is not None:
            line += f", range: [{bounds[0]:.10g}, {bounds[1]:.10g}]"
        lines.append(line + (", assumed: true}" if assumed else "}"))
    (ROOT / "configs" / "hardware" / f"{BOARDS[board]}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Fit, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fit and print, nothing written")
    arguments = parser.parse_args()
    path = folder("RTX4090_Llama-3.1-8B_tp1__profile_dense.csv")
    rows, boards = [], {}
    for board in PROFILES:
        numbers, report = fit_board(path, board)
        mixed = {stem: mixed_attention(path, stem) for stem, *_ in PROFILES[board]}
        for stem, (factor, left) in mixed.items():
            report.append(
                {"board": board, "family": "mixed attention", "profile": stem}
                | {k: round(v, 2) for k, v in left.items()}
            )
            print(stem, round(factor, 3), report[-1])
        print(board, numbers)
        boards[board] = {
            "hardware": numbers,
            "mixed_attention": {stem: round(factor, 3) for stem, (factor, _) in mixed.items()},
        }
        rows += report
        if not arguments.quick:
            write_preset(board, numbers)
    if not arguments.quick:
        head = {"command": "python benchmarks/validation/fit_gpu_profiles.py", "source": SOURCE, "numbers": boards}
        text = ",\n".join("  " + json.dumps(row) for row in rows)
        RESULTS.write_text(json.dumps(head)[:-1] + ', "rows": [\n' + text + "\n]}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
