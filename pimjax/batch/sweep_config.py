"""`sweep.yaml`: schema, reading, and the sentence for every mistake."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError, field_validator

from pimjax import checks
from pimjax.batch.axes import Axis, Interval, LogRange, Range, check_distinct
from pimjax.config.base import Section, option
from pimjax.config.config import SECTIONS, Config
from pimjax.config.loader import load_config, sentence
from pimjax.config.presets import unknown_key_sentence
from pimjax.config.yaml_reader import read_yaml
from pimjax.errors import ConfigError, OverrideError, shown
from pimjax.estimation.result import SCALARS
from pimjax.trace.defaults import RECORDED_ROUTERS
from pimjax.trace.sources import in_trace_folder

METRICS = SCALARS
_CONSTRAINT = re.compile(r"^\s*(\w+)\s*(<=|>=|<|>)\s*([-+0-9.eE]+)\s*$")


class Traces(Section):
    """Which requests to sweep over."""

    files: list[str] = option(..., about="Trace files (.npz, .jsonl) or glob patterns, relative to the sweep file")
    requests: list[int] | None = option(None, about="Requests of every file; null: all")
    max_tokens: int | None = option(None, about="Use only the first tokens of each request", ge=1)
    on_unreadable: Literal["refuse", "skip"] = option("refuse", about="What to do with a file that cannot be read")

    @field_validator("files")
    @classmethod
    def _some(cls, value: list[str]) -> list[str]:
        if not value:
            raise ValueError("traces.files is empty: name at least one file, or leave traces out")
        return value


class Top(Section):
    """The best points by one metric."""

    metric: str = option(..., about="Field of the result")
    count: int = option(100, about="How many", ge=1, le=65_536)
    largest: bool = option(False, about="Largest instead of smallest")


class Histogram(Range):
    """Counts of a metric between `start` and `stop` in `count` bins; values outside are counted apart."""

    metric: str = option(..., about="Field of the result")
    scale: Literal["linear", "log"] = option("linear", about="Equal widths or equal ratios")
    count: int = option(64, about="Bins", ge=1, le=4096)


class Selection(Section):
    """What to keep of a sweep, found on the device."""

    constraints: list[str] = option([], about="Such as 'area_mm2 <= 800': other points are not selected")
    pareto: list[str] = option([], about="Metrics to minimise together; a minus sign in front: to maximise")
    max_front: int = option(4096, about="Most points of the Pareto front", ge=16, le=65_536)
    top: list[Top] = option([], about="Best points by single metrics")
    histograms: list[Histogram] = option([], about="Distribution of metrics over all points")

    def parsed(self) -> tuple[tuple[str, str, float], ...]:
        """Constraints as (metric, comparison, number)."""
        found = []
        for text in self.constraints:
            match = _CONSTRAINT.match(text)
            if match is None or match[1] not in METRICS:
                raise ConfigError(
                    f"select.constraints: {shown(text)} is not METRIC <= NUMBER; metrics: {', '.join(METRICS)}"
                )
            try:
                found.append((match[1], match[2], float(match[3])))
            except ValueError:
                raise ConfigError(f"select.constraints: {shown(text)} does not end in a number") from None
        return tuple(found)

    def metrics(self) -> set[str]:
        """Fields that the selection needs."""
        names = {metric for metric, _, _ in self.parsed()} | {name.removeprefix("-") for name in self.pareto}
        return names | {top.metric for top in self.top} | {histogram.metric for histogram in self.histograms}


class SweepConfig(Section):
    """A sweep: host object of `sweep.yaml`."""

    name: str = option("sweep", about="Name shown in results")
    description: str = option("", about="One sentence")
    base: Any = option("paper_multiplexed", about="Preset, file, or mapping of the configuration that axes change")
    set: dict[str, Any] = option({}, about="Dotted keys set on the base")
    axes: list[Axis] = option([], about="Axes; their product is swept, the first one slowest")
    traces: Traces | None = option(None, about="Requests; null: what the workload describes")
    fidelity: Literal["closed", "fluid"] = option("closed", about="Fidelity")
    precision: Literal["float32", "float64"] = option("float32", about="Precision of the kernels")
    columns: list[str] = option(
        ["latency_ns", "energy_nj", "area_mm2", "tokens_per_s", "gops_per_w_per_mm2"], about="Metrics to store"
    )
    store: Literal["all", "selected"] = option("all", about="Store every point, or the selected ones only")
    select: Selection = option(Selection(), about="Pareto front, best points, histograms, constraints")
    chunk_points: int | None = option(
        None, about="Points of one result file (unit of resuming); null: chosen", ge=1, le=2**30
    )
    seed: int = option(0, about="Seed of random and Sobol axes", ge=0, le=2**32 - 1)
    output: str | None = option(None, about="Folder of the results; null: given on the command line")
    format: Literal["parquet", "csv", "json"] = option("parquet", about="csv and json are for small sweeps")


@checks.checked(ConfigError, overrides=checks.mapping)
def load_sweep(path: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> SweepConfig:
    """Read and check a sweep.

    Args:
        path: YAML file, or a mapping.
        overrides: keys of the sweep itself (`{"output": "results"}`), or dotted keys of its base configuration.

    Raises:
        ConfigError: names the key, the value and what is allowed.

    >>> load_sweep({"axes": [{"field": "hardware.mvm_latency_ns", "values": [100, 130]}]}).axes[0].size
    2
    """
    lines: dict[str, int] = {}
    if isinstance(path, Mapping):
        data, where = dict(path), ""
    else:
        if not isinstance(path, (str, Path)):
            raise ConfigError(f"a sweep is described by a YAML file or a mapping, not by {shown(path)}")
        if not is_file(Path(path)):
            raise ConfigError(f"{shown(path)}: no such file; give the path of a sweep's YAML file")
        data, lines = read_yaml(Path(path))
        where = shown(Path(path))
        data.setdefault("name", Path(path).stem)
        data = _beside(data, Path(path).resolve().parent)
    changes = {str(key): value for key, value in (overrides or {}).items()}
    of_base = {
        key: changes.pop(key) for key in list(changes) if key.partition(".")[0] in (*SECTIONS, "chip_model", "memory")
    }
    data.update(changes)
    if of_base and isinstance(data.get("set", {}), Mapping):
        data["set"] = {**data.get("set", {}), **of_base}
    try:
        sweep = SweepConfig.model_validate(data)
    except ValidationError as error:
        place = str(error.errors(include_url=False)[0]["loc"][:1])
        key = next((key for key in changes if place == str((key,))), None)
        if key is not None:
            raise OverrideError(_sentence(error, "", {}), key) from None
        raise ConfigError(_sentence(error, where, lines)) from None
    if not isinstance(sweep.base, (str, Mapping)):
        raise ConfigError(f"base: {shown(sweep.base)} is not a preset's name, a file or a mapping")
    check_distinct(sweep.axes)
    for name in (*sweep.columns, *sweep.select.metrics()):
        if name not in METRICS:
            raise ConfigError(f"{shown(name)} is no metric of a result; allowed: {', '.join(METRICS)}")
    if sweep.store == "selected" and not (sweep.select.pareto or sweep.select.top or sweep.select.histograms):
        raise ConfigError("store is 'selected' but select names no pareto, top or histograms: nothing would be kept")
    return sweep


def _sentence(error: ValidationError, where: str, lines: Mapping[str, int]) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] != "extra_forbidden":
        return sentence(error, where, lines)
    path = [str(part) for part in first["loc"]]
    owners: dict[str, type[Section]] = {"traces": Traces, "select": Selection, "axes": Axis, "top": Top}
    owners |= {"histograms": Histogram, "grid": Range, "log": LogRange, "ranges": Interval}
    parents = [part for part in path[:-1] if part in owners]
    known = list((owners[parents[-1]] if parents else SweepConfig).model_fields)
    return (f"{where}: " if where else "") + unknown_key_sentence(".".join(path), first["input"], path[-1], known)


def _beside(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Relative paths of base and trace files refer to the folder of the sweep file (a plain name of a trace also to the
    trace folder)."""
    traces = data.get("traces")
    if isinstance(traces, dict) and isinstance(traces.get("files"), list):
        files = [_trace_file(folder, name) if isinstance(name, str) else name for name in traces["files"]]
        data["traces"] = {**traces, "files": files}
    base = data.get("base")
    if isinstance(base, str) and is_file(folder / base):
        data["base"] = str(folder / base)
    return data


def _trace_file(folder: Path, name: str) -> str:
    joined = folder / name
    if name in RECORDED_ROUTERS and not is_file(joined):
        return name
    return str(joined if is_file(joined) else in_trace_folder(name) or joined)


def is_file(path: Path) -> bool:
    """Whether a file is there; no where the path is impossible (too long, with a NUL)."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def base_config(sweep: SweepConfig) -> Config:
    """The configuration that the axes change."""
    return load_config(sweep.base, sweep.set)


def sweep_digest(sweep: SweepConfig, base: Config) -> str:
    """Hash of everything that decides which rows a sweep has and what is in them: 16 hex digits."""
    content = sweep.model_dump(mode="json", exclude={"name", "description", "output", "base", "set"})
    content["base"] = base.digest()
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
