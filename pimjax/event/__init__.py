"""Exact discrete-event engine: job graphs in, start and finish times out. Knows no chip; NumPy, float64."""

from pimjax.event.engine import run
from pimjax.event.jobs import (
    MAX_JOBS,
    JobGraph,
    JobGraphBuilder,
    ResourceGroup,
    exclusive,
    pool,
    require_capacity,
    unlimited,
)
from pimjax.event.log import CriticalPath, EventLog
from pimjax.event.memory import FROM_THE_START, Buffers, live_bytes, peak_bytes

__all__ = [
    "FROM_THE_START",
    "MAX_JOBS",
    "Buffers",
    "CriticalPath",
    "EventLog",
    "JobGraph",
    "JobGraphBuilder",
    "ResourceGroup",
    "exclusive",
    "live_bytes",
    "peak_bytes",
    "pool",
    "require_capacity",
    "run",
    "unlimited",
]
