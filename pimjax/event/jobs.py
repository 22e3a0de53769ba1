"""What the event engine runs: jobs on resources, with priorities and successors, as flat NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pimjax import checks
from pimjax.errors import CapacityError, PimjaxError

MAX_JOBS = 5_000_000
"""Largest graph that is accepted [jobs]: beyond it the engine's arrays no longer fit a small machine."""

UNLIMITED, EXCLUSIVE, POOL = 0, 1, 2
"""Disciplines of a resource: no limit, one job at a time, several equal servers."""

HostArray = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ResourceGroup:
    """`count` resources of one discipline; build it with :func:`unlimited`, :func:`exclusive` or :func:`pool`."""

    name: str
    discipline: int
    count: int = 1
    servers: int = 1


@checks.checked(PimjaxError, name=checks.text)
def unlimited(name: str) -> ResourceGroup:
    """One resource on which every job starts the instant it is ready (wires, fixed delays, release times)."""
    return ResourceGroup(name, UNLIMITED)


@checks.checked(PimjaxError, name=checks.text, count=checks.whole(0, 2**24))
def exclusive(name: str, count: int = 1) -> ResourceGroup:
    """`count` resources that each run one job at a time (tiles, crossbar groups, memory channels)."""
    return ResourceGroup(name, EXCLUSIVE, count=count)


@checks.checked(PimjaxError, name=checks.text, servers=checks.whole(1))
def pool(name: str, servers: int) -> ResourceGroup:
    """One resource of `servers` equal units with a common queue (digital units, attention units)."""
    return ResourceGroup(name, POOL, servers=servers)


@dataclass(frozen=True)
class JobGraph:
    """Jobs, what they run on, and who waits for whom. Built by :class:`JobGraphBuilder` or directly.

    The engine's rules, none of which knows a chip:

    * A job is *ready* when all its predecessors have finished. Ready jobs get a *position* in the order in which
      they become ready; jobs without predecessors are ready at time 0 in index order.
    * Unlimited resources start every ready job at once. An idle exclusive resource, or an idle server of a pool,
      starts the ready job with the smallest (sequence, token, position). Nothing is ever interrupted.
    * Jobs that finish at the same instant are retired in this order: jobs on unlimited resources by position; on
      exclusive resources by the position of the earliest job, running or waiting, of that resource; on pools those
      started before this instant's step, by pool and position, then those started in it, by pool and start order.
      A retiring job visits its successors in the order of its CSR row.

    Attributes:
        kind: int [jobs], index into `kinds`.
        duration: float64 [jobs], ns, finite and >= 0.
        resource: int [jobs], flat index: groups are numbered one after the other, in the order of `resources`.
        sequence: int [jobs], first priority, lower first (all 0 where one sequence runs).
        token: int [jobs], second priority, lower first.
        successor_offsets: int [jobs + 1], CSR row starts.
        successors: int [edges], job indices.
        kinds: names of the job kinds.
        resources: groups of resources.
    """

    kind: HostArray
    duration: HostArray
    resource: HostArray
    sequence: HostArray
    token: HostArray
    successor_offsets: HostArray
    successors: HostArray
    kinds: tuple[str, ...]
    resources: tuple[ResourceGroup, ...]

    @property
    def num_jobs(self) -> int:
        """Number of jobs."""
        return len(self.duration)

    @property
    def num_resources(self) -> int:
        """Number of resources, all groups together."""
        return sum(group.count for group in self.resources)

    def discipline(self) -> HostArray:
        """int64 [resources]: UNLIMITED, EXCLUSIVE or POOL."""
        return np.repeat([g.discipline for g in self.resources], [g.count for g in self.resources]).astype(np.int64)

    def servers(self) -> HostArray:
        """int64 [resources]: jobs that run side by side (1 where the discipline is not POOL)."""
        return np.repeat([g.servers for g in self.resources], [g.count for g in self.resources]).astype(np.int64)

    def resource_name(self, index: int) -> str:
        """Name of one resource, e.g. 'tile 12'."""
        for group in self.resources:
            if index < group.count:
                return group.name if group.count == 1 else f"{group.name} {index}"
            index -= group.count
        raise IndexError(f"resource {index} past the last group")

    def predecessor_counts(self) -> HostArray:
        """int64 [jobs]: number of edges that end in each job."""
        return np.bincount(self.successors, minlength=self.num_jobs).astype(np.int64)

    def validate(self) -> None:
        """Raise `CapacityError` for more than `MAX_JOBS` jobs, `PimjaxError` for arrays that do not fit together."""
        jobs = self.num_jobs
        require_capacity(jobs)
        for name in ("kind", "resource", "sequence", "token"):
            if len(getattr(self, name)) != jobs:
                raise PimjaxError(
                    f"JobGraph.{name} has {len(getattr(self, name))} entries for {jobs} durations: give one per job"
                )
        offsets = self.successor_offsets
        if len(offsets) != jobs + 1 or offsets[0] != 0 or offsets[-1] != len(self.successors):
            raise PimjaxError("JobGraph.successor_offsets must hold jobs + 1 row starts from 0 to len(successors)")
        if np.any(np.diff(offsets) < 0):
            raise PimjaxError("JobGraph.successor_offsets must never decrease")
        for name, bound in (
            ("kind", len(self.kinds)),
            ("resource", self.num_resources),
            ("successors", jobs),
        ):
            values = getattr(self, name)
            if len(values) and not (values.min() >= 0 and values.max() < bound):
                raise PimjaxError(f"JobGraph.{name} holds {values.min()}..{values.max()}, allowed is 0..{bound - 1}")
        if not np.all(np.isfinite(self.duration) & (self.duration >= 0)):
            raise PimjaxError("JobGraph.duration must be finite and not negative [ns]")
        for group in self.resources:
            if group.servers < 1 or group.count < 0:
                raise PimjaxError(
                    f"resource group {group.name!r} has count {group.count} and {group.servers} servers: "
                    "use at least one server"
                )


@checks.checked(PimjaxError, jobs=checks.numbers(0, dims=0, infinite=True))
def require_capacity(jobs: float) -> None:
    """Raise `CapacityError` if a graph of `jobs` jobs is more than the engine accepts.

    >>> require_capacity(187_015)
    """
    if jobs > MAX_JOBS:
        raise CapacityError(
            f"the event engine was given a graph of {jobs:,.0f} operations, at most {MAX_JOBS:,} are accepted: "
            "use fidelity 'fluid' or 'closed', or a smaller workload"
        )


class JobGraphBuilder:
    """Collects blocks of jobs and edges and turns them into a :class:`JobGraph`.

    Jobs are numbered in the order of the `add` calls; the successors of a job are visited in the order of the
    `connect` calls that named it. Arguments broadcast against each other, so whole blocks are added at once.

    >>> build = JobGraphBuilder(("load", "pass"), [unlimited("wires"), exclusive("group", 2)])
    >>> loads = build.add("load", 12.0, build.resource("wires"), token=[0, 1])
    >>> passes = build.add("pass", 130.0, build.resource("group", 0), token=[0, 1])
    >>> build.connect(loads, passes)
    >>> graph = build.build()
    >>> graph.num_jobs, graph.successors.tolist()
    (4, [2, 3])
    """

    def __init__(self, kinds: Sequence[str], resources: Sequence[ResourceGroup]) -> None:
        checks.require(PimjaxError, "kinds", kinds, checks.each(checks.text, "a list of names of job kinds"))
        group = checks.instance(ResourceGroup, "a ResourceGroup")
        meaning = "a list of groups made by unlimited, exclusive and pool"
        checks.require(PimjaxError, "resources", resources, checks.each(group, meaning))
        self.kinds = tuple(kinds)
        self.resources = tuple(resources)
        self._first: dict[str, tuple[int, int]] = {}
        first = 0
        for group in self.resources:
            self._first[group.name] = first, group.count
            first += group.count
        self._columns: list[tuple[HostArray, ...]] = []
        self._edges: list[tuple[HostArray, HostArray]] = []
        self.num_jobs = 0

    def resource(self, name: str, index: Any = 0) -> Any:
        """Flat index of resource `index` (an int or an array) of group `name`; `PimjaxError` past the last one."""
        checks.require(PimjaxError, "resource", name, checks.word(*self._first))
        checks.require(PimjaxError, "index", index, checks.numbers(integer=True))
        first, count = self._first[name]
        position = np.asarray(index)
        if position.size and not (position.min() >= 0 and position.max() < count):
            raise PimjaxError(f"resource {name!r} was asked for {index}: it has the indices 0..{count - 1}")
        return first + (index if position.ndim == 0 else position)

    def add(self, kind: str, duration: Any, resource: Any, *, sequence: Any = 0, token: Any = 0) -> HostArray:
        """Add a block of jobs; returns their indices, int64, of the broadcast shape (at least one axis).

        Raises `CapacityError` above `MAX_JOBS` jobs. `duration` [ns], `resource` (flat), `sequence` and `token` are scalars or arrays.
        """
        checks.require(PimjaxError, "kind", kind, checks.word(*self.kinds))
        checks.require(PimjaxError, "duration", duration, checks.numbers(0))
        for name, number in (("resource", resource), ("sequence", sequence), ("token", token)):
            checks.require(PimjaxError, name, number, checks.numbers(integer=True))
        given = (duration, resource, sequence, token)
        _check_shapes("duration, resource, sequence and token", *given)
        values = (self.kinds.index(kind), *given)
        shape = np.broadcast(*values).shape or (1,)
        size = math.prod(shape)
        require_capacity(self.num_jobs + size)
        self._columns.append(
            tuple(_filled(value, shape, dtype) for value, dtype in zip(values, _COLUMN_TYPES, strict=True))
        )
        indices = np.arange(self.num_jobs, self.num_jobs + size).reshape(shape)
        self.num_jobs += size
        return indices

    def connect(self, producers: Any, consumers: Any) -> None:
        """Each consumer waits for its producer; the two index arrays broadcast, edges in row-major order."""
        for name, number in (("producers", producers), ("consumers", consumers)):
            checks.require(PimjaxError, name, number, checks.numbers(0, self.num_jobs - 1, integer=True))
        _check_shapes("producers and consumers", producers, consumers)
        shape = np.broadcast(producers, consumers).shape
        self._edges.append((_filled(producers, shape, np.int64), _filled(consumers, shape, np.int64)))

    def build(self) -> JobGraph:
        """The graph so far."""
        blocks = self._columns or [tuple(np.zeros(0, dtype) for dtype in _COLUMN_TYPES)]
        kind, duration, resource, sequence, token = (np.concatenate(column) for column in zip(*blocks, strict=True))
        edges = self._edges or [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
        before, after = (np.concatenate(ends) for ends in zip(*edges, strict=True))
        offsets = np.zeros(self.num_jobs + 1, np.int64)
        np.cumsum(np.bincount(before, minlength=self.num_jobs), out=offsets[1:])
        return JobGraph(
            kind=kind,
            duration=duration,
            resource=resource,
            sequence=sequence,
            token=token,
            successor_offsets=offsets,
            successors=after[np.argsort(before, kind="stable")],
            kinds=self.kinds,
            resources=self.resources,
        )


def _check_shapes(names: str, *values: Any) -> None:
    try:
        np.broadcast_shapes(*map(np.shape, values))
    except ValueError:
        shapes = ", ".join(str(list(np.shape(value))) for value in values)
        raise PimjaxError(
            f"{names} have shapes {shapes}, which do not broadcast: give one axis of equal length"
        ) from None


_COLUMN_TYPES = (np.int32, np.float64, np.int32, np.int32, np.int32)


def _filled(value: Any, shape: tuple[int, ...], dtype: Any) -> HostArray:
    """`value` broadcast to `shape` and flattened: a copy (`numpy.broadcast_arrays` is slow on small arrays)."""
    out = np.empty(shape, dtype)
    out[...] = value
    return out.reshape(-1)
