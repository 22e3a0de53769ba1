"""The routing of an estimate; kept as a path, the definitions are in :mod:`pimjax.runs.requests`."""

from pimjax.runs.requests import resolve, stacked, workload_trace

__all__ = ["resolve", "stacked", "workload_trace"]
