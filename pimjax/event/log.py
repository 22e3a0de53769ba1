"""What a run leaves behind: when every job started and ended, and why it did not start earlier."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pimjax.event.jobs import UNLIMITED, JobGraph

HostArray = np.ndarray[Any, Any]


@dataclass(frozen=True)
class CriticalPath:
    """A chain of jobs without gaps from time 0 to the makespan: their durations add up to it.

    Attributes:
        jobs: int64 [path], in order of time.
        duration_ns: float64 [path].
        waited: bool [path], True where the job was ready earlier and started when its predecessor in the path
            gave up the resource; False where it started when its predecessor in the graph had finished.
        kind: int [path], index into `kinds`.
        kinds: names of the job kinds.
    """

    jobs: HostArray
    duration_ns: HostArray
    waited: HostArray
    kind: HostArray
    kinds: tuple[str, ...]

    @property
    def total_ns(self) -> float:
        """Sum of the durations, ns: the makespan, up to the rounding of the sum."""
        return float(self.duration_ns.sum())

    def by_kind(self) -> dict[str, float]:
        """Share of the makespan of each job kind, ns."""
        totals = np.bincount(self.kind, self.duration_ns, minlength=len(self.kinds))
        return {name: float(total) for name, total in zip(self.kinds, totals, strict=True)}


@dataclass(frozen=True)
class EventLog:
    """Result of :func:`pimjax.event.run`.

    Attributes:
        jobs: the graph that was run.
        start_ns: float64 [jobs].
        finish_ns: float64 [jobs].
        start_step: int64 [jobs], number of the engine step at whose beginning the job started.
        finish_step: int64 [jobs], number of the step at whose end it finished.
        cause: int64 [jobs], the job whose end let this one start (its last predecessor, or the job that held its
            resource), -1 for jobs that started at time 0.
        step_ns: float64 [steps], length of each step; a step ends when something finishes.
    """

    jobs: JobGraph = field(repr=False)
    start_ns: HostArray = field(repr=False)
    finish_ns: HostArray = field(repr=False)
    start_step: HostArray = field(repr=False)
    finish_step: HostArray = field(repr=False)
    cause: HostArray = field(repr=False)
    step_ns: HostArray = field(repr=False)

    @property
    def num_steps(self) -> int:
        """Number of steps, i.e. of instants at which something finished."""
        return len(self.step_ns)

    @property
    def makespan_ns(self) -> float:
        """Time at which the last job finished, ns."""
        return float(self.finish_ns.max(initial=0.0))

    def busy_ns(self) -> HostArray:
        """float64 [resources]: sum of the durations that ran on each resource."""
        return np.bincount(self.jobs.resource, self.jobs.duration, minlength=self.jobs.num_resources)

    def critical_path(self) -> CriticalPath:
        """The chain of jobs that explains the makespan; waiting goes to the job that held the resource.

        >>> from pimjax.event import JobGraphBuilder, exclusive, run
        >>> build = JobGraphBuilder(("pass",), [exclusive("group")])
        >>> _ = build.add("pass", [130.0, 130.0], 0, token=[1, 0])
        >>> path = run(build.build()).critical_path()
        >>> path.jobs.tolist(), path.waited.tolist(), path.total_ns
        ([1, 0], [False, True], 260.0)
        """
        path = []
        job = int(np.argmax(self.finish_step)) if self.jobs.num_jobs else -1
        cause = self.cause
        while job >= 0:
            path.append(job)
            job = int(cause[job])
        chain = np.array(path[::-1], np.int64)
        waited = np.zeros(len(chain), bool)
        if len(chain) > 1:
            waited[1:] = ~self._are_successors(chain[:-1], chain[1:])
        return CriticalPath(chain, self.jobs.duration[chain], waited, self.jobs.kind[chain], self.jobs.kinds)

    def _are_successors(self, jobs: HostArray, others: HostArray) -> HostArray:
        """bool [pairs]: whether there is an edge from each job to the other."""
        offsets = self.jobs.successor_offsets
        counts = offsets[jobs + 1] - offsets[jobs]
        pair = np.repeat(np.arange(len(jobs)), counts)
        edge = np.arange(len(pair)) + np.repeat(offsets[jobs] - np.cumsum(counts) + counts, counts)
        hits = pair[self.jobs.successors[edge] == others[pair]]
        return np.bincount(hits, minlength=len(jobs)) > 0

    def to_perfetto(self, path: str | Path) -> Path:
        """Write the run in the Chrome trace format that https://ui.perfetto.dev opens; returns the path.

        One track per resource; jobs that overlap on one resource (pools, unlimited ones) are dealt to lanes.
        Times are written in microseconds, as the format wants.
        """
        graph = self.jobs
        lanes = self._lanes()
        names = [graph.resource_name(index) for index in range(graph.num_resources)]
        discipline = graph.discipline()
        tracks: dict[tuple[int, int], int] = {}
        events: list[dict[str, Any]] = []
        for job in np.lexsort((lanes, graph.resource)).tolist():
            place, lane = int(graph.resource[job]), int(lanes[job])
            if (place, lane) not in tracks:
                tracks[place, lane] = len(tracks)
                label = names[place] if discipline[place] != UNLIMITED and lane == 0 else f"{names[place]} / {lane}"
                events.append(
                    {
                        "ph": "M",
                        "name": "thread_name",
                        "pid": 0,
                        "tid": tracks[place, lane],
                        "args": {"name": label},
                    }
                )
            events.append(
                {
                    "ph": "X",
                    "name": graph.kinds[graph.kind[job]],
                    "pid": 0,
                    "tid": tracks[place, lane],
                    "ts": float(self.start_ns[job]) / 1e3,
                    "dur": float(self.finish_ns[job] - self.start_ns[job]) / 1e3,
                    "args": {
                        "job": job,
                        "sequence": int(graph.sequence[job]),
                        "token": int(graph.token[job]),
                        "cause": int(self.cause[job]),
                    },
                }
            )
        target = Path(path)
        target.write_text(json.dumps({"displayTimeUnit": "ns", "traceEvents": events}))
        return target

    def _lanes(self) -> HostArray:
        """int64 [jobs]: lowest free lane of each job on its resource, so that jobs of one lane never overlap."""
        lanes = np.zeros(self.jobs.num_jobs, np.int64)
        ends: dict[int, list[float]] = {}
        for job in np.lexsort((self.finish_ns, self.start_ns)).tolist():
            taken = ends.setdefault(int(self.jobs.resource[job]), [])
            start = self.start_ns[job]
            lane = next((index for index, end in enumerate(taken) if end <= start), len(taken))
            if lane == len(taken):
                taken.append(0.0)
            taken[lane] = self.finish_ns[job]
            lanes[job] = lane
        return lanes
