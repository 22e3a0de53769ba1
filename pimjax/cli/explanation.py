"""How `pimjax estimate --explain` prints an explanation: tables with numbered sources."""

from __future__ import annotations

from typing import Any

from pimjax.cli.output import shown, stdout, table, with_unit


class _Sources:
    """Numbers sources in order of appearance, so that a table shows "1, 3" in place of sentences."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __call__(self, *texts: str) -> str:
        return ", ".join(str(self.numbers.setdefault(text, len(self.numbers) + 1)) for text in texts)

    def show(self) -> None:
        stdout.print("\nSources", style="bold")
        for text, number in self.numbers.items():
            stdout.print(f"  {number:>2}  {text}")


def show_explanation(report: dict[str, Any]) -> None:
    """Everything in the report of :func:`pimjax.estimation.explain.explain`."""
    sources = _Sources()
    stdout.print("\nWhat bounds the latency", style="bold")
    for row in report["bounds"][:3]:
        meaning = row["meaning"]
        named = meaning if meaning.startswith(f"{row['plain']}:") else f"{row['plain']}: {meaning}"
        stdout.print(f"  {row['share']:6.1%}  {named}")
    _show_components(report, sources)
    if "tile" in report:
        _show_tile(report["tile"], sources)
    if "digital_tile" in report:
        _show_tile(report["digital_tile"], sources, "digital macro")
    if "weights" in report:
        _show_weights(report["weights"], outside="residency" not in report)
    if "residency" in report:
        _show_residency(report["residency"])
    if "tiers" in report:
        _show_tiers(report["tiers"])
    if "heat" in report:
        full = report["heat"]
        stdout.print(
            f"\nA die all of whose crossbars work at once: {shown(full['density_w_per_mm2'])} W/mm2, "
            f"{shown(full['w_per_reticle'])} W per reticle, {shown(full['rise_k'])} K above what cools it"
        )
    sources.show()
    stdout.print()
    rows = [(row["key"], row["meaning"], row["value"], _range(row["range"])) for row in report["assumptions"]]
    stdout.print(table("Assumptions without a published source", ("key", "meaning", "value", "range"), rows, text=2))
    for sentence in report.get("leaning", ()):
        stdout.print(f"\nIn one line: {sentence}", style="bold")
    stdout.print()
    for sentence in report["not_modelled"]:
        stdout.print(sentence, style="dim")


def _show_tiers(crossbars: list[float]) -> None:
    stdout.print()
    rows = [(str(tier), _whole(count)) for tier, count in enumerate(crossbars, 1)]
    stdout.print(table("Crossbars of experts on each tier, lowest first", ("tier", "crossbars"), rows))


def _show_components(report: dict[str, Any], sources: _Sources) -> None:
    rows = [
        (
            row["plain"],
            _whole(row["count"]),
            row["unit_cost"],
            row["busy"],
            row["total"],
            f"{row['share']:.1%}",
            sources(*row["sources"]),
        )
        for row in report["latency_ns"]
    ]
    stdout.print()
    stdout.heading("Latency in ns", "count x one = busy; what of it is on the critical path")
    heads = ("component", "count", "one", "busy", "on the path", "share", "source")
    stdout.print(table(None, heads, rows))
    for key, title in (("energy_nj", "Energy in nJ"), ("area_mm2", "Area in mm2")):
        rows = [
            (
                row["plain"],
                row["counted"] or "-",
                _whole(row["count"]),
                row["unit_cost"],
                row["total"],
                f"{row['share']:.1%}",
                sources(*row["sources"]),
            )
            for row in report[key]
        ]
        stdout.print()
        stdout.heading(title, "count x one = total")
        heads = ("component", "counted", "count", "one", "total", "share", "source")
        stdout.print(table(None, heads, rows, text=2))


def _whole(count: float | None) -> float | int | None:
    return int(count) if count is not None and float(count).is_integer() else count


def _show_tile(tile: dict[str, Any], sources: _Sources, name: str = "crossbar core") -> None:
    for key, unit, title in (
        ("area", "mm2", "area in mm2"),
        ("energy", "nj", "energy of a product in nJ"),
        ("latency", "ns", "time of a product in ns"),
    ):
        each = key != "latency"  # parts work at once: a time has no count
        rows = []
        for row in tile["parts"]:
            total = row[f"{key}_{unit}"]
            if total:
                unit_cost = (int(row["count"]), row[f"unit_{key}_{unit}"]) if each else ()
                rows.append(
                    (
                        row["part"].replace("_", " "),
                        *unit_cost,
                        total,
                        f"{row[f'{key}_share']:.1%}",
                        sources(row["source"]),
                    )
                )
        stdout.print(f"\nOne {name} ({tile['kind']}): {title}", style="bold")
        heads = ("part", *(("count", "one") if each else ()), "total", "share", "source")
        stdout.print(table(None, heads, rows))
    for sentence in tile["outside_validity"]:
        stdout.note(sentence, "outside its range")


def _show_residency(found: dict[str, Any]) -> None:
    years = found["lifetime_years"]
    wear = "and nothing wears" if years is None else f"and its devices last {with_unit(years, 'years')} of such runs"
    stdout.print(
        f"\nThe chip holds {found['resident_experts']} of {found['experts']} experts of each layer ({found['replacement']}): "
        f"{found['expert_hit_rate']:.1%} of the visits find theirs, {wear}"
    )


def _show_weights(weights: dict[str, Any], *, outside: bool = True) -> None:
    stdout.print()
    names = {
        "crossbar": "one crossbar",
        "expert_swap": "one expert, its group blocked",
        "digital_expert_swap": "one expert on digital macros",
        "model_load": "the whole model, expert by expert",
    }
    rows = [
        (names[key], row["crossbars"], with_unit(row["time_ns"], "ns"), with_unit(row["energy_nj"], "nJ"))
        for key, row in weights.items()
    ]
    title = "Writing weights (outside the run)" if outside else "Writing weights"
    stdout.print(table(title, ("what", "crossbars", "time", "energy"), rows))


def _range(bounds: Any) -> str:
    return f"{bounds[0]:g} to {bounds[1]:g}" if bounds else "-"
