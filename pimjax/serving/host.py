"""`simulate`: the fast host engine, compiled by numba where it is installed."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from pimjax import checks
from pimjax.errors import MissingExtraError, ServingError
from pimjax.serving.loads import RoutingLoads, no_loads
from pimjax.serving.requests import Requests
from pimjax.serving.run import ServingRun
from pimjax.serving.server import Server
from pimjax.serving.step_table import StepTable

_LARGEST_QUEUES = 1 << 27
"""Places in the queues of all ranks, each as long as all requests: 1 GB."""


@functools.cache
def compiled_loop() -> Callable[..., Any]:
    """The loop compiled by numba (kept on disk); `MissingExtraError` where numba is not installed."""
    try:
        import numba
    except ImportError:
        raise MissingExtraError("numba", "fast", "The compiled serving engine") from None
    from pimjax.serving.host_loop import serve_loop

    try:
        return numba.njit(cache=True, nogil=True)(serve_loop)
    except RuntimeError:  # no folder that numba may write its cache to
        return numba.njit(nogil=True)(serve_loop)


@checks.checked(
    ServingError,
    server=checks.instance(Server, "a Server"),
    table=checks.instance(StepTable, "a StepTable from make_step_table or chip_tables"),
    loads=checks.optional(checks.instance(RoutingLoads, "RoutingLoads from ChipSteps")),
    log=checks.flag,
    compiled=checks.optional(checks.flag),
)
def simulate(
    requests: Requests,
    server: Server,
    table: StepTable,
    *,
    loads: RoutingLoads | None = None,
    log: bool = True,
    compiled: bool | None = None,
) -> ServingRun:
    """Serve requests on one chip: the rules of :mod:`pimjax.serving.exact`, on the host.

    Args:
        requests: from :func:`~pimjax.serving.make_requests` and its like.
        server: the settings.
        table: costs of a step; for one chip (no batch axes).
        loads: routing, so that a step costs what its own tokens visit; None: what a mean batch of that size does.
        log: keep the log of steps.
        compiled: True or False; None compiles where numba is installed.

    Returns:
        A :class:`~pimjax.serving.ServingRun`, float64.

    Raises:
        ServingError: a request can never be served, or the table has batch axes.
        MissingExtraError: `compiled` without numba.

    >>> from pimjax.serving import Server, make_requests, make_step_table
    >>> table = make_step_table(tokens=[10.0])
    >>> simulate(make_requests([0.0, 5.0], 8, 3), Server(), table, compiled=False).finish_ns.tolist()
    [30.0, 40.0]
    """
    server.check(requests)
    if np.ndim(table.tokens) != 2:
        raise ServingError("table has batch axes: give one chip's table, or use simulate_batch")
    if server.ranks * len(requests) > _LARGEST_QUEUES:
        raise ServingError(
            f"{server.ranks} ranks for {len(requests):,} requests need more than {_LARGEST_QUEUES:,} places in queues: serve fewer "
            "requests, or fewer ranks"
        )
    if compiled is None:
        compiled = importlib.util.find_spec("numba") is not None
    if compiled:
        loop = compiled_loop()
    else:
        from pimjax.serving.host_loop import serve_loop as loop
    host = StepTable(*(np.ascontiguousarray(leaf, np.float64) for leaf in table))
    count = len(requests)
    scheduled_ns, first_ns, finish_ns = (np.full(count, np.nan) for _ in range(3))
    preemptions, rank = np.zeros(count, np.int64), np.zeros(count, np.int64)
    energy_nj = np.zeros(count)
    rows, steps, busy = loop(
        requests.arrival_ns,
        requests.prompt_tokens,
        requests.output_tokens,
        requests.routing,
        server.max_num_seqs,
        server.max_num_batched_tokens,
        server.block_tokens,
        server.kv_blocks,
        server.chunked_prefill,
        server.reserve_full_prompt,
        server.reuse_preempted,
        server.async_scheduling,
        server.ranks,
        server.lockstep,
        server.balance == "round_robin",
        log,
        host,
        no_loads() if loads is None else loads,
        scheduled_ns,
        first_ns,
        finish_ns,
        preemptions,
        energy_nj,
        rank,
    )
    kept = rows[: steps if log else 0]
    return ServingRun(requests, server, scheduled_ns, first_ns, finish_ns, preemptions, energy_nj, rank, busy, kept)
