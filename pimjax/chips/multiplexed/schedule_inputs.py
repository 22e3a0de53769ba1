"""Routing of a run -> :class:`MultiplexedSchedule`. Host, NumPy.

Sampling, where exact counts would need a schedule per decode step: decode steps of several sequences are scheduled
for at most `STEP_SAMPLES` steps, evenly spaced; recomputed prefixes for at most `LENGTH_SAMPLES` lengths, between
which costs are taken as linear. One sequence with caches is exact: its steps are counted by kind.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from pimjax.array_typing import HostArray
from pimjax.chips.multiplexed.routing import RunRouting, run_routing, with_prompt
from pimjax.chips.multiplexed.schedule import MultiplexedSchedule, PassWindows, SlotProfile, TokenSteps
from pimjax.chips.multiplexed.windows import TokenSpan, Windows, layer_windows, open_peak, token_span
from pimjax.config.build import Capacity
from pimjax.config.config import Config
from pimjax.errors import CapacityError
from pimjax.schedule import IDLE
from pimjax.trace.routing import RoutingTrace

TAIL_SLOTS = 8
STEP_SAMPLES = 64
LENGTH_SAMPLES = 16
STEP_KINDS = 64
PROFILE_LIMIT = 4096  # profiles of a larger capacity are as long as the schedule needs


def schedule_inputs(
    config: Config, trace: RoutingTrace, *, fidelity: str = "fluid", capacity: Capacity | None = None
) -> MultiplexedSchedule:
    """Counts of a run's routing for :func:`multiplexed_cost`.

    Args:
        config: a configuration with `chip_model` "multiplexed"; a null prompt length is the trace's.
        trace: one request, or stacked requests.
        fidelity: "fluid" (with a profile per slot) or "closed".
        capacity: shapes; default `build(config)[1]`.

    Returns:
        NumPy leaves, float64 and bool.

    Raises:
        TraceError: the trace does not fit the model.
        CapacityError: more layers, groups or slots than `capacity` has.
    """
    config = with_prompt(config, trace)
    if capacity is None:
        from pimjax.config.build import capacity_of

        capacity = capacity_of(config)
    return inputs_from_routing(config, run_routing(config, trace), fidelity=fidelity, capacity=capacity)


def inputs_from_routing(
    config: Config, routing: RunRouting, *, fidelity: str, capacity: Capacity
) -> MultiplexedSchedule:
    """The same from a routing that is already there."""
    model, workload = config.model, config.workload
    if model.num_layers > capacity.max_layers or routing.num_groups > capacity.max_groups:
        raise CapacityError(
            f"the configuration has {model.num_layers} layers and {routing.num_groups} groups, the capacity "
            f"{capacity.max_layers} and {capacity.max_groups}: build a larger Capacity"
        )
    frame = _Frame(config, routing, capacity)
    steps = workload.generated_tokens - 1
    cached, stored = _cache_flags(config)
    tables = [
        [frame.windows(layer, routing.prompt[sequence, layer]) for layer in range(routing.num_layers)]
        for sequence in range(workload.batch_size if workload.prefill else 0)
    ]
    prompt = _mean([frame.stats(row) for row in tables]) if tables else frame.stats([])
    profile = None
    if fidelity == "fluid":
        profile = frame.profile(tables[0] if tables else [])
    if steps and (cached or stored):
        step, kinds = frame.steps(joint=cached)
    else:
        step, kinds = frame.stats([]), frame.kinds(np.zeros((routing.num_layers, 0, max(1, routing.num_groups)), int))
    lengths, weights = sample_lengths(workload.num_prompt_tokens + 1, steps)
    recompute = steps > 0 and not cached and not stored
    rows = []
    for length, weight in zip(lengths, weights, strict=True):
        if recompute and weight > 0:
            choices = routing.prefix(0, int(length))
            rows.append(frame.stats([frame.windows(layer, choices[layer]) for layer in range(routing.num_layers)]))
        else:
            rows.append(frame.stats([]))
    samples = LENGTH_SAMPLES if steps else 0
    recomputed = jax.tree.map(lambda *leaves: np.stack(leaves)[:samples], *rows).replace(busy_hist=None)
    if config.hardware.out_links is None:  # busy groups matter where return links are shared
        # pyrefly: ignore[missing-attribute]
        prompt, step = prompt.replace(busy_hist=None), step.replace(busy_hist=None)
    taken = frame.spread(routing.taken.mean(axis=(0, 2)) if steps else np.zeros(routing.num_layers))
    return MultiplexedSchedule(
        is_moe=frame.is_moe,
        is_windowed=frame.is_windowed,
        group_sizes=frame.group_sizes(),
        prompt=prompt,
        prompt_profile=profile,
        step=step,
        token_steps=kinds,
        taken=taken,
        lengths=lengths[:samples],
        weights=weights[:samples],
        recomputed=recomputed,
    )


def _cache_flags(config: Config) -> tuple[bool, bool]:
    """(one query per sequence, experts for the new token only); see traffic.cache_use."""
    by_experts = config.model.routing == "expert_choice"
    go = config.workload.go_cache != "none" and by_experts
    one = config.workload.kv_cache and (go or not by_experts)
    return one, go


def sample_lengths(first: int, steps: int) -> tuple[HostArray, HostArray]:
    """Lengths `[K]` at which decode steps are sampled and the steps each stands for (linear in between).

    Every step is its own sample if there are at most K.

    >>> lengths, weights = sample_lengths(33, 3)
    >>> lengths[:4].tolist(), weights[:4].tolist()
    ([33.0, 34.0, 35.0, 35.0], [1.0, 1.0, 1.0, 0.0])
    """
    lengths, weights = np.full(LENGTH_SAMPLES, float(first)), np.zeros(LENGTH_SAMPLES)
    if steps <= 0:
        return lengths, weights
    if steps <= LENGTH_SAMPLES:
        lengths[:steps] = first + np.arange(steps)
        lengths[steps:] = lengths[steps - 1]
        weights[:steps] = 1
        return lengths, weights
    lengths = np.round(np.linspace(first, first + steps - 1, LENGTH_SAMPLES))
    every = first + np.arange(steps)
    right = np.clip(np.searchsorted(lengths, every), 1, LENGTH_SAMPLES - 1)
    part = (every - lengths[right - 1]) / (lengths[right] - lengths[right - 1])
    np.add.at(weights, right, part)
    np.add.at(weights, right - 1, 1 - part)
    return lengths, weights


class _Frame:
    """Puts per-MoE-layer counts at their model layer, padded to the capacity."""

    def __init__(self, config: Config, routing: RunRouting, capacity: Capacity) -> None:
        self.config, self.routing, self.capacity = config, routing, capacity
        layers = range(config.model.num_layers)
        pad = capacity.max_layers - config.model.num_layers
        self.is_moe = np.pad(np.array([config.model.is_moe_layer(layer) for layer in layers], bool), (0, pad))
        self.is_windowed = np.pad(np.array([config.model.is_windowed_layer(layer) for layer in layers], bool), (0, pad))

    def spread(self, values: HostArray) -> HostArray:
        """`[MoE layers, ...]` -> `[L, ...]`, float64."""
        out = np.zeros((self.capacity.max_layers, *np.shape(values)[1:]))
        if len(values):
            out[self.is_moe] = values
        return out

    def group_sizes(self) -> HostArray:
        """float [L, G]"""
        groups = self.capacity.max_groups
        return self.spread(
            np.array([np.bincount(row, minlength=groups) for row in self.routing.group_of_expert]).reshape(-1, groups)
        )

    def windows(self, layer: int, choices: HostArray) -> Windows:
        """Slot table of one MoE layer."""
        plan = self.config.plan
        return layer_windows(
            choices,
            self.routing.group_of_expert[layer],
            policy=plan.policy,
            num_groups=self.routing.num_groups,
            window_tokens=plan.window_tokens,
            max_open_tokens=plan.max_open_tokens,
            input_hold=plan.input_hold,
        )

    def stats(self, tables: Sequence[Windows]) -> PassWindows:
        """Counts of one pass from its layers' slot tables (none: zeros)."""
        groups = self.capacity.max_groups
        rows = [_layer_stats(table, groups) for table in tables]
        empty = _layer_stats(_EMPTY, groups)
        columns = {name: self.spread(np.array([row[name] for row in rows])) if rows else None for name in empty}
        zeros = {name: np.zeros((self.capacity.max_layers, *np.shape(value))) for name, value in empty.items()}
        return PassWindows(
            tokens=np.float64(tables[0].num_tokens if tables else 0),
            **{name: zeros[name] if column is None else column for name, column in columns.items()},
        )

    def profile(self, tables: Sequence[Windows]) -> SlotProfile:
        """Slot by slot."""
        needed = max((len(table.loads) for table in tables), default=1)
        size = self.capacity.max_slots
        if size > PROFILE_LIMIT:
            size = min(size, 1 << max(0, needed - 1).bit_length())
        if needed > size:
            raise CapacityError(
                f"a schedule has {needed} slots, the capacity {size}: build a larger Capacity (max_slots)"
            )
        rows = np.zeros((6, len(tables), size))
        for index, table in enumerate(tables):
            count = len(table.loads)
            span = token_span(table)
            rows[0, index, :count] = table.loads
            rows[1, index, :count] = table.busy
            used = span.passes > 0
            rows[2, index, :count] = table.busy - np.bincount(span.first[used], minlength=count)[:count]
            rows[3, index, :count] = _longest_chains(table, span)
            rows[4, index, :count] = np.bincount(span.last[used], minlength=count)[:count]
            rows[5, index, :count] = _opening(table)
        if not len(tables):
            return SlotProfile(*(np.zeros((self.capacity.max_layers, size)) for _ in range(6)))
        return SlotProfile(*(self.spread(row) for row in rows))

    def steps(self, *, joint: bool) -> tuple[PassWindows, TokenSteps]:
        """Mean decode step with caches, and its kinds. `joint`: sequences share a window; else they run alone."""
        routing = self.routing
        batch, layers, steps, members = routing.steps.shape
        member = np.zeros((layers, members, max(1, routing.num_groups)), np.int64)
        for layer in range(layers):
            member[layer, np.arange(members), routing.group_of_expert[layer]] = 1
        per_group = np.einsum("blse,leg->lbsg", routing.steps.astype(np.int64), member).reshape(
            layers, batch * steps, -1
        )
        kinds = self.kinds(per_group)
        if batch == 1 or not joint:
            mean = self._single_steps(per_group, batch if not joint else 1)
            return mean, kinds
        sampled = np.unique(np.round(np.linspace(0, steps - 1, min(steps, STEP_SAMPLES))).astype(int))
        rows = [
            self.stats([self.windows(layer, routing.steps[:, layer, step]) for layer in range(layers)])
            for step in sampled
        ]
        return _mean(rows), kinds

    def _single_steps(self, per_group: HostArray, sequences: int) -> PassWindows:
        """Mean over one-token windows `[L, n, G]`, times `sequences`; needs no schedule."""
        groups = self.capacity.max_groups
        shape = _single_shape(per_group)
        slots, passes = shape["slots"], shape["passes"]
        used = passes > 0
        later = np.maximum(slots - 1, 0)
        hold = self.config.plan.input_hold
        hist = np.zeros((len(slots), groups + 1))
        busy = np.zeros((len(slots), groups + 1, groups + 1))
        column = 0 if hold else 1
        hist[:, column] = later.mean(axis=1)
        for level in range(1, int(slots.max(initial=0))):
            active = (per_group > level).sum(axis=2)
            for count in range(1, groups + 1):
                busy[:, column, count] += (active == count).mean(axis=1)
        tail = np.zeros((len(slots), TAIL_SLOTS))
        mean = {
            "passes": passes.mean(axis=1),
            "makespan": slots.mean(axis=1),
            "loads": (used + (0 if hold else 1) * later).mean(axis=1),
            "first_loads": used.mean(axis=1),
            "load_hist": hist,
            "busy_hist": busy,
            "open_max": used.max(axis=1),
            "tail_adds": tail,
            "tail_loads": tail,
            "tail_busy": tail,
            "unrouted": (~used).mean(axis=1),
            "last_token_slots": slots.mean(axis=1),
        }
        return PassWindows(
            tokens=np.float64(sequences),
            **{name: self.spread(value) * (sequences if name != "open_max" else 1) for name, value in mean.items()},
        )

    def kinds(self, per_group: HostArray) -> TokenSteps:
        """Kinds of one-token windows and how often each occurs; beyond `STEP_KINDS` the rarest are averaged."""
        layers, count, _ = per_group.shape
        shape = _single_shape(per_group)
        table = np.stack([shape[name] for name in ("slots", "passes", "first", "last")], axis=-1).reshape(-1, 4)
        out = np.zeros((4, STEP_KINDS))
        share, begins = np.zeros((2, layers, STEP_KINDS))
        if count:
            unique, inverse = np.unique(table, axis=0, return_inverse=True)
            weight = np.bincount(inverse.reshape(-1), minlength=len(unique))
            rank = np.argsort(np.argsort(-weight, kind="stable"), kind="stable")
            place = np.minimum(rank, STEP_KINDS - 1)
            total = np.bincount(place, weights=weight, minlength=STEP_KINDS)
            for row in range(4):
                sums = np.bincount(place, weights=weight * unique[:, row], minlength=STEP_KINDS)
                out[row] = sums / np.maximum(total, 1)
            kind = place[inverse.reshape(-1)].reshape(layers, count)
            share = np.stack([np.bincount(row, minlength=STEP_KINDS) for row in kind]) / count
            begins[np.arange(layers), kind[:, 0]] = 1
        return TokenSteps(self.spread(share), self.spread(begins), *out)


def _single_shape(per_group: HostArray) -> dict[str, HostArray]:
    """Shape of one-token windows from passes per group `[L, n, G]`: every group starts at slot 0."""
    slots = per_group.max(axis=2, initial=0)
    first = (per_group > 0).sum(axis=2)
    last = (per_group >= np.maximum(slots, 1)[:, :, None]).sum(axis=2)
    return {"slots": slots, "passes": per_group.sum(axis=2), "first": first, "last": last}


_EMPTY = Windows(np.zeros((0, 1), np.int32), np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(1, np.int32))


def _opening(table: Windows) -> HostArray:
    return np.append(True, table.window[1:] != table.window[:-1])[: len(table.window)]


def _layer_stats(table: Windows, groups: int) -> dict[str, HostArray | float]:
    """Counts of one layer of one pass."""
    slots = len(table.loads)
    busy, span = table.busy, token_span(table)
    effective = np.where(_opening(table), 0, table.loads)[1:]
    joint = np.zeros((groups + 1, groups + 1))
    np.add.at(joint, (effective, busy[1:]), 1)
    tail = np.arange(slots - 1, max(-1, slots - 1 - TAIL_SLOTS), -1)
    return {
        "passes": float(busy.sum()),
        "makespan": float(slots),
        "loads": float(table.loads.sum()),
        "first_loads": float(table.loads[0]) if slots else 0.0,
        "load_hist": np.bincount(effective, minlength=groups + 1).astype(float),
        "busy_hist": joint,
        "open_max": float(open_peak(span, slots)),
        "tail_adds": _tail_adds(table, span.first, tail),
        "tail_loads": _padded(np.where(_opening(table), 0, table.loads)[tail]),
        "tail_busy": _padded(busy[tail]),
        "unrouted": float((span.passes == 0).sum()),
        "last_token_slots": float(span.last[-1] - span.first[-1] + 1) if span.passes[-1:].any() else 0.0,
    }


def _longest_chains(table: Windows, span: TokenSpan) -> HostArray:
    """float [S]: most additions that one token's results of a slot cause."""
    slot, group = np.nonzero(table.token != IDLE)
    token = table.token[slot, group]
    pairs, results = np.unique(slot * np.int64(table.num_tokens + 1) + token, return_counts=True)
    where, who = pairs // (table.num_tokens + 1), pairs % (table.num_tokens + 1)
    longest = np.zeros(len(table.loads))
    np.maximum.at(longest, where, results - (span.first[who] == where))
    return longest


def _tail_adds(table: Windows, first: HostArray, tail: HostArray) -> HostArray:
    """float [W]: most additions that one token's results of the last 1, 2, .. W slots cause (the first is free)."""
    out = np.zeros(TAIL_SLOTS)
    results = np.zeros(table.num_tokens, np.int64)
    for place, slot in enumerate(tail):
        row = table.token[slot]
        np.add.at(results, row[row != IDLE], 1)
        out[place] = (results - ((first >= slot) & (results > 0))).max(initial=0)
    if len(tail):
        out[len(tail) :] = out[len(tail) - 1]
    return out


def _padded(values: HostArray) -> HostArray:
    out = np.zeros(TAIL_SLOTS)
    out[: len(values)] = values
    return out


def _mean(rows: Sequence[PassWindows]) -> PassWindows:
    """Mean of several passes; the largest `open_max`."""
    mean = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *rows)
    return mean.replace(open_max=np.max([row.open_max for row in rows], axis=0))
