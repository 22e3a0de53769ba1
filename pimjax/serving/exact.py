"""The scheduler stated plainly, one request at a time: the oracle of the fast engines. Host, Python.

One step of one rank (vLLM 0.19, `Scheduler.schedule`, first come first served):

1. *Running* requests, oldest first, get the tokens they need (1 to decode, what is left of a prompt otherwise) while the
   budget of tokens lasts. A request whose blocks are not free preempts the youngest running one (itself at last), which
   loses its memory, keeps its answer, and waits in front of all others to be computed again.
2. Unless something was preempted, *waiting* requests start in order while there are free places, budget and memory: the
   whole prompt must fit into free memory (`reserve_full_prompt`), or its first chunk.
3. A request whose tokens are all computed emits one; at its last one it leaves and frees its memory.

With `reuse_preempted` blocks are taken in the order in which they became free, a preempted request's from its end; what is
left of them when it starts again is not computed again.

With `async_scheduling` step n + 1 is scheduled when step n starts: it sees the requests that were there at that time, and
those that step n finishes still hold their places and their memory.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from pimjax import checks
from pimjax.errors import ServingError
from pimjax.serving.requests import Requests
from pimjax.serving.run import LOG_COLUMNS, ServingRun
from pimjax.serving.server import Server
from pimjax.serving.step_table import StepBatch

_SERVER = checks.instance(Server, "a Server")


class StepCost(Protocol):
    """What the exact simulation asks for the cost of a step; see :class:`~pimjax.serving.TableSteps`."""

    def rank_cost(self, batch: StepBatch, requests: Requests) -> tuple[float, float]:
        """ns and nJ of one rank's part."""
        ...

    def joint_cost(self, tokens: int) -> tuple[float, float]:
        """ns and nJ of what all ranks do together."""
        ...


@dataclass
class _Request:
    index: int
    prompt: int
    output: int
    computed: int = 0
    generated: int = 0
    blocks: int = 0
    scheduled: int = 0  # tokens of this step
    lost: int = 0  # full blocks that it had when it was preempted
    evicted_from: int = 0  # blocks taken in all, from which on those are taken

    @property
    def needs(self) -> int:
        return 0 if self.done else self.prompt + self.generated - self.computed

    @property
    def done(self) -> bool:
        return self.generated == self.output


@dataclass
class _Rank:
    free: int
    taken: int = 0  # blocks taken in all
    running: list[_Request] = field(default_factory=list)
    waiting: deque[_Request] = field(default_factory=deque)

    @property
    def has_work(self) -> bool:
        return bool(self.waiting) or any(not request.done for request in self.running)


class _Simulation:
    def __init__(self, requests: Requests, server: Server, cost: StepCost) -> None:
        self.requests, self.server, self.cost = requests, server, cost
        self.ranks = [_Rank(server.kv_blocks) for _ in range(server.ranks)]
        size = server.ranks if server.lockstep else 1
        self.groups = [list(range(first, first + size)) for first in range(0, server.ranks, size)]
        self.clock = [0.0] * len(self.groups)
        self.visible = [0.0] * len(self.groups)
        count = len(requests)
        self.scheduled_ns, self.first_ns, self.finish_ns = np.full((3, count), np.nan)
        self.preemptions, self.rank_of = np.zeros((2, count), np.int64)
        self.energy_nj = np.zeros(count)
        self.log: list[list[float]] = []

    def run(self) -> ServingRun:
        upcoming = 0
        while True:
            busy = [g for g, ranks in enumerate(self.groups) if any(self.ranks[r].has_work for r in ranks)]
            group = min(busy, key=lambda g: (self.clock[g], g), default=None)
            more = upcoming < len(self.requests)
            if more and (group is None or self.requests.arrival_ns[upcoming] <= self.clock[group]):
                self._dispatch(upcoming)
                upcoming += 1
            elif group is None:
                break
            else:
                self._step(group)
        return ServingRun(
            self.requests,
            self.server,
            self.scheduled_ns,
            self.first_ns,
            self.finish_ns,
            self.preemptions,
            self.energy_nj,
            self.rank_of,
            sum(row[LOG_COLUMNS.index("duration_ns")] for row in self.log),
            np.array(self.log, np.float64).reshape(-1, len(LOG_COLUMNS)),
        )

    def _dispatch(self, index: int) -> None:
        requests = self.requests
        if self.server.balance == "round_robin":
            rank = index % len(self.ranks)
        else:
            rank = min(
                range(len(self.ranks)),
                key=lambda r: (self._load(r), r),
            )
        group = next(g for g, ranks in enumerate(self.groups) if rank in ranks)
        if not any(self.ranks[r].has_work for r in self.groups[group]):  # it was idle: nothing is under way
            self.clock[group] = max(self.clock[group], float(requests.arrival_ns[index]))
            self.visible[group] = self.clock[group]
            self._release(group)
        self.rank_of[index] = rank
        made = _Request(index, int(requests.prompt_tokens[index]), int(requests.output_tokens[index]))
        self.ranks[rank].waiting.append(made)

    def _release(self, group: int) -> None:
        """Requests that are done leave and free their memory."""
        for r in self.groups[group]:
            rank = self.ranks[r]
            rank.free += sum(request.blocks for request in rank.running if request.done)
            rank.running = [request for request in rank.running if not request.done]

    def _load(self, rank: int) -> int:
        """What an arriving request is weighed against; what is done has left a group that is idle."""
        size = self.server.ranks if self.server.lockstep else 1
        idle = not any(self.ranks[r].has_work for r in self.groups[rank // size])
        one = self.ranks[rank]
        return 4 * len(one.waiting) + (0 if idle else len(one.running))

    def _step(self, group: int) -> None:
        server, now = self.server, self.clock[group]
        visible = self.visible[group] if server.async_scheduling else now
        members = [self.ranks[r] for r in self.groups[group]]
        for rank in members:
            self._schedule(rank, now, visible)
        batches = [self._batch(rank) for rank in members]
        self._release(group)
        tokens = sum(batch.tokens for batch in batches)
        if not tokens:  # what there is came after this step was scheduled, or waits for memory that is free now
            self.visible[group] = now
            return
        parts = [self.cost.rank_cost(batch, self.requests) if batch.tokens else (0.0, 0.0) for batch in batches]
        joint_ns, joint_nj = self.cost.joint_cost(tokens)
        duration = max(ns for ns, _ in parts) + joint_ns
        energy = sum(nj for _, nj in parts) + joint_nj
        end = now + duration
        self.log.append(self._row(group, now, duration, energy, members, batches))
        for rank in members:
            for request in rank.running:
                self._advance(request, end, energy / tokens)
        if not server.async_scheduling:
            self._release(group)
        self.clock[group], self.visible[group] = end, now

    def _schedule(self, rank: _Rank, now: float, visible: float) -> None:
        server, budget = self.server, self.server.max_num_batched_tokens
        preempted = False
        place = 0
        while place < len(rank.running):
            request = rank.running[place]
            request.scheduled = min(request.needs, budget)
            wanted = self._blocks(request.computed + request.scheduled) - request.blocks if request.scheduled else 0
            while wanted > rank.free and place < len(rank.running):
                self._preempt(rank)
                preempted = True
            if place == len(rank.running):
                break
            rank.free -= wanted
            rank.taken += wanted
            request.blocks += wanted
            budget -= request.scheduled
            place += 1
        while not preempted and rank.waiting and budget and len(rank.running) < server.max_num_seqs:
            request = rank.waiting[0]
            if self.requests.arrival_ns[request.index] > visible:
                break
            found = self._found_again(request, rank)
            if request.needs - found > budget and not server.chunked_prefill:
                break
            take = min(request.needs - found, budget)
            if self._blocks(request.needs if server.reserve_full_prompt else found + take) > rank.free:
                break
            rank.running.append(rank.waiting.popleft())
            request.computed, request.scheduled, request.blocks = found, take, self._blocks(found + take)
            rank.free -= request.blocks
            rank.taken += request.blocks
            budget -= take
            if np.isnan(self.scheduled_ns[request.index]):
                self.scheduled_ns[request.index] = now

    def _preempt(self, rank: _Rank) -> None:
        last = rank.running.pop()
        ahead = rank.free  # free blocks are taken in the order in which they became free
        rank.free += last.blocks
        if not last.done:
            last.lost, last.evicted_from = last.computed // self.server.block_tokens, rank.taken + ahead
            last.computed = last.blocks = last.scheduled = 0
            rank.waiting.appendleft(last)
            self.preemptions[last.index] += 1

    def _found_again(self, request: _Request, rank: _Rank) -> int:
        """Tokens whose blocks a preempted request finds again: its last blocks are taken first; one token is computed."""
        if not self.server.reuse_preempted:
            return 0
        block = self.server.block_tokens
        left = max(0, request.lost - max(0, rank.taken - request.evicted_from))
        return min(left, (request.needs - 1) // block) * block

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self.server.block_tokens)

    @staticmethod
    def _batch(rank: _Rank) -> StepBatch:
        active = [request for request in rank.running if request.scheduled]
        decodes = [r for r in active if r.needs == 1 and r.computed >= r.prompt]
        return StepBatch(
            [(r.index, r.computed) for r in decodes],
            [(r.index, r.computed, r.scheduled) for r in active if not (r.needs == 1 and r.computed >= r.prompt)],
            sum(r.scheduled == r.needs for r in active),
        )

    def _row(self, group: int, now: float, duration: float, energy: float, members: Any, batches: Any) -> list[float]:
        used = sum(self.server.kv_blocks - rank.free for rank in members)
        return [
            now,
            duration,
            energy,
            group,
            sum(len(batch.decodes) for batch in batches),
            sum(length for batch in batches for _, _, length in batch.chunks),
            sum(len(rank.running) for rank in members),
            sum(len(rank.waiting) for rank in members),
            used,
            sum(cached for batch in batches for _, cached in batch.decodes),
        ]

    def _advance(self, request: _Request, end: float, energy_per_token: float) -> None:
        if not request.scheduled:
            return
        self.energy_nj[request.index] += energy_per_token * request.scheduled
        emits = request.scheduled == request.needs
        request.computed += request.scheduled
        request.scheduled = 0
        if emits:
            request.generated += 1
            if request.generated == 1:
                self.first_ns[request.index] = end
            if request.done:
                self.finish_ns[request.index] = end


@checks.checked(
    ServingError,
    server=_SERVER,
    cost=checks.having("rank_cost", "joint_cost", meaning="step costs: TableSteps(table) or ChipSteps(config)"),
)
def simulate_exactly(requests: Requests, server: Server, cost: StepCost) -> ServingRun:
    """Serve requests step by step, asking for the cost of every step.

    Args:
        requests: from :func:`~pimjax.serving.make_requests` and its like.
        server: the settings.
        cost: :class:`~pimjax.serving.TableSteps`, :class:`~pimjax.serving.ChipSteps` (a chip's closed form, called for
            every step), or an object with the same two methods.

    Returns:
        A :class:`~pimjax.serving.ServingRun`, float64.

    Raises:
        ServingError: a request can never be served.

    >>> from pimjax.serving import Server, TableSteps, make_requests, make_step_table
    >>> steps = TableSteps(make_step_table(tokens=[10.0]))
    >>> simulate_exactly(make_requests([0.0, 5.0], 8, 3), Server(), steps).finish_ns.tolist()
    [30.0, 40.0]
    """
    server.check(requests)
    return _Simulation(requests, server, cost).run()
