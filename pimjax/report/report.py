"""`make_report`: find out what a path or name means, gather its contents, write the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pimjax.chips import CHIPS
from pimjax.config.config import Config
from pimjax.config.loader import load_config
from pimjax.config.template import render_yaml
from pimjax.errors import ConfigError
from pimjax.estimation.api import estimate
from pimjax.report.cache_contents import cache_contents
from pimjax.report.page import plotly_script, write_page
from pimjax.report.provenance import provenance
from pimjax.report.run_contents import run_contents
from pimjax.report.schedule_contents import schedule_contents
from pimjax.report.sweep_contents import is_sweep_folder, sweep_contents
from pimjax.report.tune_contents import history_file, tune_contents
from pimjax.runs.requests import resolve
from pimjax.trace.routing import RoutingTrace

Progress = Callable[[str], None]


def make_report(
    source: str | Path,
    out: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    trace: RoutingTrace | None = None,
    fidelity: str = "fluid",
    caches: bool = True,
    progress: Progress = lambda text: None,
) -> Path:
    """Write a self-contained HTML page about a configuration, a sweep or a tuning run. Host function.

    Args:
        source: a preset's name or YAML file; the output folder of `pimjax sweep`; the history file of `pimjax tune`, or
            the folder that holds it.
        out: file to write.
        overrides: dotted keys, for a configuration only.
        trace: routing of the request, for a configuration only; None: what its workload describes.
        fidelity: "event", "fluid" or "closed", for a configuration only.
        caches: also compute cost over generated tokens (one more compiled program).
        progress: called with a sentence at every step.

    Returns:
        The path written.

    Raises:
        ConfigError: the source is none of these, or the folder of `out` does not exist.
        TraceError: the trace does not fit the model.
        MissingExtraError: plotly (or pyarrow, for Parquet results) is not installed.
    """
    source, out = Path(source), Path(out)
    if not out.parent.is_dir():
        raise ConfigError(f"{out}: the folder {out.parent} does not exist; create it first")
    plotly_script()  # refuse before computing if it is missing
    if source.is_dir() or source.suffix == ".parquet":
        if overrides or trace is not None:
            raise ConfigError(f"{source}: a folder of results is shown as it is; leave out --set and --trace")
        return write_page(_of_results(source), out)
    config = load_config(str(source), overrides)
    return write_page(_of_config(config, trace, fidelity, caches, progress), out)


def check_page(out: str | Path) -> None:
    """Raise before anything is computed where a page cannot be written.

    Raises:
        ConfigError: the folder does not exist.
        MissingExtraError: plotly is not installed.
    """
    folder = Path(out).parent
    if not folder.is_dir():
        raise ConfigError(f"{out}: the folder {folder} does not exist; create it first")
    plotly_script()


def make_serving_report(config: Config, run: Any, figures: dict[str, Any], out: str | Path, **more: Any) -> Path:
    """Write a page about a run of serving; `more` as of :func:`~pimjax.report.serving_contents.serving_contents`. Host.

    Raises:
        ConfigError, MissingExtraError: as :func:`check_page`.
    """
    from pimjax.report.serving_contents import serving_contents

    check_page(out)
    contents = {
        "title": f"{config.name} under load",
        "subtitle": config.description or _subtitle(config),
        "serving": serving_contents(run, figures, **more),
        "provenance": provenance(config),
        "yaml": render_yaml(config),
    }
    return write_page(contents, Path(out))


def _of_results(path: Path) -> dict[str, Any]:
    if path.is_dir() and is_sweep_folder(path):
        sweep = sweep_contents(path)
        manifest = sweep.pop("manifest")
        made = manifest["made"]
        rows = provenance(
            sweep=sweep["name"],
            sweep_hash=manifest["digest"],
            base_configuration=f"{manifest['base']['name']} ({manifest['base']['digest']})",
            swept_by=", ".join(f"{name} {version}" for name, version in made["versions"].items()),
            swept_on=f"{made['device']} ({made['platform']})",
            swept_at_revision=made["git_revision"],
            swept_from=made["started"],
        )
        return {
            "title": sweep["name"],
            "subtitle": f"Sweep around {sweep['base_name']}: {sweep['points']:,} points",
            "sweep": sweep,
            "provenance": rows,
        }
    if history_file(path) is not None:
        tune = tune_contents(path)
        return {
            "title": f"Tuning: {path.stem}",
            "subtitle": f"{len(tune['starts'])} starts, history in {tune['history']}",
            "tune": tune,
            "provenance": provenance(history=tune["history"]),
        }
    raise ConfigError(
        f"{path}: holds neither a sweep (manifest.json of `pimjax sweep`) nor a tuning history (`pimjax tune --history`)"
    )


def _of_config(
    config: Config, trace: RoutingTrace | None, fidelity: str, caches: bool, progress: Progress
) -> dict[str, Any]:
    progress(f"estimating {config.name}, {fidelity}")
    result = estimate(config, trace, fidelity)
    contents: dict[str, Any] = {
        "title": config.name,
        "subtitle": config.description or _subtitle(config),
        "run": run_contents(config, result, fidelity),
        "provenance": provenance(config, fidelity=fidelity),
        "yaml": render_yaml(config),
    }
    shown, requests = _routing(config, trace)
    if requests is not None:
        progress("schedules under every policy")
        contents["schedule"] = schedule_contents(shown, requests)
    if caches and config.model.num_experts:
        progress("caches over generated tokens: compiling one program")
        contents["cache"] = cache_contents(shown, requests if CHIPS[config.chip_model].takes_routing else None)
    return contents


def _routing(config: Config, trace: RoutingTrace | None) -> tuple[Config, RoutingTrace | None]:
    """Configuration with its prompt, and the requests; a chip that takes no routing needs none, so they may not fit it."""
    if not config.model.num_experts:
        return config, None
    if CHIPS[config.chip_model].takes_routing:
        return resolve(config, trace)
    from pimjax.errors import TraceError

    try:
        return config, resolve(config, trace)[1]
    except TraceError:
        return config, None


def _subtitle(config: Config) -> str:
    model = config.model
    return f"{config.chip_model} chip, {model.num_layers} layers, {model.num_experts} experts, top {model.top_k}"
