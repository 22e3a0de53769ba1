"""Dies that a token of GPT-OSS-20B visits: experts in order against co-activated ones together, judged on unseen requests.

python benchmarks/studies/placement_study.py            # writes results/placement_study.json
python benchmarks/studies/placement_study.py --quick    # two layers, writes nothing
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.lib.folds import FOLDS, bootstrap, makespans
from benchmarks.lib.harness import write_json
from benchmarks.lib.paths import need_decode_traces, trace_folder
from pimjax.config.system import SystemSection
from pimjax.schedule import group_experts
from pimjax.system import busiest_die, die_visits, dies_needed, holds, place_experts
from pimjax.trace import load_traces

#: Crossbars of a layer's experts and of everything else of a layer; a core, its shared part, area per stacked expert.
EXPERT_CROSSBARS, DENSE_CROSSBARS = 331_776 / 24, 20_088 / 24
CORE_MM2, SHARED, TIER_OVERHEAD = 0.634, 0.8, 0.33
GROUP_SIZES, EXPERTS, KICKS = (2, 4, 8), 32, 2
DOMAINS = "gptoss20b-domains.npz"


def dies_of_layer(group_size: int, kind: str) -> int:
    """Dies that a layer needs: groups cut where a die ends, whole groups only, or experts of a group stacked in tiers."""
    each = {
        "plain": (1 - SHARED) + SHARED / group_size,
        "tiers": (SHARED + (1 - SHARED) * (1 + TIER_OVERHEAD * (group_size - 1))) / group_size,
    }
    numbers = SystemSection().arrays()
    experts = CORE_MM2 * EXPERT_CROSSBARS * each["tiers" if kind == "tiers" else "plain"]
    layer = experts + CORE_MM2 * DENSE_CROSSBARS
    if kind != "whole groups":
        return int(dies_needed(layer, numbers.die_area_mm2, numbers).dies)
    groups = EXPERTS // group_size
    return -(-groups // int(numbers.die_area_mm2 // (layer / groups)))


def judged(choices: np.ndarray, die: np.ndarray, home: int) -> dict[str, np.ndarray]:
    """Of each request `[R]`: dies a token visits, and those that are not the home die."""
    shape = choices.shape
    visits = np.asarray(die_visits(choices.reshape(-1, shape[-1]), holds(die))).reshape(*shape[:-1], -1)
    away = np.delete(visits, home, axis=-1)
    return {"dies": visits.sum(-1).mean(-1), "crossings": away.sum(-1).mean(-1)}


def groups_inside(loads: np.ndarray, die: np.ndarray, group_size: int) -> np.ndarray:
    """Experts of each die put into groups that share peripherals, balanced over the given requests `[R, E]`."""
    groups, first = np.zeros(len(die), np.int64), 0
    for one in range(die.max() + 1):
        members = np.flatnonzero(die == one)
        inside = group_experts(loads[:, members], min(group_size, len(members)), "balanced")
        groups[members] = first + inside
        first += int(inside.max()) + 1
    return groups


def slots(choices: np.ndarray, dies: int, group_size: int, layers: list[int]) -> dict[str, float]:
    """What whole groups on dies cost unseen requests (one fold): slots over those of groups without dies [%], crossings.

    `groups_first`: groups balanced without a look at dies, then those that tokens visit together on one die.
    """
    test = np.arange(len(choices)) % FOLDS == 0
    more: dict[str, list[float]] = {"contiguous": [], "coactivation": [], "groups_first": []}
    crossings: dict[str, list[float]] = {name: [] for name in more}
    for layer in layers:
        train, loads = choices[~test, layer], choices[:, layer].sum(axis=1).astype(float)
        free = group_experts(loads[~test], group_size, "balanced")
        slots_of_free = makespans(loads[test], free)
        for name, values in more.items():
            if name == "groups_first":
                visits = np.asarray(die_visits(train.reshape(-1, EXPERTS), holds(free)))
                of_group = place_experts(int(free.max()) + 1, dies, "coactivation", choices=visits, kicks=KICKS)
                die, groups = of_group[free], free
            else:
                die = place_experts(EXPERTS, dies, name, choices=train, kicks=KICKS)
                groups = groups_inside(loads[~test], die, group_size)
            values.append(float(np.mean(makespans(loads[test], groups) / slots_of_free - 1)))
            home = busiest_die(np.asarray(die_visits(train.reshape(-1, EXPERTS), holds(die))))
            crossings[name].append(float(judged(choices[test, layer], die, home)["crossings"].mean()))
    found = {f"more_slots_{name}_percent": 100 * float(np.mean(values)) for name, values in more.items()}
    return found | {f"crossings_{name}": float(np.mean(values)) for name, values in crossings.items()}


def study(choices: np.ndarray, elsewhere: np.ndarray | None, dies: int, layers: list[int]) -> dict[str, Any]:
    """Both placements on `dies` dies; `choices` and `elsewhere` `[R, L, T, E]`."""
    fold, generator = np.arange(len(choices)) % FOLDS, np.random.default_rng(0)
    names = ("contiguous", "coactivation")
    found = {
        (name, what): np.full((len(layers), len(choices)), np.nan) for name in names for what in ("dies", "crossings")
    }
    shifted: dict[tuple[str, str], list[float]] = {key: [] for key in found}
    for index, layer in enumerate(layers):
        for test in range(FOLDS):
            train = choices[fold != test, layer]
            for name in names:
                die = place_experts(EXPERTS, dies, name, choices=train, kicks=KICKS)
                home = busiest_die(np.asarray(die_visits(train.reshape(-1, EXPERTS), holds(die))))
                for what, values in judged(choices[fold == test, layer], die, home).items():
                    found[name, what][index, fold == test] = values
                if elsewhere is not None and test == 0:
                    for what, values in judged(elsewhere[:, layer], die, home).items():
                        shifted[name, what].append(float(values.mean()))
    row: dict[str, Any] = {"dies_per_layer": dies}
    for (name, what), values in found.items():
        row[f"{what}_{name}"] = bootstrap(values, generator)
        if shifted[name, what]:
            row[f"{what}_{name}_other_domains"] = float(np.mean(shifted[name, what]))
    for what in ("dies", "crossings"):
        saved = 100 * (1 - found["coactivation", what] / found["contiguous", what])
        row[f"{what}_saved_percent"] = bootstrap(saved, generator)
    return row


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    choices = np.asarray(load_traces(need_decode_traces()).choices)
    file = trace_folder() / DOMAINS
    elsewhere = np.asarray(load_traces(file).choices) if file.is_file() else None
    layers = [0, 12] if arguments.quick else list(range(choices.shape[1]))
    needs = {
        f"g={size}, {kind}": dies_of_layer(size, kind)
        for kind in ("plain", "tiers", "whole groups")
        for size in GROUP_SIZES
    }
    document: dict[str, Any] = {
        "folds": FOLDS,
        "kicks": KICKS,
        "layers": len(layers),
        "requests": len(choices),
        "dies_per_layer": needs,
    }
    for dies in sorted(set(needs.values())):
        begin = time.perf_counter()
        row = study(choices, elsewhere, dies, layers)
        for size in GROUP_SIZES:
            if needs[f"g={size}, whole groups"] == dies:
                row[f"g={size}"] = slots(choices, dies, size, layers)
                print(size, row[f"g={size}"])
        document[f"dies={dies}"] = row
        print(
            f"{dies} dies ({', '.join(name for name, count in needs.items() if count == dies)}): crossings per token and layer "
            f"{row['crossings_contiguous']['mean']:.3f} -> {row['crossings_coactivation']['mean']:.3f} "
            f"({row['crossings_saved_percent']['mean']:.1f} % saved), {time.perf_counter() - begin:.0f} s",
            flush=True,
        )
    if not arguments.quick:
        print(f"wrote {write_json('placement_study', document)}")


if __name__ == "__main__":
    main()
