"""A sweep's results as plain data for the Pareto explorer: columns of numbers, and what makes each point's YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.batch.store import Store
from pimjax.config.base import Section
from pimjax.config.config import SECTIONS, Config, section_class
from pimjax.config.loader import load_config
from pimjax.errors import ConfigError
from pimjax.report.measures import MEASURES
from pimjax.report.palette import OKABE_ITO

MAX_POINTS = 20_000
_QUALITATIVE = ("blue", "orange", "green", "purple", "vermilion", "sky", "black", "grey")


def is_sweep_folder(folder: Path) -> bool:
    """Whether a folder holds the results of `pimjax sweep`."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return False
    try:
        return "sweep" in json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError:
        return False


def sweep_contents(folder: Path, max_points: int = MAX_POINTS) -> dict[str, Any]:
    """Columns of the points on disk, thinned evenly where there are more than `max_points`; selected points all stay.

    Args:
        folder: output folder of `pimjax sweep`; it may be incomplete.
        max_points: most points that the page carries.

    Returns:
        `columns` (name -> values), `axes` and `metrics` (names), `measures` (label, unit, direction), `base` (the keys
        that differ from the defaults, by section), `name`, `points` on disk, `shown`, `complete`, `manifest`.

    Raises:
        ConfigError: no results in the folder, or its manifest cannot be read.
        MissingExtraError: Parquet files without pyarrow.
    """
    manifest = Store(folder, "json").manifest()
    if manifest is None:
        raise ConfigError(f"{folder}: holds no manifest.json of a sweep; give the folder of `pimjax sweep --output`")
    sweep = manifest["sweep"]
    store = Store(folder, sweep["format"], manifest["schema_version"])
    columns, on_disk, complete = _read(store, manifest, max_points)
    metrics = [name for name in columns if name in MEASURES]
    axes = [name for name in columns if "." in name]
    base = load_config(sweep["base"], sweep["set"])
    return {
        "name": sweep["name"],
        "description": sweep["description"],
        "columns": {name: _plain(values) for name, values in columns.items()},
        "axes": axes,
        "metrics": metrics,
        "measures": {name: {"title": MEASURES[name].title(), "larger": MEASURES[name].larger_is_better} for name in metrics},
        "base": non_default(base),
        "base_name": base.name,
        "points": manifest["chunks"]["points"],
        "on_disk": on_disk,
        "shown": len(next(iter(columns.values()))),
        "complete": complete,
        "manifest": manifest,
        "palette": [OKABE_ITO[name] for name in _QUALITATIVE],
    }  # fmt: skip


def _read(store: Store, manifest: dict[str, Any], max_points: int) -> tuple[dict[str, HostArray], int, bool]:
    """Columns of all points, or of the selected ones where only those were stored."""
    kind = "points" if manifest["sweep"]["store"] == "all" else "selected"
    done = sorted(store.done(kind)) if (store.folder / kind).is_dir() else []
    if not done:
        raise ConfigError(f"{store.folder}: the sweep has no results yet; run it with `pimjax sweep` first")
    complete = len(done) == manifest["chunks"]["count"]
    whole = store.selection(manifest["sweep"]["store"])
    if kind == "selected" and whole.is_file():
        parts = [store.read(whole)[0]]
    else:
        parts = [store.read(store.part(kind, chunk))[0] for chunk in done]
    columns = {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}
    columns.pop("status", None)
    if kind == "selected":
        _, first = np.unique(columns["point"], return_index=True)
        columns = {name: values[first] for name, values in columns.items() if name != "kind"}
    rows = len(columns["point"])
    keep = np.arange(rows)
    if rows > max_points:
        keep = np.unique(np.linspace(0, rows - 1, max_points).astype(int))
        if whole.is_file():  # what the sweep selected always stays
            chosen = np.isin(columns["point"], store.read(whole)[0]["point"])
            keep = np.union1d(keep, np.flatnonzero(chosen))
    return {name: values[keep] for name, values in columns.items()}, rows, complete


def _plain(values: HostArray) -> list[Any]:
    if values.dtype.kind == "f":
        # seven digits: what float32 results hold
        return [float(f"{value:.7g}") if np.isfinite(value) else None for value in values.tolist()]
    return values.tolist()


def non_default(config: Config) -> dict[str, Any]:
    """The smallest mapping that :func:`pimjax.load_config` turns into an equal configuration.

    >>> load_config(non_default(load_config("gpt_oss_20b"))).digest() == load_config("gpt_oss_20b").digest()
    True
    """
    found: dict[str, Any] = {"name": config.name}
    if config.chip_model != Config().chip_model:
        found["chip_model"] = config.chip_model
    for name in SECTIONS:
        changed = _changed(getattr(config, name), section_class(name, config.chip_model)())
        if changed:
            found[name] = changed
    return found


def _changed(section: Section, default: Section) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in type(section).model_fields:
        if key == "source":  # a remark
            continue
        value, usual = getattr(section, key), getattr(default, key)
        if isinstance(value, Section) and isinstance(usual, Section):
            inner = _changed(value, usual)
            if inner:
                found[key] = inner
        elif value != usual:
            found[key] = list(value) if isinstance(value, tuple) else value
    return found
