"""Headline numbers and breakdowns of one estimate, as plain data for a page."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.chips import CHIPS, Chip
from pimjax.config.config import Config
from pimjax.estimation.explain import explain
from pimjax.estimation.result import Estimate
from pimjax.report.measures import number, quantity, scale_of
from pimjax.report.palette import OKABE_ITO, component_colour

_SMALLEST_SHARE = 0.004


def run_contents(config: Config, result: Estimate, fidelity: str) -> dict[str, Any]:
    """What a page shows of a single run.

    Args:
        config: the configuration.
        result: unbatched.
        fidelity: the one that computed it.

    Returns:
        `cards` (label, value, unit, note), `breakdowns` (title, unit, parts with name, value, share, colour),
        `bounds` (sentences), `assumptions` (rows), `not_modelled` and `notes` (sentences).
    """
    facts, report, chip = result.to_dict(), explain(config, result), CHIPS[config.chip_model]
    return {
        "fidelity": fidelity,
        "chip_model": config.chip_model,
        "cards": _cards(facts, report),
        "breakdowns": [
            breakdown(chip, "Latency, critical path", result.critical_ns, "ns"),
            breakdown(chip, "Energy", result.component_energy_nj, "nJ"),
            breakdown(chip, "Area", result.component_area_mm2, "mm2"),
        ],
        "bounds": [
            {"share": row["share"], "name": row["plain"], "meaning": row["meaning"]} for row in report["bounds"][:3]
        ],
        "assumptions": report["assumptions"],
        "not_modelled": report["not_modelled"],
        "notes": [text.partition(": ")[2] or text for text in facts["status_text"]],
    }


def _cards(facts: dict[str, Any], report: dict[str, Any]) -> list[dict[str, str]]:
    first = report["bounds"][0] if report["bounds"] else None
    bound = f"{first['share']:.0%} {first['plain']}" if first else ""
    dies = facts["dies"]
    rows = [
        ("Latency", *quantity(facts["latency_ns"], "ns"), bound),
        ("Energy", *quantity(facts["energy_nj"], "nJ"), f"{number(facts['power_w'])} W on average"),
        (
            "Area",
            number(facts["area_mm2"]),
            "mm2",
            f"{number(facts['crossbars'])} crossbars, {number(dies)} reticle{'s' if dies != 1 else ''}",
        ),
        ("Throughput", number(facts["tokens_per_s"]), "tokens/s", f"{number(facts['gops'])} GOPS"),
        (
            "Efficiency",
            number(facts["gops_per_w_per_mm2"]),
            "GOPS/W/mm2",
            f"{number(facts['gops_per_w'])} GOPS/W, whole chip",
        ),
    ]
    if facts["moe_latency_ns"]:
        value, unit = quantity(facts["moe_latency_ns"], "ns")
        rows.append(("Expert phases", value, unit, f"on {number(facts['moe_area_mm2'])} mm2 of MoE crossbars"))
    hits = facts["expert_hit_rate"]
    if hits is not None and hits < 1:
        years = facts["lifetime_years"]
        wear = "nothing wears" if years is None else f"devices last {' '.join(quantity(years, 'years'))}"
        rows.append(("Experts on the chip", number(100 * hits), "% of visits", wear))
    return [dict(zip(("label", "value", "unit", "note"), row, strict=True)) for row in rows]


def breakdown(chip: Chip, title: str, values: Any, unit: str) -> dict[str, Any]:
    """One bar chart: components by size, the smallest ones gathered, in the unit that reads best.

    >>> import numpy as np
    >>> chip = CHIPS["reference"]
    >>> shares = np.zeros(len(chip.component_names))
    >>> shares[:2] = 3000.0, 1000.0
    >>> [(part["name"], part["share"]) for part in breakdown(chip, "Latency", shares, "ns")["parts"]]
    [('passive power', 0.75), ('crossbar products', 0.25)]
    """
    values = np.asarray(values, float)
    whole = float(values.sum())
    scale, shown_unit = scale_of(float(values.max(initial=0.0)), unit)
    parts, rest = [], 0.0
    for index in np.argsort(-values, kind="stable"):
        value = float(values[index])
        if value <= 0:
            continue
        if value < _SMALLEST_SHARE * whole:
            rest += value
            continue
        spec = chip.spec(chip.component_names[index])
        parts.append(
            {"name": spec.plain, "value": value / scale, "share": value / whole, "colour": component_colour(spec)}
        )
    if rest:
        parts.append({"name": "all others", "value": rest / scale, "share": rest / whole, "colour": OKABE_ITO["grey"]})
    total, total_unit = quantity(whole, unit)
    return {"title": title, "unit": shown_unit, "total": f"{total} {total_unit}", "parts": parts}
