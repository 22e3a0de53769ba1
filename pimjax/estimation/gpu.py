"""A yardstick from outside: the same model, requests and caches on a GPU's roofline.

A pass takes `max(FLOPs / peak, bytes / bandwidth)` and draws full power meanwhile: no launch overheads, every overlap
perfect, every kernel at peak. A real GPU is slower, so the comparison favours it. Counted:

- *bytes*: the weights that the pass touches, once (of experts those that the trace really visits), keys and values
  read and written, gate-output traffic. Activations stay in on-chip memory.
- *FLOPs*: two per weight and token, and four per (query, key, channel) of attention.
- All requests of a batch share a pass, the prompts too.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from pimjax.array_typing import HostArray
from pimjax.cache.capacity import capacity_at, capacity_law
from pimjax.config.build import build
from pimjax.config.config import Config
from pimjax.config.gpu import GpuConfig
from pimjax.config.model import ModelConfig
from pimjax.config.parameters import attention_weights
from pimjax.runs.cache_flags import cache_use
from pimjax.runs.routing import RunRouting
from pimjax.runs.traffic import step_traffic


class GpuRun(NamedTuple):
    """One run on the roofline; `D` decode steps."""

    first_token_ns: float
    step_ns: HostArray  # [D]
    memory_bound_steps: float  # fraction of the decode steps that the bandwidth limits
    latency_ns: float
    energy_nj: float
    weight_bytes: float  # all weights of the model
    fits: bool  # weights and caches within the memory of one device


class _Weights(NamedTuple):
    """Weights per layer or in all."""

    attention: float
    router: float  # with shared experts
    dense: float  # feed-forward block of a dense layer
    expert: float
    head: float


def _weights(model: ModelConfig) -> _Weights:
    d = model.d_model
    matrices = 3 if model.gated else 2
    expert = matrices * d * model.d_ff
    return _Weights(
        attention=attention_weights(model),
        router=d * model.num_experts + matrices * d * model.shared_width,
        dense=matrices * d * model.dense_width,
        expert=expert,
        head=d * model.vocab_size,
    )


def _by_expert(choices: HostArray, copy_of: HostArray) -> HostArray:
    """bool `[B, L, T, members]` -> `[B, L, T, E]`: copies of an expert are one set of weights."""
    if not choices.size or choices.shape[-1] == copy_of.max(initial=0) + 1:
        return choices
    out = np.zeros((*choices.shape[:-1], int(copy_of.max()) + 1), bool)
    for layer, owners in enumerate(copy_of):
        for member, expert in enumerate(owners):
            out[:, layer, :, expert] |= choices[:, layer, :, member]
    return out


def gpu_run(config: Config, routing: RunRouting, gpu: GpuConfig) -> GpuRun:
    """Prefill and decode steps of a run on a GPU. Host, NumPy.

    Args:
        config: the run; `workload.prompt_tokens` is given. Its cache flags hold here too.
        routing: experts of every token, from :func:`pimjax.runs.routing.run_routing`.
        gpu: bandwidth, rate and power.

    Returns:
        :class:`GpuRun`, float64.
    """
    model, workload = config.model, config.workload
    weights, layers = _weights(model), model.num_layers
    batch, prompt, steps = workload.batch_size, workload.num_prompt_tokens, workload.generated_tokens - 1
    moe, experts = model.num_moe_layers, model.num_experts
    fixed = layers * weights.attention + moe * weights.router + (layers - moe) * weights.dense
    channels = model.num_heads * (model.head_width + (model.v_head_dim or model.head_width)) / 2
    windowed = np.array([model.is_windowed_layer(layer) for layer in range(layers)])
    used = _by_expert(routing.prompt, routing.copy_of)
    lengths = prompt + 1 + np.arange(steps)

    def time(
        tokens: HostArray, passes: HostArray, pairs: HostArray, touched: HostArray, cached: HostArray
    ) -> HostArray:
        flops = 2 * (tokens * fixed + passes * weights.expert + batch * weights.head) + 4 * pairs * channels
        moved = gpu.value_bytes * (fixed + touched * weights.expert + weights.head) + cached
        return np.stack([flops / (1e3 * gpu.peak_tflops), moved / gpu.bandwidth_gb_per_s])  # ns

    row = _row_bytes(config) / workload.kv_bytes * gpu.value_bytes  # keys and values of one token and layer
    whole = _pairs(np.array([prompt]), windowed, model.sliding_window)
    first = time(
        np.array([1.0 * batch * prompt]),
        np.array([1.0 * used.sum()]),
        batch * whole,
        np.array([1.0 * used.any(axis=(0, 2)).sum()]),
        np.array([1.0 * batch * layers * prompt * row]),
    )
    by_experts = model.routing == "expert_choice"
    use = cache_use(config)
    single, stored = bool(use.reads_kv), bool(use.go_used)
    seen = np.where(windowed[:, None], np.minimum(lengths, model.sliding_window or lengths), lengths)  # [L, D]
    if single:
        tokens, pairs, cached = np.full(steps, 1.0 * batch), batch * seen.sum(axis=0), batch * row * seen.sum(axis=0)
    else:
        tokens, pairs = 1.0 * batch * lengths, batch * _pairs(lengths, windowed, model.sliding_window)
        cached = batch * row * layers * lengths
    if single or stored:
        new = _by_expert(routing.steps, routing.copy_of)
        passes, touched = new.sum(axis=(0, 1, 3)), new.any(axis=0).sum(axis=(0, 2))
        cached = cached + batch * moe * _gate_output_bytes(config, lengths, routing)
    elif by_experts:
        passes, touched = batch * moe * experts * _capacities(config, lengths), np.full(steps, moe * experts)
    else:
        passes, touched = batch * moe * model.top_k * lengths, np.full(steps, used.any(axis=(0, 2)).sum())
    each = time(tokens, 1.0 * passes, pairs, 1.0 * touched, cached)
    step_ns = each.max(axis=0)
    held = gpu.value_bytes * (fixed + moe * experts * weights.expert + (2 - model.tied_embeddings) * weights.head)
    resident = batch * layers * row * workload.context_tokens * workload.kv_cache
    prefill_ns = float(first.max()) if workload.prefill else 0.0
    total = prefill_ns + float(step_ns.sum())
    return GpuRun(
        first_token_ns=prefill_ns,
        step_ns=step_ns,
        memory_bound_steps=float((each[1] > each[0]).mean()) if steps else 0.0,
        latency_ns=total,
        energy_nj=gpu.power_w * total,
        weight_bytes=held,
        fits=held + resident <= 1e9 * gpu.memory_gb,
    )


def _row_bytes(config: Config) -> float:
    from pimjax.cache.kv_layout import kv_token_bytes

    design = build(config)[0]
    return float(kv_token_bytes(design.model, design.workload))


def _pairs(lengths: HostArray, windowed: HostArray, window: int) -> HostArray:
    """(query, key) pairs of a causal pass over `lengths` tokens, all layers; float `[D]`."""
    whole = lengths * (lengths + 1.0) / 2
    knee = np.minimum(lengths, window)
    cut = knee * (knee + 1.0) / 2 + (lengths - knee) * float(window)
    return (~windowed).sum() * whole + windowed.sum() * cut


def _capacities(config: Config, lengths: HostArray) -> HostArray:
    workload, model = config.workload, config.model
    law = capacity_law(
        model.num_experts,
        model.top_k,
        max_tokens=workload.context_tokens,
        prompt_tokens=workload.num_prompt_tokens,
        rule=workload.capacity_rule,
    )
    return np.asarray(capacity_at(law, lengths), np.float64)


def _gate_output_bytes(config: Config, lengths: HostArray, routing: RunRouting) -> HostArray:
    """Gate-output bytes of one layer and sequence in each step, read and written; `[D]`."""
    admitted = routing.steps.sum(axis=-1).mean(axis=(0, 1))
    taken = routing.taken.mean(axis=(0, 1))
    design = build(config)[0]
    with jax.enable_x64(True):
        moved = step_traffic(design, 1.0 * lengths, 0.0 * lengths, is_moe=True, admitted=admitted, taken=taken)
        return np.asarray(moved.go_read, np.float64) + np.asarray(moved.go_posted, np.float64)
