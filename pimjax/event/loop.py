"""The event loop itself: one source that runs on Python lists, or compiled by numba on NumPy arrays.

Only scalars, flat sequences, lists and `heapq` are used, so both ways execute the same statements.
"""

from __future__ import annotations

from heapq import heappop, heappush

# Waiting jobs are kept as one integer, (priority rank, position), in the low and high 32 bits.
SHIFT = 32
MASK = (1 << SHIFT) - 1
_UNLIMITED, _EXCLUSIVE = 0, 1  # disciplines; everything else is a pool
# Retirement keys: class in the bits from 60 on, pool in the middle, a position or a turn in the low 32.
_CLASS = 60
_ON_UNLIMITED, _ON_EXCLUSIVE, _STARTED_EARLIER, _STARTED_NOW = 0, 1, 2, 3


def event_loop(
    duration,
    resource,
    rank,
    offsets,
    successors,
    waiting_for,
    discipline,
    servers,
    stepwise,
    tolerance,
    start_ns,
    finish_ns,
    start_step,
    finish_step,
    cause,
    step_ns,
    job_at,
    ready_step,
    free,
    last_retired,
):
    """Run all jobs; fills the arrays from `start_ns` on and returns (jobs retired, steps).

    Args:
        duration: float [jobs], ns.
        resource: int [jobs].
        rank: int [jobs], rank of (sequence, token).
        offsets: int [jobs + 1]; successors: int [edges].
        waiting_for: int [jobs], predecessors still running; overwritten.
        discipline: int [resources].
        servers: int [resources].
        stepwise: subtract each step from the remaining times instead of keeping absolute finish times.
        tolerance: ns within which absolute finish times are one instant.
        start_ns, finish_ns, start_step, finish_step: results [jobs].
        cause: int [jobs], the job whose end let this one start, or -1.
        step_ns: float [jobs], length of each step; entries after the last step stay.
        job_at: int [jobs], job at a position; ready_step: int [jobs].
        free: int [resources], idle servers; last_retired: int [resources], initially -1.
    """
    jobs = len(duration)
    resources = len(discipline)
    position = [0 for _ in range(jobs)]
    turn = [0 for _ in range(jobs)]  # order of starting, over the whole run
    job_of_turn = [0 for _ in range(jobs)]
    turns = 0
    running = [0 for _ in range(resources)]  # job on an exclusive resource
    # A list is made with one entry and emptied where a compiler must know what it holds.
    queues = [[0] for _ in range(resources)]
    arrivals = [[0] for _ in range(resources)]
    head = [0 for _ in range(resources)]
    for index in range(resources):
        queues[index].pop()
        arrivals[index].pop()
        free[index] = servers[index]
    fresh = [0 for _ in range(0)]  # ready jobs of unlimited resources
    touched = [0 for _ in range(0)]  # resources that may be able to start something
    events = [(0.0, 0) for _ in range(0)]  # heap of (finish, job): absolute arithmetic
    left = [0.0 for _ in range(0)]  # remaining time of each batch of running jobs: stepwise arithmetic
    members = [[0] for _ in range(0)]
    started = [0 for _ in range(0)]
    done = [0 for _ in range(0)]
    order = [0 for _ in range(0)]  # heap of retirement keys
    count = 0
    for job in range(jobs):
        if waiting_for[job] == 0:
            position[job] = count
            job_at[count] = job
            count += 1
            ready_step[job] = 0
            place = resource[job]
            if discipline[place] == _UNLIMITED:
                fresh.append(job)
            else:
                heappush(queues[place], (rank[job] << SHIFT) | position[job])
                if discipline[place] == _EXCLUSIVE:
                    arrivals[place].append(job)
                touched.append(place)

    now = 0.0
    step = 0
    retired = 0
    while True:
        # Start everything that can start.
        started.clear()
        for job in fresh:
            started.append(job)
        fresh.clear()
        for place in touched:
            queue = queues[place]
            while free[place] > 0 and len(queue) > 0:
                job = job_at[heappop(queue) & MASK]
                free[place] -= 1
                turn[job] = turns
                job_of_turn[turns] = job
                turns += 1
                running[place] = job
                if ready_step[job] != step:
                    cause[job] = last_retired[place]
                started.append(job)
        touched.clear()
        if stepwise:
            first_new = len(left)
            for job in started:
                start_ns[job] = now
                start_step[job] = step
                needed = duration[job]
                batch = first_new
                while batch < len(left) and left[batch] != needed:
                    batch += 1
                if batch == len(left):
                    left.append(needed)
                    members.append([job])
                else:
                    members[batch].append(job)
            if len(left) == 0:
                break
        else:
            for job in started:
                start_ns[job] = now
                start_step[job] = step
                heappush(events, (now + duration[job], job))
            if len(events) == 0:
                break

        # Advance to the next instant at which something finishes.
        done.clear()
        if stepwise:
            advance = min(left)
            now += advance
            step_ns[step] = advance
            kept = 0
            for batch in range(len(left)):
                remaining = left[batch]
                if remaining == advance:
                    for job in members[batch]:
                        done.append(job)
                else:
                    left[kept] = remaining - advance
                    members[kept] = members[batch]
                    kept += 1
            while len(left) > kept:
                left.pop()
                members.pop()
        else:
            step_ns[step] = events[0][0] - now
            now = events[0][0]
            while len(events) > 0 and events[0][0] <= now + tolerance:
                done.append(heappop(events)[1])

        # Order of retirement at one instant.
        if len(done) > 1:
            for job in done:
                place = resource[job]
                if discipline[place] == _UNLIMITED:
                    key = (_ON_UNLIMITED << _CLASS) | position[job]
                elif discipline[place] == _EXCLUSIVE:
                    line = arrivals[place]
                    first = head[place]
                    while finish_step[line[first]] >= 0:
                        first += 1
                    head[place] = first
                    key = (_ON_EXCLUSIVE << _CLASS) | position[line[first]]
                elif start_step[job] != step:
                    key = (_STARTED_EARLIER << _CLASS) | (place << SHIFT) | position[job]
                else:
                    key = (_STARTED_NOW << _CLASS) | (place << SHIFT) | turn[job]
                heappush(order, key)
            for index in range(len(done)):
                key = heappop(order)
                group = key >> _CLASS
                if group == _ON_EXCLUSIVE:
                    done[index] = running[resource[job_at[key & MASK]]]
                elif group == _STARTED_NOW:
                    done[index] = job_of_turn[key & MASK]
                else:
                    done[index] = job_at[key & MASK]

        # Retire, and make successors ready.
        for job in done:
            finish_ns[job] = now
            finish_step[job] = step
            retired += 1
            place = resource[job]
            if discipline[place] != _UNLIMITED:
                free[place] += 1
                last_retired[place] = job
                touched.append(place)
            for edge in range(offsets[job], offsets[job + 1]):
                follower = successors[edge]
                waiting_for[follower] -= 1
                if waiting_for[follower] == 0:
                    position[follower] = count
                    job_at[count] = follower
                    count += 1
                    ready_step[follower] = step + 1
                    cause[follower] = job
                    target = resource[follower]
                    if discipline[target] == _UNLIMITED:
                        fresh.append(follower)
                    else:
                        heappush(queues[target], (rank[follower] << SHIFT) | position[follower])
                        if discipline[target] == _EXCLUSIVE:
                            arrivals[target].append(follower)
                        touched.append(target)
        step += 1
    return retired, step
