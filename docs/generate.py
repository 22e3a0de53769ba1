"""Pages made from the code: the configuration reference from the schema, the API reference from `pimjax.__all__`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pimjax
from pimjax.config.base import Section, field_facts
from pimjax.config.config import SECTIONS

PACKAGES = (
    "config", "trace", "schedule", "cache", "numerics", "nn", "circuit", "event", "chips.reference",
    "chips.multiplexed", "estimation", "batch", "tuning", "reproduction", "report",
)  # fmt: skip


def write_all(folder: Path) -> None:
    """Write every generated page (only where its text changed, so that rebuilds stay incremental)."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"configuration.md": configuration_page(), "api.rst": api_page()}
    for name, text in pages.items():
        target = folder / name
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")


def configuration_page() -> str:
    """Every key of every section: default, unit, plausible range, meaning, source."""
    lines = [
        "# Configuration reference",
        "",
        "Made from the schema. `[U]` marks an assumption without a published source; its range is what studies sweep.",
        "Any key can be overridden on the command line: `--set section.key=value`.",
        "",
    ]
    for name, section in SECTIONS.items():
        summary = inspect.getdoc(section) or ""
        lines += [f"## `{name}`", "", summary.splitlines()[0], ""]
        lines += _table(section, "")
    return "\n".join(lines) + "\n"


def _table(section: type[Section], prefix: str) -> list[str]:
    lines = ["| key | default | unit | range | meaning | source |", "|---|---|---|---|---|---|"]
    nested: list[tuple[str, type[Section]]] = []
    for key, facts in field_facts(section).items():
        inner = section.model_fields[key].annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            nested.append((key, inner))
            continue
        spread = " to ".join(f"{bound:g}" for bound in facts["spread"]) if facts["spread"] else ""
        source = facts["source"] + (" [U]" if facts["assumed"] else "")
        meaning = facts["about"].removesuffix(f" [{facts['unit']}]")
        lines.append(
            f"| `{prefix}{key}` | `{_shown(facts['default'])}` | {facts['unit']} | {spread} | {_cell(meaning)} | {_cell(source)} |"
        )
    lines.append("")
    for key, inner in nested:
        lines += [f"### `{prefix}{key}`", "", *_table(inner, f"{prefix}{key}.")]
    return lines


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def api_page() -> str:
    """The public names, then the packages behind them."""
    lines = ["API reference", "=============", "", "Public names", "------------", ""]
    for name in pimjax.__all__:
        thing = getattr(pimjax, name)
        if inspect.ismodule(thing) or name.startswith("_"):
            continue
        kind = "autoclass" if inspect.isclass(thing) else "autofunction" if callable(thing) else "autodata"
        home = getattr(thing, "__module__", "pimjax") if kind != "autodata" else "pimjax"
        lines += [f".. {kind}:: {home}.{getattr(thing, '__name__', name) if kind != 'autodata' else name}"]
        lines += ["   :members:", ""] if kind == "autoclass" else [""]
    return "\n".join(lines) + "\n"
