"""What sharing peripherals among experts is worth: time, energy, area efficiency, and the alternatives.

Routing: the first `--tokens` tokens of GPT-OSS-20B requests at four layers (folder: PIMJAX_TRACES; synthetic routing
where it is missing). Chip: GPT-OSS-20B's before it was sized, with the load time set to a given part of the slot interval.
Two baselines, always on the same trace: g = 1 token_wise (the paper's), g = 1 with the same policy (what sharing alone
gives). MoE area efficiency = passes / (T_moe (A_moe + A_buf)). The load time is the study's own axis, so its chips have no
wires (`system: none`); the section `wires` has the same plans with dies, wires and links, whose loads take no less than
their way into a die's network.

    python benchmarks/studies/worth_study.py            # under a minute of CPU time
    python benchmarks/studies/worth_study.py --quick
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.lib.harness import environment, write_json
from benchmarks.lib.paths import DECODE_TRACES, IMAGES, trace_folder
from benchmarks.lib.unsized import unsized
from pimjax.chips.multiplexed import multiplexed_cost
from pimjax.chips.multiplexed.durations import durations
from pimjax.chips.run_cost import COMPONENT_INDEX
from pimjax.config import Capacity, Config, build, load_config
from pimjax.runs.inputs import schedule_inputs
from pimjax.status import raise_if_bad
from pimjax.trace.files import load_traces
from pimjax.trace.routing import RoutingTrace

POLICIES = ("token_wise", "compact", "reschedule", "packed")
RATIOS = (0.1, 0.35, 1.5)
MAP_RATIOS = (0.05, 0.1, 0.2, 0.35, 0.7, 1.0, 1.5, 2.5, 4.0)
MAP_FRACTIONS = (0.4, 0.5, 0.6, 0.7, 0.8)
FEW, MANY = 5.0, 512.0  # digital units: the paper's, and so many that they never limit
STAGE_NS = 131.6  # the slot interval that ratios refer to
LAYERS = (0, 8, 16, 23)


def routing(requests: int, tokens: int) -> list[RoutingTrace]:
    """Requests at four layers."""
    file = trace_folder() / DECODE_TRACES
    if file.is_file():
        loaded = load_traces(file, requests=list(range(requests)), max_tokens=tokens)
        return [
            jax.tree.map(lambda leaf: leaf[np.array(LAYERS)] if leaf.ndim else leaf, loaded.request(r))
            for r in range(requests)
        ]
    rng = np.random.default_rng(0)
    made = []
    for _ in range(requests):
        scores = rng.random((4, tokens, 32)) + 0.6 * rng.random((4, 1, 32))
        made.append(RoutingTrace.from_expert_ids(np.argsort(-scores, axis=-1)[..., :4], 32))
    return made


def configuration(policy: str, size: int, grouping: str, tokens: int, *, network: str = "none", **plan: Any) -> Config:
    """GPT-OSS-20B at four layers, one load link whose bandwidth is set later."""
    base = load_config(unsized("gpt_oss_20b"), {"model.num_layers": 4, "workload.prompt_tokens": tokens})
    content = base.model_dump(mode="json", exclude={"sources"})
    content["plan"] |= {"policy": policy, "group_size": size, "grouping": grouping, "barrier": True, **plan}
    content["hardware"] |= {"input_links": 1.0}
    content["system"] |= {"network": network}
    content["model"]["published_parameters"] = content["model"]["published_active_parameters"] = None
    return load_config(content)


class Evaluator:
    """One compiled program for all configurations of the study, vectorised over hardware points."""

    def __init__(self, tokens: int) -> None:
        self.capacity = Capacity(
            max_tokens=tokens, max_experts=32, max_top_k=4, max_layers=4, max_groups=32, max_slots=4 * tokens,
            tile_kinds=("calibrated", "parametric"),
        )  # fmt: skip
        self.tokens = tokens
        self.schedules: dict[Any, Any] = {}

        def point(design: Any, schedule: Any, values: Any) -> dict[str, Any]:
            bandwidth, fraction, units = values
            hardware = design.hardware.replace(
                link_bandwidth_gb_per_s=bandwidth, shareable_fraction=fraction, num_digital_units=units
            )
            cost = multiplexed_cost(
                design.replace(hardware=hardware), schedule, capacity=self.capacity, fidelity="fluid", critical=False
            )
            return {
                "moe_ns": cost.moe_latency_ns,
                "energy_nj": cost.moe_energy_nj,
                "area": cost.moe_area_mm2,
                "buffers": cost.component_area_mm2[COMPONENT_INDEX["buffers"]],
                "passes": schedule.prompt.passes.sum(),
                "status": cost.status,
            }

        self.program = jax.jit(jax.vmap(point, in_axes=(None, None, 0)))

    def __call__(self, config: Config, traces: list[RoutingTrace], points: np.ndarray) -> dict[str, np.ndarray]:
        """Means over the traces, one entry per point `(t_load ratio, s, units)`."""
        design, _ = build(config)
        groups = np.full(32, -1, np.int32)
        groups[: len(design.plan.group_of_expert)] = design.plan.group_of_expert[:32]
        design = design.replace(plan=design.plan.replace(group_of_expert=groups))
        bandwidth = config.model.d_model / (points[:, 0] * STAGE_NS)
        values = np.stack([bandwidth, points[:, 1], points[:, 2]], axis=1)
        rows = []
        for index, trace in enumerate(traces):
            plan = config.plan
            key = (
                *(plan.policy, plan.group_size, plan.grouping, plan.input_hold, plan.share == "none", index),
                *(() if config.system.network == "none" else (config.system.network,)),
            )
            if key not in self.schedules:
                self.schedules[key] = schedule_inputs(config, trace, fidelity="fluid", capacity=self.capacity)
            with jax.enable_x64(True):
                found = jax.tree.map(np.asarray, self.program(design, self.schedules[key], tuple(values.T)))
            raise_if_bad(found.pop("status"))
            rows.append(found)
        mean = {name: np.mean([row[name] for row in rows], axis=0) for name in rows[0]}
        mean["efficiency"] = np.mean(
            [row["passes"] / (row["moe_ns"] * (row["area"] + row["buffers"])) for row in rows], axis=0
        )
        return mean


def tables(evaluate: Evaluator, traces: list[RoutingTrace], sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """T_moe, energy and efficiency of every plan against both baselines."""
    points = np.array([(ratio, 0.8, units) for ratio in RATIOS for units in (FEW, MANY)])
    rows = []
    for accumulate in ("local", "digital"):
        base = {
            policy: evaluate(
                configuration(policy, 1, "uniform", evaluate.tokens, accumulate=accumulate), traces, points
            )
            for policy in POLICIES
        }
        for size, policy in itertools.product(sizes, POLICIES):
            found = base[policy] if size == 1 else evaluate(
                configuration(policy, size, "sorted", evaluate.tokens, accumulate=accumulate), traces, points
            )  # fmt: skip
            for index, (ratio, _, units) in enumerate(points):
                rows.append(
                    {
                        "accumulate": accumulate, "g": size, "policy": policy, "t_load/t_stage": ratio, "units": units,
                        "moe_ns_per_token_and_layer": found["moe_ns"][index] / evaluate.tokens / 4,
                        "nj_per_token_and_layer": found["energy_nj"][index] / evaluate.tokens / 4,
                        "moe_mm2": found["area"][index], "buffers_mm2": found["buffers"][index],
                        "gain_over_token_wise": found["efficiency"][index] / base["token_wise"]["efficiency"][index],
                        "gain_of_sharing_alone": found["efficiency"][index] / base[policy]["efficiency"][index],
                    }
                )  # fmt: skip
    return rows


def wires(evaluate: Evaluator, traces: list[RoutingTrace], sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """Time and gain of plans on chips whose wires and links are counted, against the same baseline with wires."""
    points = np.array([(ratio, 0.8, units) for ratio in RATIOS for units in (FEW, MANY)])
    base = evaluate(configuration("token_wise", 1, "uniform", evaluate.tokens, network="dies"), traces, points)
    rows = []
    for size, policy in itertools.product(sizes, ("token_wise", "packed")):
        grouping = "uniform" if size == 1 else "sorted"
        found = evaluate(configuration(policy, size, grouping, evaluate.tokens, network="dies"), traces, points)
        for index, (ratio, _, units) in enumerate(points):
            rows.append(
                {
                    "g": size, "policy": policy, "t_load/t_stage": ratio, "units": units,
                    "moe_ns_per_token_and_layer": found["moe_ns"][index] / evaluate.tokens / 4,
                    "gain_over_token_wise": found["efficiency"][index] / base["efficiency"][index],
                }
            )  # fmt: skip
    return rows


def regime_map(evaluate: Evaluator, traces: list[RoutingTrace], sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """The plan with the best MoE area efficiency over t_load/t_stage x s, with few and with many units."""
    points = np.array([(r, s, u) for u in (FEW, MANY) for r in MAP_RATIOS for s in MAP_FRACTIONS])
    found = {}
    for size, policy in itertools.product(sizes, POLICIES):
        for grouping in ("uniform", "sorted") if size > 1 else ("uniform",):
            found[policy, grouping, size] = evaluate(
                configuration(policy, size, grouping, evaluate.tokens), traces, points
            )["efficiency"]
    names, values = list(found), np.array(list(found.values()))
    baseline = found["token_wise", "uniform", 1]
    out = []
    for index, (ratio, fraction, units) in enumerate(points):
        winner = names[int(values[:, index].argmax())]
        best_alone = max(found[policy, "uniform", 1][index] for policy in POLICIES)
        out.append(
            {
                "units": units, "t_load/t_stage": ratio, "s": fraction, "policy": winner[0], "grouping": winner[1], "g": winner[2],
                "gain_over_token_wise": values[:, index].max() / baseline[index],
                "gain_over_best_without_sharing": values[:, index].max() / best_alone,
            }
        )  # fmt: skip
    return out


def alternatives(evaluate: Evaluator, traces: list[RoutingTrace]) -> list[dict[str, Any]]:
    """Other ways to spend or save the same area; efficiency against g = 1 with the packed policy."""
    tokens = evaluate.tokens
    points = np.array([(ratio, 0.8, MANY) for ratio in RATIOS])
    rows = []

    def add(name: str, found: dict[str, np.ndarray], note: str = "") -> None:
        for index, ratio in enumerate(RATIOS):
            rows.append(
                {
                    "alternative": name, "note": note, "t_load/t_stage": ratio,
                    "moe_ns_per_token_and_layer": found["moe_ns"][index] / tokens / 4, "moe_mm2": found["area"][index],
                    "gain": found["efficiency"][index] / base["efficiency"][index],
                }
            )  # fmt: skip

    base = evaluate(configuration("packed", 1, "uniform", tokens), traces, points)
    add("none (g = 1, packed)", base)
    for size in (2, 4):
        add(
            f"share among experts, g = {size}",
            evaluate(configuration("packed", size, "sorted", tokens), traces, points),
        )
    add("share = pair, g = 1", evaluate(configuration("packed", 1, "uniform", tokens, share="pair"), traces, points))
    add("share = pair, g = 2", evaluate(configuration("packed", 2, "sorted", tokens, share="pair"), traces, points))
    for columns in (1.0, 2.0, 4.0):
        config = configuration("packed", 1, "uniform", tokens, tile="parametric")
        config = config.model_copy(update={"hardware": config.hardware.model_copy(update={"columns_per_adc": columns})})
        add(f"{columns:g} columns per ADC, g = 1", evaluate(config, traces, points), "parametric tile")
    return rows


def deeper_buffer(evaluate: Evaluator, traces: list[RoutingTrace]) -> list[dict[str, Any]]:
    """Unlimited input buffers let loads run ahead: slots then cost max(all loads, all stages), whatever the order.

    Lower bound of the slots of `compact` with such buffers against real double buffers under each policy.
    """
    rows = []
    for size in (2, 4):
        for policy in POLICIES:
            config = configuration(policy, size, "sorted", evaluate.tokens)
            evaluate(config, traces, np.array([(0.35, 0.8, MANY)]))
            for ratio in RATIOS:
                load = ratio * STAGE_NS
                double, deep = [], []
                for index in range(len(traces)):
                    windows = evaluate.schedules[policy, size, "sorted", False, False, index].prompt
                    count = np.arange(windows.load_hist.shape[-1])
                    double.append((windows.load_hist @ np.maximum(STAGE_NS, count * load)).sum())
                    later = np.maximum(windows.makespan - 1, 0)  # as in the histogram: the first slot is apart
                    deep.append(np.maximum(later * STAGE_NS, (windows.loads - windows.first_loads) * load).sum())
                rows.append(
                    {
                        "g": size, "policy": policy, "t_load/t_stage": ratio,
                        "double_buffer_ns_per_token_and_layer": float(np.mean(double)) / evaluate.tokens / 4,
                        "unlimited_buffer_ns_per_token_and_layer": float(np.mean(deep)) / evaluate.tokens / 4,
                    }
                )  # fmt: skip
    return rows


def across_layers(layers: int = 24) -> list[dict[str, Any]]:
    """Batch-1 decode runs one layer at a time: layers may share peripherals without ever waiting for each other."""
    rows = []
    for size, shared in itertools.product((1, 2, 4), (1, 2, 4, 8, 24)):
        design, _ = build(configuration("compact", size, "uniform", 1))
        with jax.enable_x64(True):
            time = durations(design, size * shared)
        fraction, area = 0.8, 0.634
        factor = (1 - fraction) + fraction / (size * shared) + 0.00102 / area * (size * shared > 1)
        rows.append(
            {
                "g": size, "layers_that_share": shared, "area_factor": float(factor), "multiplexer_ns": float(time.mux),
                "pass_ns": float(time.a + time.d), "experts_mm2": float(factor * area * 32 * layers * 12 * 36),
            }
        )  # fmt: skip
    return rows


def draw(result: dict[str, Any], target: Path) -> None:
    """Regime map: the winning plan over t_load/t_stage and s, coloured by its gain."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    short = {"token_wise": "token", "compact": "comp", "reschedule": "resch", "packed": "pack"}
    figure, axes = plt.subplots(2, 1, figsize=(9, 6.4), sharex=True, constrained_layout=True)
    for axis, units in zip(axes, (FEW, MANY), strict=True):
        rows = {(r["t_load/t_stage"], r["s"]): r for r in result["regime_map"] if r["units"] == units}
        gains = np.array([[rows[ratio, s]["gain_over_token_wise"] for ratio in MAP_RATIOS] for s in MAP_FRACTIONS])
        image = axis.imshow(gains, origin="lower", aspect="auto", cmap="viridis", vmin=1, vmax=3)
        for (y, s), (x, ratio) in itertools.product(enumerate(MAP_FRACTIONS), enumerate(MAP_RATIOS)):
            row = rows[ratio, s]
            text = f"{short[row['policy']]} g={row['g']}\n{row['grouping'][:4]} {gains[y, x]:.2f}x"
            axis.text(x, y, text, ha="center", va="center", fontsize=7, color="white" if gains[y, x] < 2.2 else "black")
        axis.set_yticks(range(len(MAP_FRACTIONS)), [f"{s:g}" for s in MAP_FRACTIONS])
        axis.set_xticks(range(len(MAP_RATIOS)), [f"{ratio:g}" for ratio in MAP_RATIOS])
        axis.set_ylabel("s, shareable part of the core")
        axis.set_title(f"{units:g} digital units", fontsize=10, loc="left")
    axes[1].set_xlabel("t_load / t_stage")
    figure.colorbar(image, ax=axes, label="MoE area efficiency against g = 1, token by token")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tokens", type=int, default=511)
    parser.add_argument("--requests", type=int, default=3)
    arguments = parser.parse_args()
    tokens, requests = (48, 1) if arguments.quick else (arguments.tokens, arguments.requests)
    sizes = (1, 2) if arguments.quick else (1, 2, 4, 8)
    traces = routing(requests, tokens)
    evaluate = Evaluator(tokens)
    result: dict[str, Any] = {"tokens": tokens, "requests": requests, "layers": LAYERS, "stage_ns": STAGE_NS}
    result["tables"] = tables(evaluate, traces, sizes)
    result["wires"] = wires(evaluate, traces, sizes)
    result["regime_map"] = regime_map(evaluate, traces, sizes)
    result["alternatives"] = alternatives(evaluate, traces)
    result["deeper_buffer"] = deeper_buffer(evaluate, traces)
    result["across_layers"] = across_layers()
    for row in result["tables"]:
        if row["units"] == MANY and row["accumulate"] == "local":
            print(f"g={row['g']} {row['policy']:10s} t_load/t_stage {row['t_load/t_stage']:4.2f}: {row['moe_ns_per_token_and_layer']:7.1f} ns/token, "
                  f"{row['gain_over_token_wise']:.2f}x over token_wise g=1, {row['gain_of_sharing_alone']:.2f}x by sharing alone")  # fmt: skip
    for row in result["alternatives"]:
        print(f"{row['alternative']:32s} t_load/t_stage {row['t_load/t_stage']:4.2f}: {row['gain']:.2f}x")
    print({key: value for key, value in environment().items() if key in ("device", "jax", "cpu_cores")})
    if not arguments.quick:
        draw(result, IMAGES / "worth_regimes.png")
        print(
            write_json(
                "worth_study",
                jax.tree.map(
                    lambda leaf: float(leaf) if isinstance(leaf, (np.floating, jnp.ndarray)) else leaf, result
                ),
            )
        )


if __name__ == "__main__":
    main()
