"""Phases of a pass of the `reference` chip, as short tables of stages: what `fluid` and `closed` evaluate.

The attention barrier cuts a pass into phases: embedding up to attention (`EMBEDDING`), from one layer's attention to
the next one's (`MIDDLE`), and from the last attention to the last residual (`LAST`); then one token's tail, the
vocabulary head and the sampling. In a phase every token walks through the same stages on the digital units:

- a *burst* is `width` chains of column additions that may use up to `width` units;
- a *single* is one operation on one unit, never interrupted (normalisation, additions of whole vectors);
- after some stages a matrix-vector product delays the token: hop in, MVM, hop out.

Source: the authors' simulator, docs/reference-chip.md sections B, D, F. Rounding up to whole ns and to whole rounds of
additions follows `plan.whole_ns`, straight-through: the derivative is that of the unrounded number. Block counts are
always whole, straight-through as well.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array, ArrayLike
from pimjax.chips.run_cost import COMPONENT_INDEX
from pimjax.config.build import Design


@jax.custom_jvp
def ceil_through(x: Array) -> Array:
    """Smallest whole number >= x; derivative 1 (straight-through).

    >>> float(ceil_through(jnp.float32(2.25)))
    3.0
    """
    return jnp.ceil(x)


@ceil_through.defjvp
def _ceil_through_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return jnp.ceil(primals[0]), tangents[0]


def round_up(x: Array, whole: Array) -> Array:
    """`ceil_through(x)` where the flag `whole` is set, else x."""
    return jnp.where(whole, ceil_through(x), x)


class Blocks(NamedTuple):
    """Row and column blocks of each matrix on crossbars; `[]` floats."""

    d_rows: Array
    d_cols: Array
    f_rows: Array
    f_cols: Array
    router_cols: Array
    vocab_cols: Array


class Timings(NamedTuple):
    """Durations of single operations, ns; `[]` floats."""

    mvm_first: Array  # passes with decode id 0: the prefill and the first decode pass
    mvm: Array  # all others
    hop_in: Array  # transfer into a tile
    hop_out: Array  # transfer out of a tile, or the one before sampling
    add_columns: Array  # addition of one column block
    add_model: Array
    add_hidden: Array
    norm: Array
    relu: Array
    sample: Array


class PhaseKind(NamedTuple):
    """Static layout of a phase: per stage, whether it is a single, and whether tiles follow it.

    `queued` is the stage whose tiles are the same for all tokens, which take turns at them (-1: none). Tiles of
    experts are not queued: tokens rarely meet there.
    """

    single: tuple[bool, ...]
    tiles: tuple[bool, ...]
    queued: int

    @property
    def trips(self) -> int:
        """Matrix-vector products that a token waits for after its release."""
        return sum(self.tiles)

    @property
    def events_per_token(self) -> int:
        """Most events one token causes: its release, the end of every stage, every return from tiles."""
        return 1 + len(self.single) + self.trips


EMBEDDING = PhaseKind((True, False), (True, False), 0)
LAST = PhaseKind((False, True, True, False, False, True), (False, False, True, True, False, False), -1)
MIDDLE = PhaseKind(
    (False, True, True, False, False, True, True, False),
    (False, False, True, True, False, False, True, False),
    6,
)


class Phase(NamedTuple):
    """Numbers of a phase; axis S = stages of its kind. Times in ns, work in ns of one unit.

    The MVM latency stands apart, because the first passes of a run may have another one.
    """

    work: Array  # [S]
    width: Array  # [S] units the stage can use
    delay: Array  # [S] from the end of the stage until the token is ready for the next one, but for the MVM
    lead: Array  # [S] chains of a burst that what follows waits for; its width where it waits for all
    hop_in: Array  # [] part of `delay` that comes before the tiles
    add: Array  # [] one addition of a burst
    first: Array  # [] release of the first token, but for the MVM


def blocks(design: Design) -> Blocks:
    """Block counts of the matrices on `crossbar_rows` x `crossbar_cols` crossbars.

    >>> import pimjax
    >>> design, _ = pimjax.build(pimjax.reference_config())
    >>> [int(count) for count in blocks(design)]
    [16, 16, 3, 3, 1, 125]
    """
    hardware, model = design.hardware, design.model
    rows, cols = hardware.crossbar_rows, hardware.crossbar_cols

    def count(size: ArrayLike, block: ArrayLike) -> Array:
        return ceil_through(jnp.asarray(size, jnp.result_type(block)) / block)

    return Blocks(
        d_rows=count(model.d_model, rows),
        d_cols=count(model.d_model, cols),
        f_rows=count(model.d_ff, rows),
        f_cols=count(model.d_ff, cols),
        router_cols=count(model.num_experts, cols),
        vocab_cols=count(model.vocab_size, cols),
    )


def timings(design: Design, scale: Array) -> Timings:
    """Durations of single operations, ns, each times its component's entry of `scale` `[C]` (after rounding).

    >>> import pimjax
    >>> from pimjax.chips.run_cost import COMPONENTS
    >>> design, _ = pimjax.build(pimjax.reference_config())
    >>> [float(time) for time in timings(design, jnp.ones(len(COMPONENTS)))]
    [130.0, 130.0, 12.0, 12.0, 12.0, 132.0, 26.0, 800.0, 1.0, 10.0]
    """
    hardware, model, whole = design.hardware, design.model, design.plan.whole_ns
    dtype = jnp.result_type(hardware.mvm_latency_ns)
    d, f = jnp.asarray(model.d_model, dtype), jnp.asarray(model.d_ff, dtype)

    def component(name: str) -> Array:
        return scale[COMPONENT_INDEX[name]]

    def add(size: ArrayLike) -> Array:
        law = hardware.add_latency_ns_per_256 * size / 256 + hardware.add_latency_base_ns
        return component("digital_add") * round_up(law, whole)

    hop = component("communication") * round_up(hardware.link_latency_ns_per_256 * hardware.crossbar_cols / 256, whole)
    return Timings(
        mvm_first=component("tier_linear") * round_up(hardware.mvm_latency_ns * hardware.mvm_factor, whole),
        mvm=component("tier_linear") * round_up(hardware.mvm_latency_ns * 1.0, whole),
        hop_in=hop * hardware.comm_factor,
        hop_out=hop,
        add_columns=add(hardware.crossbar_cols),
        add_model=add(d),
        add_hidden=add(f),
        norm=component("layer_norm") * round_up(hardware.norm_latency_ns_per_256 * d / 256, whole),
        relu=component("digital_relu") * round_up(hardware.relu_latency_ns, whole),
        sample=component("multinomial") * round_up(hardware.sampling_latency_ns, whole),
    )


def embedding_phase(b: Blocks, t: Timings) -> Phase:
    """Token embedding, its addition, and q, k, v of the first layer."""
    chains = 3 * b.d_cols
    trip = t.hop_in + t.hop_out
    width = jnp.stack([jnp.ones_like(chains), chains])
    return Phase(
        work=jnp.stack([t.add_model, chains * (b.d_rows - 1) * t.add_columns]),
        width=width,
        delay=jnp.stack([trip, jnp.zeros_like(trip)]),
        lead=width,
        hop_in=t.hop_in,
        add=t.add_columns,
        first=t.hop_out,
    )


def layer_phase(design: Design, b: Blocks, t: Timings, *, moe: ArrayLike, kind: PhaseKind) -> Phase:
    """From attention to the last residual of a layer (`LAST`), or on to the next layer's q, k, v (`MIDDLE`).

    `moe` (data) tells whether the layer has experts or one dense feed-forward block.
    """
    one = jnp.ones_like(b.d_cols)
    k = jnp.where(moe, jnp.asarray(design.model.top_k, one.dtype), one)
    router = jnp.where(moe, b.router_cols, 0 * one)
    up, down = k * b.f_cols + router, k * b.d_cols
    trip = t.hop_in + t.hop_out
    zero = jnp.zeros_like(trip)
    work = [
        b.d_cols * (b.d_rows - 1) * t.add_columns,
        t.add_model,
        t.norm,
        up * (b.d_rows - 1) * t.add_columns,
        down * (b.f_rows - 1) * t.add_columns,
        (k - 1) * t.add_hidden + t.add_model,
    ]
    width = [b.d_cols, one, one, up, down, one]
    # The first expert goes on alone; the sum of experts begins with the first two.
    lead = [b.d_cols, one, one, router + b.f_cols, jnp.minimum(down, 2 * b.d_cols), one]
    delay = [zero, zero, trip, trip + t.relu, zero, zero]
    if kind is MIDDLE:
        chains = 3 * b.d_cols
        work += [t.norm, chains * (b.d_rows - 1) * t.add_columns]
        width += [one, chains]
        lead += [one, chains]
        delay += [trip, zero]
    return Phase(
        work=jnp.stack(work),
        width=jnp.stack(width),
        delay=jnp.stack(delay),
        lead=jnp.stack(lead),
        hop_in=t.hop_in,
        add=t.add_columns,
        first=trip,
    )


def tail_ns(b: Blocks, t: Timings, mvm: Array, units: Array, whole: Array) -> Array:
    """The last token's normalisation, vocabulary head and sampling, ns: alone on the chip. `mvm` of any shape."""
    chain = b.d_rows - 1
    rounds = jnp.maximum(chain, round_up(b.vocab_cols * chain / units, whole))
    hop_out = jnp.where(b.d_rows > 1, t.hop_out, 0 * t.hop_out)
    return t.norm + t.hop_in + mvm + hop_out + rounds * t.add_columns + t.hop_out + t.sample
