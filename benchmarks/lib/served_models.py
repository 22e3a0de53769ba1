"""Models and GPUs of the recorded serving runs: sizes of the models' published config.json, data sheets of the boards."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pimjax
from benchmarks.lib.paths import ROOT

#: name in file names -> keys of the section `model`
MODELS: dict[str, dict[str, Any]] = {
    "Llama-3.1-8B": {
        "d_model": 4096, "d_ff": 14336, "vocab_size": 128_256, "num_layers": 32, "num_experts": 0, "top_k": 1,
        "num_heads": 32, "num_kv_heads": 8, "head_dim": 128, "activation": "swiglu",
    },
    "Qwen3-32B": {
        "d_model": 5120, "d_ff": 25600, "vocab_size": 151_936, "num_layers": 64, "num_experts": 0, "top_k": 1,
        "num_heads": 64, "num_kv_heads": 8, "head_dim": 128, "activation": "swiglu", "qk_norm": "head",
    },
    "Qwen3-30B-A3B": {
        "d_model": 2048, "d_ff": 768, "vocab_size": 151_936, "num_layers": 48, "num_experts": 128, "top_k": 8,
        "num_heads": 32, "num_kv_heads": 4, "head_dim": 128, "activation": "swiglu", "qk_norm": "head",
    },
}  # fmt: skip
#: name in file names -> preset
BOARDS = {"RTX4090": "rtx_4090", "RTXPRO6000": "rtx_pro_6000"}


class Recorded(NamedTuple):
    """What a stem of file names such as `RTXPRO6000_Qwen3-32B` says."""

    board: str
    model: str


def recorded(stem: str) -> Recorded:
    """Board and model of a run's or a profile's file name; the run ends where the name says no known one.

    >>> recorded("RTXPRO6000_Qwen3-30B-A3B-Instruct-2507__requests.jsonl")
    Recorded(board='RTXPRO6000', model='Qwen3-30B-A3B')
    """
    board, _, rest = stem.partition("_")
    model = next((name for name in sorted(MODELS, key=len, reverse=True) if rest.startswith(name)), None)
    if board not in BOARDS or model is None:
        raise SystemExit(f"{stem}: no known board ({', '.join(BOARDS)}) and model ({', '.join(MODELS)})")
    return Recorded(board, model)


def board_config(board: str, model: str, gpus: int = 1, *, fitted: bool = True, **hardware: float) -> pimjax.Config:
    """A GPU with a model, keys and values in bfloat16; without its preset where that is still to be fitted."""
    base = {"chip_model": "gpu", "hardware": BOARDS[board] if fitted else {}, "model": MODELS[model]}
    changed = {f"hardware.{key}": value for key, value in {"gpus": gpus, **hardware}.items()}
    return pimjax.load_config(
        base, {**changed, "workload.kv_bytes": 2, "workload.kv_cache": True, "workload.trace.kind": "uniform"}
    )


def folder(wanted: str = "RTX4090_Llama-3.1-8B__requests.jsonl") -> Path:
    """Folder of the recorded runs (PIMJAX_SERVING); the script ends where it is missing."""
    import os

    path = Path(os.environ.get("PIMJAX_SERVING", ROOT.parent / "shared" / "serving"))
    if not (path / wanted).is_file():
        raise SystemExit(f"no recorded serving runs at {path}: set PIMJAX_SERVING to the folder that holds them")
    return path
