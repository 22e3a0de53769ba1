"""The multiplexed chip a second time: clock ticks of 1 ns and polling, written from the rules alone. Slow; tests only.

Nothing here shares code with `pimjax.chips.multiplexed`: durations are recomputed in plain Python, and instead of a
graph of jobs every tick asks every rule whether something may start. Durations must be whole ns (the cases choose
their numbers so); slot tables are taken from `schedule_slots`, which has its own oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np


def whole(value: float) -> int:
    """A duration that must be a whole number of ticks."""
    assert abs(value - round(value)) < 1e-9, f"{value} is no whole number of ns"
    return round(value)


class Rules:
    """Durations and options of one configuration, from the model's text."""

    def __init__(self, config: Any) -> None:
        h, m, p = config.hardware, config.model, config.plan
        rows, cols, d, f = h.crossbar_rows, h.crossbar_cols, m.d_model, m.d_ff
        self.local = p.accumulate == "local"
        self.inline = p.combine == "inline"
        up = 2 if m.activation == "swiglu" else 1
        self.nv, self.nh, self.fv, self.fh = ceil(d / rows), ceil(d / cols), ceil(f / rows), ceil(f / cols)
        assert h.mux_on_resistance_kohm == 0, "settling times are no whole ns"
        mvm, x = h.mvm_latency_ns, h.link_latency_ns_per_256 * cols / 256
        add = lambda s: h.add_latency_ns_per_256 * s / 256 + h.add_latency_base_ns  # noqa: E731
        self.add_d, self.add_c = whole(add(d)), whole(add(cols))
        self.norm, self.gate = (
            whole(h.norm_latency_ns_per_256 * d / 256),
            whole(h.norm_latency_ns_per_256 * m.num_experts / 256),
        )
        col = lambda n: 4 + (n - 1) * cols / (h.accumulator_lanes * h.accumulator_frequency_ghz) if self.local else 0  # noqa: E731
        act = {
            "relu": lambda s: h.relu_latency_ns,
            "gelu": lambda s: h.gelu_latency_ns_per_256 * s / 256 + h.gelu_latency_base_ns,
            "swiglu": lambda s: h.swiglu_latency_ns_per_256 * s / 256 + h.swiglu_latency_base_ns,
        }[m.activation]
        self.x, self.mvm = whole(x), whole(mvm)
        self.act_c, self.act_f = (whole(act(cols)), 0) if self.local else (0, whole(act(f)))
        self.act_shared = 0 if self.local else whole(act(m.num_shared_experts * f))
        twice = 2 if p.share == "pair" else 1
        self.stage = whole(max(twice * mvm, x, col(self.nv), col(self.fv), self.act_c))
        chain = lambda n: 0 if self.local else (n - 1) * self.add_c  # noqa: E731
        self.chain_up, self.strips_up = chain(self.nv), up * self.fh
        self.chain_down, self.strips_down = chain(self.fv), self.nh
        self.t_a = whole(mvm + x + col(self.nv) + self.act_c + self.chain_up + self.act_f)
        self.t_d = whole(2 * x + mvm + col(self.fv) + self.chain_down)
        links = h.input_links or self.nv
        self.load = whole(d / (links * h.link_bandwidth_gb_per_s))
        # switching on while the first slot's tokens are loaded; nobody is ever off where that saves nothing
        self.wake = whole(h.wake_latency_ns if h.idle_power_w_per_mm2 > h.gated_power_w_per_mm2 else 0.0)
        self.out = whole(x * self.nh / h.out_links) if h.out_links else 0
        self.depth = ceil((self.t_a + self.t_d) / self.stage)
        self.lag = None if h.out_buffer_slots is None else self.depth + int(h.out_buffer_slots)
        self.linear = {}
        q, kv = m.num_heads * m.head_width, m.kv_heads * m.head_width
        shared = max(1, m.num_shared_experts * f)
        shapes = {
            "qkv": (d, [q, kv, kv]), "output": (q, [d]), "router": (d, [m.num_experts]), "head": (d, [m.vocab_size]),
            "shared_up": (d, [shared] * up), "shared_down": (shared, [d]),
        }  # fmt: skip
        for name, (inputs, outputs) in shapes.items():
            n = ceil(inputs / rows)
            self.linear[name] = {
                "issue": whole(max(mvm, x, col(n))),
                "flight": whole(2 * x + mvm + col(n)),
                "chain": chain(n),
                "strips": sum(ceil(width / cols) for width in outputs),
            }
        self.router_units = whole(d * m.num_experts / h.router_values_per_ns) if p.router == "digital" else 0
        self.channels = int(h.memory_channels)
        self.embed = whole(d / (h.memory_bandwidth_gb_per_s * self.channels))
        self.latency = whole(h.memory_latency_ns)
        self.streams = p.dram_overlap == "stream"
        self.sampling = whole(h.sampling_latency_ns)
        heads, units = m.num_heads, h.num_attention_units
        self.attention_rate = h.attention_latency_ns_per_pair * q * ceil(heads / units) / heads
        self.units = int(h.num_digital_units)
        self.scheduler = whole(h.scheduler_ns_per_token)
        self.barrier = p.barrier if p.barrier is not None else p.policy != "token_wise"
        self.shared = m.num_shared_experts


@dataclass(eq=False)
class Job:
    """Something that takes time."""

    token: int
    ticks: int
    place: Any  # "free", "units", or the key of an exclusive resource
    needs: list[Job] = field(default_factory=list)
    when: Callable[[int], bool] = lambda now: True
    start: int | None = None
    end: int | None = None
    ready: int | None = None

    def done(self, now: int) -> bool:
        """Finished by `now`."""
        return self.end is not None and self.end <= now


class Clock:
    """All jobs, polled tick by tick."""

    def __init__(self, units: int) -> None:
        self.jobs: list[Job] = []
        self.waiting: list[Job] = []
        self.units = units
        self.watchers: list[Callable[[int], bool]] = []

    def job(self, token: int, ticks: int, place: Any, *needs: Job, when: Callable[[int], bool] | None = None) -> Job:
        """A new job."""
        made = Job(token, ticks, place, list(needs), when or (lambda now: True))
        self.jobs.append(made)
        self.waiting.append(made)
        return made

    def run(self, limit: int = 200_000) -> int:
        """Tick until everything is done; returns the last end."""
        for now in range(limit):
            self._tick(now)
            if not self.waiting and all(job.done(now) for job in self.jobs):
                return max(job.end for job in self.jobs)
        raise AssertionError("the clock ran out")

    def _tick(self, now: int) -> None:
        while True:
            moved = any([watch(now) for watch in self.watchers])
            for job in list(self.waiting):
                if job.ready is None and all(need.done(now) for need in job.needs) and job.when(now):
                    job.ready = now
                    moved = True
                if job.ready is not None and job.place == "free":
                    job.start, job.end = job.ready, job.ready + job.ticks
                    self.waiting.remove(job)
                    moved = True
            if not moved:
                break
        for place in {job.place for job in self.waiting if job.ready is not None}:
            size = self.units if place == "units" else 1
            busy = sum(job.place == place and job.start is not None and not job.done(now) for job in self.jobs)
            line = [job for job in self.waiting if job.place == place and job.ready is not None]
            for job in sorted(line, key=lambda job: (job.token, job.ready))[: max(0, size - busy)]:
                job.start, job.end = now, now + job.ticks
                self.waiting.remove(job)


@dataclass
class LayerResult:
    """Times of one layer's expert phase after t_ready."""

    last_pass: int
    moe: int


def run_pass(
    config: Any,
    tables: list[Any],
    tokens: int,
    *,
    batch: bool = False,
    kv_read: int = 0,
    kv_write: int = 0,
    length: int = 0,
):
    """One pass: all tokens of one sequence, or (`batch`) one token of each of `tokens` sequences.

    Args:
        config: configuration.
        tables: per layer (slots [S, G], window of each slot [S], loads [S], token borders of the windows).
        tokens: n.
        batch: decode step.
        kv_read, kv_write: ticks of one sequence's KV read and of its posted write on the channels.
        length: keys each query sees (batch).

    Returns:
        (end of the pass, [LayerResult]).
    """
    rules = Rules(config)
    clock = Clock(rules.units)

    def linear(name: str, layer: int, token: int, *needs: Job, extra: int = 0) -> list[Job]:
        shape = rules.linear[name]
        issue = clock.job(token, shape["issue"], (name, layer), *needs)
        flight = clock.job(token, shape["flight"] - shape["issue"] + extra, "free", issue)
        if not shape["chain"]:
            return [flight]
        return [clock.job(token, shape["chain"], "units", flight) for _ in range(shape["strips"])]

    def transfer(ticks: int, *needs: Job, waits: bool = True) -> list[Job]:
        """A part of it on every channel, and the latency until it is there."""
        parts = [clock.job(0, ticks, ("dram", channel), *needs) for channel in range(rules.channels)]
        return [clock.job(0, rules.latency, "free", *parts)] if waits and rules.latency else parts

    stream = []
    for token in range(tokens):
        read = [] if rules.streams and not batch else transfer(rules.embed)
        stream.append([clock.job(token, rules.add_d, "units", *read)])
    measures = []
    for layer, table in enumerate(tables):
        projected = []
        for token in range(tokens):
            norm = clock.job(token, rules.norm, "units", *stream[token])
            projected.append(linear("qkv", layer, token, norm))
        if batch:
            ticks = whole(rules.attention_rate * length)
            attended = []
            for token in range(tokens):
                needs = projected[token]
                read = []
                if kv_read:
                    read = transfer(kv_read, *needs, waits=not rules.streams)
                    transfer(kv_write, *needs, waits=False)  # posted: nobody waits for it
                if rules.streams:
                    attended.append([clock.job(0, ticks, "attention", *needs), *read])
                else:
                    attended.append([clock.job(0, ticks, "attention", *(read or needs))])
        else:
            ticks = whole(rules.attention_rate * tokens * (tokens + 1) / 2)
            attended = [[clock.job(0, ticks, "attention", *[job for row in projected for job in row])]] * tokens
        gates, shared = [], []
        for token in range(tokens):
            out = linear("output", layer, token, *attended[token])
            added = clock.job(token, rules.add_d, "units", *out)
            norm = clock.job(token, rules.norm, "units", added)
            routed = (
                [clock.job(token, rules.router_units, "units", norm)]
                if rules.router_units
                else linear("router", layer, token, norm)
            )
            gates.append(clock.job(token, rules.gate, "units", *routed))
            outs = []
            if rules.shared:
                hidden = linear("shared_up", layer, token, norm, extra=rules.act_c)
                if rules.act_shared:
                    hidden = [clock.job(token, rules.act_shared, "units", *hidden)]
                outs = [linear("shared_down", layer, token, *hidden)]
            shared.append(outs)
        phase = ExpertPhase(clock, rules, table, gates, shared)
        measures.append(phase)
        stream = [[residual] for residual in phase.residual]
    for token in range(tokens) if batch else [tokens - 1]:
        # a single sequence is sampled when its last expert phase is over
        norm = clock.job(token, rules.norm, "units", *(stream[token] if batch else [row[0] for row in stream]))
        logits = linear("head", 0, token, norm)
        link = clock.job(token, rules.x, "free", *logits)
        clock.job(token, rules.sampling, "units", link)
    clock.run()
    end = max(job.end for job in clock.jobs if job.place[0] != "dram")
    return end, [phase.result() for phase in measures]


class ExpertPhase:
    """Slots, passes, combination: everything decided when it happens."""

    def __init__(self, clock: Clock, rules: Rules, table: Any, gates: list[Job], shared: list[list[list[Job]]]) -> None:
        self.clock, self.rules = clock, rules
        self.slots, self.window, self.loads, self.borders = table
        self.gates = gates
        self.begun: list[int] = []  # u(s)
        self.passes: list[tuple[int, int, int, list[Job]]] = []  # slot, group, token, jobs that finish it
        self.tagged: list[tuple[int, Job]] = []
        self.arrived: list[set[int]] = [set() for _ in gates]
        self.stored = [False] * len(gates)
        self.chain: list[Job | None] = [None] * len(gates)
        self.expected = [int(np.sum(self.slots == token)) + len(shared[token]) for token in range(len(gates))]
        self.results: list[list[tuple[int, int, list[Job]]]] = [
            [(-1, index, jobs) for index, jobs in enumerate(shared[token])] for token in range(len(gates))
        ]
        self.residual = [
            clock.job(token, 0 if rules.inline else rules.add_d, "free" if rules.inline else "units",
                      when=lambda now, token=token: self._combined(token, now))
            for token in range(len(gates))
        ]  # fmt: skip
        clock.watchers.append(self._advance)

    def _ready(self, window: int, now: int) -> int | None:
        """t_ready of a window, if it is known by `now`."""
        first, last = self.borders[window], self.borders[window + 1]
        tokens = range(first, last)
        if not self.rules.barrier:
            slot = int(np.argmax(self.window == window)) if np.any(self.window == window) else None
            if slot is not None:
                tokens = [token for token in self.slots[slot] if token >= 0]
        if not all(self.gates[token].done(now) for token in tokens):
            return None
        delay = self.rules.scheduler * (last - first) if self.rules.barrier else 0
        return max(self.gates[token].end for token in tokens) + delay

    def _combined(self, token: int, now: int) -> bool:
        if len(self.arrived[token]) < self.expected[token]:
            return False
        if self.expected[token] == 0:
            if not self.rules.barrier:
                return self.gates[token].done(now)
            window = int(np.searchsorted(self.borders, token, side="right")) - 1
            ready = self._ready(window, now)
            return ready is not None and ready <= now
        return self.chain[token] is None or self.chain[token].done(now)

    def _advance(self, now: int) -> bool:
        moved = self._start_slot(now)
        for token, rows in enumerate(self.results):
            fresh = [
                (slot, group)
                for slot, group, jobs in rows
                if (slot, group) not in self.arrived[token] and all(job.done(now) for job in jobs)
            ]
            for key in sorted(fresh):
                self.arrived[token].add(key)
                moved = True
                if not self.stored[token]:
                    self.stored[token] = True
                elif not self.rules.inline:
                    before = [self.chain[token]] if self.chain[token] else []
                    self.chain[token] = self.clock.job(token, self.rules.add_d, "units", *before)
                    self.tagged.append((key[0], self.chain[token]))
        return moved

    def _pressed(self, slot: int, now: int) -> bool:
        """All additions that slots up to `slot` cause are done."""
        if slot < 0:
            return True
        for s, g, token, _ in self.passes:
            if s <= slot and (s, g) not in self.arrived[token]:
                return False
        return all(job.done(now) for s, job in self.tagged if 0 <= s <= slot)

    def _start_slot(self, now: int) -> bool:
        rules, slot = self.rules, len(self.begun)
        if slot >= len(self.slots):
            return False
        tokens = [token for token in self.slots[slot] if token >= 0]
        opens = slot == 0 or self.window[slot] != self.window[slot - 1]
        links = len(tokens) * rules.out
        if opens:
            ready = self._ready(int(self.window[slot]), now)
            loading = self.loads[slot] * rules.load
            if ready is None or now < ready + (max(loading, rules.wake) if slot == 0 else loading):
                return False
            if slot and now < self.begun[-1] + max(rules.stage, links):
                return False
        else:
            if now < self.begun[-1] + max(rules.stage, self.loads[slot] * rules.load, links):
                return False
            if not rules.barrier and not all(self.gates[token].done(now) for token in tokens):
                return False
        if rules.lag is not None and not self._pressed(slot - rules.lag, now):
            return False
        self.begun.append(now)
        for group, token in enumerate(self.slots[slot]):
            if token >= 0:
                jobs = self._pass(slot, group, int(token))
                self.passes.append((slot, group, int(token), jobs))
                self.results[token].append((slot, group, jobs))
        return True

    def _pass(self, slot: int, group: int, token: int) -> list[Job]:
        rules, clock = self.rules, self.clock
        if rules.local:
            return [clock.job(token, rules.t_a + rules.t_d, "free")]
        up = clock.job(token, rules.mvm + rules.x, "free")
        sums = [clock.job(token, rules.chain_up, "units", up) for _ in range(rules.strips_up if rules.chain_up else 0)]
        act = clock.job(token, rules.act_f, "units", *(sums or [up]))
        link = clock.job(token, rules.x, "free", act)
        down = clock.job(0, rules.mvm, (id(self), "down", group), link)
        back = clock.job(token, rules.x, "free", down)
        last = [
            clock.job(token, rules.chain_down, "units", back)
            for _ in range(rules.strips_down if rules.chain_down else 0)
        ]
        self.tagged += [(slot, job) for job in [*sums, act, *last]]
        return last or [back]

    def result(self) -> LayerResult:
        """Measures after t_ready."""
        ready = self._ready(0, 10**9)
        ends = [max(job.end for job in jobs) for _, _, _, jobs in self.passes]
        return LayerResult(max(ends, default=ready) - ready, max(job.end for job in self.residual) - ready)
