"""Serving under load: arrivals, continuous batching, time to first token, goodput."""

from pimjax.serving.arrivals import ARRIVALS, generate_requests
from pimjax.serving.exact import simulate_exactly
from pimjax.serving.host import simulate
from pimjax.serving.loads import RoutingLoads, make_loads
from pimjax.serving.request_files import FORMATS, load_requests
from pimjax.serving.requests import Requests, make_requests
from pimjax.serving.run import ServingRun
from pimjax.serving.server import Server
from pimjax.serving.step_table import StepBatch, StepTable, TableSteps, make_step_table

__all__ = [
    "ARRIVALS",
    "FORMATS",
    "Requests",
    "RoutingLoads",
    "Server",
    "ServingRun",
    "StepBatch",
    "StepTable",
    "TableSteps",
    "generate_requests",
    "load_requests",
    "make_loads",
    "make_requests",
    "make_step_table",
    "simulate",
    "simulate_exactly",
]
