"""`run`: the exact discrete-event engine, compiled by numba where that pays."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from pimjax import checks
from pimjax.errors import MissingExtraError, PimjaxError
from pimjax.event.jobs import JobGraph
from pimjax.event.log import EventLog
from pimjax.event.loop import event_loop

COMPILE_FROM_JOBS = 1_000_000
"""Graphs from this size on are worth the seconds that compiling the loop takes, if numba is there."""

Arithmetic = Literal["absolute", "stepwise"]


@functools.cache
def compiled_loop() -> Callable[..., tuple[int, int]]:
    """The event loop compiled by numba (kept on disk); `MissingExtraError` where numba is not installed."""
    try:
        import numba
    except ImportError:
        raise MissingExtraError("numba", "fast", "The compiled event engine") from None
    try:
        return numba.njit(cache=True)(event_loop)
    except RuntimeError:  # no folder that numba may write its cache to
        return numba.njit(event_loop)


@checks.checked(
    PimjaxError,
    jobs=checks.instance(JobGraph, "a JobGraph from JobGraphBuilder"),
    arithmetic=checks.word("absolute", "stepwise"),
    tie_tolerance_ns=checks.numbers(0, dims=0),
    compiled=checks.flag,
)
def run(
    jobs: JobGraph,
    *,
    arithmetic: Arithmetic = "absolute",
    tie_tolerance_ns: float = 1e-9,
    compiled: bool | None = None,
) -> EventLog:
    """Run a job graph to its end, exactly, by the rules that :class:`JobGraph` states.

    Args:
        jobs: the graph; at most `MAX_JOBS` jobs.
        arithmetic: "absolute" keeps finish times, and finishes that are at most `tie_tolerance_ns` apart are one
            instant. "stepwise" subtracts every step from the remaining time of every running job and compares
            exactly, as the authors' simulator does: bit for bit its latencies, and independent of when a graph
            starts, but slower where jobs of very many different durations run at once.
        tie_tolerance_ns: see above, ns; unused when stepwise.
        compiled: True or False; None compiles (if numba is installed) for graphs of at least `COMPILE_FROM_JOBS`
            jobs, and uses the compiled loop wherever this process has it already. Both ways run the same source and
            give the same numbers.

    Returns:
        The log, float64.

    Raises:
        CapacityError: more than `MAX_JOBS` jobs.
        MissingExtraError: `compiled=True` without numba.
        PimjaxError: arrays that do not fit together, or jobs that wait for each other in a circle.

    >>> from pimjax.event import JobGraphBuilder, pool, run
    >>> build = JobGraphBuilder(("add",), [pool("digital unit", 2)])
    >>> _ = build.add("add", 12.0, 0, token=[0, 1, 2])
    >>> run(build.build()).finish_ns.tolist()
    [12.0, 12.0, 24.0]
    """
    if arithmetic not in ("absolute", "stepwise"):
        raise PimjaxError(f"arithmetic is {arithmetic!r}: use 'absolute' or 'stepwise'")
    jobs.validate()
    size = jobs.num_jobs
    if compiled is None:
        loaded = compiled_loop.cache_info().currsize > 0
        compiled = loaded or (size >= COMPILE_FROM_JOBS and importlib.util.find_spec("numba") is not None)

    inputs = (
        jobs.duration.astype(np.float64),
        jobs.resource.astype(np.int64),
        _priority_rank(jobs),
        jobs.successor_offsets.astype(np.int64),
        jobs.successors.astype(np.int64),
        jobs.predecessor_counts(),
        jobs.discipline(),
        jobs.servers(),
    )
    outputs = (
        np.zeros(size),
        np.zeros(size),
        np.full(size, -1, np.int64),
        np.full(size, -1, np.int64),
        np.full(size, -1, np.int64),
        np.zeros(size),
    )
    scratch = (
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        np.zeros(jobs.num_resources, np.int64),
        np.full(jobs.num_resources, -1, np.int64),
    )
    options = (arithmetic == "stepwise", float(tie_tolerance_ns))
    if compiled:
        retired, steps = compiled_loop()(*inputs, *options, *outputs, *scratch)
        columns: Any = outputs
    else:
        # Plain lists: indexing a NumPy array element by element is several times slower.
        lists = [array.tolist() for array in outputs]
        arguments: list[Any] = [array.tolist() for array in inputs]
        arguments += [*options, *lists, *(array.tolist() for array in scratch)]
        retired, steps = event_loop(*arguments)
        columns = [np.array(values, like.dtype) for values, like in zip(lists, outputs, strict=True)]
    if retired != size:
        raise PimjaxError(f"{size - retired} of {size} jobs never became ready: they wait for each other in a circle")
    start_ns, finish_ns, start_step, finish_step, cause, step_ns = columns
    return EventLog(jobs, start_ns, finish_ns, start_step, finish_step, cause, step_ns[:steps])


def _priority_rank(jobs: JobGraph) -> np.ndarray[Any, Any]:
    """int64 [jobs]: a number below 2^31 that orders jobs by (sequence, token)."""
    sequence = jobs.sequence.astype(np.int64)
    token = jobs.token.astype(np.int64)
    if not len(token):
        return token
    span = int(token.max() - token.min()) + 1
    rank = (sequence - sequence.min()) * span + (token - token.min())
    if rank.max() < 2**31:
        return rank
    _, dense = np.unique(rank, return_inverse=True)
    return dense.astype(np.int64)
