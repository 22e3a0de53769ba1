"""What the manifest of a sweep says: enough to know, and repeat, what made the numbers."""

from __future__ import annotations

import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pimjax.batch.chunks import Grid
from pimjax.batch.sweep_config import SweepConfig
from pimjax.batch.tables import SCHEMA_VERSION
from pimjax.config.config import Config


def make_manifest(
    sweep: SweepConfig, base: Config, digest: str, grid: Grid, traces: dict[str, Any], names: list[str]
) -> dict[str, Any]:
    """The document that `manifest.json` holds; everything but its `made` part decides the rows."""
    from pimjax import __version__

    device = jax.local_devices()[0]
    return {
        "schema_version": SCHEMA_VERSION,
        "digest": digest,
        "sweep": sweep.model_dump(mode="json", exclude={"output"}),
        "base": {"name": base.name, "digest": base.digest()},
        "traces": traces,
        "request_names": names if len(names) <= 100_000 else None,
        "chunks": {**grid._asdict(), "count": grid.num_chunks, "points": grid.points},
        "seed": sweep.seed,
        "made": {
            "versions": {
                "pimjax": __version__,
                "jax": jax.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "device": device.device_kind,
            "platform": device.platform,
            "git_revision": git_revision(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        },
    }


def git_revision() -> str | None:
    """Commit of the checkout that pimjax runs from, "-dirty" if it has changes; None in an installed package."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        out = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return out.stdout.strip() or None
