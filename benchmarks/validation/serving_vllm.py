"""Serving runs of vLLM on real GPUs, replayed: time to first token, time per token, latency.

    PIMJAX_SERVING=folder python benchmarks/validation/serving_vllm.py
    PIMJAX_SERVING=folder python benchmarks/validation/serving_vllm.py --run RTXPRO6000_Llama-3.1-8B     # one run, printed

The runs (300 requests each), their operator profiles and their settings are LLMServingSim's (casys-kaist, MIT licence); the
folder holds them, and nothing of it is copied. Every run of the folder is replayed twice: with steps from the GPU chip and its
presets ("chip"), which were fitted on the operator profiles (fit_gpu_profiles.py), and with steps that are the profiles
themselves, interpolated ("profiles", benchmarks/lib/vllm_profiles.py). No number is fitted on the runs, but which effects
count was decided with three of them in view. Runs without times (`__requests_untimed.jsonl`) are predicted. Writes
benchmarks/results/serving_vllm.json: errors (simulated - measured) / measured, in %; and docs/images/serving-vllm.png.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.lib import harness
from benchmarks.lib.expert_draws import expert_draws
from benchmarks.lib.gpu_twin import twin_table
from benchmarks.lib.paths import IMAGES
from benchmarks.lib.recorded_runs import (
    TIMED,
    deployment_of,
    engine_of,
    errors,
    figures,
    measured_run,
    profile_of,
    requests_of,
    runs_in,
    server_of,
)
from benchmarks.lib.served_models import MODELS, folder, recorded
from benchmarks.lib.vllm_profiles import profile_table, separability, visited
from pimjax.report.palette import OKABE_ITO
from pimjax.serving import Server, make_requests, make_step_table, request_times, simulate

#: What LLMServingSim reaches on the same runs (its bench/README): mean TTFT, TPOT, latency, %.
PEER = {
    "RTX4090_Llama-3.1-8B": (0.6, 0.2, 0.5),
    "RTXPRO6000_Qwen3-32B": (1.3, 0.8, 1.0),
    "RTXPRO6000_Qwen3-30B-A3B-Instruct-2507": (-13.6, -1.7, -2.2),
}
#: How experts are drawn for steps from profiles: exponent of a Zipf law over the experts.
EXPONENTS = {"uniform": 0.0, "zipf 0.5": 0.5, "zipf 1.0": 1.0}


@functools.cache
def draws(model: str, quick: bool) -> dict[str, Any]:
    """Ways to draw experts where no routing of the model is at hand; a dense model has none."""
    return expert_draws(model, quick=quick) if MODELS[model]["num_experts"] else {"": None}


def tables(place: Path, name: str, quick: bool) -> dict[tuple[str, str], Any]:
    """(where steps come from, how experts are drawn) -> what makes the step table."""
    board, model = recorded(name)
    server, longest = server_of(place, name), requests_of(place, name).longest_context
    found: dict[tuple[str, str], Any] = {}
    for label, trace in draws(model, quick).items():
        found["chip", label] = functools.partial(
            twin_table, board, model, longest=longest, max_num_seqs=server.max_num_seqs, trace=trace,
            tensor_parallel=int(engine_of(place, name)["engine_kwargs"].get("tensor_parallel_size") or 1), ranks=server.ranks if server.lockstep else 1,
        )  # fmt: skip
    stem, deployment = profile_of(place, name), deployment_of(place, name)
    if stem is None:
        print(f"{name}: no operator profiles of this board and model; steps from the chip alone")
        return found
    for label, exponent in (EXPONENTS.items() if deployment.experts and not quick else [("uniform" if deployment.experts else "", 0.0)]):  # fmt: skip
        law = np.arange(1, max(deployment.experts, 1) + 1) ** -exponent
        found["profiles", label] = functools.partial(
            profile_table, stem, deployment, distinct=visited(law / law.sum(), deployment.top_k)
        )
    return found


def replay(
    place: Path, name: str, quick: bool = False, steps: tuple[str, ...] = ("chip", "profiles")
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of one run, and its times: measured, and simulated by the chip with the first way of drawing."""
    requests, server = requests_of(place, name), server_of(place, name)
    timed = place / f"{name}{TIMED}"
    measured = measured_run(timed)[1] if timed.is_file() else None
    rows, curves = [], {} if measured is None else {"measured": measured}
    for (source, label), make in tables(place, name, quick).items():
        if source not in steps:
            continue
        begin = time.perf_counter()
        table = make()
        middle = time.perf_counter()
        run = simulate(requests, server, table)
        seconds = {"seconds": time.perf_counter() - middle, "table_s": middle - begin}
        times = request_times(run)
        curves.setdefault(source, times)
        row: dict[str, Any] = {
            "run": name,
            "steps": source,
            "experts_drawn": label or None,
            "simulated_s": figures(times),
            **seconds,
        }
        if source == "profiles":
            row["attention_apart_percent"] = separability(profile_of(place, name) or place)
        shown: Any = {key: round(value["mean"], 4) for key, value in row["simulated_s"].items()}
        if measured is not None:
            row["measured_s"] = figures(measured)
            row["error_percent"] = errors(row["simulated_s"], row["measured_s"])
            row["peer_error_percent"] = dict(zip(("ttft", "tpot", "latency"), PEER.get(name, (None,) * 3), strict=True))
            shown = {key: round(value["mean"], 2) for key, value in row["error_percent"].items()}
        print(
            f"{name:40} {source:9}{label:19} {'mean errors %' if measured else 'predicted mean s'} {shown}  {row['seconds']:.3f} s",
            flush=True,
        )
        rows.append(row)
    return rows, curves


def draw(curves: dict[str, dict[str, Any]]) -> None:
    """Measured and simulated distributions, one row per run."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = {"ttft": "time to first token [s]", "tpot": "time per further token [ms]", "latency": "latency [s]"}
    styles = {
        "measured": ("black", "-", 2.4),
        "chip": (OKABE_ITO["vermilion"], "-", 1.3),
        "profiles": (OKABE_ITO["sky"], "--", 1.3),
    }
    figure, axes = plt.subplots(len(curves), 3, figsize=(10.5, 2.5 * len(curves)), squeeze=False, layout="constrained")
    for line, (run, times) in zip(axes, curves.items(), strict=True):
        for axis, (key, label) in zip(line, names.items(), strict=True):
            for who, (colour, dashes, width) in styles.items():
                if who in times:
                    values = np.sort(times[who][key][~np.isnan(times[who][key])]) / (1e6 if key == "tpot" else 1e9)
                    axis.plot(
                        values, (np.arange(len(values)) + 1) / len(values), dashes, color=colour, lw=width, label=who
                    )
            axis.set(xlabel=label, ylim=(0, 1), yticks=(0, 0.5, 0.9, 1))
            axis.grid(alpha=0.3)
            axis.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel("part of requests")
        line[1].set_title(run.replace("_", ", ") + ("" if "measured" in times else " (predicted)"), fontsize=10)
    axes[0][0].legend(frameon=False, fontsize=8)
    figure.savefig(IMAGES / "serving-vllm.png", dpi=110)


def main() -> None:
    """Replay the runs and write the errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one way of drawing experts only")
    parser.add_argument("--run", help="one run of the folder by its name; printed, nothing written")
    arguments = parser.parse_args()
    place = folder()
    simulate(make_requests([0.0], 1, 1), Server(), make_step_table(tokens=[1.0]))  # compiles
    known = runs_in(place)
    if arguments.run is not None and arguments.run not in known:
        raise SystemExit(f"--run {arguments.run}: the folder has {', '.join(known)}")
    rows, curves = [], {}
    order = [name for name in PEER if name in known] + [name for name in known if name not in PEER]
    for name in [arguments.run] if arguments.run else order:
        own, curves[name] = replay(place, name, arguments.quick)
        rows += own
    if not arguments.run and not arguments.quick:
        harness.write_json("serving_vllm", {"rows": rows})
        draw(curves)


if __name__ == "__main__":
    main()
