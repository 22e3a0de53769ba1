"""A tuning run's history as plain data for charts: objective by step of every start, parameters before and after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import ConfigError, MissingExtraError
from pimjax.report.measures import MEASURES
from pimjax.report.palette import OKABE_ITO

_NEEDED = {"stage", "step", "start", "variant", "objective", "excess", "evaluations"}
_HUES = ("blue", "orange", "green", "purple", "vermilion", "sky")
_FEASIBLE = 1e-3


def history_file(path: Path) -> Path | None:
    """The Parquet history of a tuning run: the file itself, or the one in a folder; None where there is none."""
    candidates = [path] if path.is_file() else sorted(path.glob("*.parquet")) if path.is_dir() else []
    for candidate in candidates:
        if candidate.suffix == ".parquet" and set(_column_names(candidate)) >= _NEEDED:
            return candidate
    return None


def tune_contents(path: Path) -> dict[str, Any]:
    """What a page shows of a tuning run.

    Args:
        path: the file of `pimjax tune --history`, or a folder that holds it, and beside it, if there is one, the JSON of
            `pimjax tune --json` (measures and parameters before and after).

    Returns:
        `starts` (step, objective relative to the base where known, feasible, variant), `finished` (parameters of the
        finished points), `result` (the JSON's settings and measures, or None), `evaluations`.

    Raises:
        ConfigError: no history there.
        MissingExtraError: pyarrow is missing.
    """
    file = history_file(path)
    if file is None:
        raise ConfigError(
            f"{path}: holds no history of a tuning run; write one with `pimjax tune --history FILE.parquet`"
        )
    columns = _read(file)
    descent = columns["stage"] != "finished"
    starts = []
    for start in np.unique(columns["start"][descent]):
        rows = np.flatnonzero(descent & (columns["start"] == start))
        rows = rows[np.argsort(columns["step"][rows], kind="stable")]
        starts.append(
            {
                "start": int(start),
                "variant": int(columns["variant"][rows[0]]),
                "steps": columns["step"][rows].tolist(),
                "objective": np.exp(columns["objective"][rows]).tolist(),
                "feasible": (columns["excess"][rows] < _FEASIBLE).tolist(),
            }
        )
    names = [name for name in columns if name not in _NEEDED]
    finished = [
        {
            "objective": float(np.exp(columns["objective"][row])),
            "settings": {name: float(columns[name][row]) for name in names if np.isfinite(columns[name][row])},
        }
        for row in np.flatnonzero(~descent)
    ]
    result = _result(file.parent)
    return {
        "history": file.name,
        "starts": starts,
        "finished": finished,
        "result": result,
        "rows": None if result is None else _rows(result),
        "evaluations": int(columns["evaluations"].max()),
        "colours": [OKABE_ITO[name] for name in _HUES],
    }


def _rows(result: dict[str, Any]) -> dict[str, list[list[Any]]]:
    """Tables of parameter and measure: before, after."""
    labels = {name: measure.title() for name, measure in MEASURES.items()}
    return {
        "settings": [[key, value, result["settings"][key]] for key, value in result["base_settings"].items()],
        "measures": [[labels.get(key, key), value, result["measures"][key]] for key, value in result["base_measures"].items()],
    }  # fmt: skip


def _result(folder: Path) -> dict[str, Any] | None:
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if isinstance(document, dict) and {"settings", "base_settings", "measures", "base_measures"} <= set(document):
            return document
    return None


def _parquet() -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "report", "reading the history of a tuning run") from None
    return parquet


def _column_names(path: Path) -> list[str]:
    return _parquet().read_schema(path).names


def _read(path: Path) -> dict[str, HostArray]:
    table = _parquet().read_table(path)
    return {name: np.asarray(table[name].to_pylist()) for name in table.column_names}
