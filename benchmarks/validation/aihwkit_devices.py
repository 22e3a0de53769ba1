"""Phase-change cells here against IBM's AIHWKit: the same random draws of programming noise and drift through both.

    pip install aihwkit==1.1.0 'torch==2.13.0'    # wheels for Python 3.10 to 3.12; 1.2.0 has them for 3.12 and 3.13
    python benchmarks/validation/aihwkit_devices.py [--foundation-models apply_noise_model.py] [--fixture]

Weights are uniform on the 255 levels of 8 bits, so that nothing but the cells differs. AIHWKit's `randn_like` is replaced
by a queue of draws of NumPy, and pimjax's by the same ones: cell by cell the two may then differ by formula only. Compared:
cells, and outputs of a 256 x 256 array, after programming, after an hour and after a day; reads by their spread over
many reads of one chip; AIHWKit's own tile (program, then drift), which merges the two cells of a pair before they drift.
`--foundation-models` gives the script of the repository IBM/analog-foundation-models, whose noise is compared likewise with
the preset `analog_foundation_models`. `--fixture` writes a small case for the tests, `tests/golden/aihwkit_pcm.json`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import types
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import aihwkit
import jax
import jax.numpy as jnp
import numpy as np
import torch
from aihwkit.inference.noise import hermes, pcm

from benchmarks.lib.harness import write_json
from benchmarks.lib.paths import GOLDEN
from pimjax.numerics import Crossbar, noise, program, read
from pimjax.numerics.device import (
    Device,
    analog_foundation_models,
    hermes_one_device,
    hermes_two_device,
    pcm_device,
)
from pimjax.numerics.settings import as_arrays

SIZE, CHIPS, VECTORS, READS = 256, 8, 64, 200
TIMES_S = {"programmed": 20.0, "an hour": 3600.0, "a day": 86_400.0}
LEVELS = 127


class Draws:
    """Standard normal numbers of one chip: writing, drift and read noise of the cells of either sign, `[2, out, in]` each."""

    def __init__(self, generator: np.random.Generator, shape: tuple[int, int]) -> None:
        self.writing, self.drift, self.reading = generator.standard_normal((3, 2, *shape)).astype(np.float32)


@contextmanager
def queued(module: Any, arrays: list[np.ndarray]) -> Any:
    """`randn_like` of an AIHWKit module (or of torch) gives these arrays, one after the other."""
    queue = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]

    def draw(like: torch.Tensor) -> torch.Tensor:
        assert queue[0].shape == like.shape
        return queue.pop(0).to(like.dtype)

    with mock.patch.object(module, "randn_like", draw):
        yield
    assert not queue


def theirs(weights: np.ndarray, draws: Draws, model: Any, module: Any, time_s: float) -> np.ndarray:
    """Weights after programming (at t0) or at a later time, each cell by itself: AIHWKit's `apply_noise`."""
    later = time_s - model.t_0
    order = [array[sign] for sign in (0, 1) for array in (draws.writing, draws.drift, draws.reading)]
    target = torch.from_numpy(weights)
    if later > 0:
        with queued(module, order):
            return model.apply_noise(target, later).numpy()
    with queued(module, [array[sign] for sign in (0, 1) for array in (draws.writing, draws.drift)]):
        return model.apply_programming_noise(target)[0].numpy()


def ours(weights: np.ndarray, draws: Draws, device: Device, time_s: float) -> np.ndarray:
    """The same weights through :func:`pimjax.numerics.program`, without read noise."""
    stored = programmed(weights, draws, device.replace(drift_time_s=time_s))
    return np.asarray(stored.cells[0, 0]) / LEVELS


def programmed(weights: np.ndarray, draws: Draws, device: Device) -> Any:
    crossbar = as_arrays(Crossbar.create(rows=weights.shape[1], adc_ideal=True, device=device), jnp.float32)
    same = jnp.asarray(np.stack([draws.writing, draws.drift])[:, :, None])
    with mock.patch("pimjax.numerics.programming.standard_normal", lambda key, shape, dtype: same.astype(dtype)):
        return program(jnp.asarray(weights), crossbar, key=jax.random.key(0))


def statistics(outputs: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """Slope of outputs `[chips, out, vectors]` on the exact ones, and mean and standard deviation of the rest."""
    slope = float((outputs * exact).sum() / (len(outputs) * (exact**2).sum()))
    rest = outputs - slope * exact
    return {"slope": slope, "mean": float(outputs.mean()), "sd": float(rest.std())}


def compare(
    name: str, weights: np.ndarray, inputs: np.ndarray, model: Any, module: Any, device: Device
) -> list[dict[str, Any]]:
    """The same draws through both, for every time."""
    exact = weights @ inputs
    rows = []
    for label, seconds in TIMES_S.items():
        time_s = model.t_0 if label == "programmed" else seconds
        quiet = [Draws(np.random.default_rng(chip), weights.shape) for chip in range(CHIPS)]
        scale, model.read_noise_scale = model.read_noise_scale, 0.0
        pairs = [
            (theirs(weights, draws, model, module, time_s), ours(weights, draws, device, time_s)) for draws in quiet
        ]
        model.read_noise_scale = scale
        cells = np.array([np.abs(one - other) for one, other in pairs])
        found = [statistics(np.array([pair[side] @ inputs for pair in pairs]), exact) for side in (0, 1)]
        rows.append({
            "device": name, "time": label, "seconds": time_s,
            "aihwkit": found[0], "pimjax": found[1],
            "slope_ratio": found[1]["slope"] / found[0]["slope"], "sd_ratio": found[1]["sd"] / found[0]["sd"],
            "mean_difference_over_sd": (found[1]["mean"] - found[0]["mean"]) / found[0]["sd"],
            "largest_cell_difference": float(cells.max()),
            "cells_that_differ_by_1e-5": float((cells > 1e-5).mean()),
        })  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def compare_reads(
    name: str, weights: np.ndarray, inputs: np.ndarray, model: Any, module: Any, device: Device
) -> dict[str, Any]:
    """Spread of many reads of one chip, a day after programming, around the output without read noise."""
    seconds = TIMES_S["a day"]
    draws = Draws(np.random.default_rng(99), weights.shape)
    generator = np.random.default_rng(100)
    spread = []
    scale, model.read_noise_scale = model.read_noise_scale, 0.0
    still = theirs(weights, draws, model, module, seconds) @ inputs
    model.read_noise_scale = scale
    for _ in range(READS):
        draws.reading = generator.standard_normal(draws.reading.shape).astype(np.float32)
        spread.append(theirs(weights, draws, model, module, seconds) @ inputs - still)
    stored = programmed(weights, draws, device.replace(drift_time_s=seconds))
    crossbar = as_arrays(
        Crossbar.create(rows=weights.shape[1], adc_ideal=True, device=device.replace(drift_time_s=seconds)), jnp.float32
    )
    run = jax.jit(
        lambda key: read(stored, jnp.asarray(inputs), crossbar, key=key) - read(stored, jnp.asarray(inputs), crossbar)
    )
    mine = [np.asarray(run(key)) for key in jax.random.split(jax.random.key(5), READS)]
    row = {"device": name, "time": "a day", "reads": READS, "aihwkit_sd": float(np.std(spread)), "aihwkit_mean": float(np.mean(spread)),
           "pimjax_sd": float(np.std(mine)), "pimjax_mean": float(np.mean(mine))}  # fmt: skip
    row["sd_ratio"] = row["pimjax_sd"] / row["aihwkit_sd"]
    row["sd_ratio_by_formula"] = reading_by_formula(weights, draws, model, module, device.replace(drift_time_s=seconds))
    print(row, flush=True)
    return row


def reading_by_formula(weights: np.ndarray, draws: Draws, model: Any, module: Any, device: Device) -> float:
    """Spread of reads with Q at the target, as here, over that with Q at what was written, as AIHWKit has it."""
    target = np.stack([np.maximum(weights, 0), np.maximum(-weights, 0)])
    written = np.asarray(noise.programmed(jnp.asarray(target), device, draw=jnp.asarray(draws.writing)))
    now = np.asarray(
        noise.drifted(jnp.asarray(written), device, target=jnp.asarray(target), draw=jnp.asarray(draws.drift))
    )

    def relative_noise(conductance: np.ndarray) -> np.ndarray:
        cell = torch.from_numpy(np.maximum(conductance, 1e-7) * model.g_max).float()
        with queued(module, [np.ones(cell.shape, np.float32)]):
            noisy = model.apply_drift_noise_to_conductance(
                cell, torch.zeros_like(cell), float(device.drift_time_s) - model.t_0
            )
        return (noisy / cell - 1).numpy()

    at_target, at_written = ((now * relative_noise(where)) ** 2 for where in (target, written))
    return float(np.sqrt(at_target.sum() / at_written.sum()))


def tile_path(weights: np.ndarray, inputs: np.ndarray, model: Any) -> dict[str, Any]:
    """AIHWKit's tile programs a pair, keeps its difference as one weight, and drifts that as a new pair.

    The silent cell's noise then drifts with the exponent of the cell that is left, instead of with its own.
    """
    exact, later = weights @ inputs, TIMES_S["a day"] - model.t_0
    scale, model.read_noise_scale = model.read_noise_scale, 0.0
    outputs: dict[str, list[np.ndarray]] = {"tile": [], "cells": []}
    for chip in range(CHIPS):
        torch.manual_seed(chip)
        target = torch.from_numpy(weights)
        merged, exponents = model.apply_programming_noise(target)
        outputs["tile"].append(model.apply_drift_noise(merged, exponents, later).numpy() @ inputs)
        torch.manual_seed(1000 + chip)
        outputs["cells"].append(model.apply_noise(target, later).numpy() @ inputs)
    model.read_noise_scale = scale
    found = {name: statistics(np.array(values), exact) for name, values in outputs.items()}
    found_ratio = found["tile"]["sd"] / found["cells"]["sd"]
    row = {
        **found,
        "sd_of_tile_over_cells": found_ratio,
        "slope_of_tile_over_cells": found["tile"]["slope"] / found["cells"]["slope"],
    }
    print(row, flush=True)
    return row


def foundation_models(path: Path, weights: np.ndarray, inputs: np.ndarray) -> list[dict[str, Any]]:
    """The published script's noise and the preset, with the same draws."""
    module = published(path)
    rows = []
    pairs = []
    for chip in range(CHIPS):
        draws = Draws(np.random.default_rng(chip), weights.shape)
        pairs.append((published_noise(module, weights, draws), ours(weights, draws, analog_foundation_models(), 20.0)))
    cells = np.array([np.abs(one - other) for one, other in pairs])
    exact = weights @ inputs
    found = [statistics(np.array([pair[side] @ inputs for pair in pairs]), exact) for side in (0, 1)]
    rows.append({
        "device": "analog_foundation_models", "published": found[0], "pimjax": found[1],
        "slope_ratio": found[1]["slope"] / found[0]["slope"], "sd_ratio": found[1]["sd"] / found[0]["sd"],
        "largest_cell_difference": float(cells.max()),
    })  # fmt: skip
    print(rows[-1], flush=True)
    return rows


def published(path: Path) -> Any:
    """The script of the repository, without the library that only its main program needs."""
    with mock.patch.dict(sys.modules, {"transformers": types.ModuleType("transformers")}):
        sys.modules["transformers"].AutoModelForCausalLM = None
        spec = importlib.util.spec_from_file_location("published_noise", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["published_noise"] = module
        spec.loader.exec_module(module)
    return module


def published_noise(module: Any, weights: np.ndarray, draws: Draws) -> np.ndarray:
    """Weights `[out, in]` with the published noise; the draw of a cell is that of the sign of its weight."""
    mine = np.where(weights >= 0, draws.writing[0], -draws.writing[1])
    with queued(torch, [mine, mine]):
        noisy = module.add_PCM_noise(torch.from_numpy(weights.copy()), module.NoiseConfig(noise_type="pcm"))
    return noisy.numpy()


def whole_weights(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Weights on the levels of 8 bits, each row with one of magnitude 1, so that no scale comes between."""
    weights = generator.integers(-LEVELS, LEVELS + 1, shape)
    weights[:, 0] = LEVELS
    return (weights / LEVELS).astype(np.float32)


def fixture(script: Path | None) -> Path:
    """A small case for the tests: weights as levels, the seed of the draws, and what the others make of them."""
    shape, seed = (6, 10), 1
    weights = whole_weights(np.random.default_rng(0), shape)
    weights[1, 1:4] = 0
    cases: dict[str, Any] = {}
    for name, (model, module, _) in models().items():
        model.read_noise_scale = 0.0
        for label, seconds in TIMES_S.items():
            time_s = model.t_0 if label == "programmed" else seconds
            cells = theirs(weights, Draws(np.random.default_rng(seed), shape), model, module, time_s)
            cases.setdefault(name, {})[f"{time_s:g}"] = [[round(float(value), 7) for value in row] for row in cells]
    if script is not None:
        cells = published_noise(published(script), weights, Draws(np.random.default_rng(seed), shape))
        cases["analog_foundation_models"] = {"20": [[round(float(value), 7) for value in row] for row in cells]}
    payload = {
        "source": f"AIHWKit {aihwkit.__version__}, torch {torch.__version__}; IBM/analog-foundation-models apply_noise_model.py",
        "command": "python benchmarks/validation/aihwkit_devices.py --foundation-models apply_noise_model.py --fixture",
        "draws": "numpy.random.default_rng(seed).standard_normal((3, 2, out, in)) as float32: writing, drift, reading of either sign",
        "seed": seed,
        "levels": (weights * LEVELS).round().astype(int).tolist(),
        "weights_by_time_s": cases,
    }
    path = GOLDEN / "aihwkit_pcm.json"
    path.write_text(json.dumps(payload) + "\n", encoding="utf-8")
    return path


def models() -> dict[str, tuple[Any, Any, Device]]:
    """AIHWKit's model, the module whose draws are replaced, and the preset that stands for it."""
    return {
        "pcm": (pcm.PCMLikeNoiseModel(), pcm, pcm_device()),
        "hermes_two_device": (hermes.HermesNoiseModel(num_devices=2), hermes, hermes_two_device()),
        "hermes_one_device": (hermes.HermesNoiseModel(num_devices=1), hermes, hermes_one_device()),
    }


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--foundation-models", type=Path)
    parser.add_argument("--fixture", action="store_true")
    options = parser.parse_args()
    if options.fixture:
        print(fixture(options.foundation_models))
        return
    generator = np.random.default_rng(2026)
    weights = whole_weights(generator, (SIZE, SIZE))
    inputs = generator.uniform(-1, 1, (SIZE, VECTORS)).astype(np.float32)
    inputs = (np.round(inputs * LEVELS) / LEVELS).astype(np.float32)
    rows, reads = [], []
    for name, case in models().items():
        rows += compare(name, weights, inputs, *case)
        reads.append(compare_reads(name, weights, inputs, *case))
    payload = {
        "aihwkit": aihwkit.__version__,
        "torch": torch.__version__,
        "array": [SIZE, SIZE],
        "chips": CHIPS,
        "vectors": VECTORS,
        "same_draws": rows,
        "reads_of_one_chip": reads,
        "tile_that_merges_pairs": tile_path(weights, inputs, models()["pcm"][0]),
    }
    if options.foundation_models is not None:
        payload["foundation_models"] = foundation_models(options.foundation_models, weights, inputs)
    print(write_json("aihwkit_devices", payload))


if __name__ == "__main__":
    main()
