"""Error of the fast fidelities against the event engine, for both chips."""

from __future__ import annotations

from typing import Any

from generators.results import load, machine, table

_RUNS = {
    "published": "published scale",
    "small": "small models",
}
_MODES = {
    "prefill": "prefill",
    "cached": "decode, KV cache",
    "batch": "decode of several sequences",
    "recompute": "decode without caches",
    "prefetch": "decode, KV read ahead",
}
_MEASURES = {"latency": "latency of the run", "moe": "expert phases", "last_pass": "end of the last pass"}


def reference_errors() -> str:
    """Table for the `reference` chip."""
    document = load("reference_error")
    if document is None:
        return machine("reference_error")
    rows = []
    for key, part in document.items():
        if not isinstance(part, dict) or not isinstance(part.get("fluid"), dict):
            continue
        label = _RUNS.get(key, f"passes of {key.removeprefix('tokens_')} tokens")
        for fidelity in ("fluid", "closed"):
            rows.append(_row(label, fidelity, "whole run", part[fidelity]))
            rows.append(_row("", fidelity, "all but attention", part[fidelity]["without_attention"]))
    head = ("runs", "fidelity", "relative to", "number", "mean", "95th percentile", "99th", "largest", "bias")
    return table(head, rows) + "\nErrors of the latency in %. " + machine("reference_error")


def _row(label: str, fidelity: str, whole: str, part: dict[str, Any]) -> tuple[Any, ...]:
    return (
        label,
        fidelity,
        whole,
        part["runs"],
        *(part[f"{name}_percent"] for name in ("mean", "p95", "p99", "max", "bias")),
    )


def multiplexed_errors() -> str:
    """Table for the `multiplexed` chip."""
    document = load("multiplexed_error")
    if document is None:
        return machine("multiplexed_error")
    rows = []
    for mode, part in document["results"].items():
        for fidelity, measures in part["summary"].items():
            for measure, values in measures.items():
                rows.append(
                    (
                        _MODES.get(mode, mode),
                        part["cases"],
                        fidelity,
                        _MEASURES.get(measure, measure),
                        *(100 * values[name] for name in ("mean", "p95", "max")),
                    )
                )
    head = ("runs", "number", "fidelity", "of", "mean", "95th percentile", "largest")
    return (
        table(head, rows)
        + "\nAbsolute relative errors in %. Decode has one fast model: `fluid` differs from `closed` in the prefill only. "
        + machine("multiplexed_error")
        + _worst(document["results"]["prefill"])
    )


def _worst(part: dict[str, Any]) -> str:
    """What the runs with the largest errors have in common."""
    rows = []
    for row in sorted(part["rows"], key=lambda row: -abs(row["fluid"]["moe"]))[:5]:
        plan, model = row["config"]["plan"], row["config"]["model"]
        hardware = {**row["config"]["hardware"], **row["hardware"]}
        rows.append(
            (
                100 * row["fluid"]["moe"],
                100 * row["fluid"]["latency"],
                plan["policy"],
                plan["group_size"],
                plan["accumulate"],
                "all" if plan["window_tokens"] is None else plan["window_tokens"],
                "yes" if plan["barrier"] in (True, None) and plan["policy"] != "token_wise" else str(plan["barrier"]),
                hardware["num_digital_units"],
                row["config"]["workload"]["prompt_tokens"],
                model["num_layers"],
            )
        )
    head = (
        "expert phases, %", "latency, %", "policy", "g", "accumulate", "window", "barrier", "digital units", "tokens",
        "layers",
    )  # fmt: skip
    return "\nThe five prefills whose expert phases `fluid` misses most (signed errors):\n\n" + table(head, rows)
