"""Which parts of a Mixture-of-Experts language model to keep digital, and what noise does to its routing and its costs.

    python benchmarks/studies/digital_parts.py            # 10 minutes on two cores; writes results/digital_parts.json
    python benchmarks/studies/digital_parts.py --only routing costs    # of the maps that are there, and the figure
    python benchmarks/studies/digital_parts.py --quick    # one model, few points, writes digital_parts_quick.json

The models are the package's own, every matrix on 64 x 64 crossbars whose cells have the published error of a HERMES
chip's weights (`numerics.device: analog_foundation_models`), at its level and at twice it. Parts become digital one
after the other in several orders; scores and orders come from training text, perplexity is measured on held-out text,
the same drawn chips for every map. Orders:

* sensitivity: what one backward pass says a part adds to the loss, per weight
* greedy: the part that lowers the measured loss most per weight, step by step
* dense first, then experts by sensitivity, maximum neuron norm (arXiv 2603.02633), activation frequency, or drawn

A chip keeps attention, routers or the head digital in all layers at once, so a map has all layers of a kind as soon as the
order has one. Every map is costed as a configuration of the same chip: `plan.expert_tile: mixed` with these experts in
`plan.digital_experts`, these kinds in `plan.digital_dense`. Not beaten: no other map of the same model and noise is as good
in perplexity, energy and area.

Then the routing: what the routers choose through the crossbars at several noise levels, recorded as traces, and what loads,
makespan, latency and energy follow from them on the multiplexed chip.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax
import jax.numpy as jnp
import numpy as np

import pimjax
from benchmarks.lib.harness import write_json
from benchmarks.lib.paths import IMAGES, RESULTS
from pimjax.estimation.accuracy import best_trades
from pimjax.nn import corpus
from pimjax.nn.analog_parts import all_parts, from_vector, part_names, part_weights
from pimjax.nn.convert import calibrate_model
from pimjax.nn.description import model_section, plan_section
from pimjax.nn.language_model import load_parameters
from pimjax.nn.recording import record_crossbar_traces, record_traces
from pimjax.nn.sensitivity import (
    activation_frequency,
    digital_order,
    greedy_order,
    neuron_norm_scores,
    noise_sensitivity,
    part_losses,
)
from pimjax.numerics.from_config import crossbar_from_config
from pimjax.resources import data_folder

#: The chip without a network and with one cheap memory channel: a stack of fast memory would dwarf so small a model.
BASE = "paper_crossbars"
ROUTERS = ("token_choice", "expert_choice")
NOISE_SCALES = (1.0, 2.0)
DRAWN_ORDERS = 2
CHIP = {
    "plan.tile": "parametric",
    "hardware.crossbar_rows": 64,
    "hardware.crossbar_cols": 64,
    "numerics.device": "analog_foundation_models",
    "workload.prompt_tokens": 128,
}


class Study:
    """One language model under one noise level: text, ranges, chips, and the configuration that is costed."""

    def __init__(self, router: str, noise_scale: float, quick: bool) -> None:
        self.parameters, self.language = load_parameters(data_folder() / f"language_model_{router}.npz")
        section = {f"model.{key}": value for key, value in model_section(self.language).items()}
        self.settings = {**section, **CHIP, "numerics.noise_scale": noise_scale}
        self.config = pimjax.load_config(BASE, self.settings)
        self.crossbar = crossbar_from_config(self.config)
        text = corpus.help_topics()
        windows, tokens = (2, 33) if quick else (4, 129)
        self.held_out = jnp.asarray(corpus.windows(text.held_out, tokens, windows, 2027))
        self.training = jnp.asarray(corpus.windows(text.train, tokens, windows, 2028))
        self.few = self.training[:2]
        numerics = self.config.numerics
        self.ranges = calibrate_model(
            self.parameters,
            self.training[:, :-1],
            self.language,
            self.crossbar,
            method=numerics.adc_range,
            percentile=numerics.adc_range_percentile,
        )
        # Chips that scores are made on, and others that perplexity is measured on.
        self.scored_on = jax.random.split(jax.random.key(7), 1 if quick else 2)
        self.measured_on = jax.random.split(jax.random.key(11), 1 if quick else 2)

    def losses(self, maps: np.ndarray, windows: Any, keys: Any) -> np.ndarray:
        """Mean loss of maps `[N, P]`, always by the same compiled program: 8 maps, 2 windows, 1 chip."""
        count = len(maps)
        padded = np.concatenate([maps, np.ones((-count % 8, maps.shape[1]))])
        total = np.zeros(len(padded))
        pairs = [windows[begin : begin + 2] for begin in range(0, len(windows), 2)]
        for chunk in range(0, len(padded), 8):
            parts = from_vector(padded[chunk : chunk + 8], self.language)
            for pair in pairs:
                for index in range(len(keys)):
                    found = part_losses(
                        self.parameters, pair, parts, self.ranges, self.crossbar,
                        config=self.language, chip_keys=keys[index : index + 1],
                    )  # fmt: skip
                    total[chunk : chunk + 8] += np.asarray(found, np.float64)
        return total[:count] / (len(pairs) * len(keys))


def scores(study: Study, greedy: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What is known of every part before anything is measured on held-out text, and the orders made of it."""
    language, names, size = study.language, part_names(study.language), part_weights(study.language)
    ones = np.ones(len(names))
    begin = time.perf_counter()
    sensitivity = noise_sensitivity(
        study.parameters,
        study.training,
        study.ranges,
        study.crossbar,
        config=language,
        chip_keys=study.scored_on,
    )
    seconds = time.perf_counter() - begin
    fine = noise_sensitivity(
        study.parameters,
        study.training,
        study.ranges,
        study.crossbar,
        config=language,
        chip_keys=study.scored_on,
        levels=3,
    )
    maps = np.concatenate([[ones, 0 * ones], ones - np.eye(len(names))])
    losses = study.losses(maps, study.few, study.scored_on)
    analog, digital = map(float, losses[:2])
    saved = analog - losses[2:]
    norms = neuron_norm_scores(study.parameters)
    frequency = activation_frequency(study.parameters, study.training[:, :-1], language)
    dense = 2 * language.num_layers + 1
    expert_scores = {
        "sensitivity": sensitivity[dense:],
        "neuron_norm": norms.reshape(-1),
        "frequency": frequency.reshape(-1),
        "neuron_norm_x_frequency": (norms * frequency).reshape(-1),
    }
    report = {
        "analog_loss": analog,
        "digital_loss": digital,
        "sensitivity_sum": float(sensitivity.sum()),
        "sensitivity_sum_of_3_levels": float(fine.sum()),
        "backward_seconds_with_compiling": seconds,
        "parts": [
            {"part": name, "weights": int(size[index]), "sensitivity": float(sensitivity[index]),
             "saved_if_digital": float(saved[index])}
            for index, name in enumerate(names)
        ],
        "rank_correlation_of_experts_with_saved_if_digital": {
            name: rank_correlation(value, saved[dense:]) for name, value in expert_scores.items()
        },
        "rank_correlation_of_parts_with_saved_if_digital": rank_correlation(sensitivity, saved),
    }  # fmt: skip
    orders = {
        "sensitivity": digital_order(language, sensitivity / size, dense_first=False),
        "dense, sensitivity": digital_order(language, sensitivity / size),
        "dense, neuron norm": digital_order(language, norms),
        "dense, frequency": digital_order(language, frequency),
    }
    for seed in range(DRAWN_ORDERS):
        drawn = np.random.default_rng(seed).random(norms.shape)
        orders[f"dense, drawn {seed}"] = digital_order(language, drawn)
    experts_only = np.concatenate([np.full(dense, -1.0), norms.reshape(-1)])
    orders["neuron norm, dense last"] = digital_order(language, experts_only, dense_first=False)
    if greedy:
        begin = time.perf_counter()
        orders["greedy"] = greedy_order(lambda maps: study.losses(maps, study.few, study.scored_on[:1]), language)
        report["greedy_seconds"] = time.perf_counter() - begin
    return report, orders


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rank correlation of two vectors without ties."""
    ranks = [np.argsort(np.argsort(values)) for values in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


def curves(study: Study, orders: dict[str, np.ndarray], quick: bool) -> list[dict[str, Any]]:
    """Held-out perplexity while parts become digital in every order."""
    language = study.language
    count, size = len(part_names(language)), part_weights(language)
    dense = 2 * language.num_layers + 1
    numbers = [0, 3, dense, dense + 4, dense + 8, dense + 12, dense + 24, count]
    rows, maps = [], []
    for name, order in orders.items():
        for digital in [0, dense, count] if quick else numbers:
            levels = np.ones(count)
            levels[order[:digital]] = 0
            levels = whole_kinds(levels, language.num_layers)
            if maps and rows[-1]["order"] == name and (levels == maps[-1]).all():
                continue
            maps.append(levels)
            rows.append({
                "router": language.router,
                "noise_scale": study.config.numerics.noise_scale,
                "order": name,
                "digital_parts": int((levels == 0).sum()),
                "analog_share": float(levels @ size / size.sum()),
            })  # fmt: skip
    losses = study.losses(np.array(maps), study.held_out, study.measured_on)
    for row, levels, loss in zip(rows, maps, losses, strict=True):
        row["perplexity"] = math.exp(loss)
        row["digital"] = [int(part) for part in np.flatnonzero(levels == 0)]
    return rows


def whole_kinds(levels: np.ndarray, num_layers: int) -> np.ndarray:
    """A map in which attention and routers are digital in every layer where they are in one."""
    closed = levels.copy()
    for begin in (0, num_layers):
        closed[begin : begin + num_layers] = levels[begin : begin + num_layers].min()
    return closed


def costs(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Energy, area and latency of every map, into the rows; the rows that are not beaten."""
    front = []
    for router in dict.fromkeys(row["router"] for row in rows):
        parameters, language = load_parameters(data_folder() / f"language_model_{router}.npz")
        section = {f"model.{key}": value for key, value in model_section(language).items()}
        window = corpus.windows(corpus.help_topics().held_out, 128, 1, 2027)
        trace = record_traces(parameters, language, list(window), keep_scores="chosen").request(0)
        known: dict[str, Any] = {}
        for scale in dict.fromkeys(row["noise_scale"] for row in rows):
            mine = [row for row in rows if row["router"] == router and row["noise_scale"] == scale]
            results = []
            for row in mine:
                key = str(row["digital"])
                if key not in known:
                    levels = np.ones(len(part_names(language)))
                    levels[row["digital"]] = 0
                    plan = plan_section(from_vector(levels, language))
                    settings = {
                        **section,
                        **CHIP,
                        "numerics.noise_scale": scale,
                        **{f"plan.{name}": value for name, value in plan.items()},
                    }
                    config = pimjax.load_config(BASE, settings)
                    known[key] = pimjax.estimate(config, trace, fidelity="fluid")
                result = known[key].replace(perplexity=row["perplexity"])
                row |= {name: float(getattr(result, name)) for name in ("energy_nj", "area_mm2", "latency_ns")}
                results.append(result)
            front += [mine[index] for index in best_trades(results)]
    return front


def routing(study: Study, quick: bool) -> list[dict[str, Any]]:
    """Choices recorded through the crossbars: loads, makespan, latency and energy at several noise levels."""
    language = study.language
    requests = [np.asarray(window) for window in study.held_out[:, :-1]]
    exact = record_traces(study.parameters, language, requests, keep_scores="chosen")
    dense = all_parts(language, 0.0)
    everything = all_parts(language)
    cases: list[tuple[str, float, Any]] = [("exact", 0.0, None)]
    cases += [("all parts", scale, everything) for scale in ((1.0,) if quick else (0.0, 0.5, 1.0, 2.0, 4.0))]
    if not quick:
        cases += [
            ("routers only", scale, dense.replace(router=jnp.ones(language.num_layers))) for scale in (1.0, 2.0, 4.0)
        ]
        cases += [("all but routers", scale, everything.replace(router=dense.router)) for scale in (1.0, 2.0, 4.0)]
    rows = []
    for name, scale, parts in cases:
        device = study.crossbar.device
        base = study.settings["numerics.noise_scale"]
        crossbar = dataclasses.replace(
            study.crossbar,
            device=dataclasses.replace(device, programming_scale=device.programming_scale * scale / base),
        )
        chips = study.measured_on if name != "exact" and scale > 0 else study.measured_on[:1]
        found = []
        for key in chips:
            if name == "exact":
                trace = exact
            else:
                trace = record_crossbar_traces(
                    study.parameters, language, requests, study.ranges, crossbar,
                    chip_key=key, read_key=jax.random.fold_in(key, 1), parts=parts,
                )  # fmt: skip
            found.append(measured_routing(study, exact, trace))
        means = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
        rows.append({"router": language.router, "noisy": name, "noise_scale": scale, "chips": len(chips), **means})
        print(rows[-1], flush=True)
    return rows


def measured_routing(study: Study, exact: Any, trace: Any) -> dict[str, float]:
    """One recorded trace beside that of the exact model: means over requests, layers and tokens."""
    before, after = np.asarray(exact.choices), np.asarray(trace.choices)
    loads = after.sum(axis=2)  # [R, L, E]
    costs = [pimjax.estimate(study.config, trace.request(index), fidelity="fluid") for index in range(after.shape[0])]
    makespans = [
        pimjax.schedule_cost(choices, np.arange(loads.shape[-1]) // 4, policy="compact", num_groups=loads.shape[-1] // 4).makespan
        for request in after for choices in request
    ]  # fmt: skip
    return {
        "choices_changed_share": float((before & ~after).sum() / before.sum()),
        "tokens_changed_share": float((before != after).any(axis=-1).mean()),
        "largest_load_over_mean": float((loads.max(axis=-1) / loads.mean(axis=-1)).mean()),
        "makespan_groups_of_4": float(np.mean(makespans)),
        "latency_ns": float(np.mean([float(cost.latency_ns) for cost in costs])),
        "energy_nj": float(np.mean([float(cost.energy_nj) for cost in costs])),
    }


def figure(rows: list[dict[str, Any]], front: list[dict[str, Any]], target: Path) -> None:
    """Perplexity against the analog share, and what a map costs; one row of panels for each noise level of a model."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cases = list(dict.fromkeys((row["router"], row["noise_scale"]) for row in rows))
    drawing, axes = plt.subplots(len(cases), 2, figsize=(9, 3.2 * len(cases)), constrained_layout=True, squeeze=False)
    for (left, right), (router, scale) in zip(axes, cases, strict=True):
        mine = [row for row in rows if (row["router"], row["noise_scale"]) == (router, scale)]
        for name in dict.fromkeys(row["order"] for row in mine):
            points = [row for row in mine if row["order"] == name]
            drawn = "drawn" in name
            style: dict[str, Any] = {"color": "0.7", "linestyle": ":"} if drawn else {"marker": "o", "markersize": 3}
            left.plot([row["analog_share"] for row in points], [row["perplexity"] for row in points], label=name, linewidth=1, **style)  # fmt: skip
        shown = right.scatter(
            [row["energy_nj"] / 1e3 for row in mine], [row["perplexity"] for row in mine],
            c=[row["area_mm2"] for row in mine], s=14, cmap="viridis",
        )  # fmt: skip
        best = [row for row in front if (row["router"], row["noise_scale"]) == (router, scale)]
        right.scatter([row["energy_nj"] / 1e3 for row in best], [row["perplexity"] for row in best],
                      s=50, facecolors="none", edgecolors="black", linewidths=0.8, label="not beaten")  # fmt: skip
        drawing.colorbar(shown, ax=right, label="area (mm2)")
        left.set(xlabel="analog share of the weights", ylabel=f"perplexity, noise x {scale:g}", title=router)
        right.set(xlabel="energy of a prompt of 128 tokens (uJ)", title=router)
        left.invert_xaxis()
        left.legend(fontsize=6)
        right.legend(fontsize=6)
    drawing.savefig(target, dpi=110)
    plt.close(drawing)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--routers", nargs="+", choices=ROUTERS, default=ROUTERS)
    parser.add_argument(
        "--only", nargs="+", choices=("routing", "costs"), help="of the points in results/digital_parts.json"
    )
    options = parser.parse_args()
    begin = time.perf_counter()
    name = "digital_parts_quick" if options.quick else "digital_parts"
    if options.only:
        payload = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        facts = payload.pop("environment")
        payload.setdefault("scores_and_perplexity_command", facts["command"])
        payload["config"] = {"preset": BASE, **CHIP}
        if "costs" in options.only:
            payload["not_beaten"] = costs(payload["rows"])
            write_json(name, payload)
        if "routing" in options.only:
            routers = list(dict.fromkeys(row["router"] for row in payload["rows"]))
            payload["routing"] = [row for router in routers for row in routing(Study(router, 1.0, False), False)]
        print(write_json(name, payload))
        if "costs" in options.only:
            figure(payload["rows"], payload["not_beaten"], IMAGES / "digital_parts.png")
        return
    payload = {"config": {"preset": BASE, **CHIP}, "scores": [], "rows": [], "routing": []}
    if not options.quick and len(options.routers) < len(ROUTERS) and (RESULTS / f"{name}.json").is_file():
        before = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        for part in ("scores", "rows", "routing"):  # what is there of the other model stays
            payload[part] = [row for row in before[part] if row["router"] not in options.routers]
    for router in ROUTERS[:1] if options.quick else options.routers:
        for scale in NOISE_SCALES[:1] if options.quick else NOISE_SCALES:
            study = Study(router, scale, options.quick)
            found, orders = scores(study, greedy=not options.quick and scale == NOISE_SCALES[0])
            payload["scores"].append({"router": router, "noise_scale": scale, **found})
            payload["rows"] += curves(study, orders, options.quick)
            shown = {key: value for key, value in found.items() if key != "parts"}
            print(router, scale, shown, f"{time.perf_counter() - begin:.0f} s", flush=True)
            payload["seconds"] = time.perf_counter() - begin
            write_json(name, payload)  # so that what is measured stays, whatever comes
        payload["routing"] += routing(study, options.quick)
        write_json(name, payload)
        payload["not_beaten"] = costs(payload["rows"])
        payload["seconds"] = time.perf_counter() - begin
        print(write_json(name, payload), flush=True)
    if not options.quick:
        figure(payload["rows"], payload["not_beaten"], IMAGES / "digital_parts.png")


if __name__ == "__main__":
    main()
