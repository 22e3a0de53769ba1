"""A yardstick from outside: the same model, requests and caches on a GPU's roofline.

A pass takes `max(FLOPs / peak, bytes / bandwidth)` and draws full power meanwhile: no launch overheads, every overlap
perfect, every kernel at peak. A real GPU is slower, so the comparison favours it. Counted:

- *bytes*: the weights that the pass touches, once (of experts those that the trace really visits), keys and values
  read and written, gate-output traffic. Activations stay in on-chip memory.
- *FLOPs*: two per weight and token, four per (query, key, channel) of attention, two per channel of an indexer's pair
  and per multiplication of a state.
- All requests of a batch share a pass, the prompts too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from pimjax.array_typing import AnyArray, HostArray
from pimjax.cache.capacity import capacity_at, capacity_law
from pimjax.cache.traffic import sum_visible_tokens, visible_tokens
from pimjax.config.build import build
from pimjax.config.config import Config
from pimjax.config.gpu import GpuConfig
from pimjax.config.model import ModelConfig
from pimjax.config.parameters import attention_weights, layer_attention
from pimjax.runs.cache_flags import cache_use
from pimjax.runs.mixers import Mixers, of_layers
from pimjax.runs.point import Point
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

    mixers: float  # attention and states of all layers
    router: float  # with shared experts
    dense: float  # feed-forward block of a dense layer
    expert: float
    head: float


def _weights(model: ModelConfig) -> _Weights:
    d = model.d_model
    matrices = 3 if model.gated else 2
    expert = matrices * d * model.d_ff
    return _Weights(
        mixers=sum(_mixer_weights(model, layer) for layer in range(model.num_layers)),
        router=d * model.num_experts + matrices * d * model.shared_width,
        dense=matrices * d * model.dense_width,
        expert=expert,
        head=d * model.vocab_size,
    )


def _mixer_weights(model: ModelConfig, layer: int) -> float:
    kind = model.layer_kind(layer)
    plain = kind in ("sliding", "chunked") or (kind == "full" and model.full_layers is None)
    return attention_weights(model) if plain else layer_attention(model, kind)


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
    weights, dense = _weights(model), int(build(config)[0].model.num_dense_layers)
    batch, prompt, steps = workload.batch_size, workload.num_prompt_tokens, workload.generated_tokens - 1
    moe, experts = model.num_moe_layers, model.num_experts
    fixed = weights.mixers + moe * weights.router + dense * weights.dense
    mixing = _Mixing(config)
    used = _by_expert(routing.prompt, routing.copy_of)
    lengths = prompt + 1 + np.arange(steps)

    def time(
        tokens: HostArray, passes: HostArray, mixed: HostArray, touched: HostArray, cached: HostArray
    ) -> HostArray:
        flops = 2 * (tokens * fixed + passes * weights.expert + batch * weights.head) + mixed
        moved = gpu.value_bytes * (fixed + touched * weights.expert + weights.head) + cached
        return np.stack([flops / (1e3 * gpu.peak_tflops), moved / gpu.bandwidth_gb_per_s])  # ns

    size = gpu.value_bytes / workload.kv_bytes
    prompts = np.array([1.0 * prompt])
    first = time(
        np.array([1.0 * batch * prompt]),
        np.array([1.0 * used.sum()]),
        batch * mixing.flops(prompts, whole=True),
        np.array([1.0 * used.any(axis=(0, 2)).sum()]),
        batch * size * mixing.held(prompts),
    )
    by_experts = model.routing == "expert_choice"
    use = cache_use(config)
    single, stored = bool(use.reads_kv), bool(use.go_used)
    mixed = batch * mixing.flops(1.0 * lengths, whole=not single)
    if single:
        tokens, cached = np.full(steps, 1.0 * batch), batch * size * mixing.read(1.0 * lengths)
    else:
        tokens, cached = 1.0 * batch * lengths, batch * size * mixing.held(1.0 * lengths)
    if single or stored:
        new = _by_expert(routing.steps, routing.copy_of)
        passes, touched = new.sum(axis=(0, 1, 3)), new.any(axis=0).sum(axis=(0, 2))
        cached = cached + batch * moe * _gate_output_bytes(config, lengths, routing)
    elif by_experts:
        passes, touched = batch * moe * experts * _capacities(config, lengths), np.full(steps, moe * experts)
    else:
        passes, touched = batch * moe * model.top_k * lengths, np.full(steps, used.any(axis=(0, 2)).sum())
    each = time(tokens, 1.0 * passes, mixed, 1.0 * touched, cached)
    step_ns = each.max(axis=0)
    held = gpu.value_bytes * (fixed + moe * experts * weights.expert + (2 - model.tied_embeddings) * weights.head)
    resident = batch * size * float(mixing.held(np.float64(workload.context_tokens))) * workload.kv_cache
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


class _Mixing:
    """Attention and states of all layers, one sequence: what they compute and what of caches they touch."""

    def __init__(self, config: Config) -> None:
        model, self.point = config.model, Point(build(config)[0])
        self.rows = np.arange(len(self.point.design.model.mixers))
        # keys and values of latent attention differ in width
        self.values = (model.v_head_dim or model.head_width) / model.head_width if model.attention == "mla" else 1.0

    def _sum(self, each: Callable[[Mixers], AnyArray]) -> HostArray:
        found = [of_layers(self.point, row) for row in self.rows]
        return np.sum([np.asarray(own.blocks * each(own)) for own in found], axis=0)

    def flops(self, lengths: HostArray | np.float64, *, whole: bool) -> HostArray:
        """Of the last query at each length, or of all of them; float `[D]`."""
        every = lengths * (lengths + 1) / 2 if whole else lengths
        queries = lengths if whole else np.ones_like(lengths)

        def each(own: Mixers) -> AnyArray:
            limit = {"chunked": own.is_chunked}
            seen = (
                sum_visible_tokens(np.ones_like(lengths), lengths, own.window, **limit)
                if whole
                else visible_tokens(lengths, own.window, **limit)
            )
            own_flops = 2 * (1 + self.values) * own.width * seen + 2 * own.products * queries
            return own_flops + 2 * (own.index_width + own.index_heads) * every

        return self._sum(each)

    def read(self, lengths: HostArray | np.float64) -> HostArray:
        """Bytes that a decode step at each length reads, and those of states that it writes; float `[D]`."""

        def each(own: Mixers) -> AnyArray:
            seen = visible_tokens(lengths, own.window, chunked=own.is_chunked)
            return own.token_bytes * seen + own.index_bytes * lengths + own.read_bytes + own.written_bytes

        return self._sum(each)

    def held(self, lengths: HostArray | np.float64) -> HostArray:
        """Bytes of all keys, values and states at each length; float `[D]`."""
        return self._sum(lambda own: (own.token_bytes + own.index_bytes) * lengths + own.read_bytes)


def _capacities(config: Config, lengths: HostArray | np.float64) -> HostArray:
    workload, model = config.workload, config.model
    law = capacity_law(
        model.num_experts,
        model.top_k,
        max_tokens=workload.context_tokens,
        prompt_tokens=workload.num_prompt_tokens,
        rule=workload.capacity_rule,
    )
    return np.asarray(capacity_at(law, lengths), np.float64)


def _gate_output_bytes(config: Config, lengths: HostArray | np.float64, routing: RunRouting) -> HostArray:
    """Gate-output bytes of one layer and sequence in each step, read and written; `[D]`."""
    admitted = routing.steps.sum(axis=-1).mean(axis=(0, 1))
    taken = routing.taken.mean(axis=(0, 1))
    design = build(config)[0]
    with jax.enable_x64(True):
        moved = step_traffic(design, 1.0 * lengths, 0.0 * lengths, is_moe=True, admitted=admitted, taken=taken)
        return np.asarray(moved.go_read, np.float64) + np.asarray(moved.go_posted, np.float64)
