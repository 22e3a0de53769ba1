"""Where output goes: results to stdout (one JSON document with --json), progress and warnings to stderr."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

stdout = Console(soft_wrap=False, highlight=False)
stderr = Console(stderr=True, highlight=False)


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what native code prints to stdout (gloo reports its connections there) to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def emit_json(document: Any) -> None:
    """Print one JSON document to stdout; NaN and infinity become null."""
    sys.stdout.write(json.dumps(finite(document), indent=2, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """A copy that JSON can hold: NumPy becomes Python, what is not finite becomes None."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, text: int = 1) -> Table:
    """A plain table: the first `text` columns are left-aligned text, the others right-aligned numbers.

    Keys and numbers are never broken over lines; on narrow terminals the columns of sentences give way.
    """
    cells = [[cell if isinstance(cell, str) else shown(cell) for cell in row] for row in rows]
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0),
                 show_header=any(columns))  # fmt: skip
    for index, column in enumerate(columns):
        sentences = any(" " in row[index] for row in cells)
        justify = "left" if index < text else "right"
        made.add_column(column, justify=justify, header_style="dim", overflow="fold", no_wrap=not sentences)
    for row in cells:
        made.add_row(*row)
    return made


def shown(value: Any, digits: int = 4) -> str:
    """A number for people: thousands separated, `digits` significant digits, an en dash for nothing.

    >>> shown(244282.5), shown(0.00123456), shown(None)
    ('244,282', '0.001235', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    number = float(value)
    if not math.isfinite(number):
        return str(number)
    if number == 0:
        return "0"
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.{digits}g}"


_SCALES = {
    "ns": ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1, "ns")),
    "nJ": ((1e9, "J"), (1e6, "mJ"), (1e3, "uJ"), (1, "nJ"), (1e-3, "pJ")),
    "B": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")),
}


def with_unit(value: float, unit: str) -> str:
    """A quantity in the multiple of `unit` that reads best.

    >>> with_unit(244282.5, "ns")
    '244.3 us'
    """
    for scale, name in _SCALES.get(unit, ((1, unit),)):
        if abs(value) >= scale:
            return f"{value / scale:.4g} {name}"
    return f"{value:.4g} {unit}"
