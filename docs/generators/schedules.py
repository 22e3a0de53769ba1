"""Tables of the page on schedules, from the studies of contention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from generators.results import load, machine, table

SOURCES = {"gptoss20b": "GPT-OSS-20B", "own_token_choice": "own token choice"}


def grouping() -> str:
    """Gain in makespan of unseen requests over the paper's sorted groups."""
    rows = [
        (
            source,
            size,
            strategy,
            interval(entry["gain_over_sorted_percent"]),
            entry["gain_of_total_percent"],
        )
        for source, part in _parts()
        for size, strategies in part["grouping"].items()
        for strategy, entry in strategies.items()
    ]
    head = ("traces", "group size", "strategy", "mean gain, % (95 % interval)", "gain of the summed makespan, %")
    return table(head, rows) + "\n" + machine("contention_study")


def copies() -> str:
    """What copies of the hottest experts add to balanced groups."""
    rows = [
        (source, name, interval(entry["gain_over_balanced_percent"]), entry["area_mm2"], per["mean"])
        for source, part in _parts()
        for name, entry in part["copies"].items()
        if isinstance(entry, dict)
        for per in [entry["gain_percent_per_100_mm2"]]
    ]
    head = ("traces", "copies", "makespan lower by, % (95 % interval)", "area, mm2 per layer", "points per 100 mm2")
    return table(head, rows) + "\n" + machine("contention_study")


def policies() -> str:
    """Slots, loads and open tokens of every policy."""
    rows = [
        (
            source,
            size,
            groups,
            policy,
            entry["slots_per_token"]["mean"],
            entry["loads_per_token"]["mean"],
            f"{entry['open_tokens']['mean']:.1f} ({entry['open_tokens']['max']:.0f})",
            *_over_bound(entry),
        )
        for source, part in _parts()
        for size, groupings in part["policies"].items()
        if isinstance(groupings, dict)
        for groups, entries in groupings.items()
        for policy, entry in entries.items()
    ]
    head = ("traces", "group size", "groups", "policy", "slots/token", "loads/token", "open tokens, mean (max)",
            "loads/bound, mean", "worst")  # fmt: skip
    return table(head, rows) + "\n" + machine("contention_study")


def packing() -> str:
    """Packed against the simple bound and against the optimum of the relaxed problem."""
    document = load("packing_optimum")
    if document is None:
        return machine("packing_optimum")
    rows = [(name.replace("_", " "), entry["mean"], entry["worst"]) for name, entry in document["summary"].items()]
    return table(("ratio of loads", "mean", "worst"), rows) + "\n" + machine("packing_optimum")


def decode() -> str:
    """Requests that decode together: makespan gains and loads per step."""
    document = load("decode_batches")
    if document is None:
        return machine("decode_batches")
    rows = [
        (
            size,
            groups,
            interval(entry["slots"]),
            interval(entry["gain_over_sorted_percent"]) if "gain_over_sorted_percent" in entry else None,
            *(
                entry.get("policies", {}).get(policy, {}).get("loads", {}).get("mean")
                for policy in ("token_wise", "compact", "reschedule", "packed")
            ),
        )
        for size, groupings in document.items()
        if size.startswith("g=")
        for groups, entry in groupings.items()
    ]
    head = ("group size", "groups", "slots per step (95 %)", "gain over sorted, % (95 %)", "loads token-wise",
            "compact", "reschedule", "packed")  # fmt: skip
    return table(head, rows) + "\n" + machine("decode_batches")


def interval(values: dict[str, float]) -> str:
    """Mean and interval in one cell."""
    return f"{values['mean']:.2f} ({values['low']:.2f} to {values['high']:.2f})"


def _parts() -> Iterator[tuple[str, dict[str, Any]]]:
    document = load("contention_study") or {}
    return ((title, document[name]) for name, title in SOURCES.items() if name in document)


def _over_bound(entry: dict[str, Any]) -> tuple[float | None, float | None]:
    ratio = entry.get("loads_over_bound", {})
    return ratio.get("mean"), ratio.get("worst")
