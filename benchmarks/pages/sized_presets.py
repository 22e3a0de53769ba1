"""Size the shipped presets of real models: their YAML files, results/sized_presets.json and the table of docs/sized-chips.md.

python benchmarks/pages/sized_presets.py              # all of them: some minutes
python benchmarks/pages/sized_presets.py mixtral_8x7b # one
python benchmarks/pages/sized_presets.py --estimate   # the chips stay as they are, their estimates are made again
python benchmarks/pages/sized_presets.py --check      # files and page are what the JSON says
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib.harness import environment
from benchmarks.lib.paths import DOCS, RESULTS, ROOT
from benchmarks.lib.results import write

MODELS = {
    "gpt_oss_20b": "gpt-oss-20b",
    "mixtral_8x7b": "mixtral-8x7b",
    "qwen3_30b_a3b": "qwen3-30b-a3b",
    "olmoe_1b_7b": "olmoe-1b-7b",
    "deepseek_v2_lite": "deepseek-v2-lite",
    "llama_moe_3_5b_4_16": "llama-moe-3-5b-4-16",
}
RUN = {"workload.generated_tokens": 64, "workload.kv_cache": True, "system": "dies"}
"""What a chip is sized for: the preset's prompt of 128 tokens and 64 tokens decoded after it, keys and values kept, with the
dies that it fills and everything between them."""
INLINE = {"plan.combine": "inline"}
"""Where digital units bound over half of the run and more of them do not help, because a token's sums follow each other: outputs of
experts are added on their way back."""
AIR, COLD_PLATE = {"hardware.cooling_k_mm2_per_w": 80.0}, {"hardware.cooling_k_mm2_per_w": 30.0}
"""Thermal resistances of docs/power.md: a chip that gets too hot in air has a cold plate. It changes no other number."""
PAGE = DOCS / "sized-chips.md"
TARGET = RESULTS / "sized_presets.json"
SECTIONS = ("hardware", "plan")
WANTED = (
    "latency_ns", "area_mm2", "silicon_area_mm2", "crossbars", "dies", "packages", "power_w", "peak_power_w", "junction_c", "tokens_per_s",
    "utilisation", "die_crossings_per_token", "link_busy_share",
)  # fmt: skip


def command(row: dict[str, Any]) -> str:
    """The command that sizes a preset."""
    given = " ".join(f"--set {key}={_plain(value).lower()}" for key, value in {**RUN, **row["given"]}.items())
    return f"pimjax size {row['model']} {given}"


def sized(model: str) -> dict[str, Any]:
    """One row: what was chosen, and what the chip then does."""
    from pimjax.tuning import size

    for given in ({"plan.combine": "digital"}, INLINE):
        found = size(model, settings={**RUN, **given})
        if found.is_balanced:
            break
    chosen = {
        "model": model,
        "date": datetime.date.today().isoformat(),
        "settings": found.settings,
        "given": given if given == INLINE else {},
        "listed": found.chips,
        "by_fluid": found.refined,
    }
    return {**chosen, **measured(chosen)}


def measured(row: dict[str, Any]) -> dict[str, Any]:
    """What the chip of a row does on the run, and how it has to be cooled."""
    import pimjax
    from pimjax import status
    from pimjax.chips import CHIPS
    from pimjax.estimation.balance import parts

    given = {key: value for key, value in row["given"].items() if key not in COLD_PLATE}
    for cooling in (AIR, COLD_PLATE):
        config = pimjax.load_config(row["model"], {**RUN, **row["settings"], **given, **cooling})
        result = pimjax.estimate(config, fidelity="fluid")
        if not int(result.status) & status.TOO_HOT:
            break
    numbers, shares = result.to_dict(), parts(result, CHIPS[config.chip_model])
    return {
        "given": given if cooling == AIR else {**given, **cooling},
        **{key: numbers[key] for key in WANTED},
        "joule_per_token": numbers["power_w"] / numbers["tokens_per_s"],
        "status": numbers["status_text"],
        "is_balanced": not any(part.is_short for part in shares),
        "latency_shares": {part.family: part.latency_share for part in shares if part.latency_share > 0.01},
        "area_shares": {part.family: part.area_share for part in shares if part.area_share > 0},
    }


def preset_text(row: dict[str, Any]) -> str:
    """The YAML file of one preset."""
    settings = {**row["settings"], **row["given"]}
    memory = {"preset": settings.pop("memory", "hbm3"), "channels": settings.pop("hardware.memory_channels", 1.0)}
    parts: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for key, value in settings.items():
        section, _, name = key.partition(".")
        parts[section][name] = value
    return "\n".join(
        (
            f"# Sized on {row['date']} by: {command(row)}",
            f'description: "{MODELS[row["model"]]} on multiplexed HERMES crossbars, sized for it"',
            "chip_model: multiplexed",
            f"hardware: {_inline({'preset': 'hermes', **parts['hardware']})}",
            f"memory: {_inline(memory)}",
            f"model: {row['model']}",
            "workload: {trace: {kind: zipf, tokens: 128}}",
            f"plan: {_inline({'preset': 'grouped_2', **parts['plan']})}",
            "system: dies",
            "",
        )
    )


def _inline(values: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {_plain(value)}" for key, value in values.items()) + "}"


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def page(rows: list[dict[str, Any]]) -> str:
    """docs/sized-chips.md."""
    lines = [
        "# Chips sized for real models",
        "",
        _conclusion(rows),
        "",
        "Written by `python benchmarks/pages/sized_presets.py`, which also writes the presets: each begins with the command that sized it and the date. A chip is sized "
        "for a prompt of 128 tokens and 64 tokens decoded after it, one request, with dies, wires and links (`system: dies`); `latency x area` is made small "
        "([](tuning.md)). What is said of it is of that run, by the fluid model.",
        "",
        "## What was chosen",
        "",
        "| preset | experts that share peripherals | digital units | attention units | accumulator lanes | experts' outputs are added | memory | crossbars | area [mm2] | made for good dies [mm2] |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        chosen = row["settings"]
        cells = (
            f"`{row['model']}`",
            f"{chosen.get('plan.group_size', 1)}",
            *(f"{chosen[f'hardware.{name}']:g}" for name in ("num_digital_units", "num_attention_units", "accumulator_lanes")),
            "in return links" if INLINE.items() <= row["given"].items() else "by digital units",
            f"{chosen['hardware.memory_channels']:g} x {chosen['memory']}",
            *(f"{row[name]:,.0f}" for name in ("crossbars", "area_mm2", "silicon_area_mm2")),
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "## What the chips do",
        "",
        "| preset | dies | packages | mean power [W] | peak power [W] | cooled by | junction [C] | tokens/s | mJ per token | crossbars at work | bound by |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        bounds = ", ".join(f"{_named(family)} {share:.0%}" for family, share in list(row["latency_shares"].items())[:3])
        cells = (
            f"`{row['model']}`",
            *(f"{row[name]:,.0f}" for name in ("dies", "packages", "power_w", "peak_power_w")),
            "cold plate" if COLD_PLATE.keys() <= row["given"].keys() else "air",
            *(f"{row[name]:,.0f}" for name in ("junction_c", "tokens_per_s")),
            f"{1e3 * row['joule_per_token']:.3g}",
            f"{row['utilisation']:.2%}",
            bounds,
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Tokens/s are the 64 tokens over the whole run, its prompt included. Mean power is the energy of the run over its time, one request in flight; peak power and junction "
        "are upper bounds: what could be busy at once, kept up for ever, with the power of every memory stack on one die ([](power.md)): few stacks suffice, but they are cheap beside "
        "the crossbars, and `latency x area` takes many. Families of units are those of `pimjax estimate --explain`; links are those between dies and packages and the wires of dies.",
        "",
        _rule(rows),
        "",
    ]
    return "\n".join(lines)


def _named(family: str) -> str:
    return f"{family} units" if family in ("digital", "attention") else family


def _conclusion(rows: list[dict[str, Any]]) -> str:
    """The first sentence."""

    def span(name: str, factor: float = 1.0, digits: int = 0) -> str:
        low, high = (f"{factor * pick(row[name] for row in rows):,.{digits}f}" for pick in (min, max))
        return low if low == high else f"{low} to {high}"

    firsts: dict[str, int] = {}
    for row in rows:
        first = next(iter(row["latency_shares"]))
        firsts[first] = firsts.get(first, 0) + 1
    bounds = ", ".join(
        f"{_named(family)} ({count} of {len(rows)})"
        for family, count in sorted(firsts.items(), key=lambda one: -one[1])
    )
    return (
        f"The {len(rows)} models need {span('dies')} dies in {span('packages')} packages, decode {span('tokens_per_s')} tokens/s for one request at "
        f"{span('joule_per_token', 1e3, 1)} mJ per token, and their crossbars work {span('utilisation', 100, 2)} % of the time; what bounds most of a run: {bounds}."
    )  # fmt: skip


def _rule(rows: list[dict[str, Any]]) -> str:
    """Whether any chip leaves a cheap part to bound it."""
    broken = [f"`{row['model']}`" for row in rows if not row["is_balanced"]]
    rule = "No units below 1 % of the area should bound more than half of a run: "
    inline = [f"`{row['model']}`" for row in rows if INLINE.items() <= row["given"].items()]
    how = (
        f" A token's additions and normalisations follow each other, so that more digital units do not shorten them: of {', '.join(inline)} they would bound over half, and the outputs "
        "of its experts are added on their way back instead."
        if inline
        else ""
    )
    return rule + ("none of these chips breaks the rule." if not broken else f"{', '.join(broken)} break it.") + how


def main() -> None:
    """Size and write, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=", ".join(MODELS))
    parser.add_argument("--estimate", action="store_true", help="keep what was chosen, estimate the chips again")
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args()
    rows = {row["model"]: row for row in json.loads(TARGET.read_text())["rows"]} if TARGET.exists() else {}
    for model in () if options.check else options.models or MODELS:
        kept = options.estimate and rows[model]
        rows[model] = {**kept, **measured(kept)} if kept else sized(model)
        print(model, rows[model]["settings"], flush=True)
        write(
            TARGET,
            {
                "environment": {**environment(), "command": "python benchmarks/pages/sized_presets.py"},
                "rows": [rows[one] for one in MODELS if one in rows],
            },
        )
        _write(ROOT / "configs" / f"{model}.yaml", preset_text(rows[model]))
    texts = {ROOT / "configs" / f"{model}.yaml": preset_text(row) for model, row in rows.items()}
    texts[PAGE] = page([rows[model] for model in MODELS if model in rows])
    if not options.check:
        _write(PAGE, texts[PAGE])
        return
    wrong = [
        path.relative_to(ROOT).as_posix()
        for path, text in texts.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if wrong:
        sys.exit(f"not what {TARGET.name} says: {', '.join(wrong)}; run python benchmarks/pages/sized_presets.py")


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    main()
