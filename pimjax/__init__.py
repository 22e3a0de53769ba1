"""pimjax: area, latency, energy and accuracy of Mixture-of-Experts transformers on in-memory-computing chips.

Public names are loaded on first use, so that `import pimjax` and `pimjax --help` stay fast. Sub-packages whose
names do not appear in `__all__` are not part of the public interface.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pimjax import event as event
    from pimjax.config import Capacity as Capacity
    from pimjax.config import Config as Config
    from pimjax.config import Design as Design
    from pimjax.config import build as build
    from pimjax.config import load_config as load_config
    from pimjax.config import reference_config as reference_config
    from pimjax.errors import ConfigError as ConfigError
    from pimjax.errors import PimjaxError as PimjaxError
    from pimjax.errors import TraceError as TraceError

#: public name -> module that defines it
_HOME = {
    "Capacity": "pimjax.config",
    "Config": "pimjax.config",
    "Design": "pimjax.config",
    "build": "pimjax.config",
    "load_config": "pimjax.config",
    "reference_config": "pimjax.config",
    "ConfigError": "pimjax.errors",
    "PimjaxError": "pimjax.errors",
    "TraceError": "pimjax.errors",
}
_MODULES = ("event",)

__all__ = [*_HOME, *_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"pimjax.{name}")
    else:
        raise AttributeError(f"module 'pimjax' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
