"""A run of serving as plain data for charts: batch, queue and memory over time, distributions of times, capacity."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.report.palette import OKABE_ITO
from pimjax.serving import ServingRun, SloCapacity, request_times, timeline

POINTS = 240
_QUANTILES = np.linspace(0.0, 1.0, 101)
_LINES = {
    "running": ("running", OKABE_ITO["blue"]),
    "waiting": ("waiting", OKABE_ITO["vermilion"]),
    "kv_tokens": ("tokens in memory", OKABE_ITO["green"]),
    "power_w": ("power of the steps [W]", OKABE_ITO["orange"]),
}
_TIMES = {"ttft": "time to first token", "tpot": "time per further token", "latency": "whole answer", "queueing": "before first step"}  # fmt: skip


def serving_contents(
    run: ServingRun,
    figures: dict[str, Any],
    *,
    ttft_slo_ns: float,
    tpot_slo_ns: float,
    capacity: SloCapacity | None = None,
) -> dict[str, Any]:
    """What a page shows of a run.

    Args:
        run: from `simulate`, with its log of steps.
        figures: its :func:`pimjax.serving.summary`.
        ttft_slo_ns, tpot_slo_ns: limits of the objective.
        capacity: of this chip alone; None: no curve over rates.

    Returns:
        `time_s` and `lines` (over time), `times` (quantiles in ms), `slo` (rates and p99s in ms, or None), `figures`.
    """
    line = timeline(run, POINTS)
    lines = [
        {"key": key, "name": name, "colour": colour, "values": line[key].tolist()}
        for key, (name, colour) in _LINES.items()
    ]
    times = [
        {"name": _TIMES[key], "values": _spread(values), "limit": limit}
        for (key, values), limit in zip(
            request_times(run).items(), (ttft_slo_ns / 1e6, tpot_slo_ns / 1e6, None, None), strict=True
        )
    ]
    slo = None
    if capacity is not None:
        slo = {
            "rate": capacity.tried_per_s[0].tolist(),
            "ttft_ms": (capacity.ttft_ns[0] / 1e6).tolist(),
            "tpot_ms": (capacity.tpot_ns[0] / 1e6).tolist(),
            "capacity": float(capacity.rate_per_s[0]),
            "limits": [ttft_slo_ns / 1e6, tpot_slo_ns / 1e6],
        }
    return {
        "time_s": (line["time_ns"] / 1e9).tolist(),
        "lines": lines,
        "quantiles": _QUANTILES.tolist(),
        "times": times,
        "slo": slo,
        "colours": [OKABE_ITO[name] for name in ("blue", "vermilion", "green", "orange")],
        "figures": {key: value for key, value in figures.items() if not isinstance(value, dict)},
        "kv_limit": run.server.kv_tokens,
    }


def _spread(values: HostArray) -> list[float]:
    real = values[~np.isnan(values)]
    return (np.quantile(real, _QUANTILES) / 1e6).tolist() if len(real) else []
