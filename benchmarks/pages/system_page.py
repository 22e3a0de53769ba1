"""Write docs/system.md: the flows of a pass priced for GPT-OSS-20B, placement, residency, errors of the fast models.

python benchmarks/pages/system_page.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib.headlines import document
from benchmarks.lib.paths import DOCS
from pimjax.chips.multiplexed.geometry import geometry
from pimjax.config import build, load_config
from pimjax.config.base import field_facts
from pimjax.config.system import DIE_LINKS, SystemSection
from pimjax.system import FlowCounts, PassShape, core_pitch_mm, network_energy_nj, pass_fill_ns, pass_flows

PAGE = DOCS / "system.md"
TOP_K, GROUP_SIZE, SHARED = 4, 2, 0.8

INTRODUCTION = """# The system around the crossbars

Written by `python benchmarks/pages/system_page.py`. A model of real size needs many dies, and their wires and links are not
free. `pimjax.system` prices them: pure functions on the numbers of `pimjax.config.system.SystemSection`, for NumPy and JAX.

The multiplexed chip reads them with `system: dies` (or a mapping of the keys below); the default preset has them. `system: none` is the chip
with free wires. Dies, packages and the silicon of links then count in the area, flows in the energy (components `noc`, `d2d`),
wires and links in the latency at every fidelity. The flows of linear layers outside the experts, and what memory and units
exchange, are in `pimjax/system/linear_flows.py`. Weights that do not fit: `system.residency: swap`, below.
"""


def shape_of_gpt_oss() -> PassShape:
    """One pass of GPT-OSS-20B in groups of two, a token's groups spread over one full die."""
    config = load_config("gpt_oss_20b", {"plan.group_size": GROUP_SIZE})
    made, hardware = geometry(build(config)[0]), config.hardware
    core: Any = hardware.core_area_mm2  # type: ignore[attr-defined]
    group = core * float(made.expert_tiles) * ((1 - SHARED) * GROUP_SIZE + SHARED)
    up, down = made.expert_up, made.expert_down
    return PassShape(
        width=config.model.d_model, hidden=config.model.d_ff, strip_columns=256.0,
        up_row_blocks=float(up.rows), up_strips=float(up.strips), up_crossbars=float(up.tiles),
        down_row_blocks=float(down.rows), down_strips=float(down.strips), down_crossbars=float(down.tiles),
        gated=1.0, activation_bits=8.0, targets=float(TOP_K), groups_per_token=float(TOP_K), area_mm2=858.0,
        group_area_mm2=group, pitch_mm=float(core_pitch_mm(core)),
    )  # fmt: skip


def flows() -> list[str]:
    """The table of flows."""
    numbers, shape = SystemSection().arrays(), shape_of_gpt_oss()
    table = pass_flows(shape, numbers)
    token = FlowCounts(1.0, float(TOP_K), 1.0, 1.0, 0.0, 0.0, 0.0)
    total = float(network_energy_nj(table, token))
    lines = [
        "## Every flow of an expert pass",
        "",
        f"GPT-OSS-20B, groups of {GROUP_SIZE}, a layer's groups over one die of 858 mm2. The last column is one token in one layer: "
        f"one load, {TOP_K} passes, one other die. Flows of a combining tree replace those to the combine point (`inline`).",
        "",
        "| flow | per | bits | wire [mm] | routers | energy [nJ] | resource | per token and layer [nJ] |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for flow in table:
        each = float(flow.energy_nj * getattr(token, flow.per))
        lines.append(
            f"| {flow.name} | {flow.per} | {float(flow.bits):,.0f} | {float(flow.length_mm):.1f} | {float(flow.hops):.1f} | "
            f"{float(flow.energy_nj):,.1f} | {flow.resource} | {each:,.1f} |"
        )
    crossbars = TOP_K * (float(shape.up_crossbars) + float(shape.down_crossbars)) * 12.48
    lines += [
        f"| **sum** | | | | | | | **{total:,.1f}** |",
        "",
        f"The products of these passes take {crossbars:,.0f} nJ in crossbars: the network adds {100 * total / crossbars:.1f} %. It adds "
        f"{float(pass_fill_ns(shape, numbers)):.0f} ns to the latency of a pass, not to its slot.",
    ]
    return lines


def links() -> list[str]:
    """Kinds of links."""
    lines = [
        "## Links between dies",
        "",
        "Published for both directions together; half of it each way.",
        "",
        "| kind | each way | pJ/bit | one way [ns] | source |",
        "|---|---|---|---|---|",
    ]
    for name, link in DIE_LINKS.items():
        per = "mm2 of bonds" if link.by_area else "mm of edge"
        lines.append(
            f"| `{name}` | {link.bandwidth_gb_per_s_per_mm:,.0f} GB/s per {per} | {link.energy_pj_per_bit:g} | {link.latency_ns:g} | {link.source} |"
        )
    error = document("link_error")
    lines += [
        "",
        "Bytes, busy times and energies of links are exact at every fidelity; the end of an expert phase on the links is:",
        "",
        f"| against the exact simulation, {error['systems']} random systems x windows of real traces | mean | p95 | worst |",
        "|---|---|---|---|",
    ]
    for name in ("fluid", "closed"):
        row = error[name]
        lines.append(
            f"| {name} | {row['mean_percent']:.2f} % | {row['p95_percent']:.1f} % | {row['max_percent']:.1f} % |"
        )
    return [*lines, *chips()]


def chips() -> list[str]:
    """Error of whole chips with a system around them."""
    error = document("system_error")
    lines = [
        "",
        "Latency of whole chips, the links a part of it. Closed and fluid know which slots wait for late tokens, and how many sums",
        "are still to go back then, as lines of the routing (`pimjax.runs.reach.leads_of`):",
        "",
        f"| against `event`, {error['systems']} random chips x windows of real traces | mean | p95 | worst | the same chips without a system: mean, p95 |",
        "|---|---|---|---|---|",
    ]
    for name in ("fluid", "closed"):
        row, alone = error["all"][name], error["all"][f"{name}_alone"]
        lines.append(
            f"| {name} | {row['mean_percent']:.2f} % | {row['p95_percent']:.1f} % | {row['max_percent']:.1f} % | "
            f"{alone['mean_percent']:.2f} %, {alone['p95_percent']:.1f} % |"
        )
    return lines


def placement() -> list[str]:
    """Crossings of both placements."""
    found = document("placement_study")
    lines = [
        "## Which die holds which expert",
        "",
        f"GPT-OSS-20B, all {found['layers']} layers, {found['requests']} requests in {found['folds']} folds: fitted on four, judged on the fifth. "
        "A crossing is a token that goes to a die other than the home die of its layer, per token and layer.",
        "",
        "| dies per layer | needed by | contiguous | co-activation | saved, 95 % interval | other domains: contiguous, co-activation |",
        "|---|---|---|---|---|---|",
    ]
    for dies in sorted(set(found["dies_per_layer"].values())):
        row = found[f"dies={dies}"]
        saved = row["crossings_saved_percent"]
        needed = "; ".join(name for name, count in found["dies_per_layer"].items() if count == dies)
        lines.append(
            f"| {dies} | {needed} | {row['crossings_contiguous']['mean']:.3f} | {row['crossings_coactivation']['mean']:.3f} | "
            f"{saved['mean']:.1f} % ({saved['low']:.1f} to {saved['high']:.1f}) | "
            f"{row['crossings_contiguous_other_domains']:.3f}, {row['crossings_coactivation_other_domains']:.3f} |"
        )
    lines += [
        "",
        "Experts that tokens choose together are also wanted at the same time: on one die they share fewer groups. Whole groups on dies, "
        "slots of unseen requests over those of groups that know no die (`balanced`), and crossings:",
        "",
        "| groups | dies | contiguous | co-activation | groups first, then dies |",
        "|---|---|---|---|---|",
    ]
    for dies in sorted(set(found["dies_per_layer"].values())):
        for size in (2, 4, 8):
            row = found[f"dies={dies}"].get(f"g={size}")
            if row is not None:
                cells = [
                    f"{row[f'more_slots_{name}_percent']:+.1f} % slots, {row[f'crossings_{name}']:.3f}"
                    for name in ("contiguous", "coactivation", "groups_first")
                ]
                lines.append(f"| g = {size} | {dies} | {' | '.join(cells)} |")
    lines += [
        "",
        "`plain`: groups side by side, cut where a die ends (7, 5, 4 dies at g = 2, 4, 8); `tiers`: the experts of a group stacked; "
        "`whole groups`: no group is cut.",
    ]
    return lines


def residency() -> list[str]:
    """Chips that hold a part of their experts."""
    found = document("residency_study")
    memory, requests = found["memory"], len(found["requests"])
    lines = [
        "## Weights that do not fit",
        "",
        "With `system.residency: swap` a layer has crossbars for `system.resident_experts` experts: a cache, whose *places* share",
        "peripherals, lie on dies and leak as the experts of a chip that holds them all. Which tokens find their experts is exact on the",
        "run's trace, from the prompt through every decode step (`pimjax/runs/residency.py`); the places hold the first experts at the",
        "start, loaded before the run, so that `resident_experts` = all is `residency: all` to the digit. An expert that is missing is",
        "fetched from the memory and written over another, the longer of both counts, one expert after the other, while everything else",
        "stands still: an upper bound, and the same at every fidelity. The component is `expert_swap`; `expert_hit_rate` and",
        "`lifetime_years` (of the place that a run writes most) are beside it. The memory must hold all experts. `pimjax serve` and",
        "expert choice refuse it; bytes on their way cost wires of a die, but the die's own network does not slow them.",
        "",
        f"`{found['preset']}` in groups of {found['set']['plan.group_size']} decoding {found['generated_tokens']} tokens after a prompt of "
        f"{found['prompt_tokens']}, mean of {requests} recorded requests, closed form. A miss is {found['expert_bytes'] * 1e-6:.1f} MB from "
        f"{memory['channels']:.0f} channels of {memory['preset']} ({memory['bandwidth_gb_per_s']:,.0f} GB/s, {memory['energy_pj_per_bit']:g} pJ/bit), "
        f"which hold {memory['capacity_gb']:,.0f} GB ({found['all_experts_gb']:.1f} GB are experts), and writing its crossbars: 8.3 ms on PCM, 256 ns on SRAM "
        "macros. Analog: all crossbars are; digital: the experts are SRAM macros.",
        "",
        "| experts | policy | held | hits (least, most) | tokens/s | mJ per token (swapping) | prompt [ms] | mm2, dies | lifetime [years] |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        policy = row["replacement"].upper() if row["hit_rate"] < 1 else "-"
        lines.append(
            f"| {row['tile']} | {policy} | {row['resident_experts']} of 32 | {100 * row['hit_rate']:.1f} % "
            f"({100 * row['hit_rate_least']:.0f}, {100 * row['hit_rate_most']:.0f}) | {row['tokens_per_s']:,.{1 if row['tokens_per_s'] < 100 else 0}f} | "
            f"{row['energy_mj_per_token']:,.{1 if row['energy_mj_per_token'] < 100 else 0}f} ({100 * row['swap_energy_share']:.0f} %) | "
            f"{row['prefill_ms']:,.{1 if row['prefill_ms'] < 100 else 0}f} | {row['area_mm2']:,.0f}, {row['dies']:.0f} | {_years(row['lifetime_years'])} |"
        )
    analog, digital = (
        next(row for row in found["rows"] if row["tile"] == tile and row["resident_experts"] == 16)
        for tile in ("analog", "digital")
    )
    whole = {row["tile"]: row for row in found["rows"] if row["resident_experts"] == 32}
    lines += [
        "",
        f"Half of the experts on PCM decode {whole['analog']['tokens_per_s'] / analog['tokens_per_s']:,.0f} times slower than all of them and wear out in "
        f"{365.25 * analog['lifetime_years']:.1f} days of such decoding (1e7 cycles, ten per write; 1e6 to 1e8 are published): analog chips must hold their "
        f"model. Half on SRAM macros decode {whole['digital']['tokens_per_s'] / digital['tokens_per_s']:.1f} times slower on "
        f"{100 * digital['dies'] / whole['digital']['dies']:.0f} % of the dies, without wear, for {digital['energy_mj_per_token'] / whole['digital']['energy_mj_per_token']:.0f} "
        "times the energy. A prompt is worse off than decoding: its tokens come one after the other, and fetch an expert again that left between "
        f"them. Taken expert by expert, which is not modelled, it would fetch each once: {_least_prompt_ms(found, whole['analog'], analog) * 1e-3:.1f} s in "
        f"place of {analog['prefill_ms'] * 1e-3:.1f} s for half of them on PCM.",
    ]
    return lines


def _least_prompt_ms(found: dict[str, Any], whole: dict[str, Any], part: dict[str, Any]) -> float:
    """A prompt whose missing experts are fetched once each: every expert is asked for, and the first ones are there."""
    visits = found["prompt_tokens"] * TOP_K * found["layers"]
    each = (part["prefill_ms"] - whole["prefill_ms"]) / ((1 - part["prefill_hit_rate"]) * visits)
    return whole["prefill_ms"] + found["layers"] * (whole["resident_experts"] - part["resident_experts"]) * each


def _years(years: float | None) -> str:
    return "no wear" if years is None else f"{years:.3g}"


def numbers() -> list[str]:
    """The section's numbers."""
    lines = ["## Numbers", "", "| key | default | range | unit | source |", "|---|---|---|---|---|"]
    for name, facts in field_facts(SystemSection).items():
        if not facts["unit"]:
            continue
        spread = "" if not facts["spread"] else f"{facts['spread'][0]:g} to {facts['spread'][1]:g}"
        mark = " [U]" if facts["assumed"] else ""
        default = "of the kind" if facts["default"] is None else f"{facts['default']:g}"
        lines.append(f"| `{name}` | {default}{mark} | {spread} | {facts['unit']} | {facts['source']} |")
    return lines


def page() -> str:
    """The page's text."""
    parts = [INTRODUCTION.splitlines(), flows(), links(), placement(), residency(), numbers()]
    return "\n".join("\n".join(part) + "\n" for part in parts)


def main() -> None:
    """Write the page, or with --check exit 1 when it is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args()
    if options.check:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
            sys.exit("docs/system.md is not what the results say: run python benchmarks/pages/system_page.py")
        return
    PAGE.write_text(page(), encoding="utf-8")
    print("wrote", PAGE)


if __name__ == "__main__":
    main()
