"""Serving under load: arrivals, continuous batching, time to first token, goodput."""

from pimjax.serving.arrivals import ARRIVALS, generate_requests
from pimjax.serving.batch import ENGINES, ServingBatch, simulate_batch
from pimjax.serving.chip_steps import ChipSteps
from pimjax.serving.chip_tables import ServedChips, StepGrid
from pimjax.serving.exact import simulate_exactly
from pimjax.serving.gradients import SURROGATES, serving_gradients
from pimjax.serving.host import simulate
from pimjax.serving.loads import RoutingLoads
from pimjax.serving.request_files import FORMATS, load_requests
from pimjax.serving.requests import Requests, make_requests
from pimjax.serving.results import request_times, summary, timeline
from pimjax.serving.run import ServingRun
from pimjax.serving.search import OBJECTIVES, ServingOptimum, serving_sweep, tune_serving
from pimjax.serving.server import Server
from pimjax.serving.slo import SloCapacity, slo_capacity
from pimjax.serving.step_table import StepBatch, StepTable, TableSteps, make_step_table

__all__ = [
    "ARRIVALS",
    "ENGINES",
    "FORMATS",
    "OBJECTIVES",
    "SURROGATES",
    "ChipSteps",
    "Requests",
    "RoutingLoads",
    "ServedChips",
    "Server",
    "ServingBatch",
    "ServingOptimum",
    "ServingRun",
    "SloCapacity",
    "StepBatch",
    "StepGrid",
    "StepTable",
    "TableSteps",
    "generate_requests",
    "load_requests",
    "make_requests",
    "make_step_table",
    "request_times",
    "serving_gradients",
    "serving_sweep",
    "simulate",
    "simulate_batch",
    "simulate_exactly",
    "slo_capacity",
    "summary",
    "timeline",
    "tune_serving",
]
