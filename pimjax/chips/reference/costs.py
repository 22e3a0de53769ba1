"""Latency, energy and FLOPs of every operation of the authors' simulator, and their exact sums over a pass.

Everything here but the run's total latency is independent of the schedule. The functions are plain arithmetic: with
`xp=jax.numpy` they take traced arrays. The constant 256 is not the tile size.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pimjax.chips.reference.parameters import Pass, ReferenceParameters, list_passes

MULTINOMIAL_SIZE = 512
"""Bytes that a sampling operation leaves, and its FLOPs."""

COMPONENTS = (
    "tier_linear",
    "communication",
    "layer_norm",
    "digital_relu",
    "digital_gelu",
    "digital_add",
    "multinomial",
    "dram_kv",
    "dram_go",
    "mha_comp",
)
"""Keys of the latency breakdown; the energy breakdown has `passive` before them."""


class Blocks(NamedTuple):
    """Tile rows and columns of each matrix: `d_rows` x `d_cols` for d x d, `f_rows` and `f_cols` for the hidden
    width, `router_cols` for the experts, `vocab_cols` for the vocabulary."""

    d_rows: Any
    d_cols: Any
    f_rows: Any
    f_cols: Any
    router_cols: Any
    vocab_cols: Any


def count_blocks(p: ReferenceParameters) -> Blocks:
    """Block counts of the matrices.

    >>> count_blocks(ReferenceParameters())
    Blocks(d_rows=16, d_cols=16, f_rows=3, f_cols=3, router_cols=1, vocab_cols=125)
    """
    return Blocks(
        d_rows=-(-p.d_model // p.tier_rows),
        d_cols=-(-p.d_model // p.tier_cols),
        f_rows=-(-p.d_ff // p.tier_rows),
        f_cols=-(-p.d_ff // p.tier_cols),
        router_cols=-(-p.experts // p.tier_cols),
        vocab_cols=-(-p.vocab // p.tier_cols),
    )


# --- latency of one operation [ns] -----------------------------------------------------------------------------------


def _whole(p: ReferenceParameters, latency_ns: Any, xp: Any) -> Any:
    """Up to whole ns, unless the parameters ask for exact durations."""
    return xp.ceil(latency_ns) if p.units.whole_ns else latency_ns * xp.ones(())


def mvm_ns(p: ReferenceParameters, decode_id: Any, xp: Any = np) -> Any:
    """One MVM; the accelerator's `mvm_factor` acts on decode id 0 only."""
    return xp.where(decode_id == 0, _whole(p, p.mvm_latency * p.mvm_factor, xp), _whole(p, p.mvm_latency * 1.0, xp))


def comm_ns(p: ReferenceParameters, xp: Any = np) -> Any:
    """A transfer out of a tile, or the one before sampling."""
    return _whole(p, p.units.link_ns * p.tier_cols / 256, xp)


def comm_in_ns(p: ReferenceParameters, xp: Any = np) -> Any:
    """A transfer into a tile: the product with `comm_factor` is not rounded."""
    return comm_ns(p, xp) * p.comm_factor


def add_ns(p: ReferenceParameters, size: Any, xp: Any = np) -> Any:
    """Addition of two vectors of `size` elements.

    >>> [float(add_ns(ReferenceParameters(), size)) for size in (256, 688, 4096)]
    [12.0, 26.0, 132.0]
    """
    return _whole(p, p.units.add_ns * size / 256 + p.units.add_base_ns, xp)


def norm_ns(p: ReferenceParameters, size: Any, xp: Any = np) -> Any:
    """Layer normalisation of `size` elements."""
    return _whole(p, p.units.norm_ns * size / 256, xp)


def attention_ns(p: ReferenceParameters, length: Any, kv_decode: Any, xp: Any = np) -> tuple[Any, Any]:
    """(compute, KV read) of one attention operation; one unit is busy for their sum.

    >>> p = ReferenceParameters()
    >>> [float(x) for x in attention_ns(p, 32, False)]
    [130876.5, 0.0]
    """
    units = p.units
    law = units.attention_linear * p.d_model + units.attention_quadratic * p.d_model**2
    full = _whole(p, length**2 * law, xp)
    compute = xp.where(kv_decode, 0.5 * full / length, 0.5 * full)
    return compute, xp.where(kv_decode, dram_ns(p, 2 * length * p.d_model, xp), 0.0)


def dram_ns(p: ReferenceParameters, size_bytes: Any, xp: Any = np) -> Any:
    """Time to move `size_bytes` from DRAM."""
    return _whole(p, 1e9 * ((size_bytes / 1e9) / p.units.dram_bandwidth), xp)


def gate_output_read_ns(p: ReferenceParameters, length: Any, xp: Any = np) -> Any:
    """Read of the gate-output cache, per layer of a decode pass: recorded, never part of time or energy."""
    return dram_ns(p, length * p.experts + p.experts * p.d_model, xp)


# --- counts, sums of latency, energy, FLOPs of one pass --------------------------------------------------------------


class PassCounts(NamedTuple):
    """Operations of one pass, by kind; additions by size: tile columns, d_model, d_ff."""

    tier_linear: Any
    communication_out: Any
    communication_in: Any
    communication_norm: Any
    add_columns: Any
    add_model: Any
    add_hidden: Any
    layer_norm: Any
    digital_relu: Any
    mha: Any
    multinomial: Any

    @property
    def digital_add(self) -> Any:
        """All additions."""
        return self.add_columns + self.add_model + self.add_hidden

    @property
    def total(self) -> Any:
        """All operations."""
        return sum(self[1:], self[0])


OP_KINDS = (
    "tier_linear",
    "communication_out",
    "communication_in",
    "communication_norm",
    "digital_add",
    "layer_norm",
    "digital_relu",
    "mha",
    "multinomial",
)
"""Kinds that operations are counted by."""


def pass_counts(p: ReferenceParameters, tokens: Any, first: Any, xp: Any = np) -> PassCounts:
    """Exact operation counts of a pass of `tokens` tokens; `first`: the run's first pass.

    >>> counts = pass_counts(ReferenceParameters(), 32, True)
    >>> int(counts.tier_linear), int(counts.communication_in), int(counts.digital_add), int(counts.total)
    (48080, 47568, 43123, 187015)
    """
    b = count_blocks(p)
    moe = p.num_moe_layers
    networks = moe * p.k + (p.layers - moe)  # feed-forward networks that a token visits
    tiles = (
        tokens
        * (
            b.d_cols
            + 4 * p.layers * b.d_rows * b.d_cols
            + moe * b.d_rows * b.router_cols
            + networks * (b.d_rows * b.f_cols + b.f_rows * b.d_cols)
        )
        + b.d_rows * b.vocab_cols
    )
    add_columns = (
        tokens
        * (
            4 * p.layers * (b.d_rows - 1) * b.d_cols
            + moe * (b.d_rows - 1) * b.router_cols
            + networks * ((b.d_rows - 1) * b.f_cols + (b.f_rows - 1) * b.d_cols)
        )
        + (b.d_rows - 1) * b.vocab_cols
    )
    one = tokens * 0 + 1
    return PassCounts(
        tier_linear=tiles,
        communication_out=tiles - xp.where(b.d_rows == 1, b.vocab_cols, 0),
        communication_in=tiles - xp.where(first, tokens * b.d_cols, 0),
        communication_norm=one,
        add_columns=add_columns,
        add_model=tokens * (1 + 2 * p.layers),
        add_hidden=tokens * moe * (p.k - 1),
        layer_norm=tokens * (2 * p.layers - 1) + 1,
        digital_relu=tokens * networks,
        mha=p.layers * one,
        multinomial=one,
    )


def pass_busy_ns(p: ReferenceParameters, work: Any, xp: Any = np) -> dict[str, Any]:
    """Plain sum of operation latencies by component, ns, of one pass; `work` is a :class:`Pass`."""
    counts = pass_counts(p, work.tokens, work.first, xp)
    kv_decode = work.decode & p.kv
    compute, read = attention_ns(p, work.length, kv_decode, xp)
    return {
        "tier_linear": counts.tier_linear * mvm_ns(p, work.decode_id, xp),
        "communication": counts.communication_in * comm_in_ns(p, xp)
        + (counts.communication_out + counts.communication_norm) * comm_ns(p, xp),
        "layer_norm": counts.layer_norm * norm_ns(p, p.d_model, xp),
        "digital_relu": counts.digital_relu * p.units.relu_ns,
        "digital_gelu": 0.0 * counts.digital_relu,
        "digital_add": counts.add_columns * add_ns(p, p.tier_cols, xp)
        + counts.add_model * add_ns(p, p.d_model, xp)
        + counts.add_hidden * add_ns(p, p.d_ff, xp),
        "multinomial": counts.multinomial * p.units.sampling_ns,
        "dram_kv": p.layers * read,
        "dram_go": xp.where(work.decode & p.go, p.layers * gate_output_read_ns(p, work.length, xp), 0.0),
        "mha_comp": p.layers * compute,
    }


def operation_energy_nj(p: ReferenceParameters, work: Any, xp: Any = np) -> dict[str, Any]:
    """Energy of one operation, nJ, by the names of :class:`PassCounts`."""
    kv_decode = work.decode & p.kv
    units = p.units
    hop = units.link_nj * (p.tier_cols / 256)
    _, read = attention_ns(p, work.length, kv_decode, xp)
    full = 0.5 * work.length**2 * (units.attention_nj * p.d_model)
    return {
        "tier_linear": p.mvm_energy,
        "communication_out": hop,
        "communication_in": hop * p.comm_factor,
        "communication_norm": hop,
        "add_columns": units.add_nj * p.tier_cols / 256,
        "add_model": units.add_nj * p.d_model / 256,
        "add_hidden": units.add_nj * p.d_ff / 256,
        "layer_norm": units.norm_nj * p.d_model / 256,
        "digital_relu": units.relu_nj * p.d_ff / 256,
        "mha_comp": xp.where(kv_decode, full / work.length, full),
        "dram_kv": units.dram_active_w * read,
        "multinomial": 0.0,
    }


def pass_energy_nj(p: ReferenceParameters, work: Any, xp: Any = np) -> dict[str, Any]:
    """Energy of one pass by component, nJ, without `passive`; `dram_go` is recorded but not part of the total."""
    counts = pass_counts(p, work.tokens, work.first, xp)
    each = operation_energy_nj(p, work, xp)
    return {
        "tier_linear": counts.tier_linear * each["tier_linear"],
        "communication": counts.communication_in * each["communication_in"]
        + counts.communication_out * each["communication_out"]
        + counts.communication_norm * each["communication_norm"],
        "layer_norm": counts.layer_norm * each["layer_norm"],
        "digital_relu": counts.digital_relu * each["digital_relu"],
        "digital_gelu": 0.0 * counts.digital_relu,
        "digital_add": counts.add_columns * each["add_columns"]
        + counts.add_model * each["add_model"]
        + counts.add_hidden * each["add_hidden"],
        "multinomial": counts.multinomial * each["multinomial"],
        "dram_kv": p.layers * each["dram_kv"],
        "dram_go": p.units.dram_active_w
        * xp.where(work.decode & p.go, p.layers * gate_output_read_ns(p, work.length, xp), 0.0),
        "mha_comp": p.layers * each["mha_comp"],
    }


def passive_power_w(p: ReferenceParameters, xp: Any = np) -> Any:
    """Idle power, W: fixed for the chip, whatever its units, and the DRAM's where the gate-output cache is on."""
    return p.units.idle_w + xp.where(p.go, p.units.dram_idle_w, 0.0)


def pass_flops(p: ReferenceParameters, work: Any, xp: Any = np) -> Any:
    """FLOPs of one pass: (2 - 1/C) per weight used, additions, normalisations, attention and sampling."""
    counts = pass_counts(p, work.tokens, work.first, xp)
    d, moe = p.d_model, p.num_moe_layers
    networks = moe * p.k + (p.layers - moe)
    embedding = xp.where(p.vocab < p.tier_rows, p.vocab, p.tier_rows) * d
    weights = (
        work.tokens * (embedding + p.layers * 4 * d**2 + moe * d * p.experts + 2 * networks * d * p.d_ff) + d * p.vocab
    )
    length = work.length
    kv_decode = work.decode & p.kv
    pairs = xp.where(kv_decode, length, (length**2 + length) // 2)
    values = xp.where(kv_decode, 2 * length * d, 2 * length**2 * d)
    attention = 2 * pairs * d + 1 + pairs + 2 * pairs + (pairs - length) + values
    return (
        weights * (2 * p.tier_cols - 1) / p.tier_cols
        + p.tier_cols * counts.add_columns
        + d * counts.add_model
        + p.d_ff * counts.add_hidden
        + 10 * d * counts.layer_norm
        + p.d_ff * counts.digital_relu
        + MULTINOMIAL_SIZE * counts.multinomial
        + p.layers * attention
    )


# --- sums over a run -------------------------------------------------------------------------------------------------


class RunCosts(NamedTuple):
    """Exact sums over a run that need no schedule.

    `op_counts` by :data:`OP_KINDS`, `busy_ns` and `active_energy_nj` by :data:`COMPONENTS`, `flops` a number.
    """

    op_counts: dict[str, int]
    busy_ns: dict[str, float]
    active_energy_nj: dict[str, float]
    flops: float


def run_costs(p: ReferenceParameters, passes: tuple[Pass, ...] | None = None) -> RunCosts:
    """Op counts, busy time, active energy and FLOPs of a whole run, in float64.

    >>> costs = run_costs(ReferenceParameters())
    >>> costs.op_counts["digital_add"], costs.flops
    (43123, 6085003041.0)
    """
    works = list_passes(p) if passes is None else passes
    counts = [pass_counts(p, work.tokens, work.first) for work in works]
    busy = [pass_busy_ns(p, work) for work in works]
    energy = [pass_energy_nj(p, work) for work in works]
    return RunCosts(
        op_counts={kind: sum(int(getattr(count, kind)) for count in counts) for kind in OP_KINDS},
        busy_ns={name: math.fsum(float(one[name]) for one in busy) for name in COMPONENTS},
        active_energy_nj={name: math.fsum(float(one[name]) for one in energy) for name in COMPONENTS},
        flops=math.fsum(float(pass_flops(p, work)) for work in works),
    )


def energy_total_nj(p: ReferenceParameters, active_nj: dict[str, Any], latency_ns: Any, xp: Any = np) -> Any:
    """Total energy, nJ: passive plus all active components but the uncounted `dram_go`."""
    active = sum(value for name, value in active_nj.items() if name != "dram_go")
    return active + latency_ns * passive_power_w(p, xp)
