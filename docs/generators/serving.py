"""Tables of docs/serving.md from committed results."""

from __future__ import annotations

from typing import Any

from generators.results import at, table


def steps() -> str:
    """Errors of step tables."""
    rows = []
    for row in at("serving_steps", "rows") or ():
        error, served = row["step_error_percent"], row["served_error_percent"]
        rows.append(
            (
                f"`{row['config']}`",
                *(
                    f"{error[name]['mean_absolute']:.2f} / {error[name]['largest']:.2f}"
                    for name in ("own tokens", "mean batch", "prompt")
                ),
                *(f"{served[name]:+.2f}" for name in ("ttft", "tpot", "latency")),
            )
        )
    head = (
        "chip and model",
        "decode step %, mean / largest",
        "with a mean batch",
        "prompt",
        "mean TTFT % of a run",
        "TPOT",
        "latency",
    )
    return table(head, rows)


def speed() -> str:
    """Times of the engines."""
    rows = [(_described(row), f"{row['seconds']:.3g} s") for row in at("serving_speed", "rows") or ()]
    return table(("what", "time after compilation"), rows)


def _described(row: dict[str, Any]) -> str:
    parts = [row["what"]]
    if "engine" in row:
        parts.append(
            f"engine {row['engine']}{'' if row['engine'] == 'scan' else ', compiled' if row['numba'] else ', uncompiled'}"
        )
    parts += [f"{row[key]:,} {key}" for key in ("chips", "requests", "steps") if key in row]
    if row.get("routed"):
        parts.append("routing of every step's own tokens")
    return ", ".join(parts)


def vllm() -> str:
    """Errors against measured runs, next to the peer's; runs without times are predicted."""
    rows = []
    for row in at("serving_vllm", "rows") or ():
        error, peer = row.get("error_percent"), row.get("peer_error_percent") or {}
        names = ("ttft", "tpot", "latency")
        if error is None:
            cells = [f"{row['simulated_s'][name]['mean']:.3g} s" for name in names]
            cells.append(f"{row['simulated_s']['ttft']['p50']:.3g} s")
        else:
            cells = [f"{error[name]['mean']:+.1f}{_peer(peer.get(name))}" for name in names]
            cells.append(f"{error['ttft']['p50']:+.1f}")
        rows.append((row["run"].replace("__", " "), row["steps"], row["experts_drawn"] or "dense", *cells, f"{row['seconds']:.2g} s"))  # fmt: skip
    head = ("run", "steps from", "experts", "TTFT % (LLMServingSim)", "TPOT %", "latency %", "median TTFT %", "time of simulation")  # fmt: skip
    return table(head, rows)


def _peer(value: float | None) -> str:
    return "" if value is None else f" ({value:+.1f})"


def boards() -> str:
    """How near the presets' kernels are to the operator profiles that they were fitted to."""
    rows = [
        (
            row["board"],
            row["family"],
            row["profile"],
            f"{row['rows']:,}",
            f"{row['median_percent']:.1f} / {row['p90_percent']:.1f}",
            f"{row['mean_percent']:+.1f}",
        )
        for row in at("fit_gpu_profiles", "rows") or ()
    ]
    return table(("board", "kernels", "profile", "rows", "median / 90th percentile of the error %", "mean %"), rows)


def study() -> str:
    """What every chip serves within the limits."""
    rows = []
    for row in at("serving_study", "rows") or ():
        if not row["capacity_per_s"]:
            rows.append((row["chip"], row["arrivals"], row["limits"], f"0 (alone: {row['alone_ttft_p99_s']:.2g} s to the first token)", *["-"] * 6))  # fmt: skip
            continue
        rows.append(
            (
                row["chip"],
                row["arrivals"],
                row["limits"],
                f"{row['capacity_per_s']:.3g} / {row['goodput_per_s']:.3g}",
                f"{row['mean_power_w']:.3g}",
                f"{row['idle_share']:.0%}",
                f"{row['goodput_per_w']:.3g}",
                f"{1e3 * row['goodput_per_mm2']:.3g}",
                f"{row['mean_running']:.3g}",
                f"{row['recorded_per_s'] / row['goodput_per_s']:.2g}",
            )
        )
    head = (
        "chip", "arrivals", "limits", "capacity / goodput there [1/s]", "power [W]", "of it between steps", "goodput per W", "per 1000 mm2",
        "running on average", "chips for the recorded rate",
    )  # fmt: skip
    return table(head, rows)


def sharing() -> str:
    """What a decode step takes, by batch."""
    sizes = (1, 8, 64)
    rows: dict[tuple[str, int], dict[int, dict[str, float]]] = {}
    for row in at("serving_study", "decode") or ():
        rows.setdefault((row["chip"], row["context"]), {})[row["sequences"]] = row
    lines = [
        (
            chip,
            f"{context:,}",
            *(f"{by[size]['step_us'] / 1e3:.3g}" for size in sizes),
            f"{by[1]['recomputed_us'] / by[1]['step_us']:.3g} x",
        )
        for (chip, context), by in rows.items()
    ]
    head = (
        "chip",
        "cached tokens",
        *(f"step of {size} [ms]" for size in sizes),
        "without keys and values, one sequence",
    )
    return table(head, lines)


def memory() -> str:
    """Goodput by memory for keys and values."""
    rows = [
        (
            row["chip"],
            f"{row['kv_tokens']:,}",
            f"{row['rate_per_s']:.3g}",
            f"{row['goodput_per_s']:.3g}",
            f"{row['met_slo']:.0%}",
            f"{row['preemptions']:,}",
            f"{row['mean_running']:.3g}",
        )
        for row in at("serving_study", "memory") or ()
    ]
    head = (
        "chip",
        "tokens that fit",
        "rate [1/s]",
        "goodput [1/s]",
        "within the limits",
        "preemptions",
        "running on average",
    )
    return table(head, rows)
