"""What sharing is worth: tables and numbers of the page, from the committed study."""

from __future__ import annotations

from typing import Any

from generators.results import at, load, machine, shown, table

_FEW, _MANY = 5.0, 512.0


def _rows(part: str, **wanted: Any) -> list[dict[str, Any]]:
    document = load("worth_study")
    rows = document[part] if document else []
    return [row for row in rows if all(row[key.replace("ratio", "t_load/t_stage")] == v for key, v in wanted.items())]


def _cell(part: str, value: str, digits: int = 3, factor: float = 1.0, **wanted: Any) -> str:
    rows = _rows(part, **wanted)
    return shown(rows[0][value] * factor, digits) if rows else "(not measured)"


def _plan(value: str, digits: int = 3, factor: float = 1.0, *, accumulate: str = "local", **wanted: Any) -> str:
    return _cell("tables", value, digits, factor, accumulate=accumulate, **wanted)


def times() -> str:
    """Time, energy and gain of plans, few and many units side by side."""
    rows = []
    for size in (1, 2, 4, 8):
        for policy in ("token_wise", "compact", "reschedule", "packed"):
            for ratio in (0.1, 0.35, 1.5):
                cells = [
                    f"{_plan(name, 3, factor, g=size, policy=policy, ratio=ratio, units=_FEW)} / "
                    f"{_plan(name, 3, factor, g=size, policy=policy, ratio=ratio, units=_MANY)}"
                    for name, factor in (
                        ("moe_ns_per_token_and_layer", 1.0), ("nj_per_token_and_layer", 1e-3),
                        ("gain_over_token_wise", 1.0), ("gain_of_sharing_alone", 1.0),
                    )
                ]  # fmt: skip
                rows.append((size, f"`{policy}`", ratio, *cells))
    head = ("g", "policy", "t_load/t_stage", "ns", "uJ", "gain over token by token, g = 1", "gain of sharing alone")
    return table(head, rows) + "\n" + machine("worth_study")


def alternatives() -> str:
    """Other ways to spend the area, at the three load times."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in _rows("alternatives"):
        found.setdefault(row["alternative"] + (f" ({row['note']})" if row["note"] else ""), []).append(row)
    rows = [
        (name, part[0]["moe_mm2"], " / ".join(shown(row["gain"], 3) for row in part)) for name, part in found.items()
    ]
    return table(("alternative", "experts at four layers, mm2", "gain at 0.1 / 0.35 / 1.5"), rows)


def memories() -> str:
    """Steps of generation with and without caches, by memory."""
    document = load("worth_generation")
    if document is None:
        return machine("worth_generation")
    rows = [
        (
            row["memory"],
            shown(row["no_cache"]["ns_per_step"] / 1e3, 3),
            shown(row["kv_and_gate_outputs"]["ns_per_step"] / 1e3, 3),
            shown(row["speedup"], 3),
            shown(row["energy_saving"], 3),
        )
        for row in document["rows"]
    ]
    head = ("memory", "no cache, us per step", "KV and gate-output cache, us per step", "speed-up", "energy saving")
    return table(head, rows) + "\n" + machine("worth_generation")


def wires() -> str:
    """Time and gain of plans whose wires and links are counted, few and many units side by side."""
    rows = []
    for size in (1, 2, 4, 8):
        for policy in ("token_wise", "packed"):
            for ratio in (0.1, 0.35, 1.5):
                cells = [
                    f"{_cell('wires', name, g=size, policy=policy, ratio=ratio, units=_FEW)} / "
                    f"{_cell('wires', name, g=size, policy=policy, ratio=ratio, units=_MANY)}"
                    for name in ("moe_ns_per_token_and_layer", "gain_over_token_wise")
                ]
                rows.append((size, f"`{policy}`", ratio, *cells))
    head = ("g", "policy", "t_load/t_stage", "ns", "gain over token by token, g = 1")
    return table(head, rows) + "\n" + machine("worth_study")


def _wires_of_claims() -> dict[str, str]:
    """What wires change on the default chip: names with and without them."""
    out = {}
    for network, prefix in (("dies", "wires"), ("none", "free")):
        for name, *path in (
            ("chip_efficiency", "efficiency", "chip_gops_per_w_per_mm2_of_chip"),
            ("sharing", "sharing", "value"),
            ("schedule_alone", "sharing", "schedule_alone"),
            ("sharing_alone", "sharing", "sharing_alone"),
        ):
            value = at("worth_wires", network, *path)
            out[f"{prefix}_{name}"] = shown(value, 3) if value is not None else "(not measured)"
    for name, *path in (
        ("latency_percent", "changed_percent", "prefill", "latency_ns"),
        ("energy_percent", "changed_percent", "prefill", "energy_nj"),
        ("area_percent", "changed_percent", "prefill", "area_mm2"),
    ):
        value = at("worth_wires", *path)
        out[f"wires_{name}"] = shown(value, 2) if value is not None else "(not measured)"
    ends = [at("worth_wires", one, "efficiency", "chip_gops_per_w_per_mm2_of_chip") for one in ("dies", "none")]
    loss = "(not measured)" if None in ends else shown(100 * (1 - ends[0] / ends[1]), 2)
    return {**out, "wires_efficiency_loss": loss}


def numbers() -> dict[str, str]:
    """Name -> text of every number that the page's sentences quote."""
    document, caches = load("worth_study"), load("worth_generation")
    gain, alone, ns = "gain_over_token_wise", "gain_of_sharing_alone", "moe_ns_per_token_and_layer"
    many: dict[str, Any] = {"ratio": 0.35, "units": _MANY}
    slow: dict[str, Any] = {"ratio": 1.5, "units": _MANY, "g": 2}
    units: dict[str, Any] = {"ratio": 0.35, "units": _FEW}
    low: dict[str, Any] = {"ratio": 0.35, "units": _MANY, "s": 0.4}
    high: dict[str, Any] = {"ratio": 0.35, "units": _FEW, "s": 0.8}
    deep: dict[str, Any] = {"ratio": 0.35, "g": 4}
    all_layers: dict[str, Any] = {"g": 1, "layers_that_share": 24}
    out = {
        "tokens": str(document["tokens"]) if document else "(not measured)",
        "requests": str(document["requests"]) if document else "(not measured)",
        "pairs": _plan(gain, 3, g=2, policy="packed", **many),
        "pairs_alone": _plan(alone, 3, g=2, policy="packed", **many),
        "schedule_alone": _plan(gain, 3, g=1, policy="packed", **many),
        "fours": _plan(gain, 3, g=4, policy="packed", **many),
        "eights": _plan(gain, 3, g=8, policy="packed", **many),
        "slow_packed": _plan(gain, 3, policy="packed", **slow),
        "slow_token": _plan(gain, 3, policy="token_wise", **slow),
        "slow_compact": _plan(gain, 3, policy="compact", **slow),
        "few_fours": _plan(gain, 3, g=4, policy="packed", **units),
        "few_best": _cell("regime_map", gain, 3, **high),
        "few_best_g": _cell("regime_map", "g", 2, **high),
        "digital_us": _plan(ns, 2, 1e-3, accumulate="digital", g=2, policy="packed", **units),
        "digital_eights": _plan(gain, 3, accumulate="digital", g=8, policy="packed", **units),
        "energy_alone": _plan("nj_per_token_and_layer", 3, 1e-3, g=1, policy="token_wise", **units),
        "energy_eights": _plan("nj_per_token_and_layer", 3, 1e-3, g=8, policy="packed", **many),
        "low_s": _cell("regime_map", gain, 3, **low),
        "low_s_alone": _cell("regime_map", "gain_over_best_without_sharing", 3, **low),
        "pair_slow": _cell("alternatives", "gain", 3, alternative="share = pair, g = 2", ratio=1.5),
        "layers_area": _cell("across_layers", "area_factor", 3, **all_layers),
        "layers_mux_ns": _cell("across_layers", "multiplexer_ns", 2, **all_layers),
        "compact_double": _cell("deeper_buffer", "double_buffer_ns_per_token_and_layer", 3, policy="compact", **deep),
        "compact_deep": _cell("deeper_buffer", "unlimited_buffer_ns_per_token_and_layer", 3, policy="compact", **deep),
        "wired_pairs": _cell("wires", gain, 3, g=2, policy="packed", **many),
        "wired_schedule": _cell("wires", gain, 3, g=1, policy="packed", **many),
        "wired_slow": _cell("wires", gain, 3, g=1, policy="packed", units=_MANY, ratio=1.5),
        "packed_double": _cell("deeper_buffer", "double_buffer_ns_per_token_and_layer", 3, policy="packed", **deep),
    }
    memories = {row["memory"]: row for row in caches["rows"]} if caches else {}
    free = "same, wires and links free"
    default, authors = "HBM3, one stack, streaming, wires (default)", "LPDDR4, one channel (the authors')"
    for name, memory, *path, factor, digits in (
        ("cache_speedup", default, "speedup", 1.0, 3),
        ("cache_saving", default, "energy_saving", 1.0, 3),
        ("free_speedup", free, "speedup", 1.0, 3),
        ("free_saving", free, "energy_saving", 1.0, 3),
        ("cache_us", default, "kv_and_gate_outputs", "ns_per_step", 1e-3, 2),
        ("plain_us", default, "no_cache", "ns_per_step", 1e-3, 3),
        ("authors_speedup", authors, "speedup", 1.0, 2),
        ("authors_saving", authors, "energy_saving", 1.0, 2),
        ("authors_kv_us", authors, "kv_and_gate_outputs", "critical_ns_per_step", "dram_kv", 1e-3, 3),
        ("authors_plain_us", authors, "no_cache", "ns_per_step", 1e-3, 3),
        ("authors_embedding_us", authors, "no_cache", "critical_ns_per_step", "embedding", 1e-3, 3),
    ):
        value: Any = memories.get(memory)
        for key in path:
            value = value[key] if value is not None else None
        out[name] = shown(value * factor, digits) if value is not None else "(not measured)"
    return {f"worth_{name}": text for name, text in out.items()} | _wires_of_claims()
