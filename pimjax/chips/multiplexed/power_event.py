"""Power of an exact run, job by job: pauses of every set of peripherals, and the largest energy of a sliding microsecond.

Host, NumPy, float64. A product draws its energy while its crossbars are held (a pass of an expert: one stage, so that a
group never draws two passes at once), an operation on a unit or a channel while it runs, a message while it is on a link;
wires of a die draw with the products that they feed. Together all jobs of a run draw its dynamic energy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.chips.multiplexed.geometry import LINEARS, Geometry
from pimjax.chips.multiplexed.graph import PassGraph
from pimjax.chips.multiplexed.graph_parts import KINDS, MIXED, TimedDesign, linear_kinds
from pimjax.chips.multiplexed.power import IN_MEMORY, PEAK_WINDOW_NS, Draw, States
from pimjax.chips.run_cost import COMPONENTS
from pimjax.event import EventLog
from pimjax.runs.point import Point

_PASS_KINDS = [KINDS.index(kind) for kind in ("pass", "stage A")]
_EMBEDDING, _MESSAGE, _FLIGHT = (KINDS.index(kind) for kind in ("embedding", "message", "flight"))


class PowerMeter:
    """Takes the passes of a run in order; then :attr:`waiting_ns` after :meth:`finish`, and :attr:`peak_w`.

    Attributes:
        waiting_ns: time that sets of peripherals spent idle, summed over the sets.
        peak_w: largest dynamic energy of a sliding microsecond over its length.
        energy_nj: dynamic energy of the jobs seen.
    """

    def __init__(
        self,
        point: Point,
        shape: Geometry,
        state: States,
        draw: Draw,
        timed: TimedDesign,
        links_w: HostArray | None = None,
    ) -> None:
        self.hold_ns, self.pass_ns, self.shortest_ns = (
            float(each) for each in (state.product_ns, state.pass_ns, state.shortest_ns)
        )
        self.stage_ns = timed.times.stage
        channels = float(point.hardware.memory_channels)
        power = np.where(np.isin(COMPONENTS, IN_MEMORY), 1.0 / channels, 1.0) * np.asarray(draw.power_w, np.float64)
        self.power_w = np.array([timed.split[kind] @ power for kind in KINDS])
        self.power_w[[_FLIGHT, _MESSAGE]] = 0.0  # a message draws what its link does, and nothing on its way behind it
        self.links_w = np.zeros(0) if links_w is None else links_w
        self.crossbars = _crossbars_of_kinds(point, shape)
        self.product_nj = float(draw.product_nj)
        self.group_sets = float(shape.expert_tiles * state.product_ns / state.pass_ns)
        self.waiting_ns = self.peak_w = self.energy_nj = self.elapsed_ns = 0.0
        self._before: tuple[HostArray, HostArray, HostArray] = (np.zeros(0), np.zeros(0), np.zeros(0))
        self._first: dict[str, HostArray] = {}
        self._last: dict[str, HostArray] = {}
        self._weight: dict[str, HostArray] = {}

    def add(self, graph: PassGraph, log: EventLog, latency_ns: float, stalls_ns: HostArray | None = None) -> None:
        """The next pass of the run, how long it takes of it, and for how long all stands still before each layer's experts
        begin (None: never)."""
        self._draws(graph, log, latency_ns)
        self._pauses(graph, log.start_ns if stalls_ns is None else _later(graph, log.start_ns, stalls_ns))
        self.elapsed_ns += latency_ns + (0.0 if stalls_ns is None else float(stalls_ns.sum()))

    def finish(self) -> None:
        """The run is over: the pauses around it count as one."""
        for name, first in self._first.items():
            used = np.isfinite(first)
            pause = first[used] + self.elapsed_ns - self._last[name][used]
            self.waiting_ns += float(self._weight[name][used] @ np.clip(pause, 0.0, self.shortest_ns))

    # --- energy -------------------------------------------------------------------------------------------------

    def _draws(self, graph: PassGraph, log: EventLog, latency: float) -> None:
        kind, start = graph.jobs.kind, log.start_ns
        power = self.power_w[kind]
        sent = np.flatnonzero(kind == _MESSAGE)
        if len(sent):
            power[sent] = self.links_w[graph.jobs.resource[sent] - _first_of(graph.jobs.resources, "link")]
        on_units = np.flatnonzero((power > 0) & (graph.jobs.duration > 0))
        crossing = np.flatnonzero(self.crossbars[kind] > 0)
        span = np.where(np.isin(kind[crossing], _PASS_KINDS), self.stage_ns, graph.jobs.duration[crossing])
        begin = np.concatenate([start[on_units], start[crossing]])
        # writes that nobody waits for go on in the next pass, which begins with what is left of them
        end = np.concatenate([np.minimum(log.finish_ns[on_units], latency), start[crossing] + span])
        watts = np.concatenate(
            [power[on_units], self.crossbars[kind[crossing]] * self.product_nj / np.maximum(span, 1e-9)]
        )
        there = end > begin
        mine = begin[there], end[there], watts[there]
        self.energy_nj += float(mine[2] @ (mine[1] - mine[0]))
        begin, end, watts = (np.concatenate(pair) for pair in zip(self._before, mine, strict=True))
        self.peak_w = max(self.peak_w, largest_mean(begin, end, watts, PEAK_WINDOW_NS))
        late = end > latency - PEAK_WINDOW_NS
        self._before = begin[late] - latency, end[late] - latency, watts[late]

    # --- pauses -------------------------------------------------------------------------------------------------

    def _pauses(self, graph: PassGraph, begun: HostArray) -> None:
        """`begun` [jobs]: when each began."""
        jobs = graph.jobs
        linear = np.flatnonzero(self.crossbars[jobs.kind] > 0)
        read = jobs.kind[linear] == _EMBEDDING  # of another word's crossbars every time
        self.waiting_ns += self.crossbars[_EMBEDDING] * read.sum() * self.shortest_ns
        linear = linear[~read & ~np.isin(jobs.kind[linear], _PASS_KINDS)]
        weight = self.crossbars[jobs.kind[linear]]
        self._uses("dense", jobs.resource[linear], begun[linear], weight, self.hold_ns, jobs.num_resources)
        groups = next(group.count for group in jobs.resources if group.name == "group")
        first = _first_of(jobs.resources, "group")
        units, starts = [], []
        for layer, moe in graph.moe.items():
            units.append(layer * groups + jobs.resource[moe.begins] - first)
            starts.append(begun[moe.begins])
        if units:
            unit, start = np.concatenate(units), np.concatenate(starts)
            size = (max(graph.moe) + 1) * groups
            self._uses("experts", unit, start, np.full(len(unit), self.group_sets), self.pass_ns, size)

    def _uses(self, name: str, unit: HostArray, start: HostArray, weight: HostArray, hold: float, size: int) -> None:
        """Uses of units, each for `hold` ns: pauses since the use before."""
        if name not in self._first:
            self._first[name] = np.full(size, np.inf)
            self._last[name], self._weight[name] = np.zeros(size), np.zeros(size)
        first, last = self._first[name], self._last[name]
        order = np.lexsort((start, unit))
        unit, start, weight = unit[order], start[order] + self.elapsed_ns, weight[order]
        if not len(unit):
            return
        opens = np.append(True, unit[1:] != unit[:-1])
        before = np.append(0.0, start[:-1] + hold)
        before[opens] = np.where(np.isfinite(first[unit[opens]]), last[unit[opens]], start[opens])
        self.waiting_ns += float(weight @ np.clip(start - before, 0.0, self.shortest_ns))
        fresh = opens & ~np.isfinite(first[unit])
        first[unit[fresh]] = start[fresh]
        self._weight[name][unit] = weight
        closes = np.append(opens[1:], True)
        last[unit[closes]] = start[closes] + hold


def _later(graph: PassGraph, start: HostArray, stalls_ns: HostArray) -> HostArray:
    """When jobs begin if all stands still for a while as the first expert of each layer would begin."""
    layers = [layer for layer, moe in graph.moe.items() if len(moe.begins)]
    at = np.array([start[graph.moe[layer].begins].min() for layer in layers])
    order = np.argsort(at)
    waited = np.append(0.0, np.cumsum(stalls_ns[np.array(layers, int)][order]))
    return start + waited[np.searchsorted(at[order], start, side="right")]


def _first_of(resources: Any, name: str) -> int:
    """Flat index of a group's first resource."""
    before = 0
    for group in resources:
        if group.name == name:
            return before
        before += group.count
    raise KeyError(name)


def _crossbars_of_kinds(point: Point, shape: Geometry) -> HostArray:
    """float64 [kinds], crossbars that a job of each kind uses; 0: none, or those that another job of it stands for."""
    found = np.zeros(len(KINDS))
    for name in LINEARS:
        tiles = np.atleast_1d(np.asarray(getattr(shape, name).tiles, np.float64))
        for mixer, of_mixer in enumerate(tiles if name in MIXED else tiles[:1]):
            found[KINDS.index(linear_kinds(name, mixer)[0])] = of_mixer
        if name in MIXED and len(tiles) == 1:  # the same in every kind of mixer
            others = [KINDS.index(kind) for kind in KINDS if kind.startswith(f"{name} issue, mixer ")]
            found[others] = tiles[0]
    found[_PASS_KINDS] = float(shape.expert_tiles)
    found[_EMBEDDING] = 0.0 if bool(point.looks_up) else float(shape.embedding_strips)
    return found


def largest_mean(begin: HostArray, end: HostArray, watts: HostArray, window: float) -> float:
    """Largest energy of any stretch of `window` ns, over `window` [W].

    Args:
        begin, end: float64 [n], ns.
        watts: float64 [n], drawn from begin to end.
        window: ns.

    >>> largest_mean(np.array([0.0, 50.0]), np.array([100.0, 150.0]), np.array([1.0, 2.0]), 100.0)
    2.5
    """
    if not len(begin):
        return 0.0
    time = np.concatenate([begin, end])
    order = np.argsort(time, kind="stable")
    time, change = time[order], np.concatenate([watts, -watts])[order]
    energy = np.append(0.0, np.cumsum(np.cumsum(change)[:-1] * np.diff(time)))
    edges = np.concatenate([time, time - window])
    drawn = np.interp(edges + window, time, energy) - np.interp(edges, time, energy)
    return float(drawn.max()) / window
