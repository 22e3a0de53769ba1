"""Latency and energy of generation with and without caches, by length: the authors' chip, published values marked."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.report.figures.style import label_bars
from pimjax.report.palette import CACHE_COLOURS
from pimjax.reproduction.lines import published, published_lines
from pimjax.reproduction.run import fast_costs

NAME = "cache"
ABOUT = "latency and energy of generation by length, with and without caches (authors' chip, fluid; published values marked)"
HEIGHT = {"column": 4.2, "page": 2.3}
_SETTINGS = {"no cache": "no cache", "kv": "KV", "go": "GO", "kv+go": "KV + GO"}


def runs() -> dict[tuple[int, str], dict[str, Any]]:
    """(generated tokens, cache) -> `latency_ns`, `energy_nj`, and `published` where the authors' value is known."""
    lines = [line for line in published_lines() if line.name.startswith("generate") and "prefill" not in line.name]
    costs = fast_costs(lines, "fluid")
    known = {run["args"]: run for run in published()["runs"]}
    found = {}
    for index, line in enumerate(lines):
        count, caches = line.name.removeprefix("generate ").split(", ")
        found[int(count), caches] = {
            "latency_ns": float(costs["latency_ns"][index]),
            "energy_nj": float(costs["energy_nj"][index]),
            "published": known.get(line.args),
        }
    return found


def _place(offset: int, narrow: bool, count: int) -> float:
    """Bars stand beside each other: four at 8 tokens, where all settings are published, two elsewhere."""
    if count == 8 or narrow:
        return offset - 1.5
    return -0.5 if offset == 0 else 0.5


def draw(figure: Any, page: bool) -> None:
    """Fill an empty figure."""
    found = runs()
    lengths = sorted({count for count, _ in found})
    panels = figure.subplots(1, 2) if page else figure.subplots(2, 1)
    for axes, (key, scale, label) in zip(
        panels, (("latency_ns", 1e6, "latency [ms]"), ("energy_nj", 1e6, "energy [mJ]")), strict=True
    ):
        marked = False
        for offset, (caches, name) in enumerate(_SETTINGS.items()):
            present = [count for count in lengths if (count, caches) in found]
            narrow = caches in ("kv", "go")
            places = np.array([lengths.index(count) + (_place(offset, narrow, count)) * 0.21 for count in present])
            values = [found[count, caches][key] / scale for count in present]
            bars = axes.bar(
                places, values, 0.2, color=CACHE_COLOURS[name], label=name + (" (8 tokens only)" if narrow else "")
            )
            label_bars(axes, bars, "{:.3g}", rotation=90)
            for place, count in zip(places, present, strict=True):
                known = found[count, caches]["published"]
                if known:
                    axes.plot([place - 0.12, place + 0.12], [known[key] / scale] * 2, color="black", linewidth=1.4,
                              label=None if marked else "authors' value")  # fmt: skip
                    marked = True
        axes.set_yscale("log")
        axes.set_ylim(top=axes.get_ylim()[1] * 12)
        axes.set_xticks(range(len(lengths)), [str(count) for count in lengths])
        axes.set(xlabel="generated tokens (prompt of 32)", ylabel=label)
        axes.grid(axis="y")
    panels[0].legend(ncols=2, loc="upper left")
    panels[1].legend().set_visible(False)
