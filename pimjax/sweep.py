"""Sweeps: many configurations x many traces, resumable, in a folder of Parquet files.

>>> sweep = load_sweep({"axes": [{"field": "hardware.mvm_latency_ns", "values": [100, 130]}]})
>>> plan_of(sweep)["points"]
2
"""

from pimjax.batch.axes import Axis
from pimjax.batch.sweep import SweepOutcome, plan_of, run_sweep
from pimjax.batch.sweep_config import SweepConfig, load_sweep

__all__ = ["Axis", "SweepConfig", "SweepOutcome", "load_sweep", "plan_of", "run_sweep"]
