"""`simulate_batch`: many servers at once (chips, rates, seeds), by the host engine in threads or by the compiled scan."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.errors import ServingError
from pimjax.progress import report
from pimjax.serving.host import simulate
from pimjax.serving.loads import RoutingLoads
from pimjax.serving.requests import Requests
from pimjax.serving.server import Server
from pimjax.serving.step_table import StepTable

ENGINES = ("host", "scan")
_SCAN_STEPS = 256


@dataclass(frozen=True)
class ServingBatch:
    """Runs of `N` lanes of `R` requests; arrays as in :class:`~pimjax.serving.ServingRun` with a leading axis.

    Attributes:
        arrival_ns: float64 `[N, R]`.
        prompt_tokens, output_tokens: int64 `[N, R]`.
        scheduled_ns, first_token_ns, finish_ns, energy_nj: float64 `[N, R]`.
        preemptions: int64 `[N, R]`.
        step_ns: float64 `[N]`, durations of all steps together, ranks that step apart added up.
    """

    arrival_ns: HostArray
    prompt_tokens: HostArray
    output_tokens: HostArray
    scheduled_ns: HostArray
    first_token_ns: HostArray
    finish_ns: HostArray
    energy_nj: HostArray
    preemptions: HostArray
    step_ns: HostArray

    @property
    def ttft_ns(self) -> HostArray:
        """Time to first token `[N, R]`."""
        return self.first_token_ns - self.arrival_ns

    @property
    def tpot_ns(self) -> HostArray:
        """Time per further output token `[N, R]`; NaN for answers of one token."""
        further = self.output_tokens - 1
        return np.where(further > 0, (self.finish_ns - self.first_token_ns) / np.maximum(further, 1), np.nan)

    @property
    def latency_ns(self) -> HostArray:
        """Arrival to last token `[N, R]`."""
        return self.finish_ns - self.arrival_ns


_ONE = checks.instance(Requests, "Requests")


@checks.checked(
    ServingError,
    requests=checks.any_of(_ONE, checks.each(_ONE, "a list of Requests, one for each lane", least=1)),
    server=checks.instance(Server, "a Server"),
    table=checks.instance(StepTable, "a StepTable from make_step_table or StepGrid"),
    loads=checks.optional(checks.instance(RoutingLoads, "RoutingLoads from ChipSteps")),
    engine=checks.word(*ENGINES),
    threads=checks.optional(checks.whole(1, 1024)),
)
def simulate_batch(
    requests: Requests | Sequence[Requests],
    server: Server,
    table: StepTable,
    *,
    loads: RoutingLoads | None = None,
    engine: str = "host",
    threads: int | None = None,
) -> ServingBatch:
    """Serve the same or different requests on many chips.

    Args:
        requests: for all lanes, or one for each, all of one count.
        server: the settings.
        table: of one chip, or with a leading axis `[N]`.
        loads: routing of every step's own tokens; None: mean batches.
        engine: "host" (loop over requests, compiled by numba where it is installed, one thread per core): the faster one
            on CPUs. "scan": one compiled program for all lanes, one rank; what derivatives go through.
        threads: of "host"; default the cores.

    Returns:
        :class:`ServingBatch`, float64.

    Raises:
        ServingError: a request can never be served, lanes of different numbers, or several ranks or
            `reuse_preempted` for "scan".

    >>> from pimjax.serving import Server, make_requests, make_step_table
    >>> table = make_step_table(tokens=[10.0])
    >>> lanes = [make_requests([0.0, gap], 8, 3) for gap in (5.0, 50.0)]
    >>> simulate_batch(lanes, Server(), table, engine="scan").finish_ns.tolist()
    [[30.0, 40.0], [30.0, 80.0]]
    """
    lanes = [requests] if isinstance(requests, Requests) else list(requests)
    for one in lanes:
        server.check(one)
    counts = {len(one) for one in lanes}
    if len(counts) != 1:
        raise ServingError(f"requests have {min(counts)} to {max(counts)} requests per lane: give every lane as many")
    batched = np.ndim(table.tokens) == 3
    chips = len(table.tokens) if batched else 1
    total = max(len(lanes), chips)
    if len(lanes) not in (1, total) or chips not in (1, total):
        raise ServingError(f"{len(lanes)} lanes of requests for {chips} chips: give one of either, or as many")
    lanes = lanes * (total // len(lanes))
    if engine == "scan":
        found = _scan(lanes, server, table, loads, batched)
    else:
        found = _host(lanes, server, table, loads, batched, threads or os.cpu_count() or 1)
    given = [
        np.stack([getattr(one, name) for one in lanes]) for name in ("arrival_ns", "prompt_tokens", "output_tokens")
    ]
    return ServingBatch(*given, *found)


def _host(
    lanes: list[Requests], server: Server, table: StepTable, loads: Any, batched: bool, threads: int
) -> list[HostArray]:
    table = StepTable(*(np.asarray(leaf) for leaf in table))
    names = ("scheduled_ns", "first_token_ns", "finish_ns", "energy_nj", "preemptions", "step_ns")

    def one(index: int) -> tuple[HostArray, ...]:
        own = StepTable(*(leaf[index] for leaf in table)) if batched else table
        run = simulate(lanes[index], server, own, loads=loads, log=False)
        if index % 64 == 0:
            report(f"lane {index} of {len(lanes)}", index / len(lanes))
        return tuple(getattr(run, name) for name in names)

    with ThreadPoolExecutor(threads) as pool:
        rows = list(pool.map(one, range(len(lanes))))
    return [np.stack(column) for column in zip(*rows, strict=True)]


def scan_inputs(lanes: Sequence[Requests], server: Server, table: Any, loads: RoutingLoads | None) -> Any:
    """:class:`~.scan.ScanInputs` of lanes `[N]`; table, limits and routing are shared, and have no lane axis."""
    from pimjax.serving.scan import ScanInputs

    def padded(name: str, end: Any, dtype: Any) -> HostArray:
        return np.array([np.append(getattr(one, name), end) for one in lanes], dtype)

    visits = lengths = members = None
    if loads is not None:
        layers, experts = loads.group_of_expert.shape
        visits = np.zeros((*loads.ids.shape[:3], experts + 1), np.int8)
        np.put_along_axis(visits, np.where(loads.ids >= 0, loads.ids, experts), 1, axis=-1)
        visits, lengths = visits[..., :experts], loads.lengths.astype(np.int32)
        members = np.zeros((layers, experts, loads.num_groups), np.float32)
        np.put_along_axis(members, loads.group_of_expert[..., None].astype(int), 1.0, axis=-1)
    whole = lambda value: np.asarray(min(value, 2**30), np.int32)  # noqa: E731
    return ScanInputs(
        arrival=padded("arrival_ns", np.inf, np.float64),
        prompt=padded("prompt_tokens", 1, np.int32),
        output=padded("output_tokens", 1, np.int32),
        routing=padded("routing", 0, np.int64).astype(np.int32),
        max_num_seqs=whole(server.max_num_seqs),
        max_tokens=whole(server.max_num_batched_tokens),
        block=whole(server.block_tokens),
        kv_blocks=whole(server.kv_blocks),
        chunked=np.asarray(server.chunked_prefill),
        reserve=np.asarray(server.reserve_full_prompt),
        asynchronous=np.asarray(server.async_scheduling),
        table=table,
        visits=visits,
        lengths=lengths,
        members=members,
    )


def lane_axes(batched: bool) -> Any:
    """`in_axes` of :func:`scan_inputs`: requests, and the table where chips differ."""
    from pimjax.serving.scan import ScanInputs

    own: dict[str, Any] = dict.fromkeys(ScanInputs._fields) | dict.fromkeys(
        ("arrival", "prompt", "output", "routing"), 0
    )
    # pyrefly: ignore[bad-argument-type]
    return ScanInputs(**{**own, "table": 0 if batched else None})


@functools.cache
def _compiled(slots: int, batched: bool) -> Any:
    from pimjax.serving.scan import run_steps

    step = functools.partial(run_steps, length=_SCAN_STEPS)
    return jax.jit(jax.vmap(step, in_axes=(0, lane_axes(batched))), donate_argnums=0)


def slots_of(server: Server, requests: int) -> int:
    """Slots that hold every request that can run at once."""
    return max(1, min(server.max_num_seqs, requests))


def _scan(lanes: list[Requests], server: Server, table: StepTable, loads: Any, batched: bool) -> list[HostArray]:
    from pimjax.serving.scan import initial_state

    if server.ranks != 1:
        raise ServingError(f"engine 'scan' serves one rank, but Server.ranks is {server.ranks}: use engine 'host'")
    if server.reuse_preempted:
        raise ServingError(
            "engine 'scan' computes preempted requests from their beginning: use engine 'host' for reuse_preempted"
        )
    count, slots = len(lanes[0]), slots_of(server, len(lanes[0]))
    longest = max(one.longest_context for one in lanes)
    if slots * longest > 2**30:
        raise ServingError(
            f"engine 'scan' adds up at most {2**30:,} tokens, but {slots} slots of {longest:,} tokens are more: use engine 'host'"
        )
    with jax.enable_x64(True):
        inputs = jax.tree.map(jax.numpy.asarray, scan_inputs(lanes, server, table, loads))
        first = initial_state(count, slots, np.float64)
        state = jax.tree.map(lambda leaf: jax.numpy.repeat(leaf[None], len(lanes), axis=0), first)
        advance = _compiled(slots, batched)
        done = 0
        while done < count * len(lanes):
            state = advance(state, inputs)
            done = int(state.finished.sum())
            report("steps of all lanes", done / (count * len(lanes)))
        names = ("scheduled_ns", "first_ns", "finish_ns", "energy_nj")
        found = [np.asarray(getattr(state, name))[:, :count] for name in names]
        return [*found, np.asarray(state.preemptions)[:, :count].astype(np.int64), np.asarray(state.step_ns)]
