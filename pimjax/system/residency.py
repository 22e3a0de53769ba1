"""Weights that do not fit: the crossbars of a layer are a cache of its experts.

A chip that holds R of a layer's E experts writes an expert over another when a token needs one that is not there. A miss
costs the fetch or the writing, whichever takes longer. Runs of configurations (`system.residency: swap`) follow their tokens in
:mod:`pimjax.runs.residency`, where a token's experts are looked up together; here streams of single accesses, in the order of
ranks, run through the replacement of `pimjax.cache.hierarchy`, one lane per layer and capacity, from an empty cache. Of tokens
with one expert each both are the same.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pimjax import checks
from pimjax.array_typing import AnyArray, ArrayLike, HostArray
from pimjax.arrays import larger
from pimjax.cache.hierarchy import NO_LINE, POLICIES, sram_access, sram_init
from pimjax.circuit.component import Component
from pimjax.errors import ConfigError
from pimjax.trace.routing import RoutingTrace

SECONDS_PER_YEAR = 365.25 * 86_400
TILES = ("pcm", "sram")
_POSITIVE, _SIZE = checks.numbers(0, above=True), checks.numbers(0)


class Residency(NamedTuple):
    """Exact counts of a stream of expert accesses; int32, further axes in front.

    Attributes:
        accesses: `[]`, tokens x experts.
        hits: `[]`, of experts that were on the chip.
        writes: `[W]`, experts written into each place.
    """

    accesses: AnyArray
    hits: AnyArray
    writes: AnyArray


@checks.checked(ConfigError, trace=checks.instance(RoutingTrace, "a RoutingTrace"))
def expert_accesses(trace: RoutingTrace) -> HostArray:
    """Experts in the order in which tokens ask for them: int32 `[L, A]`, or `[R, L, A]` of stacked requests. Host.

    Of one token the best expert comes first (where the trace knows no ranks: the lowest number). ``NO_LINE`` pads.

    >>> expert_accesses(RoutingTrace.from_expert_ids([[3, 1], [0, 3]], 4)).tolist()
    [[3, 1, 0, 3]]
    """
    if trace.expert_order is not None:
        order = np.asarray(trace.expert_order)
        real = np.arange(order.shape[-2]) < np.asarray(trace.num_tokens)[..., None]
        order = np.where(real[..., None, :, None], order, NO_LINE)
        return order.reshape(*order.shape[:-2], -1).astype(np.int32)
    choices = np.asarray(trace.choices)
    k = int(choices.sum(axis=-1).max(initial=0))
    first = np.argsort(~choices, axis=-1, kind="stable")[..., : max(k, 1)]
    order = np.where(np.take_along_axis(choices, first, axis=-1), first, NO_LINE)
    return order.reshape(*order.shape[:-2], -1).astype(np.int32)


@checks.checked(
    ConfigError,
    accesses=checks.numbers(NO_LINE, dims=1, integer=True),
    capacity=checks.numbers(0, dims=0, integer=True),
    policy=checks.numbers(0, len(POLICIES) - 1, dims=0, integer=True),
    places=checks.whole(1, 65_536),
)
def residency_run(accesses: ArrayLike, capacity: ArrayLike, policy: ArrayLike, *, places: int) -> Residency:
    """Run accesses of one layer through the experts on the chip, empty at first. Kernel.

    Args:
        accesses: int32 `[A]`, ``NO_LINE`` is padding.
        capacity: int `[]`, R, data.
        policy: int `[]`, index into `pimjax.cache.hierarchy.POLICIES`.
        places: static W, at least R.

    >>> done = residency_run(jnp.array([0, 1, 0, 2, 0]), 2, 0, places=2)
    >>> int(done.hits), done.writes.tolist()
    (2, [1, 2])
    """

    def body(carry: Any, line: Any) -> tuple[Any, None]:
        state, hits, writes = carry
        after, out = sram_access(state, line, False, capacity, policy)
        return (after, hits + out.hit, writes + (after.line != state.line)), None

    stream = jnp.asarray(accesses, jnp.int32)
    start = (sram_init(places), jnp.int32(0), jnp.zeros(places, jnp.int32))
    (_, hits, writes), _ = jax.lax.scan(body, start, stream)
    return Residency((stream != NO_LINE).sum(dtype=jnp.int32), hits, writes)


@checks.checked(
    ConfigError,
    accesses=checks.numbers(NO_LINE, dims=2, integer=True, filled=True),
    capacities=checks.numbers(1, 65_536, dims=1, integer=True, filled=True),
    policy=checks.word(*POLICIES),
)
def residency_curve(accesses: Any, capacities: Any, policy: str = "lru") -> Residency:
    """Every layer at every capacity in one vmapped call: leaves `[L, N]`, writes `[L, N, W]`.

    Args:
        accesses: int32 `[L, A]`, :func:`expert_accesses`.
        capacities: int `[N]`, resident experts of each layer.
        policy: "lru" or "lfu".

    >>> curve = residency_curve(np.array([[0, 1, 0, 1]]), [1, 2])
    >>> curve.hits.tolist()
    [[0, 2]]
    """
    sizes = np.asarray(capacities, np.int32)
    streams, index = jnp.asarray(accesses, jnp.int32), jnp.int32(POLICIES.index(policy))
    return _curve(streams, jnp.asarray(sizes), index, places=int(sizes.max()))


@partial(jax.jit, static_argnames="places")
def _curve(streams: Any, capacities: Any, policy: Any, *, places: int) -> Residency:
    run = partial(residency_run, places=places)
    return jax.vmap(jax.vmap(run, (None, 0, None)), (0, None, None))(streams, capacities, policy)


class SwapCost(NamedTuple):
    """One miss: an expert fetched and written over another.

    Attributes:
        time_ns: the larger of `fetch_ns` and `write_ns`.
        energy_nj: of both.
        fetch_ns: the expert's bytes from memory.
        write_ns: all its crossbars at the same time.
        cycles: endurance cycles that one write takes of each device.
    """

    time_ns: AnyArray
    energy_nj: AnyArray
    fetch_ns: AnyArray
    write_ns: AnyArray
    cycles: AnyArray


@checks.checked(
    ConfigError,
    tile=checks.word(*TILES),
    expert_bytes=_SIZE,
    crossbars=_SIZE,
    rows=_POSITIVE,
    bandwidth_gb_per_s=_POSITIVE,
    energy_pj_per_bit=_SIZE,
    numbers=checks.having("sram_row_write_ns", meaning="numbers from SystemSection.arrays"),
    pcm_write=checks.optional(checks.instance(Component, "a Component from crossbar_write")),
    verify_passes=_SIZE,
)
def swap_cost(
    tile: Literal["pcm", "sram"],
    *,
    expert_bytes: ArrayLike,
    crossbars: ArrayLike,
    rows: ArrayLike,
    bandwidth_gb_per_s: ArrayLike,
    energy_pj_per_bit: ArrayLike,
    numbers: Any,
    pcm_write: Component | None = None,
    verify_passes: ArrayLike = 10.0,
) -> SwapCost:
    """What one miss costs. NumPy or JAX.

    Args:
        tile: "pcm": program and verify, row by row; "sram": one row per `sram_row_write_ns`.
        expert_bytes: fetched from memory.
        crossbars: of one expert.
        rows: of one crossbar.
        bandwidth_gb_per_s, energy_pj_per_bit: of the memory, all channels.
        numbers: of the system.
        pcm_write: cost of one crossbar, :func:`pimjax.circuit.crossbar_write`; needed for "pcm".
        verify_passes: writes that each device sees (PCM).

    >>> from pimjax.circuit import crossbar_write
    >>> from pimjax.config.system import SystemSection
    >>> memory = {"bandwidth_gb_per_s": 819.0, "energy_pj_per_bit": 5.0, "numbers": SystemSection().arrays()}
    >>> expert = {"expert_bytes": 3 * 2880 * 2880, "crossbars": 432, "rows": 256}
    >>> analog = swap_cost("pcm", **expert, **memory, pcm_write=crossbar_write())
    >>> round(float(analog.time_ns) * 1e-6, 2), round(float(analog.fetch_ns) * 1e-3, 1)  # ms, us
    (8.32, 30.4)
    >>> round(float(swap_cost("sram", **expert, **memory).time_ns) * 1e-3, 1)
    30.4
    """
    fetch: Any = expert_bytes / bandwidth_gb_per_s
    energy: Any = expert_bytes * 8e-3 * energy_pj_per_bit
    write: Any
    cycles: Any
    if tile == "sram":
        write = rows * numbers.sram_row_write_ns
        energy = energy + expert_bytes * 8e-3 * numbers.sram_write_energy_pj_per_bit
        cycles = 0.0 * write
    else:
        if pcm_write is None:
            raise ConfigError("tile 'pcm' needs the cost of writing one crossbar: give pcm_write=crossbar_write()")
        write = pcm_write.latency_ns
        energy = energy + crossbars * pcm_write.energy_nj
        cycles = verify_passes + 0.0 * write
    return SwapCost(larger(fetch, write), energy, fetch, write, cycles)


@checks.checked(
    ConfigError,
    writes_per_s=_SIZE,
    cycles=_SIZE,
    numbers=checks.having("pcm_endurance_cycles", meaning="numbers from SystemSection.arrays"),
)
def lifetime_years(writes_per_s: ArrayLike, cycles: ArrayLike, numbers: Any) -> AnyArray:
    """Years until the devices of a place have seen `pcm_endurance_cycles`; infinite where nothing is written.

    Args:
        writes_per_s: experts written into one place.
        cycles: endurance cycles of one write; 0: no wear.
        numbers: of the system.

    >>> from pimjax.config.system import SystemSection
    >>> round(float(lifetime_years(1.0, 10.0, SystemSection().arrays())), 4)  # a write a second: 11.6 days
    0.0317
    """
    worn = larger(np.float64(1e-300) if not isinstance(writes_per_s, jax.Array) else 1e-30, writes_per_s * cycles)
    years = numbers.pcm_endurance_cycles / (worn * SECONDS_PER_YEAR)
    xp = jnp if isinstance(years, jax.Array) else np
    return xp.where(writes_per_s * cycles > 0, years, np.inf)[()]


@checks.checked(ConfigError, experts=_SIZE, expert_bytes=_SIZE, capacity_gb=_SIZE)
def weights_fit(experts: ArrayLike, expert_bytes: ArrayLike, capacity_gb: ArrayLike) -> Any:
    """Whether the memory holds all experts that are swapped.

    >>> bool(weights_fit(24 * 32, 3 * 2880 * 2880, 16.0))
    False
    """
    return experts * expert_bytes <= capacity_gb * 1e9


__all__ = [
    "Residency",
    "SwapCost",
    "expert_accesses",
    "lifetime_years",
    "residency_curve",
    "residency_run",
    "swap_cost",
    "weights_fit",
]
