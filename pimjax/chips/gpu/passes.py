"""Operators of every pass and layer of a run: what is launched, in order, and how long it takes.

With several GPUs every matrix, head and expert is split evenly over them (tensor parallel), and each block's output is
summed over all of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax import arrays
from pimjax.arrays import larger, where
from pimjax.chips.gpu.loads import Loads
from pimjax.chips.gpu.operators.attention import AttentionNumbers, decode_attention, prefill_attention
from pimjax.chips.gpu.operators.device import Device, Time
from pimjax.chips.gpu.operators.experts import ExpertNumbers, ExpertShape, ExpertWork, expert_layer
from pimjax.chips.gpu.operators.products import ProductNumbers, product
from pimjax.chips.gpu.operators.small import all_reduce_ns, elementwise
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
    experts: Time
    small: Time  # norms and residuals
    summed: Any  # the block's output over all GPUs; twice per layer
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
    linear, plain = device_of(hardware, loads.linear_kind), device_of(hardware, 0.0)
    numbers = _numbers(loads.linear_kind, hardware, ProductNumbers, ("product", "product_fp8"))
    plain_numbers = _numbers(0.0, hardware, ProductNumbers, ("product",))
    share = 1.0 / hardware.gpus
    tokens, width = loads.tokens, model.d_model
    mla = model.attention == ATTENTION_KINDS.index("mla")
    gated = where(model.activation == ACTIVATIONS.index("swiglu"), 2.0, 1.0)

    def times(*sizes: tuple[Any, Any], m: Any = tokens, of: Any = linear, by: Any = numbers, size: Any = loads.linear_bytes) -> Time:  # fmt: skip
        total = None
        for n, k in sizes:
            one = product(of, by, m, n, k, size, VALUE_BYTES).times(where(n * k > 0, 1.0, 0.0))
            total = one if total is None else total.plus(one)
        return total  # pyrefly: ignore[bad-return]

    heads = larger(model.num_heads * share, 1.0)
    kv_heads = larger(model.num_kv_heads * share, 1.0)
    queries = heads * model.head_dim
    latent = where(model.q_lora_rank > 0, model.q_lora_rank, 0.0)
    projections = times(
        (where(mla, latent + model.kv_lora_rank + model.rope_head_dim, queries + 2 * kv_heads * model.head_dim), width),
        (where(mla, queries, 0.0), where(model.q_lora_rank > 0, model.q_lora_rank, width)),
        (where(mla, heads * (model.nope_head_dim + model.v_head_dim), 0.0), model.kv_lora_rank),
        (width, where(mla, heads * model.v_head_dim, queries)),
    )
    windowed, full = (
        _attention(design, loads, window, heads, kv_heads, mla, plain) for window in (model.sliding_window, 0.0)
    )
    dense_width, shared_width = model.dense_d_ff * share, model.shared_width * share
    dense = times((gated * dense_width, width), (width, dense_width))
    router = times((model.num_experts, width), of=plain, by=plain_numbers, size=loads.plain_bytes)
    beside = router.plus(times((gated * shared_width, width), (width, shared_width)))
    every = loads.assignments
    shape = ExpertShape(
        width, model.d_ff * share, larger(model.num_experts, 1.0), gated, loads.expert_bytes, VALUE_BYTES
    )
    experts = expert_layer(
        device_of(hardware, loads.expert_kind),
        _numbers(loads.expert_kind, hardware, ExpertNumbers, ("experts", "experts_fp8", "experts_fp4"))._replace(
            tiles_by_tokens=where(loads.expert_kind == 2, 0.0, hardware.experts_tiles_by_tokens)
        ),
        shape,
        ExpertWork(tokens[:, None] * where(every > 0, 1.0, 0.0), every, loads.touched, loads.tiles),
    )
    small = elementwise(
        plain, 2 * hardware.elementwise_fixed_ns, hardware.elementwise_efficiency, 4 * tokens * width, VALUE_BYTES
    )
    summed = where(
        hardware.gpus > 1,
        all_reduce_ns(
            hardware.all_reduce_fixed_ns, hardware.link_gb_per_s, hardware.all_reduce_efficiency,
            tokens * width * VALUE_BYTES, hardware.gpus,
        ),
        0.0 * tokens,
    )  # fmt: skip
    head = times(
        (model.vocab_size * share, width), m=loads.sequences, of=plain, by=plain_numbers, size=loads.plain_bytes
    )
    return Layers(projections, windowed, full, dense, beside, experts, small, summed, head)


def _attention(design: Any, loads: Loads, window: Any, heads: Any, kv_heads: Any, mla: Any, device: Device) -> Time:
    """Attention of one layer in every pass: over whole sequences, or of one new token each."""
    hardware, model = design.hardware, design.model
    values = where(mla, model.v_head_dim, model.head_dim)
    whole = prefill_attention(
        device, _numbers(0.0, hardware, AttentionNumbers, ("prefill",)), sequences=loads.sequences,
        tokens=larger(loads.prompt, 1.0), window=window, heads=heads, kv_heads=where(mla, heads, kv_heads),
        key_width=model.head_dim, value_width=values, value_bytes=VALUE_BYTES,
    )  # fmt: skip
    latent = model.kv_lora_rank + model.rope_head_dim
    single = decode_attention(
        device, _numbers(0.0, hardware, AttentionNumbers, ("decode",)), sequences=loads.sequences,
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
