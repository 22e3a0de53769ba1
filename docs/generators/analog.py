"""Tables of crossbar numerics: cells against AIHWKit, which parts of a model stay digital, what noise does to routing."""

from __future__ import annotations

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
