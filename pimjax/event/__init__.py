"""Exact discrete-event engine: job graphs in, start and finish times out. Knows no chip; NumPy, float64."""

from pimjax.event.engine import run as run
from pimjax.event.jobs import MAX_JOBS as MAX_JOBS
from pimjax.event.jobs import JobGraph as JobGraph
from pimjax.event.jobs import JobGraphBuilder as JobGraphBuilder
from pimjax.event.jobs import ResourceGroup as ResourceGroup
from pimjax.event.jobs import exclusive as exclusive
from pimjax.event.jobs import pool as pool
from pimjax.event.jobs import require_capacity as require_capacity
from pimjax.event.jobs import unlimited as unlimited
from pimjax.event.log import CriticalPath as CriticalPath
from pimjax.event.log import EventLog as EventLog
from pimjax.event.memory import FROM_THE_START as FROM_THE_START
from pimjax.event.memory import Buffers as Buffers
from pimjax.event.memory import live_bytes as live_bytes
from pimjax.event.memory import peak_bytes as peak_bytes
