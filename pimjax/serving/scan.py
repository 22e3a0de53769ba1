"""The loop over steps as a compiled scan with fixed slots: one rank, batched over chips, rates and seeds, differentiable.

Requests that have started and not finished stand in slots in the order of their arrival: first those that run, then those
that lost their memory. That order is all the scheduler needs (:mod:`pimjax.serving.exact`): the youngest is the last, and
the queue behind the slots is a single number, the next request. So every rule becomes a running sum:

- running requests get tokens while the sum of needs before them leaves some of the budget;
- those are kept whose blocks, with all blocks before them, fit; the others are preempted;
- waiting ones start while all before them did.

Derivatives: times are sums of step costs, which are linear between grid points of the table, and the derivative is that of
the schedule as it is. It is exact almost everywhere; where a change of a step's length would change who is in a batch
(an arrival that coincides with a step's start, a full memory), it says nothing of the jump.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pimjax.serving.step_table import StepTable


class ScanState(NamedTuple):
    """State between steps; `S` slots, `R` requests and one scratch entry."""

    slot: Any  # int [S] request in each slot; R is none
    computed: Any  # int [S] tokens with keys and values
    generated: Any  # int [S]
    blocks: Any  # int [S]
    running: Any  # int [] leading slots that run
    live: Any  # int [] leading slots in use
    upcoming: Any  # int [] next request
    now: Any  # float [] ns
    visible: Any  # float [] ns, start of the previous step
    finished: Any  # int []
    steps: Any  # int [] steps that did something
    step_ns: Any  # float [] durations of all of them
    scheduled_ns: Any  # float [R + 1]
    first_ns: Any  # float [R + 1]
    finish_ns: Any  # float [R + 1]
    preemptions: Any  # int [R + 1]
    energy_nj: Any  # float [R + 1]


class ScanInputs(NamedTuple):
    """One lane: requests (padded by one that never arrives), limits, costs."""

    arrival: Any  # float [R + 1]
    prompt: Any  # int [R + 1]
    output: Any  # int [R + 1]
    routing: Any  # int [R + 1]
    max_num_seqs: Any
    max_tokens: Any
    block: Any
    kv_blocks: Any
    chunked: Any  # bool
    reserve: Any  # bool
    asynchronous: Any  # bool
    table: StepTable
    visits: Any  # int8 [Q, T, L, E] experts of recorded tokens, or None
    lengths: Any  # int [Q], or None
    members: Any  # float [L, E, G] 1 where an expert belongs to a group, or None


def initial_state(requests: int, slots: int, dtype: Any) -> ScanState:
    """Before the first step."""
    ints, none = jnp.zeros(slots, jnp.int32), jnp.full(requests + 1, jnp.nan, dtype)
    zero, time = jnp.int32(0), jnp.zeros((), dtype)
    return ScanState(
        slot=ints + requests,
        computed=ints,
        generated=ints,
        blocks=ints,
        running=zero,
        live=zero,
        upcoming=zero,
        now=time,
        visible=time,
        finished=zero,
        steps=zero,
        step_ns=time,
        scheduled_ns=none,
        first_ns=none,
        finish_ns=none,
        preemptions=jnp.zeros(requests + 1, jnp.int32),
        energy_nj=jnp.zeros(requests + 1, dtype),
    )


def run_steps(state: ScanState, lane: ScanInputs, *, length: int) -> ScanState:
    """`length` (static) further steps of one lane. Kernel: unbatched; steps after the last request change nothing."""

    def body(state: ScanState, _: None) -> tuple[ScanState, None]:
        return _step(state, lane), None

    return jax.lax.scan(body, state, None, length=length)[0]


def _step(state: ScanState, lane: ScanInputs) -> ScanState:
    requests = len(lane.arrival) - 1
    place = jnp.arange(len(state.slot), dtype=jnp.int32)
    is_live, is_running = place < state.live, place < state.running
    done = is_live & (state.generated == lane.output[state.slot])
    active = state.finished < requests
    # idle: nothing started is unfinished, and nothing had come when the last step began
    next_arrival = lane.arrival[state.upcoming]
    idle = active & ~(is_live & ~done).any() & (next_arrival > state.visible)
    now = jnp.where(idle, jnp.maximum(state.now, next_arrival), state.now)
    visible = jnp.where(lane.asynchronous & ~idle, state.visible, now)
    # nothing is under way: what was done has left, and the slots are empty
    num_running, num_live = (jnp.where(idle, 0, number) for number in (state.running, state.live))
    is_live, is_running, done = place < num_live, place < num_running, done & ~idle

    # running requests: budget, then memory
    need = jnp.where(is_running & ~done, lane.prompt[state.slot] + state.generated - state.computed, 0)
    take = _shares(need, lane.max_tokens)
    held = jnp.where(take > 0, _ceil(state.computed + take, lane.block), state.blocks)
    kept = is_running & (jnp.cumsum(jnp.where(is_running, held, 0)) <= lane.kv_blocks)
    preempted = is_running & ~kept
    loses = preempted & ~done
    any_preempted = preempted.any()
    take, held = jnp.where(kept, take, 0), jnp.where(kept, held, 0)
    computed = jnp.where(loses, 0, state.computed)

    # waiting requests: those that lost their memory, then new ones
    fresh = jnp.minimum(state.upcoming + place - num_live, requests)
    slot = jnp.where(is_live, state.slot, fresh)
    generated = jnp.where(is_live, state.generated, 0)
    computed = jnp.where(is_live, computed, 0)
    waits = place >= num_running
    wanted = jnp.where(waits, lane.prompt[slot] + generated, 0)
    part = jnp.where(waits, _shares(wanted, lane.max_tokens - take.sum()), 0)
    own = _ceil(part, lane.block)
    before = jnp.cumsum(own) - own + held.sum()
    reserved = jnp.where(lane.reserve, _ceil(wanted, lane.block), own)
    fine = (lane.arrival[slot] <= visible) & (part > 0) & (lane.chunked | (part == wanted))
    fine &= (before + reserved <= lane.kv_blocks) & (place < lane.max_num_seqs)
    starts = waits & (jnp.cumsum(waits & ~fine) == 0) & ~any_preempted & active
    take, need = jnp.where(starts, part, take), jnp.where(starts, wanted, need)
    held = jnp.where(starts, own, held)
    live = jnp.maximum(num_live, num_running + starts.sum(dtype=jnp.int32))
    is_live = place < live
    upcoming = state.upcoming + live - num_live

    tokens = take.sum()
    works = active & (tokens > 0)
    emits = works & (take > 0) & (take == need)
    decodes = (take > 0) & (need == 1) & (computed >= lane.prompt[slot])
    ns, nj = _cost(lane, slot, computed, take, emits, decodes)
    ns, nj = jnp.where(works, ns, 0.0), jnp.where(works, nj, 0.0)
    end = now + ns
    computed = computed + take
    generated = generated + emits
    ends = emits & (generated == lane.output[slot])
    # what was done before this step leaves; without asynchronous scheduling what it finishes too
    leaves = done | (ends & ~lane.asynchronous)
    runs = (kept | starts) & ~leaves
    stays = is_live & ~leaves
    target = jnp.where(stays, jnp.cumsum(stays) - 1, len(place))

    def moved(values: Any, fill: Any) -> Any:
        return jnp.full_like(values, fill).at[target].set(values, mode="drop")

    write = jnp.where(is_live, slot, requests)
    energy = jnp.where(works, nj / jnp.maximum(tokens, 1), 0.0) * take
    began = starts & jnp.isnan(state.scheduled_ns[slot])

    def stamped(times: Any, mask: Any, time: Any) -> Any:
        return times.at[jnp.where(mask, slot, requests)].set(time)

    new = ScanState(
        slot=moved(slot, requests),
        computed=moved(computed, 0),
        generated=moved(generated, 0),
        blocks=moved(held, 0),
        running=runs.sum(dtype=jnp.int32),
        live=stays.sum(dtype=jnp.int32),
        upcoming=upcoming,
        now=end,
        visible=now,
        finished=state.finished + ends.sum(dtype=jnp.int32),
        steps=state.steps + works,
        step_ns=state.step_ns + ns,
        scheduled_ns=stamped(state.scheduled_ns, began, now),
        first_ns=stamped(state.first_ns, emits & (generated == 1), end),
        finish_ns=stamped(state.finish_ns, ends, end),
        preemptions=state.preemptions.at[jnp.where(loses, slot, requests)].add(1),
        energy_nj=state.energy_nj.at[write].add(energy),
    )
    return jax.tree.map(lambda leaf, old: leaf.astype(old.dtype), new, state)  # sums are wider than what they add up


def _shares(need: Any, budget: Any) -> Any:
    """What each gets while a budget lasts, in order."""
    before = jnp.cumsum(need) - need
    return jnp.clip(budget - before, 0, need)


def _ceil(tokens: Any, block: Any) -> Any:
    return (tokens + block - 1) // block


def _cost(lane: ScanInputs, slot: Any, computed: Any, take: Any, emits: Any, decodes: Any) -> tuple[Any, Any]:
    """ns and nJ of a step."""
    table, dtype = lane.table, lane.arrival.dtype
    count = decodes.sum()
    tokens = take.sum().astype(dtype)
    mean = jnp.where(decodes, computed, 0).sum() / jnp.maximum(count, 1).astype(dtype)
    at = _interval(table.decode_grid, count.astype(dtype))
    chunks = (take > 0) & ~decodes
    contexts = _interval(table.context_grid, mean)
    decode = _across(table.decode, at, contexts)
    decode += jnp.where(chunks.any(), _across(table.beside, at, contexts), 0.0)
    if lane.visits is not None:
        position = computed % lane.lengths[lane.routing[slot] % len(lane.lengths)]
        visits = lane.visits[lane.routing[slot] % len(lane.lengths), position]  # [S, L, E]
        counts = jnp.sum(visits, axis=0, where=decodes[:, None, None], dtype=jnp.int32).astype(jnp.float32)
        peak = jnp.einsum("le,leg->lg", counts, lane.members).max(axis=-1).sum().astype(dtype)
        distinct = (counts > 0).sum().astype(dtype)
        decode += _along(table.peak_slope, at) * (peak - _along(table.mean_peak, at))
        decode += _along(table.distinct_slope, at) * (distinct - _along(table.mean_distinct, at))
    cost = jnp.where(count > 0, decode, 0.0)
    cost += _along(table.tokens, _interval(table.tokens_grid, tokens))
    cost += _along(table.samples, _interval(table.samples_grid, emits.sum().astype(dtype)))
    cost += _along(table.joint, _interval(table.joint_grid, tokens))
    start, length = computed.astype(dtype), take.astype(dtype)
    piece = _across(table.chunk, _interval(table.length_grid, length), _interval(table.start_grid, start))
    piece += _along(table.prefix, _interval(table.prefix_grid, start + length))
    piece -= _along(table.prefix, _interval(table.prefix_grid, start))
    cost += jnp.where(chunks, piece, 0.0).sum(axis=-1)
    return cost[0], cost[1]


def _interval(grid: Any, x: Any) -> tuple[Any, Any]:
    """Grid point below x and the weight of the next; constant outside."""
    if len(grid) == 1:
        return jnp.zeros_like(x, jnp.int32), None
    place = jnp.clip(jnp.searchsorted(grid, x, side="right", method="scan_unrolled") - 1, 0, len(grid) - 2)
    low, high = grid[place], grid[place + 1]
    return place, jnp.clip((x - low) / (high - low), 0.0, 1.0)


def _between(low: Any, high: Any, weight: Any) -> Any:
    """From one to the other; the weight has the trailing axes of both."""
    weight = weight.reshape((1,) * (low.ndim - weight.ndim) + weight.shape)
    return low * (1.0 - weight) + high * weight


def _along(values: Any, at: tuple[Any, Any]) -> Any:
    """`[..., grid]` between two entries of the last axis."""
    place, weight = at
    low = values[..., place]
    return low if weight is None else _between(low, values[..., place + 1], weight)


def _across(values: Any, row: tuple[Any, Any], column: tuple[Any, Any]) -> Any:
    """`[2, rows, columns]` between four entries."""

    def of_row(index: Any) -> Any:
        place, weight = column
        low = values[:, index, place]
        return low if weight is None else _between(low, values[:, index, place + 1], weight)

    place, weight = row
    low = of_row(place)
    return low if weight is None else _between(low, of_row(place + 1), weight)
