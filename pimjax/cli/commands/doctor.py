"""`pimjax doctor`: is this installation sound, and if not, what to do."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
from pathlib import Path
from typing import Any

import typer

from pimjax.cli.options import JsonOption
from pimjax.cli.output import emit_json, next_step, stdout, table

#: extra -> packages it brings, by import name
EXTRAS = {
    "fast": ("numba",),
    "sweep": ("pyarrow", "scipy"),
    "tune": ("optax", "orbax.checkpoint", "scipy"),
    "report": ("matplotlib", "plotly"),
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(as_json: JsonOption = False) -> None:
    """Check the installation: versions, devices, shipped files, optional parts; say what to do where something is off.

    Exit code 1 if something must be mended.
    """
    checks = run_checks()
    broken = [check for check in checks if check["state"] == "broken"]
    if as_json:
        emit_json({"ok": not broken, "checks": checks})
    else:
        rows = [(c["state"], c["name"], c["found"], c["advice"]) for c in checks]
        stdout.print(table(None, ("", "check", "found", "what to do"), rows, text=4))
        next_step("do what the last column says, then pimjax doctor" if broken else "pimjax estimate paper_multiplexed")
    if broken:
        raise typer.Exit(1)


def run_checks() -> list[dict[str, str]]:
    """All checks: name, state (ok, note, broken), what was found, what to do."""
    checks = [_python(), *_jax(), _presets(), _data(), _trace_folder()]
    for extra, packages in EXTRAS.items():
        missing = [name for name in packages if importlib.util.find_spec(name.split(".")[0]) is None]
        found = f"missing {', '.join(missing)}" if missing else ", ".join(packages)
        advice = f"pip install 'pimjax[{extra}]'" if missing else ""
        checks.append(_check(f"extra {extra}", "note" if missing else "ok", found, advice))
    return checks


def _check(name: str, state: str, found: Any, advice: str = "") -> dict[str, str]:
    return {"name": name, "state": state, "found": str(found), "advice": advice}


def _python() -> dict[str, str]:
    good = sys.version_info >= (3, 11)
    return _check(
        "python", "ok" if good else "broken", platform.python_version(), "" if good else "use Python 3.11 or newer"
    )


def _jax() -> list[dict[str, str]]:
    try:
        import jax
        import jax.numpy as jnp

        versions = f"jax {jax.__version__}, jaxlib {importlib.metadata.version('jaxlib')}"
        checks = [_check("jax", "ok", versions)]
        devices = jax.devices()
        total = float(jnp.arange(8.0).sum())
        works = total == 28.0
        advice = "" if works else "a sum came out wrong: reinstall jax and jaxlib of the same version"
        checks.append(
            _check("device", "ok" if works else "broken", f"{len(devices)} x {devices[0].device_kind}", advice)
        )
        nvidia = Path("/proc/driver/nvidia/version").exists()
        if nvidia and devices[0].platform == "cpu" and os.environ.get("JAX_PLATFORMS", "") != "cpu":
            checks.append(
                _check(
                    "gpu", "note", "an NVIDIA driver is there but JAX runs on the CPU", "pip install -U 'jax[cuda13]'"
                )
            )
        return checks
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return [
            _check(
                "jax",
                "broken",
                first,
                "pip install -U jax jaxlib (for an NVIDIA GPU: 'jax[cuda13]'), then run this again",
            )
        ]


def _presets() -> dict[str, str]:
    from pimjax.config import list_presets, load_config
    from pimjax.errors import PimjaxError

    try:
        names = list_presets()
        for name in names:
            load_config(name)
    except (PimjaxError, FileNotFoundError) as error:
        return _check("presets", "broken", error, "pip install --force-reinstall --no-deps pimjax")
    return _check("presets", "ok", f"{len(names)} load")


def _data() -> dict[str, str]:
    from pimjax.errors import PimjaxError
    from pimjax.trace import default_traces

    try:
        shape = default_traces().choices.shape
    except (PimjaxError, OSError) as error:
        return _check("recorded traces", "broken", error, "pip install --force-reinstall --no-deps pimjax")
    return _check("recorded traces", "ok", f"{shape[0]} requests of {shape[1]} layers, {shape[-1]} experts")


def _trace_folder() -> dict[str, str]:
    from pimjax.trace.sources import trace_folder

    folder = trace_folder()
    if folder.is_dir():
        return _check("PIMJAX_TRACES", "ok", folder)
    return _check(
        "PIMJAX_TRACES", "note", f"{folder} is not there", "only studies on real traces need it: set PIMJAX_TRACES"
    )
