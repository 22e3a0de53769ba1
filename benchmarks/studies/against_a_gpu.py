"""Models on the chips sized for them and on GPUs: tokens per second, energy per token and area, by batch and context, with error bars.

    python benchmarks/studies/against_a_gpu.py [--quick]

One decode step of every point: the same model, tokens and experts on the PIM preset of the model and on the fewest GPUs
(1, 2, 4 or 8, tensor parallel) whose memory holds weights and caches. Error bars of the PIM chip: its hardware numbers drawn from
their ranges at three batches, in between taken over from the nearest. Of a GPU: the median error of measured serving runs
(`benchmarks/results/gpu_end_to_end.json`) and its powers drawn from their ranges. Writes
`benchmarks/results/against_a_gpu.json`, `docs/images/against_a_gpu.png` and `docs/against-a-gpu.md`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pimjax
from benchmarks.lib.against_page import PAGE, draw_figure, page_text
from benchmarks.lib.harness import write_json
from benchmarks.lib.paths import COMMITTED, IMAGES
from pimjax import status
from pimjax.circuit.uncertainty import draw_between
from pimjax.config.build import build
from pimjax.estimation.beside import load_beside, same_run
from pimjax.estimation.uncertainty import uncertain_fields
from pimjax.serving.chip_steps import ChipSteps

MODELS = ("olmoe_1b_7b", "llama_moe_3_5b_4_16", "deepseek_v2_lite", "gpt_oss_20b", "qwen3_30b_a3b", "mixtral_8x7b")
GPUS = ("h100", "h200")
BATCHES, CONTEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256), (512, 4096, 32_768)
DRAWN_BATCHES, DRAWN_CONTEXT, DRAWS = (1, 16, 256), 4096, 32


def gpu_time_error() -> float:
    """Median relative error of the time per token of measured serving runs."""
    rows = json.loads((COMMITTED / "gpu_end_to_end.json").read_text(encoding="utf-8"))["rows"]
    [found] = [row["median_error"]["with_prompts_mixed_in"] for row in rows if row.get("all_models") == "all"]
    return found / 100


def step_tokens(batch: int) -> list[tuple[int, int]]:
    """(recorded request, position) of a step: sequences of different requests, each somewhere else in its own."""
    return [(index, 7 * index) for index in range(batch)]


def cost_at(steps: ChipSteps, point: Any, context: int, changes: dict[str, float] | None = None) -> dict[str, Any]:
    """One decode step, from its configuration and inputs; memory is what this context asks for."""
    config, inputs = point
    batch = config.workload.batch_size
    config = config.model_copy(
        update={"workload": config.workload.model_copy(update={"max_context_tokens": context + 1})}
    )
    design, capacity = build(config)
    if changes:
        design = design.set({f"hardware.{name}": np.float64(value) for name, value in changes.items()})
    with np.errstate(all="ignore"):
        cost = steps.chip.cost(design, inputs, capacity=capacity, fidelity="closed", critical=False)
    ns, nj = float(cost.latency_ns), float(np.sum(cost.component_energy_nj))
    return {
        "tokens_per_s": 1e9 * batch / ns,
        "energy_per_token_j": 1e-9 * nj / batch,
        "area_mm2": float(np.sum(cost.component_area_mm2)),
        "fits": not int(cost.status) & status.DOES_NOT_FIT,
    }


def drawn(config: pimjax.Config, names: list[str], count: int) -> list[dict[str, float]]:
    """Hardware numbers drawn from their ranges, independently."""
    ranges = {name: values for name, values in uncertain_fields(config).items() if name in names}
    uniform = np.random.default_rng(0).random((len(ranges), count))
    columns = {
        name: np.asarray(draw_between(low, value, high, row))
        for row, (name, (low, value, high, _)) in zip(uniform, ranges.items(), strict=True)
    }
    return [{name: float(column[index]) for name, column in columns.items()} for index in range(count)]


def interval(nominal: dict[str, Any], draws: list[dict[str, Any]]) -> dict[str, list[float]]:
    """5 % and 95 % of the drawn values, over the nominal one."""
    names = ("tokens_per_s", "energy_per_token_j", "area_mm2")
    return {
        name: [float(np.quantile([one[name] / nominal[name] for one in draws], q)) for q in (0.05, 0.95)]
        for name in names
    }


def pim_intervals(steps: ChipSteps, count: int) -> dict[int, dict[str, list[float]]]:
    """Relative intervals of the PIM chip at a few batches."""
    fields = list(uncertain_fields(steps.config))
    changes = drawn(steps.config, fields, count)
    found = {}
    for batch in DRAWN_BATCHES:
        point = steps.decode_point(step_tokens(batch), DRAWN_CONTEXT)
        each = [cost_at(steps, point, DRAWN_CONTEXT, one) for one in (None, *changes)]
        found[batch] = interval(each[0], each[1:])
    return found


def gpu_interval(energies: list[dict[str, Any]], nominal: dict[str, Any]) -> dict[str, list[float]]:
    """Relative interval of a GPU: the time's error, and energy over its powers."""
    error, energy = gpu_time_error(), interval(nominal, energies)["energy_per_token_j"]
    return {
        "tokens_per_s": [1 / (1 + error), 1 / (1 - error)],
        "energy_per_token_j": [energy[0] * (1 - error), energy[1] * (1 + error)],
        "area_mm2": [1.0, 1.0],
    }


def on_gpus(
    config: pimjax.Config, name: str, batches: tuple[int, ...], contexts: tuple[int, ...], count: int
) -> list[dict[str, Any]]:
    """Points of a model on the fewest GPUs that hold it."""
    base = same_run(config, load_beside(name))
    each = {n: ChipSteps(pimjax.load_config(base.model_dump(), {"hardware.gpus": n}), longest_context=max(contexts) + 1) for n in (1, 2, 4, 8)}  # fmt: skip
    powers = drawn(base, ["idle_power_w", "memory_bound_power_w", "compute_bound_power_w"], count)
    rows = []
    for batch in batches:
        for context in contexts:
            for gpus, steps in each.items():
                point = steps.decode_point(step_tokens(batch), context)
                nominal = cost_at(steps, point, context)
                if nominal["fits"] or gpus == max(each):
                    bars = gpu_interval([cost_at(steps, point, context, one) for one in powers], nominal)
                    rows.append({"on": name, "gpus": gpus, "batch": batch, "context": context, **nominal, "relative": bars})  # fmt: skip
                    break
    return rows


def study(models: tuple[str, ...], batches: tuple[int, ...], contexts: tuple[int, ...], count: int) -> dict[str, Any]:
    """Every model on the chip and on GPUs."""
    rows = []
    for name in models:
        config = pimjax.load_config(name)
        steps = ChipSteps(config, longest_context=max(contexts) + 1)
        bars = pim_intervals(steps, count)
        for batch in batches:
            near = min(DRAWN_BATCHES, key=lambda one: abs(np.log(one / batch)))
            for context in contexts:
                point = cost_at(steps, steps.decode_point(step_tokens(batch), context), context)
                rows.append({"model": name, "on": "chip", "gpus": 0, "batch": batch, "context": context, **point, "relative": bars[near]})  # fmt: skip
        for gpu in GPUS:
            rows += [{"model": name, **row} for row in on_gpus(config, gpu, batches, contexts, count)]
        last = rows[-1]
        print(f"{name}: {len(rows)} points, last {last['on']} x {last['gpus']}: {last['tokens_per_s']:,.0f} tokens/s", flush=True)  # fmt: skip
    return {"gpu_time_error": gpu_time_error(), "draws": count, "rows": rows}


def main() -> None:
    """Compute, write JSON, figure, page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one model, few points, nothing written")
    options = parser.parse_args()
    if options.quick:
        study(MODELS[:1], (1, 16), (4096,), 4)
        return
    found = study(MODELS, BATCHES, CONTEXTS, DRAWS)
    print("wrote", write_json("against_a_gpu", found))
    draw_figure(found, IMAGES / "against_a_gpu.png")
    PAGE.write_text(page_text(found), encoding="utf-8")


if __name__ == "__main__":
    main()
