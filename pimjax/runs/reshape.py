"""Counts of different runs brought to one shape, so that they can be stacked. Host, NumPy."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from pimjax import checks
from pimjax.errors import ConfigError, shown
from pimjax.runs.reach import LEAD_LINES
from pimjax.runs.run_counts import PassWindows, RunCounts, SwapCounts


def trimmed(counts: RunCounts, layers: int | None) -> RunCounts:
    """Layer axes cut to `layers`: capacities are powers of two, models are not, and every layer costs time."""
    if layers is None:
        return counts

    def cut(tree: Any, axis: int = 0) -> Any:
        return jax.tree.map(lambda leaf: leaf[(slice(None),) * axis + (slice(layers),)], tree)

    def windows(part: PassWindows, axis: int = 0) -> PassWindows:
        return dataclasses.replace(cut(dataclasses.replace(part, tokens=None), axis), tokens=part.tokens)

    steps, swaps = counts.token_steps, counts.swaps
    return dataclasses.replace(
        counts,
        **{
            name: cut(getattr(counts, name))
            for name in ("is_moe", "has_feed_forward", "mixer", "group_sizes", "digital_sizes", "taken")
        },
        prompt=windows(counts.prompt),
        prompt_profile=cut(counts.prompt_profile),
        step=windows(counts.step),
        token_steps=dataclasses.replace(steps, share=cut(steps.share), begins=cut(steps.begins)),
        recomputed=windows(counts.recomputed, 1),
        swaps=None if swaps is None else dataclasses.replace(swaps, prompt=cut(swaps.prompt), step=cut(swaps.step)),
    )


@checks.checked(ConfigError, runs=checks.each(checks.instance(RunCounts, "RunCounts"), "RunCounts of schedule_inputs"))
def alike(runs: Sequence[RunCounts]) -> list[RunCounts]:
    """Counts with the same leaves: where some have shared return links, all count slots by (loads, busy groups); where
    some have layers without a feed-forward part, all say which layers have one; where some write experts, the others write
    none.

    Without shared links a slot takes as long however many groups are busy: all slots stand at 0 busy groups.
    """
    if any(one.has_feed_forward is not None for one in runs):
        runs = [
            one
            if one.has_feed_forward is not None
            else dataclasses.replace(one, has_feed_forward=np.ones(np.shape(one.is_moe), bool))
            for one in runs
        ]
    runs = _same_swaps(_same_reach(runs))
    if all(one.prompt.busy_hist is None for one in runs):
        return list(runs)

    def counted(windows: PassWindows) -> PassWindows:
        if windows.busy_hist is not None:
            return windows
        loads = np.asarray(windows.load_hist)
        joint = np.zeros((*loads.shape, loads.shape[-1]), loads.dtype)
        joint[..., 0] = loads
        return dataclasses.replace(windows, busy_hist=joint)

    return [dataclasses.replace(one, prompt=counted(one.prompt), step=counted(one.step)) for one in runs]


def _same_swaps(runs: Sequence[RunCounts]) -> list[RunCounts]:
    if all(one.swaps is None for one in runs):
        return list(runs)

    def none(one: RunCounts) -> SwapCounts:
        layers, scalar = np.zeros_like(one.prompt.passes), np.zeros_like(one.prompt.tokens)
        return SwapCounts(layers, layers, scalar, scalar)

    return [one if one.swaps is not None else dataclasses.replace(one, swaps=none(one)) for one in runs]


def _same_reach(runs: Sequence[RunCounts]) -> list[RunCounts]:
    """Where some have a system around them, the others say that they have none."""
    if all(one.die_places is None for one in runs):
        return list(runs)
    recomputes = any(one.recomputed.reach is not None for one in runs)

    def reached(windows: PassWindows, wanted: bool = True) -> PassWindows:
        shape, dtype = np.shape(windows.load_hist), np.asarray(windows.load_hist).dtype
        made: dict[str, Any] = {}
        if windows.reach is None and wanted:
            made["reach"] = np.zeros((*shape, shape[-1]), dtype)
        if windows.lead is None:
            made["lead"] = np.zeros((*shape[:-1], 3, LEAD_LINES), dtype)
        return dataclasses.replace(windows, **made)

    return [
        dataclasses.replace(
            one,
            prompt=reached(one.prompt),
            step=reached(one.step),
            recomputed=reached(one.recomputed, recomputes),
            die_places=np.zeros((*np.shape(one.prompt.tokens), 1)) if one.die_places is None else one.die_places,
        )
        for one in runs
    ]


def stacked(trees: Sequence[Any]) -> Any:
    """Trees of one structure with a new leading axis; leaves of different lengths are padded with zeros at the end.

    >>> stacked([np.ones(1), np.ones(2)]).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """

    def stack(*leaves: Any) -> np.ndarray:
        arrays = [np.asarray(leaf) for leaf in leaves]
        shape = np.max([array.shape for array in arrays], axis=0) if arrays[0].ndim else ()
        out = np.zeros((len(arrays), *map(int, shape)), arrays[0].dtype)
        for index, array in enumerate(arrays):
            out[(index, *(slice(size) for size in array.shape))] = array
        return out

    try:
        trees = list(trees)
        structures = {jax.tree.structure(tree) for tree in trees}
        ranks = {tuple(np.ndim(leaf) for leaf in jax.tree.leaves(tree)) for tree in trees}
    except (TypeError, ValueError):
        structures, ranks = set(), set()
    if len(structures) != 1 or len(ranks) != 1:
        raise ConfigError(f"trees is {shown(trees)}: it must be a list of at least one, all of one structure")
    return jax.tree.map(stack, *trees)
