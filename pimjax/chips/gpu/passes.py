"""Operators of every pass and layer of a run: what is launched, in order, and how long it takes.

With several GPUs every matrix, head and expert is split evenly over them (tensor parallel), and each block's output is
summed over all of them. Experts may be dealt out to ranks instead (`expert_parallel`): the slowest rank decides. Sequences may
be dealt out for attention (`attention_data_parallel`): then nothing is summed after it but within a group, and tokens travel
to the GPUs of their experts and back.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax import arrays
from pimjax.arrays import larger, smaller, where
from pimjax.chips.gpu.loads import Loads, kind_on
from pimjax.chips.gpu.operators.attention import DecodeNumbers, PrefillNumbers, decode_attention, prefill_attention
from pimjax.chips.gpu.operators.device import Device, Time
from pimjax.chips.gpu.operators.experts import ExpertNumbers, ExpertShape, ExpertWork, expert_layer
from pimjax.chips.gpu.operators.products import ProductNumbers, product
from pimjax.chips.gpu.operators.small import (
    AllReduceNumbers,
    AllToAllNumbers,
    all_reduce_ns,
    all_to_all_ns,
    elementwise,
)
from pimjax.config.model import ACTIVATIONS, ATTENTION_KINDS

VALUE_BYTES = 2.0
"""Activations are bfloat16."""


class Layers(NamedTuple):
    """Times of operators per pass `[D]` and layer [ns]: of one layer of each kind; `experts` `[D, L]`."""

    projections: Time  # of attention
    windowed: Time
    full: Time
    dense: Time  # feed-forward block of a dense layer
    beside: Time  # router and shared experts of an MoE layer
    experts: Time  # of the slowest rank; traffic and arithmetic of the mean one
    small: Time  # norms and residuals
    mixed: Any  # after attention: its output summed over the GPUs of a group
    fed: Any  # after a dense layer: its output summed over all GPUs
    routed: Any  # around the experts: sums, or tokens to their experts and back
    head: Time  # last norm and output embedding of the sampled tokens


def device_of(hardware: Any, kind: Any) -> Device:
    """The GPU at the rate of a weight kind: 8-bit products have their own, 4-bit weights are widened to 16."""
    tflops = where(kind == 1, hardware.fp8_tflops, hardware.bf16_tflops)
    return Device(hardware.device_memory_bandwidth_gb_per_s, tflops, hardware.l2_cache_bytes, hardware.multiprocessors)


def _numbers(kind: Any, hardware: Any, cls: Any, prefixes: tuple[str, ...]) -> Any:
    """Numbers of the kernels for a weight kind; where several kinds share a number it is that of the first."""
    found = []
    for name in cls._fields:
        options = [getattr(hardware, f"{prefix}_{name}", None) for prefix in prefixes]
        value = options[0]
        if value is None:
            value = 0.0
        for index, option in enumerate(options[1:], 1):
            if option is not None:
                value = where(kind == index, option, value)
        found.append(value)
    return cls(*found)


def operators(design: Any, loads: Loads) -> Layers:
    """Times of all operators. Kernel: pure, unbatched, differentiable in the hardware.

    Args:
        design: numbers of one type (`hardware`, `model`, `workload`); kinds stay integers.
        loads: of its passes.
    """
    hardware, model = design.hardware, design.model
    loads = loads._replace(
        linear_kind=kind_on(loads.linear_kind, hardware.nvfp4_products),
        expert_kind=kind_on(loads.expert_kind, hardware.nvfp4_products),
    )
    linear, plain = device_of(hardware, loads.linear_kind), device_of(hardware, 0.0)
    numbers = _numbers(loads.linear_kind, hardware, ProductNumbers, ("product", "product_fp8"))
    plain_numbers = _numbers(0.0, hardware, ProductNumbers, ("product",))
    share = 1.0 / hardware.gpus
    groups = hardware.attention_data_parallel
    each = groups * share  # of a head: of the GPUs of a group
    width = model.d_model
    tokens, sequences = (larger(count / groups, 1.0) for count in (loads.tokens, loads.sequences))
    mla = model.attention == ATTENTION_KINDS.index("mla")
    gated = where(model.activation == ACTIVATIONS.index("swiglu"), 2.0, 1.0)

    def times(*sizes: tuple[Any, Any], m: Any = tokens, of: Any = linear, by: Any = numbers, size: Any = loads.linear_bytes) -> Time:  # fmt: skip
        total = None
        for n, k in sizes:
            one = product(of, by, m, n, k, size, VALUE_BYTES).times(where(n * k > 0, 1.0, 0.0))
            total = one if total is None else total.plus(one)
        return total  # pyrefly: ignore[bad-return]

    heads = larger(model.num_heads * each, 1.0)
    kv_heads = larger(model.num_kv_heads * each, 1.0)
    queries = heads * model.head_dim
    latent = where(model.q_lora_rank > 0, model.q_lora_rank, 0.0)
    projections = times(
        (where(mla, latent + model.kv_lora_rank + model.rope_head_dim, queries + 2 * kv_heads * model.head_dim), width),
        (where(mla, queries, 0.0), where(model.q_lora_rank > 0, model.q_lora_rank, width)),
        (where(mla, heads * (model.nope_head_dim + model.v_head_dim), 0.0), model.kv_lora_rank),
        (width, where(mla, heads * model.v_head_dim, queries)),
    )
    windowed, full = (
        _attention(design, loads, sequences, window, heads, kv_heads, mla, plain)
        for window in (model.sliding_window, 0.0)
    )
    dense_width, shared_width = model.dense_d_ff * share, model.shared_width * each
    dense = times((gated * dense_width, width), (width, dense_width), m=loads.tokens)
    router = times((model.num_experts, width), of=plain, by=plain_numbers, size=loads.plain_bytes)
    beside = router.plus(times((gated * shared_width, width), (width, shared_width)))
    experts = _experts(hardware, model, loads, gated)
    small = elementwise(
        plain, 2 * hardware.elementwise_fixed_ns, hardware.elementwise_efficiency, 4 * tokens * width, VALUE_BYTES
    )
    reduce = AllReduceNumbers(hardware.all_reduce_fixed_ns, hardware.all_reduce_step_ns, hardware.all_reduce_efficiency)
    message = width * VALUE_BYTES

    def summed(count: Any, gpus: Any) -> Any:
        whole = all_reduce_ns(reduce, hardware.link_gb_per_s, count * message, larger(gpus, 2.0))
        return where(gpus > 1, whole, 0.0 * whole)

    sent = AllToAllNumbers(
        hardware.all_to_all_fixed_ns, hardware.all_to_all_efficiency, hardware.all_to_all_bulk_fixed_ns,
        hardware.all_to_all_bulk_efficiency, hardware.all_to_all_bulk_token_ns,
    )  # fmt: skip
    travel = all_to_all_ns(sent, hardware.link_gb_per_s, loads.tokens * share, message, model.top_k, hardware.gpus)
    every = summed(loads.tokens, hardware.gpus)
    head = times((model.vocab_size * each, width), m=sequences, of=plain, by=plain_numbers, size=loads.plain_bytes)
    return Layers(
        projections, windowed, full, dense, beside, experts, small, summed(tokens, hardware.gpus / groups), every,
        where((hardware.expert_parallel > 1) & (groups > 1), travel, every), head,
    )  # fmt: skip


def _experts(hardware: Any, model: Any, loads: Loads, gated: Any) -> Time:
    """The MoE layers `[D, L]`: every rank's, of which the slowest decides."""
    ranks = hardware.expert_parallel
    every = loads.assignments
    shape = ExpertShape(
        model.d_model, model.d_ff * ranks / hardware.gpus, larger(model.num_experts / ranks, 1.0), gated,
        loads.expert_bytes, VALUE_BYTES,
    )  # fmt: skip
    tokens = loads.tokens[:, None, None] * where(every > 0, 1.0, 0.0)
    there = where(hardware.attention_data_parallel > 1, smaller(tokens, every), tokens)
    prefixes = ("experts", "experts_fp8", "experts_fp4")
    numbers = _numbers(loads.expert_kind, hardware, ExpertNumbers, prefixes)
    found = expert_layer(
        device_of(hardware, loads.expert_kind), numbers, shape, ExpertWork(there, every, loads.touched, loads.tiles)
    )
    return Time(found.total.max(axis=-1), found.memory.sum(axis=-1) / ranks, found.arithmetic.sum(axis=-1) / ranks)


def _attention(
    design: Any, loads: Loads, sequences: Any, window: Any, heads: Any, kv_heads: Any, mla: Any, device: Device
) -> Time:
    """Attention of one layer in every pass: over whole sequences, or of one new token each."""
    hardware, model = design.hardware, design.model
    values = where(mla, model.v_head_dim, model.head_dim)
    kind = where(mla, 1, 0)
    over_prompts = _numbers(kind, hardware, PrefillNumbers, ("prefill", "mla_prefill"))
    # the latent's kernels read keys and values once; they are written to the cache as latents
    over_prompts = over_prompts._replace(key_passes=where(mla, 1.0, over_prompts.key_passes))
    whole = prefill_attention(
        device, over_prompts, sequences=sequences, tokens=larger(loads.prompt, 1.0), window=window, heads=heads,
        kv_heads=where(mla, heads, kv_heads), key_width=model.head_dim, value_width=values, value_bytes=VALUE_BYTES,
    )  # fmt: skip
    latent = model.kv_lora_rank + model.rope_head_dim
    single = decode_attention(
        device, _numbers(kind, hardware, DecodeNumbers, ("decode", "mla_decode")), sequences=sequences,
        context=loads.context, window=window, heads=heads, kv_heads=where(mla, 1.0, kv_heads),
        key_width=where(mla, latent, model.head_dim), value_width=where(mla, model.kv_lora_rank, values),
        cached_width=where(mla, latent, 2 * model.head_dim), cache_bytes=design.workload.kv_bytes,
    )  # fmt: skip
    return Time(*(where(loads.prompt > 0, a, b) for a, b in zip(whole, single, strict=True)))


def in_one_type(design: Any, loads: Loads) -> tuple[Any, Loads]:
    """Design and loads with every number of one floating-point type."""
    leaf = design.hardware.device_memory_bandwidth_gb_per_s
    device = arrays.on_device(leaf, loads.tokens, design.model.d_model)
    dtype = arrays.real_dtype(leaf, loads.tokens)
    return arrays.as_real(design, dtype, device=device), arrays.as_real(loads, dtype, device=device)
