"""Tables of the page on caches, from the studies of caches and generation."""

from __future__ import annotations

from typing import Any

from generators.results import at, load, machine, script_of, table

SETS = ("none", "kv", "go", "kv+go", "kv+go, thresholds")


def _missing(name: str) -> str:
    return f"Not measured yet: `python {script_of(name)}` writes this table.\n"


def gap() -> str:
    """Cached decoding against a deep stack recomputed on each prefix."""
    rows = at("expert_choice_gap", "rows")
    if rows is None:
        return _missing("expert_choice_gap")
    head = ("weights", "layers", "median", "90 %", "largest", "old admissions changed", "cached against one pass")
    cells = [
        (
            row["weights"],
            row["layers"],
            *(f"{row[key]:.2%}" for key in ("median_relative_gap", "p90_relative_gap", "max_relative_gap")),
            f"{row['old_admissions_changed']:.1%}",
            f"{row['cached_against_one_pass_max_relative']:.1e}",
        )
        for row in rows
    ]
    return table(head, cells) + "\n" + machine("expert_choice_gap")


def _study(section: str) -> Any:
    return (load("generation_study") or {}).get(section)


def headline() -> str:
    """The authors' headline run with the traffic that its totals leave out."""
    found = _study("forgotten")
    if found is None:
        return _missing("generation_study")
    rows = [
        ("time of the KV + GO run", f"+{found['missing_ns'] / 1e3:.1f} us", f"{found['share_of_time']:.1%} of it"),
        ("energy of that run", f"+{found['missing_nj'] / 1e3:.1f} uJ", f"{found['share_of_energy']:.1%} of it"),
        ("speed-up over no cache", f"{found['speedup']:.2f}x", f"{found['speedup_if_counted']:.2f}x"),
        ("energy saving over no cache", f"{found['saving']:.2f}x", f"{found['saving_if_counted']:.2f}x"),
    ]
    return table(("8 tokens after 32", "as published, or missing", "with the traffic counted, or share"), rows)


def sweeps() -> str:
    """Speed-up and energy saving of every cache set."""
    found = _study("sweeps")
    if found is None:
        return _missing("generation_study")
    rows = []
    for axis, points in found["axes"].items():
        for point in points:
            cases = {case["caches"]: case for case in point["cases"]}
            gains = [f"{cases[name]['speedup']:.2f}x / {cases[name]['energy_saving']:.2f}x" for name in SETS[1:]]
            rows.append((axis, point["value"], *gains))
    return table(("varied", "value", "KV", "GO", "KV + GO", "KV + GO, thresholds"), rows) + "\n" + machine("generation_study")  # fmt: skip


def fidelity() -> str:
    """Closed form against the event engine."""
    found = _study("fidelity")
    if found is None:
        return _missing("generation_study")
    rows = [
        (row["preset"], row["prompt_tokens"], row["generated_tokens"], row["caches"], f"{row['latency_error']:+.2%}", f"{row['energy_error']:+.2%}")
        for row in found["rows"]
    ]  # fmt: skip
    return table(("preset", "prompt", "generated", "caches", "run time", "energy"), rows)


def longest() -> str:
    """Host time of the longest run."""
    found = _study("long")
    if found is None:
        return _missing("generation_study")
    rows = [
        (row["caches"], row["fidelity"], row["seconds"], row["token_ns"][0] / 1e6, row["token_ns"][-1] / 1e6, row["tokens_per_s"])
        for row in found["rows"]
    ]  # fmt: skip
    head = ("caches", "fidelity", "host time, s", "first token step, ms", "last, ms", "tokens/s")
    return table(head, rows)


def yardstick() -> str:
    """Whole models on the chip and on GPUs."""
    found = _study("yardstick")
    if found is None:
        return _missing("generation_study")
    runs: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in found["rows"]:
        runs.setdefault((row["model"], row["batch_size"], row["caches"]), []).append(row)
    rows = []
    for run, chips in runs.items():
        for row in chips:
            numbers = (row["tokens_per_s"], row["energy_per_token_nj"] / 1e6, f"{row['area_mm2']:,.0f} mm2")
            rows.append((*run, f"chip, {row['memory']}", *numbers))
        for gpu in chips[0]["gpus"]:
            note = "" if gpu["fits"] else "does not fit one device"
            rows.append((*run, gpu["name"], gpu["tokens_per_s"], gpu["energy_per_token_nj"] / 1e6, note))
    return table(("model", "batch", "caches", "on", "tokens/s", "mJ per token", ""), rows)
