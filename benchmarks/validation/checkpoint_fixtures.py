"""Tiny random checkpoints and transformers' own outputs on them, for the tests that run without torch.

    pip install 'pimjax[hf]' safetensors
    python benchmarks/validation/checkpoint_fixtures.py

Writes tests/golden/checkpoints/NAME/ (config.json, safetensors, expected.npz); prints how far `pimjax.nn.load_checkpoint`
is from transformers for each, which `tests/test_checkpoint_models.py` checks.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
import transformers

from benchmarks.lib.paths import GOLDEN
from benchmarks.lib.tiny_checkpoints import (
    CASES,
    PROMPT_TOKENS,
    draw_tokens,
    make_checkpoint,
    reference_decode,
    reference_pass,
)
from pimjax.nn import load_checkpoint

FOLDER = GOLDEN / "checkpoints"


def main() -> None:
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    tokens = draw_tokens()
    for name in CASES:
        folder = FOLDER / name
        for old in folder.glob("*"):
            old.unlink()
        model = make_checkpoint(name, folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        expected = reference_pass(model, tokens)
        expected["decoded_logits"] = reference_decode(model, tokens, PROMPT_TOKENS)
        np.savez_compressed(folder / "expected.npz", **expected)
        own = load_checkpoint(folder)(tokens)
        size = sum(file.stat().st_size for file in folder.iterdir())
        same = np.array_equal(np.sort(own.experts, -1), np.sort(expected["experts"], -1))
        worst = {
            part: float(np.abs(np.asarray(getattr(own, part)) - expected[part]).max())
            for part in ("logits", "hidden", "router_logits")
        }
        print(f"{name:18} {size / 1e3:6.0f} kB  choices equal: {same}  largest differences: {worst}")


if __name__ == "__main__":
    main()
