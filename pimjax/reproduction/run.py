"""Recompute the 25 published runs at every fidelity, next to the authors' numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from pimjax.chips import CHIPS, COMPONENTS, EventOptions
from pimjax.compiling import quick_compilation
from pimjax.config.build import build, capacity_of
from pimjax.reproduction.chip_runs import multiplexed_runs
from pimjax.reproduction.claims import claims
from pimjax.reproduction.lines import PublishedLine, published, published_lines

Progress = Callable[[str], None]


def reproduce(*, with_claims: bool = True, progress: Progress = lambda text: None) -> dict[str, Any]:
    """All published lines by `event` (where feasible), `fluid` and `closed`, and the paper's four claims.

    Args:
        with_claims: also compute the claims (their multiplexed values need further estimates).
        progress: called with a sentence at every step.

    Returns:
        `{"lines": [...], "claims": [...]}`. A line holds `args`, `name`, `event` (None where only `fluid` is feasible),
        `fluid`, `closed`, `reference` (None where the authors' value is not known): each with `latency_ns` and
        `energy_nj`; `deviation`: relative latency and energy deviation of each fidelity from the reference, or from
        `event` where there is none.
    """
    # The multiplexed chip is mostly compiling, which needs no interpreter, the event engine nothing else.
    with ThreadPoolExecutor(max_workers=1) as beside:
        chips = beside.submit(multiplexed_runs) if with_claims else None
        rows = _recompute(published_lines(), progress)
        if chips is None:
            return {"lines": rows, "claims": []}
        progress("claims: the multiplexed chip, and which assumption carries each")
        return {"lines": rows, "claims": claims(rows, chips.result())}


def _recompute(lines: list[PublishedLine], progress: Progress) -> list[dict[str, Any]]:
    progress("fluid and closed: 25 runs in one compiled program each")
    fast = {fidelity: fast_costs(lines, fidelity) for fidelity in ("fluid", "closed")}
    known = {run["args"]: run for run in published()["runs"]}
    cache: dict[Any, Any] = {}
    rows = []
    for index, line in enumerate(lines):
        row: dict[str, Any] = {"args": line.args, "name": line.name, "event": None}
        if line.event:
            progress(f"event: {line.name}, {index + 1} of {len(lines)}")
            row["event"] = exact_costs(line, cache)
        for fidelity, values in fast.items():
            row[fidelity] = {name: float(array[index]) for name, array in values.items()}
        reference = known.get(line.args)
        row["reference"] = reference and {key: reference[key] for key in ("latency_ns", "energy_nj")}
        row["deviation"] = _deviation(row)
        rows.append(row)
    return rows


def fast_costs(lines: list[PublishedLine], fidelity: str) -> dict[str, np.ndarray]:
    """Latency and energy of all lines by one compiled kernel, in float64."""
    configs = [line.config() for line in lines]
    chip = CHIPS[configs[0].chip_model]
    design, capacity = build(configs)

    def kernel(point: Any) -> Any:
        return chip.cost(point, None, capacity=capacity, fidelity=fidelity, critical=False)

    with jax.enable_x64(True):
        cost = jax.jit(jax.vmap(kernel), compiler_options=quick_compilation())(design)
        return {
            "latency_ns": np.asarray(cost.latency_ns),
            "energy_nj": np.asarray(cost.component_energy_nj).sum(-1),
            "flops": np.asarray(cost.flops),
            "area_mm2": np.asarray(cost.component_area_mm2).sum(-1),
        }


def exact_costs(line: PublishedLine, cache: dict[Any, Any]) -> dict[str, Any]:
    """Latency, energy, FLOPs and critical path of one line by the event engine; equal passes are computed once."""
    config = line.config()
    options = EventOptions(passes=cache, memory=False)
    cost = CHIPS[config.chip_model].simulate(config, None, capacity=capacity_of(config), options=options)
    critical = dict(zip(COMPONENTS, np.asarray(cost.critical_ns).tolist(), strict=True))
    return {
        "latency_ns": float(cost.latency_ns),
        "energy_nj": float(np.sum(cost.component_energy_nj)),
        "flops": float(cost.flops),
        "area_mm2": float(np.sum(cost.component_area_mm2)),
        "critical_ns": {name: value for name, value in critical.items() if value},
    }


def _deviation(row: dict[str, Any]) -> dict[str, Any]:
    base = row["reference"] or row["event"]
    out: dict[str, Any] = {"against": "reference" if row["reference"] else "event" if row["event"] else None}
    for fidelity in ("event", "fluid", "closed"):
        if base is not None and row[fidelity] is not None and base is not row[fidelity]:
            out[fidelity] = {key: row[fidelity][key] / base[key] - 1 for key in ("latency_ns", "energy_nj")}
    return out


@dataclasses.dataclass(frozen=True)
class Summary:
    """How far the fidelities are from the authors' numbers over all lines that have one."""

    lines: int
    exact: int
    event: int
    worst: dict[str, float]


def summarise(rows: list[dict[str, Any]]) -> Summary:
    """Counts and the largest relative latency deviation of each fidelity."""
    worst: dict[str, float] = {}
    for row in rows:
        for fidelity in ("event", "fluid", "closed"):
            if fidelity in row["deviation"]:
                worst[fidelity] = max(worst.get(fidelity, 0.0), abs(row["deviation"][fidelity]["latency_ns"]))
    matched = [row for row in rows if row["reference"] and row["event"]]
    return Summary(
        lines=len(rows),
        exact=sum(row["event"]["latency_ns"] == row["reference"]["latency_ns"] for row in matched),
        event=len(matched),
        worst=worst,
    )
