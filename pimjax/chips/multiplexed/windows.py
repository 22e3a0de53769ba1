"""Slot tables; kept as a path, the definitions are in :mod:`pimjax.runs.windows`."""

from pimjax.runs.windows import Windows, layer_windows

__all__ = ["Windows", "layer_windows"]
