"""The page docs/tuning-case-study.md and its figure, written from results/tune_case_study.json.

python benchmarks/pages/tune_case_page.py    # after tune_case_study.py; writes the page and docs/images/tune_case_study.png
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib.paths import DOCS, RESULTS
from benchmarks.lib.tune_case import PARAMETERS

MEASURES = (("latency_ns", "latency"), ("energy_nj", "energy"), ("area_mm2", "area"))
CHIPS = {"paper_multiplexed": "the paper's model, own traces", "gpt_oss_20b": "GPT-OSS-20B, its traces"}
SHORT = {"paper_multiplexed": "paper's model", "gpt_oss_20b": "GPT-OSS-20B"}
TARGET = {
    "edp_nj_ns": "energy x latency, at no more area",
    "latency_ns": "latency, at no more energy and area",
    "edap": "energy x latency x area, at no more latency and area",
}
HEAD = """# From the paper's chips to better ones

S2O and S4O are the paper's chips (arXiv 2602.10254): groups of 2 and 4 experts share one set of peripherals, experts are dealt
to groups by load, tokens rescheduled. `pimjax tune` may move nine hardware numbers, the group size (2 or 4) and the policy
(`reschedule` or `packed`). The crossbar is computed from circuit parameters (`plan.tile: parametric`, equal to the measured HERMES
core at its own parameters), and its product keeps at least 30 dB of signal over quantisation noise, so that ADC bits
cannot simply be given away. The memory is the authors' LPDDR4 channel with their accounting, and wires cost nothing (`system: none`), unlike the default: what is compared are
their chips. The same command makes every number here: `python benchmarks/studies/tune_case_study.py`.

![Tuned chips over published ones](images/tune_case_study.png)

## What came out

Ratios of the tuned chip to the published one, both by the event engine{held}.
"""
WHY = """
## Which parameters moved, and why

For each parameter that moved: its old and new value, and what the tuned chip would lose (+) or gain (-) if that parameter
alone went back, in per cent, by the closed model that was differentiated. A parameter that makes no difference
returns to its old value by itself.
"""
READING = """
## How to read it

- **The published chips convert more finely than asked.** A converter's energy grows steeply with its bits; where 30 dB are asked
  for, seven bits are enough. Going back to eight would cost {bits_energy} % energy.
- **Larger arrays** let each converter serve more cells: fewer conversions for the same products. Going back to 256 rows would
  cost {rows_energy} % energy and {rows_area} % area. What this model leaves out speaks against them (wire resistance, the noise
  of longer columns): ask `pimjax estimate --accuracy perplexity` before you build one.
- **In a prefill the expert part is not what waits.** Attention bounds the latency: with four attention units again it
  would take {attention_latency} % longer, with the old number of digital units {digital_latency} %, for hardly any area.
  `packed` schedules load the crossbars' inputs less often, but loads are seldom on the critical path here: {policy_latency} %.
- **The group size** trades area against time within the expert part; which one wins follows from the objective.

Values at the end of their range in most results: {bounds}. There the range was the limit, not the physics of the model: widen it
(`PARAMETERS` in the script) if your technology allows. Not every limit is active, either: where larger arrays save area and energy
at once, "at no more area" leaves room, and the table shows how much.
"""


def span(document: dict[str, dict[str, Any]], parameter: str, measure: str) -> str:
    """Least and most [%] that undoing a move changes a measure, over all results in which it moved."""
    values = [part["undone"][parameter][measure] for part in document.values() if parameter in part["undone"]]
    if not values:
        return "(never moved)"
    low, high = (f"{value:.0f}" if abs(value) >= 10 else f"{value:.1f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def load() -> dict[str, dict[str, Any]]:
    """Results by name, without the environment."""
    document = json.loads((RESULTS / "tune_case_study.json").read_text(encoding="utf-8"))
    return {name: part for name, part in document.items() if isinstance(part, dict) and "event_ratio" in part}


def parts_of(name: str) -> tuple[str, str]:
    """Configuration and chip of a result's name.

    >>> parts_of("gpt_oss_20b_S4O_equal_area")
    ('gpt_oss_20b', 'S4O')
    """
    for chip in ("S2O", "S4O"):
        base, found, _ = name.partition(f"_{chip}_")
        if found:
            return base, chip
    raise ValueError(f"{name} names no chip")


def results_table(document: dict[str, dict[str, Any]]) -> str:
    """Ratios by the event engine."""
    lines = ["| workload | from | improved | latency | energy | area | area x energy x latency |", "|" + "---|" * 7]
    for name, part in document.items():
        base, chip = parts_of(name)
        ratio = [part["event_ratio"][key] for key, _ in MEASURES]
        product = ratio[0] * ratio[1] * ratio[2]
        cells = " | ".join(f"{value:.3f}" for value in (*ratio, product))
        lines.append(f"| {CHIPS[base]} | {chip} | {TARGET[part['objective']]} | {cells} |")
    return "\n".join(lines) + "\n"


def moves_table(document: dict[str, dict[str, Any]]) -> str:
    """What every move is worth."""
    lines = ["| chip | parameter | from | to | objective | latency | energy | area |", "|" + "---|" * 8]
    for name, part in document.items():
        base, chip = parts_of(name)
        label = f"{SHORT[base]} {chip}, {name.rsplit('_', 1)[1]}"
        worth = sorted(part["undone"].items(), key=lambda item: -item[1]["objective"])
        for key, change in worth:
            old, new = (f"{value:.3g}" if isinstance(value, (int, float)) else value for value in part["moved"][key])
            cells = " | ".join(f"{change[measure]:+.1f}" for measure in ("objective", *(m for m, _ in MEASURES)))
            broken = "" if change["limits_hold"] else " (breaks a limit)"
            lines.append(f"| {label} | `{key}`{broken} | {old} | {new} | {cells} |")
            label = ""
    return "\n".join(lines) + "\n"


def at_bounds(document: dict[str, dict[str, Any]]) -> str:
    """Parameters that ended on a bound in most results."""
    found = []
    for key, parameter in PARAMETERS.items():
        ends = parameter.get("levels") or (parameter["low"], parameter["high"])
        values = [part["settings"][key] for part in document.values()]
        for end in (ends[0], ends[-1]):
            if sum(value == end for value in values) > len(values) / 2:
                found.append(f"`{key}` {end:g}")
    return ", ".join(found) or "none here"


def draw(document: dict[str, dict[str, Any]], target: Path) -> None:
    """Bars of the three ratios."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(12, 4), constrained_layout=True)
    for shift, (key, label) in enumerate(MEASURES):
        places = [index + 0.27 * (shift - 1) for index in range(len(document))]
        axis.bar(places, [part["event_ratio"][key] for part in document.values()], 0.25, label=label)
    names = [f"{SHORT[parts_of(name)[0]]}\n{parts_of(name)[1]}, {name.rsplit('_', 1)[1]}" for name in document]
    axis.set_xticks(range(len(document)), names, fontsize=7)
    axis.axhline(1.0, color="black", linewidth=0.8)
    axis.set_ylabel("tuned / published, event engine")
    axis.set_ylim(0, 1.2)
    axis.legend(fontsize=8, ncols=3)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def main() -> None:
    """Write page and figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="make the tables, write nothing")
    arguments = parser.parse_args()
    document = load()
    broken = [name for name, part in document.items() if part["event_excess"]]
    held = f", which finds a limit broken in {', '.join(broken)}" if broken else ", which finds every limit kept"
    text = HEAD.format(held=held) + "\n" + results_table(document) + WHY + "\n" + moves_table(document)
    text += READING.format(
        bounds=at_bounds(document),
        bits_energy=span(document, "hardware.adc_bits", "energy_nj"),
        rows_energy=span(document, "hardware.crossbar_rows", "energy_nj"),
        rows_area=span(document, "hardware.crossbar_rows", "area_mm2"),
        attention_latency=span(document, "hardware.num_attention_units", "latency_ns"),
        digital_latency=span(document, "hardware.num_digital_units", "latency_ns"),
        policy_latency=span(document, "plan.policy", "latency_ns"),
    )
    if arguments.quick:
        print(text)
        return
    (DOCS / "tuning-case-study.md").write_text(text, encoding="utf-8")
    draw(document, DOCS / "images" / "tune_case_study.png")
    print(DOCS / "tuning-case-study.md")


if __name__ == "__main__":
    main()
