"""The authors' event loop, written out literally: one list of ready and running jobs, remaining times subtracted.

Slow (every step walks the whole list) and meant to be read next to the rules in `pimjax.event.JobGraph`.
"""

from __future__ import annotations

import numpy as np

from pimjax.event.jobs import EXCLUSIVE, UNLIMITED, JobGraph


def run_literally(jobs: JobGraph) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(start_ns [jobs], finish_ns [jobs], step lengths [steps])."""
    discipline, servers = jobs.discipline().tolist(), jobs.servers().tolist()
    place = jobs.resource.tolist()
    priority = list(zip(jobs.sequence.tolist(), jobs.token.tolist(), strict=True))
    pending = jobs.predecessor_counts().tolist()
    ready = [job for job in range(jobs.num_jobs) if pending[job] == 0]
    remaining: dict[int, float] = {}
    start, finish, steps = np.zeros(jobs.num_jobs), np.zeros(jobs.num_jobs), []
    clock = 0.0
    while ready:
        position = {job: index for index, job in enumerate(ready)}
        by_rank = sorted(ready, key=lambda job: (priority[job], position[job]))
        started_now: dict[int, list[int]] = {}
        for resource in range(jobs.num_resources):
            here = [job for job in by_rank if place[job] == resource]
            running = [job for job in here if job in remaining]
            waiting = [job for job in here if job not in remaining]
            room = len(waiting) if discipline[resource] == UNLIMITED else servers[resource] - len(running)
            started_now[resource] = waiting[: max(room, 0)]
        for chosen in started_now.values():
            for job in chosen:
                remaining[job] = float(jobs.duration[job])
                start[job] = clock

        step = min(remaining.values())
        clock += step
        steps.append(step)
        ended = [job for job, left in remaining.items() if left == step]
        remaining = {job: left - step for job, left in remaining.items() if left != step}

        def retirement(job: int) -> tuple[int, int, int]:
            resource = place[job]
            if discipline[resource] == UNLIMITED:
                return 0, 0, position[job]  # noqa: B023 - called in this round only
            if discipline[resource] == EXCLUSIVE:
                return 1, 0, min(position[other] for other in ready if place[other] == resource)  # noqa: B023
            if job in started_now[resource]:  # noqa: B023
                return 3, resource, started_now[resource].index(job)  # noqa: B023
            return 2, resource, position[job]  # noqa: B023

        ended.sort(key=retirement)
        appended = []
        for job in ended:
            finish[job] = clock
            for follower in jobs.successors[jobs.successor_offsets[job] : jobs.successor_offsets[job + 1]].tolist():
                pending[follower] -= 1
                if pending[follower] == 0:
                    appended.append(follower)
        ready = [job for job in ready if job not in set(ended)] + appended
    return start, finish, np.array(steps)
