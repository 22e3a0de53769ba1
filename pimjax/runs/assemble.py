"""Counts of every pass of a run -> :class:`~pimjax.runs.run_counts.RunCounts`. Host, NumPy.

One sequence with caches is exact: its steps are counted by kind, without a schedule.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from pimjax.array_typing import HostArray
from pimjax.config.build import Capacity
from pimjax.config.config import Config
from pimjax.config.digital_map import digital_experts
from pimjax.config.mixers import mixer_table
from pimjax.errors import CapacityError
from pimjax.registry import CHIPS
from pimjax.runs.cache_flags import cache_use
from pimjax.runs.counts import PassCounts, no_counts
from pimjax.runs.passes import LENGTH_SAMPLES, RunPasses, sample_lengths
from pimjax.runs.reach import LEAD_LINES, reach_of
from pimjax.runs.routing import RunRouting
from pimjax.runs.run_counts import PassWindows, RunCounts, SlotProfile, SwapCounts, TokenSteps
from pimjax.schedule.counts import GAP_BINS, PROFILE_ROWS, TAIL_SLOTS
from pimjax.schedule.load_matrix import host_loads

STEP_KINDS = 64
PROFILE_LIMIT = 4096  # profiles of a larger capacity are as long as the schedule needs


def shares_links(config: Config) -> bool:
    """Whether groups share return links: then slots are counted by their busy groups too.

    >>> shares_links(Config())
    False
    """
    return getattr(config.hardware, "out_links", None) is not None


def inputs_from_counts(
    config: Config,
    routing: RunRouting,
    passes: RunPasses,
    counted: Sequence[PassCounts],
    *,
    fidelity: str,
    capacity: Capacity,
) -> RunCounts:
    """What a kernel gets, from counts of every pass in `passes.all`, however they were made.

    Fluid needs the profile of the first pass.
    """
    workload = config.workload
    frame = _Frame(config, routing, capacity)
    steps = workload.generated_tokens - 1
    use = cache_use(config)
    rest = iter([frame.stats(counts, choices) for counts, choices in zip(counted, passes.all, strict=True)])
    prompts = [next(rest) for _ in passes.prompt]
    prompt = _mean(prompts) if prompts else frame.stats(None)
    profile = frame.profile(counted[0].profile if prompts else None) if fidelity == "fluid" else None
    if steps and not use.experts_all:
        step, kinds = frame.steps([next(rest) for _ in passes.steps], joint=bool(use.reads_kv))
    else:
        step, kinds = frame.stats(None), frame.kinds(np.zeros((routing.num_layers, 0, max(1, routing.num_groups)), int))
    empty = frame.stats(None)
    samples = LENGTH_SAMPLES if steps else 0
    lengths, weights = sample_lengths(workload.num_prompt_tokens + 1, steps)
    rows = [empty if choices is None else next(rest) for choices in passes.lengths] or [empty] * max(1, samples)
    recomputed = jax.tree.map(lambda *leaves: np.stack(leaves)[:samples], *rows)
    # pyrefly: ignore[missing-attribute]
    recomputed = recomputed.replace(busy_hist=None)
    if not shares_links(config):  # busy groups matter where return links are shared
        # pyrefly: ignore[missing-attribute]
        prompt, step = prompt.replace(busy_hist=None), step.replace(busy_hist=None)
    spread = CHIPS[config.chip_model].spread_of_layers(config, routing)
    places = None
    if spread is not None:
        place, reach = spread
        places = np.ones(reach)

        def reached(of: Sequence[HostArray]) -> HostArray:
            return frame.spread(reach_of(of, routing.group_of_expert, place, capacity.max_groups))

        # every step, not a sample: counting needs no schedule; sequences that decode together are its tokens
        each = np.moveaxis(routing.steps, (2, 1), (0, 1))
        # pyrefly: ignore[missing-attribute]
        prompt, step = prompt.replace(reach=reached(passes.prompt)), step.replace(reach=reached(list(each)))
        if use.experts_all and samples:
            none = np.zeros_like(step.reach)
            tables = [none if choices is None else reached([choices]) for choices in passes.lengths]
            # pyrefly: ignore[missing-attribute]
            recomputed = recomputed.replace(reach=np.stack(tables)[:samples])
    taken = frame.spread(routing.taken.mean(axis=(0, 2)) if steps else np.zeros(routing.num_layers))
    return RunCounts(
        is_moe=frame.is_moe,
        has_feed_forward=frame.has_feed_forward,
        mixer=frame.mixer,
        group_sizes=frame.group_sizes(),
        prompt=prompt,
        prompt_profile=profile,
        step=step,
        token_steps=kinds,
        taken=taken,
        lengths=lengths[:samples],
        weights=weights[:samples],
        recomputed=recomputed,
        digital_sizes=None if frame.digital is None else frame.group_sizes(frame.digital),
        die_places=places,
        swaps=frame.swaps(),
    )


def swap_counts(config: Config, routing: RunRouting, capacity: Capacity) -> SwapCounts | None:
    """Experts that a run writes; None where its chip holds them all."""
    return _Frame(config, routing, capacity).swaps()


class _Frame:
    """Puts per-MoE-layer counts at their model layer, padded to the capacity."""

    def __init__(self, config: Config, routing: RunRouting, capacity: Capacity) -> None:
        self.config, self.routing, self.capacity = config, routing, capacity
        table = mixer_table(config.model)
        pad = (0, capacity.max_layers - len(table.of_block))
        self.is_moe = np.pad(np.array(table.is_moe, bool), pad)
        self.mixer = np.pad(np.array(table.of_block, np.int32), pad)
        feeds = np.pad(np.array(table.has_feed_forward, bool), pad)
        self.has_feed_forward = None if all(table.has_feed_forward) else feeds
        self.digital: HostArray | None = None  # bool [MoE layers, members]: on digital macros
        if capacity.digital_parts:
            experts = digital_experts(config)
            self.digital = np.array([row[copy] for row, copy in zip(experts, routing.copy_of, strict=True)], bool)
        none = np.zeros((capacity.max_layers, 3, LEAD_LINES))
        self.no_lead = None if config.system.network == "none" else none

    def spread(self, values: HostArray) -> HostArray:
        """`[MoE layers, ...]` -> `[L, ...]`, float64."""
        out = np.zeros((self.capacity.max_layers, *np.shape(values)[1:]))
        if len(values):
            out[self.is_moe] = values
        return out

    def swaps(self) -> SwapCounts | None:
        """Experts that are written."""
        writes, workload = self.routing.writes, self.config.workload
        if writes is None:
            return None
        batch, steps = writes.batch, workload.generated_tokens - 1
        first, end = 0 if workload.prefill else batch, batch * (1 + steps)
        return SwapCounts(
            prompt=self.spread(writes.of_turns(0, batch) / batch),
            step=self.spread(writes.of_turns(batch, end) / max(steps, 1)),
            most=np.float64(writes.most_of_a_place(first, end)),
            left_out=np.float64(writes.experts - writes.places),
        )

    def group_sizes(self, counted: HostArray | None = None) -> HostArray:
        """float [L, G]: members of each group; `counted` bool [MoE layers, members]: of these only."""
        groups, maps = self.capacity.max_groups, self.routing.group_of_expert
        mine = np.ones(np.shape(maps), bool) if counted is None else counted
        sizes = [np.bincount(row[own], minlength=groups) for row, own in zip(maps, mine, strict=True)]
        return self.spread(np.array(sizes).reshape(-1, groups))

    def stats(self, counts: PassCounts | None, choices: HostArray | None = None) -> PassWindows:
        """Counts of one pass of `choices` (None: zeros)."""
        groups = self.capacity.max_groups
        if counts is None:
            none = None if self.digital is None else np.zeros(self.capacity.max_layers)
            rows = no_counts(self.capacity.max_layers, groups)
            return PassWindows(tokens=np.float64(0), **rows, digital=none, lead=self.no_lead)
        rows = {name: self.spread(value) for name, value in counts.rows.items()}
        return PassWindows(tokens=np.float64(counts.tokens), **rows, digital=self.on_macros(choices))

    def on_macros(self, choices: HostArray | None) -> HostArray | None:
        """float [L]: passes of `choices` (bool [MoE layers, T, members]) whose experts are digital."""
        if self.digital is None or choices is None:
            return None
        return self.spread((choices & self.digital[:, None]).sum(axis=(1, 2)).astype(np.float64))

    def profile(self, rows: HostArray | None) -> SlotProfile:
        """Slot by slot."""
        needed = 1 if rows is None else max(1, rows.shape[-1])
        size = self.capacity.max_slots
        if size > PROFILE_LIMIT:
            size = min(size, 1 << max(0, needed - 1).bit_length())
        if needed > size:
            raise CapacityError(
                f"a schedule has {needed} slots, the capacity {size}: build a larger Capacity (max_slots)"
            )
        if rows is None:
            return SlotProfile(*(np.zeros((self.capacity.max_layers, size)) for _ in PROFILE_ROWS))
        padding = ((0, 0), (0, size - rows.shape[-1]))
        return SlotProfile(*(self.spread(np.pad(row, padding)) for row in rows))

    def steps(self, sampled: Sequence[PassWindows], *, joint: bool) -> tuple[PassWindows, TokenSteps]:
        """Mean decode step with caches, and its kinds. `joint`: sequences share a window (`sampled` steps); else
        they run alone."""
        routing = self.routing
        batch, layers, steps, members = routing.steps.shape
        rows = np.moveaxis(routing.steps, 1, 0).reshape(layers, batch * steps, members)
        loads = host_loads(rows, routing.group_of_expert, max(1, routing.num_groups))
        per_group = np.swapaxes(loads, 1, 2).astype(np.int64)
        kinds = self.kinds(per_group)
        if batch == 1 or not joint:
            single = self._single_steps(per_group, batch if not joint else 1)
            digital = self.on_macros(rows)
            if digital is not None:  # of the mean step
                digital = digital * float(np.asarray(single.tokens)) / max(rows.shape[1], 1)
            return dataclasses.replace(single, digital=digital), kinds
        return _mean(sampled), kinds

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
        gaps = np.zeros((len(slots), GAP_BINS))
        follows = gaps.copy()  # every group works without a pause
        follows[:, 0] = (passes - shape["first"]).mean(axis=1)
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
            "gap_hist": follows,
            "gap_slots": gaps,
            "unrouted": (~used).mean(axis=1),
            "last_token_slots": slots.mean(axis=1),
        }
        return PassWindows(
            tokens=np.float64(sequences),
            **{name: self.spread(value) * (sequences if name != "open_max" else 1) for name, value in mean.items()},
            lead=self.no_lead,
        )

    def kinds(self, per_group: HostArray) -> TokenSteps:
        """Kinds of one-token windows and how often each occurs; beyond `STEP_KINDS` the rarest are averaged."""
        layers, count, _ = per_group.shape
        shape = _single_shape(per_group)
        table = np.stack([shape[name] for name in ("slots", "passes", "first", "last")], axis=-1).reshape(-1, 4)
        out = np.zeros((4, STEP_KINDS))
        share, begins = np.zeros((2, layers, STEP_KINDS))
        if count and layers:
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


def _mean(rows: Sequence[PassWindows]) -> PassWindows:
    """Mean of several passes; the largest `open_max`."""
    mean = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *rows)
    return mean.replace(open_max=np.max([row.open_max for row in rows], axis=0))
