"""Write docs/from-crossbar-to-rack.md and its figure from results/levels_study.json.

python benchmarks/pages/levels_page.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib.headlines import document
from benchmarks.lib.paths import DOCS, IMAGES

PAGE, FIGURE = DOCS / "from-crossbar-to-rack.md", IMAGES / "from-crossbar-to-rack.png"
MEANING = {
    "crossbar": "256 x 256 devices with their converters: products, leakage of peripherals",
    "group": "experts that share peripherals: multiplexers, adders of partial sums, loads and blocks sent",
    "die": "one reticle: wires and routers, attention and digital units, buffers",
    "package": "four dies and their memory: links between dies and packages, keys and values, embeddings",
}


def _conclusion(row: dict[str, Any]) -> str:
    first = row["bound_by"][0]
    energy = max(row["levels"], key=lambda level: level["energy_share"])
    return (
        f"GPT-OSS-20B with one request in flight needs {row['dies']:,.0f} dies in {row['packages']:,.0f} packages, whose crossbars work "
        f"{100 * row['utilisation']:.2f} % of the time; {first['share']:.0%} of its latency is {first['what']}, and the {energy['level']} level takes "
        f"{energy['energy_share']:.0%} of its energy."
    )


def _area(mm2: float) -> str:
    return f"{mm2:,.0f}" if mm2 >= 10 else f"{mm2:.3f}"


def page_text() -> str:
    """The page."""
    found = document("levels_study")
    lines = [
        "# From one crossbar to a rack",
        "",
        _conclusion(found["rows"][0]),
        "",
        "A prompt of 128 tokens and 64 tokens after it, dies and packages of `system: dies`, fluid model; written by `python benchmarks/pages/levels_page.py` from "
        "`python benchmarks/studies/levels_study.py`. A level's shares are of what it adds; area and mean power of one hold what is inside it. Shares of the mean power are those of the energy.",
        "",
        "![Shares of area, energy and latency by level](images/from-crossbar-to-rack.png)",
        "",
    ]
    for row in found["rows"]:
        lines += [
            f"## {row['chip'][0].upper()}{row['chip'][1:]}",
            "",
            f"{row['tokens_per_s']:,.0f} tokens/s, {1e3 * row['joule_per_token']:.2f} mJ per token, {row['area_mm2']:,.0f} mm2 ({row['silicon_area_mm2']:,.0f} mm2 made for "
            f"good dies), {row['power_w']:,.1f} W in the mean, {row['peak_power_w']:,.0f} W at most, junction {row['junction_c']:.0f} C; a token goes to "
            f"{row['die_crossings_per_token']:.0f} other dies.",
            "",
            "| level | what it adds | how many | area of one [mm2] | mean power of one [W] | of the area | energy per token [mJ] | latency [us] |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for level in row["levels"]:
            lines.append(
                f"| {level['level']} | {MEANING[level['level']]} | {level['count']:,.0f} | {_area(level['area_mm2_of_one'])} | {level['mean_power_w_of_one']:.2g} | "
                f"{level['area_share']:.1%} | {1e3 * row['joule_per_token'] * level['energy_share']:.3f} ({level['energy_share']:.1%}) | "
                f"{1e-3 * row['latency_ns'] * level['latency_share']:,.0f} ({level['latency_share']:.1%}) |"
            )
        lines += [
            f"| pod | all packages of one copy of the model | 1 | {row['area_mm2']:,.0f} | {row['power_w']:,.3g} | 100 % | {1e3 * row['joule_per_token']:.3f} | {1e-3 * row['latency_ns']:,.0f} |",
            "",
            "Bound by " + ", ".join(f"{one['what']} ({one['share']:.0%})" for one in row["bound_by"]) + ".",
            "",
        ]
    lines += [
        "How the preset was sized: [](sized-chips.md); what each level is made of: [](system.md), [](power.md), [](memory.md).",
        "",
    ]
    return "\n".join(lines)


def draw() -> None:
    """Bars of shares, one row a chip and measure."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from pimjax.report.palette import OKABE_ITO

    colours = dict(
        zip(MEANING, (OKABE_ITO["blue"], OKABE_ITO["purple"], OKABE_ITO["green"], OKABE_ITO["vermilion"]), strict=True)
    )
    rows = document("levels_study")["rows"]
    figure, axes = plt.subplots(len(rows), 1, figsize=(8, 2.0 * len(rows) + 0.6), sharex=True)
    for axis, row in zip(axes, rows, strict=True):
        for place, title in enumerate(("latency", "energy", "area")):
            left = 0.0
            for level in row["levels"]:
                share = level[f"{title}_share"]
                axis.barh(
                    place, share, left=left, color=colours[level["level"]], label=level["level"] if place == 0 else None
                )
                if share > 0.06:
                    axis.text(
                        left + share / 2, place, f"{share:.0%}", ha="center", va="center", color="white", fontsize=9
                    )
                left += share
        axis.set_yticks(range(3), ("latency", "energy", "area"))
        axis.set_xlim(0, 1)
        axis.set_title(
            f"{row['chip']}: {row['dies']:,.0f} dies, {row['tokens_per_s']:,.0f} tokens/s, {1e3 * row['joule_per_token']:.1f} mJ per token",
            fontsize=10, loc="left",
        )  # fmt: skip
        for side in ("top", "right", "bottom"):
            axis.spines[side].set_visible(False)
    axes[-1].set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(FIGURE, dpi=130)


def main() -> None:
    """Write, or say that the page is not what the results make."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page_text():
            sys.exit(f"{PAGE.name} is not what levels_study.json says; run python benchmarks/pages/levels_page.py")
        return
    PAGE.write_text(page_text(), encoding="utf-8")
    draw()


if __name__ == "__main__":
    main()
