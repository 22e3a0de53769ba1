"""Exact sums over a run of the `reference` chip that need no schedule, in arrays: counts, busy times, energy, FLOPs.

The array twin of `costs.py` (one run, NumPy, the authors' constants), with every constant a leaf of `Hardware` and
sums over the passes in closed form. Exact in float64. Source: docs/reference-chip.md sections A, B, D.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.chips.reference.phases import Blocks, Timings, round_up
from pimjax.chips.run_cost import COMPONENT_INDEX, COMPONENTS, OP_INDEX, OP_KINDS
from pimjax.config.build import Design

MULTINOMIAL_FLOPS = 512


class Run(NamedTuple):
    """Which passes a run consists of; `[]` floats, `go` and `kv` bool.

    A prefill over `prompt` tokens (if `prefill` is 1), then `decodes` passes of lengths prompt + 1, prompt + 2, ...
    """

    prompt: Array
    prefill: Array
    decodes: Array
    go: Array
    kv: Array

    @property
    def passes(self) -> Array:
        """Number of passes."""
        return self.prefill + self.decodes

    @property
    def first_decode_tokens(self) -> Array:
        """Tokens in the graph of the first decode pass."""
        return jnp.where(self.go, 1, self.prompt + 1).astype(self.prompt.dtype)

    @property
    def decode_tokens(self) -> Array:
        """Tokens in the graphs of all decode passes together."""
        return jnp.where(self.go, self.decodes, power_sums(self.prompt, self.decodes)[0])


class Attention(NamedTuple):
    """Sums over all passes of one layer's attention."""

    compute_ns: Array
    read_ns: Array  # cached keys and values from DRAM
    go_read_ns: Array  # recorded only: never part of time or energy
    compute_nj: Array
    flops: Array


def run_of(design: Design) -> Run:
    """The passes of a design's workload.

    >>> import pimjax
    >>> design, _ = pimjax.build(pimjax.reference_config(new_length=8, kv=True, go=True))
    >>> run = run_of(design)
    >>> int(run.passes), int(run.decode_tokens)
    (8, 7)
    """
    work = design.workload
    dtype = jnp.result_type(design.hardware.mvm_latency_ns)
    return Run(
        prompt=jnp.asarray(work.prompt_tokens, dtype),
        prefill=jnp.asarray(work.prefill, dtype),
        decodes=jnp.asarray(work.generated_tokens, dtype) - 1,
        go=work.go_cache > 0,
        kv=jnp.asarray(work.kv_cache, bool),
    )


def power_sums(start: Array, count: Array) -> tuple[Array, Array]:
    """Sums of L and of L^2 over L = start + 1 ... start + count.

    >>> [int(total) for total in power_sums(jnp.array(2.0), jnp.array(3.0))]
    [12, 50]
    """
    linear = count * (count + 1) / 2
    square = count * (count + 1) * (2 * count + 1) / 6
    return count * start + linear, count * start**2 + 2 * start * linear + square


def attention_sums(design: Design, run: Run, *, max_tokens: int) -> Attention:
    """Attention of one layer, summed over the passes; `max_tokens` is the static bound of a pass's length."""
    hardware, whole = design.hardware, design.plan.whole_ns
    dtype = run.prompt.dtype
    d = jnp.asarray(design.model.d_model, dtype)
    experts = jnp.asarray(design.model.num_experts, dtype)
    fit = hardware.attention_fit_linear * d + hardware.attention_fit_quadratic * d**2
    lengths = jnp.arange(1, max_tokens + 1, dtype=dtype)
    decoded = (lengths > run.prompt) & (lengths <= run.prompt + run.decodes)
    full = 0.5 * round_up(lengths**2 * fit, whole)
    each = jnp.where(run.kv, full / lengths, full)
    prompt = run.prefill * 0.5 * round_up(run.prompt**2 * fit, whole)

    def read(size_bytes: Array) -> Array:
        return round_up(1e9 * ((size_bytes / 1e9) / hardware.dram_bandwidth_gb_per_s), whole)

    kv_read = jnp.where(run.kv, read(2 * lengths * d), 0)
    go_read = jnp.where(run.go, read(lengths * experts + experts * d), 0)

    linear, square = power_sums(run.prompt, run.decodes)
    pairs = jnp.where(run.kv, linear, square)
    pairs_prompt = run.prefill * run.prompt**2
    return Attention(
        compute_ns=prompt + jnp.sum(jnp.where(decoded, each, 0)),
        read_ns=jnp.sum(jnp.where(decoded, kv_read, 0)),
        go_read_ns=jnp.sum(jnp.where(decoded, go_read, 0)),
        compute_nj=0.5 * hardware.attention_fit_energy_nj * d * (pairs + pairs_prompt),
        flops=_attention_flops(run, d, linear, square),
    )


def _attention_flops(run: Run, d: Array, linear: Array, square: Array) -> Array:
    """2 P d + 1 + 3 P + (P - L), and the product with the values; P = L with cached keys, else (L^2 + L) / 2."""

    def per_pass(count: Array, length: Array, pairs: Array, values: Array) -> Array:
        return 2 * pairs * d + count + 3 * pairs + pairs - length + values

    cached = per_pass(run.decodes, linear, linear, 2 * linear * d)
    full = per_pass(run.decodes, linear, (square + linear) / 2, 2 * square * d)
    prompt, one = run.prefill * run.prompt, run.prefill
    first = per_pass(one, prompt, (prompt * run.prompt + prompt) / 2, 2 * prompt * run.prompt * d)
    return first + jnp.where(run.kv, cached, full)


class Counts(NamedTuple):
    """Operations of a whole run; `[]` floats."""

    tiles: Array
    tiles_first: Array  # of these, in passes with decode id 0
    comm_out: Array
    comm_in: Array
    comm_norm: Array
    add_columns: Array
    add_model: Array
    add_hidden: Array
    norm: Array
    relu: Array
    mha: Array
    sample: Array


def counts_of(design: Design, b: Blocks, run: Run) -> Counts:
    """Exact operation counts of a run.

    >>> import pimjax
    >>> from pimjax.chips.reference.phases import blocks
    >>> design, _ = pimjax.build(pimjax.reference_config())
    >>> counts = counts_of(design, blocks(design), run_of(design))
    >>> int(counts.tiles), int(counts.comm_in), int(counts.add_columns), int(counts.norm)
    (48080, 47568, 42931, 33)
    """
    dtype = run.prompt.dtype
    layers, moe = (jnp.asarray(x, dtype) for x in (design.model.num_layers, design.model.num_moe_layers))
    k = jnp.asarray(design.model.top_k, dtype)
    networks = moe * k + (layers - moe)  # feed-forward networks that a token visits
    chain, chain_f = b.d_rows - 1, b.f_rows - 1
    token_tiles = (
        b.d_cols
        + 4 * layers * b.d_rows * b.d_cols
        + moe * b.d_rows * b.router_cols
        + networks * (b.d_rows * b.f_cols + b.f_rows * b.d_cols)
    )
    token_adds = (
        4 * layers * chain * b.d_cols + moe * chain * b.router_cols + networks * (chain * b.f_cols + chain_f * b.d_cols)
    )
    tokens = run.prefill * run.prompt + run.decode_tokens
    decodes_first = jnp.minimum(run.decodes, 1)
    tokens_id0 = run.prefill * run.prompt + decodes_first * run.first_decode_tokens
    first_tokens = jnp.where(run.prefill > 0, run.prompt, run.first_decode_tokens)
    head = b.d_rows * b.vocab_cols
    tiles = tokens * token_tiles + run.passes * head
    return Counts(
        tiles=tiles,
        tiles_first=tokens_id0 * token_tiles + (run.prefill + decodes_first) * head,
        comm_out=tiles - jnp.where(b.d_rows == 1, run.passes * b.vocab_cols, 0),
        comm_in=tiles - first_tokens * b.d_cols,
        comm_norm=run.passes,
        add_columns=tokens * token_adds + run.passes * chain * b.vocab_cols,
        add_model=tokens * (1 + 2 * layers),
        add_hidden=tokens * moe * (k - 1),
        norm=tokens * (2 * layers - 1) + run.passes,
        relu=tokens * networks,
        mha=layers * run.passes,
        sample=run.passes,
    )


def op_counts(counts: Counts) -> Array:
    """Counts by `OP_KINDS` `[O]`."""
    by_name = {
        "tier_linear": counts.tiles,
        "communication_out": counts.comm_out,
        "communication_in": counts.comm_in,
        "communication_norm": counts.comm_norm,
        "digital_add": counts.add_columns + counts.add_model + counts.add_hidden,
        "mha": counts.mha,
        "layer_norm": counts.norm,
        "digital_relu": counts.relu,
        "multinomial": counts.sample,
    }
    return scatter(by_name, OP_INDEX, len(OP_KINDS), counts.tiles)


def scatter(by_name: dict[str, Array], index: dict[str, int], size: int, like: Array) -> Array:
    """`[size]` array with the values at their indices, zero elsewhere."""
    zero = jnp.zeros_like(like)
    names = {place: name for name, place in index.items()}
    return jnp.stack([by_name.get(names[place], zero) for place in range(size)])


def busy_ns(design: Design, t: Timings, counts: Counts, attention: Attention) -> Array:
    """Plain sums of the durations of operations, ns, by `COMPONENTS` `[C]`."""
    layers = jnp.asarray(design.model.num_layers, counts.tiles.dtype)
    by_name = {
        "tier_linear": counts.tiles_first * t.mvm_first + (counts.tiles - counts.tiles_first) * t.mvm,
        "communication": counts.comm_in * t.hop_in + (counts.comm_out + counts.comm_norm) * t.hop_out,
        "layer_norm": counts.norm * t.norm,
        "digital_relu": counts.relu * t.relu,
        "digital_add": counts.add_columns * t.add_columns
        + counts.add_model * t.add_model
        + counts.add_hidden * t.add_hidden,
        "multinomial": counts.sample * t.sample,
        "dram_kv": layers * attention.read_ns,
        "dram_go": layers * attention.go_read_ns,
        "mha_comp": layers * attention.compute_ns,
    }
    return scatter(by_name, COMPONENT_INDEX, len(COMPONENTS), counts.tiles)


def energies_nj(design: Design, run: Run, counts: Counts, attention: Attention, latency_ns: Array) -> Array:
    """Energy, nJ, by `COMPONENTS` `[C]`; the gate-output cache's reads are not counted, as in the authors' total."""
    hardware, model = design.hardware, design.model
    dtype = counts.tiles.dtype
    layers, d, f = (jnp.asarray(x, dtype) for x in (model.num_layers, model.d_model, model.d_ff))
    hop = hardware.link_energy_nj_per_256 * (hardware.crossbar_cols / 256)
    idle_w = hardware.unit_power_w + jnp.where(run.go, hardware.dram_idle_power_w, 0)
    by_name = {
        "passive": latency_ns * idle_w,
        "tier_linear": counts.tiles * hardware.mvm_energy_nj,
        "communication": (counts.comm_in * hardware.comm_factor + counts.comm_out + counts.comm_norm) * hop,
        "layer_norm": counts.norm * hardware.norm_energy_nj_per_256 * d / 256,
        "digital_relu": counts.relu * hardware.relu_energy_nj_per_256 * f / 256,
        "digital_add": hardware.add_energy_nj_per_256
        * (counts.add_columns * hardware.crossbar_cols + counts.add_model * d + counts.add_hidden * f)
        / 256,
        "dram_kv": hardware.dram_active_power_w * layers * attention.read_ns,
        "mha_comp": layers * attention.compute_nj,
    }
    return scatter(by_name, COMPONENT_INDEX, len(COMPONENTS), counts.tiles)


def flops(design: Design, run: Run, counts: Counts, attention: Attention) -> Array:
    """Floating-point operations of a run: (2 - 1/C) per weight used, and those of digital and attention units."""
    hardware, model = design.hardware, design.model
    dtype = counts.tiles.dtype
    d, f, vocab, layers = (
        jnp.asarray(x, dtype) for x in (model.d_model, model.d_ff, model.vocab_size, model.num_layers)
    )
    tokens = run.prefill * run.prompt + run.decode_tokens
    cols = hardware.crossbar_cols
    weights = (
        tokens * (jnp.minimum(vocab, hardware.crossbar_rows) * d + _layer_weights(design, dtype))
        + run.passes * d * vocab
    )
    return (
        weights * (2 * cols - 1) / cols
        + cols * counts.add_columns
        + d * counts.add_model
        + f * counts.add_hidden
        + 10 * d * counts.norm
        + f * counts.relu
        + MULTINOMIAL_FLOPS * counts.sample
        + layers * attention.flops
    )


def _layer_weights(design: Design, dtype: Any) -> Array:
    model = design.model
    d, f, layers, moe, k, experts = (
        jnp.asarray(x, dtype)
        for x in (model.d_model, model.d_ff, model.num_layers, model.num_moe_layers, model.top_k, model.num_experts)
    )
    networks = moe * k + (layers - moe)
    return layers * 4 * d**2 + moe * d * experts + 2 * networks * d * f
