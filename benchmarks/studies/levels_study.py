"""GPT-OSS-20B from one crossbar to all its packages: what every level takes of area, power, energy and latency.

python benchmarks/studies/levels_study.py            # writes results/levels_study.json; benchmarks/pages/levels_page.py makes page and figure
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pimjax
from benchmarks.lib.harness import write_json
from benchmarks.lib.unsized import unsized
from pimjax.chips import CHIPS

MODEL = "gpt_oss_20b"
RUN = {"workload.generated_tokens": 64, "workload.kv_cache": True}
"""The run that the preset was sized for (`benchmarks/pages/sized_presets.py`)."""
LEVELS = ("crossbar", "group", "die", "package")
_LEVEL_OF_COMPONENT = {
    "tier_linear": "crossbar", "moe_crossbars": "crossbar", "dense_crossbars": "crossbar", "leakage_idle": "crossbar",
    "leakage_gated": "crossbar", "sharing_mux": "group", "local_accumulation": "group", "input_load": "group",
    "communication": "group", "d2d": "package", "dram_kv": "package", "dram_go": "package", "embedding": "package",
    "memory_interface": "package", "expert_swap": "package",
}  # fmt: skip
"""Components that are not of the die: everything else is."""


def level_of(component: str) -> str:
    """Level at which a component sits.

    >>> level_of("layer_norm"), level_of("d2d")
    ('die', 'package')
    """
    return _LEVEL_OF_COMPONENT.get(component, "die")


def levels_of(config: Any, result: Any) -> list[dict[str, Any]]:
    """One row a level: how many there are, what one takes, and its shares of area, energy and latency."""
    names = CHIPS[config.chip_model].component_names
    numbers = result.to_dict()
    shares: dict[str, dict[str, float]] = {}
    for title, key in (("area", "component_area_mm2"), ("energy", "component_energy_nj"), ("latency", "critical_ns")):
        values = {level: 0.0 for level in LEVELS}
        for name in names:
            values[level_of(name)] += float(numbers[key][name])
        shares[title] = values
    layers = config.model.num_layers
    groups = layers * -(-config.model.num_experts // config.plan.group_size)
    counts = {"crossbar": numbers["crossbars"], "group": groups, "die": numbers["dies"], "package": numbers["packages"]}
    area = {
        "crossbar": numbers["moe_area_mm2"] / (numbers["crossbars"] - _dense(numbers)),
        "group": numbers["moe_area_mm2"] / groups,
        "die": numbers["area_mm2"] / numbers["dies"],
        "package": numbers["area_mm2"] / numbers["packages"],
    }
    seconds = numbers["latency_ns"] * 1e-9
    rows, below = [], 0.0
    for level in LEVELS:
        below += shares["energy"][level]
        rows.append(
            {
                "level": level,
                "count": counts[level],
                "area_mm2_of_one": area[level],
                "mean_power_w_of_one": below * 1e-9 / seconds / counts[level],
                **{f"{title}_share": shares[title][level] / sum(shares[title].values()) for title in shares},
            }
        )
    return rows


def _dense(numbers: dict[str, Any]) -> float:
    """Crossbars of dense layers, from their area: each has a core of its own."""
    from pimjax.chips.multiplexed.chip import MEASURED_CORE

    return numbers["component_area_mm2"]["dense_crossbars"] / MEASURED_CORE["core_area_mm2"]


def case(name: str, base: str | dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """One chip on the run."""
    config = pimjax.load_config(base, {**RUN, **settings})
    result = pimjax.estimate(config, fidelity="fluid")
    numbers = result.to_dict()
    wanted = (
        "latency_ns", "energy_nj", "area_mm2", "silicon_area_mm2", "dies", "packages", "crossbars", "power_w", "peak_power_w", "tokens_per_s",
        "utilisation", "junction_c", "die_crossings_per_token", "link_busy_share", "network_energy_nj", "static_energy_nj",
    )  # fmt: skip
    plain = {spec.name: spec.plain for spec in CHIPS[config.chip_model].components}
    critical = sorted(((value, plain.get(key, key)) for key, value in numbers["critical_ns"].items()), reverse=True)
    return {
        "chip": name,
        "settings": settings,
        "digest": config.digest(),
        **{key: numbers[key] for key in wanted},
        "joule_per_token": numbers["power_w"] / numbers["tokens_per_s"],
        "bound_by": [{"what": what, "share": value / numbers["latency_ns"]} for value, what in critical[:4]],
        "levels": levels_of(config, result),
    }


def main() -> None:
    """Estimate, write."""
    rows = [
        case(f"preset {MODEL}, sized", MODEL, {}),
        case("groups of two, the authors' units", unsized(MODEL), {"system": "dies"}),
    ]
    for row in rows:
        print(row["chip"], f"{row['tokens_per_s']:,.0f} tokens/s, {1e3 * row['joule_per_token']:.2f} mJ per token")
        for level in row["levels"]:
            print("  ", level)
    print(f"wrote {write_json('levels_study', {'model': MODEL, 'rows': rows})}")


if __name__ == "__main__":
    main()
