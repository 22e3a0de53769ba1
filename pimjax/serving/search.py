"""Chips compared and searched by what they serve: goodput per watt and per mm2, energy per request, percentiles. Host.

Goodput and percentiles jump as a request falls out of its limits, so the search follows no gradient: it draws chips (in
logarithms, from a normal law that starts as wide as the bounds), serves all of a round in one batch, and draws the next
round around the best of it (cross-entropy method; Rubinstein 1999). Slopes of means are in :mod:`.gradients`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.errors import ServingError, shown
from pimjax.progress import part, report
from pimjax.serving.batch import simulate_batch
from pimjax.serving.chip_tables import StepGrid
from pimjax.serving.requests import Requests
from pimjax.serving.server import Server

#: figure -> whether more of it is better
OBJECTIVES = {
    "goodput_per_s": True,
    "goodput_per_w": True,
    "goodput_per_mm2": True,
    "energy_per_request_nj": False,
    "ttft_p99_ns": False,
    "tpot_p99_ns": False,
    "mean_latency_ns": False,
}
_LIMIT = checks.numbers(0, dims=0, above=True)
_ELITE = 0.15
_RULES = {
    "grid": checks.instance(StepGrid, "a StepGrid"),
    "requests": checks.instance(Requests, "Requests"),
    "server": checks.instance(Server, "a Server"),
    "ttft_slo_ns": _LIMIT,
    "tpot_slo_ns": _LIMIT,
    "routed": checks.flag,
}


@checks.checked(ServingError, **_RULES, hardware=checks.instance(Mapping, "hardware numbers: key -> values"))
def serving_sweep(
    grid: StepGrid,
    requests: Requests,
    server: Server,
    hardware: Mapping[str, Any],
    *,
    ttft_slo_ns: float,
    tpot_slo_ns: float,
    routed: bool = False,
) -> dict[str, HostArray]:
    """Figures of many chips that serve the same requests.

    Args:
        grid: sampled steps of the chip that they are made from.
        requests, server: what is served; every rank is one chip.
        hardware: key -> values `[N]`, with or without "hardware.".
        ttft_slo_ns, tpot_slo_ns: limits of goodput.
        routed: the routing of every step's own tokens instead of mean batches.

    Returns:
        Arrays `[N]`: those of :data:`OBJECTIVES`, `met_slo`, `area_mm2` (of all ranks), `mean_power_w`, `span_s`. Energy has
        the power between steps in it.

    Raises:
        ServingError: an unknown key, values of different lengths, a request that can never be served.

    >>> import pimjax
    >>> from pimjax.serving import ChipSteps, make_requests
    >>> grid = StepGrid(ChipSteps(pimjax.load_config("paper_multiplexed"), longest_context=32), max_num_seqs=2)
    >>> found = serving_sweep(grid, make_requests([0.0, 1e4], 8, 4), Server(max_num_seqs=2), {"mvm_latency_ns": [60, 240]},
    ...                       ttft_slo_ns=1e9, tpot_slo_ns=1e9)
    >>> bool(found["tpot_p99_ns"][0] < found["tpot_p99_ns"][1])
    True
    """
    chips = grid.chips(dict(hardware))
    loads = grid.steps.loads if routed else None
    found = simulate_batch(requests, server, chips.table, loads=loads)
    span_ns = found.finish_ns.max(axis=1) - found.arrival_ns[:, 0]
    met = (found.ttft_ns <= ttft_slo_ns) & ~(found.tpot_ns > tpot_slo_ns)
    size = server.ranks if server.lockstep else 1
    idle = np.maximum(span_ns * server.ranks - found.step_ns * size, 0.0) * chips.idle_power_w
    energy = found.energy_nj.sum(axis=1) + idle
    good = met.sum(axis=1) / np.maximum(span_ns, 1e-9) * 1e9
    area, power = chips.area_mm2 * server.ranks, energy / np.maximum(span_ns, 1e-9)
    further = [row[np.isfinite(row)] for row in found.tpot_ns]
    tpot = np.array([np.quantile(row, 0.99) if len(row) else np.nan for row in further])
    return {
        "goodput_per_s": good,
        "goodput_per_w": good / np.maximum(power, 1e-30),
        "goodput_per_mm2": good / np.maximum(area, 1e-30),
        "energy_per_request_nj": energy / len(requests),
        "ttft_p99_ns": np.quantile(found.ttft_ns, 0.99, axis=1),
        "tpot_p99_ns": tpot,
        "mean_latency_ns": found.latency_ns.mean(axis=1),
        "met_slo": met.mean(axis=1),
        "area_mm2": area,
        "mean_power_w": power,
        "span_s": span_ns / 1e9,
    }


@dataclass(frozen=True)
class ServingOptimum:
    """What a search found; `K` keys, `M` chips tried.

    Attributes:
        hardware: key -> value of the best chip.
        figures: its figures, by name.
        base: figures of the chip that the search started from.
        tried: key -> values `[M]`; and `value`, the objective of each.
    """

    hardware: dict[str, float]
    figures: dict[str, float]
    base: dict[str, float]
    tried: dict[str, HostArray]


@checks.checked(
    ServingError,
    **_RULES,
    bounds=checks.instance(Mapping, "bounds: key -> (low, high)"),
    objective=checks.word(*OBJECTIVES),
    rounds=checks.whole(1, 1000),
    chips=checks.whole(4, 100_000),
    seed=checks.whole(0, 2**63 - 1),
)
def tune_serving(
    grid: StepGrid,
    requests: Requests,
    server: Server,
    bounds: Mapping[str, tuple[float, float]],
    *,
    ttft_slo_ns: float,
    tpot_slo_ns: float,
    objective: str = "goodput_per_w",
    rounds: int = 6,
    chips: int = 48,
    seed: int = 0,
    routed: bool = False,
) -> ServingOptimum:
    """Search hardware numbers for the best of an objective under load.

    Args:
        grid, requests, server, ttft_slo_ns, tpot_slo_ns, routed: as for :func:`serving_sweep`.
        bounds: key -> (low, high), both positive.
        objective: one of :data:`OBJECTIVES`.
        rounds: batches of `chips` chips each.
        seed: of the draws.

    Returns:
        The best chip seen; never worse than the one that the search starts from where that lies within the bounds.

    Raises:
        ServingError: bounds that are no two rising positive numbers, or what :func:`serving_sweep` refuses.

    >>> import pimjax
    >>> from pimjax.serving import ChipSteps, make_requests
    >>> grid = StepGrid(ChipSteps(pimjax.load_config("paper_multiplexed"), longest_context=32), max_num_seqs=2)
    >>> found = tune_serving(grid, make_requests([0.0, 1e4], 8, 4), Server(max_num_seqs=2), {"norm_latency_ns_per_256": (20, 100)},
    ...                      ttft_slo_ns=1e9, tpot_slo_ns=1e9, objective="mean_latency_ns", rounds=3, chips=8)
    >>> 20 <= found.hardware["norm_latency_ns_per_256"] < 50
    True
    """
    names = [str(key).removeprefix("hardware.") for key in bounds]
    if not names:
        raise ServingError("bounds are empty: give at least one key with its lowest and highest value")
    for key, pair in bounds.items():
        fine = isinstance(pair, (tuple, list)) and len(pair) == 2
        if (
            not fine
            or not all(isinstance(x, (int, float, np.number)) and np.isfinite(x) for x in pair)
            or not 0 < pair[0] < pair[1]
        ):
            raise ServingError(f"bounds[{shown(key)}] is {shown(pair)}: give two positive numbers, the smaller first")
    low, high = np.log(np.array([tuple(map(float, pair)) for pair in bounds.values()])).T
    draw, better = np.random.default_rng(seed), 1.0 if OBJECTIVES[objective] else -1.0
    for name in names:
        if not hasattr(grid.base_hardware, name):
            raise ServingError(f"bounds: {shown(name)} is no hardware number of {grid.steps.chip.name!r}")
    start = np.array([max(float(getattr(grid.base_hardware, name)), 1e-30) for name in names])
    inside = bool(((np.log(start) >= low) & (np.log(start) <= high)).all())
    options: Any = {"ttft_slo_ns": ttft_slo_ns, "tpot_slo_ns": tpot_slo_ns, "routed": routed}
    mean, spread = (low + high) / 2, (high - low) / 2
    tried, values, best, base = [], [], None, {}
    for turn in range(rounds):
        report(f"round {turn + 1} of {rounds}", turn / rounds)
        points = np.clip(mean + spread * draw.standard_normal((chips, len(names))), low, high)
        if turn == 0:
            points[0] = np.log(start)  # where the search starts from, also where that lies outside
        with part(turn / rounds, (turn + 1) / rounds):
            figures = serving_sweep(grid, requests, server, dict(zip(names, np.exp(points).T, strict=True)), **options)
        value = np.where(np.isfinite(figures[objective]), better * figures[objective], -np.inf)
        if turn == 0:
            base = {name: float(row[0]) for name, row in figures.items()}
            value[0] = value[0] if inside else -np.inf
        order = np.argsort(-value, kind="stable")
        if best is None or value[order[0]] > best[0]:
            best = (value[order[0]], points[order[0]], {name: float(row[order[0]]) for name, row in figures.items()})
        elite = points[order[: max(2, round(_ELITE * chips))]]
        mean, spread = elite.mean(axis=0), np.maximum(elite.std(axis=0), 0.4 * spread)
        tried.append(points)
        values.append(better * value)
    assert best is not None
    whole = np.exp(np.concatenate(tried))
    return ServingOptimum(
        hardware={
            name: float(np.clip(v, *pair))
            for name, v, pair in zip(names, np.exp(best[1]), bounds.values(), strict=True)
        },  # the exponential of a bound's logarithm may lie beyond it
        figures=best[2],
        base=base,
        tried={name: whole[:, i] for i, name in enumerate(names)} | {"value": np.concatenate(values)},
    )
