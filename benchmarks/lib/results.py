"""Writing results: JSON that is short in lines, so that a diff shows what changed, and is never half written."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

#: Characters up to which an entry stays on one line, and a row: an item of a list, or plain values by name far inside.
ENTRY, ROW = 120, 1000


def dumps(document: Any) -> str:
    """JSON text, indented by one; small entries, rows of tables and lists of plain values take one line each.

    >>> print(dumps({"rows": [{"size": 1, "seconds": 0.25, "of": "a" * 40}] * 2, "curve": list(range(5))}))
    {
     "rows": [
      {"size": 1, "seconds": 0.25, "of": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
      {"size": 1, "seconds": 0.25, "of": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}
     ],
     "curve": [0, 1, 2, 3, 4]
    }
    """
    return _render(document, 0, 0)


def _render(value: Any, depth: int, limit: int) -> str:
    flat = json.dumps(value)
    if depth > 1 and isinstance(value, dict) and not any(isinstance(item, (dict, list)) for item in value.values()):
        limit = ROW
    if not isinstance(value, (dict, list)) or not value or len(flat) <= limit:
        return flat
    if isinstance(value, list):
        if not any(isinstance(item, (dict, list)) for item in value):
            return flat
        parts, brackets = [_render(item, depth + 1, ROW) for item in value], "[]"
    else:
        parts = [f"{json.dumps(str(key))}: {_render(item, depth + 1, ENTRY)}" for key, item in value.items()]
        brackets = "{}"
    inner = ",\n".join(" " * (depth + 1) + part for part in parts)
    return f"{brackets[0]}\n{inner}\n{' ' * depth}{brackets[1]}"


def write(target: Path, document: Any) -> Path:
    """Write a document to `target` atomically: a reader finds the former file or the whole new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=target.parent, delete=False, suffix=".partial", encoding="utf-8"
    ) as stream:
        stream.write(dumps(document) + "\n")
    os.replace(stream.name, target)
    return target
