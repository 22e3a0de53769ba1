"""Counts of many passes at once: schedules and their slots on the device, the same numbers as `count_pass` on the host.

A schedule does not depend on hardware, so its counts are made once per (pass, layer, plan) and every hardware point
reads them. One compiled program per policy and padded size; on a CPU each worker thread runs one schedule after the
other (they stay in cache, and a compiled program lets other threads run), on an accelerator thousands run together.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from pimjax.array_typing import Array, HostArray
from pimjax.chips.multiplexed.run_passes import PROFILE_ROWS, TAIL_SLOTS, PassCounts
from pimjax.config.plan import PlanConfig
from pimjax.errors import CapacityError
from pimjax.schedule import IDLE
from pimjax.schedule.load_matrix import load_matrix
from pimjax.schedule.place import place
from pimjax.schedule.placement import Placement, loads_per_slot, open_per_slot, returns_per_slot

_LANES = {"cpu": 1, "gpu": 4096, "tpu": 1024}  # schedules in flight in one program
_CHUNK = {"cpu": 16, "gpu": 4096, "tpu": 1024}  # schedules of one launch


class Pass(NamedTuple):
    """One pass of a run and who shares peripherals in it."""

    choices: HostArray  # bool [L, T, E], L MoE layers
    group_of_expert: HostArray  # int [L, E]
    num_groups: int


def can_count(plan: PlanConfig, tokens: int) -> bool:
    """Whether :func:`count_passes` knows a plan: the whole pass is one window.

    >>> can_count(PlanConfig(), 512), can_count(PlanConfig(window_tokens=64), 512)
    (True, False)
    """
    return plan.window_tokens is None or plan.window_tokens >= tokens


def count_passes(
    plan: PlanConfig, passes: Sequence[Pass], *, groups: int, profile: bool = False, shared_links: bool = True
) -> list[PassCounts]:
    """Counts of every pass. Host function.

    Args:
        plan: policy, limits; one window per pass (:func:`can_count`).
        passes: of any lengths; equal ones share a program.
        groups: G of the histograms, at least the groups of any pass.
        profile: also slot by slot.
        shared_links: also slots by (loads, busy groups); else `busy_hist` is zero.

    Returns:
        float64 counts in the order of `passes`, equal to those of `count_pass`.

    Raises:
        CapacityError: a pass has more groups than `groups`.

    >>> choices = np.array([[[1, 1, 0, 0], [1, 0, 1, 0]]], bool)
    >>> made = count_passes(PlanConfig(policy="compact"), [Pass(choices, np.array([[0, 0, 1, 1]]), 2)], groups=2)
    >>> made[0].rows["makespan"].tolist(), made[0].rows["load_hist"].tolist()
    ([3.0], [[0.0, 2.0, 0.0]])
    """
    buckets: dict[tuple[int, int], list[int]] = {}
    for index, one in enumerate(passes):
        if one.num_groups > groups:
            raise CapacityError(f"a pass has {one.num_groups} groups, the histograms {groups}: build a larger Capacity")
        buckets.setdefault((_rounded(one.choices.shape[1]), one.num_groups), []).append(index)
    done: dict[int, PassCounts] = {}
    for (tokens, num_groups), members in buckets.items():
        chosen = [passes[index] for index in members]
        counted = _count_bucket(plan, chosen, tokens, num_groups, groups, profile, shared_links)
        done.update(zip(members, counted, strict=True))
    return [done[index] for index in range(len(passes))]


def _count_bucket(
    plan: PlanConfig,
    passes: list[Pass],
    tokens: int,
    num_groups: int,
    groups: int,
    profile: bool,
    shared_links: bool,
) -> list[PassCounts]:
    """Passes of one padded length and number of groups."""
    layers = np.array([len(one.choices) for one in passes])
    owner = np.repeat(np.arange(len(passes)), layers)
    layer = np.concatenate([np.arange(count) for count in layers]) if len(passes) else np.zeros(0, int)
    length = np.array([one.choices.shape[1] for one in passes], np.int32)
    jobs = len(owner)
    slots = max([1, *(_most_slots(plan, one) for one in passes)])
    table = _rounded(slots)
    run = functools.partial(
        _count,
        limit=None if plan.max_open_tokens is None else jnp.int32(plan.max_open_tokens),
        policy=plan.policy,
        num_groups=num_groups,
        table_slots=table,
        hold=plan.input_hold,
        profile=profile,
        shared_links=shared_links,
    )
    platform = jax.default_backend()
    size = min(_CHUNK.get(platform, 1024), _rounded(jobs))

    def launch(start: int) -> dict[str, HostArray]:
        index = np.minimum(np.arange(start, start + size), jobs - 1)
        experts = passes[0].choices.shape[2]
        choices = np.zeros((size, tokens, experts), bool)
        maps = np.empty((size, experts), np.int32)
        for place_, job in enumerate(index):
            one = passes[owner[job]]
            choices[place_, : length[owner[job]]] = one.choices[layer[job]]
            maps[place_] = one.group_of_expert[layer[job]]
        with jax.enable_x64(False):
            made = run(choices, maps, length[owner[index]], lanes=min(size, _LANES.get(platform, 1)))
            return {name: np.asarray(value)[: jobs - start] for name, value in made.items()}

    starts = range(0, jobs, size)
    if len(starts) > 1 and platform == "cpu":
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            parts = [launch(0), *pool.map(launch, starts[1:])]  # the first one compiles for all
    else:
        parts = [launch(start) for start in starts]
    if not parts:
        return []
    whole = {name: np.concatenate([part[name] for part in parts]).astype(np.float64) for name in parts[0]}
    return _split(whole, layers, length, groups, slots)


def _split(
    whole: dict[str, HostArray], layers: HostArray, length: HostArray, groups: int, slots: int
) -> list[PassCounts]:
    """Rows of all layers -> one PassCounts per pass, histograms padded to `groups`."""
    missing = groups + 1 - whole["load_hist"].shape[-1]
    whole["load_hist"] = np.pad(whole["load_hist"], ((0, 0), (0, missing)))
    if "busy_hist" in whole:
        whole["busy_hist"] = np.pad(whole["busy_hist"], ((0, 0), (0, missing), (0, missing)))
    profiles = whole.pop("profile", None)
    ends = np.cumsum(layers)
    found = []
    for index, end in enumerate(ends):
        rows = {name: value[end - layers[index] : end] for name, value in whole.items()}
        if "busy_hist" not in rows:
            rows["busy_hist"] = np.zeros((layers[index], groups + 1, groups + 1))
        own = None
        if profiles is not None:
            used = int(rows["makespan"].max(initial=0))
            own = np.moveaxis(profiles[end - layers[index] : end, :, :used], 1, 0)
        found.append(PassCounts(int(length[index]), rows, own))
    return found


def _rounded(size: int) -> int:
    """The next power of two, or three quarters of it: few programs serve all sizes.

    >>> [_rounded(size) for size in (1, 9, 33, 97, 511)]
    [8, 12, 48, 128, 512]
    """
    power = max(8, 1 << (size - 1).bit_length())
    return power * 3 // 4 if power > 8 and size <= power * 3 // 4 else power


def _most_slots(plan: PlanConfig, one: Pass) -> int:
    """Slots of the longest schedule of a pass."""
    member = one.group_of_expert[:, :, None] == np.arange(one.num_groups)
    if plan.policy == "token_wise" or plan.max_open_tokens is not None:
        loads = np.matmul(one.choices.astype(np.float32), member.astype(np.float32))  # [L, T, G]
        return int(loads.max(axis=2, initial=0).sum(axis=1).max(initial=0))
    visits = one.choices.sum(axis=1, dtype=np.int32)
    return int(np.einsum("le,leg->lg", visits, member.astype(np.int32)).max(initial=0))


@functools.partial(
    jax.jit, static_argnames=("policy", "num_groups", "table_slots", "hold", "profile", "shared_links", "lanes")
)
def _count(choices, maps, num_tokens, *, lanes, **options):
    """Counts of layers `[N, T, E]`; leaves `[N, ...]`, int32."""
    limit = options.pop("limit")

    def one(job):
        return count_layer(*job, limit=limit, **options)

    return lax.map(one, (choices, maps, num_tokens), batch_size=None if lanes == 1 else lanes)


def count_layer(
    choices: Array,
    group_of_expert: Array,
    num_tokens: Array,
    *,
    limit: Array | None,
    policy: str,
    num_groups: int,
    table_slots: int,
    hold: bool,
    profile: bool,
    shared_links: bool,
) -> dict[str, Array]:
    """Counts of one layer of one pass. Kernel: pure, unbatched.

    Args:
        choices: bool `[T, E]`.
        group_of_expert: int32 `[E]`.
        num_tokens: int32 `[]`, rows in use.
        limit: int32 `[]`, tokens begun and not finished (`packed`), or None.
        policy: static.
        num_groups: static G.
        table_slots: static, at least the makespan.
        hold: static, groups keep their last token's activations.
        profile: static, also `profile` `[PROFILE_ROWS, S]`.
        shared_links: static, also `busy_hist` `[G+1, G+1]`.

    Returns:
        int32 fields of `PassWindows` by name.
    """
    tokens, experts = choices.shape
    loads = load_matrix(choices, group_of_expert, num_groups, num_tokens)
    placed = place(loads, num_tokens, limit, policy=policy, bound=tokens * experts, num_slots=table_slots)
    makespan = placed.makespan
    slot_loads = loads_per_slot(_without_held(placed) if hold else placed)
    busy = returns_per_slot(placed)
    slot = jnp.arange(table_slots, dtype=jnp.int32)
    later = (slot >= 1) & (slot < makespan)
    count = jnp.arange(num_groups + 1, dtype=jnp.int32)
    passes = loads.sum(axis=0, dtype=jnp.int32)
    real = jnp.arange(tokens, dtype=jnp.int32) < num_tokens
    final = jnp.maximum(num_tokens - 1, 0)
    at = makespan - 1 - jnp.arange(TAIL_SLOTS, dtype=jnp.int32)
    inside, near = at >= 0, jnp.maximum(at, 0)
    out = {
        "passes": passes.sum(dtype=jnp.int32),
        "makespan": makespan,
        "loads": slot_loads.sum(dtype=jnp.int32),
        "first_loads": slot_loads[0],
        "load_hist": ((slot_loads[None] == count[:, None]) & later[None]).sum(axis=1, dtype=jnp.int32),
        "open_max": open_per_slot(placed).max(),
        "tail_adds": _tail_adds(placed, passes, at, inside, near),
        "tail_loads": jnp.where(at >= 1, slot_loads[near], 0),
        "tail_busy": jnp.where(inside, busy[near], 0),
        "unrouted": (real & (passes == 0)).sum(dtype=jnp.int32),
        "last_token_slots": jnp.where(passes[final] > 0, placed.stop[final] - placed.first[final], 0),
    }
    if shared_links:
        joint = jnp.zeros((num_groups + 1, num_groups + 1), jnp.int32)
        out["busy_hist"] = joint.at[slot_loads, busy].add(later.astype(jnp.int32))
    if profile:
        out["profile"] = _profile(placed, passes, slot_loads, busy, slot)
    return out


def _without_held(placed: Placement) -> Placement:
    """The table without the passes whose group holds the token already."""
    groups, slots = placed.tokens.shape
    index = jnp.broadcast_to(jnp.arange(slots, dtype=jnp.int32)[None], (groups, slots))
    last = lax.cummax(jnp.where(placed.tokens == IDLE, -1, index), axis=1)
    before = jnp.concatenate([jnp.full((groups, 1), -1, jnp.int32), last[:, :-1]], axis=1)
    held = jnp.where(before >= 0, jnp.take_along_axis(placed.tokens, jnp.maximum(before, 0), axis=1), IDLE)
    return placed._replace(tokens=jnp.where(held == placed.tokens, IDLE, placed.tokens))


def _tail_adds(placed: Placement, passes: Array, at: Array, inside: Array, near: Array) -> Array:
    """int32 [W]: most additions that one token's results of the last 1, 2, .. W slots cause (the first is free)."""
    rows = jnp.where(inside[None], placed.tokens[:, near], IDLE)  # [G, W]
    token = jnp.arange(passes.shape[0], dtype=jnp.int32)
    results, found = jnp.zeros_like(passes), []
    for place_ in range(TAIL_SLOTS):
        results = results + (rows[:, place_][:, None] == token[None]).sum(axis=0, dtype=jnp.int32)
        is_first = (placed.first >= at[place_]) & (results > 0)
        found.append((results - is_first).max())
    return jnp.stack(found)


def _profile(placed: Placement, passes: Array, slot_loads: Array, busy: Array, slot: Array) -> Array:
    """int32 [PROFILE_ROWS, S]: rows of `SlotProfile`."""
    used = (passes > 0).astype(jnp.int32)
    begins = jnp.zeros_like(slot).at[placed.first].add(used, mode="drop")
    ends = jnp.zeros_like(slot).at[jnp.maximum(placed.stop - 1, 0)].add(used, mode="drop")
    at_work = placed.tokens != IDLE
    same = (placed.tokens[:, None] == placed.tokens[None]).sum(axis=1, dtype=jnp.int32)  # [G, S]
    is_first = placed.first[jnp.maximum(placed.tokens, 0)] == slot[None]
    chains = jnp.where(at_work, same - is_first, 0).max(axis=0)
    opens = ((slot == 0) & (placed.makespan > 0)).astype(jnp.int32)
    rows = (slot_loads, busy, busy - begins, chains, ends, opens)
    assert len(rows) == PROFILE_ROWS
    return jnp.stack(rows)
