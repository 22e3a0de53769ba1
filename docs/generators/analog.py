"""Tables of crossbar numerics: cells against AIHWKit, which parts of a model stay digital, what noise does to routing."""

from __future__ import annotations

from typing import Any

from generators.results import at, load, machine, shown, table


def aihwkit() -> str:
    """The same draws through AIHWKit and pimjax."""
    document = load("aihwkit_devices")
    if document is None:
        return machine("aihwkit_devices")
    reads = {row["device"]: row for row in document["reads_of_one_chip"]}
    rows = []
    for row in document["same_draws"]:
        read = reads[row["device"]] if row["time"] == "a day" else None
        rows.append((
            row["device"], row["time"], row["aihwkit"]["slope"], row["slope_ratio"] - 1, row["aihwkit"]["sd"], row["sd_ratio"] - 1,
            "" if read is None else read["sd_ratio"] - 1, "" if read is None else read["sd_ratio_by_formula"] - 1,
        ))  # fmt: skip
    for row in document.get("foundation_models", []):
        rows.append((row["device"], "programmed", row["published"]["slope"], row["slope_ratio"] - 1, row["published"]["sd"], row["sd_ratio"] - 1, "", ""))  # fmt: skip
    head = (
        "preset", "after", "slope there", "pimjax differs by", "spread there", "pimjax differs by", "spread of reads differs by", "by formula",
    )  # fmt: skip
    return table(head, rows) + machine("aihwkit_devices")


def aihwkit_tile() -> str:
    """How much merging the cells of a pair moves AIHWKit's own outputs."""
    found = at("aihwkit_devices", "tile_that_merges_pairs")
    if found is None:
        return "(not measured)"
    most = max(abs(found[name] - 1) for name in ("sd_of_tile_over_cells", "slope_of_tile_over_cells"))
    return f"{shown(100 * most, 2)} %"


def digital_parts() -> str:
    """The maps that no other beats, and what rank correlations the scores have."""
    document = load("digital_parts")
    if document is None:
        return machine("digital_parts")
    parts = {
        (score["router"], score["noise_scale"]): [part["part"] for part in score["parts"]]
        for score in document["scores"]
    }
    keys = ("analog_share", "perplexity", "energy_nj", "area_mm2", "latency_ns")
    best = sorted(document["not_beaten"], key=lambda row: (row["router"], row["noise_scale"], -row["analog_share"]))
    rows = (
        (row["router"], row["noise_scale"], _kinds(row["digital"], parts[row["router"], row["noise_scale"]]), *(row[key] for key in keys))
        for row in best
    )  # fmt: skip
    head = ("router", "noise x", "digital", "analog share", "perplexity", "energy, nJ", "area, mm2", "latency, ns")
    return table(head, rows) + machine("digital_parts")


def tile_accuracy() -> str:
    """Cost and accuracy of each kind of tile."""
    document = load("tile_accuracy")
    if document is None:
        return machine("tile_accuracy")
    keys = ("tile", "latency_ns", "energy_nj", "area_mm2", "sqnr_db", "digital_sqnr_db", "perplexity")
    rows = [["" if row[key] is None else row[key] for key in keys] for row in document["rows"]]
    rows.append(["exact products", "", "", "", "", "", document["rows"][0]["exact_perplexity"]])
    head = ("tile", "latency, ns", "energy, nJ", "area, mm2", "SQNR, dB", "SQNR of the macros beside, dB", "perplexity")
    return table(head, rows) + machine("tile_accuracy")


def _kinds(digital: list[int], names: list[str]) -> str:
    """What is digital in words: kinds of dense parts, and how many experts."""
    if len(digital) == len(names):
        return "everything"
    kinds = list(dict.fromkeys(names[part].split()[0] for part in digital if not names[part].startswith("expert")))
    experts = sum(names[part].startswith("expert") for part in digital)
    return ", ".join([*kinds, *([f"{experts} experts"] if experts else [])]) or "nothing"


def digital_orders() -> str:
    """Held-out perplexity with the dense parts and a quarter of the experts digital, by order; rank correlations."""
    document = load("digital_parts")
    if document is None:
        return machine("digital_parts")
    rows = []
    for score in document["scores"]:
        case = (score["router"], score["noise_scale"])
        mine = [row for row in document["rows"] if (row["router"], row["noise_scale"]) == case]
        ends = [row["perplexity"] for row in mine if row["digital_parts"] in (0, len(score["parts"]))]
        count = _quarter(score)
        for name in dict.fromkeys(row["order"] for row in mine):
            found = [row["perplexity"] for row in mine if row["order"] == name and row["digital_parts"] == count]
            correlated = score["rank_correlation_of_experts_with_saved_if_digital"]
            key = {
                "dense, sensitivity": "sensitivity",
                "dense, neuron norm": "neuron_norm",
                "dense, frequency": "frequency",
            }.get(name)
            rows.append(
                (*case, max(ends), min(ends), name, found[0] if found else "", "" if key is None else correlated[key])
            )
    head = (
        "router", "noise x", "all analog", "all digital", "order", "dense and a quarter of the experts digital", "rank correlation",
    )  # fmt: skip
    return table(head, rows) + machine("digital_parts")


def _quarter(score: dict[str, Any]) -> int:
    experts = sum(part["part"].startswith("expert") for part in score["parts"])
    return len(score["parts"]) - experts + experts // 4


def noisy_routing() -> str:
    """What noise does to choices, loads, makespan, latency and energy."""
    document = load("digital_parts")
    if document is None:
        return machine("digital_parts")
    keys = (
        "router", "noisy", "noise_scale", "choices_changed_share", "largest_load_over_mean", "makespan_groups_of_4", "latency_ns", "energy_nj",
    )  # fmt: skip
    head = (
        "router", "noise in", "noise x", "choices changed", "largest load over mean", "makespan, groups of 4", "latency, ns", "energy, nJ",
    )  # fmt: skip
    return table(head, ([row[key] for key in keys] for row in document["routing"])) + machine("digital_parts")


def numbers() -> dict[str, str]:
    """Numbers inside sentences."""
    missing = "(not measured)"
    names = ("rounding", "dense_share", "dense_saves", "one_pass", "three_passes", "front", "front_mixed")
    found = {"aihwkit_tile": aihwkit_tile(), **{f"digital_{name}": missing for name in names}}
    rounded = next((row for row in (load("perplexity_study") or {"rows": []})["rows"] if row["value"] == "ideal"), None)
    if rounded is not None:
        found["digital_rounding"] = (
            f"{shown(100 * (rounded['perplexity'] / at('perplexity_study', 'exact_perplexity') - 1), 2)} %"
        )
    document = load("digital_parts")
    if document is None:
        return found
    saves, one, three = [], [], []
    is_expert = {
        score["router"]: [part["part"].startswith("expert") for part in score["parts"]] for score in document["scores"]
    }
    front = document["not_beaten"]
    mixed = [
        row
        for row in front
        if 0 < sum(is_expert[row["router"]][part] for part in row["digital"]) < sum(is_expert[row["router"]])
    ]
    found |= {"digital_front": str(len(front)), "digital_front_mixed": str(len(mixed))}
    for score in document["scores"]:
        rows = [
            row
            for row in document["rows"]
            if (row["router"], row["noise_scale"]) == (score["router"], score["noise_scale"])
        ]
        by_count = {row["digital_parts"]: row for row in rows if row["order"] == "dense, neuron norm"}
        dense = sum(not part["part"].startswith("expert") for part in score["parts"])
        if score["router"] != "token_choice":
            continue
        growth = score["analog_loss"] - score["digital_loss"]
        one.append(f"{shown(100 * score['sensitivity_sum'] / growth, 2)} %")
        three.append(f"{shown(100 * score['sensitivity_sum_of_3_levels'] / growth, 2)} %")
        first, last = by_count[0]["perplexity"], by_count[len(score["parts"])]["perplexity"]
        saves.append(f"{shown(100 * (first - by_count[dense]['perplexity']) / (first - last), 2)} %")
        found["digital_dense_share"] = f"{shown(100 * (1 - by_count[dense]['analog_share']), 2)} %"
    return found | {
        "digital_dense_saves": " and ".join(saves),
        "digital_one_pass": " and ".join(one),
        "digital_three_passes": " and ".join(three),
    }
