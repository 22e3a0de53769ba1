"""`simulate`: the multiplexed chip, exactly, by the discrete-event engine. Host, NumPy, float64."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.cache.traffic import visible_tokens
from pimjax.chips.multiplexed.attention import attention_cost
from pimjax.chips.multiplexed.cost import Times, assemble, draw_of_run, with_mean_products
from pimjax.chips.multiplexed.graph import LayerWork, PassGraph, PassWork, pass_graph
from pimjax.chips.multiplexed.graph_links import system_links
from pimjax.chips.multiplexed.graph_moe import MoeJobs, MoeRules
from pimjax.chips.multiplexed.graph_parts import KINDS, TimedDesign, timed_design
from pimjax.chips.multiplexed.hardware import hardware_of
from pimjax.chips.multiplexed.kernel import chip_of
from pimjax.chips.multiplexed.power_event import PowerMeter
from pimjax.chips.multiplexed.swapping import pass_stalls_ns, standing_still
from pimjax.chips.multiplexed.work import run_of
from pimjax.chips.parts.memory import memory_of
from pimjax.chips.run_cost import COMPONENTS, RunCost
from pimjax.config.build import Capacity, Design, build
from pimjax.config.config import Config
from pimjax.config.mixers import mixer_table
from pimjax.errors import PimjaxError
from pimjax.event import EventLog, run
from pimjax.registry import CHIPS
from pimjax.runs.inputs import inputs_from_routing
from pimjax.runs.mixers import of_layers
from pimjax.runs.point import Point
from pimjax.runs.requests import with_prompt
from pimjax.runs.routing import RunRouting, run_routing
from pimjax.runs.traffic import Moved, prompt_traffic, resident_bytes, sram_share, step_traffic
from pimjax.runs.windows import Windows, layer_windows
from pimjax.trace.routing import RoutingTrace

_MOST_ROUNDS = 1000


@dataclass(frozen=True)
class PassResult:
    """One pass of a run; times in ns, relative to the pass's start.

    Attributes:
        name: "prefill 0", "decode 33", ...
        log: every job; of a pass that writes experts as if it did not stand still for them.
        latency_ns: end of the last job that is not a posted write.
        sampled_ns: end of the last sampling: the tokens are out.
        layer_ns: `[L]` time between the ends of consecutive layers.
        moe_ns: `[L]` t_ready to the last residual (0: no experts).
        last_pass_ns: `[L]` t_ready to the end of the last pass.
        waiting_peak: most results at once that have come back and wait for their addition.
    """

    name: str
    log: EventLog
    latency_ns: float
    sampled_ns: float
    layer_ns: HostArray
    moe_ns: HostArray
    last_pass_ns: HostArray
    waiting_peak: int
    critical_ns: HostArray
    leftover_ns: float


@dataclass(frozen=True)
class Simulation:
    """Result of :func:`simulate`.

    Attributes:
        cost: primitive costs, NumPy float64.
        passes: every pass, in order; `passes[i].log.to_perfetto(path)` writes a timeline. Only the first pass keeps
            its log unless `keep_logs` was set.
        first_token_ns: time to the first sampled token of the (first) prompt.
        token_ns: time at which every emitted token of the decode phase is out.
    """

    cost: RunCost
    passes: list[PassResult]
    first_token_ns: float
    token_ns: HostArray


def simulate(config: Config, trace: RoutingTrace, *, keep_logs: bool = False) -> Simulation:
    """Run a whole workload on the event engine.

    Args:
        config: a configuration with `chip_model` "multiplexed".
        trace: one request, or stacked requests (see :mod:`.routing`).
        keep_logs: keep the log of every pass, not only of the first.

    Raises:
        TraceError: the trace does not fit the model.
        CapacityError: more jobs than the engine takes, or a fraction of a digital unit.

    >>> from pimjax.config.loader import load_config
    >>> trace = RoutingTrace.from_expert_ids([[0, 1], [2, 3]], 4)
    >>> config = load_config({"model": {"num_experts": 4, "top_k": 2}, "plan": {"grouping": "uniform"}})
    >>> round(float(simulate(config, trace).cost.moe_last_pass_ns[0]), 3)
    531.866
    """
    config = with_prompt(config, trace)
    routing = run_routing(config, trace)
    design, capacity = build(config)
    bench = _Bench(config, design, routing, capacity)
    results, leftover = [], 0.0
    for index, (name, work) in enumerate(bench.passes()):
        stalls_ns = pass_stalls_ns(bench.chip.swaps, routing, bench.is_moe, index)
        result = bench.run(name, dataclasses.replace(work, leftover_ns=leftover), stalls_ns)
        leftover = result.leftover_ns
        if results and not keep_logs:
            result = dataclasses.replace(result, log=None)  # pyrefly: ignore[bad-argument-type]
        results.append(result)
    bench.meter.finish()
    return _collect(bench, results, capacity)


class _Bench:
    """The parts of a run that all its passes share."""

    def __init__(self, config: Config, design: Design, routing: RunRouting, capacity: Capacity) -> None:
        self.config, self.routing = config, routing
        self.point = Point(design)
        self.table = mixer_table(config.model)
        self.layers = len(self.table.of_block)
        self.is_moe, self.mixer = np.array(self.table.is_moe), np.array(self.table.of_block)
        sizes = [np.bincount(groups).max(initial=1) for groups in routing.group_of_expert]
        self.largest_group = int(max(sizes, default=1))
        self.schedule = inputs_from_routing(config, routing, fidelity="closed", capacity=capacity)
        self.run_work = run_of(self.point, self.schedule)
        with np.errstate(all="ignore"):  # formulas choose between branches of which one may divide by zero
            self.chip = chip_of(
                self.point, self.point.real(self.largest_group), self.schedule, self.run_work, shares=True
            )
        self.timed: TimedDesign = timed_design(self.chip)
        spread = CHIPS[config.chip_model].spread_of_layers(config, routing)
        self.links = None if spread is None else system_links(self.chip, spread[0], self.is_moe)
        self.dense_all, self.experts_all = bool(self.point.dense_all), bool(self.point.experts_all)
        held = resident_bytes(self.point, mixer=self.mixer, is_moe=self.is_moe)
        self.sram = float(sram_share(self.point, held))
        self.bandwidth = float(memory_of(self.point).bandwidth)
        plan = config.plan
        self.rules = MoeRules(
            barrier=bool(design.plan.barrier),
            local=plan.accumulate == "local",
            inline=plan.combine == "inline",
            num_groups=routing.num_groups,
        )
        point = self.point
        with np.errstate(all="ignore"):  # formulas choose between branches of which one may divide by zero
            self.chip = with_mean_products(self.chip, self.schedule, self.run_work)
            draw = draw_of_run(self.chip, self.schedule, self.run_work)
        links_w = None if self.links is None else self.links.power_w
        self.meter = PowerMeter(point, self.chip.shape, self.chip.state, draw, self.timed, links_w)

    # --- passes -------------------------------------------------------------------------------------------------

    def passes(self):
        """(name, work) of every pass of the run, in order."""
        workload = self.config.workload
        prompt = workload.num_prompt_tokens
        if workload.prefill:
            for sequence in range(workload.batch_size):
                yield f"prefill {sequence}", self._whole(prompt, self.routing.prompt[sequence], is_prompt=True)
        for step in range(workload.generated_tokens - 1):
            length = prompt + 1 + step
            if not self.dense_all:
                yield f"decode {length}", self._cached(step, length)
                continue
            for sequence in range(workload.batch_size):
                yield f"decode {length}", self._recomputed(sequence, step, length)

    def _whole(self, length: int, choices: HostArray, *, is_prompt: bool) -> PassWork:
        """A pass of all `length` tokens of one sequence."""
        moved = prompt_traffic(self.point, is_moe=self.is_moe, mixer=self.mixer)
        if not is_prompt:
            moved = Moved(*(np.zeros_like(part) for part in moved))
        time = attention_cost(self.point, float(length), whole=True, mixer=self.mixer).time
        return self._work(
            np.zeros(length, np.int64),
            np.arange(length),
            choices,
            np.asarray(time)[:, None],
            self._per_sequence(moved),
            known=length if is_prompt else length - 1,
        )

    def _recomputed(self, sequence: int, step: int, length: int) -> PassWork:
        """A decode step that recomputes the prefix (its experts too, unless their outputs are stored)."""
        if self.experts_all:
            return self._whole(length, self.routing.prefix(sequence, length), is_prompt=False)
        time = attention_cost(self.point, float(length), whole=True, mixer=self.mixer).time
        row = self.routing.steps[sequence][:, step : step + 1]
        moved = self._step_moved([sequence], step, length)
        return self._work(
            np.zeros(length, np.int64), np.array([length - 1]), row, np.asarray(time)[:, None], moved, known=length - 1
        )

    def _cached(self, step: int, length: int) -> PassWork:
        """A decode step with caches: one token of every sequence."""
        batch = self.config.workload.batch_size
        time = attention_cost(self.point, float(length), whole=False, mixer=self.mixer).time
        rows = np.swapaxes(self.routing.steps[:, :, step], 0, 1)  # [L, B, E]
        attention = np.repeat(np.asarray(time)[:, None], batch, axis=1)
        moved = self._step_moved(list(range(batch)), step, length)
        return self._work(np.arange(batch), np.arange(batch), rows, attention, moved)

    def _step_moved(self, sequences: list[int], step: int, length: int) -> list[HostArray]:
        index = np.flatnonzero(self.is_moe)
        admitted, taken = np.zeros((2, self.layers, len(sequences)))
        admitted[index] = self.routing.steps[sequences, :, step].sum(axis=-1).T
        taken[index] = self.routing.taken[sequences, :, step].T
        own = of_layers(self.point, self.mixer[:, None])
        visible = visible_tokens(np.float64(length), own.window, chunked=own.is_chunked) + np.zeros((self.layers, 1))
        moved = step_traffic(
            self.point,
            float(length),
            visible,
            is_moe=self.is_moe[:, None],
            admitted=admitted,
            taken=taken,
            mixer=self.mixer[:, None],
        )
        return self._per_sequence(moved, len(sequences))

    def _per_sequence(self, moved: NamedTuple, sequences: int = 1) -> list[HostArray]:
        """Memory times of the five transfers, each `[L, sequences]` [ns], SRAM part of the KV read last."""
        hardware = hardware_of(self.config)
        columns = []
        for part in moved:
            part = np.asarray(part, np.float64)
            columns.append(np.broadcast_to(part if part.ndim == 2 else part[:, None], (self.layers, sequences)))
        dram = [(1 - self.sram) * part / self.bandwidth for part in columns]
        return [*dram, self.sram * columns[0] / hardware.sram_bandwidth_gb_per_s]

    def _work(
        self,
        sequence_of_token: HostArray,
        expert_tokens: HostArray,
        choices: HostArray,
        attention: HostArray,
        moved: list[HostArray],
        known: int = 0,
    ) -> PassWork:
        """`known`: tokens whose ids are known before the pass."""
        config, plan, hardware = self.config, self.config.plan, hardware_of(self.config)
        layers, moe = [], 0
        for layer in range(self.layers):
            windows: Windows | None = None
            if self.is_moe[layer]:
                windows = layer_windows(
                    choices[moe],
                    self.routing.group_of_expert[moe],
                    policy=plan.policy,
                    num_groups=self.routing.num_groups,
                    window_tokens=plan.window_tokens,
                    max_open_tokens=plan.max_open_tokens,
                    input_hold=plan.input_hold,
                )
                moe += 1
            kind, feeds = self.table.of_block[layer], self.table.has_feed_forward[layer]
            times = (attention[layer], *(part[layer] for part in moved))
            layers.append(LayerWork(windows, *times, mixer=kind, feeds=feeds))
        prefetch, streams = plan.dram_overlap == "prefetch", plan.dram_overlap == "stream"
        lookup = plan.embedding == "lookup"
        return PassWork(
            sequence_of_token=sequence_of_token,
            expert_tokens=expert_tokens,
            layers=layers,
            rules=self.rules,
            num_units=int(hardware.num_digital_units),
            shared=config.model.shared_width > 0,
            post_norms=int(self.point.model.post_norms),
            moe_norms=config.model.moe_norms,
            prefetch_ns=hardware.kv_prefetch_bytes / self.bandwidth if prefetch else None,
            leftover_ns=0.0,
            lookup=lookup,
            known_rows=known if streams and lookup else 0,
            streams=streams,
            channels=int(hardware.memory_channels),
            latency_ns=hardware.memory_latency_ns,
            links=self.links,
        )

    # --- running ------------------------------------------------------------------------------------------------

    def run(self, name: str, work: PassWork, stalls_ns: HostArray | None = None) -> PassResult:
        """Run one pass; repeats it until every token's results are added in the order in which they arrive.

        An execution is right up to the first result that arrives out of the assumed order, so each round is right for
        longer than the last and the rounds end.
        """
        for _ in range(_MOST_ROUNDS):
            graph = pass_graph(work, self.timed.times)
            log = run(graph.jobs)
            order = _arrival_order(graph, log)
            if all(np.array_equal(order[layer], graph.moe[layer].order) for layer in order):
                result = _measure(name, graph, log, self.timed, self.layers)
                self.meter.add(graph, log, result.latency_ns, stalls_ns)
                return result if stalls_ns is None else standing_still(result, stalls_ns)
            work = dataclasses.replace(work, order=order)
        raise PimjaxError(f"{name}: the order of arrivals did not settle in {_MOST_ROUNDS} rounds")


def _arrivals(moe: MoeJobs, log: EventLog) -> HostArray:
    """float64 [results]: when each result is there."""
    return np.where(moe.result_jobs >= 0, log.finish_ns[moe.result_jobs], -np.inf).max(axis=1)


def _arrival_order(graph: PassGraph, log: EventLog) -> dict[int, HostArray]:
    """Order of every layer's results: by token, then arrival, then (slot, group)."""
    orders = {}
    for layer, moe in graph.moe.items():
        # arrivals closer than a picosecond are one instant: rounding must not decide
        arrival = np.round(_arrivals(moe, log), 3)
        orders[layer] = np.lexsort((np.arange(len(arrival)), moe.result_slot, arrival, moe.result_token))
    return orders


def _measure(name: str, graph: PassGraph, log: EventLog, timed: TimedDesign, layers: int) -> PassResult:
    finish = log.finish_ns
    needed = np.ones(graph.jobs.num_jobs, bool)
    needed[graph.posted] = False
    ends = np.array([finish[jobs].max() for jobs in graph.layer_end])
    begun = np.concatenate([[finish[graph.start].max()], ends[:-1]])
    moe_ns, last_pass = np.zeros(layers), np.zeros(layers)
    peak = 0
    for layer, moe in graph.moe.items():
        ready = finish[moe.ready[0]]
        moe_ns[layer] = finish[moe.residual[moe.residual >= 0]].max() - ready
        last_pass[layer] = finish[moe.passes[moe.passes >= 0]].max() - ready if len(moe.passes) else 0.0
        peak = max(peak, _waiting_peak(moe, log))
    latency = float(finish[needed].max())
    critical = _critical(graph, log, timed, needed)
    posted_end = float(finish[graph.posted].max()) if len(graph.posted) else 0.0
    return PassResult(
        name=name,
        log=log,
        latency_ns=latency,
        sampled_ns=float(finish[graph.sampling].max()),
        layer_ns=ends - begun,
        moe_ns=moe_ns,
        last_pass_ns=last_pass,
        waiting_peak=peak,
        critical_ns=critical,
        leftover_ns=max(0.0, posted_end - latency),
    )


def _waiting_peak(moe: MoeJobs, log: EventLog) -> int:
    """Most results of one layer that are back and whose addition has not begun."""
    if not len(moe.added_result):
        return 0
    back = np.sort(_arrivals(moe, log)[moe.added_result])
    taken = np.sort(log.start_ns[moe.additions])
    return int((np.arange(1, len(back) + 1) - np.searchsorted(taken, back, side="right")).max())


def _critical(graph: PassGraph, log: EventLog, timed: TimedDesign, needed: HostArray) -> HostArray:
    """Components' shares of the latency, along the chain of causes that ends in the last needed job."""
    shares = np.zeros(len(COMPONENTS))
    finish = np.where(needed, log.finish_ns, -1.0)
    job = int(np.argmax(finish))
    while job >= 0:
        shares += graph.jobs.duration[job] * timed.split[KINDS[graph.jobs.kind[job]]]
        job = int(log.cause[job])
    return shares


def _collect(bench: _Bench, results: list[PassResult], capacity: Capacity) -> Simulation:
    config, schedule = bench.config, bench.schedule
    batch, prefills = config.workload.batch_size, config.workload.batch_size if config.workload.prefill else 0
    ends = np.cumsum([result.latency_ns for result in results])
    begins = ends - [result.latency_ns for result in results]
    sampled = begins + [result.sampled_ns for result in results]
    padded = np.zeros((2, capacity.max_layers))
    padded[0, : bench.layers] = results[0].last_pass_ns
    padded[1, : bench.layers] = np.sum([result.layer_ns for result in results], axis=0)
    times = Times(
        latency=ends[-1],
        critical=np.sum([result.critical_ns for result in results], axis=0),
        moe=np.sum([result.moe_ns.sum() for result in results]),
        last_pass=padded[0],
        slowest_layer=padded[1].max(),
        waiting_results=float(max(result.waiting_peak for result in results)),
        waiting=bench.meter.waiting_ns,
        peak_w=bench.meter.peak_w,
        status=np.int32(0),
    )
    with np.errstate(all="ignore"):  # formulas choose between branches of which one may divide by zero
        cost = assemble(bench.chip, schedule, bench.run_work, times)
    steps = sampled[prefills:]
    every = batch if bench.dense_all else 1
    first = float(sampled[0])
    return Simulation(cost, results, first, np.asarray(steps[every - 1 :: every] if len(steps) else steps))
