"""What crossbars do to a trained Mixture-of-Experts language model: perplexity on held-out text.

    python benchmarks/studies/perplexity_study.py            # minutes on a CPU; writes results/perplexity_study.{json,png}
    python benchmarks/studies/perplexity_study.py --quick    # one window, few points, writes perplexity_study_quick.json only

The model is the package's own (causal expert choice: no token sees a later one, so the perplexity is valid). Every matrix
product runs on crossbars, ranges calibrated on training text, perplexity measured on held-out text. Swept: ADC bits,
cell bits, programming noise, drift time, array size, sharing of converters; then hardware-aware fine-tuning through
4-bit converters and through drifted phase-change memory. Beside each ADC resolution stand the energy and area of a
tile with that converter, and the settings that no other beats in all three.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.lib import harness
from benchmarks.lib.paths import RESULTS
from pimjax.circuit import hermes_tile, parametric_tile
from pimjax.nn import corpus
from pimjax.nn.convert import ModelRanges, calibrate_model, model_loss
from pimjax.nn.finetune import finetune
from pimjax.nn.language_model import load_parameters
from pimjax.nn.training import evaluate
from pimjax.numerics import Crossbar
from pimjax.numerics.device import Device, pcm_device
from pimjax.resources import data_folder

DAY_S, MONTH_S, YEAR_S = 86_400.0, 2_592_000.0, 31_536_000.0


class Study:
    """The model, its text, and one way to measure it; collects rows."""

    def __init__(self, router: str, quick: bool) -> None:
        self.parameters, self.config = load_parameters(data_folder() / f"language_model_{router}.npz")
        text = corpus.help_topics()
        length, windows = 129, 1 if quick else 8
        self.held_out = jnp.asarray(corpus.windows(text.held_out, length, windows, 2027))
        self.calibration = jnp.asarray(corpus.windows(text.train, length - 1, 4, 2028))
        self.training = corpus.windows(text.train, length, 2 * 4 if quick else 200 * 4, 2029)
        self.chips = 1 if quick else 3
        self.rows: list[dict[str, Any]] = []
        self.exact = math.exp(evaluate(self.parameters, self.config, np.asarray(self.held_out)))
        self.add("exact", "float32", self.exact)

    def add(self, sweep: str, value: Any, perplexity: float, **more: Any) -> None:
        self.rows.append({"sweep": sweep, "value": value, "perplexity": perplexity, **more})
        print(f"{sweep:26s} {value!s:>22s}  perplexity {perplexity:8.3f}", flush=True)

    def ranges(self, crossbar: Crossbar, method: str = "percentile") -> ModelRanges:
        return calibrate_model(self.parameters, self.calibration, self.config, crossbar, method=method)

    def perplexity(
        self,
        crossbar: Crossbar,
        ranges: ModelRanges,
        *,
        parameters: Any = None,
        groups: Any = None,
        noisy: bool = False,
    ) -> dict[str, float]:
        """Perplexity, mean and spread over chips (the keys are the same for every setting: paired chips)."""
        keys = [jax.random.key(chip) for chip in range(self.chips)] if noisy else [None]
        losses = [
            float(
                model_loss(
                    self.parameters if parameters is None else parameters,
                    self.held_out,
                    ranges,
                    crossbar,
                    config=self.config,
                    chip_key=key,
                    read_key=None if key is None else jax.random.fold_in(key, 1),
                    group_of_expert=groups,
                )
            )
            for key in keys
        ]
        result = {"perplexity": math.exp(float(np.mean(losses)))}
        if noisy:
            result |= {"chips": len(keys), "least": math.exp(min(losses)), "most": math.exp(max(losses))}
        return result

    def batches(self) -> jax.Array:
        return jnp.asarray(self.training).reshape(-1, 4, self.training.shape[1])


def with_device(crossbar: Crossbar, **levels: Any) -> Crossbar:
    """The crossbar with phase-change cells of these levels, as arrays (no recompilation between settings)."""
    cells = pcm_device(**levels)
    return Crossbar.create(
        rows=crossbar.rows, cols=crossbar.cols, adc_range=crossbar.adc_range, adc_bits=float(crossbar.adc_bits),
        device=cells,
    )  # fmt: skip


def tile_costs(adc_bits: int, rows: int) -> dict[str, float]:
    """Energy and area of one tile with such converters (parametric, scaled to the measured HERMES core at 8 bits)."""
    tile = dataclasses.replace(hermes_tile(), rows=float(rows), active_rows=float(rows), adc_bits=float(adc_bits))
    cost = jax.jit(parametric_tile)(tile)
    return {"tile_energy_nj": float(cost.mvm_energy_nj), "tile_area_mm2": float(cost.core_area_mm2)}


def sweep_converters(study: Study, quick: bool) -> None:
    base = Crossbar.create(rows=64, cols=64)
    for bits in (4, 8) if quick else (2, 3, 4, 5, 6, 7, 8, 10):
        for method in ("percentile", "mse"):
            crossbar = dataclasses.replace(base, adc_bits=jnp.float32(bits))
            result = study.perplexity(crossbar, study.ranges(crossbar, method))
            study.add(f"adc_bits_{method}", bits, **result, **tile_costs(bits, 64))
    ideal = dataclasses.replace(base, adc_ideal=jnp.float32(1))
    study.add("adc_bits_percentile", "ideal", **study.perplexity(ideal, study.ranges(ideal)))


def sweep_cells(study: Study, quick: bool) -> None:
    base = Crossbar.create(rows=64, cols=64, max_slices=7, cell_bits=7)
    for cell_bits in (2,) if quick else (1, 2, 3, 4, 7):
        for adc_bits in (6,) if quick else (4, 6, 8):
            crossbar = dataclasses.replace(base, cell_bits=jnp.float32(cell_bits), adc_bits=jnp.float32(adc_bits))
            result = study.perplexity(crossbar, study.ranges(crossbar))
            study.add(f"cell_bits_adc_{adc_bits}", cell_bits, **result, slices=math.ceil(7 / cell_bits))


def sweep_arrays(study: Study, quick: bool) -> None:
    for rows in (32,) if quick else (8, 16, 32, 64):
        for adc_bits in (6,) if quick else (4, 6, 8):
            crossbar = Crossbar.create(rows=rows, cols=rows, adc_bits=adc_bits)
            result = study.perplexity(crossbar, study.ranges(crossbar))
            study.add(f"array_rows_adc_{adc_bits}", rows, **result, **tile_costs(adc_bits, rows))


def sweep_devices(study: Study, quick: bool) -> None:
    base = Crossbar.create(rows=64, cols=64)
    ranges = study.ranges(base)
    for scale in (1.0,) if quick else (0.0, 0.5, 1.0, 2.0, 4.0):
        crossbar = with_device(base, programming_scale=scale, read_scale=scale, drift_scale=0.0)
        study.add("pcm_noise_scale", scale, **study.perplexity(crossbar, ranges, noisy=True))
    for seconds in (DAY_S,) if quick else (20.0, 3600.0, DAY_S, MONTH_S, YEAR_S):
        for flag, name in ((0, "pcm_drift_time_s"), (1, "pcm_drift_time_s_compensated")):
            crossbar = with_device(base, drift_time_s=seconds, drift_compensation=flag)
            study.add(name, seconds, **study.perplexity(crossbar, ranges, noisy=True))
    experts = jnp.arange(study.config.num_experts)
    for size in (2,) if quick else (1, 2, 4, 8):
        for mode, name in ((1, "per_converter"), (2, "per_crossbar")):
            crossbar = Crossbar.create(
                rows=64, cols=64, adc_gain_spread=0.0709, path_gain_spread=0.0709, adc_calibration=mode, device=Device()
            )
            result = study.perplexity(crossbar, ranges, groups=experts // size, noisy=True)
            study.add(f"shared_by_g_{name}", size, **result)


def recover(study: Study, quick: bool) -> None:
    base = Crossbar.create(rows=64, cols=64)
    cases = [("adc_4_bits", dataclasses.replace(base, adc_bits=jnp.float32(4)), None)]
    if not quick:
        cases.append(
            ("pcm_after_a_day", with_device(base, drift_time_s=DAY_S, drift_compensation=1), jax.random.key(7))
        )
    for name, crossbar, key in cases:
        ranges = study.ranges(crossbar, "mse" if key is None else "percentile")
        before = study.perplexity(crossbar, ranges, noisy=key is not None)
        begin = time.perf_counter()
        tuned = finetune(study.parameters, ranges, study.batches(), study.config, crossbar, key=key, learning_rate=6e-4)
        seconds = time.perf_counter() - begin
        after = study.perplexity(crossbar, tuned.ranges, parameters=tuned.parameters, noisy=key is not None)
        # The same updates on the exact model: what more training alone would have given.
        exact = math.exp(evaluate(tuned.parameters, study.config, np.asarray(study.held_out)))
        study.add(f"before_tuning_{name}", "converted", **before)
        study.add(f"after_tuning_{name}", "tuned", **after, seconds=seconds, exact_perplexity_of_tuned_weights=exact)


def pareto(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Settings that no other setting beats or equals in perplexity, energy and area at once."""
    keys = ("perplexity", "tile_energy_nj", "tile_area_mm2")
    points = [row for row in rows if all(key in row for key in keys) and row["sweep"].startswith("adc_bits")]

    def beaten(row: dict[str, Any]) -> bool:
        mine = [row[key] for key in keys]
        others = ([other[key] for key in keys] for other in points if other is not row)
        return any(all(a <= b for a, b in zip(o, mine, strict=True)) and o != mine for o in others)

    return [row for row in points if not beaten(row)]


def markdown(study: Study, best: list[dict[str, Any]]) -> str:
    lines = ["| sweep | value | perplexity | range over chips |", "|---|---|---|---|"]
    for row in study.rows:
        spread = f"{row['least']:.3f} to {row['most']:.3f}" if "least" in row else ""
        lines.append(f"| {row['sweep']} | {row['value']} | {row['perplexity']:.3f} | {spread} |")
    lines += ["", "| not beaten | perplexity | tile energy (nJ) | tile area (mm2) |", "|---|---|---|---|"]
    for row in best:
        costs = f"{row['tile_energy_nj']:.2f} | {row['tile_area_mm2']:.3f}"
        lines.append(f"| {row['sweep']} {row['value']} | {row['perplexity']:.3f} | {costs} |")
    return "\n".join(lines) + "\n"


def figure(study: Study, target: Path) -> None:
    import matplotlib
    import matplotlib.ticker

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = (
        ("ADC bits", ("adc_bits_percentile", "adc_bits_mse"), False),
        ("cell bits", ("cell_bits_adc_4", "cell_bits_adc_6", "cell_bits_adc_8"), False),
        ("rows of an array", ("array_rows_adc_4", "array_rows_adc_6", "array_rows_adc_8"), True),
        ("noise, times phase-change memory's", ("pcm_noise_scale",), False),
        ("drift time (s)", ("pcm_drift_time_s", "pcm_drift_time_s_compensated"), True),
        ("crossbars per converter", ("shared_by_g_per_converter", "shared_by_g_per_crossbar"), True),
    )
    drawing, axes = plt.subplots(2, 3, figsize=(11, 6.5), constrained_layout=True)
    for axis, (label, sweeps, logarithmic) in zip(axes.flat, panels, strict=True):
        for sweep in sweeps:
            points = [row for row in study.rows if row["sweep"] == sweep and not isinstance(row["value"], str)]
            axis.plot([row["value"] for row in points], [row["perplexity"] for row in points], "o-", label=sweep)
        axis.axhline(study.exact, color="black", linewidth=0.8, linestyle="--")
        axis.set_xlabel(label)
        axis.set_ylabel("perplexity (dashed: float32)")
        values = sorted({float(x) for line in axis.lines[:-1] for x in line.get_xdata()})
        if logarithmic:
            axis.set_xscale("log")
            axis.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
            axis.set_xticks(values, [f"{value:.0e}" if value > 999 else f"{value:g}" for value in values])
        heights = [float(y) for line in axis.lines for y in line.get_ydata()]
        if max(heights) > 10 * min(heights):
            axis.set_yscale("log")
        axis.legend(fontsize=7)
    drawing.savefig(target, dpi=130)
    plt.close(drawing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one window and a few points; table and figure stay")
    parser.add_argument("--router", default="expert_choice", choices=("expert_choice", "token_choice"))
    options = parser.parse_args()
    begin = time.perf_counter()
    study = Study(options.router, options.quick)
    for part in (sweep_converters, sweep_cells, sweep_arrays, sweep_devices, recover):
        part(study, options.quick)
    best = pareto(study.rows)
    payload = {
        "router": options.router,
        "held_out_tokens": int(study.held_out.size),
        "exact_perplexity": study.exact,
        "rows": study.rows,
        "pareto_perplexity_energy_area": best,
        "seconds": time.perf_counter() - begin,
    }
    if options.quick:
        print(harness.write_json("perplexity_study_quick", payload))
        return
    suffix = "" if options.router == "expert_choice" else f"_{options.router}"
    print(harness.write_json(f"perplexity_study{suffix}", payload))
    figure(study, RESULTS / f"perplexity_study{suffix}.png")
    print(markdown(study, best))


if __name__ == "__main__":
    main()
