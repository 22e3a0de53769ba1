"""The rows that a sweep selected, as lines of a table for people."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from pimjax.array_typing import HostArray

_ROWS = 20


def selected_lines(
    columns: dict[str, HostArray], goals: Sequence[str], file: str, *, width: int = 80, rows: int = _ROWS
) -> list[str]:
    """A table of the first selected rows that fits `width` columns, and what it leaves out. Host.

    The metrics that were selected by come first, then the axes that vary, then the others. A column that
    no longer fits is named below the table.

    Args:
        columns: `[rows]` each: kind, point, trace, axes (names with a dot), metrics.
        goals: metrics that were selected by.
        file: where all rows and columns are.
        width: characters of a line.
        rows: most rows shown.

    >>> made = {"kind": np.array(["pareto"] * 2), "point": np.arange(2), "trace": np.array(["a", "a"]),
    ...         "hardware.tiers": np.array([1.0, 2.0]), "latency_ns": np.array([2e6, 1e6])}
    >>> print("\\n".join(selected_lines(made, ["latency_ns"], "selection.csv")))
    selected points (pareto): 2 (all columns: selection.csv)
    point  latency_ns  tiers
        0   2,000,000      1
        1   1,000,000      2
    """
    count = len(columns["point"])
    if not count:
        return ["selected points: none keeps the constraints, or none is usable"]
    varying = [n for n in columns if n not in ("kind", "point") and len(np.unique(columns[n][:_MOST].astype(str))) > 1]
    axes = [name for name in varying if "." in name or name == "trace"]
    metrics = [name for name in columns if "." not in name and name not in ("kind", "point", "trace")]
    kinds = np.unique(columns["kind"]).tolist()
    order = ["kind"] * (len(kinds) > 1) + ["point"]
    order += dict.fromkeys([*(goal for goal in goals if goal in metrics), *axes, *metrics])
    leaves = [name.rpartition(".")[2] for name in order]
    shown: list[tuple[int, list[str], list[str]]] = []
    left_out, used = [], 0
    for name, leaf in zip(order, leaves, strict=True):
        cells = [_cell(value) for value in columns[name][:rows].tolist()]
        head = _wrapped(leaf if leaves.count(leaf) == 1 else name, max(_HEAD, *map(len, cells)))
        size = max(map(len, (*head, *cells)))
        if used + size + 2 * bool(shown) > width:
            left_out.append(name)
            continue
        used += size + 2 * bool(shown)
        shown.append((size, head, cells))
    high = max(len(head) for _, head, _ in shown)
    of = f" ({kinds[0]})" if len(kinds) == 1 else ""
    lines = [f"selected points{of}: {count:,} (all columns: {_printable(file)})"]
    table = [[text.rjust(size) for text in ([""] * (high - len(head)) + head + cells)] for size, head, cells in shown]
    lines += ["  ".join(parts) for parts in zip(*table, strict=True)]
    if count > rows:
        lines.append(f"... and {count - rows:,} more")
    if left_out:
        lines.append(f"not shown: {', '.join(map(_printable, left_out))}")
    return lines


_MOST = 10_000
"""Rows looked at to see whether a column varies."""


_HEAD = 10
"""Width from which a column's name is broken at its underscores."""


def _wrapped(name: str, size: int) -> list[str]:
    """A name in lines of about `size` characters, broken before underscores and dots.

    >>> _wrapped("link_bandwidth_gb_per_s", 10)
    ['link', '_bandwidth', '_gb_per_s']
    """
    lines = [""]
    for part in re.split(r"(?=[_.])", _printable(name)):
        if lines[-1] and len(lines[-1]) + len(part) > size:
            lines.append("")
        lines[-1] += part
    return lines


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 and np.isfinite(value) else f"{value:.4g}"
    return _printable(str(value))[-24:]


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)
