"""What a run of serving means to users and operators: percentiles, throughput, goodput, energy, timelines. Host."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.errors import ServingError
from pimjax.serving.run import ServingRun

PERCENTILES = (50, 90, 95, 99)
_LIMIT = checks.optional(checks.numbers(0, dims=0, above=True))
_RUN = checks.instance(ServingRun, "a ServingRun from simulate")


@checks.checked(ServingError, run=_RUN)
def request_times(run: ServingRun) -> dict[str, HostArray]:
    """ns per request: `ttft` (arrival to first token), `tpot` (per further token; NaN for answers of one), `latency`
    (arrival to last token), `queueing` (arrival to first step).

    >>> from pimjax.serving import Server, make_requests, make_step_table, simulate
    >>> run = simulate(make_requests([0.0], 8, 3), Server(), make_step_table(tokens=[10.0]), compiled=False)
    >>> {name: float(values[0]) for name, values in request_times(run).items()}
    {'ttft': 10.0, 'tpot': 10.0, 'latency': 30.0, 'queueing': 0.0}
    """
    arrival, further = run.requests.arrival_ns, run.requests.output_tokens - 1
    tpot = (run.finish_ns - run.first_token_ns) / np.maximum(further, 1)
    return {
        "ttft": run.first_token_ns - arrival,
        "tpot": np.where(further > 0, tpot, np.nan),
        "latency": run.finish_ns - arrival,
        "queueing": run.scheduled_ns - arrival,
    }


@checks.checked(
    ServingError,
    run=_RUN,
    ttft_slo_ns=_LIMIT,
    tpot_slo_ns=_LIMIT,
    idle_power_w=checks.numbers(0, dims=0),
    area_mm2=_LIMIT,
)
def summary(
    run: ServingRun,
    *,
    ttft_slo_ns: float | None = None,
    tpot_slo_ns: float | None = None,
    idle_power_w: float = 0.0,
    area_mm2: float | None = None,
) -> dict[str, Any]:
    """The figures of one run as plain numbers.

    Args:
        run: from :func:`~pimjax.serving.simulate`.
        ttft_slo_ns, tpot_slo_ns: limits of the service-level objective; a request meets it where both hold (an answer of
            one token has no time per token). None: no limit.
        idle_power_w: what one rank draws while no step runs (:meth:`~pimjax.serving.ChipSteps.idle_power_w`); that a rank in
            lockstep waits for a slower one is not counted.
        area_mm2: of one rank's chip.

    Returns:
        `ttft_ns`, `tpot_ns`, `latency_ns`, `queueing_ns`: each with `mean`, `p50`, `p90`, `p95`, `p99` (None where no
        request has one); throughputs over the time from the first arrival to the last token; `goodput_per_s`: requests
        per second that meet the objective, also per watt of mean power (where there is any) and per mm2 (where the area is
        given); energy: `step_energy_nj`, `idle_energy_nj` and their sum `energy_nj`, which is what a request's and a token's
        is taken of; means over time of the batch and of the memory for
        keys and values (`kv_fraction`: of what there is, None without a limit).

    >>> from pimjax.serving import Server, make_requests, make_step_table, simulate
    >>> run = simulate(make_requests([0.0, 0.0], 8, 3), Server(), make_step_table(tokens=[1e6]), compiled=False)
    >>> summary(run)["output_tokens_per_s"]
    2000.0
    """
    times = request_times(run)
    span_s = float(run.finish_ns.max() - run.requests.arrival_ns[0]) / 1e9
    met = np.ones(len(run.requests), bool)
    for name, limit in (("ttft", ttft_slo_ns), ("tpot", tpot_slo_ns)):
        if limit is not None:
            met &= ~(times[name] > limit)
    tokens, of_steps = float(run.requests.output_tokens.sum()), float(run.energy_nj.sum())
    groups, size = (1, run.server.ranks) if run.server.lockstep else (run.server.ranks, 1)
    working = run.step_ns
    idle = idle_power_w * size * max(groups * span_s * 1e9 - working, 0.0)
    energy, good = of_steps + idle, _over(float(met.sum()), span_s)
    power = _over(energy / 1e9, span_s)
    rate = run.requests.rate_per_s
    out: dict[str, Any] = {
        "requests": len(run.requests),
        "offered_per_s": rate if np.isfinite(rate) else None,
        "span_s": span_s,
        **{f"{name}_ns": _spread(values) for name, values in times.items()},
        "requests_per_s": _over(len(run.requests), span_s),
        "output_tokens_per_s": _over(tokens, span_s),
        "met_slo": float(met.mean()),
        "goodput_per_s": good,
        "goodput_per_w": _ratio(good, power),
        "goodput_per_mm2": _ratio(good, None if area_mm2 is None else area_mm2 * run.server.ranks),
        "mean_power_w": power,
        "step_energy_nj": of_steps,
        "idle_energy_nj": idle,
        "energy_nj": energy,
        "energy_per_request_nj": energy / len(run.requests),
        "energy_per_output_token_nj": energy / tokens,
        "preemptions": int(run.preemptions.sum()),
        "steps": len(run.steps),
    }
    if len(run.steps):
        weights, total = run.column("duration_ns"), working
        mean = {
            name: _over(float((run.column(name) * weights).sum()), total)
            for name in ("running", "waiting", "kv_blocks")
        }
        out |= {
            "busy": _over(total / 1e9, span_s * (1 if run.server.lockstep else run.server.ranks)),
            "mean_running": mean["running"],
            "mean_waiting": mean["waiting"],
            "mean_kv_tokens": (mean["kv_blocks"] or 0.0) * run.server.block_tokens,
            "kv_fraction": None,
        }
        if run.server.kv_tokens is not None:
            blocks = run.server.kv_blocks * (run.server.ranks if run.server.lockstep else 1)
            out["kv_fraction"] = (mean["kv_blocks"] or 0.0) / blocks
    return out


def _over(value: float, divisor: float) -> float | None:
    return float(value / divisor) if divisor > 0 else None


def _ratio(value: float | None, divisor: float | None) -> float | None:
    return None if value is None or divisor is None else _over(value, divisor)


def _spread(values: HostArray) -> dict[str, float | None]:
    real = values[~np.isnan(values)]
    if not len(real):
        return dict.fromkeys(("mean", *(f"p{p}" for p in PERCENTILES)))
    ranks = np.percentile(real, PERCENTILES)
    return {"mean": float(real.mean()), **{f"p{p}": float(v) for p, v in zip(PERCENTILES, ranks, strict=True)}}


@checks.checked(ServingError, run=_RUN, points=checks.whole(1, 1_000_000))
def timeline(run: ServingRun, points: int = 200) -> dict[str, HostArray]:
    """Batch, queue and memory over time: means over `points` equal intervals from the first arrival to the last token.

    Returns:
        `time_ns` (middle of the intervals), `running`, `waiting`, `kv_tokens`, `power_w` (of the steps), each
        `[points]`; ranks that step apart are added up; a time without a step counts as zero.

    >>> from pimjax.serving import Server, make_requests, make_step_table, simulate
    >>> run = simulate(make_requests([0.0, 60.0], 8, 3), Server(), make_step_table(tokens=[10.0]), compiled=False)
    >>> timeline(run, 3)["running"].tolist()
    [1.0, 0.0, 1.0]
    """
    first, last = float(run.requests.arrival_ns[0]), float(run.finish_ns.max())
    edges = np.linspace(first, max(last, first + 1e-9), points + 1)
    start, end = run.column("start_ns"), run.column("start_ns") + run.column("duration_ns")
    out: dict[str, HostArray] = {"time_ns": (edges[:-1] + edges[1:]) / 2}
    power = run.column("energy_nj") / np.maximum(run.column("duration_ns"), 1e-9)
    columns = (run.column("running"), run.column("waiting"), run.column("kv_blocks") * run.server.block_tokens, power)
    for name, values in zip(("running", "waiting", "kv_tokens", "power_w"), columns, strict=True):
        total = np.zeros(points + 1)  # integral of the column up to each edge
        for group in np.unique(run.column("group")):
            own = run.column("group") == group
            knots = np.stack([start[own], end[own]], axis=1).ravel()
            area = np.cumsum(values[own] * (end - start)[own])
            heights = np.stack([np.append(0.0, area[:-1]), area], axis=1).ravel()
            total += np.interp(edges, knots, heights, left=0.0)
        out[name] = np.diff(total) / np.diff(edges)
    return out
