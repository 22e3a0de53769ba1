"""How often things happen in a run of the multiplexed chip: tokens, passes, loads, additions, bytes.

Decode steps are summed in closed form (attention, traffic) or weighted samples (recomputed prefixes); nothing here
grows with the lengths.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.cache.traffic import sum_visible_tokens
from pimjax.chips.multiplexed.attention import attention_cost, attention_total
from pimjax.chips.multiplexed.geometry import Geometry
from pimjax.chips.multiplexed.schedule import MultiplexedSchedule
from pimjax.chips.multiplexed.smooth import as_real
from pimjax.chips.multiplexed.traffic import cache_use, prompt_traffic, step_traffic
from pimjax.config.build import Design
from pimjax.config.plan import EMBEDDING_KINDS


class Work(NamedTuple):
    """How often things happen in a run; float scalars, or `[L]`."""

    tokens: Array  # [] through every layer's attention and norms
    sequences: Array  # [] passes, one per sequence: attentions per layer
    samplings: Array  # []
    passes: Array  # [L] expert passes
    loads: Array  # [L]
    combines: Array  # [L] additions of results
    attention_energy: Array  # []
    attention_time: Array  # []
    attention_pairs: Array  # []
    kv_bytes: Array  # []
    go_bytes: Array  # []


def layer_mask(design: Design, schedule: MultiplexedSchedule) -> Array:
    """bool `[L]`: layers that exist."""
    return jnp.arange(schedule.is_moe.shape[-1]) < design.model.num_layers


def run_work(design: Design, schedule: MultiplexedSchedule) -> Work:
    """Counts of a run, in closed form over its decode steps."""
    like = jnp.asarray(design.hardware.mvm_latency_ns)
    workload, model = as_real(design.workload, like), as_real(design.model, like)
    use = cache_use(design)
    batch, prompt, steps = workload.batch_size, workload.prompt_tokens, workload.generated_tokens - 1
    prefills = batch * workload.prefill
    last = prompt + steps
    lengths = steps * (prompt + 1 + last) / 2
    tokens = prefills * prompt + batch * jnp.where(use.dense_all, lengths, steps)
    real = layer_mask(design, schedule)

    def total(of: str) -> Array:
        once = getattr(schedule.prompt, of).astype(like.dtype)
        again = jnp.tensordot(
            schedule.weights.astype(like.dtype), getattr(schedule.recomputed, of).astype(like.dtype), 1
        )
        step = steps * getattr(schedule.step, of).astype(like.dtype)
        return prefills * once + jnp.where(use.experts_all, batch * again, step)

    passes, unrouted = total("passes"), total("unrouted")
    offered = prefills * prompt + batch * jnp.where(use.experts_all, lengths, steps)
    shared = model.num_shared_experts
    routed = jnp.where(shared > 0, 0.0, offered - unrouted)
    combines = jnp.where(schedule.is_moe, passes - routed + jnp.maximum(shared - 1, 0) * tokens, 0.0)

    prefill = attention_cost(design, prompt, whole=True, windowed=schedule.is_windowed)
    decode = attention_total(design, prompt + 1, last, whole=use.dense_all, windowed=schedule.is_windowed)

    def attended(of: str) -> Array:
        return jnp.sum(jnp.where(real, prefills * getattr(prefill, of) + batch * getattr(decode, of), 0.0))

    moved = prompt_traffic(design, is_moe=schedule.is_moe)
    window = jnp.where(schedule.is_windowed, model.sliding_window, 0.0)
    count = jnp.maximum(steps, 1.0)
    step = step_traffic(
        design,
        lengths / count,
        sum_visible_tokens(prompt + 1, last, window) / count,
        is_moe=schedule.is_moe,
        admitted=schedule.step.passes / batch,
        taken=schedule.taken,
    )

    def bytes_of(first: Array, second: Array) -> Array:
        return jnp.sum(jnp.where(real, prefills * first + batch * steps * second, 0.0)).astype(like.dtype)

    return Work(
        tokens=tokens,
        sequences=prefills + batch * steps,
        samplings=prefills + batch * steps,
        passes=passes,
        loads=total("loads"),
        combines=combines,
        attention_energy=attended("energy"),
        attention_time=attended("time"),
        attention_pairs=attended("pairs"),
        kv_bytes=bytes_of(moved.kv_read + moved.kv_written, step.kv_read + step.kv_written),
        go_bytes=bytes_of(moved.go_read + moved.go_posted, step.go_read + step.go_posted),
    )


def layer_counts(design: Design, schedule: MultiplexedSchedule, like: Array) -> tuple[Array, Array, Array]:
    """Layers, layers with experts, dense layers."""
    layers = jnp.asarray(design.model.num_layers, like.dtype)
    moe = jnp.sum(schedule.is_moe).astype(like.dtype)
    return layers, moe, layers - moe


def products(design: Design, schedule: MultiplexedSchedule, shape: Geometry, work: Work) -> tuple[Array, Array]:
    """Products with links on both sides, and embedding reads with one link."""
    layers, moe, dense = layer_counts(design, schedule, work.tokens)
    per_token = layers * (shape.qkv.tiles + shape.expand.tiles + shape.output.tiles)
    per_token += moe * (shape.router.tiles + shape.shared_up.tiles + shape.shared_down.tiles)
    per_token += dense * (shape.dense_up.tiles + shape.dense_down.tiles)
    both = work.tokens * per_token + work.samplings * shape.head.tiles + jnp.sum(work.passes) * shape.expert_tiles
    on_chip = design.plan.embedding == EMBEDDING_KINDS.index("crossbar")
    return both, jnp.where(on_chip, work.tokens * shape.embedding_strips, 0.0)


def strip_adds(design: Design, schedule: MultiplexedSchedule, shape: Geometry, work: Work) -> Array:
    """Additions of one strip's width."""
    layers, moe, dense = layer_counts(design, schedule, work.tokens)
    per_token = layers * (shape.qkv.adds + shape.expand.adds + shape.output.adds)
    per_token += moe * (shape.router.adds + shape.shared_up.adds + shape.shared_down.adds)
    per_token += dense * (shape.dense_up.adds + shape.dense_down.adds)
    passes = jnp.sum(work.passes) * (shape.expert_up.adds + shape.expert_down.adds)
    return work.tokens * per_token + work.samplings * shape.head.adds + passes


def wide_adds(design: Design, schedule: MultiplexedSchedule, work: Work) -> tuple[Array, Array]:
    """Additions of d_model values: all, and those that combine = inline takes off the units."""
    layers, moe, _ = layer_counts(design, schedule, work.tokens)
    combining = jnp.sum(work.combines) + moe * work.tokens
    return work.tokens * (1 + 2 * layers) + jnp.sum(work.combines), combining


def activations(design: Design, schedule: MultiplexedSchedule, work: Work) -> tuple[Array, Array, Array]:
    """Activations of width d_ff, of width dense_d_ff, and values in all."""
    model = as_real(design.model, work.tokens)
    _, moe, dense = layer_counts(design, schedule, work.tokens)
    experts = jnp.sum(work.passes) + moe * work.tokens * model.num_shared_experts
    blocks = dense * work.tokens
    return experts, blocks, experts * model.d_ff + blocks * model.dense_d_ff
