"""Memory that a run holds: buffers that live from a job's end to the start of the last job that reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pimjax import checks
from pimjax.errors import PimjaxError
from pimjax.event.log import EventLog

HostArray = np.ndarray[Any, Any]
FROM_THE_START = -1
"""Producer of a buffer that is there before the first job starts."""


@dataclass(frozen=True)
class Buffers:
    """Buffers of a run.

    Attributes:
        size_bytes: float64 [buffers].
        producer: int [buffers], the job whose end fills the buffer, or `FROM_THE_START`.
        reader_offsets: int [buffers + 1], CSR row starts into `readers`.
        readers: int [entries], jobs; the buffer is freed when the last of them starts, and never if there is none.
    """

    size_bytes: HostArray
    producer: HostArray
    reader_offsets: HostArray
    readers: HostArray


@checks.checked(
    PimjaxError, log=checks.instance(EventLog, "an EventLog from run"), buffers=checks.instance(Buffers, "Buffers")
)
def live_bytes(log: EventLog, buffers: Buffers) -> HostArray:
    """float64 [steps]: bytes held at the end of each step (before the next step's jobs start).

    >>> from pimjax.event import JobGraphBuilder, exclusive, run
    >>> build = JobGraphBuilder(("pass",), [exclusive("group", 2)])
    >>> first, second = build.add("pass", [130.0, 70.0], [0, 1])
    >>> build.connect(first, second)
    >>> buffers = Buffers(np.array([256.0, 8.0]), np.array([0, 1]), np.array([0, 1, 1]), np.array([1]))
    >>> live_bytes(run(build.build()), buffers).tolist()
    [256.0, 8.0]
    """
    steps = log.num_steps
    filled = np.where(buffers.producer >= 0, log.finish_step[buffers.producer], 0)
    freed = np.full(len(buffers.size_bytes), steps, np.int64)
    counts = np.diff(buffers.reader_offsets)
    read = counts > 0
    if read.any():
        starts = log.start_step[buffers.readers]
        freed[read] = np.maximum.reduceat(starts, buffers.reader_offsets[:-1][read])
    change = np.bincount(filled, buffers.size_bytes, minlength=steps + 1)
    change -= np.bincount(freed, buffers.size_bytes, minlength=steps + 1)
    return np.cumsum(change)[:steps]


@checks.checked(
    PimjaxError, log=checks.instance(EventLog, "an EventLog from run"), buffers=checks.instance(Buffers, "Buffers")
)
def peak_bytes(log: EventLog, buffers: Buffers) -> int:
    """Largest :func:`live_bytes` of the run, bytes."""
    return int(live_bytes(log, buffers).max(initial=0.0))
