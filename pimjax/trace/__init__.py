"""Routing traces: which token visits which expert. Pytree, files, routers, generators, fitting."""

from pimjax.trace.files import load_traces, save_traces
from pimjax.trace.metadata import TraceMetadata
from pimjax.trace.rounding import gate_scores, round_to_float16
from pimjax.trace.routers import (
    CAPACITY_RULES,
    TokenChoice,
    causal_expert_choice,
    expert_capacity,
    expert_choice,
    token_choice,
)
from pimjax.trace.routing import RoutingTrace, stack_traces

__all__ = [
    "CAPACITY_RULES",
    "RoutingTrace",
    "TokenChoice",
    "TraceMetadata",
    "causal_expert_choice",
    "expert_capacity",
    "expert_choice",
    "gate_scores",
    "load_traces",
    "round_to_float16",
    "save_traces",
    "stack_traces",
    "token_choice",
]
