"""Selection on the device: Pareto front, best points, histograms, constraints; mergeable over tiles, devices, chunks.

Every device keeps its own state; nothing is exchanged. Of points that are equal in all objectives the one with the
lowest number stays, so the result does not depend on how points were divided. A front that does not fit into
`max_front` is reported as overflowing, never cut silently.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pimjax import status as status_bits
from pimjax.array_typing import Array, HostArray
from pimjax.batch.sweep_config import Selection

FATAL = sum(bit for bit, (_, _, fatal) in status_bits.MEANING.items() if fatal)
_REFERENCES = 64
_FEW_REFERENCES = 8
_DIRECTIONS = 24
_BLOCK = 256


@dataclasses.dataclass(frozen=True)
class Rules:
    """A selection with metrics as column numbers. Static, hashable."""

    metrics: tuple[str, ...]  # columns of the value matrix
    constraints: tuple[tuple[int, str, float], ...] = ()
    objectives: tuple[tuple[int, float], ...] = ()  # (column, 1 to minimise or -1 to maximise)
    max_front: int = 4096
    tops: tuple[tuple[int, float, int], ...] = ()  # (column, sign, count)
    histograms: tuple[tuple[int, float, float, int, bool], ...] = ()  # (column, start, stop, bins, log)


class State(NamedTuple):
    """What one device has selected so far. `M` metrics."""

    front: Any  # [F, M]
    front_point: Any  # int32 [F], -1: empty
    overflow: Any  # bool []
    tops: tuple[Any, ...]  # [n, M] each, best first
    top_points: tuple[Any, ...]  # int32 [n], -1: empty
    histograms: tuple[Any, ...]  # int32 [bins + 2]: below, bins, above
    counts: Any  # int32 [3]: points, unusable, selected from (usable and within the constraints)


def rules_of(selection: Selection, metrics: tuple[str, ...]) -> Rules:
    """The rules of a sweep's `select` section over the given metrics (columns)."""
    column = {name: index for index, name in enumerate(metrics)}
    return Rules(
        metrics,
        tuple((column[name], comparison, bound) for name, comparison, bound in selection.parsed()),
        tuple((column[n.removeprefix("-")], -1.0 if n.startswith("-") else 1.0) for n in selection.pareto),
        selection.max_front,
        tuple((column[top.metric], -1.0 if top.largest else 1.0, top.count) for top in selection.top),
        tuple((column[h.metric], h.start, h.stop, h.count, h.scale == "log") for h in selection.histograms),
    )


def empty_state(rules: Rules, dtype: Any) -> State:
    """Nothing selected yet. NumPy."""
    front = rules.max_front if rules.objectives else 0
    width = len(rules.metrics)
    return State(
        np.full((front, width), np.inf, dtype),
        np.full(front, -1, np.int32),
        np.zeros((), bool),
        tuple(np.full((count, width), np.nan, dtype) for _, _, count in rules.tops),
        tuple(np.full(count, -1, np.int32) for _, _, count in rules.tops),
        tuple(np.zeros(bins + 2, np.int32) for _, _, _, bins, _ in rules.histograms),
        np.zeros(3, np.int32),
    )


def update(rules: Rules, state: State, values: Array, status: Array, point: Array) -> State:
    """State after a tile. Kernel.

    Args:
        rules: static.
        state: so far.
        values: `[n, M]`.
        status: int32 `[n]`, bits of `pimjax.status`.
        point: int32 `[n]`, number of each point within its chunk; negative: padding, no point.
    """
    real = point >= 0
    usable = real & ((status & FATAL) == 0) & jnp.isfinite(values).all(axis=1)
    allowed = usable
    for column, comparison, bound in rules.constraints:
        allowed = allowed & _COMPARE[comparison](values[:, column], bound)
    front, front_point, overflow = state.front, state.front_point, state.overflow
    if rules.objectives:
        front, front_point, overflow = _extend_front(rules, state, values, allowed, point)
    tops, top_points = [], []
    for (column, sign, count), kept, kept_point in zip(rules.tops, state.tops, state.top_points, strict=True):
        everything = jnp.concatenate([kept, values])
        ids = jnp.concatenate([kept_point, jnp.where(allowed, point, -1)])
        key = jnp.where(ids >= 0, sign * everything[:, column], jnp.inf)
        place = jnp.arange(len(ids), dtype=jnp.int32)
        chosen = jax.lax.sort((key, ids, place), num_keys=2)[2][:count]
        tops.append(everything[chosen])
        top_points.append(ids[chosen])
    histograms = tuple(
        old + _histogram(values[:, column], usable, start, stop, bins, log)
        for old, (column, start, stop, bins, log) in zip(state.histograms, rules.histograms, strict=True)
    )
    counts = state.counts + jnp.stack([real.sum(), (real & ~usable).sum(), allowed.sum()]).astype(jnp.int32)
    return State(front, front_point, overflow, tuple(tops), tuple(top_points), histograms, counts)


_COMPARE = {"<=": jnp.less_equal, "<": jnp.less, ">=": jnp.greater_equal, ">": jnp.greater}


def _histogram(values: Array, usable: Array, start: float, stop: float, bins: int, log: bool) -> Array:
    if log:
        share = (jnp.log(jnp.maximum(values, 1e-30)) - np.log(start)) / (np.log(stop) - np.log(start))
    else:
        share = (values - start) / (stop - start)
    place = jnp.clip(jnp.floor(share * bins), -1, bins).astype(jnp.int32) + 1
    return jnp.zeros(bins + 2, jnp.int32).at[place].add(usable.astype(jnp.int32))


def _objectives(rules: Rules, values: Any, real: Any) -> Any:
    """`[n, K]`, smaller is better; infinity where there is no point."""
    columns = [sign * values[:, column] for column, sign in rules.objectives]
    module = np if isinstance(values, np.ndarray) else jnp
    return module.where(real[:, None], module.stack(columns, axis=1), np.inf)


def _beaten(points: Any, ids: Any, others: Any, other_ids: Any) -> Any:
    """bool [n]: some other is nowhere worse and somewhere better, or equal with a lower number."""
    module = np if isinstance(points, np.ndarray) else jnp
    no_worse, better = module.asarray(other_ids >= 0)[None, :], other_ids[None, :] < ids[:, None]
    for goal in range(points.shape[1]):  # one objective after the other: long vectors
        mine, theirs = points[:, goal][:, None], others[:, goal][None, :]
        no_worse = no_worse & (theirs <= mine)
        better = better | (theirs < mine)
    return (no_worse & better).any(axis=1)


def _extend_front(
    rules: Rules, state: State, values: Array, allowed: Array, point: Array
) -> tuple[Array, Array, Array]:
    size, number = rules.max_front, len(values)
    block = min(number, max(_BLOCK, number >> 10))
    goals = _objectives(rules, values, allowed)

    def pruned(waiting: Array, front: Array, ids: Array, references: int = _REFERENCES) -> Array:
        """Without what a few points of the front beat."""
        filled = jnp.maximum((ids >= 0).sum(), 1)
        chosen = (jnp.arange(references) * filled) // references
        return waiting & ~_beaten(goals, point, _objectives(rules, front, ids >= 0)[chosen], ids[chosen])

    def thinned(waiting: Array) -> Array:
        """Without what the tile's own best points in some directions beat: most of a tile while the front is poor."""
        low = jnp.min(goals, axis=0)
        spread = jnp.maximum(jnp.max(jnp.where(allowed[:, None], goals, low[None]), axis=0) - low, 1e-30)
        weights = np.random.default_rng(0).dirichlet(np.full(len(rules.objectives), 0.7), _DIRECTIONS)
        weights = np.concatenate([np.eye(len(rules.objectives)), weights]).astype(goals.dtype)
        scaled = jnp.where(allowed[:, None], (goals - low[None]) / spread[None], jnp.inf)
        best = jnp.argmin(jnp.stack([(scaled * w[None]).sum(axis=1) for w in jnp.asarray(weights)]), axis=1)
        best_ids = jnp.where(allowed[best], point[best], -1)
        return waiting & ~_beaten(goals, point, goals[best], best_ids)

    def step(carry):
        waiting, front, ids, overflow = carry
        chosen = jnp.nonzero(waiting, size=block, fill_value=number)[0]
        there = chosen < number
        safe = jnp.minimum(chosen, number - 1)
        new, new_ids = values[safe], jnp.where(there, point[safe], -1)
        both, both_ids = jnp.concatenate([front, new]), jnp.concatenate([ids, new_ids])
        old_goals, new_goals = _objectives(rules, front, ids >= 0), _objectives(rules, new, there)
        both_goals = jnp.concatenate([old_goals, new_goals])
        keep_old = (ids >= 0) & ~_beaten(old_goals, ids, new_goals, new_ids)
        keep_new = there & ~_beaten(new_goals, new_ids, both_goals, both_ids)
        keep = jnp.concatenate([keep_old, keep_new])
        place = jnp.nonzero(keep, size=size, fill_value=len(keep))[0]
        filled = place < len(keep)
        place = jnp.minimum(place, len(keep) - 1)
        front = jnp.where(filled[:, None], both[place], jnp.inf)
        ids = jnp.where(filled, both_ids[place], -1)
        waiting = waiting.at[chosen].set(False, mode="drop")
        return pruned(waiting, front, ids), front, ids, overflow | (keep.sum() > size)

    # cheap sieves first: once the front is good, a few of its points beat whole tiles
    waiting = pruned(allowed, state.front, state.front_point, _FEW_REFERENCES)
    fine = functools.partial(pruned, front=state.front, ids=state.front_point)
    waiting = jax.lax.cond(waiting.any(), fine, lambda waiting: waiting, waiting)
    waiting = jax.lax.cond(waiting.sum() > block, thinned, lambda waiting: waiting, waiting)
    start = (waiting, state.front, state.front_point, state.overflow)
    _, front, ids, overflow = jax.lax.while_loop(lambda carry: carry[0].any(), step, start)
    return front, ids, overflow


class Selected(NamedTuple):
    """A selection on the host: any number of states, chunks or processes together. Points are global numbers."""

    front: HostArray  # [n, M]
    front_point: HostArray  # int64 [n]
    overflow: bool
    tops: tuple[HostArray, ...]
    top_points: tuple[HostArray, ...]
    histograms: tuple[HostArray, ...]  # int64
    counts: HostArray  # int64 [3]


def merge(rules: Rules, parts: list[Selected]) -> Selected:
    """One selection from several. Associative; the order of `parts` does not matter."""
    front = np.concatenate([part.front for part in parts])
    points = np.concatenate([part.front_point for part in parts])
    if rules.objectives and len(points):
        keep = _non_dominated(_objectives(rules, front, np.ones(len(points), bool)), points)
        front, points = front[keep], points[keep]
        order = np.argsort(points)
        front, points = front[order], points[order]
    tops, top_points = [], []
    for index, (column, sign, count) in enumerate(rules.tops):
        values = np.concatenate([part.tops[index] for part in parts])
        ids = np.concatenate([part.top_points[index] for part in parts])
        order = np.lexsort((ids, sign * values[:, column]))[:count]
        tops.append(values[order])
        top_points.append(ids[order])
    return Selected(
        front,
        points,
        any(part.overflow for part in parts),
        tuple(tops),
        tuple(top_points),
        tuple(
            np.asarray(np.sum([part.histograms[i] for part in parts], axis=0, dtype=np.int64))
            for i in range(len(rules.histograms))
        ),
        np.asarray(np.sum([part.counts for part in parts], axis=0, dtype=np.int64)),
    )


def _non_dominated(goals: HostArray, ids: HostArray) -> HostArray:
    """bool [n], points that no other beats. In order of the first objective, in blocks."""
    order = np.lexsort((ids, *goals.T[::-1]))
    keep = np.zeros(len(ids), bool)
    kept = np.zeros(0, int)
    for start in range(0, len(order), 512):
        block = order[start : start + 512]
        pool = np.concatenate([kept, block])  # only earlier points in this order, or the block itself, can beat one
        alive = block[~_beaten(goals[block], ids[block], goals[pool], ids[pool])]
        keep[alive] = True
        kept = np.concatenate([kept, alive])
    return keep


def to_host(state: State, number: Any) -> list[Selected]:
    """States of all devices (leading axis) with chunk-local points turned into global ones by `number`."""
    arrays = jax.tree.map(np.asarray, state)
    found = []
    for device in range(len(arrays.counts)):
        one = jax.tree.map(lambda leaf, i=device: leaf[i], arrays)
        used = one.front_point >= 0
        found.append(
            Selected(
                one.front[used],
                number(one.front_point[used]),
                bool(one.overflow),
                tuple(values[ids >= 0] for values, ids in zip(one.tops, one.top_points, strict=True)),
                tuple(number(ids[ids >= 0]) for ids in one.top_points),
                tuple(counts.astype(np.int64) for counts in one.histograms),
                one.counts.astype(np.int64),
            )
        )
    return found


@functools.lru_cache(maxsize=32)
def select_program(rules: Rules, mesh: Any) -> Any:
    """Jitted, sharded `update` over a tile `{field: [lanes, columns]}`; the state is donated."""
    from jax.sharding import PartitionSpec

    from pimjax.batch.tile import AXIS

    split, whole = PartitionSpec(AXIS), PartitionSpec()

    def one(state, fields, lanes, bounds):
        # bounds int32 [5]: first lane of the chunk, end lane, first column, columns of the tile, columns of the chunk
        state = jax.tree.map(lambda leaf: leaf[0], state)
        width = fields["status"].shape[1]
        column = jnp.arange(width, dtype=jnp.int32)
        number = (lanes - bounds[0])[:, None] * bounds[4] + (bounds[2] + column)[None, :]
        real = (lanes < bounds[1])[:, None] & (column < bounds[3])[None, :]
        point = jnp.where(real, number, -1).reshape(-1)
        values = jnp.stack([fields[name].reshape(-1) for name in rules.metrics], axis=1)
        state = update(rules, state, values, fields["status"].reshape(-1), point)
        return jax.tree.map(lambda leaf: leaf[None], state)

    mapped = jax.shard_map(one, mesh=mesh, in_specs=(split, split, split, whole), out_specs=split, check_vma=False)
    return jax.jit(mapped, donate_argnums=(0,))
