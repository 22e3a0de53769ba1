"""The paper's four claims: published value, value by the authors' method, value by the multiplexed chip, every term."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.cache.reference_traffic import uncounted_traffic
from pimjax.reproduction.chip_runs import UNSHARED, MultiplexedRuns
from pimjax.reproduction.efficiency import area_factor, efficiency_claim
from pimjax.reproduction.lines import PROMPT_TOKENS, published

Rows = dict[str, dict[str, Any]]


def claims(lines: list[dict[str, Any]], chips: MultiplexedRuns) -> list[dict[str, Any]]:
    """The four claims with all terms.

    Args:
        lines: of :func:`pimjax.reproduction.run.reproduce`.
        chips: from :func:`pimjax.reproduction.chip_runs.multiplexed_runs`.

    Returns:
        Entries with `name`, `published`, `authors_method`, `multiplexed` (numbers), `terms` (how each comes about),
        `meaning` (one sentence) and `ablation`: lines with `assumption`, `preset`, `set` (dotted keys that differ) and the
        claim's `value` there. The area efficiency also has its `range` over all lines and chips that share; the
        efficiency per area its readings `by_area` and `reading_without_area`, and these in place of `value`.
    """
    rows = {line["name"]: line for line in lines}
    found = [
        _area_efficiency(rows, chips.moe),
        *_generation(rows, chips.generation),
        efficiency_claim({name: _best(row) for name, row in rows.items()}, chips.efficiency),
    ]
    for claim in found:
        claim["ablation"] = chips.ablations[claim["name"]]
    sharing = chips.ablations["area_efficiency"]
    spread = {
        "gain": [gain for line in sharing for gain in line["gains"].values()],
        "sharing_alone": [line["sharing_alone"] for line in sharing],
    }
    found[0]["range"] = {key: [min(values), max(values)] for key, values in spread.items()}
    return found


def claim_rows(found: list[dict[str, Any]]) -> list[tuple[str, float | None, float, float, str]]:
    """Name, published value, value by the authors' method, by the multiplexed chip, and meaning, one row for each reading.

    A reading whose area is named stands beside no published number: the paper's names none.
    """
    rows = []
    for claim in found:
        if "by_area" in claim:
            rows += [
                (name, None, one["authors_method"], one["multiplexed"], one["meaning"])
                for name, one in claim["by_area"].items()
            ]
        else:
            rows.append(tuple(claim[key] for key in ("name", "published", "authors_method", "multiplexed", "meaning")))
    return rows


def _best(row: dict[str, Any]) -> dict[str, Any]:
    """The most exact value of a line."""
    return row["event"] or row["fluid"]


def _area_efficiency(rows: Rows, moe: dict[str, dict[str, float]]) -> dict[str, Any]:
    base = _best(rows["prefill 1"])["latency_ns"]
    by_run = {}
    for name, row in rows.items():
        if name.startswith("prefill ") and name != "prefill 1":
            size = int(name.split()[1][1])
            speed = base / _best(row)["latency_ns"]
            by_run[name.split()[1]] = {
                "speed": speed,
                "area_factor": area_factor(size),
                "gain": speed / area_factor(size),
            }
    slots = published()["routing_statistics"]["slots_per_token"]
    by_slots = {name: 1 / (value * area_factor(int(name[1]))) for name, value in slots.items()}
    chips = {name: dict(values) for name, values in moe.items()}
    first = chips[UNSHARED]
    for chip in chips.values():
        chip["gain"] = chip["passes_per_ns_per_mm2"] / first["passes_per_ns_per_mm2"]
    best = max(chips, key=lambda name: chips[name]["gain"])
    return {
        "name": "area_efficiency",
        "published": published()["claims"]["area_efficiency"],
        "authors_method": by_run["S4O"]["gain"],
        "multiplexed": chips[best]["gain"],
        "meaning": "area efficiency of the MoE part against no sharing, one token at a time; authors' method: run time "
        f"of S4O and area 0.2 + 0.8/g; multiplexed: the best of six chips on one request ({best}), see its range",
        "terms": {"authors_runs": by_run, "slots_times_area": by_slots, "multiplexed_chips": chips},
    }


def _generation(rows: Rows, chip: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    plain, cached = _best(rows["generate 8, no cache"]), _best(rows["generate 8, kv+go"])
    forgotten = uncounted_traffic(PROMPT_TOKENS, 8, 16, 4096)
    uncounted = {
        "go_traffic_ns": forgotten.time_ns,
        "go_traffic_nj": forgotten.energy_nj,
        "share_of_kv_go_run": forgotten.time_ns / cached["latency_ns"],
        "speedup_if_counted": plain["latency_ns"] / (cached["latency_ns"] + forgotten.time_ns),
        "energy_saving_if_counted": plain["energy_nj"] / (cached["energy_nj"] + forgotten.energy_nj),
    }
    out = []
    for name, key, meaning in (
        ("generation_speedup", "latency_ns", "time to generate 8 tokens without caches / with KV and GO cache"),
        ("generation_energy_saving", "energy_nj", "energy to generate 8 tokens without caches / with KV and GO cache"),
    ):
        out.append(
            {
                "name": name,
                "published": published()["claims"][name],
                "authors_method": plain[key] / cached[key],
                "multiplexed": chip["no cache"][key] / chip["kv+go"][key],
                "meaning": meaning + "; multiplexed: expert choice, every byte counted",
                "terms": {
                    "authors_runs": {"no cache": plain[key], "kv+go": cached[key]},
                    "authors_forgotten_traffic": uncounted,
                    "multiplexed_runs": {run: values[key] for run, values in chip.items()},
                },
            }
        )
    return out


def finite(values: Any) -> bool:
    """Whether every number of a nested structure is finite."""
    if isinstance(values, dict):
        return all(finite(value) for value in values.values())
    if isinstance(values, (list, tuple)):
        return all(finite(value) for value in values)
    return not isinstance(values, float) or bool(np.isfinite(values))
