"""Area efficiency of the MoE part by group size: the authors' method, and the chip with everything counted."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.batch.api import estimate_batch
from pimjax.chips.run_cost import COMPONENT_INDEX, OP_INDEX
from pimjax.config.loader import load_config
from pimjax.report.figures.style import label_bars
from pimjax.report.palette import POLICY_COLOURS, POLICY_NAMES
from pimjax.reproduction.claims import area_factor
from pimjax.reproduction.lines import PROMPT_TOKENS, published, published_lines
from pimjax.reproduction.run import fast_costs
from pimjax.schedule import POLICIES

NAME = "area_efficiency"
ABOUT = "area efficiency of the MoE part by group size: the authors' method and the multiplexed chip"
HEIGHT = {"column": 4.4, "page": 2.4}
SIZES = (1, 2, 4, 8)


def authors_method() -> dict[str, float]:
    """Gain of each published prefill over no sharing: speed over the area factor 0.2 + 0.8/g (fluid)."""
    lines = [line for line in published_lines() if line.name.startswith("prefill ")]
    latency = fast_costs(lines, "fluid")["latency_ns"]
    names = [line.name.split()[1] for line in lines]
    base = float(latency[names.index("1")])
    return {
        name: base / float(value) / area_factor(int(name[1]))
        for name, value in zip(names, latency, strict=True)
        if name != "1"
    }


def multiplexed() -> dict[str, list[float]]:
    """Expert passes per ns and mm2 (crossbars and buffers) against groups of one, token by token (closed)."""
    configs = [
        load_config(
            "paper_multiplexed",
            {
                "workload.prompt_tokens": PROMPT_TOKENS,
                "plan.group_size": size,
                "plan.grouping": "sorted" if size > 1 else "uniform",
                "plan.policy": policy,
            },
        )
        for policy in POLICIES
        for size in SIZES
    ]
    fields = ["moe_latency_ns", "moe_area_mm2", "component_area_mm2", "op_counts"]
    result = estimate_batch(configs, None, "closed", pairing="zip", fields=fields)
    area = np.asarray(result.moe_area_mm2) + np.asarray(result.component_area_mm2)[:, COMPONENT_INDEX["buffers"]]
    passes = np.asarray(result.op_counts)[:, OP_INDEX["expert_pass"]]
    efficiency = (passes / (np.asarray(result.moe_latency_ns) * area)).reshape(len(POLICIES), len(SIZES))
    gains = efficiency / efficiency[list(POLICIES).index("token_wise"), 0]
    return {policy: gains[row].tolist() for row, policy in enumerate(POLICIES)}


def draw(figure: Any, page: bool) -> None:
    """Fill an empty figure."""
    left, right = figure.subplots(1, 2) if page else figure.subplots(2, 1)
    gains = authors_method()
    groupings = list(dict.fromkeys(name[:2] for name in gains))
    claim = published()["claims"]["area_efficiency"]
    for offset, (suffix, policy) in enumerate((("C", "compact"), ("O", "reschedule"))):
        bars = left.bar(
            np.arange(len(groupings)) + (offset - 0.5) * 0.4, [gains[name + suffix] for name in groupings], 0.38,
            color=POLICY_COLOURS[policy], label=POLICY_NAMES[policy],
        )  # fmt: skip
        label_bars(left, bars, "{:.1f}")
    left.axhline(1, color="black", linewidth=0.7)
    left.plot([-0.6, len(groupings) - 0.5], [claim, claim], color="black", linewidth=0.8, linestyle=":")
    left.annotate(f"claimed\n{claim:g}", (len(groupings) - 0.45, claim), va="center", fontsize=6.5)
    left.set_xlim(-0.6, len(groupings) + 0.25)
    left.set_xticks(range(len(groupings)), groupings)
    left.set(
        title="Authors' method", xlabel="grouping and experts per group", ylabel="area efficiency against\nno sharing"
    )
    left.set_ylim(0, max(*gains.values(), claim) * 1.24)
    left.legend(loc="upper left", ncols=2)
    found = multiplexed()
    for policy, marker in zip(POLICIES, "osD^", strict=True):
        right.plot(SIZES, found[policy], marker + "-", color=POLICY_COLOURS[policy], label=POLICY_NAMES[policy])
    right.axhline(1, color="black", linewidth=0.7)
    right.set_xscale("log", base=2)
    right.set_xticks(SIZES, [str(size) for size in SIZES])
    right.minorticks_off()
    right.set(
        title="Multiplexed chip, everything counted",
        xlabel="experts per group",
        ylabel="area efficiency against\n1 expert, token-wise",
    )
    right.set_ylim(bottom=0)
    right.grid(axis="y")
    right.legend()
