"""What made a page: command, versions, device, git revision, configuration hash."""

from __future__ import annotations

import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pimjax.batch.manifest import git_revision
from pimjax.config.config import Config


def provenance(config: Config | None = None, **more: Any) -> list[tuple[str, str]]:
    """Rows of name and value for the foot of a page; what is None is left out.

    >>> dict(provenance(Config()))["configuration hash"] == Config().digest()
    True
    """
    from pimjax import __version__

    device = jax.devices()[0]
    rows: dict[str, Any] = {
        "command": command(),
        "configuration": config.name if config else None,
        "configuration hash": config.digest() if config else None,
        **{name.replace("_", " "): value for name, value in more.items()},
        "pimjax": __version__,
        "git revision": git_revision(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "made": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
    }
    return [(name, str(value)) for name, value in rows.items() if value is not None]


def command() -> str:
    """The command line of this process, with the program's name instead of its path."""
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    if program == "__main__.py":
        program = "python -m pimjax"
    return " ".join([program, *(shlex.quote(argument) for argument in sys.argv[1:])])
