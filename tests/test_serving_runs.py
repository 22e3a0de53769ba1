"""Recorded serving runs of vLLM against the GPU chip and its presets, and the presets against their committed fit."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.lib.served_models import BOARDS, recorded  # noqa: E402

FOLDER = Path(os.environ.get("PIMJAX_SERVING", "../shared/serving"))
#: run -> largest error of the means of time to first token, time per token, latency [%]
ASKED = {
    "RTX4090_Llama-3.1-8B": (6, 4, 4),
    "RTXPRO6000_Qwen3-32B": (6, 4, 4),
    "RTXPRO6000_Qwen3-30B-A3B-Instruct-2507": (15, 5, 5),
}
TIMES = ("ttft", "tpot", "latency")


def committed(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("board", BOARDS)
def test_presets_are_those_of_the_committed_fit(board) -> None:
    preset = yaml.safe_load((ROOT / "configs" / "hardware" / f"{BOARDS[board]}.yaml").read_text(encoding="utf-8"))
    numbers = committed("fit_gpu_profiles")["numbers"][board]["hardware"]
    assert {key: preset[key]["value"] for key in numbers} == pytest.approx(numbers)
    assert all("fitted" in preset[key]["source"] or key == "pass_fixed_ns" for key in numbers)


@pytest.mark.parametrize("run", ASKED)
def test_committed_errors(run) -> None:
    """The chip's means, experts drawn uniformly, are as near as asked."""
    row = next(row for row in committed("serving_vllm")["rows"] if row["run"] == run and row["steps"] == "chip")
    assert row["experts_drawn"] in (None, "uniform")
    for name, limit in zip(TIMES, ASKED[run], strict=True):
        assert abs(row["error_percent"][name]["mean"]) <= limit, name


@pytest.mark.parametrize("run", ASKED)
def test_replayed_errors(run) -> None:
    """The same, replayed from the folder of recorded runs."""
    if not (FOLDER / f"{run}__requests.jsonl").is_file():
        pytest.skip(f"{FOLDER} (PIMJAX_SERVING) has no recorded serving runs")
    from benchmarks.validation.serving_vllm import replay

    rows, _ = replay(FOLDER, run, quick=True, steps=("chip",))
    for name, limit in zip(TIMES, ASKED[run], strict=True):
        assert abs(rows[0]["error_percent"][name]["mean"]) <= limit, name


def test_a_run_without_times_is_predicted() -> None:
    name = "RTXPRO6000_Llama-3.1-8B"
    if not (FOLDER / f"{name}__requests_untimed.jsonl").is_file():
        pytest.skip(f"{FOLDER} (PIMJAX_SERVING) has no recorded arrivals without times")
    from benchmarks.validation.serving_vllm import replay

    rows, curves = replay(FOLDER, name, quick=True, steps=("chip",))
    assert "error_percent" not in rows[0]
    assert 0 < rows[0]["simulated_s"]["tpot"]["mean"] < rows[0]["simulated_s"]["latency"]["mean"]
    assert list(curves) == ["chip"]


def test_unknown_boards_end_the_script() -> None:
    with pytest.raises(SystemExit, match="no known board"):
        recorded("TPUv4_Llama-3.1-8B")
