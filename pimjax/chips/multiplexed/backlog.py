"""Writes of a prefill that are still on the DRAM channel when the next pass wants to read.

Writes are posted: nobody waits for them, but the channel is first come, first served, and a prompt leaves many: keys
and values of every token, and with the full gate-output cache `E C(P)` expert outputs. The next pass finds the channel
busy, at its first embedding lookup or at its first read of keys and values. Steps of the decode leave next to nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.chips.multiplexed.schedule import MultiplexedSchedule
from pimjax.chips.multiplexed.traffic import prompt_traffic, sram_share
from pimjax.config.build import Design
from pimjax.config.plan import EMBEDDING_KINDS


class PromptWrites(NamedTuple):
    """DRAM time of one prompt's writes per layer, unscaled [ns]; `[L]`."""

    keys: Array  # issued when the layer's attention begins
    outputs: Array  # issued after the layer's gate


def prompt_writes(design: Design, schedule: MultiplexedSchedule) -> PromptWrites:
    """Writes of one prefill pass."""
    moved = prompt_traffic(design, is_moe=schedule.is_moe)
    share = sram_share(design, windowed=schedule.is_windowed, is_moe=schedule.is_moe)
    real = jnp.arange(schedule.is_moe.shape[-1]) < design.model.num_layers
    rate = (1 - share) / design.hardware.dram_bandwidth_gb_per_s
    return PromptWrites(
        *(jnp.where(real, rate * part, 0.0).astype(rate.dtype) for part in (moved.kv_written, moved.go_posted))
    )


def left_over(writes: PromptWrites, layers: Array, experts: Array) -> Array:
    """Time that the channel is still busy with a prefill's writes when the pass ends [ns].

    Args:
        writes: scaled times.
        layers: [L] time of each layer, from its attention on.
        experts: [L] its part from the gate on.

    >>> writes = PromptWrites(jnp.array([50.0]), jnp.array([70.0]))
    >>> float(left_over(writes, jnp.array([100.0]), jnp.array([40.0])))
    30.0
    """

    def layer(busy: Array, part: tuple[Array, Array, Array, Array]) -> tuple[Array, None]:
        keys, outputs, whole, after = part
        busy = jnp.maximum(busy + keys - (whole - after), 0.0) + outputs
        return jnp.maximum(busy - after, 0.0), None

    start = jnp.zeros((), layers.dtype)
    return jax.lax.scan(layer, start, (writes.keys, writes.outputs, layers, jnp.minimum(experts, layers)))[0]


def waiting_time(design: Design, left: Array, arrival: Array) -> Array:
    """Time that passes of a run wait for the writes of its prompts [ns].

    With embeddings from DRAM the pass after each prompt waits at its first lookup. Without, the first
    decode step waits, from `arrival` ns after its start, for the last prompt's.

    Args:
        design: leaves scalars.
        left: what one prompt leaves.
        arrival: start of a decode step to its first read.
    """
    workload = design.workload
    decodes = jnp.where(workload.generated_tokens > 1, 1.0, 0.0)
    prompts = jnp.where(workload.prefill, 1.0 * workload.batch_size, 0.0)
    each = left * jnp.maximum(prompts - 1 + decodes, 0.0)
    once = jnp.maximum(left - arrival, 0.0) * decodes
    lookup = design.plan.embedding == EMBEDDING_KINDS.index("lookup")
    return jnp.where(prompts > 0, jnp.where(lookup, each, once), 0.0).astype(left.dtype)
