"""Figures of docs/caches.md from `results/generation_study.json`: the paper's cache figure, the sweeps.

python benchmarks/pages/generation_figures.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from benchmarks.lib.paths import IMAGES, RESULTS

COLOURS = {"none": "#8A8F98", "kv": "#56B4E9", "go": "#E69F00", "kv+go": "#0072B2", "kv+go, thresholds": "#009E73"}
NAMES = {"none": "no cache", "kv": "KV", "go": "GO", "kv+go": "KV + GO", "kv+go, thresholds": "KV + GO, thresholds"}
STYLE = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}


def cache_figure(section: dict[str, Any], path: Path) -> Path:
    """Latency and energy of generating 8 to 128 tokens with every cache set, every chip."""
    rows = section["rows"]
    chips = list(dict.fromkeys(row["chip"] for row in rows))
    tokens = sorted({row["tokens"] for row in rows})
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, len(chips), figsize=(12, 4.8), sharey="row", layout="constrained")
        for column, chip in enumerate(chips):
            for row, (key, theirs, unit) in enumerate(
                (("decode_ns", "authors_ns", "latency [ms]"), ("decode_nj", "authors_nj", "energy [mJ]"))
            ):
                panel = axes[row][column]
                for offset, name in enumerate(("none", "kv", "go", "kv+go")):
                    mine = [one for one in rows if one["chip"] == chip and one["caches"] == name]
                    places = [tokens.index(one["tokens"]) + (offset - 1.5) * 0.2 for one in mine]
                    panel.bar(places, [one[key] / 1e6 for one in mine], 0.18, color=COLOURS[name], label=NAMES[name])
                    known = [(p, one[theirs] / 1e6) for p, one in zip(places, mine, strict=True) if one[theirs]]
                    if known:
                        panel.scatter(*zip(*known, strict=True), marker="_", s=60, color="black", zorder=3,
                                      label="authors' simulator" if name == "kv+go" else None)  # fmt: skip
                panel.set_yscale("log")
                panel.set_xticks(range(len(tokens)), [str(count) for count in tokens])
                panel.grid(axis="y", alpha=0.25)
                if column == 0:
                    panel.set_ylabel(unit)
                if row == 0:
                    panel.set_title(chip if " " in chip else chip + " chip", loc="left", fontweight="bold")
                else:
                    panel.set_xlabel("tokens generated after a prompt of 32")
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=5)
        figure.savefig(path, dpi=160)
        plt.close(figure)
    return path


def sweep_figure(section: dict[str, Any], path: Path) -> Path:
    """Speed-up and energy saving against each quantity; below 1 a cache does not pay."""
    axes_of = {axis: points for axis, points in section["axes"].items() if axis not in ("capacity rule", "memory")}
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, len(axes_of), figsize=(11, 4.8), sharey="row", layout="constrained")
        for column, (axis, points) in enumerate(axes_of.items()):
            for row, (key, label) in enumerate((("speedup", "times faster"), ("energy_saving", "times less energy"))):
                panel = axes[row][column]
                panel.axhline(1, color="black", linewidth=0.8)
                for index, name in enumerate(("kv", "go", "kv+go", "kv+go, thresholds")):
                    values = [next(c[key] for c in point["cases"] if c["caches"] == name) for point in points]
                    panel.plot([point["value"] for point in points], values, marker="osD^"[index], markersize=4 - (index == 3),
                               linestyle="--" if index == 3 else "-", color=COLOURS[name], label=NAMES[name])  # fmt: skip
                panel.set_xscale("log", base=2)
                panel.set_yscale("log")
                panel.grid(alpha=0.25)
                panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}" if value < 1024 else f"{value / 1024:g}k")
                if column == 0:
                    panel.set_ylabel(label + " than no cache")
                if row:
                    panel.set_xlabel(axis)
        figure.legend(*axes[0][0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=4)
        figure.savefig(path, dpi=150)
        plt.close(figure)
    return path


def main() -> None:
    results = json.loads((RESULTS / "generation_study.json").read_text())
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, draw, file in (
        ("cache_figure", cache_figure, "cache_figure.png"),
        ("sweeps", sweep_figure, "cache_sweeps.png"),
    ):
        if name in results:
            print("wrote", draw(results[name], IMAGES / file))


if __name__ == "__main__":
    main()
