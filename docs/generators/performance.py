"""Every timing of the committed results, in one shape: what, how large, time, rate, compile time, comparison."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from benchmarks.lib.device_lines import LINES
from benchmarks.lib.paths import ROOT
from generators.results import load, machine, script_of, shown, table

#: Result file -> heading. Files that are not there yet are named as not measured.
FILES = {
    "event_engine": "Exact event engine",
    "reference_speed": "Fast models of the `reference` chip",
    "schedule_speed": "Schedules",
    "batch_speed": "Batches and sweeps",
    "cache_bookkeeping": "Gate-output cache",
    "crossbar_speed": "Crossbar numerics",
    "tune_speed": "Tuning",
}
_TIMES = ("median_s", "wall_s")
_SKIPPED = ("check", "load_average", "load_average_before", "environment")


def summary_table() -> str:
    """One line per benchmark, as `benchmarks/run_all.py` collects them; what was not measured says so."""
    document = load("summary")
    if document is None:
        return "*Not measured yet: `python benchmarks/run_all.py`.*\n"
    rows = [
        (f"`{row['benchmark']}`", row["measures"], row["result"], row["device"], row["date"])
        for row in document["rows"]
    ]
    return table(("benchmark", "what", "result", "device", "date"), rows)


def device_table() -> str:
    """What one accelerator does: every line of `benchmarks/device_check.py`; where there is none, each says so."""
    document = load("device_check_gpu")
    found = document["lines"] if document else {}
    rows: list[tuple[Any, ...]] = []
    for name, line in LINES.items():
        measured = found.get(name, {})
        for entry, value in measured.get("entries", {}).items():
            share = value.get("roofline_fraction")
            bound = "-" if share is None else f"{shown(100 * share, 2)} % ({value['bound_by']})"
            rate = f"{shown(value['per_s'], 3)} {line.unit} per s"
            rows.append(
                (
                    line.about,
                    _words(entry),
                    value["items"],
                    _time(value["median_s"]),
                    rate,
                    _time(value["compile_s"]),
                    bound,
                )
            )
        if not measured.get("entries") or "error" in measured:
            rows.append((line.about, measured.get("error", "not measured"), *[None] * 5))
    head = ("line", "what", "size", "time", "rate", "compile", "of the bound")
    return table(head, rows) + "\n" + (machine("device_check_gpu") if document else machine("device_check"))


def compared_tables() -> str:
    """The kernel and the first answers beside an earlier commit, both measured in one run."""
    parts = []
    sizes = load("kernel_size")
    if sizes is not None:
        rows = [
            (
                program,
                f"{sizes[program]['this']['stablehlo_lines']:,}",
                f"{sizes[program]['other']['stablehlo_lines']:,}",
                _time(sizes[program]["this"]["trace_and_compile_s"]),
                _time(sizes[program]["other"]["trace_and_compile_s"]),
                shown(sizes[program]["ratio"]["trace_and_compile_s"], 2),
            )
            for program in ("closed", "fluid", "gradient")
        ]
        before = sizes["trees"]["other"]
        head = ("multiplexed kernel", "StableHLO lines", f"at {before}", "trace and compile", f"at {before}", "ratio")
        parts += [table(head, rows), "", machine("kernel_size"), "", _sizes_of_chips(sizes), ""]
    parts += _system_sweep()
    rates = load("kernel_throughput")
    if rates is not None:
        about = {
            "closed": "all results, shares of the latency included",
            "unshared": "all results without shares",
            "metrics": "scalar results",
            "gradient": "gradient of the energy-delay product in every number",
        }
        rows = [
            (
                text,
                f"{rates[program]['this']['points_per_s'] / 1e6:.2f} M",
                f"{rates[program]['other']['points_per_s'] / 1e6:.2f} M",
                shown(rates[program]["ratio"], 3),
                f"{rates[program]['this']['operations']:,.0f}",
                f"{rates[program]['this']['bytes']:,.0f}",
                f"{rates[program]['bound']['fraction']:.0%} ({rates[program]['bound']['by']})",
            )
            for program, text in about.items()
        ]
        head = ("closed, every hardware number varied", "points per s", f"at {rates['trees']['other']}", "ratio")
        parts += [table((*head, "operations per point", "bytes per point", "of the bound"), rows), ""]
        parts += [machine("kernel_throughput"), ""]
    answers = load("first_answers")
    if answers is not None:
        rows = [
            (
                f"`{name.replace('_', ' ')}`",
                *(_time(entry[side][f"{start}_s"]) for start in ("cold", "warm") for side in ("this", "other")),
            )
            for name, entry in answers["commands"].items()
        ]
        before = answers["trees"]["other"]
        head = ("command in a new process", "empty caches", f"at {before}", "again", f"at {before}")
        parts += [table(head, rows), "", machine("first_answers"), ""]
    return "\n".join(parts)


def _sizes_of_chips(sizes: dict[str, Any]) -> str:
    """Lines of StableHLO of the paper's chip in further ways."""
    about = {
        "dies": "dies, wires and links around it (`system: dies`)",
        "mixed": "experts on crossbars and digital macros (`plan.expert_tile: mixed`)",
        "mixed, dies": "both",
        "decode": "decode steps",
        "decode, dies": "decode steps, dies, wires and links",
    }
    rows = [
        (
            text,
            *(
                f"{sizes[f'{program}, {chip}']['this']['stablehlo_lines']:,}"
                for program in ("closed", "fluid", "gradient")
            ),
        )
        for chip, text in about.items()
        if f"closed, {chip}" in sizes
    ]
    return table(("the same chip with: StableHLO lines", "closed", "fluid", "gradient"), rows)


def _system_sweep() -> list[str]:
    """What a sweep of many systems takes."""
    found = load("system_sweep")
    if found is None:
        return []
    text = (
        f"{found['systems']:,} systems around GPT-OSS-20B (kind of memory, dies, links, wires, tiers and units all data) ran in "
        f"one program at {found['systems_per_s']:,.0f} systems/s, compiled apart in {found['compile_s']:.0f} s; the "
        f"process held at most {found['peak_bytes'] / 1e9:.1f} GB (limit {found['limit_bytes'] / 1e9:g} GB)."
    )
    return [text, "", machine("system_sweep"), ""]


def performance_tables() -> str:
    """One section per benchmark."""
    parts = []
    for name, heading in FILES.items():
        parts += [f"## {heading}", "", _about(name), ""]
        document = load(name)
        if document is not None:
            parts += [table(("what", "time", "rate", "compile", "compared with"), _rows(document)), ""]
        parts += [machine(name), ""]
    return "\n".join(parts)


def _about(name: str) -> str:
    """First sentence of the script."""
    script = ROOT / script_of(name)
    text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    return f"{text.splitlines()[0]}" if text else ""


def _rows(document: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for path, entry in _timed(document, ()):
        seconds = next((entry[key] for key in _TIMES if key in entry), None)
        rates = [f"{shown(value, 3)} {_unit(key)}" for key, value in entry.items() if _is_rate(key, value)]
        ratios = [f"{_words(key)}: {shown(value, 3)}" for key, value in entry.items() if _is_ratio(key, value)]
        time = _time(seconds) if seconds is not None else "-"
        compiling = _time(entry["compile_s"]) if "compile_s" in entry else "-"
        yield " / ".join(path), time, "; ".join(rates) or "-", compiling, "; ".join(ratios) or "-"


def _timed(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every dictionary that holds a time or a rate, with the names on the way."""
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from _timed(each, (*path, _sizes(each) or str(index)))
    if not isinstance(value, dict):
        return
    if any(key in value for key in _TIMES) or any(_is_rate(key, each) for key, each in value.items()):
        yield tuple(_words(part) for part in path), value
    for key, each in value.items():
        if key not in _SKIPPED and isinstance(each, (dict, list)):
            yield from _timed(each, (*path, key) if key != "rows" else path)


def _sizes(value: Any) -> str:
    """Whole numbers of an entry: its size."""
    if not isinstance(value, dict):
        return ""
    names = [key for key, each in value.items() if isinstance(each, int) and not isinstance(each, bool)]
    return ", ".join(f"{value[key]:,} {_words(key)}" for key in names if key not in ("repeats", "state_bytes"))


def _is_rate(key: str, value: Any) -> bool:
    named = (
        key == "per_s"
        or key.endswith("_per_s")
        or "_per_s_" in key
        or key.endswith("_per_cpu_second")
        or key.startswith("us_per")
    )
    return isinstance(value, (int, float)) and named and not key.startswith(("floor", "required", "copy", "h100"))


def _is_ratio(key: str, value: Any) -> bool:
    return isinstance(value, (int, float)) and key.startswith(("ratio", "speedup", "median_ratio", "roofline"))


def _unit(key: str) -> str:
    return _words(key.replace("per_s", "per s")) if key != "per_s" else "per s"


def _words(key: str) -> str:
    return key.replace("_", " ")


def _time(seconds: float) -> str:
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1:
            return f"{shown(seconds * factor, 3)} {unit}"
    return f"{shown(seconds * 1e9, 3)} ns"
