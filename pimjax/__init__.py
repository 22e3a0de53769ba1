"""pimjax: area, latency, energy and accuracy of Mixture-of-Experts transformers on in-memory-computing chips.

Public names are loaded on first use, so that `import pimjax` and `pimjax --help` stay fast. What is not listed here is
found in the namespaces (`pimjax.trace`, `pimjax.schedule`, `pimjax.chips`, ...), each of which lists its own names.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from pimjax import event as event
    from pimjax.batch import estimate_batch as estimate_batch
    from pimjax.cache.capacity import capacity_law as capacity_law
    from pimjax.cache.gate_output import gate_output_request as gate_output_request
    from pimjax.chips.reference.authors_inputs import reference_config as reference_config
    from pimjax.chips.run_cost import COMPONENTS as COMPONENTS
    from pimjax.chips.run_cost import OP_KINDS as OP_KINDS
    from pimjax.config import Capacity as Capacity
    from pimjax.config import Config as Config
    from pimjax.config import Design as Design
    from pimjax.config import build as build
    from pimjax.config import load_config as load_config
    from pimjax.errors import ConfigError as ConfigError
    from pimjax.errors import PimjaxError as PimjaxError
    from pimjax.errors import TraceError as TraceError
    from pimjax.estimation import Estimate as Estimate
    from pimjax.estimation import estimate as estimate
    from pimjax.estimation import estimate_kernel as estimate_kernel
    from pimjax.estimation.generation import estimate_generation as estimate_generation
    from pimjax.estimation.uncertainty import uncertainty as uncertainty
    from pimjax.numerics import Crossbar as Crossbar
    from pimjax.numerics import crossbar_mvm as crossbar_mvm
    from pimjax.registry import CHIPS as CHIPS
    from pimjax.runs.inputs import schedule_inputs as schedule_inputs
    from pimjax.schedule import GROUPING_STRATEGIES as GROUPING_STRATEGIES
    from pimjax.schedule import IDLE as IDLE
    from pimjax.schedule import deal_copies as deal_copies
    from pimjax.schedule import group_experts as group_experts
    from pimjax.schedule import schedule_cost as schedule_cost
    from pimjax.schedule import schedule_intervals as schedule_intervals
    from pimjax.schedule import schedule_profile as schedule_profile
    from pimjax.schedule import schedule_slots as schedule_slots
    from pimjax.schedule import schedule_summary as schedule_summary
    from pimjax.schedule import schedule_table as schedule_table
    from pimjax.trace import RoutingTrace as RoutingTrace
    from pimjax.trace import load_traces as load_traces
    from pimjax.tuning import tune as tune

#: public name -> module that defines it
_HOME = {
    "load_config": "pimjax.config",
    "reference_config": "pimjax.chips.reference.authors_inputs",
    "build": "pimjax.config",
    "Config": "pimjax.config",
    "Design": "pimjax.config",
    "Capacity": "pimjax.config",
    "CHIPS": "pimjax.registry",
    "RoutingTrace": "pimjax.trace",
    "load_traces": "pimjax.trace",
    "GROUPING_STRATEGIES": "pimjax.schedule",
    "group_experts": "pimjax.schedule",
    "deal_copies": "pimjax.schedule",
    "IDLE": "pimjax.schedule",
    "schedule_cost": "pimjax.schedule",
    "schedule_summary": "pimjax.schedule",
    "schedule_profile": "pimjax.schedule",
    "schedule_slots": "pimjax.schedule",
    "schedule_intervals": "pimjax.schedule",
    "schedule_table": "pimjax.schedule",
    "schedule_inputs": "pimjax.runs.inputs",
    "capacity_law": "pimjax.cache.capacity",
    "gate_output_request": "pimjax.cache.gate_output",
    "estimate": "pimjax.estimation",
    "estimate_kernel": "pimjax.estimation",
    "estimate_batch": "pimjax.batch",
    "estimate_generation": "pimjax.estimation.generation",
    "uncertainty": "pimjax.estimation.uncertainty",
    "Estimate": "pimjax.estimation",
    "COMPONENTS": "pimjax.chips.run_cost",
    "OP_KINDS": "pimjax.chips.run_cost",
    "tune": "pimjax.tuning",
    "Crossbar": "pimjax.numerics",
    "crossbar_mvm": "pimjax.numerics",
    "PimjaxError": "pimjax.errors",
    "ConfigError": "pimjax.errors",
    "TraceError": "pimjax.errors",
}
#: Namespaces: everything else that is public.
_MODULES = (
    "batch",
    "cache",
    "chips",
    "circuit",
    "event",
    "nn",
    "numerics",
    "runs",
    "schedule",
    "serving",
    "sweep",
    "system",
    "trace",
    "tuning",
)
#: Names that stood at the top level before they moved into their namespaces; older scripts still find them.
_MOVED = {
    "default_trace": "pimjax.trace",
    "SchedulePlan": "pimjax.schedule.table",
    "copy_hottest": "pimjax.schedule.copies",
    "count_coactivation": "pimjax.schedule.grouping.group_experts",
    "default_traces": "pimjax.trace.defaults",
    "load_tune_config": "pimjax.tuning.tune_config",
    "TuneConfig": "pimjax.tuning.tune_config",
    "parametric_tile": "pimjax.circuit.tile",
    "propagate_uncertainty": "pimjax.circuit.uncertainty",
    "hit_rate_curve": "pimjax.cache.hierarchy",
}

__all__ = [*_HOME, *_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOME or name in _MOVED:
        value = getattr(importlib.import_module(_HOME.get(name) or _MOVED[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"pimjax.{name}")
    else:
        raise AttributeError(f"module 'pimjax' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
