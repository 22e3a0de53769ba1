"""SRAM in front of DRAM: a fully associative write-back cache of equal lines, LRU or LFU, as a scan.

The stream of accesses is data; so is the capacity, which is how one compiled program gives a whole hit-rate curve.
A write miss allocates without reading (lines are written whole); a dirty line that loses its place is written back.
With capacity 0 every access goes to DRAM.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from pimjax import checks
from pimjax.array_typing import Array, ArrayLike
from pimjax.errors import ConfigError

#: Line number that stands for "no access" (padding of a stream) and "no line" (an empty place).
NO_LINE = -1
POLICIES = ("lru", "lfu")
_LINES = checks.numbers(NO_LINE, dims=1, integer=True)
_ONE = checks.numbers(0, dims=0, integer=True)
_POLICY = checks.numbers(0, len(POLICIES) - 1, dims=0, integer=True)
_PLACES = checks.whole(1, 2**24)


@struct.dataclass
class SramState:
    """Content of the SRAM; ``W`` places, of which the first `capacity` are used.

    Attributes:
      line: int32 ``[W]``, line in each place; ``NO_LINE`` if empty.
      last_use: int32 ``[W]``, number of the access that touched it last.
      uses: int32 ``[W]``, accesses since it came (LFU forgets a line that leaves).
      dirty: bool ``[W]``, written since it came.
      clock: int32 ``[]``, accesses so far.
    """

    line: jax.Array
    last_use: jax.Array
    uses: jax.Array
    dirty: jax.Array
    clock: jax.Array


class AccessResult(NamedTuple):
    """One access (a scan adds a leading axis ``A``); all false and ``NO_LINE`` for padding.

    Attributes:
      hit: bool, the line was in the SRAM.
      evicted: int32, line that lost its place, or ``NO_LINE``.
      written_back: bool, DRAM is written: a dirty line left, or (capacity 0) the access itself is a write.
      fetched: bool, DRAM is read: a read that missed.
    """

    hit: Array
    evicted: Array
    written_back: Array
    fetched: Array


class HierarchyTraffic(NamedTuple):
    """Counts of one stream, int32: accesses, hits, lines read from and written to DRAM, dirty lines left at the end."""

    accesses: Array
    hits: Array
    dram_reads: Array
    dram_writes: Array
    dirty_left: Array


def sram_init(places: int) -> SramState:
    """An empty SRAM of `places` (static) lines.

    >>> sram_init(2).line.tolist()
    [-1, -1]
    """
    zero = jnp.zeros(places, jnp.int32)
    return SramState(jnp.full(places, NO_LINE, jnp.int32), zero, zero, jnp.zeros(places, bool), jnp.int32(0))


def sram_access(
    state: SramState, line: ArrayLike, is_write: ArrayLike, capacity: ArrayLike, policy: ArrayLike
) -> tuple[SramState, AccessResult]:
    """One access.

    A miss takes the lowest empty place; if there is none, LRU replaces the line used longest ago and LFU the one used
    least often since it came, the one used longest ago among equals.

    Args:
      state: the SRAM.
      line: int32 ``[]``, 0 or more; ``NO_LINE`` does nothing.
      is_write: bool ``[]``.
      capacity: int ``[]``, lines that fit, at most ``W`` (more count as ``W``).
      policy: int ``[]``, index into :data:`POLICIES`.

    >>> state, first = sram_access(sram_init(2), 7, True, 1, 0)
    >>> state, second = sram_access(state, 8, False, 1, 0)
    >>> int(second.evicted), bool(second.written_back), bool(second.fetched)
    (7, True, True)
    """
    line, write = jnp.asarray(line, jnp.int32), jnp.asarray(is_write)
    places = state.line.shape[0]
    place = jnp.arange(places, dtype=jnp.int32)
    usable = place < capacity
    real = line != NO_LINE
    found = (state.line == line) & real
    hit = found.any()
    # Rank of each place for replacement: empty first, then by the policy; last_use is distinct, so no ties remain.
    empty = state.line == NO_LINE
    uses = jnp.where(jnp.asarray(policy) == POLICIES.index("lfu"), state.uses, 0)
    uses = jnp.where(empty, -1, uses)
    least = jnp.min(uses, where=usable, initial=jnp.iinfo(jnp.int32).max)
    candidate = usable & (uses == least)
    age = jnp.where(empty, place, state.last_use)
    victim = jnp.argmin(jnp.where(candidate, age, jnp.iinfo(jnp.int32).max)).astype(jnp.int32)
    fits = (jnp.asarray(capacity) > 0) & (places > 0)
    fills = real & ~hit & fits
    replaced = (place == victim) & fills
    touched = replaced | found
    clock = state.clock + real.astype(jnp.int32)
    evicted = jnp.where(fills, state.line[victim], NO_LINE)
    back = (fills & state.dirty[victim] & (evicted != NO_LINE)) | (real & ~fits & write)
    after = SramState(
        line=jnp.where(replaced, line, state.line),
        last_use=jnp.where(touched, clock, state.last_use),
        uses=jnp.where(replaced, 1, state.uses + found),
        dirty=jnp.where(replaced, write, state.dirty | (found & write)),
        clock=clock,
    )
    return after, AccessResult(hit, evicted, back, real & ~hit & ~write)


@checks.checked(ConfigError, lines=_LINES, is_write=checks.flags(dims=1), capacity=_ONE, policy=_POLICY, places=_PLACES)
def sram_run(
    lines: Array, is_write: Array, capacity: ArrayLike, policy: ArrayLike, *, places: int
) -> tuple[SramState, AccessResult]:
    """Run a stream through an empty SRAM.

    Args:
      lines: int32 ``[A]``; ``NO_LINE`` is padding.
      is_write: bool ``[A]``.
      capacity: int ``[]``, data.
      policy: int ``[]``, data.
      places: static ``W`` >= capacity.

    Returns:
      The final state and :class:`AccessResult` with leading axis ``A``.
    """

    def body(state: SramState, access: tuple[Array, Array]) -> tuple[SramState, AccessResult]:
        return sram_access(state, access[0], access[1], capacity, policy)

    return jax.lax.scan(body, sram_init(places), _stream(lines, is_write))


@checks.checked(ConfigError, lines=_LINES, is_write=checks.flags(dims=1), capacity=_ONE, policy=_POLICY, places=_PLACES)
def hierarchy_traffic(
    lines: Array, is_write: Array, capacity: ArrayLike, policy: ArrayLike, *, places: int
) -> HierarchyTraffic:
    """Counts of a stream, without keeping a record per access; arguments as :func:`sram_run`.

    Bytes are counts times the line size. Dirty lines left at the end are not written back yet.

    >>> counts = hierarchy_traffic(jnp.array([1, 2, 1, 2]), jnp.zeros(4, bool), 1, 0, places=2)
    >>> int(counts.hits), int(counts.dram_reads)
    (0, 4)
    """

    def body(carry: tuple[SramState, Array], access: tuple[Array, Array]) -> tuple[tuple[SramState, Array], None]:
        state, counts = carry
        state, out = sram_access(state, access[0], access[1], capacity, policy)
        one = jnp.stack([access[0] != NO_LINE, out.hit, out.fetched, out.written_back]).astype(jnp.int32)
        return (state, counts + one), None

    start = (sram_init(places), jnp.zeros(4, jnp.int32))
    (state, counts), _ = jax.lax.scan(body, start, _stream(lines, is_write))
    accesses, hits, reads, writes = counts
    return HierarchyTraffic(accesses, hits, reads, writes, state.dirty.sum(dtype=jnp.int32))


@checks.checked(
    ConfigError,
    lines=_LINES,
    is_write=checks.flags(dims=1),
    capacities=checks.numbers(0, dims=1, integer=True, filled=True),
    policy=checks.numbers(0, len(POLICIES) - 1, dims=(0, 1), integer=True),
    places=_PLACES,
)
def hit_rate_curve(
    lines: Array, is_write: Array, capacities: Array, policy: ArrayLike = 0, *, places: int
) -> HierarchyTraffic:
    """Counts at every capacity, in one vmapped call.

    Args:
      lines: int32 ``[A]``.
      is_write: bool ``[A]``.
      capacities: int32 ``[N]``, data.
      policy: int ``[]`` or ``[N]``, index into :data:`POLICIES`.
      places: static, the largest capacity.

    Returns:
      :class:`HierarchyTraffic` with leaves ``[N]``; hit rate = hits / accesses.

    >>> curve = hit_rate_curve(jnp.array([1, 2, 1, 2]), jnp.zeros(4, bool), jnp.array([0, 1, 2]), places=2)
    >>> curve.hits.tolist()
    [0, 0, 2]
    """
    lines, is_write = _stream(lines, is_write)
    capacities, policies = jnp.asarray(capacities, jnp.int32), jnp.asarray(policy, jnp.int32)
    if policies.ndim and policies.shape != capacities.shape:
        raise ConfigError(
            f"policy has shape {list(policies.shape)}, but there are {len(capacities)} capacities: give one, or one each"
        )
    return _curve(lines, is_write, capacities, jnp.broadcast_to(policies, capacities.shape), places=places)


@partial(jax.jit, static_argnames="places")
def _curve(lines: Array, is_write: Array, capacities: Array, policies: Array, *, places: int) -> HierarchyTraffic:
    run = partial(hierarchy_traffic, lines, is_write, places=places)
    return jax.vmap(run)(capacities, policies)


def _stream(lines: Array, is_write: Array) -> tuple[Array, Array]:
    lines, is_write = jnp.asarray(lines, jnp.int32), jnp.asarray(is_write).astype(bool)
    if lines.shape != is_write.shape:
        raise ConfigError(
            f"lines has {len(lines)} accesses and is_write {len(is_write)}: give one flag for each access"
        )
    return lines, is_write


__all__ = [
    "NO_LINE",
    "POLICIES",
    "AccessResult",
    "HierarchyTraffic",
    "SramState",
    "hierarchy_traffic",
    "hit_rate_curve",
    "sram_access",
    "sram_init",
    "sram_run",
]
