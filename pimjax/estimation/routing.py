"""The routing of an estimate; kept as a path, the definitions are in :mod:`pimjax.runs.requests`."""

from pimjax.runs.requests import resolve, workload_trace

__all__ = ["resolve", "workload_trace"]
