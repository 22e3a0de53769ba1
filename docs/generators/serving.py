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
    """Errors against measured runs, next to the peer's."""
    rows = []
    for row in at("serving_vllm", "rows") or ():
        error, peer = row["error_percent"], row["peer_error_percent"]
        rows.append(
            (
                row["run"].replace("__", " "),
                row["experts_drawn"] or "dense",
                *(f"{error[name]['mean']:+.1f} ({peer[name]:+.1f})" for name in ("ttft", "tpot", "latency")),
                f"{error['ttft']['p50']:+.1f}",
                f"{row['seconds']:.2g} s",
            )
        )
    return table(
        ("run", "experts", "TTFT % (LLMServingSim)", "TPOT %", "latency %", "median TTFT %", "time of simulation"), rows
    )
