"""Routing traces: which token visits which expert. Pytree, files, routers, generators, fitting."""

from pimjax.trace.files import load_traces, save_traces
from pimjax.trace.metadata import TraceMetadata
from pimjax.trace.routing import RoutingTrace, stack_traces

__all__ = [
    "RoutingTrace",
    "TraceMetadata",
    "load_traces",
    "save_traces",
    "stack_traces",
]
