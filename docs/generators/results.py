"""Reading the committed results of benchmarks/results, and tables in Markdown."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib.paths import COMMITTED as RESULTS
from benchmarks.lib.scripts import script_of


@functools.cache
def load(name: str) -> dict[str, Any] | None:
    """`benchmarks/results/<name>.json`, or None where it has not been measured."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def at(name: str, *path: str | int) -> Any:
    """A value inside a result file; None where the file is missing."""
    value: Any = load(name)
    for key in path:
        if value is None:
            return None
        value = value[key]
    return value


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; numbers to four digits."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(shown(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def shown(value: Any, digits: int = 4) -> str:
    """A cell: numbers to `digits`, grouped by thousands; None as a dash.

    >>> shown(1234567.0), shown(0.00012345), shown(None)
    ('1,235,000', '0.0001234', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, (int, float)):
        text = str(value).replace("|", "\\|").replace("\n", " ")
        return text if "`" in text else text.replace("*", "\\*")
    if isinstance(value, int):
        return f"{value:,}"
    if 1e3 <= abs(value) < 1e15:
        return f"{float(f'{value:.{digits}g}'):,.0f}"
    return f"{value:.{digits}g}"


def machine(name: str) -> str:
    """One line on how and where a result was made."""
    document = load(name)
    if document is None:
        return f"*Not measured yet: `python {script_of(name)}`.*\n"
    facts = document["environment"]
    threads = document.get("threads", facts["cpu_threads_allowed"])
    where = f"{facts['devices']} x {facts['device']}"
    if facts["platform"] == "cpu":
        where = f"CPU, {facts['cpu_cores']} cores, {threads} thread{'s' if threads != 1 else ''} allowed"
    return (
        f"*`{facts['command']}`: {where}, jax {facts['jax']}, numpy {facts['numpy']}, "
        f"Python {facts['python']}, {facts['date']}.*\n"
    )
