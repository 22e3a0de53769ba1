"""What `pimjax serving` prints: a run, chips side by side, what a search found."""

from __future__ import annotations

from typing import Any

from pimjax.cli.output import shown, stdout, table, with_unit
from pimjax.serving import Server, ServingOptimum, ServingRun, timeline

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 48


def show_run(figures: dict[str, Any], run: ServingRun, server: Server, ttft_ms: float, tpot_ms: float) -> None:
    """Requests, server, times, goodput, energy, and how full it was over time."""
    offered = figures["offered_per_s"]
    memory = "no limit" if server.kv_tokens is None else f"{server.kv_tokens:,} tokens"
    rows = [
        ("requests", f"{figures['requests']:,}, {'all at once' if offered is None else f'{shown(offered)} per second'}"),
        ("server", f"{server.max_num_seqs} at once, {server.max_num_batched_tokens:,} tokens a step, memory for keys and values: "
                   f"{memory}{f', {server.ranks} ranks' if server.ranks > 1 else ''}"),
        ("ran", f"{figures['steps']:,} steps in {with_unit(figures['span_s'] * 1e9, 'ns')}, busy {figures['busy']:.0%}, "
                f"{shown(figures['mean_running'])} running and {shown(figures['mean_waiting'])} waiting on average"),
    ]  # fmt: skip
    stdout.print(table(None, ("", ""), rows, text=2))
    stdout.print()
    names = {
        "ttft": "first token",
        "tpot": "per further token",
        "latency": "whole answer",
        "queueing": "before first step",
    }
    columns = ("mean", "p50", "p90", "p95", "p99")
    times = [
        (
            plain,
            *("-" if figures[f"{key}_ns"][c] is None else with_unit(figures[f"{key}_ns"][c], "ns") for c in columns),
        )
        for key, plain in names.items()
    ]
    stdout.print(table("time", ("", *columns), times))
    stdout.print()
    goodput = f"{shown(figures['goodput_per_s'])} requests/s within {ttft_ms:g} ms to the first and {tpot_ms:g} ms per further token ({figures['met_slo']:.1%})"
    rows = [
        ("throughput", f"{shown(figures['output_tokens_per_s'])} tokens/s, {shown(figures['requests_per_s'])} requests/s"),
        ("goodput", goodput),
        ("", f"{shown(figures['goodput_per_w'])} per W of mean power, {shown(figures['goodput_per_mm2'])} per mm2"),
        ("energy", f"{with_unit(figures['energy_per_request_nj'], 'nJ')} a request, "
                   f"{with_unit(figures['energy_per_output_token_nj'], 'nJ')} a token of an answer, "
                   f"{figures['idle_energy_nj'] / max(figures['energy_nj'], 1e-30):.0%} of it between steps"),
        ("power", f"{with_unit(figures['mean_power_w'], 'W')} on average"),
    ]  # fmt: skip
    if figures["preemptions"]:
        rows.append(("preemptions", f"{figures['preemptions']:,}"))
    if "capacity_per_s" in figures:
        rows.append(("capacity", f"{shown(figures['capacity_per_s'])} requests/s with 99 % within both limits"))
    line = timeline(run, _WIDTH)
    rows += [
        (name, _bars(line[key])) for name, key in (("batch", "running"), ("queue", "waiting"), ("memory", "kv_tokens"))
    ]
    stdout.print(table(None, ("", ""), rows, text=2))


def _bars(values: Any) -> str:
    top = float(values.max())
    if top <= 0:
        return "empty all the time"
    marks = "".join(_BLOCKS[min(7, int(8 * value / top))] if value > 0 else " " for value in values)
    return f"{marks.rstrip()}  max {shown(top)}"


_COLUMNS = {
    "goodput_per_s": "goodput [1/s]",
    "goodput_per_w": "per W",
    "goodput_per_mm2": "per mm2",
    "energy_per_request_nj": "energy a request",
    "ttft_p99_ns": "p99 first token",
    "tpot_p99_ns": "p99 per token",
    "mean_power_w": "power",
    "area_mm2": "area [mm2]",
}
_UNITS = {"energy_per_request_nj": "nJ", "ttft_p99_ns": "ns", "tpot_p99_ns": "ns", "mean_power_w": "W"}


def _figure(name: str, value: float) -> str:
    return with_unit(value, _UNITS[name]) if name in _UNITS else shown(value)


def show_chips(swept: dict[str, Any], figures: dict[str, Any]) -> None:
    """One line a chip."""
    count = len(next(iter(swept.values())))
    rows = [
        (
            *(shown(float(swept[key][i])) for key in swept),
            *(_figure(name, float(figures[name][i])) for name in _COLUMNS),
        )
        for i in range(count)
    ]
    stdout.print()
    stdout.print(table("the same requests on other chips", (*swept, *_COLUMNS.values()), rows))


def show_search(found: ServingOptimum, objective: str) -> None:
    """The chip that a search found beside the one it started from."""
    count = len(found.tried["value"])
    rows = [(plain, _figure(name, found.base[name]), _figure(name, found.figures[name])) for name, plain in _COLUMNS.items()]  # fmt: skip
    best = ", ".join(f"{key} {shown(value)}" for key, value in found.hardware.items())
    stdout.print()
    stdout.print(table(f"best {objective} of {count:,} chips: {best}", ("", "this chip", "found"), rows))
