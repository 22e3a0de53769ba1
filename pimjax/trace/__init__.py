"""Routing traces: which token visits which expert. Pytree, files, routers, generators, fitting."""

from pimjax.trace.belonging import check_trace, fit_trace
from pimjax.trace.capture import capture
from pimjax.trace.checks import ALLOWANCES
from pimjax.trace.defaults import RECORDED_ROUTERS, default_trace, default_trace_path, default_traces
from pimjax.trace.files import load_traces, save_traces
from pimjax.trace.fitting import GeneratorFit, fit_generator, load_generator, save_generator
from pimjax.trace.generators import GENERATORS, generate_from_parameters, generate_traces
from pimjax.trace.jsonl import read_router_log, write_router_log
from pimjax.trace.metadata import TraceMetadata
from pimjax.trace.paper import synthesize_paper
from pimjax.trace.rounding import gate_scores, round_to_float16
from pimjax.trace.route import ROUTERS, SCORE_KINDS, route
from pimjax.trace.routers import (
    CAPACITY_RULES,
    TokenChoice,
    causal_expert_choice,
    expert_capacity,
    expert_choice,
    token_choice,
)
from pimjax.trace.routing import RoutingTrace, select_requests, stack_traces
from pimjax.trace.sources import find_trace, open_traces, trace_folder
from pimjax.trace.statistics import (
    TraceStatistics,
    coactivation,
    coactivation_excess,
    expert_loads,
    load_imbalance,
    shared_experts,
    trace_statistics,
)
from pimjax.trace.synthetic import (
    GeneratorParameters,
    dirichlet_popularity,
    generator_parameters,
    synthesize_expert_choice,
    synthesize_token_choice,
    synthetic_logits,
    zipf_popularity,
)

__all__ = [
    "ALLOWANCES",
    "CAPACITY_RULES",
    "GENERATORS",
    "RECORDED_ROUTERS",
    "ROUTERS",
    "SCORE_KINDS",
    "GeneratorFit",
    "GeneratorParameters",
    "RoutingTrace",
    "TokenChoice",
    "TraceMetadata",
    "TraceStatistics",
    "capture",
    "causal_expert_choice",
    "check_trace",
    "coactivation",
    "coactivation_excess",
    "default_trace",
    "default_trace_path",
    "default_traces",
    "dirichlet_popularity",
    "expert_capacity",
    "expert_choice",
    "expert_loads",
    "find_trace",
    "fit_generator",
    "fit_trace",
    "gate_scores",
    "generate_from_parameters",
    "generate_traces",
    "generator_parameters",
    "load_generator",
    "load_imbalance",
    "load_traces",
    "open_traces",
    "read_router_log",
    "round_to_float16",
    "route",
    "save_generator",
    "save_traces",
    "select_requests",
    "shared_experts",
    "stack_traces",
    "synthesize_expert_choice",
    "synthesize_paper",
    "synthesize_token_choice",
    "synthetic_logits",
    "token_choice",
    "trace_folder",
    "trace_statistics",
    "write_router_log",
    "zipf_popularity",
]
