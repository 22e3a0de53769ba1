"""The passes of a run that need a schedule, and the counts of one of them. Host, NumPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.chips.multiplexed.routing import RunRouting
from pimjax.chips.multiplexed.windows import TokenSpan, Windows, layer_windows, open_peak, token_span
from pimjax.config.config import Config
from pimjax.schedule import IDLE

TAIL_SLOTS = 8
STEP_SAMPLES = 64
LENGTH_SAMPLES = 16
PROFILE_ROWS = 6  # of SlotProfile, in its order


class RunPasses(NamedTuple):
    """Passes whose slots must be counted; each bool `[MoE layers, T, E]`.

    Attributes:
        prompt: prefill of every sequence (none without prefill).
        steps: sampled decode steps that several sequences share; their tokens are the sequences.
        lengths: recomputed prefixes at the sampled lengths, None where a sample stands for nothing.
    """

    prompt: list[HostArray]
    steps: list[HostArray]
    lengths: list[HostArray | None]

    @property
    def all(self) -> list[HostArray]:
        """Every pass, in order."""
        return [*self.prompt, *self.steps, *(choices for choices in self.lengths if choices is not None)]


class PassCounts(NamedTuple):
    """Counts of one pass.

    Attributes:
        tokens: tokens of the pass.
        rows: the array fields of :class:`.PassWindows`, each `[MoE layers, ...]`.
        profile: `[PROFILE_ROWS, MoE layers, S]` or None.
    """

    tokens: int
    rows: dict[str, HostArray]
    profile: HostArray | None = None


def cache_flags(config: Config) -> tuple[bool, bool]:
    """(one query per sequence, experts for the new token only); see traffic.cache_use.

    >>> cache_flags(Config())
    (False, False)
    """
    by_experts = config.model.routing == "expert_choice"
    go = config.workload.go_cache != "none" and by_experts
    one = config.workload.kv_cache and (go or not by_experts)
    return one, go


def run_passes(config: Config, routing: RunRouting) -> RunPasses:
    """Which passes of a run need a schedule.

    A decode step of one token needs none: every group starts at slot 0.

    >>> import numpy as np
    >>> from pimjax.chips.multiplexed.routing import run_routing
    >>> from pimjax.config import load_config
    >>> from pimjax.trace.routing import RoutingTrace
    >>> config = load_config({"model": {"num_experts": 4, "top_k": 2}, "workload": {"prompt_tokens": 3}})
    >>> passes = run_passes(config, run_routing(config, RoutingTrace.from_expert_ids([[0, 1], [2, 3]], 4)))
    >>> [choices.shape for choices in passes.all]
    [(1, 3, 4)]
    """
    workload = config.workload
    steps = workload.generated_tokens - 1
    joint, stored = cache_flags(config)
    prompt = [routing.prompt[sequence] for sequence in range(workload.batch_size if workload.prefill else 0)]
    shared: list[HostArray] = []
    if steps and joint and workload.batch_size > 1:
        sampled = np.unique(np.round(np.linspace(0, steps - 1, min(steps, STEP_SAMPLES))).astype(int))
        shared = [np.moveaxis(routing.steps[:, :, step], 1, 0) for step in sampled]
    prefixes: list[HostArray | None] = []
    if steps and not joint and not stored:
        lengths, weights = sample_lengths(workload.num_prompt_tokens + 1, steps)
        prefixes = [
            routing.prefix(0, int(length)) if weight > 0 else None
            for length, weight in zip(lengths, weights, strict=True)
        ]
    return RunPasses(prompt, shared, prefixes)


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


def count_pass(
    config: Config, routing: RunRouting, choices: HostArray, *, groups: int, profile: bool = False
) -> PassCounts:
    """Schedule every layer of one pass and count its slots.

    Args:
        config: plan of the schedule.
        routing: groups of the experts.
        choices: bool `[MoE layers, T, E]`.
        groups: static G of the histograms.
        profile: also slot by slot.
    """
    plan = config.plan
    tables = [
        layer_windows(
            layer,
            routing.group_of_expert[index],
            policy=plan.policy,
            num_groups=routing.num_groups,
            window_tokens=plan.window_tokens,
            max_open_tokens=plan.max_open_tokens,
            input_hold=plan.input_hold,
        )
        for index, layer in enumerate(choices)
    ]
    rows = [_layer_counts(table, groups) for table in tables]
    merged = {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else no_counts(0, groups)
    return PassCounts(choices.shape[1], merged, _profile(tables) if profile else None)


def no_counts(layers: int, groups: int) -> dict[str, HostArray]:
    """Rows of a pass without passes.

    >>> no_counts(2, 4)["load_hist"].shape
    (2, 5)
    """
    tail = np.zeros((layers, TAIL_SLOTS))
    scalars = ("passes", "makespan", "loads", "first_loads", "open_max", "unrouted", "last_token_slots")
    return {
        **{name: np.zeros(layers) for name in scalars},
        "load_hist": np.zeros((layers, groups + 1)),
        "busy_hist": np.zeros((layers, groups + 1, groups + 1)),
        "tail_adds": tail,
        "tail_loads": tail,
        "tail_busy": tail,
    }


def _layer_counts(table: Windows, groups: int) -> dict[str, HostArray | float]:
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


def _opening(table: Windows) -> HostArray:
    return np.append(True, table.window[1:] != table.window[:-1])[: len(table.window)]


def _profile(tables: list[Windows]) -> HostArray:
    """`[PROFILE_ROWS, MoE layers, S]`, S the longest schedule."""
    rows = np.zeros((PROFILE_ROWS, len(tables), max((len(table.loads) for table in tables), default=0)))
    for index, table in enumerate(tables):
        count = len(table.loads)
        span = token_span(table)
        used = span.passes > 0
        rows[0, index, :count] = table.loads
        rows[1, index, :count] = table.busy
        rows[2, index, :count] = table.busy - np.bincount(span.first[used], minlength=count)[:count]
        rows[3, index, :count] = _longest_chains(table, span)
        rows[4, index, :count] = np.bincount(span.last[used], minlength=count)[:count]
        rows[5, index, :count] = _opening(table)
    return rows


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
