"""The paper's four claims: published value, value by the authors' method, value by the multiplexed chip, every term."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pimjax.cache.reference_traffic import uncounted_traffic
from pimjax.chips.run_cost import COMPONENT_INDEX, OP_INDEX
from pimjax.config import load_config
from pimjax.estimation.api import estimate
from pimjax.reproduction.lines import PROMPT_TOKENS, published

Rows = dict[str, dict[str, Any]]

_EXPERT_CORE_MM2 = 973.824  # 16 experts x 96 crossbars x 0.634 mm2: the MoE part with nothing shared


@dataclass(frozen=True)
class MultiplexedRuns:
    """What the claims need of the multiplexed chip, all by the event engine.

    Attributes:
        moe: passes, time and area of the MoE part, by name of the chip.
        generation: latency and energy of generating 8 tokens, by caches.
        efficiency: operations per energy and area of one chip.
    """

    moe: dict[str, dict[str, float]]
    generation: dict[str, dict[str, float]]
    efficiency: dict[str, float]


def multiplexed_runs() -> MultiplexedRuns:
    """Run the multiplexed chip for all claims; independent of the authors' runs."""
    shared = (
        (1, "uniform", "packed"),
        (2, "sorted", "reschedule"),
        (2, "sorted", "packed"),
        (4, "sorted", "reschedule"),
        (4, "sorted", "packed"),
    )
    return MultiplexedRuns(
        moe={
            "unshared, token by token": _moe(group_size=1, grouping="uniform", policy="token_wise"),
            **{
                f"{grouping} groups of {size}, {policy}": _moe(group_size=size, grouping=grouping, policy=policy)
                for size, grouping, policy in shared
            },
        },
        generation={
            "no cache": _generate(kv_cache=False, go_cache="none"),
            "kv": _generate(kv_cache=True, go_cache="none"),
            "kv+go": _generate(kv_cache=True, go_cache="full"),
            "kv+go threshold": _generate(kv_cache=True, go_cache="threshold"),
        },
        efficiency=_efficiency(),
    )


def claims(lines: list[dict[str, Any]], chips: MultiplexedRuns) -> list[dict[str, Any]]:
    """The four claims with all terms.

    Args:
        lines: of :func:`pimjax.reproduction.run.reproduce`.
        chips: from :func:`multiplexed_runs`.

    Returns:
        Entries with `name`, `published`, `authors_method`, `multiplexed` (numbers), `terms` (how each comes about) and
        `meaning` (one sentence).
    """
    rows = {line["name"]: line for line in lines}
    return [
        _area_efficiency(rows, chips.moe),
        *_generation(rows, chips.generation),
        _efficiency_per_area(rows, chips.efficiency),
    ]


def area_factor(group_size: int) -> float:
    """The paper's area of the MoE part relative to no sharing, 0.2 + 0.8/g.

    >>> area_factor(4)
    0.4
    """
    return 0.2 + 0.8 / group_size


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
    first = chips["unshared, token by token"]
    for chip in chips.values():
        chip["gain"] = chip["passes_per_ns_per_mm2"] / first["passes_per_ns_per_mm2"]
    best = max(chips, key=lambda name: chips[name]["gain"])
    return {
        "name": "area_efficiency",
        "published": published()["claims"]["area_efficiency"],
        "authors_method": by_run["S4O"]["gain"],
        "multiplexed": chips[best]["gain"],
        "meaning": "area efficiency of the MoE part against no sharing, one token at a time; authors' method: run time "
        f"of S4O and area 0.2 + 0.8/g; multiplexed: best of the chips listed ({best})",
        "terms": {"authors_runs": by_run, "slots_times_area": by_slots, "multiplexed_chips": chips},
    }


def _moe(*, group_size: int, grouping: str, policy: str) -> dict[str, float]:
    """Passes per ns and mm2 of the MoE part: crossbars, shared peripherals and buffers; exact."""
    config = load_config(
        "paper_multiplexed",
        {
            "workload.prompt_tokens": PROMPT_TOKENS,
            "plan.group_size": group_size,
            "plan.grouping": grouping,
            "plan.policy": policy,
        },
    )
    result = estimate(config, fidelity="event")
    passes = float(result.op_counts[OP_INDEX["expert_pass"]])
    buffers = float(result.component_area_mm2[COMPONENT_INDEX["buffers"]])
    area = float(result.moe_area_mm2) + buffers
    return {
        "passes": passes,
        "moe_latency_ns": float(result.moe_latency_ns),
        "moe_area_mm2": float(result.moe_area_mm2),
        "buffer_area_mm2": buffers,
        "passes_per_ns_per_mm2": passes / (float(result.moe_latency_ns) * area),
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


def _generate(*, kv_cache: bool, go_cache: str) -> dict[str, float]:
    config = load_config(
        "paper_multiplexed",
        {
            "model.routing": "expert_choice",
            "workload.prompt_tokens": PROMPT_TOKENS,
            "workload.generated_tokens": 8,
            "workload.prefill": False,
            "workload.kv_cache": kv_cache,
            "workload.go_cache": go_cache,
        },
    )
    result = estimate(config, fidelity="event")
    return {"latency_ns": float(result.latency_ns), "energy_nj": float(result.energy_nj)}


def _efficiency_per_area(rows: Rows, chip: dict[str, float]) -> dict[str, Any]:
    target = published()["claims"]["gops_per_w_per_mm2"]
    useful = _best(rows["prefill 1"])["flops"]
    options = {}
    for name in ("1", "S2O", "S4O"):
        row = _best(rows[f"prefill {name}"])
        size = 1 if name == "1" else int(name[1])
        gops_per_w = useful / row["energy_nj"]
        moe_area = _EXPERT_CORE_MM2 * area_factor(size)
        options[name] = {
            "gops_per_w": gops_per_w,
            "moe_area_mm2": moe_area,
            "gops_per_w_per_mm2_of_moe": gops_per_w / moe_area,
            "area_that_gives_the_published_value_mm2": gops_per_w / target,
        }
    return {
        "name": "gops_per_w_per_mm2",
        "published": target,
        "authors_method": options["1"]["gops_per_w_per_mm2_of_moe"],
        "multiplexed": chip["gops_per_w_per_mm2_of_moe"],
        "meaning": "the paper names no area; both values are over the MoE part (authors' method: nothing shared), other "
        "readings in the terms",
        "terms": {"authors_runs": options, "multiplexed_chip": chip},
    }


def _efficiency() -> dict[str, float]:
    config = load_config(
        "paper_multiplexed",
        {"workload.prompt_tokens": PROMPT_TOKENS, "plan.group_size": 4, "plan.policy": "reschedule"},
    )
    result = estimate(config, fidelity="event")
    return {
        "gops_per_w": float(result.gops_per_w),
        "moe_area_mm2": float(result.moe_area_mm2),
        "chip_area_mm2": float(result.area_mm2),
        "gops_per_w_per_mm2_of_moe": float(result.moe_gops_per_w_per_mm2),
        "gops_per_w_per_mm2_of_chip": float(result.gops_per_w_per_mm2),
    }


def finite(values: Any) -> bool:
    """Whether every number of a nested structure is finite."""
    if isinstance(values, dict):
        return all(finite(value) for value in values.values())
    if isinstance(values, (list, tuple)):
        return all(finite(value) for value in values)
    return not isinstance(values, float) or bool(np.isfinite(values))
